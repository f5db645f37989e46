//! Blocks or masks words and patterns.
