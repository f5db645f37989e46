//! Where a credential is valid, if not at its provider itself: a platform, and its settings.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tollgate_runtime::{Platform, is_value};

use crate::config::BaseUrl;

/// Settings that lead to an address, which only the operator may choose, because the gateway calls it from inside the
/// operator's network.
const ADDRESSES: [&str; 2] = ["base_url", "token_url"];
/// Most settings of a credential.
const SETTINGS_MAX: usize = 16;

/// A platform, as a credential names it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Place {
    /// A name of the provider's adapter: `bedrock`.
    pub platform: String,
    /// Its settings, such as `region`.
    pub settings: BTreeMap<String, String>,
}

impl Place {
    /// Refuses what is invalid on any platform.
    ///
    /// # Errors
    /// The reason, for the person who adds the credential.
    pub fn check(&self, operators: bool) -> Result<(), String> {
        if !is_value(&self.platform) || self.settings.len() > SETTINGS_MAX {
            return Err(format!("`{}` is no name of a platform, or it has too many settings", self.platform));
        }
        for (name, value) in &self.settings {
            let address = ADDRESSES.contains(&name.as_str());
            if address && !operators {
                return Err(format!("only a credential of the platform's may name its own `{name}`"));
            }
            if address {
                BaseUrl::try_from(value.clone()).map_err(|why| format!("`{name}` {why}"))?;
            } else if !is_value(value) {
                return Err(format!("`{name}` holds signs that no setting can have"));
            }
        }
        Ok(())
    }

    /// Whether calls of a model there stay in a region, which some providers bill: a setting names it, and neither the
    /// setting nor the model's name says that any would do (`global.anthropic.claude…`).
    pub(crate) fn is_regional(&self, model: &str) -> bool {
        let region = self.settings.get("region");
        region.is_some_and(|region| region != "global") && !model.starts_with("global.")
    }

    /// A text of the platform with this credential's settings in place of their names.
    ///
    /// # Errors
    /// The name of a setting that is needed and missing.
    pub(crate) fn fill(&self, platform: &Platform, text: &str) -> Result<String, String> {
        platform.settings.iter().try_fold(text.to_owned(), |text, setting| {
            let name = format!("{{{}}}", setting.name);
            if !text.contains(&name) {
                return Ok(text);
            }
            let value = self.settings.get(&setting.name).or(setting.default.as_ref());
            value.map(|value| text.replace(&name, value)).ok_or_else(|| setting.name.clone())
        })
    }

    /// An address of the platform: this credential's own, or else what the adapter says.
    ///
    /// # Errors
    /// What is missing.
    pub(crate) fn address(&self, platform: &Platform, name: &str, usual: &str) -> Result<String, String> {
        match self.settings.get(name) {
            Some(own) => Ok(own.clone()),
            None if usual.is_empty() => Err(name.to_owned()),
            None => self.fill(platform, usual),
        }
    }
}

/// Where a credential is valid. One whose settings cannot be read is left out.
#[expect(clippy::option_option, reason = "the outer one is a row that is damaged")]
pub(crate) fn place(row: &tollgate_store::Credential) -> Option<Option<Place>> {
    let Some(platform) = row.platform.clone() else { return Some(None) };
    let settings = serde_json::from_str(&row.settings).ok()?;
    Some(Some(Place { platform, settings }))
}

#[cfg(test)]
mod tests {
    use super::Place;

    fn place(name: &str, value: &str) -> Place {
        Place { platform: "there".to_owned(), settings: [(name.to_owned(), value.to_owned())].into() }
    }

    #[test]
    fn a_user_cannot_send_the_gateway_to_an_address_of_his() {
        for name in ["base_url", "token_url"] {
            assert_eq!(place(name, "https://h/x").check(true), Ok(()));
            assert!(place(name, "https://h/x").check(false).is_err());
            assert!(place(name, "h").check(true).is_err());
        }
        for value in ["evil.example/x", "a b", ""] {
            assert!(place("region", value).check(true).is_err(), "{value}");
        }
        assert_eq!(place("region", "eu-central-1").check(false), Ok(()));
    }

    #[test]
    fn a_region_is_one_unless_it_is_all_of_them() {
        assert!(place("region", "eu-central-1").is_regional("anthropic.claude-opus-5"));
        assert!(!place("region", "eu-central-1").is_regional("global.anthropic.claude-opus-5"));
        assert!(!place("region", "global").is_regional("claude-opus-5"));
        assert!(!place("resource", "eu").is_regional("claude-opus-5"));
    }
}
