//! What the gateway itself reads of a body: members, text, turns.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tollgate_fuzz::json(input));
