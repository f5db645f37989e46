//! Values that must not be printed.

use std::fmt;
use zeroize::Zeroizing;

/// Text that no `Debug` shows and that is wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps the text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself. Call it only where it leaves for the upstream or is sealed.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
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
}
