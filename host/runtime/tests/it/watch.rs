//! Files that change are noticed, however they are replaced.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::harness::{Bench, chosen, component, digest, eventually, guest, rebuilt, selector};

/// A watched runtime, and a wait until these bytes serve.
fn watched() -> Bench {
    let bench = Bench::start(vec![selector("key-selection")]);
    bench.runtime.watch().unwrap();
    bench
}

fn await_serving(bench: &Bench, bytes: &[u8]) {
    let wanted = digest(bytes);
    eventually("the new component", || chosen(&bench.runtime.current()).selector.unwrap().digest() == wanted);
}

#[test]
fn a_rename_into_place_is_noticed() {
    let bench = watched();
    bench.install("key-selection", guest("liar"));
    await_serving(&bench, guest("liar"));
}

#[test]
fn a_file_written_in_place_and_in_pieces_is_noticed() {
    use std::io::Write as _;
    let bench = watched();
    let bytes = rebuilt(component("key-selection"), 3);
    let mut file = fs::File::create(bench.file("key-selection")).unwrap();
    for piece in bytes.chunks(bytes.len() / 7) {
        file.write_all(piece).unwrap();
        file.flush().unwrap();
        std::thread::yield_now();
    }
    drop(file);
    await_serving(&bench, &bytes);
}

#[test]
fn a_removed_file_is_noticed() {
    let bench = watched();
    bench.install("key-selection", guest("liar"));
    await_serving(&bench, guest("liar"));
    fs::remove_file(bench.file("key-selection")).unwrap();
    await_serving(&bench, component("key-selection"));
}

/// Mounted configuration: the file is a link into a link to a directory, and the inner link is swapped.
#[test]
fn a_swapped_link_is_noticed() {
    let bench = watched();
    let dir = bench.dir.path();
    let release = |version: &str, bytes: &[u8]| {
        fs::create_dir(dir.join(version)).unwrap();
        fs::write(dir.join(version).join("key-selection.wasm"), bytes).unwrap();
        symlink(version, dir.join("fresh-link")).unwrap();
        fs::rename(dir.join("fresh-link"), dir.join("..data")).unwrap();
    };
    release("..v1", guest("liar"));
    symlink(Path::new("..data").join("key-selection.wasm"), bench.file("key-selection")).unwrap();
    await_serving(&bench, guest("liar"));
    let second = rebuilt(component("key-selection"), 4);
    release("..v2", &second);
    await_serving(&bench, &second);
}
