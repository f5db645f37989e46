//! `POST /v1/messages`.

mod parse;
mod print;

pub(crate) use parse::parse;
pub(in crate::messages) use parse::block as parse_block;
pub(crate) use print::print;
