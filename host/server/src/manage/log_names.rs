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

/// The credentials that a record's decisions name.
fn others(record: &RequestRecord) -> impl Iterator<Item = CredentialId> {
    record.decisions.choice.into_iter().flat_map(|choice| choice.others).flatten()
}

/// What the users, keys and credentials of some records are called, so far as their reader may know.
pub(crate) struct LogNames {
    reader: LogReader,
    users: HashMap<UserId, String>,
    keys: HashMap<ApiKeyId, String>,
    /// Those that the reader must not know, and those of which nothing is known, have none.
    credentials: HashMap<CredentialId, Option<String>>,
}

/// Ids that want names.
#[derive(Default)]
pub(super) struct Unnamed {
    pub(super) users: BTreeSet<UserId>,
    pub(super) keys: BTreeSet<ApiKeyId>,
    pub(super) credentials: BTreeSet<CredentialId>,
}

impl Unnamed {
    fn of(records: &[RequestRecord], tried: impl IntoIterator<Item = CredentialId>) -> Self {
        Self {
            users: records.iter().map(|record| record.user).collect(),
            keys: records.iter().filter_map(|record| record.api_key).collect(),
            credentials: records.iter().filter_map(|record| record.credential).chain(tried).collect(),
        }
    }
}

impl LogNames {
    /// None yet.
    pub(crate) fn new(reader: LogReader) -> Self {
        Self { reader, users: HashMap::new(), keys: HashMap::new(), credentials: HashMap::new() }
    }

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

    /// Who reads.
    pub(super) const fn reader(&self) -> LogReader {
        self.reader
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
        self.credentials.get(&id).cloned().flatten()
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
        let mut names = LogNames::new(reader);
        let tried = attempts.iter().map(|attempt| attempt.credential);
        let others = records.iter().flat_map(others);
        self.learn_names(&mut names, Unnamed::of(records, tried.chain(others))).await?;
        Ok(names)
    }

    /// Entries of records, with names of which those that are known already are not looked up again.
    pub(crate) async fn named_entries(
        &self,
        names: &mut LogNames,
        records: &[RequestRecord],
    ) -> Result<Vec<LogEntry>, ManageError> {
        self.learn_names(names, Unnamed::of(records, [])).await?;
        Ok(records.iter().map(|record| names.entry(record)).collect())
    }

    /// Looks up the names that are not known yet. The keys are those of calls that the reader sees.
    pub(super) async fn learn_names(
        &self,
        names: &mut LogNames,
        mut unnamed: Unnamed,
    ) -> Result<(), ManageError> {
        unnamed.users.retain(|id| !names.users.contains_key(id));
        unnamed.keys.retain(|id| !names.keys.contains_key(id));
        unnamed.credentials.retain(|id| !names.credentials.contains_key(id));
        if !unnamed.users.is_empty() {
            names.users.extend(self.user_names(unnamed.users).await?);
        }
        if !unnamed.keys.is_empty() {
            let keys: Vec<_> = unnamed.keys.into_iter().collect();
            names.keys.extend(self.store.catalogue.api_key_names(&keys).await?);
        }
        if !unnamed.credentials.is_empty() {
            self.learn_credentials(names, unnamed.credentials).await?;
        }
        Ok(())
    }

    async fn learn_credentials(
        &self,
        names: &mut LogNames,
        mut ids: BTreeSet<CredentialId>,
    ) -> Result<(), ManageError> {
        let reader = names.reader;
        let known = |user, label| Some(label).filter(|_| reader.knows(user));
        if let Some(memory) = self.memory() {
            for row in memory.some(&ids) {
                ids.remove(&row.id);
                names.credentials.insert(row.id, known(row.user, row.label));
            }
        }
        let ids: Vec<_> = ids.into_iter().collect();
        let mut found = self.store.catalogue.credential_names(&ids).await?;
        names.credentials.extend(
            ids.into_iter().map(|id| (id, found.remove(&id).and_then(|name| known(name.user, name.label)))),
        );
        Ok(())
    }
}
