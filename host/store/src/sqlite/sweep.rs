//! Resolves what a crash left: holds without a settlement.
//!
//! The rule is in the user's favour: whatever happened upstream is unknown, so the hold is released in full and the request
//! is recorded with [`Outcome::Unknown`] and no charge. What the provider bills for it is the operator's loss: a gateway that
//! dies has no usage to show for a charge. From then on no hold up to that moment is open, and that is noted (`swept`), so that
//! `verify` can tell a hold whose owner is gone from one that is being served (invariant I9).
//!
//! [`Outcome::Unknown`]: tollgate_core::outcome::Outcome::Unknown

use async_trait::async_trait;
use tollgate_core::id::{RequestId, UserId};
use tollgate_core::points::Micropoints;
use tollgate_core::time::Timestamp;

use crate::entry::{Entry, RequestRecord};
use crate::error::StoreError;
use crate::ledger::Ledger;
use crate::ledger::account::{SweepReport, Sweeps};
use crate::sqlite::balance::open_holds;
use crate::sqlite::error::Doing;
use crate::sqlite::open::Database;
use crate::sqlite::row::{Row, fields};

struct OpenHold {
    request: RequestId,
    user: UserId,
    amount: Micropoints,
    model: Option<String>,
    at: Timestamp,
}

#[async_trait]
impl Sweeps for Database {
    async fn sweep(&self, now: Timestamp) -> Result<SweepReport, StoreError> {
        let writer = self.writer().await?;
        // What the last run left in the journal may resolve some, and has been read by now.
        let mut report = SweepReport::default();
        for hold in self.open_holds().await? {
            report.released += 1;
            report.amount = report.amount.checked_add(hold.amount).unwrap_or(Micropoints::new(i64::MAX));
            writer.post(release(hold, now)).map_err(StoreError::Sweep)?;
        }
        writer.flush().await.map_err(StoreError::Sweep)?;
        sqlx::query("UPDATE swept SET seq = (SELECT COALESCE(MAX(seq), 0) FROM transfer)")
            .execute(self.pool())
            .await
            .doing("noting the sweep")?;
        Ok(report)
    }
}

impl Database {
    async fn open_holds(&self) -> Result<Vec<OpenHold>, StoreError> {
        let rows = sqlx::query(concat!(
            "SELECT open.id, account.owner, open.amount, open.memo, open.at_ms FROM (",
            open_holds!(),
            ") AS open JOIN account ON account.id = open.debit ORDER BY open.seq",
        ))
        .fetch_all(self.pool())
        .await
        .doing("reading open holds")?;
        rows.iter().map(|row| fields("hold", row, open_hold)).collect()
    }
}

fn open_hold(row: &mut Row<'_>) -> Option<OpenHold> {
    Some(OpenHold {
        request: RequestId::from_bytes(row.bytes()?),
        user: UserId::from_bytes(row.bytes()?),
        amount: Micropoints::new(row.get()?),
        model: row.get()?,
        at: Timestamp::from_millis(row.u64()?),
    })
}

fn release(hold: OpenHold, now: Timestamp) -> Entry {
    let OpenHold { request, user, amount, model, at } = hold;
    let record = RequestRecord {
        model: model.map(Into::into),
        hold: amount,
        latency_ms: now.since_ms(at),
        error: Some("the gateway stopped before the request ended".to_owned()),
        ..RequestRecord::new(request, user, at)
    };
    Entry::Void { request, user, held: amount, at: now, record: Box::new(record) }
}
