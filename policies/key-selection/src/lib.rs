//! Chooses the credential: the caller's own before lent ones, those before the operator's, then the least loaded for
//! its weight, with a small advantage for those that know the conversation.
//!
//! | option | default | meaning |
//! |---|---|---|
//! | `prefer_own` | `true` | the caller's own credentials come before all others, whatever their load |
//! | `prefer_shared` | `true` | credentials that users lend come before the platform's |
//! | `platform_fallback` | `true` | platform and shared credentials may serve at all |
//! | `sticky_requests` | `4` | how many requests busier a credential may be that has the conversation in its cache |
//!
//! Among credentials of one rank those in good health come first: one that is back from its rest is tried when nothing
//! else is left, or by one request in eight, so that it returns to work without many requests failing on it. Then
//! counts, in this order: requests in flight for the weight (less what the conversation is worth, which fades as the
//! provider's cache does), failures in a row, time idle times weight. The last makes a credential of weight 300 serve
//! three requests for one of a credential of weight 100 even when requests come one at a time. The request's seed
//! breaks a remaining tie.

use std::cmp::Reverse;

use serde::Deserialize;
use tollgate_plugin::config;
use tollgate_plugin::key_selection::{Candidate, Health, KeySelector, Request};
use tollgate_plugin::types::Owner;

/// One request in this many tries a credential that is back from its rest, though others are available.
const PROBE_ONE_IN: u64 = 8;

/// Load is counted in millionths of a request for each unit of weight.
const LOAD_PARTS: u64 = 1_000_000;

/// The weight for which `sticky_requests` counts.
const USUAL_WEIGHT: u64 = 100;

/// The affinity of a credential that has just served the conversation.
const AFFINITY_MAX: u64 = 1000;

/// The policy and its configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OwnFirst {
    prefer_own: bool,
    prefer_shared: bool,
    platform_fallback: bool,
    sticky_requests: u16,
}

impl Default for OwnFirst {
    fn default() -> Self {
        Self { prefer_own: true, prefer_shared: true, platform_fallback: true, sticky_requests: 4 }
    }
}

impl KeySelector for OwnFirst {
    fn configure(config: &str) -> Result<Self, String> {
        config::parse(config)
    }

    fn select(&self, request: Request, candidates: &[Candidate]) -> Option<u32> {
        let probing = request.seed.is_multiple_of(PROBE_ONE_IN);
        let allowed = |candidate: &&Candidate| self.platform_fallback || candidate.owner == Owner::User;
        let best = candidates.iter().filter(allowed).min_by_key(|candidate| {
            let weight = u64::from(candidate.weight.max(1));
            (
                self.rank(candidate.owner),
                probing != (candidate.health == Health::HalfOpen),
                u64::from(candidate.in_flight) * LOAD_PARTS / weight + self.strangeness(candidate.affinity),
                candidate.failures,
                Reverse(candidate.idle_ms.saturating_mul(weight)),
                draw(request.seed, candidate.handle),
            )
        })?;
        Some(best.handle)
    }
}

impl OwnFirst {
    /// The order of owners; credentials of one rank compete.
    const fn rank(&self, owner: Owner) -> u8 {
        match owner {
            Owner::User if self.prefer_own => 0,
            Owner::Shared if self.prefer_shared => 1,
            Owner::User | Owner::Shared | Owner::Platform => 2,
        }
    }

    /// The load that a credential seems to have because it does not know the conversation.
    fn strangeness(&self, affinity: u32) -> u64 {
        let foreign = AFFINITY_MAX.saturating_sub(affinity.into());
        u64::from(self.sticky_requests) * LOAD_PARTS / USUAL_WEIGHT * foreign / AFFINITY_MAX
    }
}

/// A number that differs by request and credential (SplitMix64: every bit of the input moves every bit of the output).
const fn draw(seed: u64, handle: u32) -> u64 {
    let bits = seed.wrapping_add((handle as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

tollgate_plugin::export_key_selector!(OwnFirst);

#[cfg(test)]
mod tests {
    use super::{Candidate, Health, KeySelector, OwnFirst, Owner, Request};

    /// No multiple of eight: this request does not probe.
    const CALM: Request = Request { seed: 1, attempt: 0 };
    /// A multiple of eight: this one does.
    const PROBING: Request = Request { seed: 16, attempt: 0 };

    fn candidate(handle: u32, owner: Owner) -> Candidate {
        let health = Health::Available;
        Candidate {
            handle,
            owner,
            health,
            weight: 100,
            in_flight: 0,
            failures: 0,
            idle_ms: 1000,
            affinity: 0,
        }
    }

    fn platform(handle: u32) -> Candidate {
        candidate(handle, Owner::Platform)
    }

    fn select(config: &str, request: Request, candidates: &[Candidate]) -> Option<u32> {
        OwnFirst::configure(config).unwrap().select(request, candidates)
    }

    #[test]
    fn an_own_credential_comes_first_however_busy() {
        let busy = Candidate { in_flight: 50, failures: 3, ..candidate(7, Owner::User) };
        assert_eq!(select("{}", CALM, &[platform(1), busy, candidate(2, Owner::Shared)]), Some(7));
        assert_eq!(select(r#"{"prefer_own":false}"#, CALM, &[platform(1), busy]), Some(1));
    }

    #[test]
    fn what_is_lent_comes_between_the_own_and_the_platforms() {
        let (own, lent) = (candidate(7, Owner::User), candidate(2, Owner::Shared));
        let busy = Candidate { in_flight: 9, ..lent };
        assert_eq!(select("{}", CALM, &[platform(1), lent, own]), Some(7));
        assert_eq!(select("{}", CALM, &[platform(1), busy]), Some(2));
        assert_eq!(select(r#"{"prefer_shared":false}"#, CALM, &[platform(1), busy]), Some(1));
    }

    #[test]
    fn a_conversation_keeps_its_credential_until_that_is_much_busier() {
        let known = |affinity, in_flight| Candidate { affinity, in_flight, ..platform(1) };
        let free = platform(2);
        assert_eq!(select("{}", CALM, &[free, known(1000, 3)]), Some(1));
        assert_eq!(select("{}", CALM, &[free, known(1000, 5)]), Some(2));
        assert_eq!(select("{}", CALM, &[free, known(500, 1)]), Some(1), "what has faded is worth less");
        assert_eq!(select("{}", CALM, &[free, known(500, 3)]), Some(2));
        assert_eq!(select(r#"{"sticky_requests":0}"#, CALM, &[free, known(1000, 1)]), Some(2));
        let failing = Candidate { health: Health::HalfOpen, ..known(1000, 0) };
        assert_eq!(select("{}", CALM, &[free, failing]), Some(2), "health comes first");
    }

    #[test]
    fn without_fallback_only_own_credentials_serve() {
        let config = r#"{"platform_fallback":false}"#;
        assert_eq!(select(config, CALM, &[platform(1), candidate(2, Owner::Shared)]), None);
        assert_eq!(select(config, CALM, &[platform(1), candidate(3, Owner::User)]), Some(3));
        assert_eq!(select("{}", CALM, &[platform(1)]), Some(1));
    }

    #[test]
    fn load_counts_for_the_weight() {
        let heavy = Candidate { weight: 300, in_flight: 2, ..platform(1) };
        let light = Candidate { in_flight: 1, ..platform(2) };
        assert_eq!(select("{}", CALM, &[light, heavy]), Some(1));
        assert_eq!(select("{}", CALM, &[light, Candidate { in_flight: 4, ..heavy }]), Some(2));
    }

    #[test]
    fn equal_load_goes_to_fewer_failures_and_then_to_the_longest_idle() {
        let failing = Candidate { failures: 1, idle_ms: u64::MAX, ..platform(1) };
        let idle = Candidate { idle_ms: 1001, ..platform(3) };
        assert_eq!(select("{}", CALM, &[failing, platform(2), idle]), Some(3));
    }

    #[test]
    fn one_request_at_a_time_is_still_shared_out_by_weight() {
        let mut last = [0_u64; 2];
        let mut served = [0_u32; 2];
        for now in 1..=400 {
            let heavy = Candidate { weight: 300, idle_ms: now - last[0], ..platform(0) };
            let light = Candidate { idle_ms: now - last[1], ..platform(1) };
            let seed = 2 * now + 1;
            let chosen = select("{}", Request { seed, attempt: 0 }, &[heavy, light]).unwrap() as usize;
            last[chosen] = now;
            served[chosen] += 1;
        }
        assert!((270..=330).contains(&served[0]), "about three to one: {served:?}");
    }

    #[test]
    fn a_rested_credential_is_probed_by_one_request_in_eight_or_when_nothing_else_is_left() {
        let rested = Candidate { health: Health::HalfOpen, failures: 4, ..platform(1) };
        assert_eq!(select("{}", CALM, &[rested, platform(2)]), Some(2));
        assert_eq!(select("{}", PROBING, &[rested, platform(2)]), Some(1));
        assert_eq!(select("{}", CALM, &[rested]), Some(1));
        assert_eq!(select("{}", PROBING, &[platform(2)]), Some(2));
    }

    #[test]
    fn ties_fall_evenly_over_seeds() {
        let candidates: Vec<_> = (0..4).map(platform).collect();
        let mut served = [0_u32; 4];
        for seed in 0..4000 {
            served[select("{}", Request { seed, attempt: 0 }, &candidates).unwrap() as usize] += 1;
        }
        assert!(served.iter().all(|count| (900..=1100).contains(count)), "{served:?}");
    }

    #[test]
    fn extreme_numbers_and_no_candidates_are_survived() {
        let weird = Candidate {
            weight: 0,
            in_flight: u32::MAX,
            failures: u32::MAX,
            idle_ms: u64::MAX,
            affinity: u32::MAX,
            ..platform(9)
        };
        assert_eq!(select("{}", CALM, &[weird]), Some(9));
        assert_eq!(select("{}", CALM, &[]), None);
    }

    #[test]
    fn a_misspelt_option_is_refused() {
        assert!(OwnFirst::configure(r#"{"prefer_owned":true}"#).unwrap_err().contains("prefer_owned"));
    }
}
