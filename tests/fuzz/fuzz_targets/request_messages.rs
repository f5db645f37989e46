//! Requests of Messages clients, translated into every other protocol.

#![no_main]

use tollgate_fuzz::{Protocol, request};

libfuzzer_sys::fuzz_target!(|input: &[u8]| request(Protocol::AnthropicMessages, input));
