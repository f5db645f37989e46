//! A key selector that never comes back from a second attempt.

use tollgate_plugin::key_selection::{Candidate, KeySelector, Request};

/// Takes any configuration.
#[derive(Debug)]
pub struct Spin;

impl KeySelector for Spin {
    fn configure(_config: &str) -> Result<Self, String> {
        Ok(Self)
    }

    fn select(&self, request: Request, candidates: &[Candidate]) -> Option<u32> {
        if request.attempt == 0 {
            return candidates.first().map(|candidate| candidate.handle);
        }
        loop {
            std::hint::spin_loop();
        }
    }
}

tollgate_plugin::export_key_selector!(Spin);
