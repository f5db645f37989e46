//! What one event, or one whole body, says of usage, text and failure: the values that an adapter's plan names, by
//! their members.

use std::ops::ControlFlow;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use tollgate_core::json::{self, Kind, Value};
use tollgate_core::sse::{self, Framer};

use crate::upstream::{EACH, Seen, Taps, UsageTap};

/// Longest event of a stream; pictures travel inside events.
pub(crate) const EVENT_BYTES_MAX: usize = 32 << 20;

/// Longest value that a tap keeps: what states usage is short.
const SAMPLE_BYTES_MAX: usize = 256 * 1024;

/// Whether an event is a provider's word that it failed after it had begun: its name, an `error` member, a type or an
/// object `error`, or a response that carries one. Without the name `error` in it, which most do not have, its data are
/// not looked into.
fn tells_of_failure(event: &[u8], error: bool) -> bool {
    static NAMED: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("event: error"));
    if !error {
        return event.starts_with(b"event") && NAMED.find(event).is_some() && is_named_error(event);
    }
    sse::data(event).is_some_and(|data| is_failure(&data))
}

/// Whether a body, or the data of an event, is a provider's word that it failed.
fn is_failure(data: &[u8]) -> bool {
    if data.trim_ascii_start().starts_with(b"[") {
        // Google's layers put it into an array.
        let first = json::find(data, &[]).and_then(|array| {
            let mut first = None;
            let keep = |element: Value| {
                first = Some(element);
                ControlFlow::Break(())
            };
            json::elements_of(data, array, keep).ok()?;
            first
        });
        return first.is_some_and(|first| first.kind == Kind::Object && is_failure(&data[first.range()]));
    }
    // Some servers say in good answers that there is none: `{}`, an empty text, `false`.
    let full = |value: &Value| matches!(value.kind, Kind::Object | Kind::String) && value.range().len() > 2;
    let told = |path: &[&str]| json::find(data, path).is_some_and(|value| full(&value));
    let named = |member: &str| {
        json::find(data, &[member])
            .and_then(|value| json::string(data, value))
            .is_some_and(|name| name == "error")
    };
    told(&["error"]) || told(&["response", "error"]) || named("type") || named("object")
}

fn is_named_error(event: &[u8]) -> bool {
    sse::event_name(event) == Some(b"error")
}

/// Whether any of these whole events tells of a failure.
pub(crate) fn any_failure(events: &[u8]) -> bool {
    static ERROR: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"error\""));
    let mut failed = false;
    // What cannot be framed tells nothing.
    let _framed = Framer::new(EVENT_BYTES_MAX).push(events, |frame| {
        let event = frame.bytes();
        failed |= tells_of_failure(event, ERROR.find(event).is_some());
    });
    failed
}

/// Whether an event of a Realtime session is a piece of sound.
pub(super) fn is_sound(event: &[u8]) -> bool {
    static NEEDLE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("audio.delta\""));
    // Its type stands before or behind what it brings.
    let (begin, end) = (event.len().min(256), event.len().saturating_sub(256));
    NEEDLE.find(&event[..begin]).is_some() || NEEDLE.find(&event[end..]).is_some()
}

/// What one event says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// Whether it states usage.
    pub(super) usage: bool,
    /// Whether it tells of a failure.
    pub(super) failed: bool,
}

/// Looks into one event.
pub(super) fn tap(taps: &Taps, samples: &mut [Vec<u8>], text_bytes: &mut u64, event: &[u8]) -> Said {
    let mut counted = Seen::default();
    let seen = taps.look(event, |name, rest| {
        // The first member of each name counts.
        if !counted.has_all(name) {
            counted = counted.with(name);
            *text_bytes += text_length(rest);
        }
    });
    let mut said = Said { usage: false, failed: tells_of_failure(event, seen.error()) };
    let mut data = None;
    for (tap, sample) in taps.usage.iter().zip(samples) {
        if !tap.active || tap.is_absent(seen) || is_null(tap, event) {
            continue;
        }
        let data = data.get_or_insert_with(|| sse::data(event).unwrap_or_default());
        said.usage |= take(tap, sample, data);
    }
    said
}

/// Keeps the value that a tap leads to, if it is there and not null; says whether it is an object, as usage is.
fn take(tap: &UsageTap, sample: &mut Vec<u8>, json: &[u8]) -> bool {
    let path = || tap.path.iter().map(String::as_str).collect::<Vec<&str>>();
    if tap.many {
        let list = list(json, &path());
        if (b"[]".len() + 1..=SAMPLE_BYTES_MAX).contains(&list.len()) {
            *sample = list;
        }
        return false;
    }
    let found = match tap.path.as_slice() {
        [name] => json::find(json, &[name]),
        _ => json::find(json, &path()),
    };
    keep(sample, json, found) && found.is_some_and(|value| value.kind == Kind::Object)
}

/// Keeps a value that was found, is not null and not too long; says whether it did.
fn keep(sample: &mut Vec<u8>, json: &[u8], found: Option<Value>) -> bool {
    let fits = |value: &Value| value.kind != Kind::Null && value.range().len() <= SAMPLE_BYTES_MAX;
    let Some(value) = found.filter(fits) else { return false };
    let stated = &json[value.range()];
    let grown = (value.kind == Kind::Object && !sample.is_empty()).then(|| grown(sample, stated)).flatten();
    sample.clear();
    // One sample is one line: a line feed outside strings is white space, and inside them it is escaped.
    sample.extend(grown.as_deref().unwrap_or(stated).iter().map(on_one_line));
    true
}

/// Longest statements that are held against each other.
const GROWN_BYTES_MAX: usize = 8 * 1024;

/// What is stated now, with the counts of before that have fallen to nothing: counts only grow, and servers state zeros
/// where they have not counted. `None` where nothing has fallen.
fn grown(before: &[u8], now: &[u8]) -> Option<Vec<u8>> {
    if before.len().max(now.len()) > GROWN_BYTES_MAX || !may_have_fallen(now) {
        return None;
    }
    let mut merged = Vec::with_capacity(now.len() + 16);
    let mut at = 0;
    let read = json::members(now, |name, value| {
        let Ok(name) = std::str::from_utf8(name) else { return };
        let Some(earlier) = json::find(before, &[name]) else { return };
        let (old, new) = (&before[earlier.range()], &now[value.range()]);
        let better = match (earlier.kind, value.kind) {
            (Kind::Object, Kind::Object) => grown(old, new),
            (Kind::Object, Kind::Null) => Some(old.to_vec()),
            (Kind::Number, _) if counts(old) && !counts(new) => Some(old.to_vec()),
            _ => None,
        };
        if let Some(better) = better {
            merged.extend_from_slice(&now[at..value.start]);
            merged.extend_from_slice(&better);
            at = value.end;
        }
    });
    merged.extend_from_slice(&now[at..]);
    (read.is_ok() && at > 0).then_some(merged)
}

/// Whether there is a zero, nothing or less in a statement.
fn may_have_fallen(stated: &[u8]) -> bool {
    let mut colons = memchr::memchr_iter(b':', stated);
    colons.any(|at| matches!(stated[at + 1..].trim_ascii_start().first(), Some(b'0' | b'n' | b'-' | b'{')))
}

/// Whether a number is one that counts something.
fn counts(number: &[u8]) -> bool {
    !number.starts_with(b"-") && number.iter().any(|byte| matches!(byte, b'1'..=b'9'))
}

/// Whether a tap leads to nothing but `null`, as in most events of a stream that states its usage in the last one.
fn is_null(tap: &UsageTap, event: &[u8]) -> bool {
    let Some(name) = tap.needles.first() else { return false };
    let mut places = name.find_iter(event);
    places.all(|at| {
        let after = event[at + name.needle().len()..].trim_ascii_start();
        after.strip_prefix(b":").is_some_and(|value| value.trim_ascii_start().starts_with(b"null"))
    })
}

/// The value of the outermost object's member `name`, where that stands once in the body and what follows it ends the
/// body: usage stands last in most answers, and everything before it need not be read. `None` says nothing.
fn from_its_end(tap: &UsageTap, body: &[u8]) -> Option<Value> {
    let needle = tap.needles.first()?;
    let at = needle.find(body)?;
    let once = needle.find(&body[at + needle.needle().len()..]).is_none();
    if once { json::member_at(body, at) } else { None }
}

/// Whether a name may be spelt with escapes.
fn has_escapes(body: &[u8]) -> bool {
    static ESCAPE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\\u"));
    ESCAPE.find(body).is_some()
}

/// A byte of a sample: a line feed outside strings is white space.
const fn on_one_line(byte: &u8) -> u8 {
    if *byte == b'\n' { b' ' } else { *byte }
}

/// All values that a path through arrays leads to, as an array.
fn list(json: &[u8], path: &[&str]) -> Vec<u8> {
    let mut list = vec![b'['];
    each(json, path, &mut |value| {
        if list.len() > 1 {
            list.push(b',');
        }
        list.extend(value.iter().map(on_one_line));
    });
    list.push(b']');
    list
}

fn each(json: &[u8], path: &[&str], visit: &mut dyn FnMut(&[u8])) {
    let Some(at) = path.iter().position(|name| name.ends_with(EACH)) else {
        if let Some(value) = json::find(json, path).filter(|value| value.kind != Kind::Null) {
            visit(&json[value.range()]);
        }
        return;
    };
    let mut head = path[..=at].to_vec();
    head[at] = head[at].strip_suffix(EACH).unwrap_or_default();
    let Some(array) = json::find(json, &head) else { return };
    // What is no array has no elements.
    let _read = json::elements_of(json, array, |element| {
        each(&json[element.range()], &path[at + 1..], visit);
        ControlFlow::Continue(())
    });
}

/// Reads a whole body: an object, or an array of them that was streamed. Says whether it tells of a failure.
pub(super) fn whole(taps: &Taps, samples: &mut [Vec<u8>], text_bytes: &mut u64, body: &[u8]) -> bool {
    let seen = taps.look(body, |_, rest| *text_bytes += text_length(rest));
    let mut escapes = None;
    let mut plain = || !*escapes.get_or_insert_with(|| has_escapes(body));
    let array = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    // A name that stands in the body once, as a member of the outermost object: no other object has it.
    let mut topmost: &[u8] = &[];
    for (tap, sample) in taps.usage.iter().zip(samples).filter(|(tap, _)| tap.active) {
        let last = tap.needles.first().map_or(&[][..], Finder::needle);
        match tap.path.as_slice() {
            _ if tap.is_absent(seen) && plain() => {}
            [name] if array => take_last(tap, name, sample, body),
            _ if array => take_each(tap, sample, body),
            [_] if !tap.many
                && let Some(value) = from_its_end(tap, body) =>
            {
                topmost = last;
                keep(sample, body, Some(value));
            }
            [_, _, ..] if last == topmost && plain() => {}
            _ => {
                take(tap, sample, body);
            }
        }
    }
    seen.error() && is_failure(body)
}

/// What the elements of a streamed array state, the last one that does.
fn take_each(tap: &UsageTap, sample: &mut Vec<u8>, body: &[u8]) {
    let Some(array) = json::find(body, &[]) else { return };
    // A stream that was cut has as many elements as it has.
    let _read = json::elements_of(body, array, |element| {
        take(tap, sample, &body[element.range()]);
        ControlFlow::Continue(())
    });
}

/// The last place in a streamed array where the tap's member stands.
fn take_last(tap: &UsageTap, name: &str, sample: &mut Vec<u8>, body: &[u8]) {
    let Some(needle) = tap.needles.first().map(Finder::needle) else { return };
    let Some(at) = memchr::memmem::rfind(body, needle) else { return };
    let after = &body[at + needle.len()..];
    let Some(value) = after.trim_ascii_start().strip_prefix(b":") else { return };
    let object = [b"{\"", name.as_bytes(), b"\":", value].concat();
    let last = UsageTap::new(name, true);
    take(&last, sample, &object);
}

/// Bytes of text in the string that follows a member's name; 0 where there is none.
fn text_length(rest: &[u8]) -> u64 {
    let after = rest.trim_ascii_start();
    let Some(value) = after.strip_prefix(b":").map(<[u8]>::trim_ascii_start) else { return 0 };
    value.strip_prefix(b"\"").map_or(0, decoded_length)
}

/// Length of a string up to its closing quote, with an escape for what it stands for: a character may be spelt in six
/// bytes, and within the arguments of a call in seven.
fn decoded_length(text: &[u8]) -> u64 {
    let (mut at, mut saved) = (0, 0);
    while let Some(step) = memchr::memchr2(b'"', b'\\', &text[at..]) {
        at += step;
        if text[at] == b'"' {
            return (at - saved) as u64;
        }
        let (spelt, meant) = escape(&text[at..]);
        at = (at + spelt).min(text.len());
        saved += spelt - meant;
    }
    text.len().saturating_sub(saved) as u64
}

/// How many bytes an escape has, and how many what it stands for has.
fn escape(text: &[u8]) -> (usize, usize) {
    let slashes = text.iter().take(2).take_while(|byte| **byte == b'\\').count();
    let digits = text.get(slashes + 1..slashes + 5).filter(|_| text.get(slashes) == Some(&b'u'));
    let code = digits.and_then(|digits| u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
    match code {
        None => (2, 1),
        // Half of a pair, which is four bytes.
        Some(0x80..0x800 | 0xd800..0xe000) => (slashes + 5, 2),
        Some(code) => (slashes + 5, if code < 0x80 { 1 } else { 3 }),
    }
}

#[cfg(test)]
mod tests {
    use super::decoded_length;

    #[test]
    fn an_escape_counts_as_what_it_stands_for() {
        for (spelt, bytes) in [
            (r#"plain" and more"#, 5),
            (r#"\n\"\\""#, 3),
            (r#"\u0041\u00e9\u20ac\ud83d\ude00""#, 1 + 2 + 3 + 4),
            (r#"{\"a\":\"\\u00e9\\u00e9\"}""#, 8 + 4),
            (r"cut \u00", 4 + 1 + 2),
            (r"cut \", 4),
            ("", 0),
        ] {
            assert_eq!(decoded_length(spelt.as_bytes()), bytes, "{spelt}");
        }
    }
}
