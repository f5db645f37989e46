//! A key selector that panics whenever it is asked.

use tollgate_plugin::key_selection::{Candidate, KeySelector, Request};

/// Takes any configuration.
#[derive(Debug)]
pub struct Trap;

impl KeySelector for Trap {
    fn configure(_config: &str) -> Result<Self, String> {
        Ok(Self)
    }

    fn select(&self, request: Request, _candidates: &[Candidate]) -> Option<u32> {
        panic!("asked at attempt {}", request.attempt)
    }
}

tollgate_plugin::export_key_selector!(Trap);
