//! The shape of the host, held against ARCHITECTURE.md: rooms, and the arrows that its table allows.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use tollgate_tests::source::Graph;

const SERVER: &str = "host/server/src";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What each room may import, by the table of ARCHITECTURE.md. `all` stands for every room, `all but` for the rest.
fn allowed() -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("the document reads");
    let table = text.split("| room | what it holds | may import |").nth(1).expect("the table of rooms");
    let rows: Vec<Vec<&str>> = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let spans =
        |cell: &str| -> BTreeSet<String> { cell.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    let name = |row: &[&str]| spans(row[0]).into_iter().next().expect("a room's name");
    let all: BTreeSet<String> = rows.iter().map(|row| name(row)).collect();
    let reach = |cell: &str| {
        let named = spans(cell);
        if cell.starts_with("all") { all.difference(&named).cloned().collect() } else { named }
    };
    rows.iter().map(|row| (name(row), reach(row[2]))).collect()
}

#[test]
fn every_room_stands_in_the_table_and_every_arrow_is_allowed_by_it() {
    let (allowed, rooms) = (allowed(), Graph::of(&root(), SERVER).rooms());
    // The crate's root declares the rooms, and the binary calls it.
    let inside = |room: &&String| !matches!(room.as_str(), "lib" | "main");
    let named: BTreeSet<&String> = allowed.keys().collect();
    assert_eq!(named, rooms.keys().filter(inside).collect(), "left: the table; right: the folder");
    for (from, arrows) in rooms.iter().filter(|(from, _)| inside(from)) {
        let imports: BTreeSet<String> = arrows.keys().filter(inside).cloned().collect();
        let beyond: Vec<_> = imports.difference(&allowed[from]).map(|to| (to, &arrows[to])).collect();
        assert!(beyond.is_empty(), "{from} may not import {beyond:?}");
        // An unused permission would let someone add an arrow without looking at the page.
        let unused: Vec<_> = allowed[from].difference(&imports).collect();
        assert!(
            unused.is_empty() || is_wiring(from),
            "{from} does not import {unused:?}, and the table says that it may"
        );
    }
}

/// Rooms that put everything together, and may import it.
fn is_wiring(room: &str) -> bool {
    matches!(room, "app" | "cli")
}

#[test]
fn no_rooms_import_each_other_in_a_circle() {
    for name in ["core", "runtime", "store", "server"] {
        let circles = Graph::of(&root(), &format!("host/{name}/src")).circles_of_rooms();
        assert!(circles.is_empty(), "host/{name}: {circles:?}");
    }
}

#[test]
fn no_files_import_each_other_in_a_circle_but_parent_and_child() {
    for name in ["core", "runtime", "store", "server"] {
        let circles = Graph::of(&root(), &format!("host/{name}/src")).circles_of_files();
        assert!(circles.is_empty(), "host/{name}: {circles:#?}");
    }
}
