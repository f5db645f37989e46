//! Everything that a server decides from, read in one transaction.

use std::collections::HashMap;

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, SqliteConnection};
use tollgate_core::id::{ApiKeyId, CredentialId};
use tollgate_core::time::Timestamp;

use crate::catalogue::snapshot::Snapshot;
use crate::error::StoreError;
use crate::feed::Feed;
use crate::ledger::booking::Credit;
use crate::sqlite::error::Doing;
use crate::sqlite::open::Database;
use crate::sqlite::row::{Row, fields};
use crate::sqlite::{api_key, balance, credential, model_route, price, price_rate, user};

#[async_trait]
impl Feed for Database {
    async fn api_key_tokens_today(&self, now: Timestamp) -> Result<HashMap<ApiKeyId, u64>, StoreError> {
        self.api_key_tokens_today(now).await
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

    async fn transfers_since(&self, seq: i64) -> Result<Vec<Credit>, StoreError> {
        self.transfers_since(seq).await
    }

    async fn revision(&self) -> Result<i64, StoreError> {
        sqlx::query_scalar("SELECT value FROM revision")
            .fetch_one(self.pool())
            .await
            .doing("reading the revision")
    }

    async fn load(&self, now: Timestamp) -> Result<Snapshot, StoreError> {
        let mut tx = self.pool().begin().await.doing("loading")?;
        let revision = number(&mut tx, "SELECT value FROM revision").await?;
        let seq = number(&mut tx, "SELECT COALESCE(MAX(seq), 0) FROM transfer").await?;
        let snapshot = Snapshot {
            revision,
            seq,
            users: rows(&mut tx, "user", by_id(user::COLUMNS), user::user).await?,
            api_keys: rows(&mut tx, "API key", by_id(api_key::COLUMNS), api_key::api_key).await?,
            credentials: rows(&mut tx, "credential", by_id(credential::COLUMNS), credential::credential)
                .await?,
            routes: rows(&mut tx, "model route", model_route::SELECT.to_owned(), model_route::model_route)
                .await?,
            prices: price::schedule(&mut tx, now).await?,
            price_rates: price_rate::all(&mut tx).await?,
            balances: balance::all(&mut tx).await?,
        };
        tx.commit().await.doing("loading")?;
        Ok(snapshot)
    }
}

async fn number(connection: &mut SqliteConnection, query: &'static str) -> Result<i64, StoreError> {
    sqlx::query_scalar(query).fetch_one(connection).await.doing("loading")
}

fn by_id(columns: &str) -> String {
    format!("{columns} ORDER BY id")
}

async fn rows<T>(
    connection: &mut SqliteConnection,
    what: &'static str,
    query: String,
    read: impl Fn(&mut Row<'_>) -> Option<T>,
) -> Result<Vec<T>, StoreError> {
    let rows = sqlx::query(AssertSqlSafe(query)).fetch_all(connection).await.doing("loading")?;
    rows.iter().map(|row| fields(what, row, &read)).collect()
}
