//! Compiled code is kept between starts, and never believed without its tag.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tollgate_runtime::{Limits, Settings};

use crate::harness::{Bench, component, guest, selector, settings};

/// Starts with this cache; with no time to compile, only what is kept can be loaded.
fn starts(cache: &Path, may_compile: bool) -> bool {
    let compile = if may_compile { Limits::DEFAULT.compile } else { Duration::ZERO };
    let limits = Limits { compile, ..Limits::DEFAULT };
    let with_cache = |dir: &Path| Settings { cache_dir: Some(cache.to_owned()), limits, ..settings(dir) };
    let started = Bench::try_start(with_cache, vec![selector("key-selection")]);
    started.is_ok_and(|bench| bench.select(0).is_ok())
}

fn kept(cache: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(cache).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "cwasm")).collect()
}

#[test]
fn a_second_start_compiles_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("compiled");
    assert!(starts(&cache, true));
    assert!(starts(&cache, false));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&cache), mode(&cache.join("key"))), (0o700, 0o600));
    assert_eq!(kept(&cache).len(), 1);
}

/// Damages the one file that is kept; it is not used, and made anew.
fn check(damage: impl FnOnce(&mut Vec<u8>)) {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("compiled");
    assert!(starts(&cache, true));
    let [file] = kept(&cache).try_into().unwrap();
    let mut bytes = fs::read(&file).unwrap();
    damage(&mut bytes);
    fs::write(&file, bytes).unwrap();
    assert!(!starts(&cache, false), "damaged code was used");
    // The compilation that was given up on above may still be about to write.
    assert!(starts(&cache, true));
    assert!(starts(&cache, false), "the damage was not repaired");
}

#[test]
fn a_single_changed_bit_is_noticed() {
    check(|bytes| {
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
    });
}

#[test]
fn a_file_cut_short_is_noticed() {
    check(|bytes| bytes.truncate(bytes.len() / 2));
    check(|bytes| bytes.truncate(10));
    check(Vec::clear);
}

#[test]
fn code_of_another_component_under_this_name_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("compiled");
    assert!(starts(&cache, true));
    let [file] = kept(&cache).try_into().unwrap();
    let with_cache = |dir: &Path| Settings { cache_dir: Some(cache.clone()), ..settings(dir) };
    drop(Bench::try_start(with_cache, vec![selector("trap")]).unwrap());
    let other = kept(&cache).into_iter().find(|path| *path != file).unwrap();
    fs::copy(other, &file).unwrap();
    assert!(!starts(&cache, false));
}

#[test]
fn code_from_another_host_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
    assert!(starts(&ours, true) && starts(&theirs, true));
    let [file] = kept(&theirs).try_into().unwrap();
    fs::copy(&file, ours.join(file.file_name().unwrap())).unwrap();
    assert!(!starts(&ours, false));
}

#[test]
fn compiled_code_in_the_plugins_directory_is_no_component() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("compiled");
    assert!(starts(&cache, true));
    let [file] = kept(&cache).try_into().unwrap();
    let code = fs::read(file).unwrap().split_off(32);
    let bench = Bench::start(vec![selector("key-selection")]);
    bench.install("key-selection", &code);
    assert!(bench.runtime.rescan().is_err());
    assert_ne!(component("key-selection"), guest("trap"));
}

#[test]
fn a_file_that_was_refused_is_not_compiled_again() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("compiled");
    let with_cache = |dir: &Path| Settings { cache_dir: Some(cache.clone()), ..settings(dir) };
    let bench = Bench::try_start(with_cache, vec![selector("key-selection")]).unwrap();
    bench.install("key-selection", component("content-filter"));
    assert!(bench.runtime.rescan().is_err());
    assert_eq!(kept(&cache).len(), 2);
    kept(&cache).iter().for_each(|path| fs::remove_file(path).unwrap());
    assert!(bench.runtime.rescan().is_err());
    assert!(kept(&cache).is_empty());
}

#[test]
fn a_directory_that_others_may_write_to_is_not_used() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(starts(dir.path(), true));
    assert!(kept(dir.path()).is_empty());
}
