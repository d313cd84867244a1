//! Fuzz targets as plain functions: an input goes in, and a broken property panics. cargo-fuzz runs them with
//! coverage guidance (`fuzz_targets/`), `cargo xtask fuzz` with the mutation loop in `src/bin/mutate.rs`.

pub mod batch;
pub mod canonical;
pub mod multipart;
pub mod mutation;
pub mod qdrant;
pub mod request;
pub mod sse;
pub mod token;
pub mod tool_arguments;

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
    Target { name: "request", run: request::run, words: request::WORDS },
    Target { name: "batch", run: batch::run, words: batch::WORDS },
    Target { name: "multipart", run: multipart::run, words: multipart::WORDS },
    Target { name: "qdrant", run: qdrant::run, words: qdrant::WORDS },
    Target { name: "tool_arguments", run: tool_arguments::run, words: tool_arguments::WORDS },
];

/// A key as a server reads it that looks at neither case nor `-` and `_`, and takes some letters for ASCII's: Go's JSON
/// the long s and the Kelvin sign, Java the dotless i and the dotted I.
fn folded(name: &str) -> String {
    let letter = |c| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        '\u{130}' | '\u{131}' => 'i',
        other => other,
    };
    let plain = name.chars().filter(|c| !matches!(c, '-' | '_')).map(letter);
    plain.collect::<String>().to_ascii_lowercase()
}
