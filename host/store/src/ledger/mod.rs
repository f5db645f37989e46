//! The books: what is on accounts, and what moves it.

pub(crate) mod account;
pub(crate) mod booking;
pub(crate) mod code;
pub(crate) mod mark;
pub(crate) mod verify;
