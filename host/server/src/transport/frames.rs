//! Turns an answer in binary messages into the events of its protocol: each message holds one event, in base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use tollgate_core::eventstream::{Decoder, Message};
use tollgate_core::json;

use super::broken::AnswerError;

/// Messages on their way to events.
#[derive(Debug, Default)]
pub(super) struct Frames {
    decoder: Decoder,
    failed: Option<AnswerError>,
}

impl Frames {
    /// The events of the next bytes; possibly none yet. Events before a failure are returned first.
    ///
    /// # Errors
    /// When the upstream failed, or these are not messages.
    pub(super) fn events(&mut self, bytes: &[u8]) -> Result<Bytes, AnswerError> {
        self.decoder.feed(bytes);
        let mut events = BytesMut::new();
        loop {
            match self.decoder.next_message().map_err(AnswerError::from) {
                Ok(None) => return Ok(events.freeze()),
                Ok(Some(message)) => match write(&message, &mut events) {
                    Ok(()) => {}
                    Err(error) => return self.after(events, error),
                },
                Err(error) => return self.after(events, error),
            }
        }
    }

    /// The failure to report after the last events, or at the end.
    pub(super) fn failure(&mut self, ended: bool) -> Option<AnswerError> {
        let cut = ended && !self.decoder.is_empty();
        self.failed.take().or_else(|| cut.then_some(AnswerError::Cut))
    }

    fn after(&mut self, events: BytesMut, error: AnswerError) -> Result<Bytes, AnswerError> {
        if events.is_empty() {
            return Err(error);
        }
        self.failed = Some(error);
        Ok(events.freeze())
    }
}

fn write(message: &Message, events: &mut BytesMut) -> Result<(), AnswerError> {
    if message.header(":message-type") != Some("event") {
        let kind = message.header(":exception-type").or_else(|| message.header(":error-code"));
        let (kind, words) = (kind.unwrap_or("unknown").to_owned(), message.payload.clone());
        return Err(AnswerError::Said { kind, words });
    }
    let Some(value) = json::find(&message.payload, &["bytes"]) else { return Ok(()) };
    let text = json::string(&message.payload, value).ok_or(AnswerError::Event)?;
    let event = STANDARD.decode(text.as_bytes()).map_err(|_| AnswerError::Event)?;
    let kind = json::find(&event, &["type"]).and_then(|value| json::string(&event, value));
    let kind = kind.filter(|kind| !kind.contains(['\r', '\n'])).ok_or(AnswerError::Event)?;
    events.put_slice(b"event: ");
    events.put_slice(kind.as_bytes());
    events.put_slice(b"\ndata: ");
    // A line break in JSON is white space between its parts.
    events.extend(event.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }));
    events.put_slice(b"\n\n");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{AnswerError, Frames, STANDARD};
    use base64::Engine;
    use tollgate_core::eventstream::{Message, encode};

    fn message(kind: (&str, &str), payload: &str) -> Vec<u8> {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let headers = vec![header(":message-type", kind.0), header(kind.1, "throttlingException")];
        encode(&Message { headers, payload: payload.as_bytes().to_vec() })
    }

    fn event(json: &str) -> Vec<u8> {
        let payload = format!(r#"{{"bytes":"{}","p":"abcd"}}"#, STANDARD.encode(json));
        message(("event", ":event-type"), &payload)
    }

    #[test]
    fn each_message_becomes_an_event_named_by_its_type() {
        let mut frames = Frames::default();
        let bytes = [event("{\"type\":\"ping\"}"), event("{\"type\":\"message_stop\",\n\"x\":1}")].concat();
        let (first, second) = bytes.split_at(bytes.len() - 3);
        let mut text = frames.events(first).unwrap().to_vec();
        text.extend_from_slice(&frames.events(second).unwrap());
        let expected = "event: ping\ndata: {\"type\":\"ping\"}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\", \"x\":1}\n\n";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
        assert!(frames.failure(true).is_none());
    }

    #[test]
    fn an_exception_comes_after_the_events_before_it() {
        let mut frames = Frames::default();
        let bytes = [event("{\"type\":\"ping\"}"), message(("exception", ":exception-type"), "{}")].concat();
        assert!(!frames.events(&bytes).unwrap().is_empty());
        assert!(
            matches!(frames.failure(false), Some(AnswerError::Said { kind, .. }) if kind == "throttlingException")
        );
    }

    #[test]
    fn an_end_within_a_message_is_noticed() {
        let mut frames = Frames::default();
        let bytes = event("{\"type\":\"ping\"}");
        assert!(frames.events(&bytes[..bytes.len() - 1]).unwrap().is_empty());
        assert!(frames.failure(false).is_none());
        assert!(matches!(frames.failure(true), Some(AnswerError::Cut)));
    }
}
