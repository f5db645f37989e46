//! The names of kept files: whose each is, and which credential keeps it.

use sha2::{Digest as _, Sha256};
use tollgate_core::id::{CredentialId, UserId};

use crate::clock::random;

/// What a name given here begins with, and how many hexadecimal digits of it say what.
const SIGN: char = 't';
pub(super) const KEEPER_DIGITS: usize = 8;
pub(super) const OWNER_DIGITS: usize = 14;
const CHANCE_DIGITS: usize = 16;

/// Hexadecimal digits that stand for an id.
pub(super) type Tag<const DIGITS: usize> = [u8; DIGITS];

/// Those of an id.
pub(super) fn tag<const DIGITS: usize>(id: &[u8; 16]) -> Tag<DIGITS> {
    digits(&Sha256::digest(id))
}

fn digits<const DIGITS: usize>(bytes: &[u8]) -> Tag<DIGITS> {
    let digit = |at: usize| b"0123456789abcdef"[usize::from((bytes[at / 2] >> (4 * (1 - at % 2))) & 15)];
    std::array::from_fn(digit)
}

/// A name that the gateway gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name {
    /// The credential that keeps it.
    pub(super) keeper: Tag<KEEPER_DIGITS>,
    /// The user whose it is.
    pub(super) owner: Tag<OWNER_DIGITS>,
}

impl Name {
    /// Of a file's name; `None` where it was not given here.
    pub(in crate::proxy) fn read(name: &str) -> Option<Self> {
        let tags = name.strip_prefix(SIGN)?.as_bytes();
        let plain = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
        if tags.len() != KEEPER_DIGITS + OWNER_DIGITS + CHANCE_DIGITS || !tags.iter().all(plain) {
            return None;
        }
        let (keeper, rest) = tags.split_first_chunk()?;
        Some(Self { keeper: *keeper, owner: *rest.first_chunk()? })
    }

    /// In an address by which a call names a file.
    pub(in crate::proxy) fn within(address: &str) -> Option<Self> {
        let (_, name) = address.rsplit_once("files/")?;
        Self::read(name.split([':', '?', '/', '#']).next()?)
    }

    /// A new one for a file of `owner`'s.
    pub(super) fn made(keeper: CredentialId, owner: UserId) -> String {
        let chance: Tag<CHANCE_DIGITS> = digits(&random());
        let (keeper, owner): (Tag<KEEPER_DIGITS>, Tag<OWNER_DIGITS>) =
            (tag(keeper.as_bytes()), tag(owner.as_bytes()));
        let letters = keeper.into_iter().chain(owner).chain(chance).map(char::from);
        std::iter::once(SIGN).chain(letters).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Name, tag};
    use tollgate_core::id::{CredentialId, UserId};

    const KEEPER: CredentialId = CredentialId::from_bytes([1; 16]);

    #[test]
    fn a_name_says_whose_it_is_and_where() {
        let owner = UserId::from_bytes([2; 16]);
        let name = Name::made(KEEPER, owner);
        assert!(name.len() <= 40 && name.starts_with('t'), "{name}");
        let expected = Name { keeper: tag(KEEPER.as_bytes()), owner: tag(owner.as_bytes()) };
        assert_eq!(Name::read(&name), Some(expected));
        for address in [format!("https://x/v1beta/files/{name}"), format!("files/{name}:download?alt=media")]
        {
            assert_eq!(Name::within(&address), Some(expected), "{address}");
        }
        let shorter = &name[..name.len() - 1];
        for other in ["abc-123", "", "t", shorter, &format!("{name}0"), &name.to_uppercase()] {
            assert_eq!(Name::read(other), None, "{other}");
        }
        assert_eq!(Name::within("gs://bucket/files/cat.png"), None);
    }
}
