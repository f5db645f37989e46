//! Seals provider credentials, and the gateway's own secrets, at rest: XChaCha20-Poly1305 under one master key.
//!
//! The nonce is random (24 bytes need no counter), and the row's identity is authenticated with the text: so a sealed
//! key that is copied to another row, owner or provider does not open.

use std::io::{self, ErrorKind, Write};
use std::path::Path;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use tollgate_core::id::CredentialId;
use tollgate_core::protocol::Owner;
use tollgate_core::secret::Secret;

pub use crate::error::SealError;
use crate::error::StoreError;
use crate::file;

/// Far more than a key takes.
const FILE_BYTES_MAX: u64 = 4096;

/// The key that seals all credentials. Losing it loses them.
#[derive(Clone)]
pub struct MasterKey {
    cipher: XChaCha20Poly1305,
    /// Derives further keys from this one.
    derive: Hmac<Sha256>,
}

/// A sealed secret, as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Fresh for each sealing.
    pub nonce: [u8; 24],
    /// Ciphertext and tag.
    pub bytes: Vec<u8>,
}

/// The row that a sealed secret belongs to.
#[derive(Debug, Clone, Copy)]
pub struct SealContext<'a> {
    /// The credential.
    pub id: CredentialId,
    /// Whose it is.
    pub owner: Owner,
    /// The provider that it is for.
    pub provider: &'a str,
}

impl SealContext<'_> {
    /// The variable part comes last, so no two contexts have the same bytes.
    fn aad(&self) -> Vec<u8> {
        let owner: u8 = match self.owner {
            Owner::User => 0,
            Owner::Platform => 1,
            Owner::Shared => 2,
        };
        [b"tollgate credential 1".as_slice(), self.id.as_bytes(), &[owner], self.provider.as_bytes()].concat()
    }
}

impl MasterKey {
    /// Takes 64 hexadecimal digits, as the environment gives them.
    ///
    /// # Errors
    /// [`SealError::Key`] for anything else.
    pub fn from_hex(text: &Secret) -> Result<Self, SealError> {
        let digits = text.expose().trim().as_bytes();
        let mut key = zeroize::Zeroizing::new([0_u8; 32]);
        if digits.len() != 64 {
            return Err(SealError::Key);
        }
        for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = (nibble(pair[0])? << 4) | nibble(pair[1])?;
        }
        Ok(Self::new(&key))
    }

    fn new(key: &[u8; 32]) -> Self {
        let cipher = XChaCha20Poly1305::new(key.into());
        let derive = <Hmac<Sha256> as Mac>::new_from_slice(key)
            .unwrap_or_else(|_| unreachable!("HMAC takes keys of every length"));
        Self { cipher, derive }
    }

    /// A secret derived from this key and `purpose` alone: 64 hexadecimal digits. It reveals nothing of the key.
    #[must_use]
    pub fn derived(&self, purpose: &str) -> Secret {
        let made = self.derive.clone().chain_update(b"tollgate derived 1").chain_update(purpose).finalize();
        Secret::new(hex(&made.into_bytes()))
    }

    /// Reads the key from `path`; `None` where there is no file.
    ///
    /// # Errors
    /// When the file cannot be read, holds no key, or others may read it.
    pub fn load(path: &Path) -> Result<Option<Self>, StoreError> {
        let failed = |source| file_error("reading the master key in", path, source);
        let is = match std::fs::metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            is => is.map_err(failed)?,
        };
        let text = file::read_text(path, FILE_BYTES_MAX).map(Secret::new).map_err(failed)?;
        if file::is_open(&is) {
            return Err(failed(io::Error::other("others may read it; set its mode to 0600")));
        }
        match text.expose().trim().len() {
            0 => Err(failed(io::Error::other("it is empty"))),
            count => Self::from_hex(&text).map(Some).map_err(|error| {
                failed(io::Error::other(format!("{error}, and {count} characters are in it")))
            }),
        }
    }

    /// The same; where there is no file, makes a key and writes it, readable by its owner only.
    ///
    /// # Errors
    /// As for [`MasterKey::load`], and when the file cannot be written.
    pub fn load_or_create(path: &Path) -> Result<Self, StoreError> {
        if let Some(key) = Self::load(path)? {
            return Ok(key);
        }
        let failed = |source| file_error("writing the master key to", path, source);
        Self::create(path).map_err(failed)?;
        // Of two processes that make one at the same moment, one was first.
        Self::load(path)?.ok_or_else(|| failed(ErrorKind::NotFound.into()))
    }

    /// Writes a new key, whole or not at all, where there is none.
    fn create(path: &Path) -> io::Result<()> {
        let mut key = zeroize::Zeroizing::new([0_u8; 32]);
        getrandom::fill(&mut *key).map_err(|_| io::Error::other(SealError::Random))?;
        let text = Secret::new(hex(&*key));
        let new = path.with_extension(format!("{}.new", std::process::id()));
        let write = || {
            let mut file = file::private().write(true).create(true).truncate(true).open(&new)?;
            file.write_all(text.expose().as_bytes())?;
            file.sync_all()?;
            match std::fs::hard_link(&new, path) {
                // Not every file system has more than one name for a file.
                Err(error) if error.kind() != ErrorKind::AlreadyExists && !path.exists() => {
                    std::fs::copy(&new, path).map(drop)
                }
                linked => linked,
            }
        };
        let written = write();
        // What is left of it would hold the key too.
        let removed = std::fs::remove_file(&new);
        match written {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => removed,
            written => written.and(removed),
        }
    }

    /// Seals a secret for its row.
    ///
    /// # Errors
    /// [`SealError::Random`] when the system gives no nonce.
    pub fn seal(&self, place: &SealContext<'_>, secret: &Secret) -> Result<Sealed, SealError> {
        let mut nonce = [0; 24];
        getrandom::fill(&mut nonce).map_err(|_| SealError::Random)?;
        let payload = Payload { msg: secret.expose().as_bytes(), aad: &place.aad() };
        let bytes = self.cipher.encrypt(XNonce::from_slice(&nonce), payload).map_err(|_| SealError::Seal)?;
        Ok(Sealed { nonce, bytes })
    }

    /// Seals the value of a setting: nonce and ciphertext, in hexadecimal digits.
    ///
    /// # Errors
    /// [`SealError::Random`] when the system gives no nonce.
    pub fn seal_setting(&self, name: &str, secret: &Secret) -> Result<String, SealError> {
        let mut nonce = [0; 24];
        getrandom::fill(&mut nonce).map_err(|_| SealError::Random)?;
        let payload = Payload { msg: secret.expose().as_bytes(), aad: &setting_aad(name) };
        let bytes = self.cipher.encrypt(XNonce::from_slice(&nonce), payload).map_err(|_| SealError::Seal)?;
        Ok(hex(&[nonce.as_slice(), &bytes].concat()))
    }

    /// Opens the sealed value of a setting.
    ///
    /// # Errors
    /// [`SealError::Open`] when anything differs: the key, the digits, the setting's name.
    pub fn open_setting(&self, name: &str, sealed: &str) -> Result<Secret, SealError> {
        let pairs = sealed.as_bytes().chunks(2).map(|pair| match pair {
            [high, low] => Ok((nibble(*high)? << 4) | nibble(*low)?),
            _ => Err(SealError::Open),
        });
        let bytes = pairs.collect::<Result<Vec<u8>, _>>().map_err(|_| SealError::Open)?;
        let (nonce, bytes) = bytes.split_at_checked(24).ok_or(SealError::Open)?;
        let payload = Payload { msg: bytes, aad: &setting_aad(name) };
        let text = self.cipher.decrypt(XNonce::from_slice(nonce), payload).map_err(|_| SealError::Open)?;
        String::from_utf8(text).map(Secret::new).map_err(|_| SealError::Open)
    }

    /// Seals the body of a call: nonce and ciphertext.
    ///
    /// # Errors
    /// [`SealError::Random`] when the system gives no nonce.
    pub(crate) fn seal_body(&self, place: &[u8], text: &Secret) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; 24];
        getrandom::fill(&mut nonce).map_err(|_| SealError::Random)?;
        let payload = Payload { msg: text.expose().as_bytes(), aad: place };
        let bytes = self.cipher.encrypt(XNonce::from_slice(&nonce), payload).map_err(|_| SealError::Seal)?;
        Ok([nonce.as_slice(), &bytes].concat())
    }

    /// Opens the body of a call.
    ///
    /// # Errors
    /// [`SealError::Open`] when anything differs: the key, the bytes, the call.
    pub(crate) fn open_body(&self, place: &[u8], sealed: &[u8]) -> Result<Secret, SealError> {
        let (nonce, bytes) = sealed.split_at_checked(24).ok_or(SealError::Open)?;
        let payload = Payload { msg: bytes, aad: place };
        let text = self.cipher.decrypt(XNonce::from_slice(nonce), payload).map_err(|_| SealError::Open)?;
        String::from_utf8(text).map(Secret::new).map_err(|_| SealError::Open)
    }

    /// Opens what was sealed for this row.
    ///
    /// # Errors
    /// [`SealError::Open`] when anything differs: the key, the bytes, the row.
    pub fn open(&self, place: &SealContext<'_>, sealed: &Sealed) -> Result<Secret, SealError> {
        let payload = Payload { msg: &sealed.bytes, aad: &place.aad() };
        let text =
            self.cipher.decrypt(XNonce::from_slice(&sealed.nonce), payload).map_err(|_| SealError::Open)?;
        String::from_utf8(text).map(Secret::new).map_err(|_| SealError::Open)
    }
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

/// Begins unlike any credential's context, so that neither opens as the other.
fn setting_aad(name: &str) -> Vec<u8> {
    [b"tollgate setting 1".as_slice(), name.as_bytes()].concat()
}

const HEX: &[u8; 16] = b"0123456789abcdef";

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(HEX[usize::from(byte >> 4)]));
        text.push(char::from(HEX[usize::from(byte & 15)]));
    }
    text
}

fn nibble(digit: u8) -> Result<u8, SealError> {
    let value = char::from(digit).to_digit(16).ok_or(SealError::Key)?;
    u8::try_from(value).map_err(|_| SealError::Key)
}

fn file_error(doing: &'static str, path: &Path, source: std::io::Error) -> StoreError {
    StoreError::File { doing, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::{MasterKey, SealContext, SealError, Sealed};
    use std::os::unix::fs::PermissionsExt;
    use tollgate_core::id::CredentialId;
    use tollgate_core::protocol::Owner;
    use tollgate_core::secret::Secret;

    fn key(digit: &str) -> MasterKey {
        MasterKey::from_hex(&Secret::new(digit.repeat(64))).unwrap()
    }

    const PLACE: SealContext<'static> =
        SealContext { id: CredentialId::from_bytes([7; 16]), owner: Owner::Platform, provider: "openai" };

    #[test]
    fn a_sealed_secret_opens_only_with_its_key_and_in_its_row() {
        let sealed = key("a").seal(&PLACE, &Secret::new("sk-secret".into())).unwrap();
        assert!(!sealed.bytes.windows(9).any(|window| window == b"sk-secret"));
        assert_eq!(key("a").open(&PLACE, &sealed).unwrap().expose(), "sk-secret");

        let check = |key: &MasterKey, place: SealContext<'_>, sealed: &Sealed| {
            assert_eq!(key.open(&place, sealed).unwrap_err(), SealError::Open);
        };
        check(&key("b"), PLACE, &sealed);
        check(&key("a"), SealContext { id: CredentialId::from_bytes([8; 16]), ..PLACE }, &sealed);
        check(&key("a"), SealContext { owner: Owner::Shared, ..PLACE }, &sealed);
        check(&key("a"), SealContext { provider: "openai2", ..PLACE }, &sealed);
        let mut bytes = sealed.bytes.clone();
        bytes[0] ^= 1;
        check(&key("a"), PLACE, &Sealed { bytes, ..sealed });
    }

    #[test]
    fn the_key_file_is_made_once_and_kept_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        let sealed =
            MasterKey::load_or_create(&path).unwrap().seal(&PLACE, &Secret::new("x".into())).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(MasterKey::load_or_create(&path).unwrap().open(&PLACE, &sealed).unwrap().expose(), "x");

        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        MasterKey::load_or_create(&path).unwrap_err();
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for text in ["", "abc", &"g".repeat(64), &"a".repeat(65)] {
            assert_eq!(MasterKey::from_hex(&Secret::new(text.into())).unwrap_err(), SealError::Key, "{text}");
        }
    }
}
