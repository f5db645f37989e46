//! Logins, wrong passwords, and calls that must happen once.

use tollgate_core::secret::Secret;
use tollgate_core::time::Timestamp;

use crate::catalogue::user::User;
use crate::entry::Digest;

/// A call with an `Idempotency-Key`.
#[derive(Debug, Clone, Copy)]
pub struct Keyed<'a> {
    /// Who sent it: keys of others are other keys.
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
    /// Nothing: it is to be made, and its end to be told by [`Store::keep_answer`] or [`Store::forget_call`].
    New,
    /// It runs at this moment.
    Running,
    /// A run of the gateway that has ended took it, and nobody knows how far it came.
    CutOff,
    /// The key belongs to another call.
    Other,
    /// It was answered: status and body.
    Answered(u16, Secret),
}

/// What is guessed at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guessed {
    /// A user's name.
    Name = 1,
    /// From an address.
    Address = 2,
}

/// Wrong tries: SHA-256 of what was guessed at, how many, and when the last one was.
pub type WrongTries = (Digest, u32, Timestamp);

/// What became of a refresh token that was handed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rotated {
    /// It was good and has been replaced; this is whose it is.
    Replaced(User),
    /// It had been replaced before: the whole session is ended now.
    Reused,
    /// There is no such session, or it is over.
    Unknown,
}
