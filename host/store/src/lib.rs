//! Keeps accounts, keys, prices, transfers and records.
//!
//! The data path never reads from here: a server loads a [`Snapshot`] at its start, decides in memory, and hands its
//! decisions to the [`Writer`], which puts them into a journal at once and into the tables soon after. Management (the
//! command line, the API) changes rows through [`Store`], and the [`Feed`] tells a running server which ones.
//!
//! A [`Store`] is a few parts, each behind a trait: [`Catalogue`], [`Ledger`], [`RequestLog`], [`Sessions`] and
//! [`Feed`]. Traits and the types that they speak of are at the root, by subject. `sqlite/` is how it is kept, and the
//! only place that names SQLite: start with `sqlite/migrations/0001_initial.sql`.

mod catalogue;
mod entry;
mod error;
mod feed;
pub mod file;
mod ledger;
mod log;
mod options;
pub mod seal;
mod sessions;
mod snapshot;
mod sqlite;
mod store;

pub use catalogue::Catalogue;
pub use catalogue::api_key::{ApiKey, ApiKeys, KeyChange, KeyFilter, KeyOrder, KeyUse, NewApiKey};
pub use catalogue::audit::{Act, AuditFilter, AuditLog, AuditRow, Edited, Expected, Note};
pub use catalogue::credential::{
    CheckResult, Credential, CredentialChange, CredentialFilter, CredentialName, CredentialPlace,
    CredentialState, Credentials, NewCredential, Resealed,
};
pub use catalogue::lending::{Lending, LentUse, Loan};
pub use catalogue::model_route::{ModelRoute, ModelRoutes};
pub use catalogue::price::{NewPrices, Payers, PriceRates, PriceVersion, Prices};
pub use catalogue::sealing::Sealing;
pub use catalogue::setting::Settings;
pub use catalogue::user::{User, UserChange, Users};
pub use entry::{Attempt, Borrowed, Components, Digest, Entry, PluginEvent, RequestRecord};
pub use error::{StoreError, WriteError};
pub use feed::{Change, Changed, Feed, News, Part, Wanted};
pub use ledger::Ledger;
pub use ledger::account::{Balance, LEASE_MS, StatementLine, Statements, SweepReport, Sweeps};
pub use ledger::booking::{Credit, Granted, Grants, Refund, Refunds, Reward, Rewards};
pub use ledger::code::{CODES_MAX, CodeBatch, Codes, NewBatch};
pub use ledger::mark::{Mark, Synced};
pub use ledger::verify::{VIOLATIONS_MAX, Verification, VerifyReport, Violation};
pub use ledger::writer::{EntryWriter, Writer};
pub use log::RequestLog;
pub use log::body::{Bodies, Body, KeptBodies};
pub use log::ended::{Ended, EndedCall, EndedCalls};
pub use log::filter::{
    Expiry, Pace, Percentiles, RequestFilter, RequestPage, RequestPages, RequestSums, Requests, Retention,
    SumBy, SumLabel,
};
pub use log::usage::{
    UsageAfter, UsageBy, UsageCounters, UsageLabel, UsageOf, UsageQuery, UsageRow, UsageSlice, UsageTable,
    Used,
};
pub use options::{Durability, Options};
pub use seal::MasterKey;
pub use sessions::{
    Guessed, Keyed, KeyedCalls, Known, LockOuts, Logins, Rotated, Sessions, TokenChange, WrongTries,
};
pub use snapshot::Snapshot;
pub use store::Store;
