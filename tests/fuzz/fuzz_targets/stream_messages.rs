//! Streams of a Messages upstream, translated into every other protocol.

#![no_main]

use tollgate_fuzz::{Protocol, stream};

libfuzzer_sys::fuzz_target!(|input: &[u8]| stream(Protocol::AnthropicMessages, input));
