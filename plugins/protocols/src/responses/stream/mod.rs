//! A stream of Responses: numbered events, an item after the other, and the whole answer at the end.

mod read;
mod write;

pub(crate) use read::StreamReader;
pub(crate) use write::StreamWriter;
