//! The first call of an exchange, and what an adapter may say in the place of an answer.

use std::sync::Arc;

use crate::bindings::adapter_world::ProviderAdapter;
use crate::bindings::wit_adapter;
use crate::error::Fault;
use crate::instance::Instance;
use crate::plan::exchange::Terms;
use crate::slot;
use crate::unit::Unit;

/// An error answer in the client's protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status, 400 to 599.
    pub status: u16,
    /// JSON.
    pub body: Vec<u8>,
}

/// The instance of an exchange.
pub(crate) type Own = Box<Instance<ProviderAdapter>>;

/// Calls the component for a request: the instance, and a body, or an answer for the client.
pub(crate) fn translate(
    unit: &Arc<Unit<ProviderAdapter>>,
    terms: &Terms<'_>,
    body: &[u8],
) -> Result<(Own, Result<wit_adapter::Translated, Reply>), Fault> {
    let mut instance = slot::take(unit)?;
    let answer = instance.enter_with(body.len(), |world, store| {
        let adapter = world.tollgate_plugin_adapter();
        match adapter.call_translate_request(store, &terms.into(), body)? {
            Ok(translated) => Ok(Ok(Ok(translated))),
            Err(reply) => Ok(checked(reply).map(Err)),
        }
    })?;
    Ok((instance, answer))
}

/// Nothing but an error may stand in for an answer.
pub(crate) fn checked(reply: wit_adapter::Reply) -> Result<Reply, Fault> {
    let wit_adapter::Reply { status, body } = reply;
    if (400..=599).contains(&status) {
        Ok(Reply { status, body })
    } else {
        Err(Fault::guest(format!("it answered an error with status {status}")))
    }
}
