//! The listeners of clients and operators, in the order in which a connection meets the files: `listener` (sockets) →
//! `accept` (the loop, and the drain at its end) → `socket` (a peer that takes no bytes is cut off) → `tls` →
//! `connection` (HTTP/1.1 or HTTP/2) → `stream` (one request of an HTTP/2 connection) → `leftover` (what a
//! client still sends when it has its answer).
//!
//! `pinned` is the other end, for the command line.
//!
//! This room does not decide the answers: `worker` hands clients' requests to the road, `app` the operators' ones to
//! the management API.

pub(crate) mod accept;
mod connection;
mod leftover;
pub(crate) mod listener;
pub(crate) mod pinned;
mod socket;
mod stream;
pub(crate) mod terms;
pub(crate) mod tls;
pub(crate) mod worker;
