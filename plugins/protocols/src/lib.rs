//! The wire protocols of providers: what they mean, and how to translate one into another.
//!
//! [`translate`] turns requests, answers, streams and errors of one protocol into another's; each protocol has a folder
//! that knows only its own shapes, and all share one model of a conversation.
//!
//! The other public modules answer two questions for adapters that pass bytes on as they are, one module per family of
//! providers: what do the usage fields mean in disjoint classes, and what does a failure mean.
//!
//! Everything is a pure function of bytes; nothing panics, whatever the bytes. Field names and error shapes are those
//! of the providers' own SDKs, read 2026-11.

mod amazon;
pub mod anthropic;
mod chat;
mod completion;
pub mod connection;
mod counting;
mod counts;
mod custom;
pub mod delay;
pub mod embedding;
pub mod failure;
pub mod gemini;
mod halves;
mod id;
mod json;
pub mod lenient;
pub mod media;
mod messages;
mod model;
mod nesting;
pub mod openai;
mod openai_terms;
mod responses;
pub mod sample;
mod shaping;
pub mod share;
mod sse;
mod strict;
pub mod target;
pub mod translate;

pub use model::Refused;
