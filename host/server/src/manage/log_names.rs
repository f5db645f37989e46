//! The names beside the ids in the request log: of users, keys and credentials, of those that are gone too. They are
//! looked up for a page at once, so that a reader of the log need not ask for each row.

use std::collections::{BTreeSet, HashMap};

use tollgate_core::id::{ApiKeyId, CredentialId, UserId};
use tollgate_store::{Attempt, RequestRecord};

use super::{LogEntry, ManageError, Management};

/// Who reads the request log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogReader {
    /// Someone who may know all of it.
    Operator,
    /// A user: what went wrong inside stays away from them, and so do names that are not theirs.
    User(UserId),
}

impl LogReader {
    /// Whether the names of a user's things are this reader's to know; `None` are the operator's things.
    fn knows(self, owner: Option<UserId>) -> bool {
        match self {
            Self::Operator => true,
            Self::User(user) => owner == Some(user),
        }
    }
}

/// What the users, keys and credentials of some records are called, so far as their reader may know.
pub(crate) struct LogNames {
    reader: LogReader,
    users: HashMap<UserId, String>,
    keys: HashMap<ApiKeyId, String>,
    credentials: HashMap<CredentialId, String>,
}

impl LogNames {
    /// The entry of a record, with names and without what its reader must not know.
    pub(crate) fn entry(&self, record: &RequestRecord) -> LogEntry {
        let entry = LogEntry::unnamed(record);
        LogEntry {
            user: self.user(record.user),
            key_name: record.api_key.and_then(|key| self.key(key)),
            credential_name: record.credential.and_then(|credential| self.credential(credential)),
            error: entry.error.filter(|_| self.reader == LogReader::Operator),
            ..entry
        }
    }

    /// A user's name.
    pub(crate) fn user(&self, id: UserId) -> Option<String> {
        self.users.get(&id).cloned()
    }

    /// An API key's name.
    pub(crate) fn key(&self, id: ApiKeyId) -> Option<String> {
        self.keys.get(&id).cloned()
    }

    /// A credential's name.
    pub(crate) fn credential(&self, id: CredentialId) -> Option<String> {
        self.credentials.get(&id).cloned()
    }
}

impl Management {
    /// The names that some records and attempts need.
    pub(super) async fn log_names(
        &self,
        records: &[RequestRecord],
        attempts: &[Attempt],
        reader: LogReader,
    ) -> Result<LogNames, ManageError> {
        let users: BTreeSet<UserId> = records.iter().map(|record| record.user).collect();
        let keys: BTreeSet<ApiKeyId> = records.iter().filter_map(|record| record.api_key).collect();
        let tried = attempts.iter().map(|attempt| attempt.credential);
        let credentials = records.iter().filter_map(|record| record.credential).chain(tried).collect();
        self.names(users, keys, credentials, reader).await
    }

    /// The names of these users, keys and credentials. The keys are those of calls that the reader sees.
    pub(super) async fn names(
        &self,
        users: BTreeSet<UserId>,
        keys: BTreeSet<ApiKeyId>,
        mut credentials: BTreeSet<CredentialId>,
        reader: LogReader,
    ) -> Result<LogNames, ManageError> {
        let mut names = HashMap::new();
        if let Some(memory) = self.memory() {
            for row in memory.some(&credentials) {
                credentials.remove(&row.id);
                if reader.knows(row.user) {
                    names.insert(row.id, row.label);
                }
            }
        }
        let credentials: Vec<_> = credentials.into_iter().collect();
        let known = self.store.catalogue.credential_names(&credentials).await?;
        let known = known.into_iter().filter(|(_, name)| reader.knows(name.user));
        names.extend(known.map(|(id, name)| (id, name.label)));
        let keys: Vec<_> = keys.into_iter().collect();
        Ok(LogNames {
            reader,
            users: self.user_names(users).await?,
            keys: self.store.catalogue.api_key_names(&keys).await?,
            credentials: names,
        })
    }
}
