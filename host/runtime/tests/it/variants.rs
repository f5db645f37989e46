//! Several components share the work of one binding: each key meets the same one, and what befalls one stays with it.

use std::collections::HashSet;

use tollgate_runtime::{
    Binding, Choice, ComponentState, Event, Generation, Kind, LoadError, ReloadError, Variant, WHOLE_PPM,
};

use crate::harness::{Bench, component, digest, guest, rebuilt, settle};

const USERS: u32 = 10_000;
const HALF_PRICE: &str = r#"{"platform_ppm":500000}"#;

fn variant(name: &str, component: &str, share_ppm: u32) -> Variant {
    Variant { name: name.to_owned(), share_ppm, ..Variant::new(component, "{}") }
}

/// The full price for most, and half of it for `share_ppm`.
fn pricing(share_ppm: u32) -> Binding {
    let half = Variant { config: HALF_PRICE.to_owned(), ..variant("half", "discount-points", share_ppm) };
    let full = variant("", "discount-points", WHOLE_PPM - share_ppm);
    Binding::of("pricing", Kind::PricingPolicy, vec![full, half])
}

fn selection(share_ppm: u32) -> Binding {
    let own = variant("", "key-selection", WHOLE_PPM - share_ppm);
    Binding::of("selection", Kind::KeySelector, vec![own, variant("liar", "liar", share_ppm)])
}

fn choice(user: u32) -> Choice {
    Choice::of(&user.to_le_bytes())
}

/// Who pays half.
fn half_payers(generation: &Generation) -> HashSet<u32> {
    let config = digest(HALF_PRICE.as_bytes());
    let pays_half = |user: &u32| generation.choose(choice(*user)).pricing.unwrap().config_digest() == config;
    (0..USERS).filter(pays_half).collect()
}

fn lied_to(generation: &Generation) -> HashSet<u32> {
    let liar = digest(guest("liar"));
    (0..USERS).filter(|user| generation.choose(choice(*user)).selector.unwrap().digest() == liar).collect()
}

#[test]
fn a_tenth_of_the_users_meets_the_variant_with_a_tenth_and_always_the_same_tenth() {
    let bench = Bench::start(vec![pricing(100_000), selection(100_000)]);
    let generation = bench.runtime.current();
    let (half, lied) = (half_payers(&generation), lied_to(&generation));
    // One in a hundred of all users, on either side of a tenth.
    assert!((900..=1100).contains(&half.len()), "{}", half.len());
    assert!((900..=1100).contains(&lied.len()), "{}", lied.len());
    assert!(half.intersection(&lied).count() < 200, "one split follows the other");

    let user = *half.iter().next().unwrap();
    assert_eq!(settle(&generation.choose(choice(user)), 100).unwrap(), 50_000);
    let other = (0..USERS).find(|user| !half.contains(user)).unwrap();
    assert_eq!(settle(&generation.choose(choice(other)), 100).unwrap(), 100_000);

    // Another generation splits alike, and so does another gateway.
    bench.install("liar", &rebuilt(guest("liar"), 1));
    assert_eq!(half_payers(&bench.runtime.rescan().unwrap()), half);
    assert_eq!(half_payers(&Bench::start(vec![pricing(100_000)]).runtime.current()), half);
}

#[test]
fn a_share_that_grows_keeps_its_users_and_its_components() {
    let bench = Bench::start(vec![pricing(100_000)]);
    let before = bench.runtime.current();
    let policies = before.choose(choice(0));
    settle(&policies, 1).unwrap();
    let after = bench.runtime.apply(vec![pricing(300_000)]).unwrap();
    assert_eq!(after.id(), 2);
    assert!(half_payers(&before).is_subset(&half_payers(&after)));
    let calls: u64 = bench.runtime.status().iter().map(|row| row.calls).sum();
    assert_eq!(calls, 1, "nothing was loaded again");
    assert_eq!(
        bench.runtime.status().iter().map(|row| row.share_ppm).collect::<Vec<_>>(),
        [700_000, 300_000]
    );
    assert_eq!(bench.runtime.apply(vec![pricing(300_000)]).unwrap().id(), 2, "nothing changed");
    let alone = bench
        .runtime
        .apply(vec![Binding { variants: vec![variant("", "discount-points", WHOLE_PPM)], ..pricing(1) }]);
    assert!(half_payers(&alone.unwrap()).is_empty());
}

#[test]
fn a_shadow_is_loaded_and_never_serves() {
    let shadow = Variant { shadow: true, ..variant("next", "refund", WHOLE_PPM) };
    let variants = vec![shadow, variant("", "discount-points", WHOLE_PPM)];
    let bench = Bench::start(vec![Binding { variants, ..pricing(0) }]);
    let generation = bench.runtime.current();
    let own = digest(component("discount-points"));
    assert!((0..USERS).all(|user| generation.choose(choice(user)).pricing.unwrap().digest() == own));
    let [shadow, own] = bench.runtime.status().try_into().unwrap();
    assert_eq!(
        (shadow.name.as_str(), shadow.shadow, shadow.digest),
        ("pricing/next", true, digest(guest("refund")))
    );
    assert_eq!((own.name.as_str(), own.shadow, own.share_ppm), ("pricing", false, WHOLE_PPM));
}

#[test]
fn what_befalls_one_variant_stays_with_it() {
    // The refund guest charges less than nothing for a large request.
    let variants = vec![variant("", "discount-points", 500_000), variant("refund", "refund", 500_000)];
    let bench = Bench::start(vec![Binding { variants, ..pricing(0) }]);
    let generation = bench.runtime.current();
    let served_by = |name: &str| {
        let wanted = digest(if name == "refund" { guest(name) } else { component(name) });
        let policies = (0..USERS).map(|user| generation.choose(choice(user)));
        policies.into_iter().find(|policies| policies.pricing.as_ref().unwrap().digest() == wanted).unwrap()
    };
    let (good, bad) = (served_by("discount-points"), served_by("refund"));
    (0..5).for_each(|_| drop(settle(&bad, 1_000_000).unwrap_err()));
    (0..5).for_each(|_| assert!(settle(&good, 1_000_000).is_ok()));
    let [own, refund] = bench.runtime.status().try_into().unwrap();
    assert_eq!((own.state, own.calls, own.last_error), (ComponentState::Active, 5, None));
    assert_eq!((refund.state, refund.calls), (ComponentState::Tripped, 5));
}

#[test]
fn a_variant_that_fails_its_trial_is_rolled_back_and_keeps_its_share() {
    let variants = vec![variant("", "liar", 900_000), variant("new", "key-selection", 100_000)];
    let bench = Bench::start(vec![Binding { variants, ..selection(0) }]);
    let liars = lied_to(&bench.runtime.current());
    bench.install("key-selection", guest("trap"));
    let generation = bench.runtime.rescan().unwrap();
    let user = (0..USERS).find(|user| !liars.contains(user)).unwrap();
    let select = |attempt| crate::harness::select_by(&generation.choose(choice(user)), attempt);
    (0..3).for_each(|_| drop(select(1).unwrap_err()));
    bench.await_event(|event| matches!(event, Event::RolledBack { name, .. } if &**name == "selection/new"));
    let after = bench.runtime.current();
    assert_eq!(after.choose(choice(user)).selector.unwrap().digest(), digest(component("key-selection")));
    assert_eq!(lied_to(&after), liars);
}

#[test]
fn a_variant_of_a_component_that_is_not_there_changes_nothing() {
    let bench = Bench::start(vec![pricing(0)]);
    let variants = vec![variant("", "discount-points", 900_000), variant("new", "no-such", 100_000)];
    let refused = bench.runtime.apply(vec![Binding { variants, ..pricing(0) }]).unwrap_err();
    assert_eq!(refused.to_string(), "component `pricing/new` was refused");
    assert!(
        matches!(refused, ReloadError::Load { cause: LoadError::Missing { component }, .. } if component == "no-such")
    );
    assert_eq!(bench.runtime.current().id(), 1);
    let [own, half] = bench.runtime.status().try_into().unwrap();
    assert_eq!((own.state, half.state), (ComponentState::Active, ComponentState::Active));
}
