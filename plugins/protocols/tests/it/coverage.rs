//! What is translated, and what is refused, as a table for people: `COVERAGE.md`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use crate::cases::{Case, Kind, LEFT_OUT, PROTOCOLS};
use crate::features;
use tollgate_plugin::types::Protocol;

const HEAD: &str = "# What is translated\n\n\
    Written by the tests of this crate from the cases in `testdata/`; do not edit. `TOLLGATE_BLESS=1 cargo test -p\n\
    tollgate-protocols` writes it anew.\n\n\
    A cell says what becomes of a feature between two protocols: it **passes** (the case shows as what), or it is refused,\n\
    with the member and the reason that the client gets in a 400. Where both sides speak the same protocol the original\n\
    bytes go through, whatever is in them.\n\n\
    What is a hint, without which the answer is one as well, is left out and named to the client in the header\n\
    `x-tollgate-left-out`, and in the record of the call; so is what was adjusted to what an upstream demands. Of several\n\
    places of one kind the first is named. A key with `translation = \"strict\"` has such requests refused instead, but for\n\
    what says nothing to the other provider (labels, marks of caches, who the user is) and what it demands. The last column\n\
    of the tables of requests has the names.\n\n\
    The first part goes by what people ask for, the second by what each protocol can say: a case that a protocol has no\n\
    words for is not in its table, and the last line of each table names those.\n";

const HEADINGS: [(Kind, &str, &str); 8] = [
    (Kind::Request, "Requests of a client of", "to an upstream of"),
    (Kind::Response, "Whole answers of an upstream of", "for a client of"),
    (Kind::Stream, "Streams of an upstream of", "for a client of"),
    (Kind::Error, "Errors of an upstream of", "for a client of"),
    (Kind::Embedding, "Embeddings asked for by a client of", "to an upstream of"),
    (Kind::Embedded, "Embeddings of an upstream of", "for a client of"),
    (Kind::Count, "Token counts asked for by a client of", "to an upstream of"),
    (Kind::Counted, "Token counts of an upstream of", "for a client of"),
];

fn document(cases: &[Case]) -> String {
    let mut out = HEAD.to_owned() + &features::document(cases);
    for (kind, from, to) in HEADINGS {
        let features: BTreeSet<&str> =
            cases.iter().filter(|case| case.kind == kind).map(|case| case.feature.as_str()).collect();
        for (protocol, name) in PROTOCOLS.into_iter().filter(|(protocol, _)| kind.is_of(*protocol)) {
            let of_table = |case: &&Case| case.kind == kind && case.protocol == protocol;
            let rows: Vec<&Case> = cases.iter().filter(of_table).collect();
            writeln!(out, "\n## {from} {name}\n").unwrap();
            table(&mut out, &rows, kind, protocol, to);
            let missing: Vec<&str> = features
                .iter()
                .copied()
                .filter(|feature| rows.iter().all(|case| case.feature != *feature))
                .collect();
            if !missing.is_empty() {
                writeln!(out, "\nNot applicable: {}.", missing.join(", ")).unwrap();
            }
        }
    }
    out
}

fn table(out: &mut String, rows: &[&Case], kind: Kind, protocol: Protocol, to: &str) {
    let others = || PROTOCOLS.into_iter().filter(move |(other, _)| *other != protocol && kind.is_of(*other));
    let asked = kind == Kind::Request;
    write!(out, "| feature |").unwrap();
    others().for_each(|(_, name)| write!(out, " {to} {name} |").unwrap());
    writeln!(out, "{}", if asked { " left out and named |" } else { "" }).unwrap();
    writeln!(out, "|---|{}", "---|".repeat(others().count() + usize::from(asked))).unwrap();
    for case in rows {
        write!(out, "| `{}`: {} |", case.feature, case.title()).unwrap();
        others().for_each(|(other, _)| write!(out, " {} |", cell(&case.output(other))).unwrap());
        writeln!(out, "{}", if asked { format!(" {} |", left_out(case)) } else { String::new() }).unwrap();
    }
}

/// What each upstream is not told, by its protocol.
fn left_out(case: &Case) -> String {
    let of = |(other, name)| {
        let output = case.output(other);
        let names = output.lines().last()?.strip_prefix(LEFT_OUT)?.to_owned();
        Some(format!("{name}: `{names}`"))
    };
    case.others().filter_map(of).collect::<Vec<_>>().join("<br>")
}

fn cell(output: &str) -> String {
    let refused = output.starts_with("refused: ") || output.starts_with("unreadable: ");
    if refused { output.replace('|', "\\|") } else { "passes".to_owned() }
}

#[test]
fn the_table_of_coverage_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("COVERAGE.md");
    let expected = document(&Case::all());
    if std::env::var_os("TOLLGATE_BLESS").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == expected, "COVERAGE.md is stale: run with TOLLGATE_BLESS=1");
}
