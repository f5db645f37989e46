use proptest::prelude::*;

use super::{
    Among, Asked, CHECK_EVERY_MS, COOLDOWN_MS_MAX, Call, Condition, Disabled, Health, INVALID_RECHECK_MS,
    Penalty, QUOTA_RECHECK_MS, RECHECK_MS_MAX, Rest, Standing,
};
use crate::failure::FailureClass::{
    self, BadRequest, InvalidCredential, Overloaded, Permission, QuotaExhausted, RateLimited, Transient,
};
use crate::id::UserId;
use crate::protocol::Operation;
use crate::time::Timestamp;
use crate::wait::RetryAfter;

const T0: Timestamp = Timestamp::from_millis(1_000_000);
const LEASE_MS: u64 = 60_000;

fn asks(caller: u8, operation: Operation, model: &str) -> Asked {
    Asked { caller: UserId::from_bytes([caller; 16]), call: Call::new(operation, model) }
}

/// What most tests ask.
fn alice() -> Asked {
    asks(1, Operation::Generate, "m")
}

fn bob() -> Asked {
    asks(2, Operation::Generate, "m")
}

fn penalty(class: FailureClass, retry_after_ms: Option<u64>) -> Penalty {
    Penalty::of(class, retry_after_ms.map(RetryAfter::from_ms))
}

/// After so many rate limits, each when the rest before was just over.
fn limited_times(times: u32) -> (Health, Timestamp) {
    let (mut health, mut now) = (Health::default(), T0);
    for _ in 0..times {
        if let Standing::Cooling { remaining_ms, .. } = health.standing(now) {
            now = now.plus_ms(remaining_ms);
        }
        health.fail(penalty(RateLimited, None), &alice(), now, 0);
    }
    (health, now)
}

fn limited(remaining_ms: u64) -> Standing {
    Standing::Cooling { why: Rest::RateLimited, remaining_ms }
}

#[test]
fn a_provider_that_names_the_pause_is_believed() {
    let carol = asks(3, Operation::Generate, "m");
    let mut health = Health::default();
    health.fail(penalty(RateLimited, Some(31_000)), &alice(), T0, 0);
    assert_eq!(health.standing_for(&alice(), T0), limited(31_000));
    assert_eq!(health.standing_for(&bob(), T0), Standing::Available, "it may be alice's prompt");
    health.fail(penalty(RateLimited, Some(29_000)), &bob(), T0, 0);
    assert_eq!(health.standing_for(&carol, T0), limited(29_000), "it is everyone's");
    assert_eq!(health.standing_for(&carol, T0.plus_ms(29_000)), Standing::HalfOpen);
    let mut busy = Health::default();
    busy.fail(penalty(Overloaded, Some(9_000)), &alice(), T0, 0);
    busy.fail(penalty(Overloaded, Some(9_000)), &bob(), T0, 0);
    assert_eq!(busy.standing_for(&carol, T0), Standing::Cooling { why: Rest::Faults, remaining_ms: 9_000 });
}

#[test]
fn a_rest_is_for_the_operation_and_the_model_that_were_asked() {
    let mut health = Health::default();
    let counting = asks(1, Operation::CountTokens, "m");
    health.fail(penalty(RateLimited, Some(60_000)), &counting, T0, 0);
    assert_eq!(health.standing_for(&counting, T0), limited(60_000));
    for other in [
        asks(1, Operation::Generate, "m"),
        asks(1, Operation::CountTokens, "n"),
        asks(2, Operation::Embed, "m"),
        asks(1, Operation::Interact, "m"),
        asks(2, Operation::Generate, "M"),
    ] {
        assert_eq!(health.standing_for(&other, T0), Standing::Available, "{other:?}");
    }
    assert_eq!(health.standing(T0), limited(60_000), "whoever looks at all of it sees it");
    assert_eq!(asks(1, Operation::Embed, "m"), asks(1, Operation::EmbedBatch, "m"));
}

#[test]
fn pauses_double_and_stop_growing() {
    let pause = |times| {
        let (health, now) = limited_times(times);
        match health.standing(now) {
            Standing::Cooling { remaining_ms, .. } => remaining_ms,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!([pause(1), pause(2), pause(3)], [750, 1500, 3000]);
    assert_eq!(pause(40), COOLDOWN_MS_MAX * 3 / 4);
}

#[test]
fn one_probe_at_a_time_goes_to_a_half_open_credential_and_none_blocks_others_for_long() {
    let (mut health, asked) = (Health::default(), alice());
    // An attempt from before the rest is no probe.
    let old = health.begin(&asked, T0, LEASE_MS);
    let carol = asks(3, Operation::Generate, "m");
    for asked in [&asked, &carol] {
        health.fail(penalty(RateLimited, Some(10)), asked, T0, 0);
    }
    let later = T0.plus_ms(10);
    assert_eq!(health.standing_for(&bob(), later), Standing::HalfOpen);
    let probe = health.begin(&asked, later, LEASE_MS);
    assert_eq!(health.standing_for(&bob(), later), limited(0));
    assert_eq!(health.standing_for(&bob(), later.plus_ms(10_000)), Standing::HalfOpen, "a slow probe");
    health.release(old);
    assert_eq!(health.standing_for(&bob(), later), limited(0));
    health.release(probe);
    let standing = health.standing_for(&bob(), later);
    assert_eq!(standing, Standing::HalfOpen, "a probe that learned nothing leaves it to the next");
    for asked in [&asked, &carol] {
        health.succeed(asked);
    }
    assert_eq!((health.standing(later), health.failures()), (Standing::Available, 0));
}

#[test]
fn attempts_that_fail_together_count_once() {
    let mut health = Health::default();
    health.fail(penalty(RateLimited, None), &alice(), T0, 0);
    let pause = health.standing(T0);
    for _ in 0..20 {
        health.fail(penalty(RateLimited, None), &alice(), T0, 0);
    }
    assert_eq!((health.standing(T0), health.failures()), (pause, 1));
    health.fail(penalty(RateLimited, Some(60_000)), &alice(), T0, 0);
    assert_eq!(health.standing(T0), limited(60_000), "a longer pause that is named counts");
}

#[test]
fn a_bad_request_or_a_missing_permission_never_rests_a_credential() {
    let mut health = Health::default();
    assert!(!health.fail(penalty(BadRequest, None), &alice(), T0, 0));
    assert!(!health.fail(penalty(Permission, Some(5)), &alice(), T0, 0));
    assert_eq!((health.standing(T0), health.failures()), (Standing::Available, 0));
}

#[test]
fn what_one_caller_meets_rests_it_for_that_caller_alone() {
    let mut health = Health::default();
    for times in 1..=50 {
        health.fail(penalty(Transient, None), &alice(), T0, 0);
        let rests = health.standing_for(&alice(), T0) != Standing::Available;
        assert_eq!(rests, times > 2, "two are tolerated");
        assert_eq!(health.standing_for(&bob(), T0), Standing::Available, "{times}");
    }
    let until = T0.plus_ms(60_000);
    assert_eq!(health.standing_for(&alice(), until), Standing::HalfOpen);
    health.fail(penalty(Transient, None), &alice(), until, 0);
    assert!(matches!(health.standing_for(&alice(), until), Standing::Cooling { why: Rest::Faults, .. }));
    health.succeed(&bob());
    assert!(matches!(health.standing_for(&alice(), until), Standing::Cooling { .. }), "bob's luck is bob's");
}

#[test]
fn what_two_callers_meet_in_a_row_rests_it_for_everyone_and_not_for_long() {
    let mut health = Health::default();
    for _ in 0..100 {
        health.fail(penalty(Transient, None), &alice(), T0, 0);
    }
    health.fail(penalty(Transient, None), &bob(), T0, 0);
    let carol = asks(3, Operation::Generate, "m");
    let rest = Standing::Cooling { why: Rest::Faults, remaining_ms: 750 };
    assert_eq!(health.standing_for(&carol, T0), rest, "however often the first one failed");
    // After the rest all may try at once: alice, who fails still, blocks nobody.
    let later = T0.plus_ms(750);
    health.begin(&alice(), later, LEASE_MS);
    health.fail(penalty(Transient, None), &alice(), later, 0);
    assert_eq!(health.standing_for(&carol, later), Standing::HalfOpen);
    health.succeed(&carol);
    for _ in 0..3 {
        health.fail(penalty(Transient, None), &alice(), later, 0);
    }
    assert_eq!(health.standing_for(&carol, later), Standing::Available);
}

#[test]
fn the_last_one_left_rests_shortly_after_faults_and_may_be_tried_by_all_then() {
    let mut health = Health::default();
    let mut now = T0;
    // Long rests: for alice, and for everyone.
    for _ in 0..8 {
        for caller in [alice(), bob(), alice()] {
            health.fail(penalty(Transient, None), &caller, now, 0);
        }
        if let Standing::Cooling { remaining_ms, .. } = health.standing(now) {
            now = now.plus_ms(remaining_ms);
        }
    }
    for caller in [alice(), bob(), alice()] {
        health.fail(penalty(Transient, None), &caller, now, 0);
    }
    let carol = asks(3, Operation::Generate, "m");
    let alone = |health: &Health, asked, now| health.standing_among(Among::Nobody, &asked, now);
    let short = |remaining_ms| Standing::Cooling { why: Rest::Faults, remaining_ms };
    assert!(matches!(health.standing_for(&carol, now), Standing::Cooling { remaining_ms: 10_000.., .. }));
    assert_eq!(alone(&health, carol, now), short(1_000));
    let soon = now.plus_ms(1_000);
    for caller in [alice(), bob(), carol] {
        assert_eq!(alone(&health, caller, soon), Standing::HalfOpen);
        health.begin(&caller, soon, LEASE_MS);
        assert_eq!(alone(&health, caller, soon), Standing::HalfOpen, "one that tries blocks nobody");
    }
    // What fails then rests it shortly once more, and no longer for that.
    health.fail(penalty(Transient, None), &alice(), soon, 0);
    assert_eq!(alone(&health, alice(), soon), short(1_000));
    assert_eq!(alone(&health, alice(), soon.plus_ms(1_000)), Standing::HalfOpen);
}

#[test]
fn what_a_provider_asks_for_is_kept_though_nobody_else_is_left() {
    for (class, why) in [(Overloaded, Rest::Faults), (RateLimited, Rest::RateLimited)] {
        let mut health = Health::default();
        health.fail(penalty(class, Some(9_000)), &alice(), T0, 0);
        let rest = Standing::Cooling { why, remaining_ms: 9_000 };
        assert_eq!(health.standing_among(Among::Nobody, &alice(), T0), rest);
    }
}

#[test]
fn a_request_disables_nothing_and_asks_for_one_check() {
    for (class, why) in [(InvalidCredential, Disabled::InvalidKey), (QuotaExhausted, Disabled::QuotaGone)] {
        let mut health = Health::default();
        assert!(health.fail(penalty(class, None), &alice(), T0, 0), "{why:?}: a check is due");
        assert_eq!((health.condition(), health.check_at()), (Condition::Good, Some(T0)));
        assert!(matches!(health.standing_for(&alice(), T0), Standing::Cooling { why: Rest::Refused, .. }));
        assert_eq!(health.standing_for(&bob(), T0), Standing::Available);
        assert!(!health.fail(penalty(class, None), &alice(), T0, 0), "it is asked for already");
        // The check finds it good: the next one waits a while.
        assert!(!health.acquit(T0));
        assert_eq!((health.check_at(), health.standing_for(&bob(), T0)), (None, Standing::Available));
        let forgiven = health.standing_for(&alice(), T0) == Standing::Available;
        assert_eq!(forgiven, why == Disabled::InvalidKey, "a check seldom sees that a quota is gone");
        let soon = T0.plus_ms(1000);
        assert!(health.fail(penalty(class, None), &alice(), soon, 0));
        assert_eq!(health.check_at(), Some(T0.plus_ms(CHECK_EVERY_MS)));
    }
}

#[test]
fn an_attempt_that_works_clears_a_key_of_suspicion() {
    let mut health = Health::default();
    health.fail(penalty(InvalidCredential, None), &alice(), T0, 0);
    health.succeed(&bob());
    assert_eq!(health.check_at(), None);
    health.fail(penalty(QuotaExhausted, None), &alice(), T0, 0);
    health.succeed(&asks(2, Operation::CountTokens, "m"));
    assert_eq!(health.check_at(), Some(T0), "what costs nothing says nothing of a quota");
}

#[test]
fn a_check_that_finds_nothing_out_is_made_again_a_few_times() {
    let mut health = Health::default();
    health.fail(penalty(InvalidCredential, None), &alice(), T0, 0);
    let (mut now, mut checks) = (T0, 0);
    while let Some(at) = health.check_at() {
        assert!(at >= now && at.since_ms(now) <= COOLDOWN_MS_MAX);
        now = at;
        health.fail_check(Transient, now, 0);
        checks += 1;
    }
    assert_eq!((checks, health.condition()), (6, Condition::Good));
}

#[test]
fn what_a_check_finds_refused_serves_nobody_until_a_check_finds_it_good() {
    for (class, why, pause) in [
        (InvalidCredential, Disabled::InvalidKey, INVALID_RECHECK_MS),
        (QuotaExhausted, Disabled::QuotaGone, QUOTA_RECHECK_MS),
    ] {
        let mut health = Health::default();
        assert!(health.fail_check(class, T0, 0));
        let recheck_ms = pause * 3 / 4;
        assert_eq!(health.standing_for(&bob(), T0), Standing::Disabled { why, recheck_ms });
        assert_eq!(health.check_at(), Some(T0.plus_ms(recheck_ms)));
        let much_later = T0.plus_ms(RECHECK_MS_MAX);
        let still = Standing::Disabled { why, recheck_ms: 0 };
        assert_eq!(health.standing(much_later), still, "no time cures it");
        // An attempt that was under way when it was refused changes nothing.
        assert!(!health.fail(penalty(RateLimited, Some(1)), &alice(), T0, 0));
        assert!(health.acquit(T0));
        assert_eq!(health.standing(T0), Standing::Available);
    }
}

#[test]
fn checks_of_a_refused_key_get_rarer_and_a_check_that_met_a_fault_is_no_refusal() {
    let mut health = Health::default();
    let mut pauses = Vec::new();
    for _ in 0..13 {
        health.fail_check(InvalidCredential, T0, 0);
        pauses.push(health.check_at().unwrap().since_ms(T0));
    }
    assert!(pauses.windows(2).all(|pair| pair[0] <= pair[1]), "{pauses:?}");
    assert_eq!(pauses[1], INVALID_RECHECK_MS * 3 / 2);
    assert_eq!(pauses.last(), Some(&(RECHECK_MS_MAX * 3 / 4)));
    health.fail_check(Transient, T0, 0);
    let Condition::Disabled { why, recheck_at } = health.condition() else { panic!("{health:?}") };
    assert_eq!((why, recheck_at), (Disabled::InvalidKey, T0.plus_ms(COOLDOWN_MS_MAX * 3 / 4)));
}

#[test]
fn a_check_that_may_not_list_anything_finds_a_good_key() {
    let mut health = Health::default();
    health.fail_check(InvalidCredential, T0, 0);
    assert!(health.fail_check(Permission, T0, 0));
    assert_eq!(health.standing(T0), Standing::Available);
}

#[test]
fn whoever_fills_the_list_of_rests_pushes_nobody_else_out() {
    let mut health = Health::default();
    let carol = asks(3, Operation::Generate, "m");
    for asked in [bob(), carol] {
        health.fail(penalty(RateLimited, Some(60_000)), &asked, T0, 0);
    }
    for model in 0..1000 {
        let asked = asks(1, Operation::Generate, &format!("m-{model}"));
        health.fail(penalty(InvalidCredential, None), &asked, T0, 0);
    }
    for asked in [bob(), carol, asks(4, Operation::Generate, "m")] {
        assert_eq!(health.standing_for(&asked, T0), limited(60_000));
    }
}

#[test]
fn a_lease_that_is_never_given_back_ends_by_itself() {
    let (mut health, asked) = (Health::default(), alice());
    let stuck = health.begin(&asked, T0, LEASE_MS);
    assert_eq!(health.in_flight(T0.plus_ms(LEASE_MS - 1)), 1);
    let later = T0.plus_ms(LEASE_MS);
    assert_eq!(health.in_flight(later), 0);
    let other = health.begin(&asked, later, LEASE_MS);
    health.release(stuck);
    assert_eq!(health.in_flight(later), 1, "the late return of one takes nothing from another");
    health.release(other);
    assert_eq!(health.in_flight(later), 0);
}

#[test]
fn a_restart_changes_nothing() {
    let mut health = Health::default();
    health.fail_check(QuotaExhausted, T0, 0);
    let again = Health::restored(health.condition(), health.failures());
    assert_eq!((again.check_at(), again.standing(T0)), (health.check_at(), health.standing(T0)));
    // What earlier versions kept of a rest holds for all that is asked.
    let resting = Condition::Resting { why: Rest::RateLimited, until: T0.plus_ms(10) };
    let mut health = Health::restored(resting, 3);
    assert_eq!(health.standing_for(&alice(), T0), limited(10));
    assert!(health.succeed(&alice()));
    assert_eq!(health.standing_for(&bob(), T0), Standing::Available);
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Begin(u8),
    Release(usize),
    Succeed(u8),
    Fail(u8, FailureClass, Option<u64>),
    Check(Option<FailureClass>),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let class = || prop::sample::select(FailureClass::ALL.to_vec());
    prop_oneof![
        3 => (0..3_u8).prop_map(Step::Begin),
        3 => (0..8_usize).prop_map(Step::Release),
        1 => (0..3_u8).prop_map(Step::Succeed),
        3 => (0..3_u8, class(), prop::option::of(0..100_000_u64))
            .prop_map(|(caller, class, told)| Step::Fail(caller, class, told)),
        1 => prop::option::of(class()).prop_map(Step::Check),
        2 => (0..120_000_u64).prop_map(Step::Wait),
    ]
}

proptest! {
    /// Leases are counted as a plain list of them would be, each change of condition is told of, and no attempt
    /// disables anything.
    #[test]
    fn leases_and_changes_are_counted_right(steps in prop::collection::vec(step(), 0..80), jitter: u64) {
        let (mut health, mut now) = (Health::default(), T0);
        let mut held = Vec::new();
        let asked = |caller| asks(caller, Operation::Generate, "m");
        for step in steps {
            let (before, check) = (health.condition(), health.check_at());
            let changed = match step {
                Step::Begin(caller) => {
                    held.push((health.begin(&asked(caller), now, LEASE_MS), now.plus_ms(LEASE_MS)));
                    false
                }
                Step::Release(at) if at < held.len() => { health.release(held.remove(at).0); false }
                Step::Release(_) => false,
                Step::Succeed(caller) => health.succeed(&asked(caller)),
                Step::Fail(caller, class, told) => health.fail(penalty(class, told), &asked(caller), now, jitter),
                Step::Check(None) => health.acquit(now),
                Step::Check(Some(class)) => health.fail_check(class, now, jitter),
                Step::Wait(ms) => { now = now.plus_ms(ms); false }
            };
            let suspected = matches!(step, Step::Fail(..)) && check.is_none() && health.check_at().is_some();
            prop_assert_eq!(changed, before != health.condition() || suspected);
            let disabled = matches!(health.condition(), Condition::Disabled { .. });
            let was = matches!(before, Condition::Disabled { .. });
            prop_assert!(was || !disabled || matches!(step, Step::Check(Some(_))));
            let live = held.iter().filter(|(_, until)| *until > now).count();
            prop_assert_eq!(health.in_flight(now) as usize, live);
        }
    }
}
