//! The audit log: who changed what, and by which call.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use serde_json::Value;
use tollgate_core::id::RequestId;
use tollgate_core::time::Timestamp;

use crate::error::StoreError;

/// Someone who changes things, by one command or call.
#[derive(Debug)]
pub struct Act {
    /// A user's id, `operator` or `cli`.
    pub actor: String,
    /// The call over HTTP.
    pub request: Option<RequestId>,
    /// Where it came from.
    pub address: Option<IpAddr>,
    /// What has to be as it was when its actor looked at it.
    pub expected: Option<Expected>,
    /// The row of the last change that was noted; 0 before the first.
    pub(crate) noted: AtomicU64,
}

/// What has to be as it was, for an act to change it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// What it is.
    pub of: Edited,
    /// The versions of it that will do.
    pub versions: Vec<u64>,
}

/// Something that is edited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edited {
    /// Its id; `None` for all things of the kind together.
    pub target: Option<String>,
    /// What the actions that change it begin with, such as `key.`.
    pub actions: &'static str,
}

impl Edited {
    /// Whether this is a change of it. A check is none.
    #[must_use]
    pub fn is_changed_by(&self, action: &str, target: &str) -> bool {
        let same = self.target.as_ref().is_none_or(|known| known == target);
        same && action.starts_with(self.actions) && !action.ends_with(".check")
    }
}

impl Act {
    /// An act of `actor`: a user's id, `operator` or `cli`.
    #[must_use]
    pub fn new(actor: impl Into<String>, request: Option<RequestId>, address: Option<IpAddr>) -> Arc<Self> {
        Self::expecting(actor, request, address, None)
    }

    /// The same, of an actor who has seen something that must not have changed since.
    #[must_use]
    pub fn expecting(
        actor: impl Into<String>,
        request: Option<RequestId>,
        address: Option<IpAddr>,
        expected: Option<Expected>,
    ) -> Arc<Self> {
        let noted = AtomicU64::new(0);
        Arc::new(Self { actor: actor.into(), request, address, expected, noted })
    }

    /// Whether a change of this act has been noted.
    #[must_use]
    pub fn is_noted(&self) -> bool {
        self.noted.load(Ordering::Relaxed) > 0
    }

    /// The version that its last change made of what it has changed; 0 where it has changed nothing.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.noted.load(Ordering::Relaxed)
    }
}

/// What was changed.
#[derive(Debug, Clone)]
pub struct Note<'a> {
    /// What was done, such as `key.create`.
    pub action: &'a str,
    /// The kind of thing, such as `key`.
    pub kind: &'a str,
    /// Its id or name.
    pub target: String,
    /// Further details; never a secret. [`Value::Null`] for none.
    pub detail: Value,
}

/// One row of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// Its place in the log; only grows.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// A user's id, `operator` or `cli`.
    pub actor: String,
    /// What was done.
    pub action: String,
    /// The kind of thing that it was done to.
    pub kind: String,
    /// Its id or name.
    pub target: String,
    /// Further details.
    pub detail: Option<Value>,
    /// The call over HTTP.
    pub request: Option<RequestId>,
    /// Where it came from.
    pub address: Option<String>,
}

/// Which rows of the audit log; the default is all of them.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// A user's id, `operator` or `cli`.
    pub actor: Option<String>,
    /// What was done; `key.*` is everything done to keys.
    pub action: Option<String>,
    /// The id or name of what it was done to.
    pub target: Option<String>,
    /// Not before this time.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
    /// Older than this row.
    pub before: Option<u64>,
    /// At most this many.
    pub limit: usize,
}

/// The audit log.
#[async_trait]
pub trait AuditLog: Send + Sync {
    /// Notes what has been done outside of a transaction, such as a reload.
    ///
    /// # Errors
    /// When the database fails.
    async fn note_done(&self, note: Note<'_>, now: Timestamp) -> Result<(), StoreError>;

    /// The version of something that is edited: the row of its last change, so that it grows with each. 0 where no
    /// change was noted.
    ///
    /// # Errors
    /// When the database fails.
    async fn version(&self, of: &Edited) -> Result<u64, StoreError>;

    /// Rows of the audit log, newest first.
    ///
    /// # Errors
    /// When the database fails.
    async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditRow>, StoreError>;
}
