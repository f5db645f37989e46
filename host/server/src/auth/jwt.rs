//! Access tokens of the management API: JSON web tokens (RFC 7519) under HMAC-SHA-256, made and read by this gateway
//! alone.
//!
//! There is one algorithm and the header is a constant: a token with another header is refused before anything in it is
//! read.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use tollgate_core::id::{SessionId, UserId};
use tollgate_core::time::Timestamp;

/// `{"alg":"HS256","typ":"JWT"}`
const HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";

/// How long an access token is valid.
pub(crate) const ACCESS_MS: u64 = 15 * 60 * 1000;

/// How far a clock may be ahead of another, or of itself.
const AHEAD_SECONDS_MAX: u64 = 60;

/// The key that signs access tokens.
pub(crate) struct TokenKey(Hmac<Sha256>);

/// The content of a token. Role and state of its user are looked up at each call, so that a change takes effect at
/// once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claims {
    /// Its user.
    pub(crate) sub: UserId,
    /// The login that it came from.
    pub(crate) sid: SessionId,
    /// When it was made, in seconds since the epoch.
    pub(crate) iat: u64,
    /// When it ends, in seconds since the epoch.
    pub(crate) exp: u64,
}

impl TokenKey {
    /// A key of these bytes.
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        // HMAC takes keys of every length.
        Self(Hmac::new_from_slice(key).unwrap_or_else(|_| unreachable!("HMAC takes keys of every length")))
    }

    /// A token for a session, valid from now on.
    pub(crate) fn issue(&self, user: UserId, session: SessionId, now: Timestamp) -> String {
        let seconds = |at: Timestamp| at.millis() / 1000;
        let claims =
            Claims { sub: user, sid: session, iat: seconds(now), exp: seconds(now.plus_ms(ACCESS_MS)) };
        // Four plain members always become JSON.
        let payload = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&claims).unwrap_or_default());
        let signed = format!("{HEADER}.{payload}");
        let tag = self.mac(&signed).finalize().into_bytes();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
    }

    /// The content of a token, if this gateway made it and it is still valid.
    pub(crate) fn read(&self, token: &str, now: Timestamp) -> Option<Claims> {
        let (signed, tag) = token.rsplit_once('.')?;
        let payload = signed.strip_prefix(HEADER)?.strip_prefix('.')?;
        self.mac(signed).verify_slice(&URL_SAFE_NO_PAD.decode(tag).ok()?).ok()?;
        let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
        // One that is yet to be made was made before the clock was set back: it would be good for too long.
        let second = now.millis() / 1000;
        (second < claims.exp && claims.iat <= second + AHEAD_SECONDS_MAX).then_some(claims)
    }

    fn mac(&self, text: &str) -> Hmac<Sha256> {
        self.0.clone().chain_update(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::{ACCESS_MS, HEADER, TokenKey};
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use tollgate_core::id::{SessionId, UserId};
    use tollgate_core::time::Timestamp;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    #[test]
    fn a_token_is_good_until_it_ends_and_only_as_it_was_made() {
        let key = TokenKey::new(&[1; 32]);
        let (user, session) = (UserId::from_bytes([7; 16]), SessionId::from_bytes([8; 16]));
        let token = key.issue(user, session, NOW);
        let read = key.read(&token, NOW.plus_ms(ACCESS_MS - 1)).unwrap();
        assert_eq!((read.sub, read.sid), (user, session));
        assert_eq!(key.read(&token, NOW.plus_ms(ACCESS_MS)), None);
        let before = |ms| Timestamp::from_millis(NOW.millis() - ms);
        assert!(key.read(&token, before(60_000)).is_some());
        assert_eq!(key.read(&token, before(61_000)), None, "the clock was set back");
        assert_eq!(TokenKey::new(&[2; 32]).read(&token, NOW), None);
        assert_eq!(URL_SAFE_NO_PAD.decode(HEADER).unwrap(), br#"{"alg":"HS256","typ":"JWT"}"#);
        for at in 0..token.len() {
            let mut other = token.clone().into_bytes();
            other[at] = if other[at] == b'A' { b'B' } else { b'A' };
            let other = String::from_utf8(other).unwrap();
            assert_eq!(key.read(&other, NOW), None, "sign {at} was changed");
        }
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
        let payload = token.split('.').nth(1).unwrap();
        for wrong in [format!("{none}.{payload}."), format!("{none}.{payload}"), String::new(), "..".into()] {
            assert_eq!(key.read(&wrong, NOW), None, "{wrong}");
        }
    }
}
