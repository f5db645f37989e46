//! The store in SQLite, with a journal in front of it. Nothing outside this folder names SQLite.
//!
//! `open.rs` opens the database and migrates it. Entries come through `writer.rs` and `backlog.rs` into `journal/`: the
//! hot path. `apply.rs` and `commit.rs` bring them into the tables, `recover.rs` brings those that a crash left, and
//! `damage.rs` tells a crash from worse.
//! `balance.rs`, `sweep.rs` and `verify.rs` keep the ledger right; the rest is one file per resource.

mod amounts;
mod api_key;
mod apply;
mod audit;
mod backlog;
mod balance;
mod body;
mod code;
mod commit;
#[cfg(test)]
mod cost;
mod credential;
mod damage;
mod error;
mod feed;
mod grant;
mod idempotency;
mod journal;
mod lending;
mod lock;
mod lockout;
mod log;
mod log_sums;
mod model_route;
pub(crate) mod node;
pub(crate) mod open;
mod price;
mod price_rate;
mod recover;
mod refund;
mod request;
mod reseal;
mod retain;
mod reward;
mod row;
mod session;
mod setting;
mod sql;
mod statement;
mod sums;
mod sweep;
mod tally;
mod usage;
mod usage_table;
mod user;
mod verify;
pub(crate) mod writer;
