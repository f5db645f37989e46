//! Measures the shape of a checkout: `cargo run -p tollgate-tests --bin house -- [ROOT]`. The figures of another commit
//! come from a second checkout of it, measured by the same program.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tollgate_tests::source::{Graph, Source, sources};

/// Crates of the host.
const CRATES: [&str; 4] = ["core", "runtime", "store", "server"];
/// A word that stands for a thing, and the folders that have to change when one more of its kind is added.
const KINDS: [(&str, &str); 3] = [
    ("files that spell a usage class (`cache_write_long`)", "cache_write_long"),
    ("files that name one management route's handler (`keep_bodies`)", "keep_bodies"),
    ("files that name one platform (`vertex`)", "vertex"),
];

fn main() {
    let root = std::env::args().nth(1).map_or_else(|| PathBuf::from("."), PathBuf::from);
    let mut host: Vec<Source> = Vec::new();
    for name in CRATES {
        let folder = format!("host/{name}/src");
        let graph = Graph::of(&root, &folder);
        let rooms = graph.rooms();
        let arrows: usize = rooms.values().map(std::collections::BTreeMap::len).sum();
        say(&format!("{folder}: rooms"), rooms.len());
        say(&format!("{folder}: arrows between rooms"), arrows);
        say(&format!("{folder}: rooms that stand in a circle"), count(&graph.circles_of_rooms()));
        say(&format!("{folder}: files that stand in a circle"), count(&graph.circles_of_files()));
        host.extend(sources(&root, &folder));
    }
    host.retain(|source| !source.is_test());
    percentiles("lines of a function", host.iter().flat_map(Source::functions).collect());
    percentiles("lines of a file", host.iter().map(|source| source.lines).collect());
    let names_sqlite = |source: &&Source| {
        source.code.contains("Sqlite") || source.code.contains("sqlx") || source.code.contains("sqlite")
    };
    let outside = |source: &&Source| !source.path.starts_with("host/store/src/sqlite");
    say("files that name SQLite", host.iter().filter(names_sqlite).count());
    say(
        "of these outside of host/store/src/sqlite",
        host.iter().filter(names_sqlite).filter(outside).count(),
    );
    say("files that name anyhow", host.iter().filter(|source| source.code.contains("anyhow")).count());
    for (title, word) in KINDS {
        say(title, naming(&root, word).len());
    }
}

/// Files outside of tests that have a word in them.
fn naming(root: &Path, word: &str) -> BTreeSet<String> {
    let folders = [
        "host",
        "plugins/sdk",
        "plugins/protocols/src",
        "plugins/openai",
        "plugins/claude",
        "plugins/gemini",
        "policies",
    ];
    let all = folders.iter().flat_map(|folder| sources(root, folder)).filter(|source| !source.is_test());
    all.filter(|source| source.code.contains(word) || source.literals.iter().any(|text| text.contains(word)))
        .map(|source| source.path)
        .collect()
}

fn count(circles: &[Vec<String>]) -> usize {
    circles.iter().map(Vec::len).sum()
}

fn percentiles(title: &str, mut all: Vec<usize>) {
    all.sort_unstable();
    let at = |percent: usize| all.get((all.len() * percent / 100).min(all.len() - 1)).copied().unwrap_or(0);
    say(&format!("{title}: count"), all.len());
    for percent in [50, 95, 99, 100] {
        say(&format!("{title}: {percent} %"), at(percent));
    }
}

#[expect(clippy::print_stdout, reason = "it prints a table")]
fn say(what: &str, figure: usize) {
    println!("{what:<70} {figure:>7}");
}
