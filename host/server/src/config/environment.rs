//! Settings from the environment, which take precedence over the file.
//!
//! An invalid value is an error in the log, and counts as absent.

use std::time::Duration;

use tollgate_core::secret::Secret;

use crate::config::{Config, Millis};

/// Applies the environment's settings to the configuration; returns what is wrong with them, for the log.
pub(crate) fn apply(config: &mut Config, variable: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut wrong = Vec::new();
    let limits = &mut config.limits;
    let seconds = [
        ("CONCURRENCY_TIMEOUT_SECONDS", &mut limits.concurrency_timeout_ms),
        ("REQUEST_TIMEOUT_SECONDS", &mut limits.request_timeout_ms),
    ];
    for (name, limit) in seconds {
        let Some(text) = variable(name) else { continue };
        match text
            .trim()
            .parse::<u64>()
            .ok()
            .and_then(|count| Millis::try_from(count.checked_mul(1000)?).ok())
        {
            Some(value) => *limit = value,
            None => {
                let applies = Duration::as_secs(&limit.duration());
                wrong.push(format!("{name} is no number of seconds between 1 and 86400; {applies} applies"));
            }
        }
    }
    wrong
}

/// Where provider keys are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyStorage {
    /// In the database.
    Database,
    /// In memory: those of the environment, and those that are added until the process ends.
    Memory,
}

/// The environment's settings for provider keys.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    /// Where they are to be kept, if that is set.
    pub(crate) storage: Option<KeyStorage>,
    /// Provider, the variable, and the key.
    pub(crate) given: Vec<(&'static str, &'static str, Secret)>,
    /// What is wrong, for the log.
    pub(crate) wrong: Vec<String>,
}

/// The variable for where keys are kept: `database` or `memory`.
const STORAGE: &str = "KEY_STORAGE_MODE";
/// Variables with comma-separated keys, and the configured provider that they are for.
const GIVEN: [(&str, &str); 3] =
    [("GEMINI_API_KEYS", "google"), ("OPENAI_API_KEYS", "openai"), ("ANTHROPIC_API_KEYS", "anthropic")];

/// Reads the environment's settings for provider keys. No text in the result contains a key.
pub(crate) fn keys(variable: impl Fn(&str) -> Option<String>) -> Keys {
    let mut keys = Keys::default();
    match variable(STORAGE).as_deref().map(str::trim) {
        None => {}
        Some("database") => keys.storage = Some(KeyStorage::Database),
        Some("memory") => keys.storage = Some(KeyStorage::Memory),
        Some(_) => {
            keys.wrong.push(format!("{STORAGE} is neither `database` nor `memory`; the default applies"));
        }
    }
    for (name, provider) in GIVEN {
        let Some(list) = variable(name).map(Secret::new) else { continue };
        for text in list.expose().split(',').map(str::trim).filter(|text| !text.is_empty()) {
            let secret = Secret::new(text.to_owned());
            if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
                keys.wrong.push(format!("{name} holds a key that no header can carry; it is left out"));
            } else if !keys.given.iter().any(|known| known.0 == provider && known.2 == secret) {
                keys.given.push((provider, name, secret));
            }
        }
    }
    keys
}

impl Keys {
    /// Where keys are kept: as the environment says, else in memory where it gives keys and the database has none.
    pub(crate) fn storage(&self, database_has_some: bool) -> KeyStorage {
        let only_given = !self.given.is_empty() && !database_has_some;
        self.storage.unwrap_or(if only_given { KeyStorage::Memory } else { KeyStorage::Database })
    }
}

#[cfg(test)]
mod tests {
    use super::{KeyStorage, apply, keys};
    use crate::config::Config;

    fn applied(variables: &[(&str, &str)]) -> (Config, Vec<String>) {
        let mut config = Config::default();
        let value = |name: &str| variables.iter().find(|it| it.0 == name).map(|it| it.1.to_owned());
        let wrong = apply(&mut config, value);
        (config, wrong)
    }

    #[test]
    fn the_environment_counts_more_than_the_file() {
        let (config, wrong) =
            applied(&[("CONCURRENCY_TIMEOUT_SECONDS", "7"), ("REQUEST_TIMEOUT_SECONDS", " 90 ")]);
        assert!(wrong.is_empty());
        let limits = config.limits;
        assert_eq!((limits.concurrency_timeout_ms.get(), limits.request_timeout_ms.get()), (7000, 90_000));
    }

    #[test]
    fn what_cannot_be_meant_is_said_and_leaves_what_was() {
        for text in ["", "0", "-1", "1.5", "soon", "99999999", "18446744073709551615"] {
            let (config, wrong) = applied(&[("REQUEST_TIMEOUT_SECONDS", text)]);
            assert_eq!(config, Config::default(), "{text}");
            assert!(wrong[0].contains("REQUEST_TIMEOUT_SECONDS") && wrong[0].contains("3600"), "{wrong:?}");
        }
    }

    #[test]
    fn keys_come_from_lists_and_go_to_memory_where_the_database_has_none() {
        let read = |variables: &[(&str, &str)]| {
            keys(|name| variables.iter().find(|it| it.0 == name).map(|it| it.1.to_owned()))
        };
        let found = read(&[("OPENAI_API_KEYS", " sk-1, sk-2,,sk-1 "), ("GEMINI_API_KEYS", "g-1")]);
        let list: Vec<_> = found.given.iter().map(|it| (it.0, it.2.expose())).collect();
        assert_eq!(list, [("google", "g-1"), ("openai", "sk-1"), ("openai", "sk-2")]);
        assert_eq!(found.storage(false), KeyStorage::Memory);
        assert_eq!(found.storage(true), KeyStorage::Database);
        assert_eq!(read(&[]).storage(false), KeyStorage::Database);
        assert_eq!(read(&[("KEY_STORAGE_MODE", "memory")]).storage(true), KeyStorage::Memory);
        let database = [("KEY_STORAGE_MODE", "database"), ("OPENAI_API_KEYS", "sk-1")];
        assert_eq!(read(&database).storage(false), KeyStorage::Database);
        let wrong = read(&[("KEY_STORAGE_MODE", "disk"), ("OPENAI_API_KEYS", "sk 1,sk-2")]);
        assert_eq!((wrong.storage(false), wrong.wrong.len()), (KeyStorage::Memory, 2));
        assert!(wrong.wrong.iter().all(|text| !text.contains("sk")), "{:?}", wrong.wrong);
    }
}
