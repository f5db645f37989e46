//! The writer's connection: puts batches of entries into the tables, all in one commit with the position in
//! the journal up to which they reach.
//!
//! The fast way inserts hundreds of rows with one text. When a rule of the schema objects (a hold resolved twice, say),
//! the transaction is rolled back and the careful way writes entry by entry under savepoints, so that only the offender
//! is refused. After any other error, above all a failed COMMIT, [`Tables::position`] says whether the batch was
//! written.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::quality::RandomState;
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, SqliteConnection};
use tollgate_core::failure::FailureClass;
use tollgate_core::id::{NodeId, RequestId, UserId};
use tollgate_core::protocol::{Operation, Protocol};

use crate::entry::{Attempt, Components, Entry, PluginEvent, RequestRecord};
use crate::error::WriteError;
use crate::sqlite::error::{is_duplicate, is_refusal};
use crate::sqlite::journal::{Held, Position};
use crate::sqlite::node;
use crate::sqlite::row::{loaded, stored};
use crate::sqlite::sql::{Known, Rows, Texts};
use crate::sqlite::tally::Tally;

/// Counters of one insertion.
const CHUNK_COUNTERS: usize = 256;
/// Their units in one insertion.
const CHUNK_UNITS: usize = 1024;
/// Shapes that are remembered between commits; others are looked up again.
const SHAPES_MAX: usize = 4096;

/// What became of each entry, in their order.
pub(crate) type Answers = Vec<Result<(), WriteError>>;

/// The one connection that writes transfers and records.
pub(crate) struct Tables {
    connection: SqliteConnection,
    texts: Texts,
    accounts: HashMap<UserId, i64, RandomState>,
    component_sets: HashMap<Components, i64, RandomState>,
    shapes: HashMap<Shape, i64, RandomState>,
    /// What the last commit left in the tables.
    pub(crate) last: Option<Held>,
}

/// The few values that most records have in common: see migration 11.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Shape {
    protocol: &'static str,
    operation: &'static str,
    provider: Arc<str>,
    model: Arc<str>,
    outcome: &'static str,
    status: u16,
}

impl Shape {
    fn of(record: &RequestRecord) -> Self {
        let text = |text: &Option<Arc<str>>| text.as_ref().map_or_else(|| Arc::from(""), Arc::clone);
        let known = record.attempts > 0 || record.price_version.is_some();
        Self {
            protocol: record.protocol.map_or("", Protocol::name),
            operation: record.operation.map_or("", Operation::name),
            provider: text(&record.provider),
            model: if known { text(&record.model) } else { Arc::from("") },
            outcome: record.outcome.name(),
            status: record.status.unwrap_or(0),
        }
    }
}

impl Tables {
    /// Opens a connection whose transfers carry the number of a node, if any.
    pub(crate) async fn open(options: &SqliteConnectOptions, node: Option<i64>) -> Result<Self, sqlx::Error> {
        // One text per pair of powers of two up to 1,024 transfers and 512 records.
        let connection = options.clone().statement_cache_capacity(256).connect().await?;
        let (accounts, component_sets, shapes) = Default::default();
        Ok(Self { connection, texts: Texts::new(node), accounts, component_sets, shapes, last: None })
    }

    pub(crate) async fn close(self) -> Result<(), sqlx::Error> {
        self.connection.close().await
    }

    /// The position up to which the tables hold the journal.
    pub(crate) async fn position(&mut self) -> Result<Position, sqlx::Error> {
        let (sequence, offset): (i64, i64) =
            sqlx::query_as("SELECT sequence, position FROM journal").fetch_one(&mut self.connection).await?;
        Ok(Position { sequence: loaded(sequence), offset: loaded(offset) })
    }

    /// What the tables hold at this moment.
    pub(crate) async fn held(&mut self) -> Result<Held, sqlx::Error> {
        let (sequence, offset, changes, transfers): (i64, i64, i64, i64) = sqlx::query_as(
            "SELECT sequence, position, (SELECT COALESCE(MAX(seq), 0) FROM change), \
             (SELECT COALESCE(MAX(seq), 0) FROM transfer) FROM journal",
        )
        .fetch_one(&mut self.connection)
        .await?;
        let position = Position { sequence: loaded(sequence), offset: loaded(offset) };
        Ok(Held { position, changes: loaded(changes), transfers: loaded(transfers) })
    }

    /// A number that is another one when somebody else has changed the database.
    pub(crate) async fn version(&mut self) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar("PRAGMA data_version").fetch_one(&mut self.connection).await
    }

    /// Writes entries of another run: that of a node, or of one that had no id yet.
    pub(crate) async fn write_of(
        &mut self,
        node: Option<NodeId>,
        entries: &[Entry],
        position: Position,
    ) -> Result<Answers, sqlx::Error> {
        let number = match node {
            Some(id) if !entries.is_empty() => Some(node::number(&mut self.connection, id).await?),
            _ => None,
        };
        self.texts = Texts::new(number);
        self.write(entries, position).await
    }

    /// Writes all entries, and the position that they reach up to, in one commit.
    ///
    /// # Errors
    /// When the database failed; then this connection must not be used again.
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
        self.count(entries, &answers).await?;
        sqlx::query("UPDATE journal SET sequence = ?, position = ?")
            .bind(stored(position.sequence))
            .bind(stored(position.offset))
            .execute(&mut self.connection)
            .await?;
        // Within the transaction: whatever it sees is on the disk once this commit is.
        let held = self.held().await?;
        self.statement("COMMIT").await?;
        self.last = Some(held);
        Ok(answers)
    }

    async fn write_together(&mut self, entries: &[Entry]) -> Result<Answers, sqlx::Error> {
        let mut answers = Answers::new();
        let mut rows = Rows::default();
        for (at, entry) in entries.iter().enumerate() {
            answers.push(self.push(&mut rows, entry));
            let last = at + 1 == entries.len();
            if rows.is_full() || (last && !rows.is_empty()) {
                let (text, arguments) = self.texts.insert(&rows);
                self.run(text, arguments).await?;
                rows = Rows::default();
            }
        }
        for entry in entries {
            self.write_rare(entry).await?;
        }
        Ok(answers)
    }

    /// Adds the records that were written to the usage counters: one row for each counter, not for each record.
    async fn count(&mut self, entries: &[Entry], answers: &Answers) -> Result<(), sqlx::Error> {
        let mut tally = Tally::default();
        for (entry, _) in entries.iter().zip(answers).filter(|(_, answer)| answer.is_ok()) {
            if let Some(record) = entry.record() {
                tally.add(record);
            }
        }
        let counters = tally.rows();
        for rows in counters.chunks(CHUNK_COUNTERS) {
            let (text, arguments) = self.texts.count(rows);
            self.run(text, arguments).await?;
        }
        let mut units = Vec::new();
        for (counter, counts) in &counters {
            units.extend(counts.usage.amounts().map(|(class, units)| (*counter, class, units)));
        }
        for rows in units.chunks(CHUNK_UNITS) {
            let (text, arguments) = self.texts.count_units(rows);
            self.run(text, arguments).await?;
        }
        Ok(())
    }

    async fn write_one_by_one(&mut self, entries: &[Entry]) -> Result<Answers, sqlx::Error> {
        let mut answers = Answers::new();
        for entry in entries {
            let mut rows = Rows::default();
            let answer = match self.push(&mut rows, entry) {
                Ok(()) if !rows.is_empty() => self.write_guarded(&rows).await?,
                answer => answer,
            };
            self.write_rare(entry).await?;
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
        let account = |user: Option<UserId>| match user {
            Some(user) => (self.accounts.get(&user).copied())
                .ok_or_else(|| WriteError::Refused(format!("no account of {user}"))),
            None => Ok(0),
        };
        let (payer, lender) = (account(entry.payer())?, account(entry.lender())?);
        let components = entry.components().and_then(|set| self.component_sets.get(&set).copied());
        let shape = entry.record().and_then(|record| self.shapes.get(&Shape::of(record)).copied());
        rows.push(entry, Known { payer, lender, components, shape });
        Ok(())
    }

    /// Looks up the accounts, component sets and shapes that are not known yet: once per user, loaded plugin
    /// and shape.
    async fn learn(&mut self, entries: &[Entry]) -> Result<(), sqlx::Error> {
        if self.shapes.len() > SHAPES_MAX {
            self.shapes.clear();
        }
        for entry in entries {
            for user in [entry.payer(), entry.lender()].into_iter().flatten() {
                if !self.accounts.contains_key(&user) {
                    self.learn_account(user).await?;
                }
            }
            if let Some(set) = entry.components()
                && !self.component_sets.contains_key(&set)
            {
                self.learn_components(set).await?;
            }
            if let Some(shape) = entry.record().map(Shape::of)
                && !self.shapes.contains_key(&shape)
            {
                self.learn_shape(shape).await?;
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

    async fn learn_shape(&mut self, shape: Shape) -> Result<(), sqlx::Error> {
        let id = sqlx::query_scalar(
            "INSERT INTO request_shape (protocol, operation, provider, model, outcome, status) VALUES (?, ?, ?, ?, ?, ?) \
             ON CONFLICT (protocol, operation, provider, model, outcome, status) \
             DO UPDATE SET status = excluded.status RETURNING id",
        )
        .bind(shape.protocol)
        .bind(shape.operation)
        .bind(&*shape.provider)
        .bind(&*shape.model)
        .bind(shape.outcome)
        .bind(shape.status)
        .fetch_one(&mut self.connection)
        .await?;
        self.shapes.insert(shape, id);
        Ok(())
    }

    /// Writes what is too rare to be batched.
    async fn write_rare(&mut self, entry: &Entry) -> Result<(), sqlx::Error> {
        match entry {
            Entry::Event(event) => self.write_event(event).await,
            Entry::Attempts { request, attempts } => self.write_attempts(*request, attempts).await,
            _ => Ok(()),
        }
    }

    async fn write_attempts(&mut self, request: RequestId, attempts: &[Attempt]) -> Result<(), sqlx::Error> {
        for (number, attempt) in (1_i64..).zip(attempts) {
            sqlx::query(
                "INSERT INTO request_attempt (request, number, credential, status, failure, took_ms) \
                 VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            )
            .bind(request.as_bytes().as_slice())
            .bind(number)
            .bind(attempt.credential.as_bytes().as_slice())
            .bind(attempt.status)
            .bind(attempt.failure.map(FailureClass::name))
            .bind(stored(attempt.took_ms))
            .execute(&mut self.connection)
            .await?;
        }
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
        // The text is our own, made of column names and question marks.
        sqlx::query_with(AssertSqlSafe(text), arguments).execute(&mut self.connection).await?;
        Ok(())
    }

    async fn statement(&mut self, text: &'static str) -> Result<(), sqlx::Error> {
        sqlx::query(text).execute(&mut self.connection).await?;
        Ok(())
    }
}
