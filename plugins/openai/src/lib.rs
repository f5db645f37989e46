//! Adapter for OpenAI and servers that speak like it.
