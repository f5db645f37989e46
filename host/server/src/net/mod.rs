//! Sockets: listeners that workers share, upstream connections that they do not, and a watch on slow readers.

pub(crate) mod listener;
pub(crate) mod pool;
pub(crate) mod stall;
