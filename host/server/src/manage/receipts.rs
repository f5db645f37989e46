//! The receipts of charges.

use tollgate_core::id::RequestId;
use tollgate_core::points::Micropoints;
use tollgate_core::receipt::Receipt;

use super::{ManageError, Management};

impl Management {
    /// The receipt of a request's charge.
    ///
    /// # Errors
    /// When nothing was charged for such a request.
    pub async fn receipt(&self, request: RequestId) -> Result<Receipt, ManageError> {
        let bytes = self.store.log.receipt(request).await?;
        decoded(&bytes.ok_or_else(|| ManageError::not_found("receipt", request))?)
    }

    /// The same with what was held for the request.
    pub(crate) async fn held_receipt(
        &self,
        request: RequestId,
    ) -> Result<(Micropoints, Receipt), ManageError> {
        let receipt = self.receipt(request).await?;
        Ok((self.store.log.request(request).await?.hold, receipt))
    }

    /// Receipts of requests that came after `after`, oldest first, at most `limit`: what was held, and the receipt.
    pub(crate) async fn held_receipts(
        &self,
        after: RequestId,
        limit: u32,
    ) -> Result<Vec<(Micropoints, Receipt)>, ManageError> {
        let rows = self.store.log.receipts(after, limit).await?;
        rows.into_iter().map(|(held, bytes)| Ok((held, decoded(&bytes)?))).collect()
    }
}

fn decoded(bytes: &[u8]) -> Result<Receipt, ManageError> {
    Receipt::decode(bytes).map_err(|error| ManageError::unreadable("a receipt", error))
}
