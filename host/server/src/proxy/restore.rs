//! Puts back what [`values`](super::values) took out, wherever a component wrote a mark: spelt as the place wants it,
//! and without a copy where that is how it was spelt.

use std::collections::VecDeque;

use bytes::Bytes;
use memchr::memmem::Finder;

use super::values::{Form, MARK_DIGITS, MARK_LETTERS, URL_LETTERS, Value, Values};

/// How often all values may be written in one go.
const TIMES_MAX: usize = 16;

/// A component changed a mark, or wrote one that stands for nothing: what it wrote is not what it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Changed;

impl Values {
    /// What a component wrote, with everything back in its place.
    ///
    /// # Errors
    /// [`Changed`].
    pub(super) fn restore(&self, told: Vec<u8>) -> Result<VecDeque<Bytes>, Changed> {
        let told = Bytes::from(told);
        let mut pieces = VecDeque::new();
        if self.taken.is_empty() {
            pieces.extend(Some(told).filter(|told| !told.is_empty()));
            return Ok(pieces);
        }
        // Each is written some times at most: what is told in several places, or told again at the end.
        let mut room = self.bytes().saturating_mul(TIMES_MAX);
        let mut push = |piece: Bytes| pieces.extend(Some(piece).filter(|piece| !piece.is_empty()));
        let finder = Finder::new(&self.mark);
        let mut at = 0;
        while let Some(found) = finder.find(&told[at..]) {
            let mark = at + found;
            push(told.slice(at..mark));
            let after = mark + MARK_LETTERS + MARK_DIGITS;
            let value = self.named(told.get(mark + MARK_LETTERS..after).ok_or(Changed)?)?;
            let (piece, ending) = put_back(value, &told[after..])?;
            room = room.checked_sub(piece.len()).ok_or(Changed)?;
            push(piece);
            at = after + ending;
        }
        push(told.slice(at..));
        Ok(pieces)
    }

    /// The value that digits name.
    fn named(&self, digits: &[u8]) -> Result<&Value, Changed> {
        let digits = std::str::from_utf8(digits).map_err(|_| Changed)?;
        let number = usize::from_str_radix(digits, 16).map_err(|_| Changed)?;
        self.taken.get(number).filter(|value| !value.bytes.is_empty()).ok_or(Changed)
    }
}

/// The value as it is spelt where its mark ends in `ending`, and how long that ending is.
fn put_back(value: &Value, ending: &[u8]) -> Result<(Bytes, usize), Changed> {
    let bytes = &value.bytes;
    match value.form {
        Form::Base64 => Ok((bytes.clone(), 0)),
        Form::UrlBase64 if ending.starts_with(URL_LETTERS) => Ok((bytes.clone(), URL_LETTERS.len())),
        Form::UrlBase64 => {
            let other = [&b"+/+/"[..], br"+\/+\/"].into_iter().find(|other| ending.starts_with(other));
            other.map(|other| (in_standard_letters(bytes), other.len())).ok_or(Changed)
        }
        Form::Text => {
            let escapes = ending.iter().take_while(|byte| **byte == b'\\').count();
            // A quote in a string has one, in a string in a string three, then seven.
            let is_quote =
                escapes > 0 && (escapes + 1).is_power_of_two() && ending.get(escapes) == Some(&b'"');
            let depth = (escapes + 1).ilog2();
            let spelt = (1..depth).fold(bytes.clone(), |spelt, _| escaped(&spelt));
            if is_quote { Ok((spelt, escapes + 1)) } else { Err(Changed) }
        }
    }
}

/// Base64 of the alphabet of URLs in the ordinary one.
fn in_standard_letters(bytes: &[u8]) -> Bytes {
    let letter = |byte: &u8| match byte {
        b'-' => b'+',
        b'_' => b'/',
        other => *other,
    };
    bytes.iter().map(letter).collect::<Vec<u8>>().into()
}

/// The inside of a string, as it is spelt in a string inside of a string.
fn escaped(bytes: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 16);
    let mut rest = bytes;
    while let Some(at) = memchr::memchr2(b'\\', b'"', rest) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(&[b'\\', rest[at]]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.into()
}

#[cfg(test)]
mod tests {
    use super::Changed;
    use crate::proxy::values::{VALUE_BYTES, Values};
    use crate::transport::body::Splice;
    use bytes::Bytes;
    use serde_json::{Value as Json, json};

    fn joined(values: &Values, told: impl Into<Vec<u8>>) -> String {
        let pieces = values.restore(told.into()).expect("marks");
        String::from_utf8(pieces.into_iter().collect::<Vec<_>>().concat()).unwrap()
    }

    fn parsed(text: &[u8]) -> Json {
        serde_json::from_slice(text)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(text)))
    }

    /// Strings that are taken out, with how they may be spelt.
    fn large() -> Vec<String> {
        let letters = "QUJDZGVm".repeat(VALUE_BYTES / 8);
        [
            "é\\n\\\"x\\u20ac\\\\\\ud83d\\ude00".repeat(VALUE_BYTES / 8),
            "plain words ".repeat(VALUE_BYTES / 8),
            "\\\\".repeat(VALUE_BYTES),
            "\\\"".repeat(VALUE_BYTES),
            "é".repeat(VALUE_BYTES),
            letters.clone(),
            letters.clone() + "QQ==",
            letters.clone() + "QUI=",
            letters.clone() + "Q-_x",
            format!("data:image/png;base64,{letters}QQ=="),
            format!("data:image\\/png;base64,{}", "+\\/AB".repeat(VALUE_BYTES / 4)),
            "line of a list\\n".repeat(VALUE_BYTES / 8),
            "word\\n".repeat(VALUE_BYTES / 4),
        ]
        .into()
    }

    #[test]
    fn what_was_taken_out_is_back_wherever_it_is_written() {
        for raw in large() {
            let document = Bytes::from(format!(r#"{{"a":1,"content":["{raw}"],"b":"{raw}"}}"#));
            let mut values = Values::new();
            let left = values.take(&document, &[]);
            assert!(left.len() < 1024 && values.taken.len() == 2, "{} of {:.60}", left.len(), raw);
            assert_eq!(parsed(joined(&values, left.to_vec()).as_bytes()), parsed(&document), "{raw:.60}");
            // As a string of an object in a string, and that in another.
            let once = json!({"arguments": String::from_utf8_lossy(&left)}).to_string();
            let twice = json!({"arguments": once}).to_string();
            let outer = parsed(joined(&values, twice).as_bytes());
            let middle = parsed(outer["arguments"].as_str().unwrap().as_bytes());
            assert_eq!(
                parsed(middle["arguments"].as_str().unwrap().as_bytes()),
                parsed(&document),
                "{raw:.60}"
            );
        }
    }

    #[test]
    fn whole_arguments_are_left_with_what_is_small_in_them() {
        let text = "line \"of\" a file\n".repeat(VALUE_BYTES / 8);
        let arguments = json!({"path": "/a", "content": text}).to_string();
        let document = Bytes::from(json!({"function": {"name": "f", "arguments": arguments}}).to_string());
        let mut values = Values::new();
        let left = values.take(&document, &[]);
        assert!(left.len() < 512, "{}", left.len());
        let seen = parsed(&left);
        let inside = seen["function"]["arguments"].as_str().unwrap();
        assert_eq!(parsed(inside.as_bytes())["path"], "/a");
        // As an object, as another protocol wants it.
        assert_eq!(parsed(joined(&values, inside).as_bytes()), parsed(arguments.as_bytes()));
        assert_eq!(parsed(joined(&values, left.to_vec()).as_bytes()), parsed(&document));
    }

    #[test]
    fn base64_changes_its_letters_where_the_component_does_so() {
        let letters = "ab-_".repeat(VALUE_BYTES / 4) + "a_==";
        let document = Bytes::from(format!(r#"{{"data":"{letters}"}}"#));
        let mut values = Values::new();
        let left = String::from_utf8(values.take(&document, &[]).to_vec()).unwrap();
        let data = parsed(left.as_bytes())["data"].as_str().unwrap().to_owned();
        assert_eq!(data.len() % 4, letters.len() % 4);
        let standard = data.replace('-', "+").replace('_', "/");
        assert_eq!(joined(&values, data), letters);
        assert_eq!(joined(&values, standard.clone()), letters.replace('-', "+").replace('_', "/"));
        assert_eq!(joined(&values, standard.trim_end_matches('=')).len(), letters.len() - 2);
    }

    #[test]
    fn what_a_component_reads_as_a_whole_is_left_alone() {
        let letters = "QUJD".repeat(VALUE_BYTES);
        let half = format!("{}\\ud83d", "text ".repeat(VALUE_BYTES));
        for document in [
            format!(r#"{{"signature":"{letters}"}}"#),
            format!(r#"{{"thoughtSignature":"{letters}"}}"#),
            format!(r#"{{"encrypted_content":"{letters}"}}"#),
            format!(r#"{{"type":"redacted_thinking","data":"{letters}"}}"#),
            format!(r#"{{"data":"{letters}","type":"redacted_thinking"}}"#),
            format!(r#"{{"arguments":"{{{}"}}"#, "no object ".repeat(VALUE_BYTES)),
            format!(r#"{{"{letters}":1}}"#),
            format!(r#"{{"text":"{half}"}}"#),
            format!("{{\"text\":\"{}\u{1}\"}}", "text ".repeat(VALUE_BYTES)),
            format!(r#"{{"text":"{}\x"}}"#, "text ".repeat(VALUE_BYTES)),
            format!(r#"{{"text":"{letters}"#),
            r#"{"text":"short"}"#.to_owned(),
        ] {
            let document = Bytes::from(document);
            let mut values = Values::new();
            assert_eq!(values.take(&document, &[]), document);
            assert!(values.taken.is_empty());
        }
    }

    #[test]
    fn a_string_that_is_spliced_is_not_taken_out() {
        let text = "secret ".repeat(VALUE_BYTES);
        let document = Bytes::from(format!(r#"{{"a":"{text}","b":"{text}"}}"#));
        let mask = Splice { range: 10..16, with: Bytes::from_static(b"******") };
        let mut values = Values::new();
        let left = values.take(&document, &[mask]);
        assert_eq!(values.taken.len(), 1);
        let back = joined(&values, left.to_vec());
        assert_eq!(back.len(), document.len());
        assert!(back[6..20].contains("******"), "{}", &back[..40]);
    }

    #[test]
    fn events_lose_what_is_large_in_their_data_and_pieces_of_arguments_stay() {
        let text = "words \\n".repeat(VALUE_BYTES);
        let event = |data: &str| format!("event: x\r\ndata: {data}\r\n\r\n");
        let small = event(r#"{"delta":"small"}"#);
        for (data, taken) in [
            (format!(r#"{{"type":"response.output_text.delta","delta":"{text}"}}"#), 1),
            (format!(r#"{{"type":"response.function_call_arguments.delta","delta":"{text}"}}"#), 0),
            (format!(r#"{{"delta":"{text}","type":"response.custom_tool_call_input.delta"}}"#), 0),
            (format!(r#"{{"delta":{{"partial_json":"{text}"}}}}"#), 0),
            (format!(r#"{{"function":{{"arguments":"{text}"}}}}"#), 0),
            (format!(r#"{{"functionCall":{{"args":{{"x":"{text}","y":"{text}"}}}}}}"#), 2),
        ] {
            let events = Bytes::from([&small, &event(&data), &small].map(String::as_str).concat());
            let mut values = Values::new();
            let left = values.take_events(&events);
            assert_eq!((values.taken.len(), left.is_some()), (taken, taken > 0), "{data:.80}");
            if let Some(left) = left {
                assert_eq!(joined(&values, left.to_vec()).as_bytes(), events, "{data:.80}");
            }
        }
        assert!(Values::new().take_events(&Bytes::from(small)).is_none());
    }

    #[test]
    fn a_mark_that_was_changed_is_found_out() {
        let document = Bytes::from(format!(r#"{{"a":"{}"}}"#, "words ".repeat(VALUE_BYTES)));
        let mut values = Values::new();
        let left = values.take(&document, &[]).to_vec();
        let mark = String::from_utf8(values.mark.to_vec()).unwrap();
        for wrong in [
            mark.clone(),
            format!("{mark}00000001\\\""),
            format!("{mark}0000000x\\\""),
            format!("{mark}00000000"),
            format!("{mark}00000000\""),
            format!("{mark}00000000\\\\\""),
            format!("{mark}00000000\\u0022"),
        ] {
            assert_eq!(values.restore(wrong.clone().into()), Err(Changed), "{wrong}");
        }
        assert!(values.restore(left.clone()).is_ok());
        values.forget(&(0..document.len()));
        assert_eq!(values.restore(left), Err(Changed));
    }
}
