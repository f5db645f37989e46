//! Who may serve a call: the configured routes ([`table`]), a generation joined with the providers ([`snapshot`]), and
//! the targets of one call in their order ([`plan`]), or of a call that nobody makes ([`preview`]).

pub(crate) mod components;
pub(crate) mod matcher;
pub(crate) mod plan;
pub(crate) mod preview;
mod reading;
pub(crate) mod snapshot;
pub(crate) mod table;
