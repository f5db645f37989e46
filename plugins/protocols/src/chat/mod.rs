//! OpenAI Chat Completions, on the wire.
//!
//! Besides OpenAI's own members, answers in this protocol carry three for other providers, because clients know them:
//! `reasoning_content` (thoughts), `reasoning_details` (thoughts with what proves them) and, on a tool call,
//! `extra_content.google.thought_signature`. What a client sends back in them reaches the provider that it came from.

mod error;
mod request;
mod response;
mod stream;

pub(crate) use error::{
    code as error_code, message as error_message, parse as parse_error, print as print_error,
    print_members as print_error_members, told as error_told,
};
pub(crate) use request::{parse as parse_request, print as print_request};
pub(crate) use response::{finish_name, parse as parse_response, print as print_response, print_usage};
pub(crate) use stream::{DONE, StreamReader, StreamWriter};
