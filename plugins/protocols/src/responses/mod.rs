//! OpenAI Responses, on the wire.
//!
//! What a client has to send back (thoughts with their signatures, or what Gemini wants back with a call) travels in
//! `encrypted_content` of reasoning items.

mod error;
mod item;
mod request;
mod response;
mod stream;

pub(crate) use request::{echo, parse as parse_request, print as print_request};
pub(crate) use response::{parse as parse_response, print as print_response};
pub(crate) use stream::{StreamReader, StreamWriter};
