//! Adapter for Anthropic.
