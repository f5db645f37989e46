//! Price lists as files: ours, those of others, what one would change, and what past calls would have cost by another.

pub(crate) mod diff;
pub(crate) mod file;
pub(crate) mod import;
pub(crate) mod replay;
