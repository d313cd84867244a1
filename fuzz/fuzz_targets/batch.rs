//! `cargo +nightly fuzz run --features libfuzzer batch`
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| bulkhead_fuzz::batch::run(input));
