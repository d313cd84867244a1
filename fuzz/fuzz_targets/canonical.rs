//! `cargo +nightly fuzz run --features libfuzzer canonical`
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| bulkhead_fuzz::canonical::run(input));
