//! The reward for bringing a provider key: granted once per key and provider account, no matter who brings it or how
//! often; and once per user and provider where the provider does not name the account.

use async_trait::async_trait;
use serde_json::json;
use tollgate_core::id::TransferId;
use tollgate_core::points::{MOVEMENT_MAX, Micropoints};
use tollgate_core::time::Timestamp;

use crate::catalogue::audit::Note;
use crate::error::StoreError;
use crate::ledger::booking::{Granted, Reward, Rewards};
use crate::sqlite::error::Doing;
use crate::sqlite::feed::tell_of_points;
use crate::sqlite::open::{Database, random};
use crate::sqlite::row::stored;
use crate::sqlite::sql::{Code, Kind, Origin, account};

#[async_trait]
impl Rewards for Database {
    async fn reward(&self, reward: &Reward<'_>, now: Timestamp) -> Result<Option<Granted>, StoreError> {
        const DOING: &str = "granting a reward";
        if reward.amount <= Micropoints::ZERO {
            return Ok(None);
        }
        if reward.amount > MOVEMENT_MAX {
            return Err(StoreError::Invalid(format!("a reward of {} points cannot be meant", reward.amount)));
        }
        let transfer = TransferId::new(now, random()?);
        // The second caller waits here, and then finds the rows of the first.
        let mut tx = self.pool().begin_with("BEGIN IMMEDIATE").await.doing(DOING)?;
        let mut known = false;
        for fingerprint in reward.fingerprints {
            let found: Option<i64> =
                sqlx::query_scalar("SELECT 1 FROM credential_reward WHERE fingerprint = ?")
                    .bind(fingerprint.as_slice())
                    .fetch_optional(&mut *tx)
                    .await
                    .doing(DOING)?;
            known |= found.is_some();
        }
        if !reward.account_named {
            let before: Option<i64> = sqlx::query_scalar(
                "SELECT 1 FROM credential_reward WHERE user_id = ? AND provider = ? AND transfer IS NOT NULL",
            )
            .bind(reward.user.as_bytes().as_slice())
            .bind(reward.provider)
            .fetch_optional(&mut *tx)
            .await
            .doing(DOING)?;
            known |= before.is_some();
        }
        let mut seq = None;
        if !known {
            let inserted = sqlx::query(
                "INSERT INTO transfer (id, kind, debit, credit, amount, code, memo, origin, at_ms) \
                 SELECT ?, ?, ?, account.id, ?, ?, ?, ?, ? FROM account WHERE owner = ?",
            )
            .bind(transfer.as_bytes().as_slice())
            .bind(Kind::Single as i64)
            .bind(account::ISSUANCE)
            .bind(reward.amount.get())
            .bind(Code::Reward as i64)
            .bind(format!("reward: first credential of an account at {}", reward.provider))
            .bind(Origin::Management as i64)
            .bind(stored(now.millis()))
            .bind(reward.user.as_bytes().as_slice())
            .execute(&mut *tx)
            .await
            .doing(DOING)?;
            if inserted.rows_affected() == 0 {
                return Err(StoreError::NotFound("user"));
            }
            seq = Some(inserted.last_insert_rowid());
            let detail = json!({"amount": reward.amount.to_string(), "provider": reward.provider});
            let target = reward.user.to_string();
            self.note(&mut tx, Note { action: "credential.reward", kind: "user", target, detail }, now)
                .await?;
            tell_of_points(&mut tx, reward.user).await?;
        }
        for fingerprint in reward.fingerprints {
            sqlx::query(
                "INSERT INTO credential_reward (fingerprint, provider, user_id, transfer, at_ms) \
                 VALUES (?, ?, ?, ?, ?) ON CONFLICT (fingerprint) DO NOTHING",
            )
            .bind(fingerprint.as_slice())
            .bind(reward.provider)
            .bind(reward.user.as_bytes().as_slice())
            .bind(seq.map(|_| transfer.as_bytes().to_vec()))
            .bind(stored(now.millis()))
            .execute(&mut *tx)
            .await
            .doing(DOING)?;
        }
        tx.commit().await.doing(DOING)?;
        Ok(seq.map(|seq| Granted { seq, transfer, amount: reward.amount, repeated: false }))
    }
}
