//! What was asked and answered, for keys of which an operator wants it: sealed, each half for its request, so that
//! neither opens in another's place. It is redacted before it comes here. It is not part of the ledger: a gateway that
//! stops may lose the last of it.

use async_trait::async_trait;
use sqlx::SqliteConnection;
use tollgate_core::id::{ApiKeyId, RequestId};
use tollgate_core::time::Timestamp;

use crate::error::StoreError;
use crate::log::body::{Bodies, Body, KeptBodies};
use crate::seal::MasterKey;
use crate::sqlite::error::Doing;
use crate::sqlite::open::Database;
use crate::sqlite::row::{Row, fields, stored};

/// A row as it is stored.
struct Sealed {
    request: RequestId,
    api_key: ApiKeyId,
    halves: [(Vec<u8>, u64, bool); 2],
}

/// What the seal of a half is bound to.
const HALVES: [&str; 2] = ["asked", "answered"];

fn sealed(row: &mut Row<'_>) -> Option<Sealed> {
    let (request, api_key) = (RequestId::from_bytes(row.bytes()?), ApiKeyId::from_bytes(row.bytes()?));
    let mut half = || Some((row.get()?, row.u64()?, row.get()?));
    Some(Sealed { request, api_key, halves: [half()?, half()?] })
}

const SELECT: &str = "SELECT request, api_key, asked, asked_bytes, asked_cut, answered, answered_bytes, \
    answered_cut FROM request_body WHERE request = ?";

#[async_trait]
impl KeptBodies for Database {
    async fn keep_bodies(&self, master: &MasterKey, bodies: &Bodies) -> Result<(), StoreError> {
        let [asked, answered] = seal(master, bodies)?;
        sqlx::query(
            "INSERT INTO request_body (request, api_key, asked, asked_bytes, asked_cut, answered, answered_bytes, \
             answered_cut) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        )
        .bind(bodies.request.as_bytes().as_slice())
        .bind(bodies.api_key.as_bytes().as_slice())
        .bind(asked)
        .bind(stored(bodies.asked.bytes))
        .bind(bodies.asked.cut)
        .bind(answered)
        .bind(stored(bodies.answered.bytes))
        .bind(bodies.answered.cut)
        .execute(self.pool())
        .await
        .doing("keeping a body")?;
        Ok(())
    }

    async fn bodies(&self, master: &MasterKey, request: RequestId) -> Result<Bodies, StoreError> {
        let row = sqlx::query(SELECT)
            .bind(request.as_bytes().as_slice())
            .fetch_optional(self.pool())
            .await
            .doing("reading a body")?;
        let row = row.ok_or(StoreError::NotFound("body"))?;
        open(master, fields("body", &row, sealed)?)
    }

    async fn remove_bodies(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let done = sqlx::query(
            "DELETE FROM request_body WHERE request IN \
             (SELECT request FROM request_body WHERE request < ? ORDER BY request LIMIT ?)",
        )
        .bind(RequestId::new(before, [0; 10]).as_bytes().as_slice())
        .bind(limit)
        .execute(self.pool())
        .await
        .doing("removing old bodies")?;
        Ok(done.rows_affected())
    }
}

/// Seals all bodies again; returns how many.
pub(crate) async fn reseal(
    connection: &mut SqliteConnection,
    old: &MasterKey,
    new: &MasterKey,
) -> Result<usize, StoreError> {
    const DOING: &str = "resealing bodies";
    let requests: Vec<Vec<u8>> = sqlx::query_scalar("SELECT request FROM request_body")
        .fetch_all(&mut *connection)
        .await
        .doing(DOING)?;
    // One at a time: all of them may not fit into memory.
    for request in &requests {
        let row = sqlx::query(SELECT).bind(request).fetch_one(&mut *connection).await.doing(DOING)?;
        let [asked, answered] = seal(new, &open(old, fields("body", &row, sealed)?)?)?;
        sqlx::query("UPDATE request_body SET asked = ?, answered = ? WHERE request = ?")
            .bind(asked)
            .bind(answered)
            .bind(request)
            .execute(&mut *connection)
            .await
            .doing(DOING)?;
    }
    Ok(requests.len())
}

fn seal(master: &MasterKey, bodies: &Bodies) -> Result<[Vec<u8>; 2], StoreError> {
    let [asked, answered] = HALVES.map(|half| place(bodies.request, half));
    Ok([master.seal_body(&asked, &bodies.asked.text)?, master.seal_body(&answered, &bodies.answered.text)?])
}

fn open(master: &MasterKey, row: Sealed) -> Result<Bodies, StoreError> {
    let Sealed { request, api_key, halves: [asked, answered] } = row;
    let opened = |half: &str, (sealed, bytes, cut): (Vec<u8>, u64, bool)| {
        let text = master.open_body(&place(request, half), &sealed)?;
        Ok::<_, StoreError>(Body { text, bytes, cut })
    };
    let [first, second] = HALVES;
    Ok(Bodies { request, api_key, asked: opened(first, asked)?, answered: opened(second, answered)? })
}

/// Begins unlike anything else that is sealed.
fn place(request: RequestId, half: &str) -> Vec<u8> {
    [b"tollgate body 1".as_slice(), request.as_bytes(), half.as_bytes()].concat()
}
