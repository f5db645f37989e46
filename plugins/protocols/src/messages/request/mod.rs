//! `POST /v1/messages`.

mod parse;
mod print;

pub(crate) use parse::parse;
pub(in crate::messages) use parse::{block as parse_block, citation as parse_citation};
pub(crate) use print::print;
