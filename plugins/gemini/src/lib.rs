//! Adapter for Google Gemini.
