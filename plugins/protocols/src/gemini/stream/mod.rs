//! A stream of Gemini: one `GenerateContentResponse` after the other, and nothing that ends it.

mod read;
mod write;

pub(crate) use read::StreamReader;
pub(crate) use write::StreamWriter;
