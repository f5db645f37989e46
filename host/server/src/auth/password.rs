//! Passwords: argon2id (RFC 9106), at the parameters that OWASP asks for (19 MiB, two passes). Slow on purpose, so
//! never called on a thread that serves.

use argon2::Argon2;
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use tollgate_core::secret::Secret;

/// Shortest and longest password, in bytes.
const LENGTH: std::ops::RangeInclusive<usize> = 10..=1024;
/// Bytes of a salt.
const SALT_BYTES: usize = 16;

/// Why a password could not be hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PasswordError {
    /// It is too short, or too long.
    #[error("a password has between {} and {} bytes", LENGTH.start(), LENGTH.end())]
    Length,
    /// The system gave no randomness, or no memory.
    #[error("the password could not be hashed")]
    Hash,
}

/// The form in which a password is stored.
///
/// # Errors
/// [`PasswordError`].
pub(crate) fn hash(password: &Secret) -> Result<String, PasswordError> {
    if !LENGTH.contains(&password.expose().len()) {
        return Err(PasswordError::Length);
    }
    let mut salt = [0; SALT_BYTES];
    getrandom::fill(&mut salt).map_err(|_| PasswordError::Hash)?;
    let salt = SaltString::encode_b64(&salt).map_err(|_| PasswordError::Hash)?;
    let hash = Argon2::default().hash_password(password.expose().as_bytes(), &salt);
    hash.map(|hash| hash.to_string()).map_err(|_| PasswordError::Hash)
}

/// Whether this is the password. Without a stored hash the answer takes as long, so that the time does not reveal which
/// users exist.
pub(crate) fn verify(password: &Secret, stored: Option<&str>) -> bool {
    /// The hash of no password.
    const NOBODY: &str =
        "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let Ok(hash) = PasswordHash::new(stored.unwrap_or(NOBODY)) else { return false };
    let right = Argon2::default().verify_password(password.expose().as_bytes(), &hash).is_ok();
    right && stored.is_some()
}

#[cfg(test)]
mod tests {
    use super::{PasswordError, hash, verify};
    use tollgate_core::secret::Secret;

    #[test]
    fn a_password_is_right_only_as_it_was_set_and_no_two_hashes_are_alike() {
        let right = Secret::new("correct horse".to_owned());
        let (one, other) = (hash(&right).unwrap(), hash(&right).unwrap());
        assert!(one.starts_with("$argon2id$") && one != other);
        assert!(verify(&right, Some(&one)));
        assert!(!verify(&Secret::new("correct hors".to_owned()), Some(&one)));
        assert!(!verify(&right, None) && !verify(&right, Some("")));
        for length in [0, 9, 1025] {
            assert_eq!(hash(&Secret::new("x".repeat(length))), Err(PasswordError::Length));
        }
    }
}
