//! Price lists as files: ours, read and written, those of others, their differences, one entry set, and what past calls
//! would have cost with another one.

mod decimal;
pub(crate) mod diff;
pub(crate) mod export;
pub(crate) mod file;
pub(crate) mod import;
pub(crate) mod replay;
pub(crate) mod set;
