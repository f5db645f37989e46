//! Resolves what a crash left: holds of dead nodes without a settlement.
//!
//! The rule is in the user's favour: whatever happened upstream is unknown, so the hold is released in full and the
//! request is recorded with [`Outcome::Unknown`] and no charge. The operator bears what the provider bills for it: a
//! gateway that dies has no usage to show for a charge. The sweep notes that no hold of that node up to that moment is
//! open (`node.swept`), so that `verify` can tell a hold whose node is gone from one that is being served (invariant
//! I9).
//!
//! [`Outcome::Unknown`]: tollgate_core::outcome::Outcome::Unknown

use async_trait::async_trait;
use tollgate_core::id::{NodeId, RequestId, UserId};
use tollgate_core::points::Micropoints;
use tollgate_core::time::Timestamp;

use crate::entry::{Entry, RequestRecord};
use crate::error::StoreError;
use crate::ledger::account::{SweepReport, Sweeps};
use crate::ledger::writer::EntryWriter;
use crate::sqlite::balance::open_holds;
use crate::sqlite::error::Doing;
use crate::sqlite::node::{self, Node};
use crate::sqlite::open::{Database, Serving};
use crate::sqlite::row::{Row, readable, stored};

struct OpenHold {
    request: RequestId,
    user: UserId,
    amount: Micropoints,
    model: Option<String>,
    at: Timestamp,
}

/// Whose holds are released.
#[derive(Debug, Clone, Copy)]
enum Whose {
    /// Those of this node's earlier runs, and those of dead nodes.
    OwnAndDead,
    /// Those of dead nodes.
    Dead,
}

#[async_trait]
impl Sweeps for Database {
    async fn node(&self) -> Result<NodeId, StoreError> {
        Ok(self.serving().await?.node.id)
    }

    async fn sweep(&self, now: Timestamp) -> Result<SweepReport, StoreError> {
        let serving = self.serving().await?;
        node::keep_lease(self.pool(), serving.node, now).await?;
        self.release(serving, Whose::OwnAndDead, now).await
    }

    async fn keep_lease(&self, now: Timestamp) -> Result<SweepReport, StoreError> {
        let serving = self.serving().await?;
        node::keep_lease(self.pool(), serving.node, now).await?;
        if !node::is_any_dead(self.pool(), serving.node, now).await? {
            return Ok(SweepReport::default());
        }
        self.release(serving, Whose::Dead, now).await
    }
}

impl Database {
    async fn release(
        &self,
        serving: &Serving,
        whose: Whose,
        now: Timestamp,
    ) -> Result<SweepReport, StoreError> {
        let Serving { writer, node } = serving;
        // No node has the number 0.
        let own = if matches!(whose, Whose::OwnAndDead) { node.number } else { 0 };
        // Entries that the last run left in the journal may resolve some of them; they have been read by now.
        let mut report = SweepReport::default();
        for hold in self.open_holds(own, *node, now).await? {
            report.released += 1;
            report.amount = report.amount.checked_add(hold.amount).unwrap_or(Micropoints::new(i64::MAX));
            writer.post(release(hold, now)).map_err(StoreError::Sweep)?;
        }
        writer.flush().await.map_err(StoreError::Sweep)?;
        node::note_sweep(self.pool(), own, *node, now).await?;
        Ok(report)
    }

    /// The open holds of the node `own`, and of other nodes than `this` whose lease is over at `now`.
    async fn open_holds(&self, own: i64, this: Node, now: Timestamp) -> Result<Vec<OpenHold>, StoreError> {
        let rows = sqlx::query(concat!(
            "SELECT open.id, account.owner, open.amount, open.memo, open.at_ms FROM (",
            open_holds!(),
            ") AS open JOIN account ON account.id = open.debit \
             LEFT JOIN node ON node.number = COALESCE(open.node, 1) \
             WHERE node.number = ?1 OR (node.number IS NOT ?2 AND COALESCE(node.lease_until, 0) <= ?3) \
             ORDER BY open.seq",
        ))
        .bind(own)
        .bind(this.number)
        .bind(stored(now.millis()))
        .fetch_all(self.pool())
        .await
        .doing("reading open holds")?;
        Ok(readable("hold", &rows, open_hold))
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
