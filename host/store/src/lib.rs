//! Keeps accounts, keys, prices, transfers and records.
//!
//! The data path never reads from here: a server loads a [`Snapshot`] at its start, decides in memory, and hands what it decided to
//! the [`Writer`], which puts it into a journal at once and into the tables soon. Management (the command line, the API) changes rows
//! through [`Store`], and the revision counter tells a running server to look again.
//!
//! What is said of things stands at the root, by subject: `catalogue/`, `ledger/`, `log/`, `sessions.rs`. How they are kept is
//! `sqlite/`, the only place that names SQLite. Start with `sqlite/migrations/0001_initial.sql`.

mod catalogue;
mod entry;
mod error;
mod ledger;
mod log;
mod options;
pub mod seal;
mod sessions;
mod sqlite;

pub use catalogue::api_key::{ApiKey, KeyChange, KeyUse, NewApiKey};
pub use catalogue::audit::{Act, AuditFilter, AuditRow, Note};
pub use catalogue::credential::{
    CheckResult, Credential, CredentialChange, CredentialPlace, CredentialState, NewCredential, Resealed,
};
pub use catalogue::model_route::ModelRoute;
pub use catalogue::pool::{Loan, PoolUse};
pub use catalogue::price::{NewPrices, Payers, PriceVersion};
pub use catalogue::snapshot::Snapshot;
pub use catalogue::user::{User, UserChange};
pub use entry::{Attempt, Borrowed, Components, Digest, Entry, PluginEvent, RequestRecord};
pub use error::{StoreError, WriteError};
pub use ledger::account::{Balance, StatementLine, SweepReport};
pub use ledger::booking::{Credit, Granted, Refund, Reward};
pub use ledger::code::{CODES_MAX, CodeBatch, NewBatch};
pub use ledger::mark::{Mark, Synced};
pub use ledger::verify::{VIOLATIONS_MAX, VerifyReport, Violation};
pub use log::body::{Bodies, Body};
pub use log::filter::{RequestFilter, RequestPage, Retention};
pub use log::usage::{UsageBy, UsageOf, UsageQuery, UsageRow, Used};
pub use options::{Durability, Options};
pub use seal::MasterKey;
pub use sessions::{Guessed, Keyed, Known, Rotated, WrongTries};
pub use sqlite::open::Store;
pub use sqlite::writer::Writer;
