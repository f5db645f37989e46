//! The end of a request that is not sent.

use std::sync::Arc;

use tollgate_core::decisions::Screened;

use super::error::ProxyError;
use super::filter::TextHash;
use super::lane::Lane;
use super::request::Request;
use super::states::Refused;
use super::ticket;

/// Ends a request that is not sent: `asked` is the model that it named.
pub(super) fn refuse(lane: &Lane, request: Request, asked: &str, refusal: Refusal) -> ProxyError {
    let Refusal { error, model, price_version, filter_hash, screened } = refusal;
    let (request, filter_hash) = (Request { screened, ..request }, filter_hash.map(|hash| *hash));
    let model = model.unwrap_or_else(|| asked.into());
    let refused = Refused { request, model, price_version, filter_hash, error: error.clone() };
    ticket::refuse(&lane.endings, refused);
    error
}

/// Why a request is not sent, and what was known of it by then.
pub(super) struct Refusal {
    pub(super) error: ProxyError,
    pub(super) model: Option<Arc<str>>,
    pub(super) price_version: Option<u64>,
    pub(super) filter_hash: Option<Box<TextHash>>,
    /// What the filter said of it.
    pub(super) screened: Screened,
}

impl From<ProxyError> for Refusal {
    fn from(error: ProxyError) -> Self {
        let screened = Screened::default();
        Self { error, model: None, price_version: None, filter_hash: None, screened }
    }
}
