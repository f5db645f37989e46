//! A stream of Gemini: one `GenerateContentResponse` after the other, without a last word.

mod read;
mod write;

pub(crate) use read::StreamReader;
pub(crate) use write::StreamWriter;
