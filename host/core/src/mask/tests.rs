use super::Mask;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use proptest::collection;
use proptest::prelude::*;

const KEY: &str = "sk-proj-Ab9_x/y+z=0123456789abcdefGHIJ.klm~n";

fn mask(secret: &str) -> Mask {
    Mask::new([secret].into_iter())
}

/// The text with stars where the secret stood.
fn covered(secret: &str, text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    mask(secret).cover(&mut bytes);
    String::from_utf8(bytes).unwrap()
}

/// What stands in the place of so many bytes.
fn stars(length: usize) -> String {
    match length.checked_sub("[redacted]".len()) {
        Some(stars) => format!("[redacted{}]", "*".repeat(stars)),
        None => "*".repeat(length),
    }
}

fn escaped(secret: &str, escape: impl Fn(u8) -> String) -> String {
    secret.bytes().map(escape).collect()
}

/// Every way of writing it that has to be known.
fn ways(secret: &str) -> Vec<String> {
    let odd = |sign: u8| !sign.is_ascii_alphanumeric();
    let some = |escape: fn(u8) -> String| {
        escaped(secret, move |sign| if odd(sign) { escape(sign) } else { char::from(sign).to_string() })
    };
    let mixed = |escape: fn(u8) -> String| format!("{}{}", escape(secret.as_bytes()[0]), &secret[1..]);
    let mut all = vec![
        secret.to_owned(),
        serde_json::to_string(secret).unwrap().trim_matches('"').to_owned(),
        secret.replace('/', "\\/"),
        escaped(secret, |byte| format!("{byte:02x}")),
        escaped(secret, |byte| format!("{byte:02X}")),
    ];
    let escapes: [fn(u8) -> String; 4] = [
        |sign| format!("%{sign:02X}"),
        |sign| format!("%{sign:02x}"),
        |sign| format!("\\u{sign:04x}"),
        |sign| format!("\\u{sign:04X}"),
    ];
    for escape in escapes {
        all.extend([some(escape), mixed(escape), escaped(secret, escape)]);
    }
    all
}

#[test]
fn a_secret_is_covered_however_it_is_written_and_nothing_else_is() {
    for secret in
        [KEY, "platform-openai", "aws-secret-key", "AIzaSyD-9tSrke72PouQMnMX-a7eZSW0jkFMBWY", "12345678"]
    {
        for way in ways(secret) {
            let text = format!("{{\"echo\": \"Bearer {way}\", \"n\": 1}}");
            let expected = format!("{{\"echo\": \"Bearer {}\", \"n\": 1}}", stars(way.len()));
            assert_eq!(covered(secret, &text), expected, "{way}");
        }
    }
}

#[test]
fn base64_is_known_wherever_the_secret_stands_in_it() {
    for before in ["", "a", "ab", "abc", "user:"] {
        for engine in [&STANDARD, &URL_SAFE] {
            let text = engine.encode(format!("{before}{KEY}{before}"));
            let left = covered(KEY, &format!("Basic {text} ."));
            let covered: usize = super::marks(&left).map(|mark| mark.len()).sum();
            assert!(covered + 2 >= KEY.len() * 8 / 6, "{left}");
        }
    }
}

#[test]
fn what_is_only_alike_stays() {
    let others = [
        "the platform is open to all, openai too",
        "platform-opena",
        "sk-proj-Ab9 is how it begins",
        "0123456789abcde",
    ];
    for text in others {
        assert_eq!(covered("platform-openai", text), text);
        assert_eq!(covered(KEY, text), text);
    }
    assert_eq!(covered("short", "a short one is not looked for"), "a short one is not looked for");
    assert_eq!(covered("", "nothing"), "nothing");
    for word in ["lm-studio", "not-needed", "anything"] {
        assert_eq!(covered(word, &format!("{word} is a word")), format!("{word} is a word"));
    }
}

#[test]
fn a_good_part_of_a_secret_is_covered_too() {
    let part = &KEY[12..KEY.len() - 6];
    assert_eq!(covered(KEY, &format!("…{part}…")), format!("…{}…", stars(part.len())));
}

/// What is passed on of pieces, as a body does it.
fn passed(mask: &Mask, pieces: &[&[u8]]) -> Vec<u8> {
    let (mut out, mut held) = (Vec::new(), Vec::new());
    for piece in pieces {
        let mut bytes = [std::mem::take(&mut held), piece.to_vec()].concat();
        held = bytes.split_off(bytes.len() - mask.begins_in(&bytes));
        mask.cover(&mut bytes);
        out.extend(bytes);
    }
    mask.cover(&mut held);
    out.extend(held);
    out
}

#[test]
fn a_secret_that_comes_in_two_pieces_is_covered_wherever_it_was_cut() {
    let mask = mask(KEY);
    for way in ways(KEY).into_iter().chain([STANDARD.encode(KEY)]) {
        let text = format!("data: {{\"a\":\"x {way} y\"}}\n\n");
        let whole = passed(&mask, &[text.as_bytes()]);
        assert_ne!(whole, text.as_bytes());
        for cut in 0..text.len() {
            let (one, other) = text.as_bytes().split_at(cut);
            assert_eq!(passed(&mask, &[one, other]), whole, "{way} cut at {cut}");
        }
    }
    let bytes: Vec<&[u8]> = KEY.as_bytes().chunks(1).collect();
    assert_eq!(passed(&mask, &bytes), stars(KEY.len()).into_bytes());
}

#[test]
fn the_end_of_an_event_is_never_held() {
    let mask = mask(KEY);
    for end in ["\n", "\"}\n\n", "[DONE]\n\n", "}", " "] {
        assert_eq!(mask.begins_in(format!("data: sk-proj{end}").as_bytes()), 0, "{end:?}");
    }
    assert_eq!(mask.begins_in(b"data: s"), 1);
}

#[test]
fn no_debug_output_shows_it() {
    let shown = format!("{:?}", mask(KEY));
    assert!(!shown.contains("0123456789") && !shown.contains("115, 107, 45"), "{shown}");
}

proptest! {
    #[test]
    fn no_bytes_and_no_secret_make_it_panic(secret in ".{0,80}", bytes in collection::vec(any::<u8>(), 0..300)) {
        let mask = mask(&secret);
        let mut covered = bytes.clone();
        mask.cover(&mut covered);
        prop_assert_eq!(covered.len(), bytes.len());
        prop_assert!(mask.begins_in(&bytes) <= bytes.len());
    }

    #[test]
    fn a_secret_of_any_signs_is_found(secret in "[!-~]{8,80}", cut in 0_usize..200) {
        let text = format!("{{\"a\":{}}}", serde_json::to_string(&format!("x{secret}y")).unwrap());
        let cut = cut.min(text.len());
        prop_assume!(super::is_distinct(&secret));
        let out = passed(&mask(&secret), &[&text.as_bytes()[..cut], &text.as_bytes()[cut..]]);
        prop_assert!(!String::from_utf8(out).unwrap().contains(&secret));
    }
}
