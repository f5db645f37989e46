//! Everything that a server decides from, read in one transaction; the feed of what has changed since, and the parts of
//! it.
//!
//! The rows of the feed come from triggers: see migration 16.

use std::collections::{BTreeSet, HashMap};

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, SqliteConnection};
use tollgate_core::id::{ApiKeyId, CredentialId, RouteId, UserId};
use tollgate_core::time::Timestamp;

use crate::catalogue::model_route::ModelRoute;
use crate::error::StoreError;
use crate::feed::{Change, Changed, Feed, News, Part, Wanted};
use crate::ledger::account::Balance;
use crate::ledger::booking::Credit;
use crate::snapshot::Snapshot;
use crate::sqlite::error::Doing;
use crate::sqlite::open::Database;
use crate::sqlite::row::{IN_LIST, Row, fields, list, loaded, readable, stored};
use crate::sqlite::{api_key, balance, credential, model_route, price, price_rate, user};

const LAST_TRANSFER: &str = "SELECT COALESCE(MAX(seq), 0) FROM transfer";

#[async_trait]
impl Feed for Database {
    async fn load(&self, now: Timestamp) -> Result<Snapshot, StoreError> {
        let mut tx = self.pool().begin().await.doing("loading")?;
        let change = number(&mut tx, "SELECT COALESCE(MAX(seq), 0) FROM change").await?;
        let seq = number(&mut tx, LAST_TRANSFER).await?;
        let snapshot = Snapshot {
            change: loaded(change),
            seq,
            users: all(&mut tx, "user", user::COLUMNS, user::user).await?,
            api_keys: all(&mut tx, "API key", api_key::COLUMNS, api_key::api_key).await?,
            credentials: all(&mut tx, "credential", credential::COLUMNS, credential::credential).await?,
            routes: routes(&mut tx).await?,
            prices: price::schedule(&mut tx, now).await?,
            price_rates: price_rate::all(&mut tx).await?,
            balances: balance::all(&mut tx).await?,
        };
        tx.commit().await.doing("loading")?;
        Ok(snapshot)
    }

    async fn changes_since(&self, seq: u64, limit: u32) -> Result<News, StoreError> {
        let rows = sqlx::query("SELECT seq, kind, id FROM change WHERE seq >= ? ORDER BY seq LIMIT ? + 1")
            .bind(stored(seq))
            .bind(limit)
            .fetch_all(self.pool())
            .await
            .doing("reading what has changed")?;
        let read = rows.iter().map(|row| fields("change", row, change));
        // What cannot be read may have been anything: everything is read then.
        let Ok(changes) = read.collect::<Result<Vec<_>, _>>() else { return Ok(News::Gap) };
        match changes.split_first() {
            Some((known, new)) if known.seq == seq => Ok(News::Changes(new.to_vec())),
            _ => Ok(News::Gap),
        }
    }

    async fn read(&self, wanted: &Wanted, now: Timestamp) -> Result<Part, StoreError> {
        let mut tx = self.pool().begin().await.doing("loading")?;
        let seq = number(&mut tx, LAST_TRANSFER).await?;
        let credentials = ids(wanted.credentials.iter().map(CredentialId::as_bytes));
        let credentials = some(
            &mut tx,
            "credential",
            credential::COLUMNS,
            "id",
            credentials.as_deref(),
            credential::credential,
        )
        .await?;
        let mut users = wanted.users.clone();
        users.extend(credentials.iter().filter_map(|credential| credential.user));
        let keys = ids(wanted.api_keys.iter().map(ApiKeyId::as_bytes));
        let mut api_keys =
            some(&mut tx, "API key", api_key::COLUMNS, "id", keys.as_deref(), api_key::api_key).await?;
        let of_users = ids(users.iter().map(UserId::as_bytes));
        let theirs =
            some(&mut tx, "API key", api_key::COLUMNS, "user_id", of_users.as_deref(), api_key::api_key)
                .await?;
        api_keys.extend(theirs.into_iter().filter(|key| !wanted.api_keys.contains(&key.id)));
        users.extend(api_keys.iter().map(|key| key.user));
        let owners = ids(users.iter().map(UserId::as_bytes));
        let part = Part {
            seq,
            users: some(&mut tx, "user", user::COLUMNS, "id", owners.as_deref(), user::user).await?,
            price_rates: price_rate::of(&mut tx, owners.as_deref()).await?,
            balances: balances(&mut tx, &wanted.users).await?,
            api_keys,
            credentials,
            prices: if wanted.prices { Some(price::schedule(&mut tx, now).await?) } else { None },
            routes: routes_of(&mut tx, wanted).await?,
        };
        tx.commit().await.doing("loading")?;
        Ok(part)
    }

    async fn transfers_since(&self, seq: i64) -> Result<Vec<Credit>, StoreError> {
        self.transfers_since(seq).await
    }

    async fn api_key_tokens_today(
        &self,
        of: Option<&[ApiKeyId]>,
        now: Timestamp,
    ) -> Result<HashMap<ApiKeyId, u64>, StoreError> {
        match of {
            None => self.api_key_tokens_today(now).await,
            Some(keys) => self.tokens_today_of(keys, now).await,
        }
    }

    async fn credential_tokens_today(
        &self,
        now: Timestamp,
    ) -> Result<HashMap<CredentialId, u64>, StoreError> {
        self.credential_tokens_today(now).await
    }

    async fn lent_today(&self, now: Timestamp) -> Result<HashMap<CredentialId, u64>, StoreError> {
        self.lent_today(now).await
    }
}

fn change(row: &mut Row<'_>) -> Option<Change> {
    let (seq, kind) = (row.u64()?, row.get::<&str>()?);
    let what = match kind {
        "everything" => Changed::Everything,
        "price" => Changed::Prices,
        kind => {
            let id = row.bytes()?;
            match kind {
                "user" => Changed::User(UserId::from_bytes(id)),
                "key" => Changed::ApiKey(ApiKeyId::from_bytes(id)),
                "credential" => Changed::Credential(CredentialId::from_bytes(id)),
                "route" => Changed::ModelRoute(RouteId::from_bytes(id)),
                "points" => Changed::Points(UserId::from_bytes(id)),
                _ => return None,
            }
        }
    };
    Some(Change { seq, what })
}

/// Tells the servers that points of a user moved, within the transaction that moves them.
pub(crate) async fn tell_of_points(
    connection: &mut SqliteConnection,
    user: UserId,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO change (kind, id) VALUES ('points', ?)")
        .bind(user.as_bytes().as_slice())
        .execute(connection)
        .await
        .doing("booking points")?;
    Ok(())
}

/// A list of ids as [`some`] takes it; `None` for an empty list, for which no query is needed.
fn ids<'a>(ids: impl ExactSizeIterator<Item = &'a [u8; 16]>) -> Option<String> {
    (ids.len() > 0).then(|| list(ids))
}

async fn number(connection: &mut SqliteConnection, query: &'static str) -> Result<i64, StoreError> {
    sqlx::query_scalar(query).fetch_one(connection).await.doing("loading")
}

async fn routes(connection: &mut SqliteConnection) -> Result<Vec<ModelRoute>, StoreError> {
    all(connection, "model route", model_route::COLUMNS, model_route::model_route).await
}

async fn routes_of(
    connection: &mut SqliteConnection,
    wanted: &Wanted,
) -> Result<Vec<ModelRoute>, StoreError> {
    let ids = ids(wanted.routes.iter().map(RouteId::as_bytes));
    let (columns, read) = (model_route::COLUMNS, model_route::model_route);
    some(connection, "model route", columns, "id", ids.as_deref(), read).await
}

async fn balances(
    connection: &mut SqliteConnection,
    users: &BTreeSet<UserId>,
) -> Result<Vec<Balance>, StoreError> {
    if users.is_empty() {
        return Ok(Vec::new());
    }
    balance::of(connection, &users.iter().copied().collect::<Vec<_>>()).await
}

async fn all<T>(
    connection: &mut SqliteConnection,
    what: &'static str,
    columns: &'static str,
    read: impl Fn(&mut Row<'_>) -> Option<T>,
) -> Result<Vec<T>, StoreError> {
    let query = AssertSqlSafe(format!("{columns} ORDER BY id"));
    let rows = sqlx::query(query).fetch_all(connection).await.doing("loading")?;
    Ok(readable(what, &rows, &read))
}

/// The rows whose `column` is among the ids.
async fn some<T>(
    connection: &mut SqliteConnection,
    what: &'static str,
    columns: &'static str,
    column: &'static str,
    ids: Option<&str>,
    read: impl Fn(&mut Row<'_>) -> Option<T>,
) -> Result<Vec<T>, StoreError> {
    let Some(ids) = ids else { return Ok(Vec::new()) };
    let query = AssertSqlSafe(format!("{columns} WHERE {column} {IN_LIST} ORDER BY id"));
    let rows = sqlx::query(query).bind(ids).fetch_all(connection).await.doing("loading")?;
    Ok(readable(what, &rows, &read))
}
