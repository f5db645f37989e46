//! Reads columns in order and checks the type of each.

use std::fmt::Write as _;

use sqlx::sqlite::SqliteRow;
use sqlx::{Decode, Row as _, Sqlite, Type};

use crate::error::StoreError;

/// A row whose columns are taken from left to right.
pub(crate) struct Row<'a> {
    row: &'a SqliteRow,
    next: usize,
}

impl<'a> Row<'a> {
    /// The next column; `None` when it holds something else.
    pub(crate) fn get<T: Decode<'a, Sqlite> + Type<Sqlite>>(&mut self) -> Option<T> {
        let at = self.next;
        self.next += 1;
        self.row.try_get(at).ok()
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.get().map(loaded)
    }

    /// A blob of exactly `N` bytes.
    pub(crate) fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.get::<&[u8]>()?.try_into().ok()
    }

    /// A blob of exactly `N` bytes, or NULL.
    #[expect(clippy::option_option, reason = "the outer one is a column that is damaged")]
    pub(crate) fn bytes_or_null<const N: usize>(&mut self) -> Option<Option<[u8; N]>> {
        match self.get::<Option<&[u8]>>()? {
            Some(bytes) => bytes.try_into().ok().map(Some),
            None => Some(None),
        }
    }
}

#[cfg(test)]
thread_local! {
    static TAKEN: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Rows that this thread has read since the last call.
#[cfg(test)]
pub(crate) fn taken() -> u64 {
    TAKEN.take()
}

/// Reads a row with `read`; `what` names it when it is damaged.
pub(crate) fn fields<T>(
    what: &'static str,
    row: &SqliteRow,
    read: impl FnOnce(&mut Row<'_>) -> Option<T>,
) -> Result<T, StoreError> {
    #[cfg(test)]
    TAKEN.with(|taken| taken.set(taken.get() + 1));
    read(&mut Row { row, next: 0 }).ok_or(StoreError::Damaged(what))
}

/// Reads the rows of a list with `read`. One that is damaged is left out, and said: it must not keep the others from
/// being seen, nor a gateway from starting. `ledger verify` names it.
pub(crate) fn readable<T, C: FromIterator<T>>(
    what: &'static str,
    rows: &[SqliteRow],
    read: impl Fn(&mut Row<'_>) -> Option<T>,
) -> C {
    rows.iter()
        .filter_map(|row| fields(what, row, &read).map_err(|error| tracing::error!(%error)).ok())
        .collect()
}

/// Ids as one argument of a query, for [`IN_LIST`].
pub(crate) fn list<'a>(ids: impl IntoIterator<Item = &'a [u8; 16]>) -> String {
    let mut text = String::from("[");
    for id in ids {
        text.push_str(if text.len() > 1 { ",\"" } else { "\"" });
        for byte in id {
            // Writing into a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        text.push('"');
    }
    text.push(']');
    text
}

/// The condition that a column holds one of the ids of a [`list`], which is the next argument.
pub(crate) const IN_LIST: &str = "IN (SELECT unhex(value) FROM json_each(?))";

/// An unsigned number as SQLite keeps it; beyond 63 bits it saturates.
pub(crate) fn stored(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The reverse of [`stored`]; a negative number, which nothing here writes, reads as 0.
pub(crate) fn loaded(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
