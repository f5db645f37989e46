//! What a platform changes in a body: members that come, go, or are made of headers. All of it is data of the adapter's
//! plan, done here.

use bytes::Bytes;
use http::header::HeaderMap;
use tollgate_core::json;
use tollgate_runtime::BodyEdits;

use super::members::Member;
use super::read::without;
use crate::transport::body::{Chained, Splice};

/// The body as the platform wants it. Headers that move into it are gone from `headers`.
pub(super) fn edited(body: Chained, headers: &mut HeaderMap, edits: &BodyEdits) -> Chained {
    if edits.is_empty() {
        return body;
    }
    let body = body.joined();
    let mut members = Vec::new();
    // Both the client's body and the adapter's are JSON objects: the one was checked, and the other is refused
    // upstream.
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

#[cfg(test)]
mod tests {
    use super::{BodyEdits, Chained, HeaderMap, edited};
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
}
