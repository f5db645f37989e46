//! `POST /v1/chat/completions`.

mod parse;
mod print;

pub(in crate::chat) use parse::google_signature;
pub(crate) use parse::parse;
pub(crate) use print::print;
