//! The closed set of places in which a plan may put a secret, and the hosts that it may send it to. Whatever a provider
//! repeats of a request (an id, a version, a beta) is none of them.

use tollgate_core::host::HostPattern;

/// Where an operator says that a provider takes its secret, where that is none of the usual places.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyPlace {
    /// The header.
    pub header: Option<String>,
    /// The word before the secret in it.
    pub scheme: Option<String>,
}

/// What stands for the secret.
pub(crate) const CREDENTIAL: &str = "{credential}";
/// Headers that are made for secrets.
const HEADERS: [&str; 4] = ["authorization", "x-api-key", "api-key", "x-goog-api-key"];
/// The header whose value may begin with a scheme.
const AUTHORIZATION: &str = "authorization";
/// Those schemes, whatever their case.
const SCHEMES: [&str; 6] = ["bearer", "basic", "token", "key", "apikey", "api-key"];
/// Parameters of a query that are made for secrets.
const PARAMETERS: [&str; 3] = ["key", "api_key", "api-key"];
/// Words of which a header that an operator names for a secret has one.
const KEY_WORDS: [&str; 5] = ["key", "token", "auth", "secret", "credential"];
/// What the host alone says of a connection, and of how an answer may be encoded: by these a component could say more
/// than one request, or have an answer come back in a shape in which nobody finds what it repeats.
const HOSTS_OWN: [&str; 18] = [
    "accept-charset",
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

/// A header that is written in each request. `named` is where the operator has said that the secret goes.
pub(crate) fn check_header(name: &str, value: &str, named: &KeyPlace) -> Result<(), String> {
    if HOSTS_OWN.contains(&name) {
        return Err(format!("the header `{name}` is the gateway's own to write"));
    }
    if !value.contains(CREDENTIAL) {
        return Ok(());
    }
    let by_operator = named.header.as_deref() == Some(name) && is_for_keys(name);
    if !HEADERS.contains(&name) && !by_operator {
        return Err(format!(
            "it puts the secret into the header `{name}`: that is for `{}`, or for the `secret_header` that the \
             operator names for the provider",
            HEADERS.join("`, `")
        ));
    }
    let scheme = value.strip_suffix(CREDENTIAL).unwrap_or(value);
    let known = |scheme: &str| {
        let mut all =
            SCHEMES.iter().copied().chain(named.scheme.as_deref().filter(|scheme| is_scheme(scheme)));
        all.any(|known| known.eq_ignore_ascii_case(scheme))
    };
    match scheme.strip_suffix(' ') {
        None if scheme.is_empty() => Ok(()),
        Some(scheme) if (name == AUTHORIZATION || by_operator) && known(scheme) => Ok(()),
        _ => Err(format!(
            "the value of header `{name}` is more than the secret, or one of the schemes {} before it",
            SCHEMES.join(", ")
        )),
    }
}

/// Whether a header can be meant for a secret at all.
fn is_for_keys(name: &str) -> bool {
    KEY_WORDS.iter().any(|word| name.contains(word)) && !name.contains("idempotency")
}

/// Whether a word can name a scheme of authorization.
fn is_scheme(word: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=32).contains(&word.len()) && word.bytes().all(plain)
}

/// A parameter of the query that holds the secret.
pub(crate) fn check_parameter(name: &str) -> Result<(), String> {
    if PARAMETERS.contains(&name) {
        return Ok(());
    }
    let allowed = PARAMETERS.join("`, `");
    Err(format!("it puts the secret into the query as `{name}`: that is for `{allowed}`"))
}

/// A text in which no secret may stand.
pub(crate) fn check_text(what: &str, text: &str) -> Result<(), String> {
    if text.contains(CREDENTIAL) { Err(format!("{what} holds `{CREDENTIAL}`")) } else { Ok(()) }
}

/// The hosts of an address, with a star for each setting in it: `https`, a host that is spelt out at its end, and a
/// path.
pub(crate) fn hosts(url: &str, settings: &[&str]) -> Result<HostPattern, String> {
    let refused = |why: String| format!("`{}` is no address: {why}", url.escape_default());
    let rest =
        url.strip_prefix("https://").ok_or_else(|| refused("it does not begin with https://".to_owned()))?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if authority.contains('*') {
        return Err(refused("it holds a star".to_owned()));
    }
    let starred = |text: &str, star: &str| {
        settings.iter().fold(text.to_owned(), |text, name| text.replace(&format!("{{{name}}}"), star))
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'.' | b'_' | b'~');
    let path = starred(path, "x");
    if path.contains("..") || path.contains("//") || !path.bytes().all(plain) {
        return Err(refused("its path holds more than names".to_owned()));
    }
    starred(authority, "*").parse::<HostPattern>().map_err(|error| refused(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::{KeyPlace, check_header, check_parameter, hosts};

    fn named(header: &str) -> KeyPlace {
        KeyPlace { header: Some(header.to_owned()), scheme: None }
    }

    #[test]
    fn a_secret_goes_where_secrets_go_and_nowhere_else() {
        for (name, value) in [
            ("authorization", "Bearer {credential}"),
            ("authorization", "{credential}"),
            ("authorization", "token {credential}"),
            ("x-api-key", "{credential}"),
            ("api-key", "{credential}"),
            ("x-goog-api-key", "{credential}"),
            ("anthropic-beta", "x"),
        ] {
            assert_eq!(check_header(name, value, &KeyPlace::default()), Ok(()), "{name}: {value}");
        }
        for name in [
            "openai-beta",
            "x-request-id",
            "anthropic-beta",
            "anthropic-version",
            "user-agent",
            "traceparent",
            "idempotency-key",
            "x-client-request-id",
            "x-amz-security-token",
            "x-own-key",
            "accept",
            "content-type",
            "x-goog-user-project",
            "openai-organization",
            "referer",
            "authorization2",
        ] {
            let refused = check_header(name, "{credential}", &KeyPlace::default()).unwrap_err();
            assert!(refused.contains(&format!("`{name}`")), "{refused}");
        }
        for value in [
            "x {credential} y",
            "Bearer  {credential}",
            "{credential}{credential}",
            "x-{credential}",
            "Bearer {credential} ",
        ] {
            assert!(check_header("authorization", value, &KeyPlace::default()).is_err(), "{value}");
        }
        assert!(check_header("x-api-key", "Bearer {credential}", &KeyPlace::default()).is_err());
    }

    #[test]
    fn an_operator_may_name_a_header_that_is_for_keys() {
        assert_eq!(check_header("x-own-key", "{credential}", &named("x-own-key")), Ok(()));
        assert_eq!(check_header("x-auth-token", "Token {credential}", &named("x-auth-token")), Ok(()));
        for name in ["x-request-id", "openai-beta", "idempotency-key", "host"] {
            assert!(check_header(name, "{credential}", &named(name)).is_err(), "{name}");
        }
        assert!(check_header("x-own-key", "{credential}", &named("x-other-key")).is_err());
        let scheme = |word: &str| KeyPlace { header: None, scheme: Some(word.to_owned()) };
        let with =
            |word: &str| check_header("authorization", &format!("{word} {{credential}}"), &scheme(word));
        assert!(with("DeepL-Auth-Key").is_ok() && with("two words").is_err() && with("a=").is_err());
    }

    #[test]
    fn what_the_host_says_of_a_connection_no_plan_says() {
        for name in
            ["host", "content-length", "transfer-encoding", "accept-encoding", "connection", "te", "cookie"]
        {
            assert!(check_header(name, "x", &KeyPlace::default()).is_err(), "{name}");
        }
    }

    #[test]
    fn a_parameter_of_the_query_is_one_for_keys() {
        assert!(["key", "api_key", "api-key"].iter().all(|name| check_parameter(name).is_ok()));
        for name in
            ["", "model", "alt", "fields", "access_token", "Key", "key&x", "quotaUser", "prompt", "callback"]
        {
            assert!(check_parameter(name).is_err(), "{name}");
        }
    }

    #[test]
    fn an_address_says_which_hosts_it_leads_to() {
        let told = |url: &str| hosts(url, &["region", "x"]).map(|host| host.to_string());
        assert_eq!(told("https://api.example.com/v1/{x}").as_deref(), Ok("api.example.com"));
        assert_eq!(told("https://a.{region}.example.com").as_deref(), Ok("a.*.example.com"));
        assert_eq!(told("https://{region}-api.example.com:8443").as_deref(), Ok("*-api.example.com:8443"));
        for url in [
            "http://api.example.com",
            "HTTPS://api.example.com",
            "https://",
            "https:///x",
            "https://a@example.com",
            "https://user:word@example.com",
            "https://{region}",
            "https://{region}.com",
            "https://api.example.{region}",
            "https://example.com.",
            "https://API.example.com",
            "https://exämple.com",
            "https://{other}.example.com",
            "https://evil.com#.example.com",
            "https://evil.com?.example.com",
            "https://evil.com\\.example.com",
            "https://example.com:{region}",
            "https://*.example.com",
            "https://example.com/../x",
            "https://example.com/?a",
            "https://example.com//evil.com",
            "https://example.com/%2e%2e",
            "https://{credential}.example.com",
            "https://[::1]",
        ] {
            assert!(told(url).is_err(), "{url}");
        }
    }
}
