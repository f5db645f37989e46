//! A key selector that only names candidates that it was not offered: the handle behind the last, or any other. It
//! behaves well in the gateway's trial run, which it recognises by the seed.

use tollgate_plugin::key_selection::{Candidate, KeySelector, Request};

/// The seed of the gateway's trial run.
const TRIAL_SEED: u64 = 1;

/// Takes any configuration.
#[derive(Debug)]
pub struct Burglar;

impl KeySelector for Burglar {
    fn configure(_config: &str) -> Result<Self, String> {
        Ok(Self)
    }

    fn select(&self, request: Request, candidates: &[Candidate]) -> Option<u32> {
        let highest = candidates.iter().map(|candidate| candidate.handle).max()?;
        if request.seed == TRIAL_SEED {
            return Some(highest);
        }
        // One to sixteen past the end, or as far past it as can be.
        let past = u32::try_from(request.seed % 17).unwrap_or(0);
        Some(if past == 0 { u32::MAX } else { highest.saturating_add(past) })
    }
}

tollgate_plugin::export_key_selector!(Burglar);
