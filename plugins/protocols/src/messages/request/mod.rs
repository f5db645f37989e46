//! `POST /v1/messages`.

mod parse;
mod print;

pub(crate) use parse::parse;
pub(crate) use print::print;
