//! Who somebody is: API keys, passwords, access tokens, and the master key that seals what is secret.
//!
//! Nothing here knows a route or a request of the road; `proxy` and `admin` ask.

pub(crate) mod jwt;
pub(crate) mod keys;
pub(crate) mod master;
pub(crate) mod memory_keys;
pub(crate) mod password;
