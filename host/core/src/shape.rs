//! What a body is by its first bytes, whatever its head says of it: servers and relays call events JSON, JSON events,
//! and both of them text or nothing, and a network in between answers with a page of its own.

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// What an event stream may begin with: the names of its fields.
const FIELDS: [&[u8]; 4] = [b"data", b"event", b"id", b"retry"];

/// What a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A stream of events.
    Events,
    /// An object or an array.
    Json,
    /// A page for people.
    Page,
}

impl Shape {
    /// What a body is that begins so; `None` where nobody can tell. A line that has not come to its end is what it can
    /// become.
    #[must_use]
    pub fn of(begin: &[u8]) -> Option<Self> {
        let begin = written(begin);
        match begin.first()? {
            b'{' | b'[' => Some(Self::Json),
            b'<' => Some(Self::Page),
            b':' => Some(Self::Events),
            _ => is_field(begin).then_some(Self::Events),
        }
    }

    /// Whether nothing but space has come yet, which servers send while they think.
    #[must_use]
    pub fn is_open(begin: &[u8]) -> bool {
        written(begin).is_empty()
    }
}

fn written(begin: &[u8]) -> &[u8] {
    begin.strip_prefix(BYTE_ORDER_MARK).unwrap_or(begin).trim_ascii_start()
}

fn is_field(begin: &[u8]) -> bool {
    FIELDS.into_iter().any(|name| match begin.strip_prefix(name) {
        Some(rest) => matches!(rest.first(), None | Some(b':' | b'\n' | b'\r')),
        None => name.starts_with(begin),
    })
}

#[cfg(test)]
mod tests {
    use super::Shape;

    #[test]
    fn the_first_bytes_tell_however_few_they_are() {
        let check = |begin: &str, expected: Option<Shape>| {
            assert_eq!(Shape::of(begin.as_bytes()), expected, "{begin:?}");
        };
        for events in
            ["data: {}\n\n", "d", "dat", "data", "event: x", "id", "retry:1", ": ping", "\u{feff}data:"]
        {
            check(events, Some(Shape::Events));
        }
        for json in ["{\"id\":1}", "\r\n\n {", "[", "\u{feff}{"] {
            check(json, Some(Shape::Json));
        }
        check("<!DOCTYPE html>", Some(Shape::Page));
        check("\n<html>", Some(Shape::Page));
        for other in ["", " \n", "error: no", "identity", "datas:", "no JSON", "\u{1f}\u{8b}", "7"] {
            check(other, None);
        }
        assert!(Shape::is_open(b"\r\n \n") && Shape::is_open(b"") && !Shape::is_open(b" x"));
    }
}
