//! Values that must not be printed.

use std::fmt;
use std::sync::{Arc, OnceLock};

use zeroize::Zeroizing;

use crate::json;
use crate::mask::Mask;

/// The parts of a secret in JSON that nobody else may know.
pub const HIDDEN_PARTS: [&str; 5] =
    ["access_token", "refresh_token", "secret_access_key", "session_token", "private_key"];

/// Text that no `Debug` shows and that is wiped when dropped.
#[derive(Clone)]
pub struct Secret {
    text: Zeroizing<String>,
    mask: OnceLock<Arc<Mask>>,
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Secret {}

impl Secret {
    /// Wraps the text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self { text: Zeroizing::new(text), mask: OnceLock::new() }
    }

    /// Finds it, or each part of it that nobody may know, wherever that comes back: made when it is first asked for.
    #[must_use]
    pub fn mask(&self) -> &Arc<Mask> {
        self.mask.get_or_init(|| {
            let text = self.text.as_bytes();
            let part = |name: &&str| Some(json::string(text, json::find(text, &[name])?)?.into_owned());
            let parts: Vec<String> = HIDDEN_PARTS.iter().filter_map(part).collect();
            let whole = Some(self.expose()).filter(|_| !text.starts_with(b"{"));
            Arc::new(Mask::new(parts.iter().map(String::as_str).chain(whole)))
        })
    }

    /// The text itself. Call it only where it leaves for the upstream or is sealed.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// The last four characters, for people to tell keys apart; empty when the secret has fewer than twelve.
    #[must_use]
    pub fn hint(&self) -> &str {
        let text = self.expose();
        match text.char_indices().rev().nth(3) {
            Some((at, _)) if text.chars().count() >= 12 => &text[at..],
            _ => "",
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn debug_never_shows_the_text() {
        let secret = Secret::new("sk-very-secret-1234".into());
        assert!(!format!("{secret:?}").contains("1234"));
        assert_eq!(secret.hint(), "1234");
        assert_eq!(Secret::new("short".into()).hint(), "");
    }

    #[test]
    fn the_parts_that_are_hidden_are_known_again_and_no_others() {
        let parts = Secret::new(
            r#"{"refresh_token": "refresh-0123", "client_email": "robot@project.example"}"#.into(),
        );
        assert!(parts.mask().is_in(b"it was refresh-0123"));
        assert!(!parts.mask().is_in(b"robot@project.example"));
        assert!(Secret::new("platform-openai".into()).mask().is_in(b"Bearer platform-openai"));
    }
}
