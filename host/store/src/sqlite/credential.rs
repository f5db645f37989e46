//! Credentials: provider keys, sealed before they touch the database, and the state that they are in.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;

use async_trait::async_trait;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use tollgate_core::failure::FailureClass;
use tollgate_core::health::{Condition, Disabled, Rest};
use tollgate_core::id::{CredentialId, RequestId, UserId};
use tollgate_core::limits::{KeyLimits, RateLimits};
use tollgate_core::protocol::Owner;
use tollgate_core::secret::Secret;
use tollgate_core::time::{DAY_MS, Timestamp};

use crate::catalogue::audit::Note;
use crate::catalogue::credential::{
    CheckResult, Credential, CredentialChange, CredentialFilter, CredentialName, CredentialPlace,
    CredentialState, Credentials, NewCredential,
};
use crate::entry::Digest;
use crate::error::StoreError;
use crate::seal::{MasterKey, SealContext, Sealed};
use crate::sqlite::amounts::tokens_of_record;
use crate::sqlite::error::{Doing, is_refusal};
use crate::sqlite::lending;
use crate::sqlite::open::{Database, random};
use crate::sqlite::row::{IN_LIST, Row, fields, list, loaded, readable, stored};
use crate::sqlite::sums::sum;

/// A condition follows.
pub(crate) const COLUMNS: &str = "SELECT id, owner, user_id, provider, label, nonce, sealed, hint, weight, enabled, \
    disabled_reason, created_at, requests_per_minute, tokens_per_minute, tokens_per_day, concurrency, \
    credential.fingerprint, \
    condition, reason, until_ms, failures, checked_at, result, status, platform, settings, \
    loan.number, loan.requests_per_day, loan.consent, loan.actor, loan.at_ms \
    FROM credential LEFT JOIN credential_state ON credential_state.credential = credential.id \
    LEFT JOIN pool_loan AS loan ON loan.credential = credential.id";

pub(crate) fn credential(row: &mut Row<'_>) -> Option<Credential> {
    Some(Credential {
        id: CredentialId::from_bytes(row.bytes()?),
        owner: owner(row.get()?)?,
        user: row.bytes_or_null()?.map(UserId::from_bytes),
        provider: row.get()?,
        label: row.get()?,
        sealed: Sealed { nonce: row.bytes()?, bytes: row.get()? },
        hint: row.get()?,
        weight: row.get()?,
        enabled: row.get()?,
        disabled_reason: row.get()?,
        created_at: Timestamp::from_millis(row.u64()?),
        limits: rates(row)?,
        fingerprint: row.bytes_or_null()?,
        state: state(row)?,
        check: check(row)?,
        platform: row.get()?,
        settings: row.get()?,
        loan: lending::loan(row)?,
    })
}

fn rates(row: &mut Row<'_>) -> Option<RateLimits> {
    let mut number = || Some(row.get::<Option<i64>>()?.map(loaded));
    Some(RateLimits {
        requests_per_minute: number()?,
        tokens_per_minute: number()?,
        tokens_per_day: number()?,
        concurrency: number()?,
    })
}

/// The state, which has no row before it first changes.
fn state(row: &mut Row<'_>) -> Option<CredentialState> {
    let (condition, reason): (Option<&str>, Option<&str>) = (row.get()?, row.get()?);
    let until = Timestamp::from_millis(loaded(row.get::<Option<i64>>()?.unwrap_or_default()));
    let failures: u32 = row.get::<Option<u32>>()?.unwrap_or_default();
    let condition = match (condition, reason) {
        (None | Some("good"), _) => Condition::Good,
        (Some("resting"), Some(name)) => {
            let why = Rest::ALL.into_iter().find(|why| why.name() == name)?;
            Condition::Resting { why, until }
        }
        (Some("disabled"), Some(name)) => {
            let why = Disabled::ALL.into_iter().find(|why| why.name() == name)?;
            Condition::Disabled { why, recheck_at: until }
        }
        _ => return None,
    };
    Some(CredentialState { condition, failures })
}

fn check(row: &mut Row<'_>) -> Option<Option<CheckResult>> {
    let (at, result, status): (Option<i64>, Option<&str>, Option<u16>) = (row.get()?, row.get()?, row.get()?);
    let (Some(at), Some(result)) = (at, result) else { return Some(None) };
    let failure = FailureClass::ALL.into_iter().find(|class| class.name() == result);
    (failure.is_some() || result == GOOD).then_some(Some(CheckResult {
        at: Timestamp::from_millis(loaded(at)),
        failure,
        status,
    }))
}

/// What is stored of a successful check.
const GOOD: &str = "good";

fn owner(name: &str) -> Option<Owner> {
    [Owner::User, Owner::Platform, Owner::Shared].into_iter().find(|owner| owner.name() == name)
}

#[async_trait]
impl Credentials for Database {
    async fn add_credential(
        &self,
        key: &MasterKey,
        new: &NewCredential<'_>,
        now: Timestamp,
    ) -> Result<CredentialId, StoreError> {
        let place = CredentialPlace { platform: None, settings: "{}" };
        self.add_credential_at(key, new, place, now).await
    }

    async fn add_credential_at(
        &self,
        key: &MasterKey,
        new: &NewCredential<'_>,
        place: CredentialPlace<'_>,
        now: Timestamp,
    ) -> Result<CredentialId, StoreError> {
        const DOING: &str = "adding a credential";
        check_limits(new.limits)?;
        let id = CredentialId::new(now, random()?);
        let sealed = key.seal(&SealContext { id, owner: new.owner, provider: new.provider }, new.secret)?;
        let mut tx = self.pool().begin_with("BEGIN IMMEDIATE").await.doing(DOING)?;
        let inserted = sqlx::query(
            "INSERT INTO credential (id, owner, user_id, provider, label, nonce, sealed, hint, weight, created_at, \
             requests_per_minute, tokens_per_minute, tokens_per_day, concurrency, fingerprint, \
             platform, settings) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(id.as_bytes().as_slice())
        .bind(new.owner.name())
        .bind(new.user.as_ref().map(|user| user.as_bytes().as_slice()))
        .bind(new.provider)
        .bind(new.label)
        .bind(sealed.nonce.as_slice())
        .bind(sealed.bytes)
        .bind(new.secret.hint())
        .bind(new.weight)
        .bind(stored(now.millis()))
        .bind(new.limits.requests_per_minute.map(stored))
        .bind(new.limits.tokens_per_minute.map(stored))
        .bind(new.limits.tokens_per_day.map(stored))
        .bind(new.limits.concurrency.map(stored))
        .bind(new.fingerprint.as_slice())
        .bind(place.platform)
        .bind(place.settings)
        .execute(&mut *tx)
        .await;
        match inserted {
            Ok(_) => {}
            Err(error) if is_refusal(&error) => {
                return Err(StoreError::Invalid(
                    "a credential has a weight of 1 to 1000, and a user's own credential has a user"
                        .to_owned(),
                ));
            }
            Err(error) => return Err(error).doing(DOING),
        }
        self.note(&mut tx, noted("credential.add", id, new.detail(place.platform)), now).await?;
        tx.commit().await.doing(DOING)?;
        Ok(id)
    }

    async fn credential(&self, id: CredentialId) -> Result<Credential, StoreError> {
        let row = sqlx::query(AssertSqlSafe(format!("{COLUMNS} WHERE id = ?")))
            .bind(id.as_bytes().as_slice())
            .fetch_optional(self.pool())
            .await
            .doing("finding a credential")?;
        fields("credential", &row.ok_or(StoreError::NotFound("credential"))?, credential)
    }

    async fn find_credentials(&self, filter: &CredentialFilter) -> Result<Vec<Credential>, StoreError> {
        let mut text = format!("{COLUMNS} WHERE id > ?1");
        for (condition, wanted) in [
            (" AND user_id = ?3", filter.user.is_some()),
            (" AND provider = ?4", filter.provider.is_some()),
            (" AND owner = ?5", filter.owner.is_some()),
            (
                " AND (instr(lower(label), lower(?6)) > 0 OR instr(lower(provider), lower(?6)) > 0 \
                 OR instr(lower(hint), lower(?6)) > 0)",
                !filter.search.is_empty(),
            ),
        ] {
            text.push_str(if wanted { condition } else { "" });
        }
        text.push_str(" ORDER BY id LIMIT ?2");
        let rows = sqlx::query(AssertSqlSafe(text))
            .bind(filter.after.as_ref().map_or(&[][..], |id| id.as_bytes().as_slice()))
            .bind(stored(filter.limit as u64))
            .bind(filter.user.as_ref().map(|user| user.as_bytes().as_slice()))
            .bind(filter.provider.as_deref())
            .bind(filter.owner.map(Owner::name))
            .bind(filter.search.as_str())
            .fetch_all(self.pool())
            .await
            .doing("listing credentials")?;
        Ok(readable("credential", &rows, credential))
    }

    async fn credential_names(
        &self,
        ids: &[CredentialId],
    ) -> Result<HashMap<CredentialId, CredentialName>, StoreError> {
        const DOING: &str = "reading the names of credentials";
        let query = format!("SELECT id, user_id, label FROM credential WHERE id {IN_LIST}");
        let rows = sqlx::query(AssertSqlSafe(query))
            .bind(list(ids.iter().map(CredentialId::as_bytes)))
            .fetch_all(self.pool())
            .await
            .doing(DOING)?;
        let read = |row: &mut Row<'_>| {
            let id = CredentialId::from_bytes(row.bytes()?);
            let user = row.bytes_or_null()?.map(UserId::from_bytes);
            Some((id, CredentialName { user, label: row.get()? }))
        };
        let mut names: HashMap<_, _> = readable("credential", &rows, read);
        for id in ids {
            if let Slot::Vacant(slot) = names.entry(*id)
                && let Some(name) = self.name_when_it_was_there(*id).await?
            {
                slot.insert(name);
            }
        }
        Ok(names)
    }

    async fn credentials_without_fingerprint(&self) -> Result<Vec<Credential>, StoreError> {
        let query = AssertSqlSafe(format!("{COLUMNS} WHERE credential.fingerprint IS NULL"));
        let rows = sqlx::query(query).fetch_all(self.pool()).await.doing("listing credentials")?;
        Ok(readable("credential", &rows, credential))
    }

    async fn change_credential(
        &self,
        credential: CredentialId,
        change: &CredentialChange<'_>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        const DOING: &str = "changing a credential";
        check_limits(change.limits)?;
        let mut tx = self.pool().begin_with("BEGIN IMMEDIATE").await.doing(DOING)?;
        let changed = sqlx::query(
            "UPDATE credential SET label = ?1, weight = ?2, enabled = ?3, disabled_reason = CASE WHEN ?3 THEN NULL \
             WHEN enabled THEN 'disabled by its owner' ELSE disabled_reason END, requests_per_minute = ?4, \
             tokens_per_minute = ?5, tokens_per_day = ?6, concurrency = ?7 WHERE id = ?8",
        )
        .bind(change.label)
        .bind(change.weight)
        .bind(change.enabled)
        .bind(change.limits.requests_per_minute.map(stored))
        .bind(change.limits.tokens_per_minute.map(stored))
        .bind(change.limits.tokens_per_day.map(stored))
        .bind(change.limits.concurrency.map(stored))
        .bind(credential.as_bytes().as_slice())
        .execute(&mut *tx)
        .await;
        match changed {
            Ok(done) if done.rows_affected() == 0 => return Err(StoreError::NotFound("credential")),
            Ok(_) => {}
            Err(error) if is_refusal(&error) => {
                return Err(StoreError::Invalid("a credential has a weight of 1 to 1000".to_owned()));
            }
            Err(error) => return Err(error).doing(DOING),
        }
        self.note(&mut tx, noted("credential.change", credential, change.detail()), now).await?;
        tx.commit().await.doing(DOING)
    }

    async fn set_fingerprint(&self, credential: CredentialId, print: &Digest) -> Result<(), StoreError> {
        sqlx::query("UPDATE credential SET fingerprint = ? WHERE id = ? AND fingerprint IS NULL")
            .bind(print.as_slice())
            .bind(credential.as_bytes().as_slice())
            .execute(self.pool())
            .await
            .doing("noting a fingerprint")?;
        Ok(())
    }

    async fn save_state(&self, credential: CredentialId, state: CredentialState) -> Result<(), StoreError> {
        let (condition, reason, until) = match state.condition {
            Condition::Good => ("good", None, None),
            Condition::Resting { why, until } => ("resting", Some(why.name()), Some(until)),
            Condition::Disabled { why, recheck_at } => ("disabled", Some(why.name()), Some(recheck_at)),
        };
        sqlx::query(
            "INSERT INTO credential_state (credential, condition, reason, until_ms, failures) \
             SELECT id, ?2, ?3, ?4, ?5 FROM credential WHERE id = ?1 ON CONFLICT (credential) DO UPDATE SET \
             condition = excluded.condition, reason = excluded.reason, until_ms = excluded.until_ms, \
             failures = excluded.failures",
        )
        .bind(credential.as_bytes().as_slice())
        .bind(condition)
        .bind(reason)
        .bind(until.map(|at| stored(at.millis())))
        .bind(state.failures)
        .execute(self.pool())
        .await
        .doing("keeping a credential's state")?;
        Ok(())
    }

    async fn save_check(&self, credential: CredentialId, check: &CheckResult) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO credential_state (credential, checked_at, result, status) \
             SELECT id, ?2, ?3, ?4 FROM credential WHERE id = ?1 ON CONFLICT (credential) DO UPDATE SET \
             checked_at = excluded.checked_at, result = excluded.result, status = excluded.status",
        )
        .bind(credential.as_bytes().as_slice())
        .bind(stored(check.at.millis()))
        .bind(check.failure.map_or(GOOD, FailureClass::name))
        .bind(check.status)
        .execute(self.pool())
        .await
        .doing("keeping what a check found")?;
        Ok(())
    }

    async fn set_credential_enabled(
        &self,
        credential: CredentialId,
        enabled: bool,
        reason: Option<&str>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        const DOING: &str = "changing a credential";
        let mut tx = self.pool().begin_with("BEGIN IMMEDIATE").await.doing(DOING)?;
        let done = sqlx::query("UPDATE credential SET enabled = ?, disabled_reason = ? WHERE id = ?")
            .bind(enabled)
            .bind(if enabled { None } else { reason })
            .bind(credential.as_bytes().as_slice())
            .execute(&mut *tx)
            .await
            .doing(DOING)?;
        if done.rows_affected() == 0 {
            return Err(StoreError::NotFound("credential"));
        }
        let detail = json!({"enabled": enabled});
        self.note(&mut tx, noted("credential.change", credential, detail), now).await?;
        tx.commit().await.doing(DOING)
    }

    async fn set_credential_secret(
        &self,
        key: &MasterKey,
        id: CredentialId,
        secret: &Secret,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        const DOING: &str = "renewing a credential";
        let Credential { owner, provider, .. } = self.credential(id).await?;
        let sealed = key.seal(&SealContext { id, owner, provider: &provider }, secret)?;
        let mut tx = self.pool().begin_with("BEGIN IMMEDIATE").await.doing(DOING)?;
        let done = sqlx::query("UPDATE credential SET nonce = ?, sealed = ? WHERE id = ?")
            .bind(sealed.nonce.as_slice())
            .bind(sealed.bytes)
            .bind(id.as_bytes().as_slice())
            .execute(&mut *tx)
            .await
            .doing(DOING)?;
        if done.rows_affected() == 0 {
            return Err(StoreError::NotFound("credential"));
        }
        self.note(&mut tx, noted("credential.renew", id, Value::Null), now).await?;
        tx.commit().await.doing(DOING)
    }

    async fn remove_credential(&self, credential: CredentialId, now: Timestamp) -> Result<(), StoreError> {
        const DOING: &str = "removing a credential";
        let mut tx = self.pool().begin_with("BEGIN IMMEDIATE").await.doing(DOING)?;
        let done = sqlx::query("DELETE FROM credential WHERE id = ?")
            .bind(credential.as_bytes().as_slice())
            .execute(&mut *tx)
            .await
            .doing(DOING)?;
        if done.rows_affected() == 0 {
            return Err(StoreError::NotFound("credential"));
        }
        self.note(&mut tx, noted("credential.remove", credential, Value::Null), now).await?;
        tx.commit().await.doing(DOING)
    }
}

impl Database {
    /// What a credential that is gone was called last, and whose it was: the audit log keeps both.
    async fn name_when_it_was_there(&self, id: CredentialId) -> Result<Option<CredentialName>, StoreError> {
        let row = sqlx::query(
            "SELECT (SELECT detail ->> 'user' FROM audit WHERE target = ?1 AND action = 'credential.add'), \
             detail ->> 'label' FROM audit \
             WHERE target = ?1 AND action IN ('credential.add', 'credential.change') AND detail ->> 'label' IS NOT NULL \
             ORDER BY seq DESC LIMIT 1",
        )
        .bind(id.to_string())
        .fetch_optional(self.pool())
        .await
        .doing("reading the name of a credential that is gone")?;
        let read = |row: &mut Row<'_>| {
            let user = row.get::<Option<String>>()?.and_then(|user| user.parse().ok());
            Some(CredentialName { user, label: row.get()? })
        };
        row.map(|row| fields("audit", &row, read)).transpose()
    }

    /// Tokens that credentials have served since midnight UTC. A server asks at its start, to go on counting.
    pub(crate) async fn credential_tokens_today(
        &self,
        now: Timestamp,
    ) -> Result<HashMap<CredentialId, u64>, StoreError> {
        // Ids are ordered by time, so this reads one day of the table.
        let midnight = RequestId::new(Timestamp::from_millis(now.day() * DAY_MS), [0; 10]);
        let tokens = tokens_of_record();
        let rows = sqlx::query(AssertSqlSafe(format!(
            "SELECT credential, {} FROM (SELECT credential, \
             CASE WHEN operation NOT IN ('', 'count-tokens', 'list-models') THEN {tokens} ELSE 0 END AS tokens \
             FROM request_record WHERE request >= ? AND credential IS NOT NULL) GROUP BY credential",
            sum!("tokens")
        )))
        .bind(midnight.as_bytes().as_slice())
        .fetch_all(self.pool())
        .await
        .doing("summing what credentials served today")?;
        let read = |row: &mut Row<'_>| Some((CredentialId::from_bytes(row.bytes()?), row.u64()?));
        Ok(readable("record", &rows, read))
    }
}

fn noted(action: &'static str, credential: CredentialId, detail: Value) -> Note<'static> {
    Note { action, kind: "credential", target: credential.to_string(), detail }
}

fn check_limits(rates: RateLimits) -> Result<(), StoreError> {
    KeyLimits { rates, ..KeyLimits::default() }.check().map_err(StoreError::Invalid)
}
