//! Rows that cannot be read. Lists leave them out, so that nothing but what they hold is lost; here they are named.

use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row as _, SqliteConnection};

use crate::error::StoreError;
use crate::ledger::verify::{VIOLATIONS_MAX, Violation};
use crate::sqlite::error::Doing;
use crate::sqlite::row::{Row, fields};
use crate::sqlite::{api_key, credential, model_route, price, request, user};

const RULE: &str = "a row that cannot be read, which is left out";
/// Rows that are read at once.
const PAGE: usize = 4096;

/// Reads every row of what a gateway decides from, and every record.
pub(super) async fn check(connection: &mut SqliteConnection) -> Result<Vec<Violation>, StoreError> {
    let mut found = Vec::new();
    read(connection, &mut found, "user", "users.id", user::COLUMNS, user::user).await?;
    read(connection, &mut found, "API key", "id", api_key::COLUMNS, api_key::api_key).await?;
    read(connection, &mut found, "credential", "id", credential::COLUMNS, credential::credential).await?;
    read(connection, &mut found, "model route", "id", model_route::COLUMNS, model_route::model_route).await?;
    read(connection, &mut found, "request", "request", request::COLUMNS, request::record).await?;
    let prices = sqlx::query(price::ROWS).fetch_all(&mut *connection).await.doing(DOING)?;
    for row in prices.iter().filter(|row| fields("price", row, price::price_row).is_err()) {
        let model: String = row.try_get(0).unwrap_or_default();
        found.push(violation(format!("price of model `{model}`")));
    }
    found.truncate(VIOLATIONS_MAX);
    Ok(found)
}

const DOING: &str = "reading every row";

fn violation(what: String) -> Violation {
    Violation { rule: RULE, detail: what }
}

/// Reads a table in the order of its ids, page by page.
async fn read<T>(
    connection: &mut SqliteConnection,
    found: &mut Vec<Violation>,
    what: &'static str,
    id: &str,
    columns: &str,
    read: impl Fn(&mut Row<'_>) -> Option<T>,
) -> Result<(), StoreError> {
    let text = format!("{columns} WHERE {id} > ? ORDER BY {id} LIMIT {PAGE}");
    let mut after = Vec::new();
    loop {
        let rows = sqlx::query(AssertSqlSafe(text.clone())).bind(&after).fetch_all(&mut *connection);
        let rows = rows.await.doing(DOING)?;
        for row in rows.iter().filter(|row| fields(what, row, &read).is_err()) {
            let id: String = id_of(row).iter().map(|byte| format!("{byte:02X}")).collect();
            found.push(violation(format!("{what} {id}")));
        }
        match rows.last().filter(|_| rows.len() == PAGE) {
            Some(last) => after = id_of(last),
            None => return Ok(()),
        }
    }
}

/// The first column; empty where it is no blob.
fn id_of(row: &SqliteRow) -> Vec<u8> {
    row.try_get(0).unwrap_or_default()
}
