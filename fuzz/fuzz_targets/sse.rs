//! `cargo +nightly fuzz run --features libfuzzer sse`
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| bulkhead_fuzz::sse::run(input));
