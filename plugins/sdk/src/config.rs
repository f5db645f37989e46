//! Reading a plugin's configuration.

use serde::de::DeserializeOwned;

/// Reads the JSON text that `configure` gets into `T`, a struct with `#[derive(Deserialize)]` and, so that a misspelt
/// name is refused instead of ignored, `#[serde(deny_unknown_fields)]`.
///
/// # Errors
/// A sentence for the operator: what is wrong, without a position, since the gateway made the text from its own
/// configuration and the operator has never seen it.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| {
        let message = error.to_string();
        let position = format!(" at line {} column {}", error.line(), error.column());
        format!("configuration: {}", message.strip_suffix(&position).unwrap_or(&message))
    })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Limits {
        words: u32,
    }

    impl Default for Limits {
        fn default() -> Self {
            Self { words: 7 }
        }
    }

    #[test]
    fn an_empty_table_takes_the_defaults() {
        assert_eq!(super::parse::<Limits>("{}"), Ok(Limits::default()));
    }

    #[test]
    fn a_misspelt_name_is_refused_in_words_an_operator_can_use() {
        let error = super::parse::<Limits>(r#"{"word":1}"#).unwrap_err();
        assert_eq!(error, "configuration: unknown field `word`, expected `words`");
    }
}
