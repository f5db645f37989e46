//! Takes secrets out of a body before it is kept.
//!
//! Three things go: the credentials that the gateway holds, by their own text; what looks like an API key of a known
//! kind, or follows `Bearer`; and the values of members of JSON that the configuration names.
//!
//! A model writes a key in pieces: no single event of its stream contains all of it. So strings that stand at the same
//! place in the events of a stream (the same path, the same `index`) are read as one text. A body that is not JSON,
//! because it was cut or never was, is scanned as it is: too much may be removed then, but every known secret is.

use std::collections::BTreeMap;
use std::ops::Range;

use aho_corasick::{AhoCorasick, MatchKind};
use regex_automata::meta::Regex;
use serde_json::Value;
use tollgate_core::json;
use tollgate_core::mask::marks;

/// The replacement of a secret.
const MARK: &str = "[redacted]";
/// Keys of known kinds. An escape of JSON may stand right before one where text is scanned as it stands.
const FORMATS: &str = r"(?:\b|\\[nrtbf]|\\u[0-9a-fA-F]{4})(?:(?:sk[-_]|rk[-_]|tg[acr]?_|gsk_|xai-|hf_|r8_|gh[opsur]_|github_pat_|glpat-|xox[abprs]-|AIza|ya29\.|AKIA|ASIA|eyJ)[A-Za-z0-9_\-.]{8,}|(?i:bearer)\s+[A-Za-z0-9_\-.~+/=]{8,})";
/// Characters of a word that was cut, which may be half a secret.
const CUT_WORD_MAX: usize = 256;
/// Shorter secrets would be found in every text.
const SECRET_MIN: usize = 6;

/// Why nothing is kept: the secrets cannot be searched for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RedactError {
    /// There are more credentials than can be searched for.
    #[error("looking for credentials in bodies")]
    Credentials(#[from] aho_corasick::BuildError),
    /// The pattern of known keys does not compile.
    #[error("looking for keys in bodies")]
    Formats(#[from] Box<regex_automata::meta::BuildError>),
}

/// Removes what must not be kept.
pub(crate) struct Redactor {
    names: Vec<String>,
    secrets: AhoCorasick,
    formats: Regex,
}

/// Strings at the same place, each with its document.
type Places<'v> = BTreeMap<String, Vec<(usize, &'v mut String)>>;

impl Redactor {
    /// Removes members with these names, and these secrets.
    ///
    /// # Errors
    /// When there are more secrets than can be searched for.
    pub(crate) fn new<'a>(
        names: &[String],
        secrets: impl Iterator<Item = &'a str>,
    ) -> Result<Self, RedactError> {
        let secrets = secrets.filter(|secret| secret.len() >= SECRET_MIN);
        let secrets = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(secrets);
        Ok(Self { names: names.to_vec(), secrets: secrets?, formats: Regex::new(FORMATS).map_err(Box::new)? })
    }

    /// The body as it may be kept. `cut`: there was more of it. `events`: it is a stream of events.
    pub(crate) fn redact(&self, body: &[u8], cut: bool, events: bool) -> String {
        let mut text = String::from_utf8_lossy(body).into_owned();
        if cut {
            let word = text.bytes().rev().take(CUT_WORD_MAX).take_while(|sign| is_of_key(*sign)).count();
            text.truncate(text.len() - word);
        }
        let mut parts = if events { events_of(&text) } else { vec![Part::whole(&text)] };
        self.redact_parts(&mut parts);
        let text: String = parts.iter().map(|part| part.print(self)).collect();
        self.clean(&text)
    }

    /// Removes members and secrets from JSON.
    fn redact_parts(&self, parts: &mut [Part<'_>]) {
        let mut changed = vec![false; parts.len()];
        let mut places = Places::new();
        for (at, part) in parts.iter_mut().enumerate() {
            if let Some(document) = &mut part.document {
                changed[at] = self.redact_members(document);
                collect(document, at, String::new(), &mut places);
            }
        }
        for strings in places.values_mut() {
            for (at, text) in strings.iter_mut() {
                let clean = self.clean(text);
                changed[*at] |= clean != **text;
                **text = clean;
            }
            self.redact_joined(strings, &mut changed);
        }
        for (part, changed) in parts.iter_mut().zip(changed) {
            part.changed = changed;
        }
    }

    /// Replaces the values of named members. Returns whether there was one.
    fn redact_members(&self, value: &mut Value) -> bool {
        match value {
            Value::Object(members) => members.iter_mut().fold(false, |changed, (name, value)| {
                if self.is_named(name) {
                    *value = MARK.into();
                    return true;
                }
                self.redact_members(value) | changed
            }),
            Value::Array(values) => {
                values.iter_mut().fold(false, |changed, value| self.redact_members(value) | changed)
            }
            _ => false,
        }
    }

    /// Removes secrets that span several of these strings.
    fn redact_joined(&self, strings: &mut [(usize, &mut String)], changed: &mut [bool]) {
        if strings.len() < 2 {
            return;
        }
        let joined: String = strings.iter().map(|(_, text)| text.as_str()).collect();
        let found = self.find(&joined);
        let mut start = 0;
        for (at, text) in strings {
            let end = start + text.len();
            let mut clean = String::new();
            let mut kept = start;
            for span in found.iter().filter(|span| span.start < end && span.end > start) {
                clean.push_str(joined.get(kept..span.start).unwrap_or_default());
                if span.start >= start {
                    clean.push_str(MARK);
                }
                kept = span.end.min(end);
                changed[*at] = true;
            }
            clean.push_str(&joined[kept..end]);
            **text = clean;
            start = end;
        }
    }

    /// The text without secrets.
    fn clean(&self, text: &str) -> String {
        let mut clean = String::with_capacity(text.len());
        let mut kept = 0;
        for span in self.find(text) {
            clean.push_str(&text[kept..span.start]);
            clean.push_str(MARK);
            kept = span.end;
        }
        clean.push_str(&text[kept..]);
        clean
    }

    /// Where secrets are, in order and disjoint.
    fn find(&self, text: &str) -> Vec<Range<usize>> {
        let known = self.secrets.find_iter(text).map(|found| found.range());
        let formats = self.formats.find_iter(text).map(|found| {
            let escape = match text.as_bytes().get(found.start()..found.start() + 2) {
                Some(br"\u") => 6,
                Some([b'\\', _]) => 2,
                _ => 0,
            };
            found.start() + escape..found.end()
        });
        // What was covered before it came here is told in the same words, whatever its length.
        let mut found: Vec<Range<usize>> = known.chain(formats).chain(marks(text)).collect();
        found.sort_by_key(|span| span.start);
        found.dedup_by(|next, span| {
            let overlaps = next.start < span.end;
            if overlaps {
                span.end = span.end.max(next.end);
            }
            overlaps
        });
        found
    }

    fn is_named(&self, name: &str) -> bool {
        self.names.iter().any(|known| known.eq_ignore_ascii_case(name))
    }

    /// Removes named members from JSON that was cut.
    fn clean_loosely(&self, text: &str) -> String {
        let bytes = text.as_bytes();
        let mut clean = String::with_capacity(text.len());
        let (mut at, mut kept) = (0, 0);
        while let Some(open) = memchr::memchr(b'"', &bytes[at..]).map(|found| at + found) {
            at = string_end(bytes, open);
            let colon = skip_space(bytes, at);
            if bytes.get(colon) != Some(&b':') {
                continue;
            }
            let name = json::unescape(bytes.get(open + 1..at - 1).unwrap_or_default());
            at = colon + 1;
            if self.is_named(&name) {
                let value = skip_space(bytes, at);
                clean.push_str(&text[kept..value]);
                clean.push_str(&format!("\"{MARK}\""));
                at = value_end(bytes, value);
                kept = at;
            }
        }
        clean.push_str(&text[kept..]);
        clean
    }
}

/// A piece of a body.
struct Part<'t> {
    /// The piece as it came.
    text: &'t str,
    /// Its JSON value, if it is one.
    document: Option<Value>,
    /// Whether it is an event.
    event: bool,
    changed: bool,
}

impl<'t> Part<'t> {
    fn whole(text: &'t str) -> Self {
        Self { text, document: serde_json::from_str(text).ok(), event: false, changed: false }
    }

    /// An event: its data lines are one document.
    fn event(text: &'t str) -> Self {
        let data = text.lines().filter_map(|line| line.strip_prefix("data:"));
        let data = data.collect::<Vec<_>>().join("\n");
        Self { text, document: serde_json::from_str(&data).ok(), event: true, changed: false }
    }

    fn print(&self, redactor: &Redactor) -> String {
        match &self.document {
            None => redactor.clean_loosely(self.text),
            Some(_) if !self.changed => self.text.to_owned(),
            Some(document) if !self.event => document.to_string(),
            Some(document) => {
                let lines = self.text.lines().filter(|line| !line.starts_with("data:") && !line.is_empty());
                let other: String = lines.map(|line| format!("{line}\n")).collect();
                format!("{other}data: {document}\n\n")
            }
        }
    }
}

/// The events of a stream, each with the empty line after it.
fn events_of(text: &str) -> Vec<Part<'_>> {
    let (mut events, mut start, mut end) = (Vec::new(), 0, 0);
    for line in text.split_inclusive('\n') {
        end += line.len();
        if line.trim_end_matches(['\r', '\n']).is_empty() {
            events.push(Part::event(&text[start..end]));
            start = end;
        }
    }
    if start < end {
        events.push(Part::event(&text[start..end]));
    }
    events
}

/// Collects strings by their places: the names on the way, and the `index` of each object. Elements of an array count
/// as one place, since a stream may come as an array.
fn collect<'v>(value: &'v mut Value, document: usize, mut place: String, places: &mut Places<'v>) {
    match value {
        Value::String(text) => places.entry(place).or_default().push((document, text)),
        Value::Array(values) => {
            for value in values {
                collect(value, document, place.clone(), places);
            }
        }
        Value::Object(members) => {
            for name in ["index", "output_index", "content_index"] {
                if let Some(index) = members.get(name).and_then(Value::as_u64) {
                    place.push_str(&format!("/{name}={index}"));
                }
            }
            for (name, value) in members {
                collect(value, document, format!("{place}/{name}"), places);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

const fn is_of_key(sign: u8) -> bool {
    sign.is_ascii_alphanumeric() || matches!(sign, b'_' | b'-' | b'.' | b'~' | b'+' | b'/' | b'=')
}

fn skip_space(bytes: &[u8], at: usize) -> usize {
    at + bytes[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count()
}

/// The end of the string that begins at `open`, or of the text.
fn string_end(bytes: &[u8], open: usize) -> usize {
    let mut at = open + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The end of the value that begins at `start`, or of the text.
fn value_end(bytes: &[u8], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0_usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = string_end(bytes, at);
                if depth == 0 {
                    return at;
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth <= 1 => return at + depth,
            b'}' | b']' => depth -= 1,
            b',' if depth == 0 => return at,
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::Redactor;

    fn redactor() -> Redactor {
        let names = ["password".to_owned(), "metadata".to_owned()];
        Redactor::new(&names, ["platform-openai"].into_iter()).unwrap()
    }

    fn check(body: &str, cut: bool, events: bool, kept: &str) {
        assert_eq!(redactor().redact(body.as_bytes(), cut, events), kept, "{body}");
    }

    #[test]
    fn keys_and_credentials_go_wherever_they_stand() {
        check("use platform-openai!", false, false, "use [redacted]!");
        check("Authorization: Bearer abcdefgh12", false, false, "Authorization: [redacted]");
        check(r#"{"a":"x\nsk-ant-0123456789"}"#, false, false, r#"{"a":"x\n[redacted]"}"#);
        check(r#"{"a":"\u0073k-0123456789"}"#, false, false, r#"{"a":"[redacted]"}"#);
        check(r#"{"a":"x\nsk-ant-0123456789","b":"#, true, false, r#"{"a":"x\n[redacted]","b":"#);
        check("a task-management-system", false, false, "a task-management-system");
        check(r#"{"a": "nothing"}"#, false, false, r#"{"a": "nothing"}"#);
    }

    #[test]
    fn named_members_go_with_all_they_hold() {
        check(r#"{"Metadata":{"a":[1]},"b":1}"#, false, false, r#"{"Metadata":"[redacted]","b":1}"#);
        check(
            r#"{"b":[{"password":"x\"y"},{"metadata":{"a":[1,"}"]}, "c":"d"#,
            true,
            false,
            r#"{"b":[{"password":"[redacted]"},{"metadata":"[redacted]", "c":""#,
        );
        check(r#"{"password":"half of i"#, true, false, r#"{"password":"[redacted]""#);
        check(r#"{"pass\u0077ord":12,"x":"#, true, false, r#"{"pass\u0077ord":"[redacted]","x":"#);
    }

    #[test]
    fn half_a_secret_at_the_cut_goes() {
        check("the key is platform-op", true, false, "the key is ");
    }

    #[test]
    fn a_secret_that_a_stream_says_in_pieces_goes() {
        let stream = "event: x\ndata: {\"index\":0,\"t\":\"it is plat\"}\n\ndata: {\"index\":1,\"t\":\"other\"}\n\n\
            data: {\"index\":0,\"t\":\"form-\"}\r\n\r\ndata: {\"index\":0,\"t\":\"openai.\"}\n\ndata: [DONE]\n\n";
        let kept = "event: x\ndata: {\"index\":0,\"t\":\"it is [redacted]\"}\n\ndata: {\"index\":1,\"t\":\"other\"}\n\n\
            data: {\"index\":0,\"t\":\"\"}\n\ndata: {\"index\":0,\"t\":\".\"}\n\ndata: [DONE]\n\n";
        check(stream, false, true, kept);
        let long = "data: {\"metadata\":\ndata: {\"a\":1}}\n\ndata: {\"password\":{\"b";
        check(long, true, true, "data: {\"metadata\":\"[redacted]\"}\n\ndata: {\"password\":\"[redacted]\"");
    }
}
