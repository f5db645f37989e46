//! What of a client's headers and query goes upstream: what the adapter's plan lists, where it looks as it should, and
//! what means the same everywhere. All else stays behind.
//!
//! A provider repeats what it does not like of a request in its error, bills by what a header names, and leaves out of
//! its answer what a parameter says. None of that is the client's to decide while the key is the operator's.

use std::borrow::Cow;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use tollgate_runtime::{ClientParameter, HeaderForm};

use super::error::ProxyError;

/// One whole answer.
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// A stream of events.
pub(super) const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
/// No packing: what is stated in an answer is read as it passes.
const PLAIN: HeaderValue = HeaderValue::from_static("identity");

/// Whatever it is.
pub(super) const ANYTHING: HeaderValue = HeaderValue::from_static("*/*");

/// Headers of a client that mean the same to every provider.
static COMMON: [(HeaderName, HeaderForm); 3] = [
    (header::USER_AGENT, HeaderForm::Product),
    (HeaderName::from_static("traceparent"), HeaderForm::Word),
    (HeaderName::from_static("tracestate"), HeaderForm::Product),
];

/// Removes what the client says is for the gateway alone: once per request, before the first attempt.
pub(super) fn strip(headers: &mut HeaderMap) {
    let named = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let named: Vec<HeaderName> =
        named.flat_map(|list| list.split(',')).filter_map(|name| name.trim().parse().ok()).collect();
    for name in named {
        headers.remove(name);
    }
}

/// The headers of a request whose answer is to be of this kind.
pub(super) fn headers(
    client: &HeaderMap,
    listed: &[(HeaderName, HeaderForm)],
    accepted: HeaderValue,
) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(16);
    // The client's headers are gone through and not looked up: to hash a name costs more than to compare it with a few.
    for (name, value) in client {
        let form = listed.iter().chain(&COMMON).find(|(known, _)| known == name);
        if let Some(value) = form.and_then(|(_, form)| passing(value, *form)) {
            headers.append(name, value);
        }
    }
    headers.insert(header::CONTENT_TYPE, JSON);
    headers.insert(header::ACCEPT, accepted);
    headers.insert(header::ACCEPT_ENCODING, PLAIN);
    headers
}

fn passing(value: &HeaderValue, form: HeaderForm) -> Option<HeaderValue> {
    match form.passing(value.to_str().ok()?)? {
        Cow::Borrowed(_) => Some(value.clone()),
        Cow::Owned(fewer) => HeaderValue::try_from(fewer).ok(),
    }
}

/// The query of a request: of the client's own the parameters that are listed, once, in their own spelling.
pub(super) fn query<'a>(client: &str, listed: impl Iterator<Item = &'a ClientParameter>) -> String {
    let mut query = String::new();
    if client.is_empty() {
        return query;
    }
    for ClientParameter { name, value, .. } in listed {
        if pairs(client).any(|pair| (&*pair.0, &*pair.1) == (name, value)) {
            let sign = if query.is_empty() { "" } else { "&" };
            query.extend([sign, name, "=", value]);
        }
    }
    query
}

/// The names and values of a query, without escapes.
pub(super) fn pairs(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    let text = |part: &'_ str| {
        let plain = part.replace('+', " ");
        Cow::<'static, str>::Owned(
            percent_encoding::percent_decode_str(&plain).decode_utf8_lossy().into_owned(),
        )
    };
    query.split('&').filter(|pair| !pair.is_empty()).map(move |pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (text(name), text(value))
    })
}

/// Refuses a query that asks for another answer than the one that can be read and paid here: fewer fields of it, or
/// another encoding. Without the parameter it would be answered as if it had not been there; the client is told.
///
/// # Errors
/// 400, with the parameter's name.
pub(super) fn check_query(query: &str) -> Result<(), ProxyError> {
    if query.is_empty() {
        return Ok(());
    }
    for (name, value) in pairs(query) {
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
        let usual = value.is_empty() || ["json", "sse"].iter().any(|it| value.eq_ignore_ascii_case(it));
        let field = match name.trim_start_matches('$') {
            "fields" | "fieldmask" | "field_mask" => "fields",
            "alt" if !usual => "alt",
            "callback" => "callback",
            _ => continue,
        };
        let words = format!("The parameter `{field}` cannot be used here: answers come whole, and as JSON.");
        return Err(ProxyError::bad_request(words, Some(field)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{
        ClientParameter, HeaderForm, HeaderMap, HeaderName, HeaderValue, JSON, check_query, headers, query,
    };
    use crate::proxy::error::ProxyError;
    use tollgate_core::protocol::Operation;

    #[test]
    fn only_what_is_listed_goes_up_and_only_in_its_form() {
        let mut client = HeaderMap::new();
        for (name, value) in [
            ("x-beta", "a-2025-01-01, credit balance is too low"),
            ("x-beta", "spend limit"),
            ("x-version", "2023-06-01"),
            ("x-other", "credit balance is too low"),
            ("content-type", "spend limit"),
            ("accept", "spend limit"),
            ("user-agent", "sdk/1.0 (x)"),
            ("traceparent", "not one word"),
        ] {
            client.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let listed = [
            (HeaderName::from_static("x-beta"), HeaderForm::Names),
            (HeaderName::from_static("x-version"), HeaderForm::Word),
        ];
        let sent = headers(&client, &listed, JSON);
        let mut sent: Vec<_> =
            sent.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        sent.sort_unstable();
        let expected = [
            ("accept", "application/json"),
            ("accept-encoding", "identity"),
            ("content-type", "application/json"),
            ("user-agent", "sdk/1.0 (x)"),
            ("x-beta", "a-2025-01-01"),
            ("x-version", "2023-06-01"),
        ];
        assert_eq!(sent, expected);
    }

    #[test]
    fn of_a_query_goes_up_what_is_listed() {
        let listed = [("alt", "sse"), ("beta", "true")].map(|(name, value)| ClientParameter {
            operation: Operation::Generate,
            name: name.to_owned(),
            value: value.to_owned(),
        });
        let check = |client: &str, sent: &str| assert_eq!(query(client, listed.iter()), sent, "{client}");
        check("", "");
        check("alt=sse", "alt=sse");
        check("%61lt=s%73e&beta=true&alt=sse", "alt=sse&beta=true");
        for client in
            ["ALT=sse", "alt=SSE", "key=x", "access_token=x", "oauth_token=x&prettyPrint=false", "beta=1"]
        {
            check(client, "");
        }
    }

    #[test]
    fn a_mask_or_another_encoding_is_refused_by_name() {
        for (query, name) in [
            ("fields=candidates", "fields"),
            ("alt=sse&$fields=x", "fields"),
            ("%66ields=x", "fields"),
            ("FIELDS=x", "fields"),
            ("%24FieldMask=x", "fields"),
            ("alt=proto", "alt"),
            ("alt=sse&alt=proto", "alt"),
            ("$alt=proto", "alt"),
            ("%24alt=media", "alt"),
            ("alt=sse;fields=x", "alt"),
            ("callback=f", "callback"),
        ] {
            match check_query(query) {
                Err(ProxyError::BadRequest { field, .. }) => assert_eq!(field, Some(name), "{query}"),
                other => panic!("{query}: {other:?}"),
            }
        }
        for query in ["", "alt=sse", "alt=json", "$alt=json", "x=fields", "fields_of=x"] {
            assert_eq!(check_query(query), Ok(()), "{query}");
        }
    }
}
