//! Everything that a server decides from, read in one transaction.

use sqlx::SqliteConnection;
use tollgate_core::time::Timestamp;

use crate::catalogue::snapshot::Snapshot;
use crate::error::StoreError;
use crate::ledger::account::Balance;
use crate::sqlite::error::Doing;
use crate::sqlite::open::Store;
use crate::sqlite::row::{Row, fields};
use crate::sqlite::{api_key, balance, credential, model_route, price, price_rate, user};

impl Store {
    /// Reads everything, prices as of `now`. A server calls it at its start, after [`Store::sweep`], and when the revision changes.
    ///
    /// # Errors
    /// When the database fails or holds a damaged row.
    pub async fn load(&self, now: Timestamp) -> Result<Snapshot, StoreError> {
        let mut tx = self.pool().begin().await.doing("loading")?;
        let revision = number(&mut tx, "SELECT value FROM revision").await?;
        let seq = number(&mut tx, "SELECT COALESCE(MAX(seq), 0) FROM transfer").await?;
        let snapshot = Snapshot {
            revision,
            seq,
            users: rows(&mut tx, "user", user::SELECT, user::user).await?,
            api_keys: rows(&mut tx, "API key", api_key::SELECT, api_key::api_key).await?,
            credentials: rows(&mut tx, "credential", credential::SELECT, credential::credential).await?,
            routes: rows(&mut tx, "model route", model_route::SELECT, model_route::model_route).await?,
            prices: price::schedule(&mut tx, now).await?,
            price_rates: price_rate::all(&mut tx).await?,
            balances: balance::all(&mut tx).await?,
        };
        tx.commit().await.doing("loading")?;
        Ok(snapshot)
    }

    /// The balances of all users at this moment, open holds counted.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn balances(&self) -> Result<Vec<Balance>, StoreError> {
        let mut connection = self.pool().acquire().await.doing("reading balances")?;
        balance::all(&mut connection).await
    }
}

async fn number(connection: &mut SqliteConnection, query: &'static str) -> Result<i64, StoreError> {
    sqlx::query_scalar(query).fetch_one(connection).await.doing("loading")
}

async fn rows<T>(
    connection: &mut SqliteConnection,
    what: &'static str,
    query: &'static str,
    read: impl Fn(&mut Row<'_>) -> Option<T>,
) -> Result<Vec<T>, StoreError> {
    let rows = sqlx::query(query).fetch_all(connection).await.doing("loading")?;
    rows.iter().map(|row| fields(what, row, &read)).collect()
}
