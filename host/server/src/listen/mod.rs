//! The listeners of clients and operators, in the order in which a connection meets the files: `listener` (sockets) →
//! `accept` (the loop, and the drain at its end) → `socket` (a peer that takes no bytes is cut off) → `tls` → `strict`
//! (`framing`: heads that two readers could take in two ways are refused) → `connection` (HTTP/1.1 or HTTP/2) → `desk`
//! (where a request is answered, its body `arriving`) → `head` (names and hosts) → `stream` (one request of an HTTP/2
//! connection) → `leftover` (what a client still sends when it has its answer).
//!
//! `descriptors` divides what the system gives between clients, operators and providers, and `seats` has idle
//! connections make room for new ones.
//!
//! `pinned` is the other end, for the command line.
//!
//! This room does not decide the answers: `worker` hands clients' requests to the road, `app` the operators' ones to
//! the management API.

pub(crate) mod accept;
pub(crate) mod arriving;
mod connection;
pub(crate) mod descriptors;
mod desk;
mod framing;
mod head;
mod leftover;
pub(crate) mod listener;
pub(crate) mod pinned;
pub(crate) mod seats;
mod socket;
mod stream;
mod strict;
pub(crate) mod terms;
pub(crate) mod tls;
pub(crate) mod worker;
