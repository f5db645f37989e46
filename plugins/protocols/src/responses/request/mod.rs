//! `POST /v1/responses`.

mod echo;
mod parse;
mod print;

pub(crate) use echo::echo;
pub(crate) use parse::parse;
pub(in crate::responses) use parse::reasoning_item;
pub(crate) use print::print;
