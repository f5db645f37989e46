//! Price lists as files: ours, those of others, their differences, and what past calls would have cost with another
//! one.

pub(crate) mod diff;
pub(crate) mod file;
pub(crate) mod import;
pub(crate) mod replay;
