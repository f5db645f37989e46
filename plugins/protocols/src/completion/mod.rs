//! OpenAI's older completions (`POST /v1/completions`), for clients alone: one text to go on with, which is one turn of
//! a conversation in every other protocol.
//!
//! What a conversation has no words for is refused by its name: tokens in place of a text, several texts at once, a
//! text after the gap (`suffix`), the prompt again before the answer (`echo`), likelihoods of tokens.

mod request;
mod response;
mod stream;

pub(crate) use request::parse as parse_request;
pub(crate) use response::print as print_response;
pub(crate) use stream::StreamWriter;
