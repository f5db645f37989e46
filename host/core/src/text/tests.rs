//! What is text and what is passed over, and that masks hit the characters they were meant for.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value as Tree, json};

fn text_of(body: &Tree, scope: Scope) -> String {
    extract(body.to_string().as_bytes(), scope).unwrap().text
}

/// `body` with the replacements made.
fn splice(body: &[u8], edits: &[(Range<usize>, Vec<u8>)]) -> Vec<u8> {
    let mut spliced = Vec::new();
    let mut at = 0;
    for (range, bytes) in edits {
        spliced.extend_from_slice(&body[at..range.start]);
        spliced.extend_from_slice(bytes);
        at = range.end;
    }
    spliced.extend_from_slice(&body[at..]);
    spliced
}

/// The raw content of a string, escaped in many ways.
fn raw_string() -> impl Strategy<Value = String> {
    let escaped = [r"\n", r#"\""#, r"\\", r"\/", r"\u00e9", r"\u0041", r"\uD83D\uDE00", r"\uD83D", r"\u2603"];
    let piece = prop_oneof![
        "[a-z ]{1,6}",
        "[é☃😀]{1,3}",
        proptest::sample::select(escaped.to_vec()).prop_map(str::to_owned)
    ];
    vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

/// `extract.text` with a star in place of each character that a range touches; separators stay.
fn starred(extract: &Extract, ranges: &[Range<usize>], scope: Scope) -> String {
    let is_separator =
        |at: usize| scope == Scope::Request && extract.parts.iter().any(|part| part.at == at + 1);
    let star = |(at, symbol): (usize, char)| {
        let touched = ranges
            .iter()
            .any(|range| range.start < at + symbol.len_utf8() && range.end > at && !range.is_empty());
        if touched && !is_separator(at) { '*' } else { symbol }
    };
    extract.text.char_indices().map(star).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_mask_hides_its_characters_and_leaves_all_others(
        strings in vec(raw_string(), 1..5),
        ranges in vec((0..80_usize, 0..20_usize), 0..4),
    ) {
        for scope in [Scope::Request, Scope::Event] {
            let members: Vec<_> = strings.iter().map(|raw| format!(r#"{{"text": "{raw}"}}"#)).collect();
            let body = format!("[{}]", members.join(", "));
            let extract = extract(body.as_bytes(), scope).unwrap();
            let ranges: Vec<_> = ranges.iter().map(|&(start, length)| start..start + length).collect();
            let masked = splice(body.as_bytes(), &mask(body.as_bytes(), &extract, &ranges));
            let after = super::extract(&masked, scope).unwrap();
            prop_assert_eq!(&after.text, &starred(&extract, &ranges, scope));
            prop_assert_eq!(after.parts.len(), extract.parts.len());
            prop_assert!(json::find(&masked, &[]).is_some());
        }
    }

    #[test]
    fn parts_lead_back_to_their_bytes(strings in vec(raw_string(), 1..5)) {
        let quoted: Vec<_> = strings.iter().map(|raw| format!("\"{raw}\"")).collect();
        let body = format!(r#"{{"prompt":[{}]}}"#, quoted.join(","));
        let extract = extract(body.as_bytes(), Scope::Request).unwrap();
        for part in &extract.parts {
            let text = json::unescape(&body.as_bytes()[part.raw.clone()]);
            prop_assert!(extract.text[part.at..].starts_with(&*text));
        }
    }

    #[test]
    fn no_body_and_no_range_panic(
        bytes in vec(any::<u8>(), 0..60),
        other in raw_string(),
        range in (0..50_usize, 0..50_usize),
    ) {
        let _ = extract(&bytes, Scope::Request);
        let body = format!(r#"{{"text":"{other}"}}"#);
        let extract = extract(body.as_bytes(), Scope::Event).unwrap();
        let _ = mask(&bytes, &extract, std::slice::from_ref(&(range.0..range.1)));
    }
}

#[test]
fn one_star_stands_for_one_character_however_it_is_spelled() {
    let check = |raw: &str, expect: &str| {
        let body = format!(r#"{{"text":"{raw}"}}"#);
        let extract = extract(body.as_bytes(), Scope::Event).unwrap();
        let edits = mask(body.as_bytes(), &extract, std::slice::from_ref(&(1..extract.text.len() - 1)));
        assert_eq!(
            String::from_utf8(splice(body.as_bytes(), &edits)).unwrap(),
            format!(r#"{{"text":"{expect}"}}"#)
        );
    };
    check("abcd", "a**d");
    check(r"a\nb", "a*b");
    check(r"a\uD83D\uDE00b", "a*b");
    check(r"a\uD83Db", "a*b");
    check("aé😀b", "a**b");
}

#[test]
fn a_match_over_two_deltas_masks_both_of_their_strings() {
    let body = br#"{"choices":[{"delta":{"content":"my sec"}},{"delta":{"content":"ret!"}}]}"#;
    let extract = extract(body, Scope::Event).unwrap();
    assert_eq!(extract.text, "my secret!");
    let masked = splice(body, &mask(body, &extract, &[5..9, 3..6]));
    assert_eq!(masked, br#"{"choices":[{"delta":{"content":"my ***"}},{"delta":{"content":"***!"}}]}"#);
}

#[test]
fn media_and_identifiers_of_a_request_are_passed_over() {
    let image = "iVBORw0KGgo+/AAAA==";
    let url = format!("data:image/png;base64,{image}");
    let parts = [
        json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": image}}),
        json!({"type": "image_url", "image_url": {"url": url}}),
        json!({"type": "input_image", "image_url": url}),
        json!({"type": "input_audio", "input_audio": {"data": image, "format": "wav"}}),
        json!({"type": "file", "file": {"file_data": url}}),
        json!({"inlineData": {"mimeType": "image/png", "data": image}}),
        json!({"fileData": {"mimeType": "image/png", "fileUri": "https://x.example/v1beta/files/abc"}}),
        json!({"type": "thinking", "signature": image}),
        json!({"type": "reasoning", "encrypted_content": "gAAAA-_x=="}),
        json!({"functionCall": {"id": "call_1"}, "thoughtSignature": image}),
        json!({"type": "tool_use", "id": "toolu_01", "cache_control": {"type": "ephemeral"}}),
    ];
    for part in parts {
        for list in ["content", "parts", "input"] {
            let body = json!({"model": "m", "user": "u-1", "messages": [{"role": "user", list: [part]}]});
            assert_eq!(text_of(&body, Scope::Request), "", "{body}");
        }
    }
    let nested = json!({"content": [{"source": {"type": "base64", "data": image}, "type": "text"}]});
    assert_eq!(text_of(&nested, Scope::Request), "");
    let slashed = br#"{"content":[{"source":{"type":"base64","data":"iVBO\/w=="}}]}"#;
    assert_eq!(extract(slashed, Scope::Request).unwrap().text, "");
}

#[test]
fn prose_is_seen_wherever_it_hides() {
    let check = |body: &Tree| {
        let text = text_of(body, Scope::Request);
        assert_eq!(text.trim_end().trim_start_matches("data:text/plain,"), "HIDDEN", "{body}");
    };
    // A name of bytes or of an identifier does not hide what is not spelled like one.
    let seen = |body: &Tree| assert!(text_of(body, Scope::Request).contains("HID DEN"), "{body}");
    seen(&json!({"messages": [{"content": [{"source": {"type": "base64", "data": "HID DEN"}}]}]}));
    seen(&json!({"messages": [{"role": "HID DEN"}]}));
    seen(&json!({"content": [{"image_url": {"url": "data:text/plain,HID DEN"}}]}));
    seen(&json!({"content": [{"image_url": {"url": "data:HID DEN;base64,AAAA"}}]}));
    seen(&json!({"user": "HID DEN"}));
    check(&json!({"content": [{"source": {"data": "HIDDEN\n"}}]}));
    check(&json!({"content": [{"image_url": {"url": "data:text/plain,HIDDEN"}}]}));
    // A document of text is text, whichever comes first.
    check(&json!({"content": [{"source": {"data": "HIDDEN", "type": "text"}}]}));
    check(&json!({"content": [{"source": {"a_type": 1, "data": "HIDDEN", "type": "text"}}]}));
    let escaped = br#"{"content":[{"source":{"data":"HIDDEN","ty\u0070e":"te\u0078t"}}]}"#;
    assert_eq!(extract(escaped, Scope::Request).unwrap().text, "text\nHIDDEN");
    // Tool arguments, schemas and unknown members are the user's own, whatever they look like.
    check(&json!({"messages": [{"content": [{"input": {"source": {"data": "HIDDEN"}}}]}]}));
    check(&json!({"contents": [{"parts": [{"functionCall": {"args": {"data": "HIDDEN"}}}]}]}));
    check(
        &json!({"contents": [{"parts": [{"functionResponse": {"response": {"inlineData": {"data": "HIDDEN"}}}}]}]}),
    );
    check(&json!({"tools": [{"function": {"parameters": {"properties": {"id": {"type": "HIDDEN"}}}}}]}));
    check(&json!({"anything": {"content": {"id": "HIDDEN"}}}));
    // A link may carry anything.
    seen(&json!({"content": [{"image_url": {"url": "https://x.example/?q=HID DEN"}}]}));
}

#[test]
fn an_identifier_is_short() {
    let body = |id: &str| json!({"messages": [{"tool_call_id": id}]});
    assert_eq!(text_of(&body(&"x".repeat(IDENTIFIER_BYTES_MAX)), Scope::Request), "");
    assert_ne!(text_of(&body(&"x".repeat(IDENTIFIER_BYTES_MAX + 1)), Scope::Request), "");
}

#[test]
fn all_prose_of_a_request_is_text_one_string_a_line() {
    let body = json!({
        "model": "claude", "system": [{"type": "text", "text": "rules"}],
        "messages": [
            {"role": "user", "content": "one"},
            {"role": "user", "content": [{"type": "text", "text": "two\n"}]},
        ],
        "tools": [{"name": "look", "description": "looks"}],
    });
    let mut lines: Vec<_> = text_of(&body, Scope::Request).split('\n').map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["", "look", "looks", "one", "rules", "two"]);
}

#[test]
fn the_text_of_an_event_is_what_people_and_tools_read() {
    let check = |body: Tree, expect: &str| assert_eq!(text_of(&body, Scope::Event), expect, "{body}");
    check(
        json!({"id": "x", "model": "m", "choices": [{"delta": {"role": "assistant", "content": "hi"}}]}),
        "hi",
    );
    check(json!({"type": "content_block_delta", "delta": {"type": "text_delta", "text": "hi"}}), "hi");
    check(
        json!({"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": "{\"a"}}),
        "{\"a",
    );
    check(json!({"type": "response.output_text.delta", "item_id": "i", "delta": "hi"}), "hi");
    check(json!({"candidates": [{"content": {"parts": [{"text": "hi"}], "role": "model"}}]}), "hi");
    check(
        json!({"parts": [{"functionCall": {"name": "f", "args": {"city": "Paris", "id": ["x"]}}}]}),
        "Parisx",
    );
    check(json!({"error": {"message": "no"}}), "");
}

#[test]
fn parts_of_one_turn_are_read_as_one() {
    let joined = |body: &str| {
        let Extract { text, joins, .. } = extract(body.as_bytes(), Scope::Request).unwrap();
        joins.iter().map(|&at| format!("{}|{}", &text[at - 1..at], &text[at + 1..at + 2])).collect::<Vec<_>>()
    };
    let parts = r#"[{"type":"text","text":"ab"},{"type":"text","text":"cd"}]"#;
    assert_eq!(joined(&format!(r#"{{"messages":[{{"role":"user","content":{parts}}}]}}"#)), ["b|c"]);
    let messages = |roles: [&str; 2]| {
        format!(
            r#"{{"messages":[{{"role":"{}","content":"ab"}},{{"role":"{}","content":"cd"}}]}}"#,
            roles[0], roles[1]
        )
    };
    assert_eq!(joined(&messages(["user", "user"])), ["b|c"]);
    assert!(joined(&messages(["user", "assistant"])).is_empty());
    // Whoever speaks may be named behind what they say.
    let after = r#"{"messages":[{"content":"ab","role":"A"},{"content":"cd","role":"B"},{"content":"ef","role":"B"}]}"#;
    assert_eq!(joined(after), ["d|e"]);
    let gemini = r#"{"contents":[{"role":"user","parts":[{"text":"ab"},{"text":"cd"}]}]}"#;
    assert_eq!(joined(gemini), ["b|c"]);
    // Two texts of two kinds, and what is no prose.
    assert!(joined(r#"{"system":[{"text":"ab"}],"messages":[{"role":"user","content":"cd"}]}"#).is_empty());
    assert!(joined(r#"{"input":["ab","cd"]}"#).is_empty());
    assert!(joined(r#"{"tools":[{"description":"ab"},{"description":"cd"}]}"#).is_empty());
}
