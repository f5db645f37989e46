//! What passing bytes say of the usage, without holding them up.
//!
//! The adapter's plan names the members that state usage and those that hold output text. The meter looks for their names in
//! passing events and keeps only the values found; the component reads those once, at the end.

use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};
use memchr::memmem::Finder;
use tollgate_core::ending::Ending;
use tollgate_core::json::{self, Kind};
use tollgate_core::sse::{self, Frame, Framer};

use crate::upstream::{EACH, Taps, UsageTap};

/// Longest event of a stream; pictures travel inside events.
const EVENT_BYTES_MAX: usize = 32 << 20;
/// Most bytes of an unstreamed answer that are kept until its end to look for the usage.
const WHOLE_BYTES_MAX: usize = 64 << 20;
/// Bytes of text that stand for one token where nothing better is known.
const BYTES_PER_TOKEN: u64 = 4;

/// Watches the bytes of one answer.
pub(crate) struct Meter {
    taps: Rc<Taps>,
    samples: Vec<Vec<u8>>,
    text_bytes: u64,
    /// Whether an event told of an error: the stream ends in order then, and yet it is not whole.
    failed: bool,
    /// The last word that a streamed answer owes; `None` where it owes none, or cannot be read.
    ending: Option<Ending>,
    form: Form,
}

enum Form {
    /// A stream of events, and the member by whose emptiness the one to withhold is known.
    Events { framer: Framer, withhold: Option<Withhold> },
    /// One body, kept by reference until it ends.
    Whole { pieces: Vec<Bytes>, bytes: usize },
    /// An answer that could not be framed: counted, not read.
    Opaque,
}

struct Withhold {
    member: String,
    /// Bytes of an unfinished event, not yet passed on.
    held: Bytes,
}

impl Meter {
    /// For a stream of events. `withhold` names the member that is an empty array in the event that the client did not ask
    /// for.
    pub(crate) fn events(taps: Rc<Taps>, withhold: Option<String>) -> Self {
        let withhold = withhold.map(|member| Withhold { member, held: Bytes::new() });
        Self::new(taps, Form::Events { framer: Framer::new(EVENT_BYTES_MAX), withhold })
    }

    /// For one body, or a JSON array that is streamed as one.
    pub(crate) fn whole(taps: Rc<Taps>) -> Self {
        Self::new(taps, Form::Whole { pieces: Vec::new(), bytes: 0 })
    }

    fn new(taps: Rc<Taps>, form: Form) -> Self {
        let samples = vec![Vec::new(); taps.usage.len()];
        Self { taps, samples, text_bytes: 0, failed: false, ending: None, form }
    }

    /// The same, for an answer that is whole only with its protocol's last word.
    pub(crate) fn until(self, ending: Option<Ending>) -> Self {
        Self { ending, ..self }
    }

    /// Takes a piece of the answer and gives back what may go on now: the piece itself, but where an event is withheld.
    pub(crate) fn pass(&mut self, chunk: Bytes) -> Bytes {
        let Self { taps, samples, text_bytes, failed, ending, form } = self;
        let mut see = |event: &[u8]| {
            *failed |= tells_of_failure(event);
            if let Some(ending) = ending {
                ending.see(event);
            }
            tap(taps, samples, text_bytes, event)
        };
        match form {
            Form::Opaque => chunk,
            Form::Whole { pieces, bytes } => {
                *bytes += chunk.len();
                if *bytes > WHOLE_BYTES_MAX {
                    *form = Form::Opaque;
                } else {
                    pieces.push(chunk.clone());
                }
                chunk
            }
            Form::Events { framer, withhold: None } => {
                let read = framer.push(&chunk, |frame| {
                    see(frame.bytes());
                });
                if read.is_err() {
                    *form = Form::Opaque;
                }
                chunk
            }
            Form::Events { framer, withhold: Some(withhold) } => {
                let mut passing = Passing::new(withhold, &chunk);
                let read = framer.push(&chunk, |frame| {
                    let usage = see(frame.bytes());
                    passing.event(&frame, usage);
                });
                let held = std::mem::take(&mut passing.withhold.held);
                match read {
                    Ok(unfinished) => passing.finish(unfinished),
                    Err(_) => {
                        *form = Form::Opaque;
                        [held, chunk].concat().into()
                    }
                }
            }
        }
    }

    /// Whether the last byte that passed ended an event, so that a comment may follow it.
    pub(crate) fn between_events(&self) -> bool {
        match &self.form {
            Form::Events { framer, withhold } => withhold.is_some() || framer.finish().is_none(),
            _ => false,
        }
    }

    /// The answer has ended: reads what was kept, and returns what was still held back.
    pub(crate) fn end(&mut self) -> Bytes {
        let Self { taps, samples, text_bytes, ending, form, .. } = self;
        match std::mem::replace(form, Form::Opaque) {
            Form::Opaque => {
                *ending = None;
                Bytes::new()
            }
            Form::Whole { pieces, .. } => {
                let joined = join(&pieces);
                if let Some(ending) = ending {
                    ending.see_whole(&joined);
                }
                whole(taps, samples, text_bytes, &joined);
                Bytes::new()
            }
            Form::Events { framer, withhold } => {
                let usage = framer.finish().is_some_and(|event| {
                    if let Some(ending) = ending {
                        ending.see(event);
                    }
                    tap(taps, samples, text_bytes, event)
                });
                withhold.filter(|_| !usage).map(|withhold| withhold.held).unwrap_or_default()
            }
        }
    }

    /// Reads what was kept of one body, cut or not: who leaves before its last byte has had the rest.
    pub(crate) fn read_kept(&mut self) {
        if matches!(self.form, Form::Whole { .. }) {
            // Of one body nothing is held back.
            let _nothing = self.end();
        }
    }

    /// The stream is not whole, whatever its bytes say.
    pub(crate) const fn fail(&mut self) {
        self.failed = true;
    }

    /// Whether the stream told of an error before it ended.
    pub(crate) const fn failed(&self) -> bool {
        self.failed
    }

    /// Whether a stream that has ended did so without its last word.
    pub(crate) fn ended_early(&self) -> bool {
        self.ending.is_some_and(|ending| !ending.said())
    }

    /// Output tokens by the text that passed, at four bytes a token.
    pub(crate) const fn estimated_output(&self) -> u64 {
        self.text_bytes.div_ceil(BYTES_PER_TOKEN)
    }

    /// What `read-usage` is given: the tapped values, one per line. `None` when no tap saw anything.
    pub(crate) fn samples(&self) -> Option<Vec<u8>> {
        let any = self.samples.iter().any(|sample| !sample.is_empty());
        any.then(|| self.samples.join(&b'\n'))
    }
}

/// One chunk on its way to a client from whom events are withheld.
struct Passing<'a> {
    withhold: &'a mut Withhold,
    chunk: &'a Bytes,
    /// What passes so far, once it differs from a plain run of the chunk.
    copied: Option<BytesMut>,
    /// A run of the chunk that passes as it is.
    run: std::ops::Range<usize>,
}

impl<'a> Passing<'a> {
    fn new(withhold: &'a mut Withhold, chunk: &'a Bytes) -> Self {
        let copied = (!withhold.held.is_empty()).then(|| BytesMut::from(withhold.held.as_ref()));
        Self { withhold, chunk, copied, run: 0..0 }
    }

    fn event(&mut self, frame: &Frame<'_>, states_usage: bool) {
        let withheld = states_usage && self.is_empty_member(frame.bytes());
        match frame {
            _ if !withheld => self.run.end = frame.end(),
            Frame::Whole { range, .. } => {
                self.run.end = range.start;
                self.flush_run();
                self.run = range.end..range.end;
            }
            // Its beginning was held back and goes with it.
            Frame::Joined { end, .. } => {
                self.copied = None;
                self.run = *end..*end;
            }
        }
    }

    fn is_empty_member(&self, event: &[u8]) -> bool {
        let Some(data) = sse::data(event) else { return false };
        let found = json::find(&data, &[&self.withhold.member]);
        found.is_some_and(|value| json::is_empty_array(&data, value))
    }

    fn flush_run(&mut self) {
        if !self.run.is_empty() {
            let run = &self.chunk[self.run.clone()];
            self.copied.get_or_insert_default().extend_from_slice(run);
        }
    }

    /// Holds the unfinished end back and returns what passes.
    fn finish(mut self, unfinished: usize) -> Bytes {
        let whole_events = self.chunk.len() - unfinished;
        if self.run.end == 0 && whole_events == 0 {
            // No event ended in this chunk: all of it joins what is held.
            let held = self.copied.take().unwrap_or_default();
            self.withhold.held = if held.is_empty() {
                self.chunk.clone()
            } else {
                [&held, self.chunk.as_ref()].concat().into()
            };
            return Bytes::new();
        }
        self.withhold.held = self.chunk.slice(whole_events..);
        if self.copied.is_none() {
            return self.chunk.slice(self.run);
        }
        self.flush_run();
        self.copied.take().unwrap_or_default().freeze()
    }
}

/// Whether an event is a provider's word that it failed after it had begun: an `error` member, a type `error`, or a response
/// that carries one.
fn tells_of_failure(event: &[u8]) -> bool {
    static NEEDLE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"error\""));
    if NEEDLE.find(event).is_none() {
        return false;
    }
    let Some(data) = sse::data(event) else { return false };
    let told = |path: &[&str]| json::find(&data, path).is_some_and(|value| value.kind != Kind::Null);
    let named = || {
        json::find(&data, &["type"])
            .and_then(|value| json::string(&data, value))
            .is_some_and(|name| name == "error")
    };
    told(&["error"]) || told(&["response", "error"]) || named()
}

/// Whether any of these whole events tells of a failure.
pub(crate) fn any_failure(events: &[u8]) -> bool {
    let mut failed = false;
    // What cannot be framed tells nothing.
    let _framed =
        Framer::new(EVENT_BYTES_MAX).push(events, |frame| failed |= tells_of_failure(frame.bytes()));
    failed
}

/// Looks into one event; whether it states usage.
fn tap(taps: &Taps, samples: &mut [Vec<u8>], text_bytes: &mut u64, event: &[u8]) -> bool {
    *text_bytes += taps.text.iter().map(|needle| text_length(event, needle)).sum::<u64>();
    let mut found = false;
    let mut data = None;
    for (tap, sample) in taps.usage.iter().zip(samples) {
        if !tap.active || tap.needles.iter().any(|needle| needle.find(event).is_none()) {
            continue;
        }
        let data = data.get_or_insert_with(|| sse::data(event).unwrap_or_default());
        found |= take(tap, sample, data);
    }
    found
}

/// Keeps the value that a tap leads to, if it is there and not null; says whether it is an object, as usage is.
fn take(tap: &UsageTap, sample: &mut Vec<u8>, json: &[u8]) -> bool {
    let path: Vec<&str> = tap.path.iter().map(String::as_str).collect();
    if tap.many {
        let list = list(json, &path);
        if list.len() > b"[]".len() {
            *sample = list;
        }
        return false;
    }
    match json::find(json, &path) {
        Some(value) if value.kind != Kind::Null => {
            sample.clear();
            // One sample is one line: a line feed outside strings is white space, and inside them it is escaped.
            sample.extend(json[value.range()].iter().map(on_one_line));
            value.kind == Kind::Object
        }
        _ => false,
    }
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

/// Reads a whole body: an object, or an array of them that was streamed.
fn whole(taps: &Taps, samples: &mut [Vec<u8>], text_bytes: &mut u64, body: &[u8]) {
    for needle in &taps.text {
        let mut rest = body;
        while let Some(at) = needle.find(rest) {
            *text_bytes += text_length(&rest[at..], needle);
            rest = &rest[at + needle.needle().len()..];
        }
    }
    let array = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    for (tap, sample) in taps.usage.iter().zip(samples).filter(|(tap, _)| tap.active) {
        match tap.path.as_slice() {
            [name] if array => take_last(tap, name, sample, body),
            _ if array => take_each(tap, sample, body),
            _ => {
                take(tap, sample, body);
            }
        }
    }
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

/// Bytes of the string that follows a member's name in an event; 0 where there is none.
fn text_length(event: &[u8], needle: &Finder<'_>) -> u64 {
    let Some(at) = needle.find(event) else { return 0 };
    let after = event[at + needle.needle().len()..].trim_ascii_start();
    let Some(value) = after.strip_prefix(b":").map(<[u8]>::trim_ascii_start) else { return 0 };
    let Some(text) = value.strip_prefix(b"\"") else { return 0 };
    let mut length = 0;
    while let Some(step) = memchr::memchr2(b'"', b'\\', &text[length..]) {
        length += step;
        if text[length] == b'"' {
            return length as u64;
        }
        length = (length + 2).min(text.len());
    }
    text.len() as u64
}

fn join(pieces: &[Bytes]) -> Bytes {
    match pieces {
        [] => Bytes::new(),
        [one] => one.clone(),
        many => many.concat().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::Meter;
    use crate::upstream::{Taps, UsageTap};
    use bytes::Bytes;
    use memchr::memmem::Finder;
    use std::rc::Rc;

    const STREAM: &str = concat!(
        "data: {\"choices\":[{\"delta\":{\"content\":\"Hel\\\"lo!\"}}],\"usage\":null}\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"usage\"}}],\"usage\":null}\n\n",
        "data: {\"choices\":[],\"usage\":{\"total\":7}}\n\n",
        "data: [DONE]\n\n",
    );

    fn taps() -> Rc<Taps> {
        let tap = |path: &str| UsageTap::new(path, true);
        Rc::new(Taps {
            usage: vec![tap("usage"), tap("message.usage")],
            text: vec![Finder::new("\"content\"").into_owned()],
        })
    }

    #[test]
    fn a_path_through_arrays_leads_to_a_list() {
        let check = |path: &str, body: &str, expected: &str| {
            let taps = Taps { usage: vec![UsageTap::new(path, true)], text: Vec::new() };
            let mut meter = Meter::whole(Rc::new(taps));
            meter.pass(Bytes::copy_from_slice(body.as_bytes()));
            meter.end();
            assert_eq!(meter.samples().unwrap_or_default(), expected.as_bytes(), "{path} {body}");
        };
        let body = r#"{"output":[{"type":"a","x":{"y":[1,2]}},{"type":null},{"x":{"y":[3]}},{"type":"b"}]}"#;
        check("output[].type", body, r#"["a","b"]"#);
        check("output[].x.y", body, "[[1,2],[3]]");
        check("output[].x.y[]", body, "[1,2,3]");
        check("output[].z", body, "");
        check("output.type[]", body, "");
        let streamed = r#"[{"c":[{"q":["a"]}]},{"c":[{"q":["a","b"]}]},{"c":[]}]"#;
        check("c[].q", streamed, r#"[["a","b"]]"#);
    }

    /// Passes `stream` in two pieces cut at every place.
    fn check_cut_everywhere(meter: impl Fn() -> Meter, stream: &str, expected: &str) {
        for cut in 0..=stream.len() {
            let mut meter = meter();
            let mut passed = Vec::new();
            for piece in [&stream[..cut], &stream[cut..]] {
                passed.extend_from_slice(&meter.pass(Bytes::copy_from_slice(piece.as_bytes())));
            }
            passed.extend_from_slice(&meter.end());
            assert_eq!(String::from_utf8(passed).unwrap(), expected, "cut at {cut}");
            assert_eq!(meter.samples().as_deref(), Some(&b"{\"total\":7}\n"[..]), "cut at {cut}");
            assert_eq!(meter.estimated_output(), 4, "13 bytes of text, cut at {cut}");
        }
    }

    #[test]
    fn bytes_pass_as_they_came_wherever_they_are_cut() {
        check_cut_everywhere(|| Meter::events(taps(), None), STREAM, STREAM);
    }

    #[test]
    fn the_event_that_was_not_asked_for_is_withheld_wherever_it_is_cut() {
        let expected = STREAM.replace("data: {\"choices\":[],\"usage\":{\"total\":7}}\n\n", "");
        let meter = || Meter::events(taps(), Some("choices".to_owned()));
        check_cut_everywhere(meter, STREAM, &expected);
        let unended = STREAM.trim_end().trim_end_matches("data: [DONE]").trim_end();
        let expected = expected.trim_end().trim_end_matches("data: [DONE]");
        check_cut_everywhere(meter, unended, expected);
    }

    #[test]
    fn an_event_without_choices_that_states_no_usage_passes() {
        let filter = "data: {\"choices\":[],\"prompt_filter_results\":[]}\n\n";
        let stream = [filter, STREAM].concat();
        let expected = stream.replace("data: {\"choices\":[],\"usage\":{\"total\":7}}\n\n", "");
        check_cut_everywhere(|| Meter::events(taps(), Some("choices".to_owned())), &stream, &expected);
    }

    #[test]
    fn an_unstreamed_answer_is_read_at_its_end() {
        let body = r#"{"choices":[{"message":{"content":"usage: \"7\" !"}}],"usage": {"total":7}}"#;
        check_cut_everywhere(|| Meter::whole(taps()), body, body);
    }

    #[test]
    fn a_streamed_array_states_its_last_usage() {
        let body = "[{\"content\":\"123456\",\"usage\":{\"total\":1}}\n,\r\n{\"content\":\"1234567\",\"usage\":{\"total\":7}}\n]";
        check_cut_everywhere(|| Meter::whole(taps()), body, body);
    }
}
