//! Request bodies that come packed (`content-encoding`): unpacked before anything is read of them, and sent on plain.
//!
//! Clients on slow lines pack what they send, and few providers take it. What a few bytes may become is bounded by the
//! limit of bodies, and counted among what all exchanges hold while it grows.

use bytes::{Bytes, BytesMut};
use http::header::HeaderMap;
use tollgate_core::id::RequestId;

use super::aside::aside;
use super::error::ProxyError;
use crate::state::memory::{Share, Spent};
use crate::transport::packed::{self, PackedError, Packing, Step, Unpacker};

/// How a body is packed, before it is read.
///
/// # Errors
/// 415 where that is not known here.
pub(super) fn layers(headers: &HeaderMap) -> Result<Vec<Packing>, ProxyError> {
    packed::layers(headers).ok_or(ProxyError::UnsupportedEncoding)
}

/// The same body without its layers, beside the worker.
///
/// # Errors
/// 400 where it is not what its head says, 413 where it becomes more than a body may have, 503 where there is no room.
pub(super) async fn unpacked(
    layers: Vec<Packing>,
    body: Bytes,
    bytes_max: usize,
    mut share: Share,
    id: RequestId,
) -> Result<(Bytes, Share), ProxyError> {
    aside(id, move || unpack(&layers, body, bytes_max, &mut share).map(|plain| (plain, share))).await?
}

fn unpack(layers: &[Packing], body: Bytes, bytes_max: usize, share: &mut Share) -> Result<Bytes, ProxyError> {
    let packed = body.len();
    let mut unpacker = Unpacker::new(layers).map_err(|error| refused(&error, bytes_max))?;
    unpacker.feed(body);
    unpacker.finish();
    let mut plain = BytesMut::new();
    loop {
        match unpacker.step().map_err(|error| refused(&error, bytes_max))? {
            Step::Piece(piece) if plain.len() + piece.len() > bytes_max => {
                return Err(ProxyError::BodyTooLarge(bytes_max));
            }
            Step::Piece(piece) => {
                // Twice, because it grows by doubling.
                share.grow_to(packed + 2 * (plain.len() + piece.len())).map_err(|Spent| ProxyError::Full)?;
                plain.extend_from_slice(&piece);
            }
            // All of it is there: more will not come.
            Step::Wait => return Err(broken()),
            Step::End => return Ok(plain.freeze()),
        }
    }
}

fn refused(error: &PackedError, bytes_max: usize) -> ProxyError {
    match error {
        PackedError::Broken(_) => broken(),
        PackedError::TooMuch(_) => ProxyError::BodyTooLarge(bytes_max),
    }
}

fn broken() -> ProxyError {
    ProxyError::bad_request("The body is not packed as `Content-Encoding` says, or ends too early.", None)
}
