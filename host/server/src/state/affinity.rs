//! Tells conversations apart, and remembers which credential each began with.
//!
//! A conversation is recognised by what its client sends: a session header, a cache key or user id in the body; else by
//! its opening turns, which every later request repeats. The caller is part of it, so that no caller can affect
//! another's.

use std::hash::{DefaultHasher, Hasher};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, HeaderName, HeaderValue};
use tollgate_core::affinity::Affinities;
use tollgate_core::id::{CredentialId, UserId};
use tollgate_core::json::{self, Kind, Value};
use tollgate_core::time::Timestamp;

use super::deciders::SharedAffinity;
use crate::clock::random;

/// Conversations that are remembered: half a megabyte.
const CONVERSATIONS: usize = 8192;
/// Parts with a lock each, so that workers rarely contend.
const PARTS: usize = 16;
/// Bytes of a session's name that distinguish it.
const NAME_BYTES_MAX: usize = 256;

/// Headers in which clients name a session.
const HEADERS: [HeaderName; 5] = [
    HeaderName::from_static("x-session-id"),
    HeaderName::from_static("x-claude-code-session-id"),
    HeaderName::from_static("session-id"),
    HeaderName::from_static("session_id"),
    HeaderName::from_static("x-conversation-id"),
];
/// Members in which they do; the first one that exists counts.
const MEMBERS: [(&str, &[&str]); 5] = [
    ("prompt_cache_key", &[]),
    ("conversation", &[]),
    ("metadata", &["session_id"]),
    ("metadata", &["user_id"]),
    ("user", &[]),
];
/// Where the turns are, and what stands before them.
const TURNS: [&str; 3] = ["messages", "contents", "input"];
const PREFACE: [&str; 4] = ["system", "instructions", "systemInstruction", "system_instruction"];

/// Which credential a conversation began with.
pub(crate) struct Conversations {
    /// The seed of each name, so that no caller can make names that collide with another's.
    seed: [u8; 16],
    known: Known,
}

/// Where it is remembered.
enum Known {
    /// This node.
    Local(Box<[Mutex<Affinities>; PARTS]>),
    /// Several nodes share it.
    Shared(Arc<dyn SharedAffinity>),
}

impl Conversations {
    /// Asks `shared` where there is one; this node's own memory is empty at first.
    pub(crate) fn new(shared: Option<Arc<dyn SharedAffinity>>) -> Self {
        match shared {
            None => {
                let part = |_| Mutex::new(Affinities::new(CONVERSATIONS / PARTS));
                let mut seed = [0; 16];
                seed[..10].copy_from_slice(&random());
                Self { seed, known: Known::Local(Box::new(std::array::from_fn(part))) }
            }
            Some(shared) => Self { seed: shared.seed(), known: Known::Shared(shared) },
        }
    }

    /// The name of a request's conversation; `None` for one without anything to recognise it by. `member` gives the
    /// body's top-level members.
    pub(crate) fn name(
        &self,
        user: UserId,
        headers: &HeaderMap,
        body: &[u8],
        member: impl Fn(&str) -> Option<Value>,
    ) -> Option<u64> {
        let mut hasher = DefaultHasher::new();
        hasher.write(&self.seed);
        hasher.write(user.as_bytes());
        let header = HEADERS.iter().find_map(|name| headers.get(name)).map(HeaderValue::as_bytes);
        if let Some(name) = header.filter(|name| !name.is_empty()).or_else(|| named(body, &member)) {
            hasher.write_u8(1);
            hasher.write(&name[..name.len().min(NAME_BYTES_MAX)]);
        } else {
            hasher.write_u8(2);
            opening(body, &member, &mut hasher)?;
        }
        Some(hasher.finish())
    }

    /// The credential that served it, and what that is worth now.
    pub(crate) async fn recall(&self, conversation: u64, now: Timestamp) -> Option<(CredentialId, u32)> {
        match &self.known {
            Known::Local(parts) => part(parts, conversation).recall(conversation, now),
            Known::Shared(shared) => shared.recall(conversation, now).await,
        }
    }

    /// A credential has served it.
    pub(crate) fn note(&self, conversation: u64, credential: CredentialId, at: Timestamp) {
        match &self.known {
            Known::Local(parts) => part(parts, conversation).note(conversation, credential, at),
            Known::Shared(shared) => shared.note(conversation, credential, at),
        }
    }
}

fn part(parts: &[Mutex<Affinities>; PARTS], conversation: u64) -> MutexGuard<'_, Affinities> {
    // The remainder is below the number of parts; the other bits tell conversations of a part apart.
    let part = usize::try_from(conversation >> 60).unwrap_or_default() % PARTS;
    parts[part].lock().unwrap_or_else(PoisonError::into_inner)
}

/// The session that the body names.
fn named(body: &[u8], member: impl Fn(&str) -> Option<Value>) -> Option<&[u8]> {
    MEMBERS.iter().find_map(|(name, inner)| {
        let outer = body.get(member(name)?.range())?;
        let value = json::find(outer, inner).filter(|value| value.kind == Kind::String)?;
        // More than two quotes.
        outer.get(value.range()).filter(|text| text.len() > 2)
    })
}

/// The turns up to the first that is the user's, and what stands before all of them.
fn opening(body: &[u8], member: impl Fn(&str) -> Option<Value>, hasher: &mut impl Hasher) -> Option<()> {
    let turns = TURNS.iter().find_map(|name| member(name))?;
    let text = |value: Value| body.get(value.range()).unwrap_or_default();
    for name in PREFACE {
        hasher.write(member(name).map(text).unwrap_or_default());
    }
    if turns.kind != Kind::Array {
        hasher.write(text(turns));
        return Some(());
    }
    let mut any = false;
    let read = json::elements_of(body, turns, |turn| {
        any = true;
        hasher.write(text(turn));
        if is_users(text(turn)) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    read.ok().filter(|()| any)
}

/// Gemini's turns may leave out the role: they are the user's.
fn is_users(turn: &[u8]) -> bool {
    let role = json::find(turn, &["role"]).and_then(|role| json::string(turn, role));
    role.is_none_or(|role| role == "user")
}

#[cfg(test)]
mod tests {
    use super::Conversations;
    use http::HeaderMap;
    use tollgate_core::id::UserId;
    use tollgate_core::json;

    const ALICE: UserId = UserId::from_bytes([1; 16]);
    const BOB: UserId = UserId::from_bytes([2; 16]);

    fn header(value: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("x-session-id", http::HeaderValue::from_static(value));
        headers
    }

    fn name(all: &Conversations, user: UserId, headers: &HeaderMap, body: &str) -> Option<u64> {
        all.name(user, headers, body.as_bytes(), |name| json::find(body.as_bytes(), &[name]))
    }

    #[test]
    fn a_conversation_is_known_by_what_its_client_says_or_else_by_its_opening() {
        let all = Conversations::new(None);
        let by_body = |body: &str| name(&all, ALICE, &HeaderMap::new(), body);
        let first = r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"a"}]}"#;
        let later = r#"{"stream":true,"messages":[{"role":"system","content":"s"},{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"}]}"#;
        let other = r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"b"}]}"#;
        assert!(by_body(first).is_some());
        assert_eq!(by_body(first), by_body(later));
        assert_ne!(by_body(first), by_body(other));
        assert_eq!(by_body("{}"), None);
        assert_eq!(by_body(r#"{"messages":[]}"#), None);
        for (one, same, another) in [
            (
                r#"{"metadata":{"user_id":"u"}}"#,
                r#"{"messages":[],"metadata":{"user_id":"u"}}"#,
                r#"{"user":"v"}"#,
            ),
            (
                r#"{"contents":[{"parts":1}]}"#,
                r#"{"contents":[{"parts":1},{"parts":2}]}"#,
                r#"{"contents":[{"parts":2}]}"#,
            ),
            (r#"{"input":"x"}"#, r#"{"input":"x","n":1}"#, r#"{"instructions":"y","input":"x"}"#),
        ] {
            assert!(by_body(one).is_some(), "{one}");
            assert_eq!(by_body(one), by_body(same), "{one}");
            assert_ne!(by_body(one), by_body(another), "{one}");
        }
        let by_header = |value, body: &str| name(&all, ALICE, &header(value), body);
        assert_eq!(by_header("s1", first), by_header("s1", other));
        assert_ne!(by_header("s1", first), by_header("s2", first));
    }

    #[test]
    fn two_users_never_share_a_conversation() {
        let all = Conversations::new(None);
        assert_ne!(name(&all, ALICE, &header("s"), "{}"), name(&all, BOB, &header("s"), "{}"));
    }
}
