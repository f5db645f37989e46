//! A key selector that takes memory: without end on a second attempt, two megabytes for good on a third.

use std::hint::black_box;

use tollgate_plugin::key_selection::{Candidate, KeySelector, Request};

/// Takes any configuration.
#[derive(Debug)]
pub struct Bloat;

impl KeySelector for Bloat {
    fn configure(_config: &str) -> Result<Self, String> {
        Ok(Self)
    }

    fn select(&self, request: Request, candidates: &[Candidate]) -> Option<u32> {
        let mut hoard = Vec::new();
        match request.attempt {
            0 => {}
            1 => loop {
                hoard.push(black_box(vec![1_u8; 1 << 20]));
            },
            _ => std::mem::forget(black_box(vec![1_u8; 2 << 20])),
        }
        candidates.first().map(|candidate| candidate.handle)
    }
}

tollgate_plugin::export_key_selector!(Bloat);
