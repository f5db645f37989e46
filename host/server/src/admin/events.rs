//! Answers that go on: events, one after the other, as `text/event-stream`. They end with the login that asked for
//! them, and when the gateway stops.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::StatusCode;
use http::header::{self, HeaderName, HeaderValue};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};
use tollgate_core::id::UserId;

use super::Admin;
use super::answer::Answer;
use super::ask::Actor;
use super::error::Problem;
use super::reply::Reply;
use crate::clock::now;

/// Streams of one user, and of all admins together.
const USER_MAX: usize = 4;
const ADMINS_MAX: usize = 64;
/// How often is looked whether a stream may go on.
const LOOK: Duration = Duration::from_secs(1);
/// Looks after which the login is asked about.
const LOGIN_LOOKS: u32 = 5;
/// Silence after which a sign of life is sent.
const SILENCE: Duration = Duration::from_secs(15);
const MEDIA_TYPE: &str = "text/event-stream";
/// Keeps a proxy from collecting events.
const BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// How many streams are open, by whose they are: `None` for admins and the admin secret.
#[derive(Debug, Default)]
pub(super) struct OpenStreams(Arc<Mutex<HashMap<Option<UserId>, usize>>>);

/// One of them.
struct Place {
    all: Arc<Mutex<HashMap<Option<UserId>, usize>>>,
    whose: Option<UserId>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = all.get_mut(&self.whose) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.whose);
            }
        }
    }
}

impl OpenStreams {
    fn place(&self, whose: Option<UserId>) -> Result<Place, Problem> {
        let most = if whose.is_some() { USER_MAX } else { ADMINS_MAX };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = all.entry(whose).or_default();
        if *count >= most {
            return Err(Problem::too_many_streams(most));
        }
        *count += 1;
        Ok(Place { all: Arc::clone(&self.0), whose })
    }
}

/// Where the events of a stream come from.
pub(super) trait Source: Send + 'static {
    /// What comes at one time.
    type News: Send;

    /// Waits for news; `None` at the end. Cancel-safe.
    fn wait(&mut self) -> impl Future<Output = Option<Self::News>> + Send;

    /// Writes them to the end of `text` as events, as far as they are the viewer's. False where it cannot go on.
    fn write(&mut self, text: &mut Vec<u8>, news: Self::News) -> impl Future<Output = bool> + Send;
}

/// Writes one event, in one line of JSON.
pub(super) fn event(text: &mut Vec<u8>, name: &str, data: &impl Serialize) {
    let before = text.len();
    text.extend_from_slice(b"event: ");
    text.extend_from_slice(name.as_bytes());
    text.extend_from_slice(b"\ndata: ");
    match serde_json::to_writer(&mut *text, data) {
        Ok(()) => text.extend_from_slice(b"\n\n"),
        Err(error) => {
            tracing::error!(%error, name, "an event could not be written");
            text.truncate(before);
        }
    }
}

/// A stream of events.
pub(super) struct Events(Pin<Box<dyn Stream<Item = Bytes> + Send>>);

impl Events {
    /// Those of a source, for as long as whoever asks may see them.
    ///
    /// # Errors
    /// 429 where they have as many streams open as they may, and 401 for somebody who has not said who they are.
    pub(super) fn of(admin: &Arc<Admin>, actor: &Actor, source: impl Source) -> Result<Self, Problem> {
        let place = admin.house.streams.place(actor.scope()?)?;
        let mut beat = interval(LOOK);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (admin, actor, looks, spoke) = (Arc::clone(admin), actor.clone(), 0, Instant::now());
        let viewer = Viewer { admin, actor, source, beat, looks, spoke, _place: place };
        // Says at once that the stream is there, and how soon to come back when it breaks.
        let begun = stream::once(async { Bytes::from_static(b"retry: 2000\n\n") });
        let later = stream::unfold(viewer, |mut viewer| async move { Some((viewer.next().await?, viewer)) });
        Ok(Self(Box::pin(begun.chain(later))))
    }
}

struct Viewer<S> {
    admin: Arc<Admin>,
    actor: Actor,
    source: S,
    beat: Interval,
    looks: u32,
    /// When something was sent last.
    spoke: Instant,
    _place: Place,
}

impl<S: Source> Viewer<S> {
    async fn next(&mut self) -> Option<Bytes> {
        let mut text = Vec::new();
        loop {
            let news = tokio::select! {
                news = self.source.wait() => Some(news?),
                _ = self.beat.tick() => None,
            };
            let goes_on = match news {
                Some(news) => self.source.write(&mut text, news).await,
                None => self.may_go_on().await,
            };
            if !goes_on {
                return None;
            }
            if text.is_empty() && self.spoke.elapsed() >= SILENCE {
                text.extend_from_slice(b":\n\n");
            }
            if !text.is_empty() {
                self.spoke = Instant::now();
                return Some(text.into());
            }
        }
    }

    /// Whether the gateway goes on, and the login of whoever looks on.
    async fn may_go_on(&mut self) -> bool {
        self.looks += 1;
        if !self.admin.ready.load(std::sync::atomic::Ordering::Relaxed) {
            return false;
        }
        match &self.actor {
            Actor::Visitor(visitor) if self.looks.is_multiple_of(LOGIN_LOOKS) => {
                self.admin.logins.lasts(visitor, now()).await.unwrap_or(false)
            }
            Actor::Nobody | Actor::Operator | Actor::Visitor(_) => true,
        }
    }
}

impl Reply for Events {
    fn answer(self) -> Result<Answer, Problem> {
        let frames = self.0.map(|bytes| Ok(Frame::data(bytes)));
        let mut answer = Answer::new(StreamBody::new(frames).boxed_unsync());
        *answer.status_mut() = StatusCode::OK;
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        headers.insert(BUFFERING, HeaderValue::from_static("no"));
        Ok(answer)
    }

    fn schema(_: &mut SchemaGenerator) -> Option<(&'static str, Schema)> {
        Some((MEDIA_TYPE, json_schema!({"type": "string"})))
    }
}

#[cfg(test)]
mod tests {
    use super::{ADMINS_MAX, OpenStreams, USER_MAX, event};
    use serde_json::json;
    use tollgate_core::id::UserId;

    #[test]
    fn streams_are_bounded_by_whose_they_are_and_a_place_comes_back() {
        let open = OpenStreams::default();
        let (one, other) = (Some(UserId::from_bytes([1; 16])), Some(UserId::from_bytes([2; 16])));
        let mut places: Vec<_> = (0..USER_MAX).map(|_| open.place(one).ok().unwrap()).collect();
        assert!(open.place(one).is_err() && open.place(other).is_ok() && open.place(None).is_ok());
        places.pop();
        let again = open.place(one);
        assert!(again.is_ok() && open.place(one).is_err());
        let admins: Vec<_> = (0..ADMINS_MAX).map(|_| open.place(None).ok().unwrap()).collect();
        assert!(open.place(None).is_err() && admins.len() == ADMINS_MAX);
    }

    #[test]
    fn an_event_is_one_line_of_json_whatever_is_in_it() {
        let mut text = Vec::new();
        event(&mut text, "call", &json!({"model": "a\n\nevent: other\r\n"}));
        let text = String::from_utf8(text).unwrap();
        assert_eq!(text, "event: call\ndata: {\"model\":\"a\\n\\nevent: other\\r\\n\"}\n\n");
    }
}
