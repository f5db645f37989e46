//! Logins, wrong passwords, and calls that must happen once.

use std::fmt::Debug;

use async_trait::async_trait;
use tollgate_core::id::{SessionId, UserId};
use tollgate_core::secret::Secret;
use tollgate_core::time::Timestamp;

use crate::entry::Digest;
use crate::error::StoreError;
use crate::seal::MasterKey;

/// A call with an `Idempotency-Key`.
#[derive(Debug, Clone, Copy)]
pub struct Keyed<'a> {
    /// Who sent it: the same key from another sender is another key.
    pub actor: &'a str,
    /// The key.
    pub key: &'a str,
    /// SHA-256 of the call.
    pub digest: Digest,
    /// This run of the gateway.
    pub boot: [u8; 16],
}

/// What is known of a keyed call.
#[derive(Debug)]
pub enum Known {
    /// Nothing: the caller is to make it, and to report its end by [`KeyedCalls::keep_answer`] or
    /// [`KeyedCalls::forget_call`].
    New,
    /// It is running now.
    Running,
    /// An earlier run of the gateway accepted it, and it is not known how far it came.
    CutOff,
    /// The key belongs to another call.
    Other,
    /// It was answered: status and body.
    Answered(u16, Secret),
}

/// What wrong passwords are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guessed {
    /// A user's name.
    Name = 1,
    /// An address.
    Address = 2,
}

/// Wrong tries: SHA-256 of the name or address, how many, and when the last one was.
pub type WrongTries = (Digest, u32, Timestamp);

/// A refresh token in place of another, by their SHA-256.
#[derive(Debug, Clone, Copy)]
pub struct TokenChange {
    /// The one that was handed in.
    pub token: Digest,
    /// The next one.
    pub next: Digest,
    /// How long after it was replaced one that comes again is not held against its session.
    pub grace_ms: u64,
}

/// What became of a refresh token that was handed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rotated {
    /// It was valid and has been replaced; it belongs to this user.
    Replaced(UserId),
    /// It had been replaced a moment before, as tabs of one browser do to each other: nothing has changed.
    Lately(UserId),
    /// It had been replaced before: the whole session has been ended.
    Reused,
    /// There is no such session, or it is over.
    Unknown,
}

/// Logins.
#[async_trait]
pub trait Logins: Send + Sync {
    /// Begins a session of a user; `token` is the SHA-256 of its first refresh token. Sessions of the user that are
    /// over are removed.
    ///
    /// # Errors
    /// When the database fails.
    async fn begin_session(
        &self,
        user: UserId,
        token: Digest,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<SessionId, StoreError>;

    /// The user of a session that is not over, who may have been disabled or removed since. The management API asks at
    /// each call, so that ending a session takes effect at once.
    ///
    /// # Errors
    /// When the database fails.
    async fn session_user(&self, session: SessionId, now: Timestamp) -> Result<Option<UserId>, StoreError>;

    /// Replaces a refresh token with the next one, or ends its session if it had been replaced before.
    ///
    /// # Errors
    /// When the database fails.
    async fn rotate_session(
        &self,
        session: SessionId,
        change: TokenChange,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<Rotated, StoreError>;

    /// Ends a session.
    ///
    /// # Errors
    /// When the database fails.
    async fn end_session(&self, session: SessionId, now: Timestamp) -> Result<(), StoreError>;
}

/// Wrong passwords.
#[async_trait]
pub trait LockOuts: Send + Sync {
    /// The wrong tries of the last day.
    ///
    /// # Errors
    /// When the database fails.
    async fn lockouts(&self, kind: Guessed, now: Timestamp) -> Result<Vec<WrongTries>, StoreError>;

    /// Keeps the wrong tries of a name or address; 0 removes them. Removes what is a day old.
    ///
    /// # Errors
    /// When the database fails.
    async fn keep_lockout(&self, kind: Guessed, tries: WrongTries) -> Result<(), StoreError>;
}

/// Calls that must happen once.
#[async_trait]
pub trait KeyedCalls: Send + Sync {
    /// Registers a keyed call, or says what is known of it. Removes what is a day old.
    ///
    /// # Errors
    /// When the database fails.
    async fn begin_call(
        &self,
        master: &MasterKey,
        call: &Keyed<'_>,
        now: Timestamp,
    ) -> Result<Known, StoreError>;

    /// Keeps the answer of a registered call.
    ///
    /// # Errors
    /// When the database or the system's randomness fails.
    async fn keep_answer(
        &self,
        master: &MasterKey,
        call: &Keyed<'_>,
        status: u16,
        body: &Secret,
    ) -> Result<(), StoreError>;

    /// Forgets a call that has changed nothing, so that it may be sent again.
    ///
    /// # Errors
    /// When the database fails.
    async fn forget_call(&self, call: &Keyed<'_>) -> Result<(), StoreError>;
}

/// Logins, lock-outs, and calls that must happen once: what the management API must know of its callers.
pub trait Sessions: Logins + LockOuts + KeyedCalls + Debug + Send + Sync {}
