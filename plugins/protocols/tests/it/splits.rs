//! How a stream is cut does not matter.

use crate::cases::{Case, Kind, PROTOCOLS, context};
use tollgate_protocols::translate::Pair;

fn streams() -> Vec<Case> {
    Case::all().into_iter().filter(|case| case.kind == Kind::Stream).collect()
}

/// What a stream in these chunks is for a client.
fn told(pair: Pair, chunks: Vec<&[u8]>) -> Vec<u8> {
    let mut stream = pair.stream(&context(pair.client));
    let mut out: Vec<u8> = chunks.into_iter().flat_map(|chunk| stream.feed(chunk)).collect();
    out.extend(stream.finish());
    out
}

fn check(cut: impl Fn(&[u8]) -> Vec<&[u8]>) {
    for case in streams() {
        let input = case.input().as_bytes();
        for (client, name) in PROTOCOLS {
            let pair = Pair { client, upstream: case.protocol };
            assert_eq!(told(pair, cut(input)), told(pair, vec![input]), "{} for {name}", case.path.display());
        }
    }
}

#[test]
fn what_comes_before_the_first_event_may_be_cut_too() {
    for case in streams() {
        for before in [
            "\u{feff}",
            " ",
            "\r\n",
            "\u{feff} \n",
            " \u{feff}",
            "\u{feff}{",
            "\u{feff}[",
            "  {\"a\":\u{feff}",
        ] {
            let input = [before, case.input()].concat();
            for (client, name) in PROTOCOLS {
                let pair = Pair { client, upstream: case.protocol };
                let whole = told(pair, vec![input.as_bytes()]);
                let cut = told(pair, input.as_bytes().chunks(1).collect());
                assert_eq!(cut, whole, "{before:?} before {} for {name}", case.path.display());
            }
        }
    }
}

#[test]
fn byte_by_byte_is_as_good_as_all_at_once() {
    check(|input| input.chunks(1).collect());
}

#[test]
fn any_split_gives_the_same_output() {
    for seed in 0..200 {
        check(|input| {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut rest = input;
            let mut chunks = Vec::new();
            while !rest.is_empty() {
                let (chunk, after) = rest.split_at(random.usize(0..=rest.len().min(90)));
                chunks.push(chunk);
                rest = after;
            }
            chunks
        });
    }
}

#[test]
fn the_first_bytes_leave_with_the_first_event() {
    for case in streams() {
        let input = case.input();
        let data = input.find("data: ").unwrap();
        let first = data + input[data..].find("\n\n").or_else(|| input[data..].find("\n\r\n")).unwrap() + 3;
        let first = first.min(input.len());
        for (client, name) in PROTOCOLS {
            let mut stream = Pair { client, upstream: case.protocol }.stream(&context(client));
            let out = stream.feed(&input.as_bytes()[..first]);
            assert!(!out.is_empty(), "{} for {name}", case.path.display());
        }
    }
}
