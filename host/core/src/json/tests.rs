//! The scanner against `serde_json`, on documents that are right and on the same with a few bytes changed.

use super::*;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::Value as Tree;

/// A document, spelled in ways that no serialiser would.
fn document() -> impl Strategy<Value = String> {
    let key = prop_oneof![Just("a"), Just("b"), Just("\\u0063"), Just("d é"), Just("")];
    let leaf = prop_oneof![
        "-?(0|[1-9][0-9]{0,17})(\\.[0-9]{1,3})?([eE][+-]?[0-9])?",
        string_literal(),
        prop_oneof![Just("true"), Just("false"), Just("null"), Just("{ }"), Just("[\n]")]
            .prop_map(str::to_owned),
    ];
    let value = leaf.prop_recursive(4, 40, 5, move |inner| {
        prop_oneof![
            vec(inner.clone(), 1..4).prop_map(|items| format!("[{}]", items.join(" ,"))),
            vec((key.clone(), inner), 1..5).prop_map(|members| object(&members)),
        ]
    });
    let space = "[ \t\r\n]{0,3}";
    let key = prop_oneof![Just("a"), Just("b"), Just("\\u0063")];
    (space, vec((key, value), 0..5), space)
        .prop_map(|(left, members, right)| format!("{left}{}{right}", object(&members)))
}

fn string_literal() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-z ]{0,20}",
        "[é☃😀\u{7f}]{1,3}",
        prop_oneof![
            Just("\\n"),
            Just("\\\""),
            Just("\\\\"),
            Just("\\/"),
            Just("\\u00e9"),
            Just("\\uD83D\\uDE00")
        ]
        .prop_map(str::to_owned),
    ];
    vec(piece, 0..5).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

fn object<K: AsRef<str>>(members: &[(K, String)]) -> String {
    let spell = |(key, value): &(K, String)| format!("\"{}\" :{value}", key.as_ref());
    format!("{{{}}}", members.iter().map(spell).collect::<Vec<_>>().join(","))
}

/// A few bytes changed, put in or taken out.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![any::<u8>(), proptest::sample::select(b"{}[]\":,\\0.eE+-tfn u\x1f\x80".to_vec()),];
    let change = (any::<prop::sample::Index>(), 0..3_u8, byte);
    (document(), vec(change, 0..3)).prop_map(|(document, changes)| {
        let mut bytes = document.into_bytes();
        for (index, change, byte) in changes {
            let at = index.index(bytes.len().max(1));
            match change {
                0 => bytes.insert(at, byte),
                1 if at < bytes.len() => bytes[at] = byte,
                _ if at < bytes.len() => drop(bytes.remove(at)),
                _ => {}
            }
        }
        bytes
    })
}

fn is_object(bytes: &[u8]) -> bool {
    // `IgnoredAny` checks the grammar alone: it takes half surrogate pairs and numbers of any size, as RFC 8259 does.
    let grammatical = serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok();
    grammatical && std::str::from_utf8(bytes).is_ok_and(|text| text.trim_start().starts_with('{'))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_the_grammar_allows_is_accepted_and_nothing_else(bytes in damaged()) {
        prop_assert_eq!(members(&bytes, |_, _| ()).is_ok(), is_object(&bytes), "{}", String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn members_are_what_another_parser_reads(text in document()) {
        let mut read = serde_json::Map::new();
        members(text.as_bytes(), |key, value| {
            let tree = serde_json::from_str(&text[value.range()]).unwrap();
            read.insert(std::str::from_utf8(key).unwrap().to_owned(), tree);
        }).unwrap();
        let expected: Tree = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(Tree::Object(read), expected);
    }

    #[test]
    fn a_path_leads_where_another_parser_says(
        tree in btree_map("[a-c]", btree_map("[a-cé\"]", btree_map("[a-c]", 0..9_u8, 0..3), 0..3), 0..3),
        path in vec("[a-cé\"]", 0..4),
    ) {
        let tree = serde_json::to_value(tree).unwrap();
        let text = serde_json::to_string_pretty(&tree).unwrap();
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let expected = path.iter().try_fold(&tree, |at, name| at.get(name));
        let found = find(text.as_bytes(), &path).map(|value| serde_json::from_str(&text[value.range()]).unwrap());
        prop_assert_eq!(found.as_ref(), expected);
    }

    #[test]
    fn a_member_is_read_from_its_name_to_the_end_or_not_at_all(
        text in document(),
        name in proptest::sample::select(vec!["\"a\"", "\"b\"", "\"\"", "\"d é\""]),
    ) {
        let outermost: serde_json::Map<String, Tree> = serde_json::from_str(&text).unwrap();
        let places: Vec<usize> = text.match_indices(name).map(|(at, _)| at).collect();
        let found: Vec<Value> = places.iter().filter_map(|&at| member_at(text.as_bytes(), at)).collect();
        for value in &found {
            let read: Tree = serde_json::from_str(&text[value.range()]).unwrap();
            // Of several members with one name the map has the last.
            prop_assert!(read == outermost[name.trim_matches('"')] || found.len() > 1);
        }
        if let [at] = places[..] && let Some(value) = find(text.as_bytes(), &[name.trim_matches('"')]) {
            prop_assert_eq!(member_at(text.as_bytes(), at), Some(value));
        }
    }

    #[test]
    fn text_is_the_same_after_quoting_and_unescaping(text in any::<String>()) {
        let literal = quote(&text);
        prop_assert_eq!(&serde_json::from_str::<String>(&literal).unwrap(), &text);
        prop_assert_eq!(string(literal.as_bytes(), find(literal.as_bytes(), &[]).unwrap()).unwrap(), text);
    }

    #[test]
    fn escapes_mean_what_another_parser_says(literal in string_literal()) {
        let expected: String = serde_json::from_str(&literal).unwrap();
        prop_assert_eq!(unescape(&literal.as_bytes()[1..literal.len() - 1]), expected);
    }

    #[test]
    fn no_bytes_and_no_range_panic(bytes in vec(any::<u8>(), 0..60), start in 0..70_usize, end in 0..70_usize) {
        for kind in [Kind::Object, Kind::Array, Kind::String, Kind::Number, Kind::Bool] {
            let value = Value { start, end, kind };
            let _ = members_of(&bytes, value, |_, _| ());
            let _ = (string(&bytes, value), unsigned(&bytes, value), boolean(&bytes, value));
            let _ = is_empty_array(&bytes, value);
        }
        let _ = (unescape(&bytes), find(&bytes, &["a"]), member_at(&bytes, start));
    }
}

#[test]
fn an_error_says_what_was_expected_where() {
    let check = |body: &[u8], message: &str| {
        assert_eq!(members(body, |_, _| ()).unwrap_err().to_string(), message);
    };
    check(b"", "expected an object at byte 0");
    check(b"[]", "expected an object at byte 0");
    check(b"{\"a\":}", "expected a value at byte 5");
    check(b"{\"a\":tru}", "expected a value at byte 5");
    check(b"{\"a\" 1}", "expected a colon at byte 5");
    check(b"{\"a\":1,}", "expected a member name at byte 7");
    check(b"{\"a\":[1 2]}", "expected a comma or the end of the array at byte 8");
    check(b"{\"a\":1.}", "expected a digit at byte 7");
    check(b"{\"a\":\"\n\"}", "control character in a string at byte 6");
    check(b"{\"a\":\"b", "string without an end at byte 7");
    check(b"{\"a\":\"\\x\"}", "unknown escape at byte 6");
    check(b"{\"a\":\"\xff\"}", "text that is not UTF-8 at byte 6");
    check(b"{} {}", "expected the end of the document at byte 3");
}

#[test]
fn a_string_is_read_right_wherever_it_is_interrupted() {
    for length in 0..150 {
        for byte in [b'"', b'\\', 0, 0x1f] {
            let body = [b"\"".as_slice(), &b"~".repeat(length), &[byte], b"x!~~~~~~~~~~~~~~\""].concat();
            let read = Scanner::new(&body).string();
            match byte {
                b'"' => assert_eq!(read, Ok(1..length + 1)),
                _ => assert_eq!(read.unwrap_err().offset, length + 1),
            }
        }
    }
}

#[test]
fn every_control_character_is_quoted() {
    let text: String = ('\0'..='\x7f').collect();
    assert_eq!(serde_json::from_str::<String>(&quote(&text)).unwrap(), text);
}

#[test]
fn nesting_has_a_bound() {
    let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
    assert!(members(nested(MAX_DEPTH).as_bytes(), |_, _| ()).is_ok());
    assert_eq!(members(nested(MAX_DEPTH + 1).as_bytes(), |_, _| ()).unwrap_err().reason, "nesting too deep");
    let wide = format!("{{\"a\":[{}0]}}", "[[0]],".repeat(MAX_DEPTH));
    assert!(members(wide.as_bytes(), |_, _| ()).is_ok());
    assert!(members(&b"{\"a\":".repeat(1_000_000), |_, _| ()).is_err());
}

#[test]
fn the_first_of_equal_names_is_found_and_all_are_reported() {
    let body = br#"{"a":1,"\u0061":2}"#;
    assert_eq!(unsigned(body, find(body, &["a"]).unwrap()), Some(1));
    let mut all = Vec::new();
    members(body, |key, value| all.push((key.to_vec(), unsigned(body, value)))).unwrap();
    assert_eq!(all, [(b"a".to_vec(), Some(1)), (b"a".to_vec(), Some(2))]);
}

#[test]
fn a_quote_that_may_be_none_opens_no_name() {
    let check = |body: &str, expected: Option<&str>| {
        let value = member_at(body.as_bytes(), body.find("\"u\"").unwrap());
        assert_eq!(value.map(|value| &body[value.range()]), expected, "{body}");
    };
    check(r#"{"x":"u","y":1}"#, None);
    check(r#"{"x\"u":1}"#, None);
    check(r#"{"x":"\"u","y":1}"#, None);
    check(r#"{"x":{"u":1}}"#, None);
    check(r#"[{"u":1}]"#, None);
    check(r#"{"u":1,"y":[]} x"#, None);
    check(r#"{"u":1"#, None);
    check(r#"{"x":"a","u" : {"y":[1]} , "z":"}" }"#, Some(r#"{"y":[1]}"#));
}

#[test]
fn a_quick_look_reads_no_further_than_what_it_finds() {
    assert!(find(b"{\"model\":\"m\",\xff", &["model"]).is_some());
    assert!(find(b"{\"a\":tru,\"model\":\"m\"}", &["model"]).is_none());
    assert!(find(b"{\"model\":\"m", &["model"]).is_none());
}

#[test]
fn values_read_as_their_kind_and_no_other() {
    let body = br#"{"n":18446744073709551615,"big":18446744073709551616,"f":1.0,"neg":-1,
        "s":"1","t":true,"e":[ ],"l":[0]}"#;
    let at = |name| find(body, &[name]).unwrap();
    assert_eq!(unsigned(body, at("n")), Some(u64::MAX));
    for name in ["big", "neg", "s", "t"] {
        assert_eq!(unsigned(body, at(name)), None, "{name}");
    }
    assert_eq!(unsigned(body, at("f")), Some(1));
    let spelt = [("256.0", 256), ("1e3", 1000), ("2.56E+2", 256), ("1200e-2", 12), ("0.0e-9", 0)];
    for (text, number) in &spelt {
        let body = format!("{{\"n\":{text}}}");
        assert_eq!(
            unsigned(body.as_bytes(), find(body.as_bytes(), &["n"]).unwrap()),
            Some(*number),
            "{text}"
        );
    }
    for text in ["1.5", "1e-1", "-1.0", "1e400", "1e20", "1e99999999999999999999", "18446744073709551616.0"] {
        let body = format!("{{\"n\":{text}}}");
        assert_eq!(unsigned(body.as_bytes(), find(body.as_bytes(), &["n"]).unwrap()), None, "{text}");
    }
    assert_eq!((boolean(body, at("t")), boolean(body, at("s"))), (Some(true), None));
    assert_eq!((string(body, at("s")).as_deref(), string(body, at("n"))), (Some("1"), None));
    assert!(
        is_empty_array(body, at("e")) && !is_empty_array(body, at("l")) && !is_empty_array(body, at("s"))
    );
}

#[test]
fn half_a_surrogate_pair_becomes_a_replacement_character() {
    let check = |raw: &str, text: &str| assert_eq!(unescape(raw.as_bytes()), text);
    check(r"a\uD83D\uDE00b", "a😀b");
    check(r"a\uD83Db", "a\u{fffd}b");
    check(r"\uDE00\uD83D", "\u{fffd}\u{fffd}");
    check(r"\uD83D\u0041", "\u{fffd}A");
    check(r"\uD83D\n", "\u{fffd}\n");
}
