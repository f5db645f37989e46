//! Where provider keys may be valid, as data: a form for a new one is drawn from it. What a component declares of a
//! platform is told as it is; what a secret consists of follows from how the gateway uses it. Words for people belong
//! to whoever draws the form: everything here has a name that is the same in every version.

use schemars::JsonSchema;
use serde::Serialize;
use tollgate_core::secret::HIDDEN_PARTS;
use tollgate_runtime::{Adapter, Platform, Scheme};

use super::ask::Ask;
use super::error::Problem;

/// Where keys may be valid.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Platforms {
    /// By provider: the provider itself, then its platforms.
    data: Vec<Place>,
}

/// A place where keys are valid.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Place {
    /// The configured provider.
    provider: String,
    /// The component that speaks for it.
    adapter: String,
    /// The platform's name; null for the provider itself.
    platform: Option<String>,
    /// Where it is, with settings in braces; admins alone are told, and null where each key names an address.
    base_url: Option<String>,
    /// How calls are authorized: `header`, `query`, `sigv4`, `oauth-refresh` or `service-account`.
    scheme: &'static str,
    /// What a key states beside its secret. Members of the call's `settings`.
    settings: Vec<Setting>,
    /// What the secret is.
    secret: SecretForm,
    /// Whether the provider can be asked about a key, without cost.
    checked: bool,
    /// Whether the caller may add a key for it: users may not where each key must name an address.
    allowed: bool,
}

/// What a key states beside its secret.
#[derive(Debug, Serialize, JsonSchema)]
struct Setting {
    /// Its name.
    name: String,
    /// Its value where a key says none.
    default: Option<String>,
    /// Whether a key must say it.
    required: bool,
    /// What is meant: `value`, or `address` (which operators alone may give).
    kind: &'static str,
}

/// What a secret is.
#[derive(Debug, Serialize, JsonSchema)]
struct SecretForm {
    /// `text` as it was issued, a JSON object with `parts`, or a JSON `file` that was issued as a whole.
    form: &'static str,
    /// Whether a text may stand in place of the object: an access token that lasts.
    or_text: bool,
    /// The members of the object, or those that a file must have.
    parts: Vec<Part>,
}

/// A member of a secret.
#[derive(Debug, Serialize, JsonSchema)]
struct Part {
    /// Its name.
    name: &'static str,
    /// Whether nobody may see it.
    secret: bool,
    /// Whether it must be there.
    required: bool,
}

/// `GET /management/v1/platforms`
pub(super) async fn list(ask: Ask) -> Result<Platforms, Problem> {
    let admin = ask.caller.actor.is_admin();
    let generation = ask.caller.admin.shared.runtime.current();
    let upstreams = ask.caller.admin.shared.upstreams.load();
    let mut data = Vec::new();
    for (name, provider) in upstreams.providers.iter().filter(|(_, provider)| provider.enabled) {
        let Some(adapter) = generation.adapter(name) else { continue };
        let base_url = String::from(provider.base_url.clone());
        data.push(itself(name, adapter, Some(base_url).filter(|_| admin)));
        data.extend(adapter.plan().platforms.iter().map(|platform| place(name, adapter, platform, admin)));
    }
    Ok(Platforms { data })
}

fn itself(provider: &str, adapter: &Adapter, base_url: Option<String>) -> Place {
    Place {
        provider: provider.to_owned(),
        adapter: adapter.component().to_owned(),
        platform: None,
        base_url,
        scheme: "header",
        settings: Vec::new(),
        secret: secret(&Scheme::Header),
        checked: adapter.plan().check.is_some(),
        allowed: true,
    }
}

fn place(provider: &str, adapter: &Adapter, platform: &Platform, admin: bool) -> Place {
    let settings = platform.settings.iter().map(|setting| Setting {
        name: setting.name.clone(),
        required: setting.default.is_none(),
        default: setting.default.clone(),
        kind: "value",
    });
    let needs_address = platform.base_url.is_empty();
    let address =
        |name: &str, required| Setting { name: name.to_owned(), default: None, required, kind: "address" };
    let mut settings: Vec<Setting> = settings.collect();
    if admin {
        settings.push(address("base_url", needs_address));
        if matches!(platform.scheme, Scheme::OauthRefresh { .. } | Scheme::ServiceAccountJwt { .. }) {
            settings.push(address("token_url", false));
        }
    }
    Place {
        provider: provider.to_owned(),
        adapter: adapter.component().to_owned(),
        platform: Some(platform.name.clone()),
        base_url: Some(platform.base_url.clone()).filter(|url| admin && !url.is_empty()),
        scheme: scheme(&platform.scheme),
        settings,
        secret: secret(&platform.scheme),
        checked: platform.check.is_some(),
        allowed: admin || !needs_address,
    }
}

const fn scheme(scheme: &Scheme) -> &'static str {
    match scheme {
        Scheme::Header => "header",
        Scheme::Query(_) => "query",
        Scheme::Sigv4(_) => "sigv4",
        Scheme::OauthRefresh { .. } => "oauth-refresh",
        Scheme::ServiceAccountJwt { .. } => "service-account",
    }
}

/// What `upstream/authorize.rs` takes of a secret.
fn secret(scheme: &Scheme) -> SecretForm {
    let form = |form, or_text, parts: &[(&'static str, bool)]| SecretForm {
        form,
        or_text,
        parts: parts
            .iter()
            .map(|(name, required)| Part { name, secret: HIDDEN_PARTS.contains(name), required: *required })
            .collect(),
    };
    match scheme {
        Scheme::Header | Scheme::Query(_) => form("text", false, &[]),
        Scheme::Sigv4(_) => form(
            "parts",
            false,
            &[("access_key_id", true), ("secret_access_key", true), ("session_token", false)],
        ),
        Scheme::OauthRefresh { client_id, .. } => {
            form("parts", true, &[("refresh_token", true), ("client_id", client_id.is_empty())])
        }
        Scheme::ServiceAccountJwt { .. } => {
            form("file", false, &[("client_email", true), ("private_key", true), ("private_key_id", false)])
        }
    }
}
