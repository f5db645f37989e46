//! A key selector that recurses without end on a second attempt.

use std::hint::black_box;

use tollgate_plugin::key_selection::{Candidate, KeySelector, Request};

/// Takes any configuration.
#[derive(Debug)]
pub struct Overflow;

impl KeySelector for Overflow {
    fn configure(_config: &str) -> Result<Self, String> {
        Ok(Self)
    }

    fn select(&self, request: Request, candidates: &[Candidate]) -> Option<u32> {
        let depth = descend(u64::from(request.attempt));
        candidates.first().map(|candidate| candidate.handle).filter(|_| depth < u64::MAX)
    }
}

/// Comes back only for 0. The sum after the call keeps the compiler from making a loop of it.
fn descend(depth: u64) -> u64 {
    if black_box(depth) == 0 { 0 } else { descend(black_box(depth + 1)) | black_box(1) }
}

tollgate_plugin::export_key_selector!(Overflow);
