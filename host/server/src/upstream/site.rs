//! A platform of a provider, as one credential is for it: its texts filled in, and what keeps keys from its addresses.

use std::sync::Arc;

use http::header::HeaderName;
use tollgate_runtime::{Platform, Scheme};

use super::permission::{Missing, missing};
use super::{Terms, Upstream};
use crate::config::BaseUrl;
use crate::state::platform::Place;

/// What an address lacks for a key to go there.
type Lacking = Option<Arc<Missing>>;

/// A platform, and a credential's place on it.
pub(super) struct Site<'a> {
    pub(super) upstream: &'a Upstream,
    pub(super) place: &'a Place,
    pub(super) platform: &'a Platform,
}

impl Site<'_> {
    /// A text of the platform, filled in.
    pub(super) fn fill(&self, text: &str) -> Result<String, String> {
        self.place.fill(self.platform, text).map_err(|name| self.lacks(&name))
    }

    /// Where calls go: what a model route says, or the credential, or else the component.
    pub(super) fn base(&self, usual: &str) -> Result<(BaseUrl, Lacking), String> {
        match &self.upstream.elsewhere {
            Some(base) => Ok((base.clone(), None)),
            None => self.address("base_url", usual),
        }
    }

    /// What is particular about it.
    pub(super) fn terms(&self) -> Result<Terms, String> {
        let Platform { framing, edits, added, .. } = self.platform;
        let (mut scheme, mut lacking) = (self.platform.scheme.clone(), None);
        if let Scheme::OauthRefresh { token_url, .. } | Scheme::ServiceAccountJwt { token_url, .. } =
            &mut scheme
        {
            let (address, of_address) = self.address("token_url", token_url)?;
            (*token_url, lacking) = (String::from(address), of_address);
        }
        let added = added.iter().filter_map(|added| {
            Some((HeaderName::from_bytes(added.name.as_bytes()).ok()?, added.value.clone()))
        });
        let added = added.collect();
        Ok(Terms { scheme, missing: lacking, framing: *framing, edits: edits.clone(), added })
    }

    /// An address. One that the credential names is the operator's own word; one of the component's is held against
    /// what its plan shows, so that no setting leads elsewhere.
    fn address(&self, name: &str, usual: &str) -> Result<(BaseUrl, Lacking), String> {
        let address = self.place.address(self.platform, name, usual).map_err(|name| self.lacks(&name))?;
        let base = BaseUrl::try_from(address)?;
        if self.place.settings.contains_key(name) {
            return Ok((base, None));
        }
        let (host, port) = (base.authority.host(), base.authority.port_u16());
        let shown = self.platform.hosts_of(usual).filter(|hosts| hosts.is(host, port));
        if shown.is_none() {
            return Err(format!("a setting leads platform `{}` to the host `{host}`", self.platform.name));
        }
        let Upstream { adapter, grants, .. } = self.upstream;
        let lacking = missing(adapter, grants, &base.authority);
        Ok((base, lacking))
    }

    fn lacks(&self, name: &str) -> String {
        format!("platform `{}` needs the setting `{name}`", self.platform.name)
    }
}
