//! What a platform wants of a request besides an address and a header: members of the body, lists in headers, a key in the query,
//! a signature. All of it is data of the adapter's plan, done here.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};
use tollgate_core::json;
use tollgate_core::secret::Secret;
use tollgate_core::time::Timestamp;
use tollgate_runtime::{BodyEdits, Scheme};

use super::error::ProxyError;
use super::read::{Member, without};
use crate::transport::body::{Chained, Splice};
use crate::upstream::Terms;
use crate::upstream::secret::part;
use crate::upstream::sigv4::{self, Signed, Signer, hex};

const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const SESSION: HeaderName = HeaderName::from_static("x-amz-security-token");

/// The body as the platform wants it. Headers that move into it are gone from `headers`.
pub(super) fn edited(body: Chained, headers: &mut HeaderMap, edits: &BodyEdits) -> Chained {
    if edits.is_empty() {
        return body;
    }
    let body = body.joined();
    let mut members = Vec::new();
    // Both the client's body and the adapter's are JSON objects: the one was checked, and the other is refused upstream.
    let _valid = json::members(&body, |name, value| members.push(Member { name: name.into(), value }));
    let has = |name: &str| members.iter().any(|member| *member.name == *name.as_bytes());
    let names: Vec<&str> = edits.without.iter().map(String::as_str).collect();
    let mut put: Vec<String> = Vec::new();
    for (name, value) in edits.members.iter().filter(|(name, _)| !has(name)) {
        put.push(format!("{}:{value}", json::quote(name)));
    }
    for (name, member) in &edits.moved {
        let list = list(headers, name);
        headers.remove(name.as_str());
        if !list.is_empty() && !has(member) {
            put.push(format!("{}:[{}]", json::quote(member), list.join(",")));
        }
    }
    let mut splices = without(&body, &members, &names);
    if let Some(open) = memchr::memchr(b'{', &body).filter(|_| !put.is_empty()) {
        let stays = members.iter().any(|member| !names.iter().any(|name| *member.name == *name.as_bytes()));
        let comma = if stays { "," } else { "" };
        let with = Bytes::from(format!("{}{comma}", put.join(",")));
        splices.push(Splice { range: open + 1..open + 1, with });
    }
    Chained::spliced(&body, &mut splices)
}

/// The entries of a header's lists, each as a JSON string.
fn list(headers: &HeaderMap, name: &str) -> Vec<String> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let entries = values.flat_map(|value| value.split(',')).map(str::trim).filter(|entry| !entry.is_empty());
    entries.map(json::quote).collect()
}

/// Adds the platform's entries to the client's lists, each once.
pub(crate) fn add(headers: &mut HeaderMap, added: &[(HeaderName, String)]) -> Result<(), ProxyError> {
    for (name, entry) in added {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        let mut entries: Vec<&str> = values
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .filter(|known| !known.is_empty())
            .collect();
        if !entries.contains(&entry.as_str()) {
            entries.push(entry);
        }
        let value = HeaderValue::from_str(&entries.join(",")).map_err(|_| ProxyError::Internal)?;
        headers.insert(name.clone(), value);
    }
    Ok(())
}

/// The query with the key in it, where the platform wants it there.
pub(crate) fn keyed(target: String, terms: &Terms, secret: &Secret) -> String {
    let Scheme::Query(name) = &terms.scheme else { return target };
    let key = percent_encoding::utf8_percent_encode(secret.expose(), percent_encoding::NON_ALPHANUMERIC);
    let sign = if target.contains('?') { '&' } else { '?' };
    format!("{target}{sign}{name}={key}")
}

/// Signs the request, where the platform wants it signed. All that is to be signed is in its place.
///
/// # Errors
/// [`ProxyError::NoCredential`] where the secret lacks what signing takes.
pub(crate) fn sign(
    headers: &mut HeaderMap,
    (method, target): (&str, &str),
    body: &Chained,
    terms: &Terms,
    secret: &Secret,
    now: Timestamp,
) -> Result<(), ProxyError> {
    let Scheme::Sigv4(service) = &terms.scheme else { return Ok(()) };
    let needed = |name| part(secret, name).ok_or(ProxyError::NoCredential);
    let (id, key) = (needed("access_key_id")?, needed("secret_access_key")?);
    let date = sigv4::date(now);
    let value = |text: &str| HeaderValue::from_str(text).map_err(|_| ProxyError::NoCredential);
    headers.insert(DATE, value(&date)?);
    if let Some(session) = part(secret, "session_token") {
        let mut session = value(session.expose())?;
        session.set_sensitive(true);
        headers.insert(SESSION, session);
    }
    let mut sum = Sha256::new();
    body.pieces().for_each(|piece| sum.update(piece));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    // In the order of their names. Others may be changed on the way.
    let names = [header::CONTENT_TYPE, header::HOST, DATE, SESSION];
    let signed: Vec<(&str, &str)> =
        names.iter().filter_map(|name| Some((name.as_str(), headers.get(name)?.to_str().ok()?))).collect();
    let signer = Signer {
        access_key_id: id.expose(),
        secret_access_key: key.expose(),
        region: &terms.region,
        service,
    };
    let body_sha256 = hex(&sum.finalize());
    let request = Signed { method, path, query, headers: &signed, body_sha256: &body_sha256 };
    let mut authorization = value(&signer.authorization(&date, &request))?;
    authorization.set_sensitive(true);
    headers.insert(header::AUTHORIZATION, authorization);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{BodyEdits, Chained, HeaderMap, add, edited};
    use bytes::Bytes;

    fn check(body: &str, betas: &[&'static str], expected: &str) {
        let text = |text: &str| text.to_owned();
        let edits = BodyEdits {
            without: vec![text("model"), text("stream")],
            members: vec![(text("version"), text("\"v1\""))],
            moved: vec![(text("x-beta"), text("beta"))],
        };
        let mut headers = HeaderMap::new();
        for beta in betas {
            headers.append("x-beta", beta.parse().unwrap());
        }
        let edited = edited(Chained::from(Bytes::copy_from_slice(body.as_bytes())), &mut headers, &edits);
        assert_eq!(String::from_utf8_lossy(&edited.joined()), expected, "{body}");
        assert!(headers.is_empty());
    }

    #[test]
    fn a_body_loses_and_gets_what_the_platform_says() {
        check(r#"{"model":"m","a":1}"#, &[], r#"{"version":"v1","a":1}"#);
        check(r#"{"a":1, "stream":true}"#, &[], r#"{"version":"v1","a":1}"#);
        check(r#"{"model":"m","stream":true}"#, &[], r#"{"version":"v1"}"#);
        check(r#"{"version":"mine","model":"m"}"#, &[], r#"{"version":"mine"}"#);
        check(r#"{"a":1}"#, &["x, y", "z\""], r#"{"version":"v1","beta":["x","y","z\""],"a":1}"#);
        check(r#"{"beta":[],"version":0}"#, &["x"], r#"{"beta":[],"version":0}"#);
    }

    #[test]
    fn a_list_keeps_the_clients_entries_and_gets_the_platforms_once() {
        let added = [("x-beta".parse().unwrap(), "own".to_owned())];
        let mut headers = HeaderMap::new();
        for expected in ["own", "own"] {
            add(&mut headers, &added).unwrap();
            assert_eq!(headers["x-beta"], expected);
        }
        headers.insert("x-beta", "a, b".parse().unwrap());
        add(&mut headers, &added).unwrap();
        assert_eq!(headers["x-beta"], "a,b,own");
    }
}
