//! The ledger: what is on accounts, and what moves it.

pub(crate) mod account;
pub(crate) mod booking;
pub(crate) mod code;
pub(crate) mod mark;
pub(crate) mod verify;
pub(crate) mod writer;

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use tollgate_core::id::UserId;

use self::account::{Balance, Statements, Sweeps};
use self::booking::{Grants, Refunds, Rewards};
use self::code::Codes;
use self::verify::Verification;
use self::writer::Writer;
use crate::catalogue::audit::Act;
use crate::error::StoreError;

/// The ledger. What requests move comes through the [`Writer`]; what management books is one transaction, with its row
/// of the audit log.
#[async_trait]
pub trait Ledger:
    Grants + Refunds + Rewards + Codes + Statements + Sweeps + Verification + Debug + Send + Sync
{
    /// The same ledger on someone's behalf: the audit log names them for every booking.
    fn acting(&self, act: Arc<Act>) -> Arc<dyn Ledger>;

    /// The writer, which the first call starts.
    ///
    /// From then on this process is the one that serves from this ledger.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when another process serves; otherwise when the journal cannot be used, or the system
    /// gives no thread.
    async fn writer(&self) -> Result<Writer, StoreError>;

    /// The balances of these users at this moment, open holds counted; an id that nobody has is left out.
    ///
    /// # Errors
    /// When the database fails.
    async fn balances_of(&self, users: &[UserId]) -> Result<Vec<Balance>, StoreError>;

    /// Brings what was handed to the writer into the tables, where it was started, and closes every connection.
    ///
    /// Returns how many entries are lost, because neither journal nor tables could be written; 0 on an orderly end.
    async fn close(&self) -> usize;
}
