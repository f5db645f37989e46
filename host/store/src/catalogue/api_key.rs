//! API keys: by which users are known.

use tollgate_core::id::{ApiKeyId, UserId};
use tollgate_core::limits::KeyLimits;
use tollgate_core::points::Micropoints;
use tollgate_core::time::Timestamp;

use crate::entry::Digest;

/// A key that Tollgate issued, as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id.
    pub id: ApiKeyId,
    /// Who calls with it.
    pub user: UserId,
    /// What its user calls it.
    pub name: String,
    /// SHA-256 of the whole key.
    pub sha256: Digest,
    /// Its first characters, to tell keys apart.
    pub hint: String,
    /// False once it is revoked.
    pub enabled: bool,
    /// When it was issued.
    pub created_at: Timestamp,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
    /// What it may do.
    pub limits: KeyLimits,
    /// Whether an operator wants the bodies of its calls kept.
    pub keep_bodies: bool,
}

/// A key to be stored.
#[derive(Debug, Clone)]
pub struct NewApiKey<'a> {
    /// Who calls with it.
    pub user: UserId,
    /// What its user calls it.
    pub name: &'a str,
    /// SHA-256 of the whole key.
    pub sha256: Digest,
    /// Its first characters.
    pub hint: &'a str,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
    /// What it may do.
    pub limits: KeyLimits,
    /// How many keys its user may have that work.
    pub keys_max: u32,
}

/// What a key's user may change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyChange<'a> {
    /// What its user calls it.
    pub name: &'a str,
    /// Whether it works.
    pub enabled: bool,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
    /// What it may do.
    pub limits: &'a KeyLimits,
    /// How many keys its user may have that work.
    pub keys_max: u32,
}

/// What was used with a key since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeyUse {
    /// When the last call came.
    pub last_used: Timestamp,
    /// Calls, refused ones too.
    pub requests: u64,
    /// Tokens of billed calls, prompt and output together.
    pub tokens: u64,
    /// What they cost.
    pub charge: Micropoints,
}
