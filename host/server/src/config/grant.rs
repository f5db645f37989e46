//! Hosts that components may send keys to, by an operator's word.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tollgate_core::host::HostPattern;

/// The hosts that each component may send keys to, by the name of its file without `.wasm`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Grants(BTreeMap<String, BTreeSet<HostPattern>>);

impl Grants {
    /// Whether a component may send keys to this host.
    #[must_use]
    pub fn allows(&self, component: &str, host: &str, port: Option<u16>) -> bool {
        self.0.get(component).is_some_and(|hosts| hosts.iter().any(|allowed| allowed.is(host, port)))
    }

    /// Whether it may send keys to all of these hosts.
    #[must_use]
    pub fn covers(&self, component: &str, host: &HostPattern) -> bool {
        self.0.get(component).is_some_and(|hosts| hosts.iter().any(|allowed| allowed.covers(host)))
    }

    /// Allows a host. Says whether it was not allowed before.
    pub(crate) fn add(&mut self, component: &str, host: HostPattern) -> bool {
        self.0.entry(component.to_owned()).or_default().insert(host)
    }

    /// Takes the word back. Says whether it had been given.
    pub(crate) fn remove(&mut self, component: &str, host: &HostPattern) -> bool {
        let Some(hosts) = self.0.get_mut(component) else { return false };
        let removed = hosts.remove(host);
        if hosts.is_empty() {
            self.0.remove(component);
        }
        removed
    }

    /// These and the others'.
    pub(crate) fn and(&self, others: &Self) -> Self {
        let mut all = self.clone();
        for (component, host) in others.each() {
            all.add(component, host.clone());
        }
        all
    }

    /// Each component with each host.
    pub(crate) fn each(&self) -> impl Iterator<Item = (&str, &HostPattern)> {
        self.0.iter().flat_map(|(component, hosts)| hosts.iter().map(move |host| (component.as_str(), host)))
    }
}

#[cfg(test)]
mod tests {
    use super::Grants;

    #[test]
    fn a_grant_is_for_one_component_and_its_hosts() {
        let mut grants: Grants = toml::from_str(r#"own = ["api.example.com", "*.eu.example.com"]"#).unwrap();
        assert!(
            grants.allows("own", "API.example.com", None)
                && grants.allows("own", "a.eu.example.com", Some(443))
        );
        for (component, host, port) in [
            ("other", "api.example.com", None),
            ("own", "example.com", None),
            ("own", "api.example.com", Some(80)),
        ] {
            assert!(!grants.allows(component, host, port), "{component} {host}");
        }
        let host = "api.example.com".parse().unwrap();
        assert!(grants.covers("own", &host) && !grants.add("own", host.clone()));
        assert!(grants.remove("own", &host) && !grants.remove("own", &host) && !grants.covers("own", &host));
        assert_eq!(grants.and(&Grants::default()), grants);
        assert!(toml::from_str::<Grants>(r#"own = ["https://api.example.com"]"#).is_err());
    }
}
