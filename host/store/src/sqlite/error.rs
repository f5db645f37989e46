//! Errors of SQLite as errors of the store.

use crate::error::StoreError;

/// Names what was being done when a query failed.
pub(crate) trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T, StoreError>;
}

impl<T> Doing<T> for Result<T, sqlx::Error> {
    fn doing(self, doing: &'static str) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Database { doing, source: Box::new(source) })
    }
}

/// Whether a uniqueness rule refused the row.
pub(crate) fn is_duplicate(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation)
}

/// Whether a rule of the schema refused the row, in which case trying again changes nothing.
pub(crate) fn is_refusal(error: &sqlx::Error) -> bool {
    const SQLITE_CONSTRAINT: i32 = 19;
    let code = error.as_database_error().and_then(|error| error.code()?.parse::<i32>().ok());
    code.is_some_and(|code| code & 0xff == SQLITE_CONSTRAINT)
}
