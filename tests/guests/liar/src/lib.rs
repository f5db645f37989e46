//! A key selector that, on a second attempt, chooses a candidate that it was not offered.

use tollgate_plugin::key_selection::{Candidate, KeySelector, Request};

/// Takes any configuration.
#[derive(Debug)]
pub struct Liar;

impl KeySelector for Liar {
    fn configure(_config: &str) -> Result<Self, String> {
        Ok(Self)
    }

    fn select(&self, request: Request, candidates: &[Candidate]) -> Option<u32> {
        let highest = candidates.iter().map(|candidate| candidate.handle).max()?;
        Some(highest.wrapping_add(request.attempt))
    }
}

tollgate_plugin::export_key_selector!(Liar);
