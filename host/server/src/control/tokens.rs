//! Fetches access tokens when they are needed. A new refresh token is sealed and stored before it is used.

use std::sync::Arc;

use tokio::sync::mpsc::UnboundedReceiver;
use tollgate_core::secret::Secret;
use tollgate_core::time::Timestamp;
use tollgate_runtime::Scheme;

use crate::clock::now;
use crate::manage::Management;
use crate::state::tokens::Slot;
use crate::telemetry::chain;
use crate::transport::Settings;
use crate::upstream::issue::{self, Made};

/// Fetches tokens when they are needed, in an endless loop.
pub(crate) async fn serve(
    management: Management,
    transport: Settings,
    mut wanted: UnboundedReceiver<Arc<Slot>>,
) {
    while let Some(slot) = wanted.recv().await {
        let (transport, management) = (transport.clone(), management.clone());
        tokio::spawn(async move {
            let secret = slot.secret();
            let made = issue::issue(transport, slot.scheme.clone(), secret.clone()).await;
            if let Err(error) = &made {
                tracing::warn!(credential = %slot.credential, %error, "a token could not be had");
            }
            slot.made(match made {
                Ok(made) => Ok(kept(&management, &slot, secret, made).await),
                Err(error) => Err(error),
            });
        });
    }
}

/// Stores what a refresh has changed, so that a restart begins with it.
async fn kept(management: &Management, slot: &Slot, old: Secret, made: Made) -> (Secret, Timestamp) {
    let until = made.until(now());
    if matches!(slot.scheme, Scheme::OauthRefresh { .. }) {
        let new = made.renews(&old, until);
        slot.renew(old, new.clone());
        if let Err(error) = management.renew_credential(slot.credential, &new).await {
            tracing::error!(credential = %slot.credential, error = chain(&error), "a new token was not stored");
        }
    }
    (made.token(), until)
}
