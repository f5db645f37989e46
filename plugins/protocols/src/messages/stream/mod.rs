//! A stream of Messages: `message_start`, then block after block, `message_delta` and `message_stop`.

mod read;
mod write;

pub(crate) use read::StreamReader;
pub(crate) use write::StreamWriter;
