//! A stream of Chat Completions: `data: {chunk}` again and again, then `data: [DONE]`.

mod read;
mod write;

pub(crate) use read::StreamReader;
pub(crate) use write::StreamWriter;

/// What ends a stream in place of a chunk.
pub(crate) const DONE: &str = "[DONE]";
