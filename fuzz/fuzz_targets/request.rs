//! `cargo +nightly fuzz run --features libfuzzer request`
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| bulkhead_fuzz::request::run(input));
