//! The wire protocols of providers, as far as an adapter needs to read them.
//!
//! One module per family of providers, each with the same two questions: what do the usage fields mean in disjoint
//! classes, and what does a failure mean. Everything is a pure function of bytes; nothing panics, whatever the bytes.
//!
//! Field names and error shapes are those of the providers' own SDKs, read 2026-11.

pub mod anthropic;
pub mod connection;
pub mod delay;
pub mod failure;
pub mod gemini;
pub mod openai;
pub mod sample;
pub mod share;
