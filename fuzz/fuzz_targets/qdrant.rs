//! `cargo +nightly fuzz run --features libfuzzer qdrant`
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| bulkhead_fuzz::qdrant::run(input));
