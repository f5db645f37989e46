//! Grants: points that management puts on an account, and how a running server hears of them.

use tollgate_core::id::{TransferId, UserId};
use tollgate_core::points::Micropoints;
use tollgate_core::time::Timestamp;

use crate::error::{Doing, StoreError};
use crate::open::{Store, random};
use crate::row::{Row, fields};
use crate::sql::{Code, Kind, Origin, account, stored};

/// A grant that is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Granted {
    /// Its place in the ledger.
    pub seq: i64,
    /// Its id.
    pub transfer: TransferId,
}

/// A movement that management made, to be applied to the balances in a server's memory, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credit {
    /// Its place in the ledger.
    pub seq: i64,
    /// Whose account it is.
    pub user: UserId,
    /// What it adds, in micro-points.
    pub amount: Micropoints,
}

impl Store {
    /// Puts `amount` on a user's account. A running server, in this process or another, credits it in memory once it
    /// sees the revision change: see [`Store::transfers_since`].
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without such a user, [`StoreError::Invalid`] for an amount that is not above 0.
    pub async fn grant(
        &self,
        user: UserId,
        amount: Micropoints,
        reason: &str,
        actor: &str,
        now: Timestamp,
    ) -> Result<Granted, StoreError> {
        if amount <= Micropoints::ZERO {
            return Err(StoreError::Invalid("a grant is above 0 points".to_owned()));
        }
        let transfer = TransferId::new(now, random()?);
        let mut tx = self.pool().begin_with("BEGIN IMMEDIATE").await.doing("granting points")?;
        let inserted = sqlx::query(
            "INSERT INTO transfer (id, kind, debit, credit, amount, code, memo, origin, at_ms) \
             SELECT ?, ?, ?, account.id, ?, ?, ?, ?, ? FROM account WHERE owner = ?",
        )
        .bind(transfer.as_bytes().as_slice())
        .bind(Kind::Single as i64)
        .bind(account::ISSUANCE)
        .bind(amount.get())
        .bind(Code::Grant as i64)
        .bind(format!("{actor}: {reason}"))
        .bind(Origin::Management as i64)
        .bind(stored(now.millis()))
        .bind(user.as_bytes().as_slice())
        .execute(&mut *tx)
        .await
        .doing("granting points")?;
        if inserted.rows_affected() == 0 {
            return Err(StoreError::NotFound("user"));
        }
        sqlx::query("UPDATE revision SET value = value + 1")
            .execute(&mut *tx)
            .await
            .doing("granting points")?;
        tx.commit().await.doing("granting points")?;
        Ok(Granted { seq: inserted.last_insert_rowid(), transfer })
    }

    /// What management moved on users' accounts after transfer `seq`, in order. A server calls it when
    /// [`Store::revision`] has changed, with the last `seq` that it applied, first that of its [`crate::Snapshot`].
    ///
    /// # Errors
    /// When the database fails.
    pub async fn transfers_since(&self, seq: i64) -> Result<Vec<Credit>, StoreError> {
        // The index holds only what did not come from the writer. Its condition must stand here for it to be used.
        let rows = sqlx::query(
            "SELECT transfer.seq, account.owner, \
             CASE WHEN account.id = transfer.credit THEN transfer.amount ELSE -transfer.amount END \
             FROM transfer JOIN account ON account.id IN (transfer.debit, transfer.credit) AND account.kind = 'user' \
             WHERE transfer.origin <> 0 AND transfer.seq > ? AND transfer.kind = 4 ORDER BY transfer.seq",
        )
        .bind(seq)
        .fetch_all(self.pool())
        .await
        .doing("reading grants")?;
        rows.iter().map(|row| fields("transfer", row, credit)).collect()
    }

    /// A number that changes with every change of users, keys, credentials, prices, settings and grants. A server polls it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn revision(&self) -> Result<i64, StoreError> {
        sqlx::query_scalar("SELECT value FROM revision")
            .fetch_one(self.pool())
            .await
            .doing("reading the revision")
    }
}

fn credit(row: &mut Row<'_>) -> Option<Credit> {
    Some(Credit {
        seq: row.get()?,
        user: UserId::from_bytes(row.bytes()?),
        amount: Micropoints::new(row.get()?),
    })
}
