//! Keeps this node's lease, by which other nodes of its database know that it is alive, and releases what
//! dead ones left.

use std::sync::Arc;
use std::time::Duration;

use tollgate_store::{LEASE_MS, Ledger};

use crate::clock::now;

/// How often: two may fail before anyone takes this node for dead.
const INTERVAL: Duration = Duration::from_millis(LEASE_MS / 3);

/// Does so for ever.
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
