//! A call about kept files: which credential serves it, how it goes up, and what its answer tells.

use std::cell::OnceCell;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use tollgate_core::failure::FailureClass;
use tollgate_core::id::CredentialId;
use tollgate_core::json::{self, Kind};
use tollgate_core::line::plain;
use tollgate_core::protocol::Operation;
use tollgate_runtime::HeaderForm;

use super::address::{Address, UPLOAD_ID, is_upload};
use super::name::{KEEPER_DIGITS, Name, OWNER_DIGITS, Tag, tag};
use crate::proxy::carried::pairs;
use crate::proxy::error::{ProxyError, Rejected};
use crate::proxy::router::{FILES_MODEL, FileCall};
use crate::state::credentials::Credential;
use crate::state::directory::Caller;
use crate::upstream::{CallKind, Upstream};

/// Where a provider tells that address.
const UPLOAD_URL: HeaderName = HeaderName::from_static("x-goog-upload-url");
/// What else it tells that leads past the gateway.
const ASIDE: [HeaderName; 2] =
    [HeaderName::from_static("x-goog-upload-control-url"), HeaderName::from_static("x-guploader-uploadid")];
/// How a client says that a file goes up, and what it does now.
pub(super) const UPLOAD_PROTOCOL: HeaderName = HeaderName::from_static("x-goog-upload-protocol");
pub(super) const UPLOAD_COMMAND: HeaderName = HeaderName::from_static("x-goog-upload-command");

/// What else a client says of a file that goes up.
const SAID: [(HeaderName, HeaderForm); 4] = [
    (HeaderName::from_static("x-goog-upload-offset"), HeaderForm::Word),
    (HeaderName::from_static("x-goog-upload-header-content-length"), HeaderForm::Word),
    (HeaderName::from_static("x-goog-upload-header-content-type"), HeaderForm::Product),
    (HeaderName::from_static("x-goog-upload-file-name"), HeaderForm::Product),
];

/// A call about kept files, by which its request goes up as it should and its answer comes back so.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(super) asked: FileCall,
    /// The credential that keeps what it is about.
    pub(super) keeper: CredentialId,
    owner: Tag<OWNER_DIGITS>,
    /// The query that goes up.
    query: String,
    /// Of a list: the credential that the next page is of.
    next: Option<CredentialId>,
    /// Of an upload that begins: what makes an address of the provider's.
    pub(super) address: Option<Address>,
    found: OnceCell<Found>,
}

/// What a page of a list has for the caller.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// Their files, parted by commas.
    pub(in crate::proxy) own: Bytes,
    /// Where the list goes on.
    pub(in crate::proxy) onward: Option<String>,
}

impl Kept {
    /// A call of `caller`'s, whose files any of these may keep, with its query.
    ///
    /// # Errors
    /// 404 for a file that is not the caller's, 400 for what cannot be read.
    pub(super) fn of(
        asked: FileCall,
        caller: &Caller,
        keepers: &[Arc<Credential>],
        query: &str,
    ) -> Result<Self, ProxyError> {
        let owner = tag(caller.user.as_bytes());
        let known = |wanted: &Tag<KEEPER_DIGITS>| {
            keepers.iter().position(|keeper| tag(keeper.id.as_bytes()) == *wanted)
        };
        let first = || keepers.first().map(|keeper| keeper.id).ok_or(ProxyError::NoCredential);
        let (mut sent, mut next) = (String::new(), None);
        let keeper = match &asked {
            FileCall::Begin => first()?,
            FileCall::Piece { keeper, upload } => {
                if !is_upload(upload) {
                    return Err(ProxyError::bad_request("`upload_id` is not valid.", Some("upload_id")));
                }
                sent = format!("{UPLOAD_ID}={upload}&upload_protocol=resumable");
                keepers[known(keeper).ok_or(ProxyError::NoCredential)?].id
            }
            FileCall::Read(name) | FileCall::Remove(name) => {
                let own = Name::read(name).filter(|name| name.owner == owner);
                let at = own.and_then(|name| known(&name.keeper)).ok_or_else(|| unknown(name))?;
                keepers[at].id
            }
            FileCall::List => {
                let page = Page::of(query)?;
                let at = match &page.keeper {
                    None => 0,
                    Some(wanted) => known(wanted).ok_or_else(Page::invalid)?,
                };
                first()?;
                next = keepers.get(at + 1).map(|keeper| keeper.id);
                sent = page.query();
                keepers[at].id
            }
        };
        Ok(Self { asked, keeper, owner, query: sent, next, address: None, found: OnceCell::new() })
    }

    /// The method of its request, with path and query. The headers say what its body is, where it has one.
    pub(in crate::proxy) fn addressed(
        &self,
        (upstream, call): (&Upstream, CallKind),
        client: &HeaderMap,
        headers: &mut HeaderMap,
    ) -> (Method, Option<String>) {
        let (method, kind) = match self.asked {
            FileCall::Begin => (Method::POST, Some("application/json")),
            FileCall::Piece { .. } => (Method::POST, Some("application/octet-stream")),
            FileCall::List | FileCall::Read(_) => (Method::GET, None),
            FileCall::Remove(_) => (Method::DELETE, None),
        };
        let of_upload = [(UPLOAD_PROTOCOL, HeaderForm::Word), (UPLOAD_COMMAND, HeaderForm::Names)];
        for (name, form) in of_upload.into_iter().chain(SAID).filter(|_| kind.is_some()) {
            let value = client.get(&name).and_then(|value| form.passing(value.to_str().ok()?));
            if let Some(Ok(value)) = value.map(|value| HeaderValue::try_from(&*value)) {
                headers.insert(name, value);
            }
        }
        headers.remove(CONTENT_TYPE);
        headers.extend(kind.map(|kind| (CONTENT_TYPE, HeaderValue::from_static(kind))));
        (method, self.target(upstream, call))
    }

    fn target(&self, upstream: &Upstream, call: CallKind) -> Option<String> {
        let operation = match self.asked {
            FileCall::Begin | FileCall::Piece { .. } => Operation::KeepFile,
            _ => Operation::KeptFiles,
        };
        let mut target = upstream.target(CallKind { operation, ..call }, FILES_MODEL, "")?;
        if let FileCall::Read(name) | FileCall::Remove(name) = &self.asked {
            target.extend(["/", name]);
        }
        if !self.query.is_empty() {
            target.extend(["?", &self.query]);
        }
        Some(target)
    }

    /// Puts the gateway's address in the place of the provider's.
    pub(in crate::proxy) fn tell(&self, headers: &mut HeaderMap) {
        for name in ASIDE {
            headers.remove(name);
        }
        let Some(told) = headers.remove(UPLOAD_URL) else { return };
        let query = told.to_str().ok().and_then(|url| url.split_once('?')).map_or("", |(_, query)| query);
        let upload = pairs(query).find(|(name, _)| name == UPLOAD_ID).map(|(_, value)| value);
        let upload = upload.filter(|upload| is_upload(upload));
        let address = self
            .address
            .as_ref()
            .zip(upload)
            .map(|(address, upload)| address.of(tag(self.keeper.as_bytes()), &upload));
        if let Some(Ok(value)) = address.map(HeaderValue::try_from) {
            headers.insert(UPLOAD_URL, value);
        }
    }

    /// Whether its answer has others' files in it.
    pub(in crate::proxy) fn is_list(&self) -> bool {
        self.asked == FileCall::List
    }

    /// Of a page of a provider's list what is the caller's, parted by commas.
    pub(in crate::proxy) fn own(&self, list: &[u8]) -> Bytes {
        let mut own = Vec::new();
        if let Some(files) = json::find(list, &["files"]).filter(|files| files.kind == Kind::Array) {
            // What was found in it can be read.
            let _valid = json::elements_of(list, files, |file| {
                let file = &list[file.range()];
                if self.is_own(file) {
                    own.extend_from_slice(if own.is_empty() { b"" } else { b"," });
                    own.extend_from_slice(file);
                }
                ControlFlow::Continue(())
            });
        }
        let token = json::find(list, &["nextPageToken"]).and_then(|token| json::string(list, token));
        let more = match token.filter(|token| !token.is_empty()) {
            Some(token) => Some((self.keeper, token.into_owned())),
            None => self.next.map(|next| (next, String::new())),
        };
        let onward = more.map(|(keeper, token)| {
            let keeper: Tag<KEEPER_DIGITS> = tag(keeper.as_bytes());
            format!("{}.{token}", String::from_utf8_lossy(&keeper))
        });
        let own = Bytes::from(own);
        // It is set once: an answer comes once.
        let _first = self.found.set(Found { own: own.clone(), onward });
        own
    }

    /// What of a list has come.
    pub(in crate::proxy) fn found(&self) -> Option<&Found> {
        self.found.get()
    }

    fn is_own(&self, file: &[u8]) -> bool {
        let name = json::find(file, &["name"]).and_then(|name| json::string(file, name));
        let name = name.and_then(|name| Name::read(name.strip_prefix("files/")?));
        name.is_some_and(|name| name.owner == self.owner)
    }
}

/// Says that there is no such file for the caller.
pub(super) fn unknown(name: &str) -> ProxyError {
    let words = format!("There is no file `files/{}` of yours here.", plain(name));
    ProxyError::Rejected(Rejected::new(FailureClass::NotFound, 404, words.as_bytes()))
}

/// A page of a list of files.
struct Page {
    keeper: Option<Tag<KEEPER_DIGITS>>,
    token: String,
}

impl Page {
    fn invalid() -> ProxyError {
        ProxyError::bad_request("`pageToken` is not valid.", Some("pageToken"))
    }

    fn of(query: &str) -> Result<Self, ProxyError> {
        let (mut keeper, mut token) = (None, String::new());
        for (name, value) in pairs(query) {
            match &*name {
                "pageToken" | "page_token" if !value.is_empty() => {
                    let (tag, rest) = value.split_once('.').ok_or_else(Self::invalid)?;
                    keeper = Some(tag.as_bytes().try_into().map_err(|_| Self::invalid())?);
                    rest.clone_into(&mut token);
                }
                _ => {}
            }
        }
        Ok(Self { keeper, token })
    }

    /// As the provider is asked for it: as long as it may be.
    fn query(&self) -> String {
        let mut query = "pageSize=100".to_owned();
        if !self.token.is_empty() {
            let token =
                percent_encoding::utf8_percent_encode(&self.token, percent_encoding::NON_ALPHANUMERIC);
            query.extend(["&pageToken=".to_owned(), token.to_string()]);
        }
        query
    }
}

#[cfg(test)]
mod tests {
    use super::Page;

    #[test]
    fn a_page_is_of_one_keeper() {
        let query = |query: &str| Page::of(query).map(|page| (page.keeper, page.query()));
        assert_eq!(query("").unwrap(), (None, "pageSize=100".to_owned()));
        assert_eq!(query("pageSize=7&x=1").unwrap(), (None, "pageSize=100".to_owned()));
        let next = query("pageToken=x.y&pageToken=0123abcd.a%2Fb&pageSize=2");
        assert!(next.is_err(), "each is read");
        let next = query("pageToken=0123abcd.y&pageToken=0123abcd.a%2Fb").unwrap();
        assert_eq!(next, (Some(*b"0123abcd"), "pageSize=100&pageToken=a%2Fb".to_owned()));
        for wrong in ["pageToken=abc", "pageToken=abc.d"] {
            assert!(query(wrong).is_err(), "{wrong}");
        }
    }
}
