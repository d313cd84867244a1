//! The tokens that an answer took, as its provider counted them.

use serde::Deserialize;

use crate::lax::{Count, Object};

/// Tokens. What a provider does not tell is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of what was asked, whether or not the provider read it from a cache of its own.
    pub input: u64,
    /// Of the answer.
    pub output: u64,
    /// Of `input`, those read from the provider's own prompt cache.
    pub cached: u64,
}

impl Usage {
    fn of(input: Option<u64>, output: Option<u64>, cached: Option<u64>) -> Option<Self> {
        input.or(output)?;
        let input = input.unwrap_or_default();
        let cached = cached.unwrap_or_default().min(input);
        Some(Self { input, output: output.unwrap_or_default(), cached })
    }
}

#[derive(Default, Deserialize)]
struct Details {
    #[serde(default)]
    cached_tokens: Count,
}

fn cached(details: &Object<Details>) -> Option<u64> {
    details.0.as_ref().and_then(|details| details.cached_tokens.0)
}

/// Of chat completions and embeddings.
#[derive(Deserialize)]
pub(crate) struct ChatUsage {
    #[serde(default)]
    prompt_tokens: Count,
    #[serde(default)]
    completion_tokens: Count,
    #[serde(default)]
    prompt_tokens_details: Object<Details>,
}

impl ChatUsage {
    pub(crate) fn usage(&self) -> Option<Usage> {
        let cached = cached(&self.prompt_tokens_details);
        Usage::of(self.prompt_tokens.0, self.completion_tokens.0, cached)
    }
}

/// Of responses.
#[derive(Deserialize)]
pub(crate) struct ResponsesUsage {
    #[serde(default)]
    input_tokens: Count,
    #[serde(default)]
    output_tokens: Count,
    #[serde(default)]
    input_tokens_details: Object<Details>,
}

impl ResponsesUsage {
    pub(crate) fn usage(&self) -> Option<Usage> {
        Usage::of(self.input_tokens.0, self.output_tokens.0, cached(&self.input_tokens_details))
    }
}

/// Of messages. `input_tokens` leaves out what a cache had to do with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct MessagesUsage {
    #[serde(default)]
    input_tokens: Count,
    #[serde(default)]
    cache_read_input_tokens: Count,
    #[serde(default)]
    cache_creation_input_tokens: Count,
    #[serde(default)]
    output_tokens: Count,
}

impl MessagesUsage {
    /// Later counts of a stream are of the whole stream so far; they stand for earlier ones.
    pub(crate) fn then(self, later: Self) -> Self {
        let of = |later: Count, earlier: Count| Count(later.0.or(earlier.0));
        Self {
            input_tokens: of(later.input_tokens, self.input_tokens),
            cache_read_input_tokens: of(
                later.cache_read_input_tokens,
                self.cache_read_input_tokens,
            ),
            cache_creation_input_tokens: of(
                later.cache_creation_input_tokens,
                self.cache_creation_input_tokens,
            ),
            output_tokens: of(later.output_tokens, self.output_tokens),
        }
    }

    pub(crate) fn usage(self) -> Option<Usage> {
        let parts =
            [self.input_tokens, self.cache_read_input_tokens, self.cache_creation_input_tokens];
        let input = parts.iter().filter_map(|count| count.0).reduce(u64::saturating_add);
        Usage::of(input, self.output_tokens.0, self.cache_read_input_tokens.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(json: &str) -> Option<Usage> {
        serde_json::from_str::<ChatUsage>(json).unwrap().usage()
    }

    fn messages(json: &str) -> Option<Usage> {
        serde_json::from_str::<MessagesUsage>(json).unwrap().usage()
    }

    #[test]
    fn what_is_no_count_is_not_counted() {
        let some = |input, output, cached| Some(Usage { input, output, cached });
        for (json, expected) in [
            (r#"{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}"#, some(7, 3, 0)),
            (r#"{"prompt_tokens":7,"prompt_tokens_details":{"cached_tokens":5}}"#, some(7, 0, 5)),
            // More was read from the cache than was asked.
            (r#"{"prompt_tokens":7,"prompt_tokens_details":{"cached_tokens":50}}"#, some(7, 0, 7)),
            (r#"{"prompt_tokens":7,"prompt_tokens_details":[1]}"#, some(7, 0, 0)),
            (r#"{"prompt_tokens":0,"completion_tokens":0}"#, some(0, 0, 0)),
            (r#"{"prompt_tokens":1000000000000}"#, some(1_000_000_000_000, 0, 0)),
            (r#"{"prompt_tokens":1000000000001,"completion_tokens":3}"#, some(0, 3, 0)),
            (r#"{"prompt_tokens":-1,"completion_tokens":1.5}"#, None),
            (r#"{"prompt_tokens":"7","completion_tokens":[3]}"#, None),
            (r#"{"prompt_tokens":1e300,"completion_tokens":{"a":1}}"#, None),
            (r#"{"prompt_tokens":99999999999999999999999}"#, None),
            (r#"{"prompt_tokens":null,"completion_tokens":true}"#, None),
            ("{}", None),
        ] {
            assert_eq!(chat(json), expected, "{json}");
        }
    }

    #[test]
    fn a_message_counts_what_went_through_the_cache() {
        let all = r#"{"input_tokens":7,"cache_read_input_tokens":100,
            "cache_creation_input_tokens":20,"output_tokens":1}"#;
        assert_eq!(messages(all), Some(Usage { input: 127, output: 1, cached: 100 }));
        assert_eq!(
            messages(r#"{"input_tokens":7,"cache_read_input_tokens":null,"output_tokens":"x"}"#),
            Some(Usage { input: 7, output: 0, cached: 0 })
        );
        assert_eq!(messages(r#"{"service_tier":"standard"}"#), None);
        let begun: MessagesUsage = serde_json::from_str(all).unwrap();
        let ended: MessagesUsage = serde_json::from_str(r#"{"output_tokens":42}"#).unwrap();
        let usage = begun.then(ended).usage();
        assert_eq!(usage, Some(Usage { input: 127, output: 42, cached: 100 }));
    }
}
