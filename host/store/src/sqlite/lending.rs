//! Lent credentials: who lends which, with recorded consent, and what it was used for.

use std::collections::HashMap;

use async_trait::async_trait;
use serde_json::json;
use tollgate_core::id::{CredentialId, RequestId};
use tollgate_core::outcome::Outcome;
use tollgate_core::points::Micropoints;
use tollgate_core::time::{DAY_MS, Timestamp};

use crate::catalogue::audit::Note;
use crate::catalogue::lending::{Lending, LentUse, Loan};
use crate::entry::{Movement, transfer_id};
use crate::error::StoreError;
use crate::sqlite::amounts::units_of;
use crate::sqlite::error::{Doing, is_duplicate, is_refusal};
use crate::sqlite::open::Database;
use crate::sqlite::row::{Row, fields, loaded, readable, stored};

/// The loan of a joined row; NULL where there is none.
#[expect(clippy::option_option, reason = "the outer one is a column that is damaged")]
pub(crate) fn loan(row: &mut Row<'_>) -> Option<Option<Loan>> {
    let number: Option<i64> = row.get()?;
    let requests_per_day: Option<i64> = row.get()?;
    let (consent, actor): (Option<String>, Option<String>) = (row.get()?, row.get()?);
    let at: Option<i64> = row.get()?;
    let Some(number) = number else { return Some(None) };
    Some(Some(Loan {
        number: loaded(number),
        requests_per_day: loaded(requests_per_day?),
        consent: consent?,
        actor: actor?,
        at: Timestamp::from_millis(loaded(at?)),
    }))
}

#[async_trait]
impl Lending for Database {
    async fn lend(
        &self,
        credential: CredentialId,
        requests_per_day: u64,
        consent: &str,
        actor: &str,
        now: Timestamp,
    ) -> Result<Loan, StoreError> {
        const DOING: &str = "lending a credential";
        let id = credential.as_bytes().as_slice();
        let mut tx = self.pool().begin_with("BEGIN IMMEDIATE").await.doing(DOING)?;
        let own: Option<bool> = sqlx::query_scalar(
            "SELECT owner = 'user' AND platform IS NULL AND fingerprint IS NOT NULL FROM credential WHERE id = ?",
        )
        .bind(id)
        .fetch_optional(&mut *tx)
        .await
        .doing(DOING)?;
        if !own.ok_or(StoreError::NotFound("credential"))? {
            return Err(StoreError::Invalid("only a user's own credential of the provider itself can be lent: where others lead, its owner says".to_owned()));
        }
        sqlx::query("DELETE FROM pool_loan WHERE credential = ?")
            .bind(id)
            .execute(&mut *tx)
            .await
            .doing(DOING)?;
        let inserted = sqlx::query(
            "INSERT INTO pool_loan (credential, fingerprint, requests_per_day, consent, actor, at_ms) \
             SELECT id, fingerprint, ?2, ?3, ?4, ?5 FROM credential WHERE id = ?1",
        )
        .bind(id)
        .bind(stored(requests_per_day))
        .bind(consent)
        .bind(actor)
        .bind(stored(now.millis()))
        .execute(&mut *tx)
        .await;
        let number = match inserted {
            Ok(done) => loaded(done.last_insert_rowid()),
            Err(error) if is_duplicate(&error) => return Err(StoreError::Exists("lent key")),
            Err(error) if is_refusal(&error) => {
                return Err(StoreError::Invalid(
                    "a lent credential serves 1 request a day or more".to_owned(),
                ));
            }
            Err(error) => return Err(error).doing(DOING),
        };
        let detail = json!({"consent": consent, "requests_per_day": requests_per_day});
        self.note(&mut tx, noted("credential.share", credential, detail), now).await?;
        tx.commit().await.doing(DOING)?;
        let (consent, actor) = (consent.to_owned(), actor.to_owned());
        Ok(Loan { number, requests_per_day, consent, actor, at: now })
    }

    async fn withdraw(&self, credential: CredentialId, now: Timestamp) -> Result<Option<u64>, StoreError> {
        const DOING: &str = "withdrawing a credential";
        let mut tx = self.pool().begin_with("BEGIN IMMEDIATE").await.doing(DOING)?;
        let ended: Option<i64> =
            sqlx::query_scalar("DELETE FROM pool_loan WHERE credential = ? RETURNING number")
                .bind(credential.as_bytes().as_slice())
                .fetch_optional(&mut *tx)
                .await
                .doing(DOING)?;
        if let Some(number) = ended {
            let note = noted("credential.unshare", credential, json!({"loan": number}));
            self.note(&mut tx, note, now).await?;
        }
        tx.commit().await.doing(DOING)?;
        Ok(ended.map(loaded))
    }

    async fn lent_uses(
        &self,
        credential: CredentialId,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<LentUse>, StoreError> {
        const DOING: &str = "reading uses of a credential";
        // The record is that of the attempt that ended the request; others have none.
        let rows = sqlx::query(
            "SELECT used.number, used.request, used.at_ms, used.model, record.outcome, COALESCE(record.usage, '{}'), \
             used.attempt = (SELECT MAX(attempt) FROM pool_use AS other WHERE other.request = used.request) \
             FROM pool_use AS used LEFT JOIN request_record AS record ON record.request = used.request \
             AND record.attempts = used.attempt AND record.credential = used.credential \
             WHERE used.credential = ? AND used.number < ? ORDER BY used.number DESC LIMIT ?",
        )
        .bind(credential.as_bytes().as_slice())
        .bind(before.map_or(i64::MAX, stored))
        .bind(stored(limit as u64))
        .fetch_all(self.pool())
        .await
        .doing(DOING)?;
        let mut uses = Vec::with_capacity(rows.len());
        for row in &rows {
            let (request, mut used, last) = fields("use", row, lent_use)?;
            // The last attempt earned what was earned, and that stays known when the record has been removed.
            if last {
                let earned: Option<i64> = sqlx::query_scalar("SELECT amount FROM transfer WHERE id = ?")
                    .bind(transfer_id(request, Movement::Earning).as_bytes().as_slice())
                    .fetch_optional(self.pool())
                    .await
                    .doing(DOING)?;
                used.earned = Micropoints::new(earned.unwrap_or(0));
            }
            uses.push(used);
        }
        Ok(uses)
    }
}

impl Database {
    /// How often others have used each lent credential since midnight UTC. A server asks at its start, to go on
    /// counting.
    pub(crate) async fn lent_today(&self, now: Timestamp) -> Result<HashMap<CredentialId, u64>, StoreError> {
        let midnight = now.day() * DAY_MS;
        // Ids are ordered by time, so this reads the requests of two days: some that came before midnight were sent
        // after it.
        let since = RequestId::new(Timestamp::from_millis(midnight.saturating_sub(DAY_MS)), [0; 10]);
        let rows = sqlx::query(
            "SELECT credential, COUNT(*) FROM pool_use WHERE request >= ? AND at_ms >= ? GROUP BY credential",
        )
        .bind(since.as_bytes().as_slice())
        .bind(stored(midnight))
        .fetch_all(self.pool())
        .await
        .doing("counting uses of lent credentials")?;
        let read = |row: &mut Row<'_>| Some((CredentialId::from_bytes(row.bytes()?), row.u64()?));
        Ok(readable("use", &rows, read))
    }
}

fn noted(action: &'static str, credential: CredentialId, detail: serde_json::Value) -> Note<'static> {
    Note { action, kind: "credential", target: credential.to_string(), detail }
}

fn lent_use(row: &mut Row<'_>) -> Option<(RequestId, LentUse, bool)> {
    let (number, request) = (row.u64()?, RequestId::from_bytes(row.bytes()?));
    let (at, model) = (Timestamp::from_millis(row.u64()?), row.get()?);
    let outcome = match row.get::<Option<&str>>()? {
        Some(name) => Some(Outcome::ALL.into_iter().find(|outcome| outcome.name() == name)?),
        None => None,
    };
    let usage = units_of(row.get()?)?;
    let (prompt_tokens, output_tokens) = (usage.prompt_total(), usage.output_total());
    let earned = Micropoints::ZERO;
    let used = LentUse { number, at, model, outcome, prompt_tokens, output_tokens, earned };
    Some((request, used, row.get()?))
}
