//! What the environment says about how the gateway runs: it counts more than the file.
//!
//! A value that cannot be meant is an error in the log, and what would apply without it applies.

use std::time::Duration;

use crate::config::{Config, Millis};

/// Takes the environment's settings over into the configuration; returns what is wrong with them, for the log.
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

#[cfg(test)]
mod tests {
    use super::apply;
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
}
