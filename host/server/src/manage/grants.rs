//! Hosts that components may send keys to, as operators allow them while the gateway runs.

use serde_json::json;
use tollgate_core::host::HostPattern;

use super::{ManageError, Management};
use crate::config::Grants;

/// The setting that holds them, in JSON.
const GRANTS: &str = "plugin_hosts";
/// Longest name of a component.
const NAME_BYTES_MAX: usize = 128;

impl Management {
    /// All that were allowed here; those of the configuration file are not among them.
    ///
    /// # Errors
    /// When the database fails, or holds what this version cannot read.
    pub async fn grants(&self) -> Result<Grants, ManageError> {
        let Some(text) = self.store.catalogue.setting(GRANTS).await? else { return Ok(Grants::default()) };
        serde_json::from_str(&text).map_err(|error| ManageError::unreadable("the grants of plugins", error))
    }

    /// Lets a component send keys to a host. A running gateway takes it up within a second.
    ///
    /// # Errors
    /// For a name that no component can have.
    pub async fn grant_host(&self, component: &str, host: &HostPattern) -> Result<(), ManageError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if component.is_empty() || component.len() > NAME_BYTES_MAX || !component.bytes().all(plain) {
            let reason = "is the file of a component, without `.wasm`";
            return Err(ManageError::invalid("component", reason.to_owned()));
        }
        let mut grants = self.grants().await?;
        if grants.add(component, host.clone()) {
            self.keep_grants(&grants).await?;
        }
        self.note("plugin.grant", component.to_owned(), json!({"host": host})).await
    }

    /// Takes that back.
    ///
    /// # Errors
    /// Where it had not been allowed here.
    pub async fn revoke_host(&self, component: &str, host: &HostPattern) -> Result<(), ManageError> {
        let mut grants = self.grants().await?;
        if !grants.remove(component, host) {
            return Err(ManageError::not_found("grant", format!("{component} {host}")));
        }
        self.keep_grants(&grants).await?;
        self.note("plugin.revoke", component.to_owned(), json!({"host": host})).await
    }

    async fn keep_grants(&self, grants: &Grants) -> Result<(), ManageError> {
        let text = serde_json::to_string(grants);
        let text = text.map_err(|error| ManageError::unwritable("the grants of plugins", error))?;
        Ok(self.store.catalogue.set_setting(GRANTS, &text).await?)
    }
}
