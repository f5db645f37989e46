//! `POST /v1/responses`.

mod echo;
mod items;
mod parse;
mod print;
mod tools;

pub(crate) use echo::echo;
pub(in crate::responses) use items::reasoning_item;
pub(crate) use parse::parse;
pub(crate) use print::print;
