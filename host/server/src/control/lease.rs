//! Renews this node's lease, by which other nodes of the database know that it is alive, and releases the holds of dead
//! nodes.

use std::sync::Arc;
use std::time::Duration;

use tollgate_store::{LEASE_MS, Ledger};

use crate::clock::now;

/// How often. Two renewals may fail before others consider this node dead.
const INTERVAL: Duration = Duration::from_millis(LEASE_MS / 3);

/// Does so in an endless loop.
pub(crate) async fn keep(ledger: Arc<dyn Ledger>) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        match ledger.keep_lease(now()).await {
            Ok(swept) if swept.released > 0 => {
                let (holds, points) = (swept.released, swept.amount);
                tracing::warn!(holds, %points, "released holds of a node that is gone");
            }
            Ok(_) => {}
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "this node's lease was not kept");
            }
        }
    }
}
