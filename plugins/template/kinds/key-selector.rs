//! A key selector: of the credentials that may serve, one at random, by their weights, among those that are least
//! under strain.

use serde::Deserialize;
use tollgate_plugin::config;
use tollgate_plugin::key_selection::{Candidate, KeySelector, Request};

/// The selector is its configuration.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ByWeight {
    /// Calls under way from which on a credential is left alone while others have fewer.
    busy: u32,
}

impl Default for ByWeight {
    fn default() -> Self {
        Self { busy: 8 }
    }
}

impl KeySelector for ByWeight {
    fn configure(config: &str) -> Result<Self, String> {
        config::parse(config)
    }

    fn select(&self, request: Request, candidates: &[Candidate]) -> Option<u32> {
        let idle: Vec<&Candidate> = candidates.iter().filter(|it| it.in_flight < self.busy).collect();
        let fit = if idle.is_empty() { candidates.iter().collect() } else { idle };
        let total: u64 = fit.iter().map(|it| u64::from(it.weight)).sum();
        // Chance comes as an argument: a component has none of its own.
        let mut at = request.seed % total.max(1);
        for candidate in &fit {
            match at.checked_sub(candidate.weight.into()) {
                None => return Some(candidate.handle),
                Some(left) => at = left,
            }
        }
        fit.first().map(|candidate| candidate.handle)
    }
}

tollgate_plugin::export_key_selector!(ByWeight);

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate_plugin::key_selection::Health;
    use tollgate_plugin::types::Owner;

    fn candidate(handle: u32, weight: u32, in_flight: u32) -> Candidate {
        let (owner, health) = (Owner::Platform, Health::Available);
        Candidate { handle, owner, health, weight, in_flight, failures: 0, idle_ms: 0, affinity: 0 }
    }

    #[test]
    fn who_weighs_more_serves_more_and_who_is_busy_waits() {
        let selector = ByWeight::configure("{}").unwrap();
        let all = [candidate(1, 300, 0), candidate(2, 100, 0), candidate(3, 500, 9)];
        let chosen = |seed| selector.select(Request { seed, attempt: 0 }, &all).unwrap();
        let first = (0..400).filter(|seed| chosen(*seed) == 1).count();
        assert_eq!((first, (0..400).filter(|seed| chosen(*seed) == 3).count()), (300, 0));
        assert_eq!(selector.select(Request { seed: 0, attempt: 0 }, &all[2..]), Some(3));
    }
}
