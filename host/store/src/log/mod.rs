//! What requests left behind: records, bodies, and what was used.

pub(crate) mod body;
pub(crate) mod filter;
pub(crate) mod usage;
