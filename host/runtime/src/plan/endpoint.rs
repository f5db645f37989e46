//! Addresses and headers of a plan, and what keeps them to their provider.

use tollgate_core::protocol::{Operation, Protocol};

use super::place::{self, KeyPlace};

/// Longest text in a plan, in bytes.
const PLAN_TEXT_BYTES_MAX: usize = 1024;

/// Where one operation lives upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The wire format spoken there.
    pub protocol: Protocol,
    /// What is asked for.
    pub operation: Operation,
    /// Whether this is the address of the streamed form.
    pub streaming: bool,
    /// Path and query below the provider's base URL; starts with `/`. `{model}` stands for the model name,
    /// percent-encoded.
    pub path: String,
}

/// A request header that the host writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderTemplate {
    /// Lower-case header name.
    pub name: String,
    /// `{credential}` stands for the secret.
    pub value: String,
}

/// A cheap call that tells whether a credential is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Path and query below the provider's base URL; starts with `/`.
    pub path: String,
    /// The response header that names the credential's account.
    pub account_header: Option<String>,
}

impl Endpoint {
    /// A path that is no path would let a component choose the host that the credential is sent to.
    pub(crate) fn check(&self) -> Result<(), String> {
        check_path(&self.path)
    }
}

impl Check {
    /// As for endpoints.
    pub(crate) fn check(&self) -> Result<(), String> {
        check_path(&self.path)?;
        self.account_header.iter().try_for_each(|name| check_header(name))
    }
}

/// A path below a base URL.
pub(super) fn check_path(path: &str) -> Result<(), String> {
    let visible = path.bytes().all(|byte| byte.is_ascii_graphic());
    let absolute = path.starts_with('/') && !path.starts_with("//");
    let fits = path.len() <= PLAN_TEXT_BYTES_MAX && !path.contains(['#', '\\']);
    if !visible || !absolute || !fits {
        return Err(format!("`{path}` is no path"));
    }
    place::check_text("a path", path)
}

/// A header's name.
pub(super) fn check_header(name: &str) -> Result<(), String> {
    let token = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    if name.is_empty() || name.len() > 128 || !name.bytes().all(token) {
        return Err(format!("`{name}` is no lower-case header name"));
    }
    Ok(())
}

impl HeaderTemplate {
    /// A header that says more than its line could write others. `named` is where the operator says that the secret
    /// goes.
    pub(crate) fn check(&self, named: &KeyPlace) -> Result<(), String> {
        check_header(&self.name)?;
        let shown = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
        if self.value.len() > PLAN_TEXT_BYTES_MAX || !self.value.bytes().all(shown) {
            return Err(format!("the value of header `{}` cannot be sent", self.name));
        }
        place::check_header(&self.name, &self.value, named)
    }

    /// The same for one that is nobody's proof.
    pub(crate) fn check_plain(&self) -> Result<(), String> {
        place::check_text("a header that carries no secret", &self.value)?;
        self.check(&KeyPlace::default())
    }
}

/// The name of an object's member.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > PLAN_TEXT_BYTES_MAX {
        return Err("a member name is empty or too long".to_owned());
    }
    Ok(())
}
