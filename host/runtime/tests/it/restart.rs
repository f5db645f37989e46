//! A start serves what was good: nothing in the plugins directory prevents it, and what failed once is not tried again.

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use tollgate_runtime::{
    Archive, Binding, ComponentState, Event, Kind, Limits, LoadError, OnError, Probation, ReloadError,
    Settings, Source, StartError,
};

use crate::harness::{Bench, chosen, component, digest, eventually, guest, rebuilt, selector, settings};

/// A gateway's directories, which outlive its runtime.
struct House {
    plugins: TempDir,
    data: TempDir,
}

impl House {
    fn new() -> Self {
        Self { plugins: tempfile::tempdir().unwrap(), data: tempfile::tempdir().unwrap() }
    }

    fn install(&self, name: &str, bytes: &[u8]) {
        fs::write(self.plugins.path().join(format!("{name}.wasm")), bytes).unwrap();
    }

    fn settings(&self) -> Settings {
        Settings {
            archive: Some(Archive::new(self.data.path().join("components"))),
            versions_file: Some(self.data.path().join("versions")),
            ..settings(self.plugins.path())
        }
    }

    fn start(&self) -> Bench {
        self.start_with(self.settings(), vec![selector("key-selection")]).unwrap()
    }

    fn start_with(&self, settings: Settings, bindings: Vec<Binding>) -> Result<Bench, StartError> {
        Bench::serve(settings, bindings)
    }

    fn versions(&self) -> String {
        fs::read_to_string(self.data.path().join("versions")).unwrap_or_default()
    }
}

fn serves(bench: &Bench) -> tollgate_runtime::Digest {
    chosen(&bench.runtime.current()).selector.unwrap().digest()
}

fn fails_its_trial(bench: &Bench) {
    (0..3).for_each(|_| drop(bench.select(1).unwrap_err()));
    bench.await_event(|event| matches!(event, Event::RolledBack { .. }));
}

#[test]
fn a_rollback_survives_a_restart() {
    let house = House::new();
    let first = house.start();
    house.install("key-selection", guest("trap"));
    first.runtime.rescan().unwrap();
    fails_its_trial(&first);
    eventually("the file of versions", || house.versions().starts_with("failed\tselector\t"));
    drop(first);

    let second = house.start();
    let (good, bad) = (digest(component("key-selection")), digest(guest("trap")));
    assert_eq!(serves(&second), good);
    assert!(matches!(second.status().state, ComponentState::RolledBack { from, .. } if from == bad));
    assert!(second.select(1).is_ok());
    second.runtime.rescan().unwrap();
    assert_eq!(serves(&second), good, "a look at the files does not try it again");
    drop(second);

    // With other bounds, or with other bytes, it has another chance.
    let roomier = Binding { deadline_ms: 100, ..selector("key-selection") };
    let third = house.start_with(house.settings(), vec![roomier]).unwrap();
    assert_eq!(serves(&third), bad);
    drop(third);
    house.install("key-selection", &rebuilt(component("key-selection"), 1));
    let fourth = house.start();
    assert_eq!(
        (serves(&fourth), fourth.status().state),
        (digest(&rebuilt(component("key-selection"), 1)), ComponentState::Active)
    );
}

#[test]
fn a_torn_or_wrong_file_does_not_prevent_a_start() {
    let whole = component("key-selection");
    for bytes in [&whole[..whole.len() / 2], b"garbage", b"", guest("refund"), component("content-filter")] {
        let house = House::new();
        house.install("key-selection", bytes);
        let bench = house.start();
        assert_eq!((serves(&bench), bench.status().source), (digest(whole), Source::Embedded));
        assert!(matches!(bench.status().state, ComponentState::Refused { .. }), "{:?}", bench.status());
        assert!(bench.select(0).is_ok());
        house.install("key-selection", &rebuilt(whole, 1));
        bench.runtime.rescan().unwrap();
        assert_eq!(
            (serves(&bench), bench.status().state),
            (digest(&rebuilt(whole, 1)), ComponentState::Active)
        );
    }
}

#[test]
fn the_last_good_file_serves_where_the_next_one_is_torn() {
    let house = House::new();
    let own = rebuilt(component("key-selection"), 7);
    house.install("key-selection", &own);
    let short = || Settings { probation: Probation { calls: 5, ..Probation::DEFAULT }, ..house.settings() };
    let bench = house.start_with(short(), vec![selector("key-selection")]).unwrap();
    (0..10).for_each(|_| assert!(bench.select(0).is_ok()));
    eventually("the file of versions", || house.versions().contains(&digest(&own).to_string()));
    drop(bench);

    house.install("key-selection", &own[..1000]);
    let bench = house.start();
    assert_eq!((serves(&bench), bench.status().source), (digest(&own), Source::Kept));
    assert!(bench.select(0).is_ok());
}

#[test]
fn a_version_that_is_new_at_the_start_is_on_trial() {
    let house = House::new();
    house.install("key-selection", guest("trap"));
    let bench = house.start();
    assert_eq!(serves(&bench), digest(guest("trap")));
    fails_its_trial(&bench);
    assert_eq!(serves(&bench), digest(component("key-selection")));
}

#[test]
fn a_binding_that_nothing_can_serve_stays_empty_and_says_so() {
    let house = House::new();
    house.install("own", b"garbage");
    let own = || Binding { on_error: OnError::Closed, ..selector("own") };
    let bench = house.start_with(house.settings(), vec![own()]).unwrap();
    let policies = chosen(&bench.runtime.current());
    assert!(policies.selector.is_none());
    assert_eq!(policies.lacks, Some(Kind::KeySelector));
    assert_eq!(bench.status().source, Source::Nowhere);
    assert!(matches!(bench.status().state, ComponentState::Refused { .. }));
    assert!(bench.runtime.rescan().is_err(), "it is garbage still");
    assert_eq!(chosen(&bench.runtime.current()).lacks, Some(Kind::KeySelector));

    house.install("own", component("key-selection"));
    bench.runtime.rescan().unwrap();
    assert_eq!(chosen(&bench.runtime.current()).lacks, None);
    assert!(bench.select(0).is_ok());

    // A selector that may fail is one that may be missing.
    house.install("own", b"garbage");
    let open = house
        .start_with(Settings { versions_file: None, ..house.settings() }, vec![selector("own")])
        .unwrap();
    assert_eq!(chosen(&open.runtime.current()).lacks, None);
}

#[test]
fn a_name_that_never_was_is_a_mistake() {
    let house = House::new();
    let error = house.start_with(house.settings(), vec![selector("key-selectoin")]).err().unwrap();
    let StartError::Load(ReloadError::Load { cause, .. }) = error else { panic!("{error}") };
    assert!(matches!(cause, LoadError::Missing { .. }), "{cause}");
}

#[test]
fn a_slow_compilation_does_not_stop_a_start() {
    let house = House::new();
    house.install("key-selection", &rebuilt(component("key-selection"), 1));
    let limits = Limits { compile: std::time::Duration::ZERO, ..Limits::DEFAULT };
    let cache_dir = Some(house.data.path().join("compiled"));
    let hurried = Settings { limits, cache_dir, ..house.settings() };
    let bench = house.start_with(hurried, vec![selector("key-selection")]).unwrap();
    assert_eq!(serves(&bench), digest(component("key-selection")));
    // It has not been waited for, and serves from the first look after it was done.
    eventually("the end of the compilation", || bench.runtime.rescan().is_ok());
    assert_eq!(serves(&bench), digest(&rebuilt(component("key-selection"), 1)));
}

#[test]
fn a_damaged_file_of_versions_is_no_reason_to_stop() {
    let house = House::new();
    fs::write(house.data.path().join("versions"), b"good\t\xff\xff\nfailed\n").unwrap();
    assert!(house.start().select(0).is_ok());
    let blocked =
        Settings { versions_file: Some(Path::new("/dev/null/versions").to_owned()), ..house.settings() };
    assert!(house.start_with(blocked, vec![selector("key-selection")]).unwrap().select(0).is_ok());
}
