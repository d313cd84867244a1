//! `cargo +nightly fuzz run --features libfuzzer token`
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| bulkhead_fuzz::token::run(input));
