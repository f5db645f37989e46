//! OpenAI Chat Completions, on the wire.
//!
//! Beside OpenAI's own members there are three that its answers carry for others, because clients of this protocol know
//! them: `reasoning_content` (thoughts), `reasoning_details` (thoughts with what proves them) and, on a tool call,
//! `extra_content.google.thought_signature`. What comes back in them reaches the provider that it came from.

mod error;
mod request;
mod response;
mod stream;

pub(crate) use error::{code as error_code, parse as parse_error, print as print_error};
pub(crate) use request::{parse as parse_request, print as print_request};
pub(crate) use response::{parse as parse_response, print as print_response};
pub(crate) use stream::{StreamReader, StreamWriter};
