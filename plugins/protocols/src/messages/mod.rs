//! Anthropic Messages, on the wire.

mod error;
mod request;
mod response;
mod stream;

pub(crate) use error::{parse as parse_error, print as print_error};
pub(crate) use request::{cache_mark, parse as parse_request, parse_thinking, print as print_request};
pub(crate) use response::{parse as parse_response, print as print_response};
pub(crate) use stream::{StreamReader, StreamWriter};
