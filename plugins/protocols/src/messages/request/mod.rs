//! `POST /v1/messages`.

mod demands;
mod parse;
mod print;
mod schema;
mod tools;

pub(crate) use parse::{cache_mark, parse, parse_thinking};
pub(crate) use print::print;
