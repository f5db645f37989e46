use proptest::prelude::*;

use super::{
    COOLDOWN_MS_MAX, Condition, Disabled, Health, INVALID_RECHECK_MS, Penalty, QUOTA_RECHECK_MS,
    RECHECK_MS_MAX, Rest, Standing,
};
use crate::failure::FailureClass::{
    self, BadRequest, InvalidCredential, Overloaded, Permission, QuotaExhausted, RateLimited, Transient,
};
use crate::time::Timestamp;
use crate::wait::RetryAfter;

const T0: Timestamp = Timestamp::from_millis(1_000_000);
const LEASE_MS: u64 = 60_000;

fn penalty(class: FailureClass, retry_after_ms: Option<u64>) -> Penalty {
    Penalty::of(class, retry_after_ms.map(RetryAfter::from_ms))
}

fn failed(times: u32, retry_after_ms: Option<u64>) -> Health {
    let mut health = Health::default();
    for _ in 0..times {
        // As if the pause before were just over.
        if let Condition::Resting { why, .. } = health.condition() {
            health = Health::restored(Condition::Resting { why, until: T0 }, health.failures());
        }
        health.fail(penalty(RateLimited, retry_after_ms), T0, 0);
    }
    health
}

fn limited(remaining_ms: u64) -> Standing {
    Standing::Cooling { why: Rest::RateLimited, remaining_ms }
}

#[test]
fn a_provider_that_names_the_pause_is_believed() {
    let health = failed(1, Some(31_000));
    assert_eq!(health.standing(T0), limited(31_000));
    assert_eq!(health.standing(T0.plus_ms(31_000)), Standing::HalfOpen);
    let mut busy = Health::default();
    assert!(busy.fail(penalty(Overloaded, Some(9_000)), T0, 0));
    assert_eq!(busy.standing(T0), Standing::Cooling { why: Rest::Faults, remaining_ms: 9_000 });
}

#[test]
fn pauses_double_and_stop_growing() {
    let pause = |times| match failed(times, None).standing(T0) {
        Standing::Cooling { remaining_ms, .. } => remaining_ms,
        other => panic!("{other:?}"),
    };
    assert_eq!([pause(1), pause(2), pause(3)], [750, 1500, 3000]);
    assert_eq!(pause(40), COOLDOWN_MS_MAX * 3 / 4);
}

#[test]
fn one_probe_at_a_time_goes_to_a_half_open_credential() {
    let mut health = Health::default();
    // An attempt from before the rest is no probe.
    let old = health.begin(T0, LEASE_MS);
    health.fail(penalty(RateLimited, Some(10)), T0, 0);
    let later = T0.plus_ms(10);
    assert_eq!(health.standing(later), Standing::HalfOpen);
    let probe = health.begin(later, LEASE_MS);
    assert_eq!(health.standing(later), limited(0));
    health.release(old);
    assert_eq!(health.standing(later), limited(0));
    health.release(probe);
    assert_eq!(
        health.standing(later),
        Standing::HalfOpen,
        "a probe that learned nothing leaves it to the next"
    );
    assert!(health.succeed());
    assert_eq!((health.standing(later), health.failures()), (Standing::Available, 0));
}

#[test]
fn attempts_that_fail_together_count_once() {
    let mut health = Health::default();
    assert!(health.fail(penalty(RateLimited, None), T0, 0));
    let pause = health.condition();
    for _ in 0..20 {
        assert!(!health.fail(penalty(RateLimited, None), T0, 0));
    }
    assert_eq!((health.condition(), health.failures()), (pause, 1));
    assert!(health.fail(penalty(RateLimited, Some(60_000)), T0, 0), "a longer pause that is named counts");
    assert_eq!(health.standing(T0), limited(60_000));
}

#[test]
fn a_failed_probe_rests_again_at_once() {
    let mut health = failed(1, Some(10));
    health.fail(penalty(Transient, None), T0.plus_ms(10), 0);
    assert!(matches!(health.standing(T0.plus_ms(11)), Standing::Cooling { .. }));
}

#[test]
fn a_bad_request_or_a_missing_permission_never_rests_a_credential() {
    let mut health = Health::default();
    assert!(!health.fail(penalty(BadRequest, None), T0, 0));
    assert!(!health.fail(penalty(Permission, Some(5)), T0, 0));
    assert_eq!((health.standing(T0), health.failures()), (Standing::Available, 0));
}

#[test]
fn two_transient_faults_are_tolerated() {
    let mut health = Health::default();
    assert!(!health.fail(penalty(Transient, None), T0, 0));
    assert!(!health.fail(penalty(Transient, None), T0, 0));
    assert_eq!(health.standing(T0), Standing::Available);
    assert!(health.fail(penalty(Transient, None), T0, 0));
    assert!(matches!(health.standing(T0), Standing::Cooling { why: Rest::Faults, .. }));
}

#[test]
fn what_the_provider_refuses_serves_nobody_until_a_check_finds_it_good() {
    for (class, why, pause) in [
        (InvalidCredential, Disabled::InvalidKey, INVALID_RECHECK_MS),
        (QuotaExhausted, Disabled::QuotaGone, QUOTA_RECHECK_MS),
    ] {
        let mut health = Health::default();
        assert!(health.fail(penalty(class, None), T0, 0));
        let recheck_ms = pause * 3 / 4;
        assert_eq!(health.standing(T0), Standing::Disabled { why, recheck_ms });
        assert_eq!(health.recheck_at(), Some(T0.plus_ms(recheck_ms)));
        let much_later = T0.plus_ms(RECHECK_MS_MAX);
        assert_eq!(
            health.standing(much_later),
            Standing::Disabled { why, recheck_ms: 0 },
            "no time cures it"
        );
        // An attempt that was under way when it was refused changes nothing.
        assert!(!health.fail(penalty(RateLimited, Some(1)), T0, 0));
        assert!(health.succeed());
        assert_eq!(health.standing(T0), Standing::Available);
    }
}

#[test]
fn checks_of_a_refused_key_get_rarer_and_a_check_that_met_a_fault_is_no_refusal() {
    let mut health = Health::default();
    health.fail(penalty(InvalidCredential, None), T0, 0);
    let mut pauses = vec![health.recheck_at().unwrap().since_ms(T0)];
    for _ in 0..12 {
        health.fail_check(InvalidCredential, T0, 0);
        pauses.push(health.recheck_at().unwrap().since_ms(T0));
    }
    assert!(pauses.windows(2).all(|pair| pair[0] <= pair[1]), "{pauses:?}");
    assert_eq!(pauses[1], INVALID_RECHECK_MS * 3 / 2);
    assert_eq!(pauses.last(), Some(&(RECHECK_MS_MAX * 3 / 4)));
    health.fail_check(Transient, T0, 0);
    let Condition::Disabled { why, recheck_at } = health.condition() else { panic!("{health:?}") };
    assert_eq!((why, recheck_at), (Disabled::InvalidKey, T0.plus_ms(COOLDOWN_MS_MAX * 3 / 4)));
}

#[test]
fn a_lease_that_is_never_given_back_ends_by_itself() {
    let mut health = Health::default();
    let stuck = health.begin(T0, LEASE_MS);
    assert_eq!(health.in_flight(T0.plus_ms(LEASE_MS - 1)), 1);
    let later = T0.plus_ms(LEASE_MS);
    assert_eq!(health.in_flight(later), 0);
    let other = health.begin(later, LEASE_MS);
    health.release(stuck);
    assert_eq!(health.in_flight(later), 1, "the late return of one takes nothing from another");
    health.release(other);
    assert_eq!(health.in_flight(later), 0);
}

#[test]
fn a_stuck_probe_makes_room_for_another() {
    let mut health = failed(1, Some(10));
    let later = T0.plus_ms(10);
    health.begin(later, LEASE_MS);
    assert_eq!(health.standing(later), limited(0));
    assert_eq!(health.standing(later.plus_ms(LEASE_MS)), Standing::HalfOpen);
}

#[test]
fn a_restart_changes_nothing() {
    let mut health = failed(3, None);
    let again = Health::restored(health.condition(), health.failures());
    assert_eq!(again.standing(T0), health.standing(T0));
    health.fail(penalty(QuotaExhausted, None), T0, 0);
    let again = Health::restored(health.condition(), health.failures());
    assert_eq!(again.recheck_at(), health.recheck_at());
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Begin,
    Release(usize),
    Succeed,
    Fail(FailureClass, Option<u64>),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Begin),
        3 => (0..8_usize).prop_map(Step::Release),
        1 => Just(Step::Succeed),
        2 => (prop::sample::select(FailureClass::ALL.to_vec()), prop::option::of(prop_oneof![Just(1), 0..100_000_u64]))
            .prop_map(|(class, told)| Step::Fail(class, told)),
        2 => (0..120_000_u64).prop_map(Step::Wait),
    ]
}

proptest! {
    /// Leases are counted as a plain list of them would be, and each change of condition is told of.
    #[test]
    fn leases_and_changes_are_counted_right(steps in prop::collection::vec(step(), 0..80), jitter: u64) {
        let (mut health, mut now) = (Health::default(), T0);
        let mut held = Vec::new();
        for step in steps {
            let (before, probing) = (health.condition(), health.standing(now));
            let changed = match step {
                Step::Begin => {
                    held.push((health.begin(now, LEASE_MS), now.plus_ms(LEASE_MS)));
                    if probing == Standing::HalfOpen {
                        prop_assert_ne!(health.standing(now), Standing::HalfOpen);
                    }
                    false
                }
                Step::Release(at) if at < held.len() => { health.release(held.remove(at).0); false }
                Step::Release(_) => false,
                Step::Succeed => health.succeed(),
                Step::Fail(class, Some(1)) => health.fail_check(class, now, jitter),
                Step::Fail(class, told) => health.fail(penalty(class, told), now, jitter),
                Step::Wait(ms) => { now = now.plus_ms(ms); false }
            };
            prop_assert_eq!(changed, before != health.condition());
            let live = held.iter().filter(|(_, until)| *until > now).count();
            prop_assert_eq!(health.in_flight(now) as usize, live);
        }
    }
}
