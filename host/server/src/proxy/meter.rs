//! What passing bytes say of the usage, without holding them up.
//!
//! The adapter's plan names the members that state usage and those that hold output text. The meter looks for their
//! names in passing events and keeps only the values found; the component reads those once, at the end.

use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use tollgate_core::ending::Ending;
use tollgate_core::json;
use tollgate_core::shape::Shape;
use tollgate_core::sse::{self, Frame, Framer};

use super::taps::{self, EVENT_BYTES_MAX};
use crate::state::memory::Share;
use crate::upstream::Taps;

/// Most bytes of an unstreamed answer that are kept until its end to look for the usage.
const WHOLE_BYTES_MAX: usize = 64 << 20;
/// Bytes of text that stand for one token where nothing better is known.
pub(super) const BYTES_PER_TOKEN: u64 = 4;

/// Bytes of sound, as base64 of 24,000 samples a second, that count as a byte of text: a token is 50 ms of it.
const SOUND_BYTES: u64 = 800;

/// Watches the bytes of one answer.
pub(crate) struct Meter {
    taps: Rc<Taps>,
    samples: Vec<Vec<u8>>,
    text_bytes: u64,
    /// Bytes of the answer.
    bytes: u64,
    /// Whether it is encoded so that no text can be found in them.
    illegible: bool,
    /// Whether some of what is said is sound.
    sounds: bool,
    /// Bytes of it as they came, where what they are packed in could not be taken off.
    unread: u64,
    /// Whether nothing but space has passed.
    blank: bool,
    /// Whether an event stated usage.
    stated: bool,
    /// Bytes of the last piece that are of an event which has not ended.
    unfinished: usize,
    /// Whether an event told of an error: the stream ends in order then, and yet it is not whole.
    failed: bool,
    /// The last word that a streamed answer owes; `None` where it owes none, or cannot be read.
    ending: Option<Ending>,
    /// Room for what is kept.
    share: Option<Share>,
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
    held: BytesMut,
}

impl Meter {
    /// For a stream of events. `withhold` names the member that is an empty array in the event that the client did not
    /// ask for.
    pub(crate) fn events(taps: Rc<Taps>, withhold: Option<String>) -> Self {
        let withhold = withhold.map(|member| Withhold { member, held: BytesMut::new() });
        Self::new(taps, Form::Events { framer: Framer::new(EVENT_BYTES_MAX), withhold })
    }

    /// For one body, or a JSON array that is streamed as one.
    pub(crate) fn whole(taps: Rc<Taps>) -> Self {
        Self::new(taps, Form::Whole { pieces: Vec::new(), bytes: 0 })
    }

    fn new(taps: Rc<Taps>, form: Form) -> Self {
        let samples = vec![Vec::new(); taps.usage.len()];
        Self {
            taps,
            samples,
            text_bytes: 0,
            bytes: 0,
            illegible: false,
            sounds: false,
            unread: 0,
            blank: true,
            stated: false,
            unfinished: 0,
            failed: false,
            ending: None,
            share: None,
            form,
        }
    }

    /// The same, for an answer that is whole only with its protocol's last word.
    pub(crate) fn until(self, ending: Option<Ending>) -> Self {
        Self { ending, ..self }
    }

    /// The same, which keeps no more than there is room for.
    pub(crate) fn within(self, share: Share) -> Self {
        Self { share: Some(share), ..self }
    }

    /// The same, for an answer of which some is sound.
    pub(crate) fn sounding(self) -> Self {
        Self { sounds: true, ..self }
    }

    /// The same, for an answer in an encoding in which no text can be found.
    pub(crate) fn illegible(self) -> Self {
        Self { illegible: true, ..self }
    }

    /// Takes a piece of the answer and gives back what may go on now: the piece itself, but where an event is withheld.
    pub(crate) fn pass(&mut self, chunk: Bytes) -> Bytes {
        let chunk = if self.blank { self.begin(chunk) } else { chunk };
        self.bytes += chunk.len() as u64;
        let Self {
            taps,
            samples,
            text_bytes,
            stated,
            unfinished: rest,
            failed,
            ending,
            share,
            form,
            sounds,
            ..
        } = self;
        let mut fits = |bytes| share.as_mut().is_none_or(|share| share.grow_to(bytes).is_ok());
        let mut see = |event: &[u8]| {
            if let Some(ending) = ending {
                ending.see(event);
            }
            let before = *text_bytes;
            let said = taps::tap(taps, samples, text_bytes, event);
            if *sounds && taps::is_sound(event) {
                *text_bytes = before + event.len() as u64 / SOUND_BYTES;
            }
            *failed |= said.failed;
            *stated |= said.usage;
            said.usage
        };
        match form {
            Form::Opaque => chunk,
            Form::Whole { pieces, bytes } => {
                *bytes += chunk.len();
                if *bytes > WHOLE_BYTES_MAX || !fits(*bytes) {
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
                match read {
                    Ok(unfinished) if fits(carried(framer)) => *rest = unfinished,
                    _ => *form = Form::Opaque,
                }
                chunk
            }
            Form::Events { framer, withhold: Some(withhold) } => {
                let mut passing = Passing::new(withhold, &chunk);
                let read = framer.push(&chunk, |frame| {
                    let usage = see(frame.bytes());
                    passing.event(&frame, usage);
                });
                match read {
                    Ok(unfinished) if fits(2 * carried(framer)) => passing.finish(unfinished),
                    _ => {
                        let passed = passing.rest();
                        *form = Form::Opaque;
                        passed
                    }
                }
            }
        }
    }

    /// The first bytes tell what the answer is, whatever was said of it before.
    fn begin(&mut self, chunk: Bytes) -> Bytes {
        if Shape::is_open(&chunk) {
            return chunk;
        }
        self.blank = false;
        match (&mut self.form, Shape::of(&chunk)) {
            (Form::Events { withhold, .. }, Some(Shape::Json)) => {
                // Space before it may have been held back.
                let held = withhold.take().map(|withhold| withhold.held).unwrap_or_default();
                self.form = Form::Whole { pieces: Vec::new(), bytes: 0 };
                if held.is_empty() { chunk } else { [&held[..], &chunk].concat().into() }
            }
            (Form::Whole { .. }, Some(Shape::Events)) => {
                self.form = Form::Events { framer: Framer::new(EVENT_BYTES_MAX), withhold: None };
                chunk
            }
            _ => chunk,
        }
    }

    /// What came could not be read: so many bytes.
    pub(crate) const fn unreadable(&mut self, bytes: u64) {
        (self.illegible, self.unread) = (true, bytes);
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
                self.failed |= taps::whole(taps, samples, text_bytes, &joined);
                Bytes::new()
            }
            Form::Events { framer, withhold } => {
                let usage = framer.finish().is_some_and(|event| {
                    if let Some(ending) = ending {
                        ending.see(event);
                    }
                    let said = taps::tap(taps, samples, text_bytes, event);
                    self.failed |= said.failed;
                    said.usage
                });
                self.stated |= usage;
                withhold.filter(|_| !usage).map(|withhold| withhold.held.freeze()).unwrap_or_default()
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

    /// Bytes that passed.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether it said that it was whole.
    pub(crate) fn ended(&self) -> bool {
        self.ending.is_some_and(|ending| ending.said())
    }

    /// Whether it said its last word, after which nothing comes.
    pub(crate) fn is_last(&self) -> bool {
        self.ending.is_some_and(|ending| ending.is_last())
    }

    /// Whether all of a stream has passed that says anything: its end, and its usage where that can come after it.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_last() || self.stated && self.ended()
    }

    /// Bytes of text that passed.
    pub(super) const fn text_bytes(&self) -> u64 {
        self.text_bytes
    }

    /// Bytes at the end of the piece that passed last which belong to an event that has not ended.
    pub(super) const fn unfinished(&self) -> usize {
        self.unfinished
    }

    /// Output tokens by the text that passed, at four bytes a token.
    pub(crate) const fn estimated_output(&self) -> u64 {
        self.text_bytes.div_ceil(BYTES_PER_TOKEN)
    }

    /// Output tokens by all that passed, where no text can be found in it: one a byte, in whatever it is encoded.
    pub(crate) const fn illegible_output(&self) -> u64 {
        match (self.illegible, self.unread) {
            (false, _) => 0,
            (true, 0) => self.bytes,
            (true, bytes) => bytes,
        }
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
        let copied = (!withhold.held.is_empty()).then(|| std::mem::take(&mut withhold.held));
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

    /// All that is left, where no more events can be told apart.
    fn rest(mut self) -> Bytes {
        self.run.end = self.chunk.len();
        self.flush_run();
        self.copied.take().unwrap_or_default().freeze()
    }

    /// Holds the unfinished end back and returns what passes.
    fn finish(mut self, unfinished: usize) -> Bytes {
        let whole_events = self.chunk.len() - unfinished;
        if self.run.end == 0 && whole_events == 0 {
            // No event ended in this chunk: all of it joins what is held.
            let mut held = self.copied.take().unwrap_or_default();
            held.extend_from_slice(self.chunk);
            self.withhold.held = held;
            return Bytes::new();
        }
        self.withhold.held = BytesMut::from(&self.chunk[whole_events..]);
        if self.copied.is_none() {
            return self.chunk.slice(self.run);
        }
        self.flush_run();
        self.copied.take().unwrap_or_default().freeze()
    }
}

/// Bytes of the event that has not ended.
fn carried(framer: &Framer) -> usize {
    framer.finish().map_or(0, <[u8]>::len)
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
    use std::rc::Rc;

    const STREAM: &str = concat!(
        "data: {\"choices\":[{\"delta\":{\"content\":\"Hel\\\"lo!!\"}}],\"usage\":null}\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"usage\"}}],\"usage\":null}\n\n",
        "data: {\"choices\":[],\"usage\":{\"total\":7}}\n\n",
        "data: [DONE]\n\n",
    );

    fn taps() -> Rc<Taps> {
        let tap = |path: &str| UsageTap::new(path, true);
        Rc::new(Taps::of(vec![tap("usage"), tap("message.usage")], ["content"]))
    }

    #[test]
    fn a_path_through_arrays_leads_to_a_list() {
        let check = |path: &str, body: &str, expected: &str| {
            let taps = Taps::of(vec![UsageTap::new(path, true)], []);
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
        let body = r#"{"choices":[{"message":{"content":"usage: \"7\" !!"}}],"usage": {"total":7}}"#;
        check_cut_everywhere(|| Meter::whole(taps()), body, body);
    }

    #[test]
    fn usage_is_the_outermost_objects_wherever_it_stands() {
        let check = |body: &str, expected: &str| {
            let taps = Taps::of(vec![UsageTap::new("usage", true)], []);
            let mut meter = Meter::whole(Rc::new(taps));
            meter.pass(Bytes::copy_from_slice(body.as_bytes()));
            meter.end();
            let samples = String::from_utf8(meter.samples().unwrap_or_default()).unwrap();
            assert_eq!(samples, expected, "{body}");
        };
        check(r#"{"text":"usage","usage":{"total":7},"tier":"x"}"#, r#"{"total":7}"#);
        check(r#"{"usage":{"total":7},"text":"\"usage\":{\"total\":1}"}"#, r#"{"total":7}"#);
        check(r#"{"choices":[{"usage":{"total":1}}],"usage":{"total":7}}"#, r#"{"total":7}"#);
        check(r#"{"choices":[{"usage":{"total":1}}]}"#, "");
        check(r#"{"usage":{"total":7,"usage":{"total":1}}}"#, r#"{"total":7,"usage":{"total":1}}"#);
        check(r#"{"\u0075sage":{"total":7}}"#, r#"{"total":7}"#);
        check("{\"usage\":{\"total\":\n7}}\n", r#"{"total": 7}"#);
        check(r#"{"usage":null,"text":"a"}"#, "");
        check(r#"{"usage":{"total":7},"text":"cut"#, r#"{"total":7}"#);
    }

    #[test]
    fn a_count_does_not_fall_to_nothing() {
        let check = |events: &[&str], expected: &str| {
            let taps = Taps::of(vec![UsageTap::new("usage", true)], []);
            let mut meter = Meter::events(Rc::new(taps), None);
            for event in events {
                meter.pass(Bytes::from(format!("data: {{\"usage\":{event}}}\n\n")));
            }
            meter.end();
            assert_eq!(String::from_utf8(meter.samples().unwrap()).unwrap(), expected, "{events:?}");
        };
        check(&[r#"{"in":9,"out":4}"#, r#"{"in":0,"out":0}"#], r#"{"in":9,"out":4}"#);
        check(&[r#"{"in":9,"out":4}"#, r#"{"in":9,"out":0}"#, "null"], r#"{"in":9,"out":4}"#);
        check(&[r#"{"in":9,"out":4}"#, r#"{"in":null,"out":-1}"#], r#"{"in":9,"out":4}"#);
        check(&[r#"{"in":9,"out":0}"#, r#"{"in":9,"out":4}"#], r#"{"in":9,"out":4}"#);
        check(
            &[r#"{"in":9,"d":{"c":3,"r":0}}"#, r#"{"in": 9,"d":{"c":0,"r":2}}"#],
            r#"{"in": 9,"d":{"c":3,"r":2}}"#,
        );
        check(&[r#"{"in":9,"d":{"c":3}}"#, r#"{"in":9,"d":null}"#], r#"{"in":9,"d":{"c":3}}"#);
        check(&[r#"{"in":0}"#], r#"{"in":0}"#);
    }

    #[test]
    fn a_streamed_array_states_its_last_usage() {
        let body = "[{\"content\":\"123456\",\"usage\":{\"total\":1}}\n,\r\n{\"content\":\"1234567\",\"usage\":{\"total\":7}}\n]";
        check_cut_everywhere(|| Meter::whole(taps()), body, body);
    }
}
