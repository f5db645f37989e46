//! Keys that Tollgate generates: API keys, refresh tokens and the admin secret. They are stored as hashes and shown
//! once. Also how it recognises provider keys.

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use tollgate_core::secret::Secret;

/// Length of the random part: 22 of 62 characters are 130 bits.
const LENGTH: usize = 22;
const SIGNS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A new API key: `tg_`, 22 random characters, and six characters by which a scanner tells a real key from a
/// look-alike.
///
/// # Errors
/// When the system has no randomness to give.
pub(crate) fn api_key() -> Result<Secret, getrandom::Error> {
    make("tg_")
}

/// A new admin secret, made like an API key with the prefix `tga_`.
///
/// # Errors
/// When the system has no randomness to give.
pub(crate) fn admin_secret() -> Result<Secret, getrandom::Error> {
    make("tga_")
}

/// The secret part of a new refresh token, made like an API key with the prefix `tgr_`.
///
/// # Errors
/// When the system has no randomness to give.
pub(crate) fn refresh_token() -> Result<Secret, getrandom::Error> {
    make("tgr_")
}

/// A new code that is worth points, made like an API key with the prefix `tgc_`.
///
/// # Errors
/// When the system has no randomness to give.
pub(crate) fn redeem_code() -> Result<Secret, getrandom::Error> {
    make("tgc_")
}

fn make(prefix: &str) -> Result<Secret, getrandom::Error> {
    let mut key = String::with_capacity(prefix.len() + LENGTH + 6);
    key.push_str(prefix);
    while key.len() < prefix.len() + LENGTH {
        let mut byte = [0];
        getrandom::fill(&mut byte)?;
        // Bytes past the last whole multiple of 62 would favour the first characters.
        if byte[0] < 248 {
            key.push(char::from(SIGNS[usize::from(byte[0]) % 62]));
        }
    }
    let sum = checksum(&key);
    key.push_str(&sum);
    Ok(Secret::new(key))
}

/// The first six characters of the SHA-256 of what precedes them.
fn checksum(text: &str) -> String {
    Sha256::digest(text.as_bytes())
        .iter()
        .take(6)
        .map(|byte| char::from(SIGNS[usize::from(*byte) % 62]))
        .collect()
}

/// The form in which a key is stored and looked up.
pub(crate) fn digest(key: &Secret) -> [u8; 32] {
    Sha256::digest(key.expose().as_bytes()).into()
}

/// Tells whether a provider key, or an account at a provider, is one that was seen before, without keeping either.
#[derive(Clone)]
pub(crate) struct Fingerprints(Hmac<Sha256>);

impl Fingerprints {
    /// Fingerprints under a secret key: without it, they reveal nothing.
    pub(crate) fn new(key: &Secret) -> Self {
        let keyed = Hmac::new_from_slice(key.expose().as_bytes());
        Self(keyed.unwrap_or_else(|_| unreachable!("HMAC takes keys of every length")))
    }

    /// Of a key for a provider.
    pub(crate) fn key(&self, provider: &str, secret: &Secret) -> [u8; 32] {
        self.print(b"key", provider, secret.expose())
    }

    /// Of an account, by the provider's name for it.
    pub(crate) fn account(&self, provider: &str, account: &str) -> [u8; 32] {
        self.print(b"account", provider, account)
    }

    /// A key for hashes of texts, derived from this one alone.
    pub(crate) fn text_key(&self) -> Secret {
        let made = self.print(b"texts", "", "");
        Secret::new(made.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    }

    /// No provider's name contains a line feed, so no two inputs have the same bytes.
    fn print(&self, kind: &[u8], provider: &str, what: &str) -> [u8; 32] {
        let parts = [kind, provider.as_bytes(), what.as_bytes()].join(&b'\n');
        self.0.clone().chain_update(parts).finalize().into_bytes().into()
    }
}

#[cfg(test)]
mod tests {
    use super::{api_key, checksum};

    #[test]
    fn a_key_carries_its_own_checksum_and_none_is_like_another() {
        let (one, other) = (api_key().unwrap(), api_key().unwrap());
        assert_ne!(one.expose(), other.expose());
        let (body, sum) = one.expose().split_at(one.expose().len() - 6);
        assert!(body.starts_with("tg_") && body.len() == 25);
        assert_eq!(checksum(body), sum);
    }
}
