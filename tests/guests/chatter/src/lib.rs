//! A key selector that floods the log: a thousand lines for each call.

use tollgate_plugin::key_selection::{Candidate, KeySelector, Request};
use tollgate_plugin::log;

/// Takes any configuration.
#[derive(Debug)]
pub struct Chatter;

impl KeySelector for Chatter {
    fn configure(_config: &str) -> Result<Self, String> {
        Ok(Self)
    }

    fn select(&self, request: Request, candidates: &[Candidate]) -> Option<u32> {
        for line in 0..1000 {
            log!(Info, "attempt {}, line {line}", request.attempt);
        }
        candidates.first().map(|candidate| candidate.handle)
    }
}

tollgate_plugin::export_key_selector!(Chatter);
