//! A key selector whose configuration never ends, fails or grows without end: as its text says.

use std::hint::black_box;

use tollgate_plugin::key_selection::{Candidate, KeySelector, Request};

/// Takes any configuration except those that name a fault.
#[derive(Debug)]
pub struct Stall;

impl KeySelector for Stall {
    fn configure(config: &str) -> Result<Self, String> {
        match config {
            r#"{"mode":"spin"}"# => loop {
                std::hint::spin_loop();
            },
            r#"{"mode":"grow"}"# => {
                let mut hoard = Vec::new();
                loop {
                    hoard.push(black_box(vec![1_u8; 1 << 20]));
                }
            }
            r#"{"mode":"refuse"}"# => Err("mode: this one is not to my liking".to_owned()),
            _ => Ok(Self),
        }
    }

    fn select(&self, _request: Request, candidates: &[Candidate]) -> Option<u32> {
        candidates.first().map(|candidate| candidate.handle)
    }
}

tollgate_plugin::export_key_selector!(Stall);
