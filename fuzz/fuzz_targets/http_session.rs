//! Its work is in `crates/fuzzing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ferry_fuzzing::http_session(input));
