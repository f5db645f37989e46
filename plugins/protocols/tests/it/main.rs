//! Translation, seen from outside: what goes in, and what comes out.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod calls;
mod cases;
mod counts;
mod coverage;
mod failures;
mod features;
mod golden;
mod hostile;
mod odd;
mod roundtrips;
mod rules;
mod splits;
mod stream_rules;
mod traps;
