//! `POST /v1beta/models/{model}:generateContent` and `:streamGenerateContent`.

mod parse;
mod print;

pub(crate) use parse::parse;
pub(crate) use print::print;
