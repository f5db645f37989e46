//! The writer's connection: puts batches of entries into the tables, all in one commit with the position in the journal up to
//! which they reach.
//!
//! The fast way inserts hundreds of rows with one text. When a rule of the schema objects (a hold resolved twice, say), the
//! transaction is rolled back and the careful way writes entry by entry under savepoints, so that only the offender is refused.
//! After any other error, a failed COMMIT first of all, [`Tables::position`] says whether the batch was written.

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, SqliteConnection};
use tollgate_core::id::UserId;

use crate::entry::{Components, Entry, PluginEvent};
use crate::error::{WriteError, is_duplicate, is_refusal};
use crate::journal::Position;
use crate::sql::{Rows, Texts, loaded, stored};

/// Entries of one insertion: so many rows of two transfers and a record each have fewer arguments than SQLite allows.
const CHUNK_ENTRIES: usize = 512;

/// What became of each entry, in their order.
pub(crate) type Answers = Vec<Result<(), WriteError>>;

/// The one connection that writes transfers and records.
pub(crate) struct Tables {
    connection: SqliteConnection,
    texts: Texts,
    accounts: HashMap<UserId, i64>,
    component_sets: HashMap<Components, i64>,
}

impl Tables {
    pub(crate) async fn open(options: &SqliteConnectOptions) -> Result<Self, sqlx::Error> {
        // One text per pair of powers of two up to 1,024 transfers and 512 records.
        let connection = options.clone().statement_cache_capacity(256).connect().await?;
        let (texts, accounts, component_sets) = Default::default();
        Ok(Self { connection, texts, accounts, component_sets })
    }

    pub(crate) async fn close(self) -> Result<(), sqlx::Error> {
        self.connection.close().await
    }

    /// Up to where the tables hold the journal.
    pub(crate) async fn position(&mut self) -> Result<Position, sqlx::Error> {
        let (sequence, offset): (i64, i64) =
            sqlx::query_as("SELECT sequence, position FROM journal").fetch_one(&mut self.connection).await?;
        Ok(Position { sequence: loaded(sequence), offset: loaded(offset) })
    }

    /// Writes all entries, and the position that they reach up to, in one commit.
    ///
    /// # Errors
    /// When the database failed: then this connection is of no more use.
    pub(crate) async fn write(
        &mut self,
        entries: &[Entry],
        position: Position,
    ) -> Result<Answers, sqlx::Error> {
        self.learn(entries).await?;
        self.statement("BEGIN IMMEDIATE").await?;
        let answers = match self.write_together(entries).await {
            Ok(answers) => answers,
            Err(error) if is_refusal(&error) => {
                self.statement("ROLLBACK").await?;
                self.statement("BEGIN IMMEDIATE").await?;
                self.write_one_by_one(entries).await?
            }
            Err(error) => return Err(error),
        };
        sqlx::query("UPDATE journal SET sequence = ?, position = ?")
            .bind(stored(position.sequence))
            .bind(stored(position.offset))
            .execute(&mut self.connection)
            .await?;
        self.statement("COMMIT").await?;
        Ok(answers)
    }

    async fn write_together(&mut self, entries: &[Entry]) -> Result<Answers, sqlx::Error> {
        let mut answers = Answers::new();
        for chunk in entries.chunks(CHUNK_ENTRIES) {
            let mut rows = Rows::default();
            answers.extend(chunk.iter().map(|entry| self.push(&mut rows, entry)));
            if !rows.is_empty() {
                let (text, arguments) = self.texts.insert(&rows);
                self.run(text, arguments).await?;
            }
        }
        for entry in entries {
            if let Entry::Event(event) = entry {
                self.write_event(event).await?;
            }
        }
        Ok(answers)
    }

    async fn write_one_by_one(&mut self, entries: &[Entry]) -> Result<Answers, sqlx::Error> {
        let mut answers = Answers::new();
        for entry in entries {
            let mut rows = Rows::default();
            let answer = match self.push(&mut rows, entry) {
                Ok(()) if !rows.is_empty() => self.write_guarded(&rows).await?,
                answer => answer,
            };
            if let Entry::Event(event) = entry {
                self.write_event(event).await?;
            }
            answers.push(answer);
        }
        Ok(answers)
    }

    /// Writes the rows of one entry, or none of them.
    async fn write_guarded(&mut self, rows: &Rows<'_>) -> Result<Result<(), WriteError>, sqlx::Error> {
        let (text, arguments) = self.texts.insert(rows);
        self.statement("SAVEPOINT entry").await?;
        let answer = match self.run(text, arguments).await {
            Ok(()) => Ok(()),
            Err(error) if is_refusal(&error) => {
                self.statement("ROLLBACK TO entry").await?;
                Err(if is_duplicate(&error) {
                    WriteError::Duplicate
                } else {
                    WriteError::Refused(error.to_string())
                })
            }
            Err(error) => return Err(error),
        };
        self.statement("RELEASE entry").await?;
        Ok(answer)
    }

    fn push<'e>(&self, rows: &mut Rows<'e>, entry: &'e Entry) -> Result<(), WriteError> {
        let payer = match user_of(entry) {
            Some(user) => *self
                .accounts
                .get(&user)
                .ok_or_else(|| WriteError::Refused(format!("no account of {user}")))?,
            None => 0,
        };
        rows.push(entry, payer, components_of(entry).and_then(|set| self.component_sets.get(&set).copied()));
        Ok(())
    }

    /// Looks up the accounts and component sets that are not known yet: once per user and per loaded plugin.
    async fn learn(&mut self, entries: &[Entry]) -> Result<(), sqlx::Error> {
        for entry in entries {
            if let Some(user) = user_of(entry)
                && !self.accounts.contains_key(&user)
            {
                self.learn_account(user).await?;
            }
            if let Some(set) = components_of(entry)
                && !self.component_sets.contains_key(&set)
            {
                self.learn_components(set).await?;
            }
        }
        Ok(())
    }

    async fn learn_account(&mut self, user: UserId) -> Result<(), sqlx::Error> {
        let account = sqlx::query_scalar("SELECT id FROM account WHERE owner = ?")
            .bind(user.as_bytes().as_slice())
            .fetch_optional(&mut self.connection)
            .await?;
        self.accounts.extend(account.map(|account| (user, account)));
        Ok(())
    }

    async fn learn_components(&mut self, set: Components) -> Result<(), sqlx::Error> {
        let Components { adapter, selector, pricing, filter } = set;
        let digests =
            [adapter, selector, pricing, filter].map(|digest| digest.map(Vec::from).unwrap_or_default());
        let [adapter, selector, pricing, filter] = digests;
        let id = sqlx::query_scalar(
            "INSERT INTO component_set (adapter, selector, pricing, filter) VALUES (?, ?, ?, ?) \
             ON CONFLICT (adapter, selector, pricing, filter) DO UPDATE SET adapter = excluded.adapter RETURNING id",
        )
        .bind(adapter)
        .bind(selector)
        .bind(pricing)
        .bind(filter)
        .fetch_one(&mut self.connection)
        .await?;
        self.component_sets.insert(set, id);
        Ok(())
    }

    async fn write_event(&mut self, event: &PluginEvent) -> Result<(), sqlx::Error> {
        sqlx::query("INSERT INTO plugin_event (at_ms, component, kind, digest, event, detail) VALUES (?, ?, ?, ?, ?, ?)")
            .bind(stored(event.at.millis()))
            .bind(&event.component)
            .bind(&event.kind)
            .bind(event.digest.as_ref().map(<[u8; 32]>::as_slice))
            .bind(&event.event)
            .bind(&event.detail)
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }

    async fn run(&mut self, text: Arc<str>, arguments: SqliteArguments) -> Result<(), sqlx::Error> {
        // The text is ours, made of column names and question marks.
        sqlx::query_with(AssertSqlSafe(text), arguments).execute(&mut self.connection).await?;
        Ok(())
    }

    async fn statement(&mut self, text: &'static str) -> Result<(), sqlx::Error> {
        sqlx::query(text).execute(&mut self.connection).await?;
        Ok(())
    }
}

/// Whose account the entry moves.
fn user_of(entry: &Entry) -> Option<UserId> {
    match entry {
        Entry::Hold { user, .. } | Entry::Settle { user, .. } | Entry::Void { user, .. } => Some(*user),
        Entry::Record(_) | Entry::Event(_) => None,
    }
}

/// The components that the entry's record names, if any.
fn components_of(entry: &Entry) -> Option<Components> {
    let record = match entry {
        Entry::Settle { record, .. } | Entry::Void { record, .. } | Entry::Record(record) => record,
        Entry::Hold { .. } | Entry::Event(_) => return None,
    };
    (record.components != Components::default()).then_some(record.components)
}
