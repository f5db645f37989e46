//! Price tables, and what users pay of them.

use std::collections::HashMap;

use tollgate_core::id::UserId;
use tollgate_core::price::ModelPrice;
use tollgate_core::time::Timestamp;

/// A version to publish.
#[derive(Debug, Clone, Copy)]
pub struct NewPrices<'a> {
    /// Prices by model.
    pub models: &'a HashMap<String, ModelPrice>,
    /// From when on it is in force; at once where there is none.
    pub effective_at: Option<Timestamp>,
    /// Who publishes it.
    pub actor: &'a str,
    /// What for.
    pub note: Option<&'a str>,
}

/// What is known of a version, its prices aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceVersion {
    /// Counts up from 1.
    pub version: u64,
    /// When it was published.
    pub created_at: Timestamp,
    /// From when on it is in force.
    pub effective_at: Timestamp,
    /// When it was withdrawn, before it could take over.
    pub withdrawn_at: Option<Timestamp>,
    /// Who published it; `None` for a version older than the column.
    pub actor: Option<String>,
    /// What for.
    pub note: Option<String>,
    /// How many models it prices.
    pub models: u64,
}

/// Users whose rate is to change.
#[derive(Debug, Clone, Copy)]
pub enum Payers<'a> {
    /// These.
    Some(&'a [UserId]),
    /// All that there are.
    All,
}
