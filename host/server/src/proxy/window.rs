//! The content filter on an answer: events are held back until enough text has followed them that no match can still
//! reach into them, and then go on as they came, covered, or not at all.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use tollgate_core::fold::is_unread;
use tollgate_core::sse::{self, Framer, SseError};
use tollgate_core::text::{self, Extract, Scope};
use tollgate_runtime::{Direction, Found};

use super::filter::{Decision, TextHash, decide, masks};
use crate::routing::snapshot::Screen;
use crate::transport::body::Splice;

/// Longest event that is looked into.
const EVENT_BYTES_MAX: usize = 32 << 20;

/// Text that may be held; characters are at most four bytes, and few of them take no room.
const TEXT_BYTES_MAX: usize = 256 * 1024;

/// What of a push may go to the client.
#[derive(Debug)]
pub(crate) enum Passed {
    /// These bytes.
    On(Bytes),
    /// These, and then nothing more.
    Blocked {
        /// Clean events before the one that is refused.
        before: Bytes,
        /// Hash of what decided; `None` when the policy failed.
        hash: Option<TextHash>,
    },
}

/// An event too long to look into is an event that nobody has screened.
const UNSCREENED: Passed = Passed::Blocked { before: Bytes::new(), hash: None };

/// An event that is held back.
struct Held {
    bytes: Bytes,
    /// Bytes of the window's text that are its own.
    text_bytes: usize,
}

/// The window of one answer.
pub(crate) struct Window {
    screen: Screen,
    framer: Framer,
    held: VecDeque<Held>,
    /// Bytes of them all.
    held_bytes: usize,
    /// Text of the held events, in order.
    text: String,
    /// Matches that end up to here have been decided.
    decided: usize,
    width_chars: usize,
}

impl Window {
    /// A window for an answer that this screen looks into; `None` where it leaves answers alone.
    pub(crate) fn new(screen: &Screen) -> Option<Self> {
        let width_chars = screen.filter.plan().response_window_chars as usize;
        Self::wanted(screen).then(|| Self {
            screen: screen.clone(),
            framer: Framer::new(EVENT_BYTES_MAX),
            held: VecDeque::new(),
            held_bytes: 0,
            text: String::new(),
            decided: 0,
            width_chars,
        })
    }

    /// Bytes of text that are held back.
    pub(crate) const fn held_text(&self) -> u64 {
        self.text.len() as u64
    }

    /// Whether this screen looks into answers.
    pub(crate) fn wanted(screen: &Screen) -> bool {
        screen.filter.plan().response_window_chars > 0
    }

    /// Takes bytes of the stream in.
    pub(crate) fn push(&mut self, chunk: &Bytes) -> Passed {
        match self.take_in(chunk) {
            // What has no text, or text that takes no room, fills no window, and is held behind what has some.
            Ok(_) if self.held_bytes > EVENT_BYTES_MAX || self.decided > self.text_bytes_max() => UNSCREENED,
            Ok(0) => Passed::On(Bytes::new()),
            Ok(_) => self.release(tail_start(&self.text, self.width_chars)),
            Err(_) => UNSCREENED,
        }
    }

    /// Most text that is looked at again with each event.
    fn text_bytes_max(&self) -> usize {
        TEXT_BYTES_MAX.max(self.width_chars.saturating_mul(8))
    }

    /// Holds the events that a chunk completes, and counts them.
    fn take_in(&mut self, chunk: &Bytes) -> Result<usize, SseError> {
        let mut events = Vec::new();
        let read = self.framer.push(chunk, |frame| events.push(Bytes::copy_from_slice(frame.bytes())));
        let count = events.len();
        events.into_iter().for_each(|event| self.hold(event));
        read.map(|_| count)
    }

    /// The stream has ended with these last bytes: everything is decided now.
    pub(crate) fn finish(&mut self, rest: &Bytes) -> Passed {
        if self.take_in(rest).is_err() {
            return UNSCREENED;
        }
        if let Some(rest) = self.framer.finish().map(Bytes::copy_from_slice) {
            self.hold(rest);
        }
        self.release(usize::MAX)
    }

    /// Screens a whole body that is not a stream of events: an object, or an array of them.
    pub(crate) fn whole(&mut self, body: Bytes) -> Passed {
        let (before, after): (&[u8], &[u8]) = match body.trim_ascii_start().first() {
            Some(b'[') => (b"{\"all\":", b"}"),
            _ => (b"", b""),
        };
        let object = Bytes::from([before, body.as_ref(), after].concat());
        // What cannot be read cannot be screened.
        let Ok(extract) = text::extract(&object, Scope::Event) else { return UNSCREENED };
        match judge(&self.screen, &extract.text, 0) {
            Decision::Pass => Passed::On(body),
            Decision::Mask(ranges, _) => {
                let mut splices: Vec<Splice> = masks(&object, &extract, &ranges).collect();
                let covered = apply(&object, &mut splices);
                Passed::On(covered.slice(before.len()..covered.len() - after.len()))
            }
            Decision::Block(hash, _) => Passed::Blocked { before: Bytes::new(), hash: Some(hash) },
            Decision::Failed => Passed::Blocked { before: Bytes::new(), hash: None },
        }
    }

    fn hold(&mut self, event: Bytes) {
        let text = extract(&event).map(|(_, extract)| extract.text).unwrap_or_default();
        self.text.push_str(&text);
        self.held_bytes += event.len();
        self.held.push_back(Held { bytes: event, text_bytes: text.len() });
    }

    /// Decides about the window and lets go of the events whose text ends before `keep`.
    fn release(&mut self, keep: usize) -> Passed {
        let decision = judge(&self.screen, &self.text, self.decided);
        match decision {
            Decision::Pass => {}
            Decision::Mask(ranges, _) => self.cover(&ranges),
            Decision::Block(hash, _) => {
                // What came before the window's own text was decided earlier; nothing of the window goes on.
                return Passed::Blocked { before: Bytes::new(), hash: Some(hash) };
            }
            Decision::Failed => return Passed::Blocked { before: Bytes::new(), hash: None },
        }
        self.let_go(keep)
    }

    /// Covers ranges of the window's text in the events that hold them.
    fn cover(&mut self, ranges: &[std::ops::Range<usize>]) {
        let mut at = 0;
        for held in &mut self.held {
            let own = at..at + held.text_bytes;
            at = own.end;
            let inside: Vec<_> = ranges
                .iter()
                .map(|range| range.start.clamp(own.start, own.end)..range.end.clamp(own.start, own.end))
                .filter(|range| !range.is_empty())
                .map(|range| range.start - own.start..range.end - own.start)
                .collect();
            if inside.is_empty() {
                continue;
            }
            if let Some((shift, extract)) = extract(&held.bytes) {
                let data = held.bytes.slice(shift..);
                let mut splices: Vec<Splice> = masks(&data, &extract, &inside)
                    .map(|splice| Splice {
                        range: splice.range.start + shift..splice.range.end + shift,
                        ..splice
                    })
                    .collect();
                held.bytes = apply(&held.bytes, &mut splices);
            }
        }
        self.recount();
    }

    /// Reads the window's text again after covering: a covered character may be shorter than the one it hides.
    fn recount(&mut self) {
        self.text.clear();
        for held in &mut self.held {
            let text = extract(&held.bytes).map(|(_, extract)| extract.text).unwrap_or_default();
            held.text_bytes = text.len();
            self.text.push_str(&text);
        }
        self.held_bytes = self.held.iter().map(|held| held.bytes.len()).sum();
    }

    fn let_go(&mut self, keep: usize) -> Passed {
        let keep = keep.min(self.text.len());
        let mut out = BytesMut::new();
        let mut gone = 0;
        while let Some(held) = self.held.front() {
            if gone + held.text_bytes > keep {
                break;
            }
            gone += held.text_bytes;
            out.extend_from_slice(&held.bytes);
            self.held_bytes = self.held_bytes.saturating_sub(held.bytes.len());
            self.held.pop_front();
        }
        self.text.drain(..gone);
        self.decided = self.text.len();
        Passed::On(out.freeze())
    }
}

/// Asks about what ends after `decided`: what the window holds from before has been judged.
fn judge(screen: &Screen, text: &str, decided: usize) -> Decision {
    let mut found = screen.find(text, &[]);
    found.retain(|found: &Found| found.end as usize > decided);
    decide(screen, Direction::Response, text, &found)
}

/// The text of an event, and where its data begins. An event whose data stands on several lines is not looked into
/// further than its first: providers send one.
fn extract(event: &Bytes) -> Option<(usize, Extract)> {
    let data = sse::data(event)?;
    let shift = memchr::memmem::find(event, &data)?;
    Some((shift, text::extract(&data, Scope::Event).ok()?))
}

fn apply(bytes: &Bytes, splices: &mut [Splice]) -> Bytes {
    splices.sort_by_key(|splice| splice.range.start);
    let mut out = BytesMut::with_capacity(bytes.len());
    let mut at = 0;
    for splice in splices.iter() {
        out.extend_from_slice(&bytes[at..splice.range.start]);
        out.extend_from_slice(&splice.with);
        at = splice.range.end;
    }
    out.extend_from_slice(&bytes[at..]);
    out.freeze()
}

/// Where the last `chars` characters of a text begin. What takes no room does not count: it would push a word out of
/// the window.
fn tail_start(text: &str, chars: usize) -> usize {
    let read = text.char_indices().rev().filter(|(_, c)| c.is_ascii() || !is_unread(*c));
    read.skip(chars.saturating_sub(1)).map(|(at, _)| at).next().unwrap_or(0)
}
