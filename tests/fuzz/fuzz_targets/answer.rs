//! Whole answers and failures of every upstream, for every client, and what they state and mean.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tollgate_fuzz::answer(input));
