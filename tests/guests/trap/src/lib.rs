//! A key selector that panics on every attempt but the first, so that it passes the trial run.

use tollgate_plugin::key_selection::{Candidate, KeySelector, Request};

/// Takes any configuration.
#[derive(Debug)]
pub struct Trap;

impl KeySelector for Trap {
    fn configure(_config: &str) -> Result<Self, String> {
        Ok(Self)
    }

    fn select(&self, request: Request, candidates: &[Candidate]) -> Option<u32> {
        assert!(request.attempt == 0, "asked at attempt {}", request.attempt);
        candidates.first().map(|candidate| candidate.handle)
    }
}

tollgate_plugin::export_key_selector!(Trap);
