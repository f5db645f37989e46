//! Logins: a password for a pair of tokens, a refresh token for the next pair. The access token is short-lived and
//! names the user; the refresh token is good once, and the session that it stands for is a row of the database.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use tokio::sync::Semaphore;
use tollgate_core::id::{SessionId, UserId};
use tollgate_core::lockout::Lockout;
use tollgate_core::role::Role;
use tollgate_core::secret::Secret;
use tollgate_core::time::{DAY_MS, Timestamp};
use tollgate_store::{Guessed, Rotated, StoreError, TokenChange};

pub(crate) use tollgate_store::User;

use super::users::hashed;
use super::{ManageError, Management};
use crate::auth::jwt::{ACCESS_MS, TokenKey};
use crate::auth::{keys, password};
use crate::clock;

/// The sealed setting from which the key of access tokens is derived.
const TOKEN_KEY: &str = "token_key";
/// How long a session lasts after its last refresh.
pub(crate) const SESSION_MS: u64 = 30 * DAY_MS;
/// How long a refresh token that another tab has just replaced still gives an access token.
const GRACE_MS: u64 = 10_000;
/// How long a log-in link is good.
const LINK_MS: u64 = DAY_MS;
/// Wrong passwords for one name from one address before the first wait, and the longest wait: whoever shares an address
/// with somebody who guesses is not shut out for long.
const BY_BOTH: (u32, u64) = (5, 60_000);
/// The same from one address, whatever the names: many people may share one.
const BY_ADDRESS: (u32, u64) = (20, 60_000);
/// The same for one name, from wherever it has not logged in of late. It slows down those who come from many addresses.
const BY_NAME: (u32, u64) = (100, 2_000);
/// Pairs of a name and an address at which it has logged in that are remembered.
const KNOWN_MAX: usize = 10_000;
/// Passwords that are looked at together: each takes 19 MiB and some milliseconds of a processor.
const AT_ONE_TIME: usize = 4;

/// Who may manage what, by password or token.
pub(crate) struct Logins {
    management: Management,
    key: TokenKey,
    both: Guesses,
    names: Guesses,
    addresses: Guesses,
    /// Where names have logged in of late.
    known: Mutex<HashSet<[u8; 32]>>,
    looking: Semaphore,
    /// Log-in links that nobody has followed: whose each is, and until when.
    links: Mutex<HashMap<[u8; 32], (UserId, Timestamp)>>,
}

/// Who tries, and from where.
struct Try<'a> {
    name: &'a str,
    address: String,
    both: String,
}

impl<'a> Try<'a> {
    fn new(name: &'a str, address: IpAddr) -> Self {
        let address = neighbourhood(address).to_string();
        let both = format!("{address} {name}");
        Self { name, address, both }
    }
}

/// What stands for one household or machine: of IPv6, anybody has as many addresses as there are in a /64.
fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        address @ IpAddr::V4(_) => address,
    }
}

/// What a client gets for a password or a refresh token, beside the next refresh token.
#[derive(Debug)]
pub(crate) struct Tokens {
    /// Names the user for [`Tokens::access_ms`].
    pub(crate) access: Secret,
    /// Milliseconds for which the access token is valid.
    pub(crate) access_ms: u64,
    /// Their user.
    pub(crate) user: User,
}

/// A user by an access token.
#[derive(Debug, Clone)]
pub(crate) struct Visitor {
    /// Who.
    pub(crate) user: User,
    /// The login.
    pub(crate) session: SessionId,
}

/// Why there are no tokens.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoginError {
    /// No such user, a wrong password, or a user who may not log in; the caller is not told which.
    #[error("the name or the password is not right")]
    Wrong,
    /// Too many wrong passwords; the next may be tried after this many milliseconds.
    #[error("too many wrong passwords")]
    Locked(u64),
    /// The refresh token is not valid, or not any more.
    #[error("the refresh token is not valid")]
    BadToken,
    /// The new password is invalid, the database failed, or the system gave no randomness.
    #[error(transparent)]
    Failed(ManageError),
}

impl From<ManageError> for LoginError {
    fn from(error: ManageError) -> Self {
        Self::Failed(error)
    }
}

impl From<StoreError> for LoginError {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
    }
}

impl Logins {
    /// Opens the logins of a database.
    ///
    /// # Errors
    /// When the database or the master key cannot be used.
    pub(crate) async fn open(management: Management) -> Result<Self, ManageError> {
        let made = keys::admin_secret().map_err(|_| ManageError::Randomness)?;
        let secret = management.store.catalogue.secret_setting(&management.master, TOKEN_KEY, &made).await?;
        let key = TokenKey::new(&keys::digest(&secret));
        let both = Guesses::open(&management, Guessed::Name, BY_BOTH).await?;
        let names = Guesses::open(&management, Guessed::Name, BY_NAME).await?;
        let addresses = Guesses::open(&management, Guessed::Address, BY_ADDRESS).await?;
        let (known, looking, links) = (Mutex::default(), Semaphore::new(AT_ONE_TIME), Mutex::default());
        Ok(Self { management, key, both, names, addresses, known, looking, links })
    }

    /// The database that the logins are in.
    pub(crate) const fn management(&self) -> &Management {
        &self.management
    }

    /// Takes a name and a password. What is returned beside the tokens is valid once, for the next pair.
    ///
    /// # Errors
    /// [`LoginError`].
    pub(crate) async fn log_in(
        &self,
        name: &str,
        password: Secret,
        address: IpAddr,
        now: Timestamp,
    ) -> Result<(Tokens, Secret), LoginError> {
        let user = self.checked(&Try::new(name, address), password).await?;
        self.begin_session(user, now).await
    }

    /// Makes what a log-in link holds: good once, for this user, for a day.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub(crate) fn link(&self, user: UserId, now: Timestamp) -> Result<Secret, ManageError> {
        let secret = keys::refresh_token().map_err(|_| ManageError::Randomness)?;
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.insert(keys::digest(&secret), (user, now.plus_ms(LINK_MS)));
        Ok(secret)
    }

    /// Takes what a log-in link holds.
    ///
    /// # Errors
    /// [`LoginError`]; a second time as for one that never was.
    pub(crate) async fn follow_link(
        &self,
        secret: &Secret,
        now: Timestamp,
    ) -> Result<(Tokens, Secret), LoginError> {
        let found = self.links.lock().unwrap_or_else(PoisonError::into_inner).remove(&keys::digest(secret));
        let (user, until) = found.ok_or(LoginError::BadToken)?;
        let user = self.enabled(user).await?.filter(|_| now < until).ok_or(LoginError::BadToken)?;
        self.begin_session(user, now).await
    }

    async fn begin_session(&self, user: User, now: Timestamp) -> Result<(Tokens, Secret), LoginError> {
        let secret = fresh()?;
        let (token, expires_at) = (keys::digest(&secret), now.plus_ms(SESSION_MS));
        let session = self.management.store.sessions.begin_session(user.id, token, now, expires_at).await?;
        Ok((self.tokens(user, session, now), of_session(&secret, session)))
    }

    /// The user whose password this is, if anybody may try it now. Times of tries are the steady clock's.
    async fn checked(&self, tried: &Try<'_>, password: Secret) -> Result<User, LoginError> {
        let (management, at) = (&self.management, clock::steady());
        self.addresses.begin(management, &tried.address, at).await?;
        let begun = self.begin(tried, at).await;
        if begun.is_err() {
            // A try that is not made says nothing of its address.
            self.addresses.change(management, &tried.address, at, Lockout::forgive).await?;
        }
        begun?;
        let known = management.store.catalogue.password(tried.name).await?;
        let looked = {
            let _place = self.looking.acquire().await;
            right(password, known).await
        };
        let user = looked.ok_or(LoginError::Wrong)?;
        self.both.change(management, &tried.both, at, Lockout::succeed).await?;
        self.names.change(management, tried.name, at, Lockout::forgive).await?;
        // Whoever has one account must not wipe out their guesses at others.
        self.addresses.change(management, &tried.address, at, Lockout::forgive).await?;
        self.know(tried);
        Ok(user)
    }

    async fn begin(&self, tried: &Try<'_>, at: Timestamp) -> Result<(), LoginError> {
        self.both.begin(&self.management, &tried.both, at).await?;
        if self.is_known(tried) {
            return Ok(());
        }
        let begun = self.names.begin(&self.management, tried.name, at).await;
        if begun.is_err() {
            self.both.change(&self.management, &tried.both, at, Lockout::forgive).await?;
        }
        begun
    }

    fn is_known(&self, tried: &Try<'_>) -> bool {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).contains(&digest(&tried.both))
    }

    fn know(&self, tried: &Try<'_>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(digest(&tried.both));
    }

    /// Takes a refresh token. One that was used before ends its session, because somebody has stolen it or its
    /// successor.
    ///
    /// # Errors
    /// [`LoginError`].
    pub(crate) async fn refresh(
        &self,
        token: &Secret,
        now: Timestamp,
    ) -> Result<(Tokens, Secret), LoginError> {
        let (tokens, next) = self.rotate(token, now, 0).await?;
        next.map(|next| (tokens, next)).ok_or(LoginError::BadToken)
    }

    /// The same for a browser, whose tabs share one token: the one before is good for some seconds more. There is no
    /// next one for it then, since the first tab has it.
    ///
    /// # Errors
    /// [`LoginError`].
    pub(crate) async fn refresh_shared(
        &self,
        token: &Secret,
        now: Timestamp,
    ) -> Result<(Tokens, Option<Secret>), LoginError> {
        self.rotate(token, now, GRACE_MS).await
    }

    async fn rotate(
        &self,
        token: &Secret,
        now: Timestamp,
        grace_ms: u64,
    ) -> Result<(Tokens, Option<Secret>), LoginError> {
        let (old, session) = parts(token).ok_or(LoginError::BadToken)?;
        let new = fresh()?;
        let change = TokenChange { token: keys::digest(&old), next: keys::digest(&new), grace_ms };
        let expires_at = now.plus_ms(SESSION_MS);
        match self.management.store.sessions.rotate_session(session, change, now, expires_at).await? {
            Rotated::Replaced(user) => {
                let user = self.enabled(user).await?.ok_or(LoginError::BadToken)?;
                Ok((self.tokens(user, session, now), Some(of_session(&new, session))))
            }
            Rotated::Lately(user) => {
                let user = self.enabled(user).await?.ok_or(LoginError::BadToken)?;
                Ok((self.tokens(user, session, now), None))
            }
            Rotated::Reused => {
                tracing::warn!(%session, "a refresh token came twice: its session is ended");
                Err(LoginError::BadToken)
            }
            Rotated::Unknown => Err(LoginError::BadToken),
        }
    }

    /// Ends the login of a refresh token, whether it is the newest or not.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn end(&self, token: &Secret, now: Timestamp) -> Result<(), LoginError> {
        match self.rotate(token, now, GRACE_MS).await {
            Ok(_) => {}
            Err(LoginError::BadToken) => return Ok(()),
            Err(error) => return Err(error),
        }
        let Some((_, session)) = parts(token) else { return Ok(()) };
        Ok(self.management.store.sessions.end_session(session, now).await?)
    }

    /// Who an access token stands for, if its login is not over.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn visitor(&self, token: &str, now: Timestamp) -> Result<Option<Visitor>, ManageError> {
        let Some(claims) = self.key.read(token, now) else { return Ok(None) };
        let open = self.management.store.sessions.session_user(claims.sid, now).await?;
        let Some(user) = open.filter(|user| *user == claims.sub) else { return Ok(None) };
        Ok(self.enabled(user).await?.map(|user| Visitor { user, session: claims.sid }))
    }

    /// Whether a login is still open, and its user may log in.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn lasts(&self, visitor: &Visitor, now: Timestamp) -> Result<bool, ManageError> {
        let open = self.management.store.sessions.session_user(visitor.session, now).await?;
        if open != Some(visitor.user.id) {
            return Ok(false);
        }
        let user = self.enabled(visitor.user.id).await?;
        // Who was let in as a user needs no more than that.
        let may = |user: User| user.role == Role::Admin || visitor.user.role == Role::User;
        Ok(user.is_some_and(may))
    }

    /// The user of this id, if there is one who may log in.
    async fn enabled(&self, user: UserId) -> Result<Option<User>, ManageError> {
        match self.management.store.catalogue.user(user).await {
            Ok(user) => Ok(Some(user).filter(|user| user.enabled)),
            Err(StoreError::NotFound(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Ends a login: neither of its tokens is valid any more.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn log_out(&self, visitor: &Visitor, now: Timestamp) -> Result<(), ManageError> {
        Ok(self.management.store.sessions.end_session(visitor.session, now).await?)
    }

    /// Sets a visitor's own password, by the one before it, and ends the visitor's other logins. `management` notes who
    /// did it.
    ///
    /// # Errors
    /// [`LoginError`]; wrong ones count as they do for logging in.
    pub(crate) async fn change_password(
        &self,
        visitor: &Visitor,
        (management, address): (&Management, IpAddr),
        old: Secret,
        new: Secret,
        now: Timestamp,
    ) -> Result<(), LoginError> {
        self.checked(&Try::new(&visitor.user.name, address), old).await?;
        let hash = hashed(new).await?;
        Ok(management
            .store
            .catalogue
            .change_own_password(visitor.user.id, &hash, visitor.session, now)
            .await?)
    }

    fn tokens(&self, user: User, session: SessionId, now: Timestamp) -> Tokens {
        let access = Secret::new(self.key.issue(user.id, session, now));
        Tokens { access, access_ms: ACCESS_MS, user }
    }
}

/// A refresh token: a secret, and the session that it is of.
fn of_session(secret: &Secret, session: SessionId) -> Secret {
    Secret::new(format!("{}.{session}", secret.expose()))
}

fn parts(token: &Secret) -> Option<(Secret, SessionId)> {
    let (secret, session) = token.expose().rsplit_once('.')?;
    Some((Secret::new(secret.to_owned()), session.parse().ok()?))
}

/// Wrong passwords by name or by address, in memory and in the database.
struct Guesses {
    kind: Guessed,
    known: Mutex<Lockout<[u8; 32]>>,
}

impl Guesses {
    async fn open(
        management: &Management,
        kind: Guessed,
        (free, wait_ms_max): (u32, u64),
    ) -> Result<Self, ManageError> {
        let (mut known, now) = (Lockout::new(free, wait_ms_max), clock::now());
        for (guessed, wrong, last) in management.store.sessions.lockouts(kind, now).await? {
            // The clock may have been ahead then.
            known.restore(guessed, wrong, last.min(now));
        }
        Ok(Self { kind, known: Mutex::new(known) })
    }

    /// Counts a try before it is known to be wrong.
    async fn begin(&self, management: &Management, guessed: &str, now: Timestamp) -> Result<(), LoginError> {
        let begin = |known: &mut Lockout<[u8; 32]>, digest: &[u8; 32]| known.begin(digest, now);
        self.change(management, guessed, now, begin).await?.map_err(LoginError::Locked)
    }

    /// Changes what is known of a name or address, and stores it if it changed: a try that is locked out writes
    /// nothing.
    async fn change<T>(
        &self,
        management: &Management,
        guessed: &str,
        now: Timestamp,
        change: impl FnOnce(&mut Lockout<[u8; 32]>, &[u8; 32]) -> T,
    ) -> Result<T, LoginError> {
        let digest = digest(guessed);
        let (result, before, after) = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let before = known.tries(&digest);
            let result = change(&mut known, &digest);
            (result, before, known.tries(&digest))
        };
        if before != after {
            let (wrong, last) = after.unwrap_or((0, now));
            management.store.sessions.keep_lockout(self.kind, (digest, wrong, last)).await?;
        }
        Ok(result)
    }
}

fn digest(guessed: &str) -> [u8; 32] {
    keys::digest(&Secret::new(guessed.to_owned()))
}

/// The user whose password this is. Takes as long where there is none.
async fn right(password: Secret, known: Option<(User, String)>) -> Option<User> {
    let stored = known.as_ref().map(|(_, hash)| hash.clone());
    let right = tokio::task::spawn_blocking(move || password::verify(&password, stored.as_deref())).await;
    known.map(|(user, _)| user).filter(|_| right.unwrap_or(false))
}

fn fresh() -> Result<Secret, LoginError> {
    keys::refresh_token().map_err(|_| ManageError::Randomness.into())
}

#[cfg(test)]
mod tests {
    use super::neighbourhood;

    #[test]
    fn an_address_stands_for_all_that_its_owner_has() {
        let check = |address: &str, expected: &str| {
            assert_eq!(neighbourhood(address.parse().unwrap()).to_string(), expected);
        };
        check("192.0.2.7", "192.0.2.7");
        check("::ffff:192.0.2.7", "192.0.2.7");
        check("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::");
        check("2001:db8:1:2:ffff::1", "2001:db8:1:2::");
        check("2001:db8:1:3::1", "2001:db8:1:3::");
        check("::1", "::");
    }
}
