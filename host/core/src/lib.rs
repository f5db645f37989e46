//! Tollgate's vocabulary and arithmetic.
//!
//! Pure: no I/O, clock, environment or randomness; time and chance are arguments. This crate knows nothing of HTTP, SQL
//! or WebAssembly, and uses no floating point. Start with [`usage`] and [`points`], then [`ledger`].
#![deny(clippy::float_arithmetic)]

pub mod affinity;
pub mod audio;
pub mod ceiling;
pub mod context;
pub mod decisions;
pub mod ending;
pub mod eventstream;
pub mod failure;
pub mod fold;
pub mod health;
pub mod hold;
pub mod host;
pub mod hosted;
pub mod id;
pub mod json;
pub mod ledger;
pub mod lending;
pub mod limits;
pub mod line;
pub mod lockout;
pub mod mask;
pub mod names;
pub mod outcome;
pub mod points;
pub mod price;
pub mod protocol;
pub mod receipt;
pub mod retry;
pub mod role;
pub mod secret;
pub mod shape;
pub mod sse;
pub mod text;
pub mod time;
pub mod usage;
pub mod wait;
