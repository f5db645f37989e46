//! Authentication: API keys, passwords, access tokens, and the master key that seals secrets.
//!
//! This room knows no routes and no requests; `proxy` and `admin` call it.

pub(crate) mod jwt;
pub(crate) mod keys;
pub(crate) mod master;
pub(crate) mod memory_keys;
pub(crate) mod password;
