//! No input breaks anything.

use crate::cases::{Case, Kind, PROTOCOLS, REQUEST_ID, context, target};
use crate::stream_rules;
use tollgate_protocols::translate::Pair;

/// The bytes with a few of them lost, doubled or replaced.
fn damaged(bytes: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..random.usize(1..4) {
        let at = random.usize(..bytes.len().max(1)).min(bytes.len().saturating_sub(1));
        let to = (at + random.usize(..12)).min(bytes.len());
        match random.u8(..5) {
            0 => drop(bytes.drain(at..to)),
            1 => bytes.truncate(at),
            2 => bytes.extend_from_within(at..to),
            3 => drop(bytes.splice(at..to, WORDS[random.usize(..WORDS.len())].iter().copied())),
            _ => bytes.insert(at, random.u8(..)),
        }
        if bytes.is_empty() {
            break;
        }
    }
    bytes
}

const WORDS: [&[u8]; 8] =
    [b"null", b"{}", b"[]", b"\"\"", b"-1", b"\\ud83d", b"\n\n", b"18446744073709551616"];

#[test]
fn damaged_bodies_are_refused_or_translated_into_json() {
    let mut random = fastrand::Rng::with_seed(7);
    for case in Case::all() {
        for _ in 0..40 {
            let input = damaged(case.input().as_bytes(), &mut random);
            for (other, _) in PROTOCOLS {
                let incoming = Pair { client: case.protocol, upstream: other };
                let outgoing = Pair { client: other, upstream: case.protocol };
                let out = match case.kind {
                    Kind::Request => incoming.request(&input, &target(other)).map(|request| request.body),
                    Kind::Response => outgoing.response(&input, &context(other)),
                    Kind::Error => Ok(outgoing.error(500, &input, REQUEST_ID).body),
                    Kind::Embedding => incoming.embed(&input, &target(other)).map(|embedding| embedding.body),
                    Kind::Embedded => {
                        let (request, _) = case.input().split_once('\n').unwrap();
                        let Ok(asked) = outgoing.embed(request.as_bytes(), &target(case.protocol)) else {
                            continue;
                        };
                        outgoing.embeddings(&input, &asked.asked)
                    }
                    Kind::Count => incoming.count(&input, &target(other)),
                    Kind::Counted => outgoing.counted(&input),
                    Kind::Stream => continue,
                };
                if let Ok(body) = out {
                    let json: Result<serde_json::Value, _> = serde_json::from_slice(&body);
                    // Lone surrogates pass as they came; only a reader that decodes characters fails on them.
                    let surrogate = String::from_utf8_lossy(&body).contains("\\ud");
                    assert!(json.is_ok() || surrogate, "{}", String::from_utf8_lossy(&body));
                }
            }
        }
    }
}

#[test]
fn damaged_streams_keep_the_rules_of_the_client() {
    let mut random = fastrand::Rng::with_seed(7);
    for case in Case::all().iter().filter(|case| case.kind == Kind::Stream) {
        for _ in 0..200 {
            let input = damaged(case.input().as_bytes(), &mut random);
            for (client, _) in PROTOCOLS {
                let mut stream = Pair { client, upstream: case.protocol }.stream(&context(client));
                let mut out = stream.feed(&input);
                out.extend(stream.finish());
                let out = String::from_utf8(out).unwrap();
                stream_rules::check(client, &out);
            }
        }
    }
}

#[test]
fn a_request_that_was_translated_once_is_translated_alike_again() {
    for case in Case::all().iter().filter(|case| case.kind == Kind::Request) {
        for (other, name) in PROTOCOLS {
            let once = Pair { client: case.protocol, upstream: other };
            let Ok(first) = once.request(case.input().as_bytes(), &target(other)) else { continue };
            let again = Pair { client: other, upstream: other };
            let second = again.request(&first.body, &target(other)).unwrap_or_else(|refused| {
                panic!("{} for {name}: {refused}", case.path.display());
            });
            let text = |body: &[u8]| String::from_utf8(body.to_vec()).unwrap();
            assert_eq!(text(&second.body), text(&first.body), "{} for {name}", case.path.display());
        }
    }
}
