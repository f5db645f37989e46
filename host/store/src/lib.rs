//! Keeps accounts, keys, prices, transfers and records in SQLite.
//!
//! Only this crate writes SQL. The data path never reads from here: a server loads a [`Snapshot`] at its start, decides in memory,
//! and hands what it decided to the [`Writer`], which puts it into a journal at once and into the tables soon. Management (the command line, the API) changes rows
//! through [`Store`], and the revision counter tells a running server to look again.
//!
//! Start with the migration (`migrations/0001_initial.sql`), then `entry.rs`, `writer.rs` and `journal/`: the hot path. `fold.rs`
//! and `commit.rs` bring its entries into the tables, `recover.rs` those that a crash left. `balance.rs`, `sweep.rs` and `verify.rs` keep the books right; the rest is one file per resource.

mod api_key;
mod audit;
mod balance;
mod body;
mod code;
mod commit;
mod credential;
mod entry;
mod error;
mod fold;
mod grant;
mod idempotency;
mod journal;
mod load;
mod lockout;
mod log;
mod model_route;
mod open;
mod pool;
mod price;
mod price_rate;
mod recover;
mod refund;
mod request;
mod reseal;
mod retain;
mod reward;
mod row;
pub mod seal;
mod session;
mod setting;
mod sql;
mod statement;
mod sweep;
mod tally;
mod usage;
mod user;
mod verify;
mod writer;

pub use api_key::{ApiKey, KeyChange, KeyUse, NewApiKey};
pub use audit::{Act, AuditFilter, AuditRow, Note};
pub use balance::Balance;
pub use body::{Bodies, Body};
pub use code::{CODES_MAX, CodeBatch, NewBatch};
pub use credential::{
    CheckResult, Credential, CredentialChange, CredentialPlace, CredentialState, NewCredential,
};
pub use entry::{Attempt, Borrowed, Components, Digest, Entry, PluginEvent, RequestRecord};
pub use error::{StoreError, WriteError};
pub use grant::{Credit, Granted};
pub use idempotency::{Keyed, Known};
pub use load::Snapshot;
pub use lockout::{Guessed, WrongTries};
pub use log::{RequestFilter, RequestPage};
pub use model_route::ModelRoute;
pub use open::{Durability, Options, Store};
pub use pool::{Loan, PoolUse};
pub use price::{NewPrices, PriceVersion};
pub use price_rate::Payers;
pub use refund::Refund;
pub use reseal::Resealed;
pub use retain::Retention;
pub use reward::Reward;
pub use seal::MasterKey;
pub use session::Rotated;
pub use statement::StatementLine;
pub use sweep::SweepReport;
pub use usage::{UsageBy, UsageOf, UsageQuery, UsageRow, Used};
pub use user::{User, UserChange};
pub use verify::{VIOLATIONS_MAX, VerifyReport, Violation};
pub use writer::{Mark, Synced, Writer};
