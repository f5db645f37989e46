//! What of a client's headers and query a plan lets go upstream, and what no plan can.
//!
//! What is not listed stays behind. That a component lists something is not enough either: a header or a parameter
//! that says who calls, for whom, what of the answer is left out or how it is framed is the operator's and the host's
//! affair.

use std::borrow::Cow;

use tollgate_core::protocol::Operation;

use super::endpoint::check_header;

/// Most names of a list that pass.
const NAMES_MAX: usize = 32;
/// Longest of them, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// Longest word.
const WORD_BYTES_MAX: usize = 128;
/// Longest product.
const PRODUCT_BYTES_MAX: usize = 256;

/// What a header of the client's has to look like to go upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderForm {
    /// One word.
    Word,
    /// A list of names.
    Names,
    /// A product with a version and a remark.
    Product,
}

/// A header of the client's that may go upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientHeader {
    /// Lower-case name.
    pub name: String,
    /// What passes.
    pub form: HeaderForm,
}

/// A parameter of the client's query that may go upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientParameter {
    /// In calls of this kind.
    pub operation: Operation,
    /// Its name.
    pub name: String,
    /// The only value that passes.
    pub value: String,
}

impl HeaderForm {
    /// What of a value passes: all of it, fewer names of a list, or nothing.
    #[must_use]
    pub fn passing(self, value: &str) -> Option<Cow<'_, str>> {
        let whole = |fits: bool| fits.then_some(Cow::Borrowed(value));
        match self {
            Self::Word => whole((1..=WORD_BYTES_MAX).contains(&value.len()) && value.bytes().all(is_of_word)),
            Self::Product => {
                let shown = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
                whole((1..=PRODUCT_BYTES_MAX).contains(&value.len()) && value.bytes().all(shown))
            }
            Self::Names => names(value),
        }
    }
}

/// The entries of a list that pass. One that passes whole is not copied.
fn names(value: &str) -> Option<Cow<'_, str>> {
    let entries = || value.split(',').map(str::trim).filter(|name| !name.is_empty());
    let fit = entries().filter(|name| is_name(name)).take(NAMES_MAX).count();
    if fit == 0 {
        return None;
    }
    if entries().count() == fit {
        return Some(Cow::Borrowed(value));
    }
    let kept: Vec<&str> = entries().filter(|name| is_name(name)).take(NAMES_MAX).collect();
    Some(Cow::Owned(kept.join(",")))
}

const fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'/' | b'+' | b'=' | b'-')
}

fn is_name(name: &str) -> bool {
    let of_name = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'=' | b'-')
    };
    name.len() <= NAME_BYTES_MAX && name.bytes().all(of_name)
}

/// Parts of a name by which it is known for what decides who calls, for whom, and along which way.
const GUARDED: [&str; 24] = [
    "auth",
    "token",
    "secret",
    "credential",
    "cookie",
    "api-key",
    "api_key",
    "apikey",
    "signature",
    "password",
    "session-key",
    "organization",
    "organisation",
    "project",
    "account",
    "workspace",
    "tenant",
    "user-id",
    "field-mask",
    "fieldmask",
    "forwarded",
    "real-ip",
    "override",
    "x-goog-",
];

/// Beginnings of names that are the host's, a cloud's or a hop's.
const GUARDED_BEGINNINGS: [&str; 9] =
    ["proxy-", "x-amz-", "x-amzn-", "x-ms-", "x-google-", "sec-", "accept", "content-", "x-tollgate-"];

/// Headers that are the host's or a hop's.
const GUARDED_HEADERS: [&str; 14] = [
    "connection",
    "host",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
    "origin",
    "referer",
    "via",
    "keep-alive",
    "range",
    "date",
    "set-cookie",
];

/// Parameters that decide what of an answer comes and how, beside those that name a credential or a project.
const GUARDED_PARAMETERS: [&str; 16] = [
    "key",
    "fields",
    "$fields",
    "$alt",
    "callback",
    "$callback",
    "$.xgafv",
    "xgafv",
    "quotauser",
    "userip",
    "uploadtype",
    "upload_protocol",
    "prettyprint",
    "$prettyprint",
    "user",
    "trace",
];

fn is_guarded(name: &str) -> bool {
    GUARDED.iter().any(|part| name.contains(part))
}

impl ClientHeader {
    /// A plan cannot have what decides about the operator's keys written by the client.
    pub(super) fn check(&self) -> Result<(), String> {
        let name = self.name.as_str();
        check_header(name)?;
        let begins = GUARDED_BEGINNINGS.iter().any(|begin| name.starts_with(begin));
        if begins || is_guarded(name) || GUARDED_HEADERS.contains(&name) {
            return Err(format!("the client's header `{name}` may never go upstream"));
        }
        Ok(())
    }
}

impl ClientParameter {
    /// As for headers.
    pub(super) fn check(&self) -> Result<(), String> {
        let Self { name, value, .. } = self;
        let plain = |text: &str| (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_of_word);
        if !plain(name) || !plain(value) || [name, value].iter().any(|text| text.contains(['=', '+', '/'])) {
            return Err(format!("`{name}={value}` is no parameter that could be listed"));
        }
        let lower = name.to_ascii_lowercase();
        let framing = lower == "alt" && !matches!(value.as_str(), "sse" | "json");
        if framing || is_guarded(&lower) || GUARDED_PARAMETERS.contains(&lower.as_str()) {
            return Err(format!("the client's parameter `{name}={value}` may never go upstream"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{ClientHeader, ClientParameter, HeaderForm, Operation};

    fn passes(form: HeaderForm, value: &str) -> Option<String> {
        form.passing(value).map(std::borrow::Cow::into_owned)
    }

    #[test]
    fn a_list_keeps_the_names_that_are_names() {
        let check = |value: &str, left: Option<&str>| {
            assert_eq!(passes(HeaderForm::Names, value).as_deref(), left, "{value}");
        };
        check("context-1m-2025-08-07", Some("context-1m-2025-08-07"));
        check("claude-code-20250219, oauth-2025-04-20", Some("claude-code-20250219, oauth-2025-04-20"));
        check("responses=experimental", Some("responses=experimental"));
        check("credit balance is too low", None);
        check("spend limit,context-1m-2025-08-07", Some("context-1m-2025-08-07"));
        check("Credit,a", Some("a"));
        check("a\u{e9}", None);
        check(&"a".repeat(65), None);
        check(&vec!["a"; 40].join(","), Some(&vec!["a"; 32].join(",")));
        check(",,", None);
        check("", None);
        check("assistants=v2, \"x\"", Some("assistants=v2"));
    }

    #[test]
    fn a_word_is_one_word_and_a_product_is_printable() {
        assert!(passes(HeaderForm::Word, "2023-06-01").is_some());
        assert!(passes(HeaderForm::Word, "Other:linux").is_some());
        for value in ["", "a b", "a,b", "a\tb", "a\"b", "é", &"x".repeat(129)] {
            assert!(passes(HeaderForm::Word, value).is_none(), "{value}");
        }
        assert!(passes(HeaderForm::Product, "claude-cli/2.0 (external, cli)").is_some());
        assert!(passes(HeaderForm::Product, "a\u{7f}").is_none());
        assert!(passes(HeaderForm::Product, &"x".repeat(257)).is_none());
    }

    #[test]
    fn no_plan_lets_a_client_write_what_decides_about_keys() {
        let header = |name: &str| ClientHeader { name: name.to_owned(), form: HeaderForm::Word }.check();
        for name in [
            "openai-beta",
            "anthropic-version",
            "x-stainless-os",
            "x-app",
            "idempotency-key",
            "x-server-timeout",
        ] {
            assert_eq!(header(name), Ok(()), "{name}");
        }
        for name in [
            "authorization",
            "cookie",
            "x-api-key",
            "api-key",
            "x-goog-user-project",
            "x-goog-fieldmask",
            "x-goog-api-client",
            "x-amz-security-token",
            "proxy-authorization",
            "forwarded",
            "x-forwarded-for",
            "host",
            "openai-organization",
            "openai-project",
            "anthropic-workspace-id",
            "x-http-method-override",
            "content-type",
            "accept-encoding",
            "te",
            "X-App",
        ] {
            assert!(header(name).is_err(), "{name}");
        }
        let parameter = |name: &str, value: &str| {
            let (name, value) = (name.to_owned(), value.to_owned());
            ClientParameter { operation: Operation::Generate, name, value }.check()
        };
        assert_eq!(parameter("alt", "sse"), Ok(()));
        assert_eq!(parameter("beta", "true"), Ok(()));
        for (name, value) in [
            ("key", "x"),
            ("access_token", "x"),
            ("oauth_token", "x"),
            ("ALT", "proto"),
            ("$alt", "json"),
            ("fields", "x"),
            ("$Fields", "x"),
            ("quotaUser", "x"),
            ("userProject", "x"),
            ("a&key", "x"),
            ("a", "b&c"),
        ] {
            assert!(parameter(name, value).is_err(), "{name}={value}");
        }
    }
}
