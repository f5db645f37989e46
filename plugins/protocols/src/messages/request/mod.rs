//! `POST /v1/messages`.

mod parse;
mod print;

pub(in crate::messages) use parse::block as parse_block;
pub(crate) use parse::parse;
pub(crate) use print::print;
