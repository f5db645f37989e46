//! Logins: a password for a pair of tokens, a refresh token for the next pair. The access token is short-lived and
//! names the user; the refresh token is good once, and the session that it stands for is a row of the database.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use tollgate_core::id::{SessionId, UserId};
use tollgate_core::lockout::Lockout;
use tollgate_core::secret::Secret;
use tollgate_core::time::{DAY_MS, Timestamp};
use tollgate_store::{Guessed, Rotated, StoreError};

pub(crate) use tollgate_store::User;

use super::users::hashed;
use super::{ManageError, Management};
use crate::auth::jwt::{ACCESS_MS, TokenKey};
use crate::auth::{keys, password};
use crate::clock;

/// The sealed setting from which the key of access tokens is derived.
const TOKEN_KEY: &str = "token_key";
/// How long a session lasts after its last refresh.
const SESSION_MS: u64 = 30 * DAY_MS;
/// Wrong passwords for one name before the first wait.
const FREE_BY_NAME: u32 = 5;
/// Wrong passwords from one address before the first wait: many people may share one.
const FREE_BY_ADDRESS: u32 = 20;

/// Who may manage what, by password or token.
pub(crate) struct Logins {
    management: Management,
    key: TokenKey,
    names: Guesses,
    addresses: Guesses,
}

/// What a client gets for a password or a refresh token.
#[derive(Debug)]
pub(crate) struct Tokens {
    /// Names the user for [`Tokens::access_ms`].
    pub(crate) access: Secret,
    /// Milliseconds for which the access token is valid.
    pub(crate) access_ms: u64,
    /// Valid once, for the next pair.
    pub(crate) refresh: Secret,
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
        let names = Guesses::open(&management, Guessed::Name, FREE_BY_NAME).await?;
        let addresses = Guesses::open(&management, Guessed::Address, FREE_BY_ADDRESS).await?;
        Ok(Self { management, key, names, addresses })
    }

    /// The database that the logins are in.
    pub(crate) const fn management(&self) -> &Management {
        &self.management
    }

    /// Takes a name and a password.
    ///
    /// # Errors
    /// [`LoginError`].
    pub(crate) async fn log_in(
        &self,
        name: &str,
        password: Secret,
        address: IpAddr,
        now: Timestamp,
    ) -> Result<Tokens, LoginError> {
        let address = address.to_string();
        self.addresses.begin(&self.management, &address, now).await?;
        self.names.begin(&self.management, name, now).await?;
        let known = self.management.store.catalogue.password(name).await?;
        let user = right(password, known).await.ok_or(LoginError::Wrong)?;
        self.names.change(&self.management, name, now, Lockout::succeed).await?;
        // The owner of one account must not be able to erase their guesses at others.
        self.addresses.change(&self.management, &address, now, Lockout::forgive).await?;
        let secret = fresh()?;
        let (token, expires_at) = (keys::digest(&secret), now.plus_ms(SESSION_MS));
        let session = self.management.store.sessions.begin_session(user.id, token, now, expires_at).await?;
        Ok(self.tokens(user, session, &secret, now))
    }

    /// Takes a refresh token. A token that was used before ends its session, because it or its successor has been
    /// stolen.
    ///
    /// # Errors
    /// [`LoginError`].
    pub(crate) async fn refresh(&self, token: &Secret, now: Timestamp) -> Result<Tokens, LoginError> {
        let (secret, session) = token.expose().rsplit_once('.').ok_or(LoginError::BadToken)?;
        let session: SessionId = session.parse().map_err(|_| LoginError::BadToken)?;
        let (old, new) = (Secret::new(secret.to_owned()), fresh()?);
        let expires_at = now.plus_ms(SESSION_MS);
        let (token, next) = (keys::digest(&old), keys::digest(&new));
        match self.management.store.sessions.rotate_session(session, token, next, now, expires_at).await? {
            Rotated::Replaced(user) => {
                let user = self.enabled(user).await?.ok_or(LoginError::BadToken)?;
                Ok(self.tokens(user, session, &new, now))
            }
            Rotated::Reused => {
                tracing::warn!(%session, "a refresh token came twice: its session is ended");
                Err(LoginError::BadToken)
            }
            Rotated::Unknown => Err(LoginError::BadToken),
        }
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
        management: &Management,
        old: Secret,
        new: Secret,
        now: Timestamp,
    ) -> Result<(), LoginError> {
        let name = &visitor.user.name;
        self.names.begin(&self.management, name, now).await?;
        let known = self.management.store.catalogue.password(name).await?;
        right(old, known).await.ok_or(LoginError::Wrong)?;
        self.names.change(&self.management, name, now, Lockout::succeed).await?;
        let hash = hashed(new).await?;
        Ok(management
            .store
            .catalogue
            .change_own_password(visitor.user.id, &hash, visitor.session, now)
            .await?)
    }

    fn tokens(&self, user: User, session: SessionId, secret: &Secret, now: Timestamp) -> Tokens {
        let access = Secret::new(self.key.issue(user.id, session, now));
        let refresh = Secret::new(format!("{}.{session}", secret.expose()));
        Tokens { access, access_ms: ACCESS_MS, refresh, user }
    }
}

/// Wrong passwords by name or by address, in memory and in the database.
struct Guesses {
    kind: Guessed,
    known: Mutex<Lockout<[u8; 32]>>,
}

impl Guesses {
    async fn open(management: &Management, kind: Guessed, free: u32) -> Result<Self, ManageError> {
        let mut known = Lockout::new(free);
        for (guessed, wrong, last) in management.store.sessions.lockouts(kind, clock::now()).await? {
            known.restore(guessed, wrong, last);
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
        let digest = keys::digest(&Secret::new(guessed.to_owned()));
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

/// The user whose password this is. Takes equally long without one.
async fn right(password: Secret, known: Option<(User, String)>) -> Option<User> {
    let stored = known.as_ref().map(|(_, hash)| hash.clone());
    let right = tokio::task::spawn_blocking(move || password::verify(&password, stored.as_deref())).await;
    known.map(|(user, _)| user).filter(|_| right.unwrap_or(false))
}

fn fresh() -> Result<Secret, LoginError> {
    keys::refresh_token().map_err(|_| ManageError::Randomness.into())
}
