//! Keeps accounts, keys, prices, transfers and records in SQLite.
