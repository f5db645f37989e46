//! The addresses that pieces of files are sent to: where the client finds the gateway, and who sends, signed with the
//! hash of the API key that began the upload.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use http::Uri;
use http::header::HeaderMap;
use sha2::Sha256;
use tollgate_core::id::ApiKeyId;

use super::name::{KEEPER_DIGITS, Tag};
use crate::proxy::carried::pairs;
use crate::state::directory::{Caller, Directory};

/// Where clients send the pieces of a file.
const UPLOAD_PATH: &str = "/upload/v1beta/files";
/// In the query of such an address: the provider's name of the upload, and who sends it.
pub(super) const UPLOAD_ID: &str = "upload_id";
const SENDER: &str = "tollgate";
/// Longest name of an upload.
const UPLOAD_ID_BYTES_MAX: usize = 1024;

/// What the address of a piece says.
pub(super) struct Piece {
    /// The provider's name of the upload.
    pub(super) upload: String,
    sender: Vec<u8>,
}

impl Piece {
    /// In the query of an address.
    pub(super) fn of(query: &str) -> Option<Self> {
        let value = |name: &str| pairs(query).find(|(known, _)| known == name).map(|(_, value)| value);
        let upload = value(UPLOAD_ID)?.into_owned();
        let sender = value(SENDER).and_then(|text| URL_SAFE_NO_PAD.decode(text.as_bytes()).ok());
        Some(Self { upload, sender: sender.unwrap_or_default() })
    }

    /// Who began the upload, and which credential keeps the file.
    pub(super) fn sender(&self, directory: &Directory) -> Option<(Arc<Caller>, Tag<KEEPER_DIGITS>)> {
        let (key, rest) = self.sender.split_first_chunk::<16>()?;
        let (keeper, mac) = rest.split_first_chunk::<KEEPER_DIGITS>()?;
        let (api_key, keeper) = (ApiKeyId::from_bytes(*key), *keeper);
        let (hash, caller) = directory.callers.iter().find(|(_, caller)| caller.api_key == api_key)?;
        let signed = signature(hash, api_key, keeper, &self.upload).verify_truncated_left(mac);
        (mac.len() == 16 && signed.is_ok()).then(|| (Arc::clone(caller), keeper))
    }
}

fn signature(hash: &[u8; 32], api_key: ApiKeyId, keeper: Tag<KEEPER_DIGITS>, upload: &str) -> Hmac<Sha256> {
    let keyed = Hmac::<Sha256>::new_from_slice(hash);
    let mut mac = keyed.unwrap_or_else(|_| unreachable!("HMAC takes keys of every length"));
    mac.update(b"tollgate upload");
    mac.update(api_key.as_bytes());
    mac.update(&keeper);
    mac.update(upload.as_bytes());
    mac
}

/// What makes the address that a client sends pieces to.
pub(super) struct Address {
    origin: String,
    hash: [u8; 32],
    api_key: ApiKeyId,
}

impl fmt::Debug for Address {
    /// Without what it signs with.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl Address {
    /// For uploads of a caller's, who finds the gateway there.
    pub(super) fn new(origin: String, (directory, caller): (&Directory, &Caller)) -> Option<Self> {
        let (hash, _) = directory.callers.iter().find(|(_, known)| known.api_key == caller.api_key)?;
        Some(Self { origin, hash: *hash, api_key: caller.api_key })
    }

    /// That of an upload.
    pub(super) fn of(&self, keeper: Tag<KEEPER_DIGITS>, upload: &str) -> String {
        let mac = signature(&self.hash, self.api_key, keeper, upload).finalize().into_bytes();
        let sender = [&self.api_key.as_bytes()[..], &keeper, &mac[..16]].concat();
        let sender = URL_SAFE_NO_PAD.encode(sender);
        let Self { origin, .. } = self;
        format!("{origin}{UPLOAD_PATH}?{UPLOAD_ID}={upload}&upload_protocol=resumable&{SENDER}={sender}")
    }
}

/// Where the client finds the gateway: as a proxy in between says, or as the client itself does.
pub(super) fn origin((headers, uri): (&HeaderMap, &Uri), is_tls: bool) -> Option<String> {
    let told = |name: &str| {
        let value = headers.get(name)?.to_str().ok()?.split(',').next()?.trim();
        Some(value).filter(|value| !value.is_empty())
    };
    let own = || uri.authority().map(http::uri::Authority::as_str).or_else(|| told("host"));
    let host = told("x-forwarded-host").or_else(own)?;
    let of_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    let scheme = match told("x-forwarded-proto") {
        Some(told) if told.eq_ignore_ascii_case("https") => "https",
        None if is_tls => "https",
        _ => "http",
    };
    host.bytes().all(of_host).then(|| format!("{scheme}://{host}"))
}

/// Whether an upload's name can stand in a query as it is.
pub(super) fn is_upload(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    (1..=UPLOAD_ID_BYTES_MAX).contains(&name.len()) && name.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::{Address, Piece, is_upload, signature};
    use hmac::Mac as _;
    use http::{HeaderMap, HeaderValue, Uri};
    use tollgate_core::id::ApiKeyId;

    use crate::state::directory::Directory;

    const KEEPER: [u8; 8] = *b"0123abcd";

    #[test]
    fn an_address_leads_where_the_client_finds_the_gateway() {
        let address = |headers: &[(&'static str, &'static str)], is_tls: bool| {
            let headers: HeaderMap = headers
                .iter()
                .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
                .collect();
            let uri = Uri::from_static("/upload/v1beta/files");
            super::origin((&headers, &uri), is_tls)
        };
        let check = |headers: &[(&'static str, &'static str)], is_tls, expected: Option<&str>| {
            assert_eq!(address(headers, is_tls).as_deref(), expected, "{headers:?}");
        };
        check(&[("host", "a:8080")], false, Some("http://a:8080"));
        check(&[("host", "a")], true, Some("https://a"));
        check(&[("host", "a"), ("x-forwarded-proto", "https")], false, Some("https://a"));
        check(&[("host", "a"), ("x-forwarded-host", "b.c, d")], false, Some("http://b.c"));
        check(&[("host", "a/b?c")], false, None);
        check(&[], false, None);
    }

    #[test]
    fn a_piece_is_believed_where_its_address_was_made_here() {
        let (hash, api_key) = ([7; 32], ApiKeyId::from_bytes([3; 16]));
        let made = Address { origin: "http://a".to_owned(), hash, api_key }.of(KEEPER, "up-1");
        let (_, query) = made.split_once('?').unwrap();
        let piece = Piece::of(query).unwrap();
        assert_eq!(piece.upload, "up-1");
        let mac: Vec<u8> = signature(&hash, api_key, KEEPER, "up-1").finalize().into_bytes().to_vec();
        assert!(piece.sender.ends_with(&mac[..16]));
        assert!(piece.sender(&Directory::default()).is_none(), "nobody has that key any more");
        for name in ["", "a b", "a&b", "a/../b", "%41"] {
            assert!(!is_upload(name), "{name}");
        }
    }
}
