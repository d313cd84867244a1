//! Fuzz targets as plain functions: an input goes in, and a broken property panics. cargo-fuzz runs them with
//! coverage guidance (`fuzz_targets/`), `cargo xtask fuzz` with the mutation loop in `src/bin/mutate.rs`.

pub mod canonical;
pub mod mutation;
pub mod sse;
pub mod token;

/// A target: its name, what it does with an input, and words that its inputs are made of.
pub struct Target {
    /// Also the folder of its seeds.
    pub name: &'static str,
    /// Panics if a property does not hold.
    pub run: fn(&[u8]),
    /// Spliced into inputs.
    pub words: &'static [&'static str],
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target { name: "token", run: token::run, words: token::WORDS },
    Target { name: "canonical", run: canonical::run, words: canonical::WORDS },
    Target { name: "sse", run: sse::run, words: sse::WORDS },
];
