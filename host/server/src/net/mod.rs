//! Sockets: listeners that workers share, upstream connections that they do not, and a watch on slow readers.

pub(crate) mod frames;
pub(crate) mod listener;
pub(crate) mod pool;
pub(crate) mod sigv4;
pub(crate) mod stall;
