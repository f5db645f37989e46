//! Secrets of several parts: one sealed text, in JSON, with members such as `access_key_id`.

use serde_json::{Map, Value};
use tollgate_core::secret::{HIDDEN_PARTS, Secret};

/// A part of a secret; `None` where the secret has no such part, or no parts at all.
pub(crate) fn part(secret: &Secret, name: &str) -> Option<Secret> {
    match parts(secret)?.remove(name)? {
        Value::String(text) => Some(Secret::new(text)),
        _ => None,
    }
}

/// A number among the parts.
pub(crate) fn number(secret: &Secret, name: &str) -> Option<u64> {
    parts(secret)?.get(name)?.as_u64()
}

/// The same secret with other values for some of its parts.
pub(crate) fn with(secret: &Secret, changed: impl IntoIterator<Item = (&'static str, Value)>) -> Secret {
    let mut all = parts(secret).unwrap_or_default();
    all.extend(changed.into_iter().map(|(name, value)| (name.to_owned(), value)));
    Secret::new(Value::Object(all).to_string())
}

/// The secret parts.
pub(crate) fn hidden(secret: &Secret) -> Vec<Secret> {
    HIDDEN_PARTS.iter().filter_map(|name| part(secret, name)).collect()
}

/// Whether a secret has parts.
pub(crate) fn has_parts(secret: &Secret) -> bool {
    secret.expose().starts_with('{') && parts(secret).is_some()
}

fn parts(secret: &Secret) -> Option<Map<String, Value>> {
    serde_json::from_str(secret.expose()).ok()
}
