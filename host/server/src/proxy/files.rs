//! Files that a provider keeps (Gemini's `files`), for later calls to name.
//!
//! A file belongs to the project of the key with which it went up, and who has that key sees all of its files. So the
//! gateway gives each file its name, which says whose it is and which credential keeps it. Nothing has to be
//! remembered: any node knows by the name alone who may have the file, and with which credential. All that a user
//! keeps is with the same credential for as long as that is in service.
//!
//! A file goes up in pieces, to an address that the provider names in answer to the first call, and SDKs send no key
//! there. The address that a client is told leads here; the hash of the API key that began the upload signs it, so
//! that it is good for as long as that key is.

mod address;
pub(super) mod kept;
pub(super) mod name;

use std::cmp::Reverse;
use std::sync::Arc;

use bytes::Bytes;
use http::Uri;
use http::header::{HeaderMap, HeaderName};
use http::request::Parts;
use hyper::body::Body;
use sha2::{Digest as _, Sha256};
use tollgate_core::health::Standing;
use tollgate_core::id::RequestId;
use tollgate_core::json::{self, Kind};
use tollgate_core::protocol::{Operation, Owner};
use tollgate_core::time::Timestamp;

use self::address::{Address, Piece, origin};
use self::kept::{Found, Kept, UPLOAD_COMMAND, UPLOAD_PROTOCOL, unknown};
use self::name::{Name, OWNER_DIGITS, Tag, tag};
use super::authenticate::{self, Keys};
use super::error::ProxyError;
use super::lane::Lane;
use super::members::{Member, members_of};
use super::read::{self, Inbound};
use super::router::{Call, FILES_MODEL, FileCall};
use super::unpack;
use crate::state::credentials::Credential;
use crate::state::directory::{Caller, Directory};
use crate::transport::body::Splice;
use crate::upstream::CallKind;

/// Who calls: by the keys that came along, or, of a piece of a file, by the address that it is sent to.
///
/// # Errors
/// As [`authenticate::caller`].
pub(super) fn caller(
    directory: &Directory,
    call: &mut Call,
    (keys, query): (&Keys, &str),
    now: Timestamp,
) -> Result<Arc<Caller>, ProxyError> {
    if call.file != Some(FileCall::Begin) {
        return authenticate::caller(directory, keys, now);
    }
    let Some(piece) = Piece::of(query) else { return authenticate::caller(directory, keys, now) };
    let (caller, keeper) = piece.sender(directory).ok_or(ProxyError::InvalidKey)?;
    if caller.expires_at.is_some_and(|at| at <= now) {
        return Err(ProxyError::InvalidKey);
    }
    call.operation = Operation::KeptFiles;
    call.file = Some(FileCall::Piece { keeper, upload: piece.upload });
    Ok(caller)
}

/// Pages of a provider's list that are read for one answer.
const PAGES_MAX: usize = 50;

/// A list of kept files that is read page by page, and told as one: SDKs take each page but an only one to have
/// something, and of a provider's any may have nothing of the caller's.
#[derive(Default)]
pub(super) struct Listing {
    own: Vec<u8>,
    pages: usize,
}

impl Listing {
    /// Takes a page in. The whole list, where it was the last one; else `parts` ask for the next.
    ///
    /// # Errors
    /// None that a list which has been read can meet.
    pub(super) fn take(&mut self, found: &Found, parts: &mut Parts) -> Result<Option<Bytes>, ProxyError> {
        let parted = if self.own.is_empty() || found.own.is_empty() { "" } else { "," };
        self.own.extend_from_slice(parted.as_bytes());
        self.own.extend_from_slice(&found.own);
        self.pages += 1;
        let Some(token) = found.onward.as_deref() else { return Ok(Some(self.told(""))) };
        if self.pages == PAGES_MAX {
            return Ok(Some(self.told(&format!(",\"nextPageToken\":{}", json::quote(token)))));
        }
        let (path, query) = (parts.uri.path(), parts.uri.query().unwrap_or_default());
        let token = percent_encoding::utf8_percent_encode(token, percent_encoding::NON_ALPHANUMERIC);
        // Of several the last one counts.
        let uri = format!("{path}?{query}&pageToken={token}");
        parts.uri = uri.parse().map_err(|_| ProxyError::Internal)?;
        Ok(None)
    }

    fn told(&self, more: &str) -> Bytes {
        [b"{\"files\":[", &self.own[..], b"]", more.as_bytes(), b"}"].concat().into()
    }
}

/// What a client sends of a call about kept files.
pub(super) struct Sent<'a> {
    pub(super) headers: HeaderMap,
    pub(super) query: String,
    pub(super) uri: &'a Uri,
}

/// Reads a call about kept files. Its body is nothing that a model is asked.
///
/// # Errors
/// As [`read::inbound`]; 404 for a file that is not the caller's.
pub(super) async fn inbound(
    (lane, directory, caller): (&Lane, &Directory, &Caller),
    (call, asked): (Call, FileCall),
    Sent { headers, query, uri }: Sent<'_>,
    body: &mut (impl Body<Data = Bytes> + Unpin),
    id: RequestId,
) -> Result<Inbound, ProxyError> {
    if asked == FileCall::List && uri.path().starts_with("/v1/") && !is_googles(&headers) {
        return Err(ProxyError::UnknownPath(None));
    }
    let (limits, memory) = (&lane.shared.settings.limits, &lane.shared.memory);
    let layers = unpack::layers(&headers)?;
    let mut share = memory.share();
    let mut body = read::collect(body, limits, &mut share).await?;
    if !layers.is_empty() {
        (body, share) = unpack::unpacked(layers, body, limits.request_body_bytes_max, share, id).await?;
    }
    let kind = CallKind { protocol: call.protocol, operation: call.operation, streaming: false };
    let keepers = keepers(lane, directory, caller, kind);
    let mut kept = Kept::of(asked, caller, &keepers, &query)?;
    let mut splices = Vec::new();
    if kept.asked == FileCall::Begin {
        begins_as_it_can(&headers)?;
        let is_tls = lane.shared.settings.server.tls.is_some();
        let origin = origin((&headers, uri), is_tls);
        kept.address = origin.and_then(|origin| Address::new(origin, (directory, caller)));
        if body.trim_ascii().is_empty() {
            body = Bytes::from_static(b"{}");
        }
        splices.push(named(&body, &Name::made(kept.keeper, caller.user))?);
    }
    let mut inbound = Inbound::bare(&call, FILES_MODEL.to_owned(), headers, query, body);
    (inbound.splices, inbound.share, inbound.kept) = (splices, Some(share), Some(Box::new(kept)));
    Ok(inbound)
}

/// Whether it is a client of Google's that asks. OpenAI's and Anthropic's ask for their files at the same path.
fn is_googles(headers: &HeaderMap) -> bool {
    headers.contains_key("x-goog-api-client")
}

/// The credentials that may keep a caller's files, in the order in which they are asked for it: the caller's own before
/// the platform's, each caller's in an order of their own. Nobody's file goes to who lends a key.
fn keepers(lane: &Lane, directory: &Directory, caller: &Caller, call: CallKind) -> Vec<Arc<Credential>> {
    let (snapshot, now) = (lane.snapshot(), lane.now());
    let takes = |credential: &&Arc<Credential>| {
        let provider = snapshot.provider(&credential.provider);
        let there = provider.and_then(|provider| snapshot.place(provider, credential));
        credential.owner != Owner::Shared && there.is_some_and(|upstream| upstream.takes(call))
    };
    let mut keepers: Vec<_> = directory.credentials(caller).filter(takes).cloned().collect();
    keepers.sort_by_cached_key(|credential| {
        let pair = [&caller.user.as_bytes()[..], credential.id.as_bytes()].concat();
        let disabled = matches!(credential.live.standing(now), Standing::Disabled { .. });
        let order: [u8; 32] = Sha256::digest(pair).into();
        (disabled, credential.owner != Owner::User, Reverse(order))
    });
    keepers
}

/// Checks that a file goes up in the one way that there is here.
fn begins_as_it_can(headers: &HeaderMap) -> Result<(), ProxyError> {
    let says = |name: &HeaderName, word: &str| {
        headers.get(name).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(word.as_bytes()))
    };
    if says(&UPLOAD_PROTOCOL, "resumable") && says(&UPLOAD_COMMAND, "start") {
        return Ok(());
    }
    let words = "Files go up by the resumable protocol: send `X-Goog-Upload-Protocol: resumable` and \
                 `X-Goog-Upload-Command: start` first, and the file to the `X-Goog-Upload-URL` of the answer.";
    Err(ProxyError::bad_request(words, None))
}

/// What gives a file its name, in what a client says of it.
fn named(body: &[u8], name: &str) -> Result<Splice, ProxyError> {
    let members = members_of(body, &mut ())?;
    let mut files = members.iter().filter(|member| *member.name == *b"file");
    let insertion = |at: usize, with: String| Splice { range: at..at, with: Bytes::from(with) };
    let comma = |any: bool| if any { "," } else { "" };
    match (files.next(), files.next()) {
        (Some(Member { value, .. }), None) if value.kind == Kind::Object => {
            let (mut any, mut own) = (false, false);
            // The whole body has been validated, so its parts cannot fail.
            let _valid = json::members_of(body, *value, |member, value| {
                any = true;
                own |= member == b"name" && !matches!(&body[value.range()], b"null" | b"\"\"");
            });
            if own {
                let words =
                    "`file.name` is given here, so that nobody can have another's file: leave it out.";
                return Err(ProxyError::bad_request(words, Some("file")));
            }
            Ok(insertion(value.start + 1, format!(r#""name":"files/{name}"{}"#, comma(any))))
        }
        (None, _) => {
            let open = memchr::memchr(b'{', body).map_or(0, |at| at + 1);
            let comma = comma(!members.is_empty());
            Ok(insertion(open, format!(r#""file":{{"name":"files/{name}"}}{comma}"#)))
        }
        _ => Err(ProxyError::bad_request("`file` must be one object.", Some("file"))),
    }
}

/// The caller of a request, whom only one credential may serve where the request is about files that it keeps.
///
/// # Errors
/// 404 for a file that is not the caller's or is kept no more, 400 where the files are not together.
pub(super) fn bound(
    directory: &Directory,
    caller: Arc<Caller>,
    inbound: &Inbound,
) -> Result<Arc<Caller>, ProxyError> {
    if let Some(kept) = &inbound.kept {
        return Ok(Arc::new(caller.restricted_to(kept.keeper)));
    }
    let mut names = inbound.extras.named().iter();
    let Some(first) = names.next() else { return Ok(caller) };
    let owner: Tag<OWNER_DIGITS> = tag(caller.user.as_bytes());
    if inbound.extras.named().iter().any(|name| name.owner != owner) {
        return Err(unknown(""));
    }
    if names.any(|name| name.keeper != first.keeper) {
        let words = "The files that are named are not kept together: send one of them again.";
        return Err(ProxyError::bad_request(words, Some("fileUri")));
    }
    let keeper = directory.credentials(&caller).find(|known| tag(known.id.as_bytes()) == first.keeper);
    let keeper = keeper.map(|keeper| keeper.id).ok_or_else(|| unknown(""))?;
    Ok(Arc::new(caller.restricted_to(keeper)))
}

#[cfg(test)]
mod tests {
    use super::named;

    #[test]
    fn a_file_gets_its_name_where_the_client_gave_none() {
        let check = |body: &str, expected: &str| {
            let splice = named(body.as_bytes(), "n").unwrap();
            let mut text = body.as_bytes().to_vec();
            text.splice(splice.range, splice.with);
            assert_eq!(String::from_utf8(text).unwrap(), expected, "{body}");
        };
        check("{}", r#"{"file":{"name":"files/n"}}"#);
        check(r#"{"a":1}"#, r#"{"file":{"name":"files/n"},"a":1}"#);
        check(r#"{"file":{}}"#, r#"{"file":{"name":"files/n"}}"#);
        check(r#"{"file":{"mimeType":"x/y"}}"#, r#"{"file":{"name":"files/n","mimeType":"x/y"}}"#);
        for body in [
            r#"{"file":{"name":"files/mine"}}"#,
            r#"{"file":{"n\u0061me":"files/mine"}}"#,
            r#"{"file":[]}"#,
            r#"{"file":{},"file":{"name":"a"}}"#,
            "[]",
        ] {
            assert!(named(body.as_bytes(), "n").is_err(), "{body}");
        }
    }
}
