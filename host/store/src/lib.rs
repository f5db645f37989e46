//! Keeps accounts, keys, prices, transfers and records in SQLite.
//!
//! Only this crate writes SQL. The data path never reads from here: a server loads a [`Snapshot`] at its start, decides in memory,
//! and hands what it decided to the [`Writer`], which commits in groups. Management (the command line, the API) changes rows
//! through [`Store`], and the revision counter tells a running server to look again.
//!
//! Start with the migration (`migrations/0001_initial.sql`), then `entry.rs`, `writer.rs` and `commit.rs`: the hot
//! path. `balance.rs`, `sweep.rs` and `verify.rs` keep the books right; the rest is one file per resource.

mod api_key;
mod balance;
mod commit;
mod credential;
mod entry;
mod error;
mod grant;
mod load;
mod open;
mod price;
mod request;
mod row;
pub mod seal;
mod setting;
mod sql;
mod sweep;
mod user;
mod verify;
mod writer;

pub use api_key::{ApiKey, NewApiKey};
pub use balance::Balance;
pub use credential::{Credential, NewCredential};
pub use entry::{Components, Digest, Entry, PluginEvent, RequestRecord};
pub use error::{StoreError, WriteError};
pub use grant::{Credit, Granted};
pub use load::Snapshot;
pub use open::{Durability, Options, Store};
pub use request::RequestFilter;
pub use seal::MasterKey;
pub use sweep::SweepReport;
pub use user::User;
pub use verify::{VIOLATIONS_MAX, VerifyReport, Violation};
pub use writer::{Full, Writer};
