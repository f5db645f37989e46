//! The configuration file, and the settings made from it.
//!
//! Each value has a type that checks it on reading, so a bad one is reported with its line. The file is documented in
//! `tollgate.example.toml`, which a test holds equal to the defaults. This is the whole file; the files beside this one
//! hold its sections.

pub(crate) mod bounds;
pub(crate) mod environment;
mod grant;
mod log;
mod model;
mod network;
mod origin;
mod policy;
mod provider;
pub(crate) mod removals;
mod server;
mod value;

use std::path::{Path, PathBuf};

use serde::Deserialize;
use tollgate_core::line;
pub(crate) use tollgate_store::file;

pub use self::grant::Grants;
pub use self::log::{KeepBodies, Log, LogFiles, LogFormat, Requests, Rotate};
pub use self::model::{Model, Target};
pub(crate) use self::network::client_address;
pub use self::network::{AddressHeader, Network};
pub use self::origin::Origin;
pub use self::policy::{ContentFilter, OnError, Plugins, Policies, Policy};
pub use self::provider::{Provider, Providers};
pub use self::server::{Lending, Limits, OnLeave, Server, Store, Sync, Tls};
pub use self::value::{Attempts, BaseUrl, BodyBytes, HeadBytes, LogFilter, Millis};

/// A file is shorter by far.
pub(crate) const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The whole file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Listeners and directories.
    pub server: Server,
    /// Every bound on a request.
    pub limits: Limits,
    /// What is logged and how.
    pub log: Log,
    /// The request log.
    pub requests: Requests,
    /// The database.
    pub store: Store,
    /// Where components come from.
    pub plugins: Plugins,
    /// Upstreams by name.
    #[serde(deserialize_with = "provider::over_defaults")]
    pub providers: Providers,
    /// Who serves which model; the first entry that matches counts.
    pub models: Vec<Model>,
    /// What users may lend to each other.
    pub lending: Lending,
    /// The name of `lending` in version 0.1, which counts where it is given.
    pub pool: Option<Lending>,
    /// The policies.
    pub policies: Policies,
    /// How the content filter reads.
    pub content_filter: ContentFilter,
}

/// Why a configuration was refused. The text names the file, and the line where there is one.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("reading {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is invalid.
    #[error("{}: {reason}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line, column, excerpt and reason.
        reason: String,
    },
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ConfigError::Read`] when it cannot be read, [`ConfigError::Parse`] with line and reason when it is invalid.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let read = file::read(path, FILE_BYTES_MAX);
        let bytes = read.map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(path, &bytes).map(|(config, _)| config)
    }

    /// What the bytes of the file at `path` say: as settings, and as it was written.
    ///
    /// # Errors
    /// [`ConfigError::Parse`] with line and reason when it is not right.
    pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<(Self, toml::Table), ConfigError> {
        let refuse = |reason| ConfigError::Parse { path: path.to_owned(), reason };
        let text = std::str::from_utf8(bytes).map_err(|_| refuse("it is no text (UTF-8)".to_owned()))?;
        let config: Self = toml::from_str(text).map_err(|error| refuse(error.to_string()))?;
        config.check().map_err(refuse)?;
        let written = text.parse().map_err(|error: toml::de::Error| refuse(error.to_string()))?;
        Ok((config, written))
    }

    /// Checks what concerns several lines.
    fn check(&self) -> Result<(), String> {
        if self.requests.archive_dir.is_none() && !self.requests.archive_command.is_empty() {
            return Err("[requests]: archive_command needs archive_dir".to_owned());
        }
        if self.pool.is_some() && self.lending != Lending::default() {
            return Err("[pool]: this is the old name of [lending], which is given too".to_owned());
        }
        if let Some(name) = self.providers.keys().find(|name| line::unruly(name).is_some() || name.is_empty())
        {
            let name = line::plain(name);
            return Err(format!("[providers]: the name `{name}` is empty, or holds a sign that nobody sees"));
        }
        for model in &self.models {
            if let Some(provider) = model.stranger(|name| self.providers.contains_key(name)) {
                return Err(format!("[[models]]: model `{}` names no provider: `{provider}`", model.name));
            }
        }
        Ok(())
    }

    /// Whether users may lend their credentials.
    #[must_use]
    pub fn lends(&self) -> bool {
        self.pool.as_ref().unwrap_or(&self.lending).enabled
    }

    /// Old names that the file uses, for the log: each works until the next version.
    #[must_use]
    pub fn old_names(&self) -> Vec<&'static str> {
        self.pool.iter().map(|_| "[pool] is called [lending] now").collect()
    }

    /// Where compiled components are kept.
    #[must_use]
    pub fn cache_dir(&self) -> PathBuf {
        self.plugins.cache_dir.clone().unwrap_or_else(|| self.server.data_dir.join("cache"))
    }

    /// Where plugins are looked for.
    #[must_use]
    pub fn plugins_dir(&self) -> PathBuf {
        self.plugins.dir.clone().unwrap_or_else(|| self.server.data_dir.join("plugins"))
    }
}

/// The configuration of an empty file.
impl Default for Config {
    fn default() -> Self {
        Self {
            server: Server::default(),
            limits: Limits::default(),
            log: Log::default(),
            requests: Requests::default(),
            store: Store::default(),
            plugins: Plugins::default(),
            providers: provider::defaults(),
            models: Vec::new(),
            lending: Lending::default(),
            pool: None,
            policies: Policies::default(),
            content_filter: ContentFilter::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Config;

    const EXAMPLE: &str = include_str!("../../tollgate.example.toml");

    fn check_refused(text: &str, line: &str, reason: &str) {
        let error = toml::from_str::<Config>(text).unwrap_err().to_string();
        assert!(error.contains(line) && error.contains(reason), "{text:?} gave: {error}");
    }

    #[test]
    fn the_example_says_what_applies_without_it() {
        let mut example: Config = toml::from_str(EXAMPLE).unwrap();
        for policy in [
            &mut example.policies.key_selection,
            &mut example.policies.pricing,
            &mut example.policies.content_filter,
        ] {
            assert!(
                !std::mem::take(&mut policy.config).is_empty(),
                "shown with the component's own defaults"
            );
        }
        assert_eq!(example, Config::default());
    }

    #[test]
    fn an_old_name_works_and_is_told_of_but_not_beside_the_new_one() {
        let old: Config = toml::from_str("[pool]\nenabled = true").unwrap();
        assert!(old.lends() && old.check().is_ok());
        assert_eq!(old.old_names(), ["[pool] is called [lending] now"]);
        let new: Config = toml::from_str("[lending]\nenabled = true").unwrap();
        assert!(new.lends() && new.old_names().is_empty());
        let both: Config = toml::from_str("[pool]\n[lending]\nenabled = true").unwrap();
        assert!(both.check().unwrap_err().contains("old name of [lending]"));
    }

    #[test]
    fn an_empty_file_is_the_standard_configuration() {
        assert_eq!(toml::from_str::<Config>("").unwrap(), Config::default());
    }

    #[test]
    fn a_wrong_value_is_refused_with_its_line_and_the_reason() {
        check_refused("[server]\nlisten = \"nowhere\"", "line 2", "invalid socket address");
        check_refused("[server]\nlissten = \"127.0.0.1:1\"", "line 2", "unknown field `lissten`");
        check_refused("[limits]\nattempts_max = 0", "line 2", "between 1 and 16");
        check_refused("[limits]\nbody_read_timeout_ms = 0", "line 2", "between 1 and 86400000");
        check_refused("[requests.bodies]\nbytes_max = 1", "line 2", "between 1024 and 1048576");
        check_refused("[requests.bodies]\nretention_days = 0", "line 2", "nonzero");
        check_refused("[log]\n\nlevel = \"a=b=c\"", "line 3", "not a log filter");
        check_refused("[providers.x]\nbase_url = \"http://h\"", "line 1", "needs `adapter`");
        check_refused("[providers.openai]\nbase_url = \"ftp://h\"", "line 2", "http://");
        check_refused("[providers.openai]\nbase_url = \"http://u:p@h\"", "line 2", "no user or password");
        check_refused("[policies.pricing]\non_error = \"shrug\"", "line 2", "unknown variant");
        check_refused("[policies.other]\n", "line 1", "unknown field");
        check_refused("nonsense", "line 1", "expected");
    }

    #[test]
    fn a_model_is_served_by_a_provider_that_is_there() {
        let check = |text: &str| toml::from_str::<Config>(text).unwrap().check();
        assert_eq!(check("[[models]]\nname = \"gpt-*\"\nprovider = \"openai\"\nmodel = \"x\""), Ok(()));
        let error = check("[[models]]\nname = \"gpt-*\"\nprovider = \"nobody\"").unwrap_err();
        assert!(error.contains("`gpt-*`") && error.contains("`nobody`"), "{error}");
        check_refused("[[models]]\nname = \"\"\nprovider = \"openai\"", "line 1", "a name that is empty");
        check_refused("[[models]]\nname = \"x\"", "line 1", "needs `provider` or `targets`");
    }

    #[test]
    fn the_examples_entry_for_a_model_is_one() {
        let entry = EXAMPLE.split_once("# [[models]]").map(|(_, rest)| rest).unwrap();
        let lines: Vec<&str> = entry.lines().skip(1).map_while(|line| line.strip_prefix("# ")).collect();
        let config: Config = toml::from_str(&format!("[[models]]\n{}", lines.join("\n"))).unwrap();
        assert_eq!(config.check(), Ok(()));
        let shown = serde_json::to_string(&config.models).unwrap();
        for member in ["aliases", "fallbacks", "model", "base_url", "credentials", "weight", "priority"] {
            assert!(shown.contains(member), "{member} is not shown");
        }
    }

    #[test]
    fn one_changed_member_keeps_the_rest_of_a_builtin_provider() {
        let config: Config =
            toml::from_str("[providers.openai]\nbase_url = \"http://127.0.0.1:9/v2/\"").unwrap();
        let openai = &config.providers["openai"];
        assert_eq!((openai.adapter.as_str(), openai.base_url.prefix.as_str()), ("openai", "/v2"));
        assert_eq!(config.providers.len(), 3);
    }
}
