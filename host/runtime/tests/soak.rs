//! Two hundred reloads leave nothing behind. By itself, because it looks at the memory of the process.
#![expect(clippy::unwrap_used, reason = "what fails to be set up fails the test")]

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use tollgate_runtime::{
    Binding, Candidate, Choice, Embedded, Health, Kind, Limits, Probation, Runtime, SelectRequest, Settings,
    Variant,
};

fn settings(dir: &Path) -> Settings {
    let bytes = tollgate_components::find_guest("liar").unwrap().bytes;
    Settings {
        plugins_dir: Some(dir.to_owned()),
        cache_dir: None,
        archive: None,
        versions_file: None,
        embedded: vec![Embedded { name: "liar".to_owned(), bytes }],
        workers: 3,
        probation: Probation::DEFAULT,
        limits: Limits::DEFAULT,
        filter_check: |_| Ok(()),
    }
}

fn call(runtime: &Runtime) {
    let candidate = Candidate {
        handle: 1,
        owner: tollgate_core::protocol::Owner::User,
        health: Health::Available,
        weight: 100,
        in_flight: 0,
        failures: 0,
        idle_ms: 0,
        affinity: 0,
    };
    let generation = runtime.current();
    let chosen = generation
        .choose(Choice::default())
        .selector
        .unwrap()
        .select(SelectRequest { seed: 1, attempt: 0 }, &[candidate]);
    assert_eq!(chosen.unwrap(), Some(1));
}

/// Memory of this process that is in use, in bytes.
fn resident_bytes() -> usize {
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// Waits for what another thread does.
fn eventually(what: &str, happened: impl Fn() -> bool) {
    let start = Instant::now();
    while !happened() {
        assert!(start.elapsed() < Duration::from_secs(60), "still waiting for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn two_hundred_reloads_leave_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let bind = |round: u32| {
        let variant = Variant::new("liar", format!("{{\"round\":{round}}}"));
        Binding::of("selector", Kind::KeySelector, vec![variant])
    };
    let runtime = Runtime::start(settings(dir.path()), vec![bind(0)], |_| {}).unwrap();
    let original = tollgate_components::find_guest("liar").unwrap().bytes;
    let mut before = 0;
    for round in 1..=200_u32 {
        if round % 4 == 0 {
            // A custom section that says nothing makes other bytes of the same component.
            let section = [[0, 9, 4].as_slice(), b"note", &round.to_le_bytes()].concat();
            fs::write(dir.path().join("liar.wasm"), [original, &section].concat()).unwrap();
        }
        let generation = runtime.apply(vec![bind(round)]).unwrap();
        assert_eq!(generation.id(), u64::from(round) + 1);
        drop(generation);
        thread::scope(|scope| {
            scope.spawn(|| call(&runtime));
            call(&runtime);
        });
        if round == 50 {
            before = resident_bytes();
        }
    }
    eventually("old generations to go", || runtime.generations_live() == 1);
    eventually("old instances to go", || runtime.status()[0].instances == 1);
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 32 << 20, "{} KiB more after 150 reloads", grown >> 10);
}
