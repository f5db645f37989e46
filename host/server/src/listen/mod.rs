//! The clients' listener: sockets, the threads that serve them, and the table of paths.

pub(crate) mod listener;
pub(crate) mod stall;
pub(crate) mod worker;
