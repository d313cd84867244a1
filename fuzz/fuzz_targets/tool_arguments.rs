//! `cargo +nightly fuzz run --features libfuzzer tool_arguments`
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| bulkhead_fuzz::tool_arguments::run(input));
