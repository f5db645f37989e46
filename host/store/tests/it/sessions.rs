//! What the trait of sessions promises, asked of the database and of an implementation in memory alike.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tollgate_core::id::{SessionId, UserId};
use tollgate_core::secret::Secret;
use tollgate_core::time::{DAY_MS, Timestamp};
use tollgate_store::{
    Digest, Guessed, Keyed, KeyedCalls, Known, LockOuts, Logins, MasterKey, Rotated, Sessions, StoreError,
    TokenChange, WrongTries,
};

use crate::{NOW, Rig};

/// Sessions in memory only.
#[derive(Debug, Default)]
struct Memory(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    sessions: HashMap<SessionId, Session>,
    wrong: HashMap<(i64, Digest), (u32, Timestamp)>,
    calls: HashMap<(String, String), Call>,
}

#[derive(Debug)]
struct Session {
    user: UserId,
    token: Digest,
    previous: Option<(Digest, Timestamp)>,
    expires_at: Timestamp,
    ended: bool,
}

#[derive(Debug)]
struct Call {
    digest: Digest,
    boot: [u8; 16],
    begun_at: Timestamp,
    answer: Option<(u16, String)>,
}

impl Memory {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn open(&self, session: SessionId, now: Timestamp) -> Option<UserId> {
        let session = self.sessions.get(&session).filter(|it| !it.ended && it.expires_at > now)?;
        Some(session.user)
    }
}

#[async_trait]
impl Logins for Memory {
    async fn begin_session(
        &self,
        user: UserId,
        token: Digest,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<SessionId, StoreError> {
        let mut state = self.state();
        let number = u8::try_from(state.sessions.len()).unwrap();
        let id = SessionId::new(now, [number; 10]);
        state.sessions.retain(|_, it| it.user != user || it.expires_at > now);
        state.sessions.insert(id, Session { user, token, previous: None, expires_at, ended: false });
        Ok(id)
    }

    async fn session_user(&self, session: SessionId, now: Timestamp) -> Result<Option<UserId>, StoreError> {
        Ok(self.state().open(session, now))
    }

    async fn rotate_session(
        &self,
        session: SessionId,
        change: TokenChange,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<Rotated, StoreError> {
        let mut state = self.state();
        let Some(user) = state.open(session, now) else { return Ok(Rotated::Unknown) };
        let Some(known) = state.sessions.get_mut(&session) else { return Ok(Rotated::Unknown) };
        if known.token != change.token {
            let lately = |(token, at): (Digest, Timestamp)| {
                token == change.token && at <= now && now < at.plus_ms(change.grace_ms)
            };
            if known.previous.is_some_and(lately) {
                return Ok(Rotated::Lately(user));
            }
            known.ended = true;
            return Ok(Rotated::Reused);
        }
        known.previous = Some((known.token, now));
        (known.token, known.expires_at) = (change.next, expires_at);
        Ok(Rotated::Replaced(user))
    }

    async fn end_session(&self, session: SessionId, _now: Timestamp) -> Result<(), StoreError> {
        if let Some(session) = self.state().sessions.get_mut(&session) {
            session.ended = true;
        }
        Ok(())
    }
}

#[async_trait]
impl LockOuts for Memory {
    async fn lockouts(&self, kind: Guessed, now: Timestamp) -> Result<Vec<WrongTries>, StoreError> {
        let state = self.state();
        let of_kind = state.wrong.iter().filter(|((of, _), (_, last))| {
            *of == kind as i64 && last.millis() > now.millis().saturating_sub(DAY_MS)
        });
        Ok(of_kind.map(|((_, guessed), (wrong, last))| (*guessed, *wrong, *last)).collect())
    }

    async fn keep_lockout(&self, kind: Guessed, tries: WrongTries) -> Result<(), StoreError> {
        let (guessed, wrong, last) = tries;
        self.state().wrong.insert((kind as i64, guessed), (wrong, last));
        self.state().wrong.retain(|_, (wrong, _)| *wrong > 0);
        Ok(())
    }
}

#[async_trait]
impl KeyedCalls for Memory {
    async fn begin_call(
        &self,
        master: &MasterKey,
        call: &Keyed<'_>,
        now: Timestamp,
    ) -> Result<Known, StoreError> {
        let mut state = self.state();
        state.calls.retain(|_, it| it.begun_at.millis() > now.millis().saturating_sub(DAY_MS));
        let place = (call.actor.to_owned(), call.key.to_owned());
        let Some(known) = state.calls.get(&place) else {
            let (digest, boot) = (call.digest, call.boot);
            state.calls.insert(place, Call { digest, boot, begun_at: now, answer: None });
            return Ok(Known::New);
        };
        Ok(match &known.answer {
            _ if known.digest != call.digest => Known::Other,
            Some((status, sealed)) => match master.open_setting("answer", sealed) {
                Ok(body) => Known::Answered(*status, body),
                Err(_) => Known::CutOff,
            },
            None if known.boot == call.boot => Known::Running,
            None => Known::CutOff,
        })
    }

    async fn keep_answer(
        &self,
        master: &MasterKey,
        call: &Keyed<'_>,
        status: u16,
        body: &Secret,
    ) -> Result<(), StoreError> {
        let sealed = master.seal_setting("answer", body)?;
        if let Some(call) = self.state().calls.get_mut(&(call.actor.to_owned(), call.key.to_owned())) {
            call.answer = Some((status, sealed));
        }
        Ok(())
    }

    async fn forget_call(&self, call: &Keyed<'_>) -> Result<(), StoreError> {
        let place = (call.actor.to_owned(), call.key.to_owned());
        self.state().calls.retain(|key, it| *key != place || it.answer.is_some());
        Ok(())
    }
}

impl Sessions for Memory {}

/// A database and a memory, and a user. The first value keeps the files.
async fn both() -> (Rig, UserId, [Arc<dyn Sessions>; 2]) {
    let rig = Rig::new().await;
    let (id, database) = (rig.user, Arc::clone(&rig.store.sessions));
    (rig, id, [database, Arc::new(Memory::default())])
}

#[tokio::test]
async fn the_token_before_is_good_for_its_grace_and_no_longer_and_the_one_before_that_is_not() {
    let (_rig, user, both) = both().await;
    for sessions in both {
        let until = NOW.plus_ms(100_000);
        let session = sessions.begin_session(user, [1; 32], NOW, until).await.unwrap();
        let rotate = async |token, next, after_ms| {
            let change = TokenChange { token: [token; 32], next: [next; 32], grace_ms: 10_000 };
            sessions.rotate_session(session, change, NOW.plus_ms(after_ms), until).await.unwrap()
        };
        assert_eq!(rotate(1, 2, 1000).await, Rotated::Replaced(user));
        assert_eq!(rotate(1, 3, 1000).await, Rotated::Lately(user), "two tabs that wake together");
        assert_eq!(rotate(1, 3, 10_999).await, Rotated::Lately(user));
        assert_eq!(rotate(2, 4, 10_999).await, Rotated::Replaced(user), "it has changed nothing");
        assert_eq!(rotate(2, 5, 11_000).await, Rotated::Lately(user));
        assert_eq!(rotate(1, 5, 11_000).await, Rotated::Reused, "two have come since");
        assert_eq!(sessions.session_user(session, NOW).await.unwrap(), None);
        let session = sessions.begin_session(user, [1; 32], NOW, until).await.unwrap();
        let rotate = async |token, next, after_ms| {
            let change = TokenChange { token: [token; 32], next: [next; 32], grace_ms: 10_000 };
            sessions.rotate_session(session, change, NOW.plus_ms(after_ms), until).await.unwrap()
        };
        assert_eq!(rotate(1, 2, 1000).await, Rotated::Replaced(user));
        assert_eq!(rotate(1, 3, 11_000).await, Rotated::Reused, "its grace is over");
    }
}

#[tokio::test]
async fn a_refresh_token_is_good_once_and_its_second_use_ends_the_session() {
    let (_rig, user, both) = both().await;
    for sessions in both {
        let until = NOW.plus_ms(100);
        let session = sessions.begin_session(user, [1; 32], NOW, until).await.unwrap();
        let other = sessions.begin_session(user, [9; 32], NOW, until).await.unwrap();
        let known = sessions.session_user(session, NOW).await.unwrap();
        assert_eq!(known, Some(user));
        assert_eq!(sessions.session_user(session, until).await.unwrap(), None, "its time is over");
        let rotate = async |token, next| {
            let change = TokenChange { token, next, grace_ms: 0 };
            sessions.rotate_session(session, change, NOW, until).await.unwrap()
        };
        assert!(matches!(rotate([1; 32], [2; 32]).await, Rotated::Replaced(it) if it == user));
        assert_eq!(rotate([1; 32], [3; 32]).await, Rotated::Reused);
        assert_eq!(rotate([2; 32], [3; 32]).await, Rotated::Unknown);
        assert_eq!(sessions.session_user(session, NOW).await.unwrap(), None);
        assert!(sessions.session_user(other, NOW).await.unwrap().is_some());
        sessions.end_session(other, NOW).await.unwrap();
        assert_eq!(sessions.session_user(other, NOW).await.unwrap(), None);
        let nobodys = SessionId::from_bytes([7; 16]);
        assert_eq!(sessions.session_user(nobodys, NOW).await.unwrap(), None);
    }
}

#[tokio::test]
async fn wrong_tries_are_remembered_for_a_day_by_what_was_guessed_at() {
    let (_rig, _, both) = both().await;
    for sessions in both {
        sessions.keep_lockout(Guessed::Name, ([1; 32], 3, NOW)).await.unwrap();
        sessions.keep_lockout(Guessed::Name, ([1; 32], 4, NOW)).await.unwrap();
        sessions.keep_lockout(Guessed::Address, ([2; 32], 1, NOW)).await.unwrap();
        assert_eq!(sessions.lockouts(Guessed::Name, NOW).await.unwrap(), [([1; 32], 4, NOW)]);
        let tomorrow = NOW.plus_ms(DAY_MS);
        assert_eq!(sessions.lockouts(Guessed::Name, tomorrow).await.unwrap(), []);
        sessions.keep_lockout(Guessed::Address, ([2; 32], 0, NOW)).await.unwrap();
        assert_eq!(sessions.lockouts(Guessed::Address, NOW).await.unwrap(), []);
    }
}

#[tokio::test]
async fn a_keyed_call_is_made_once_and_answered_again() {
    let (_rig, _, both) = both().await;
    let master = MasterKey::from_hex(&Secret::new("a".repeat(64))).unwrap();
    for sessions in both {
        let call = Keyed { actor: "root", key: "k", digest: [1; 32], boot: [1; 16] };
        let begin = async |call: &Keyed<'_>, at| sessions.begin_call(&master, call, at).await.unwrap();
        assert!(matches!(begin(&call, NOW).await, Known::New));
        assert!(matches!(begin(&call, NOW).await, Known::Running));
        assert!(matches!(begin(&Keyed { boot: [2; 16], ..call }, NOW).await, Known::CutOff));
        assert!(matches!(begin(&Keyed { digest: [2; 32], ..call }, NOW).await, Known::Other));
        assert!(matches!(begin(&Keyed { actor: "bob", ..call }, NOW).await, Known::New), "a key of another");
        sessions.forget_call(&call).await.unwrap();
        assert!(matches!(begin(&call, NOW).await, Known::New));
        sessions.keep_answer(&master, &call, 201, &Secret::new("made".to_owned())).await.unwrap();
        sessions.forget_call(&call).await.unwrap();
        let Known::Answered(201, body) = begin(&call, NOW).await else { panic!("no answer") };
        assert_eq!(body.expose(), "made");
        assert!(matches!(begin(&call, NOW.plus_ms(DAY_MS)).await, Known::New), "a day is over");
    }
}
