//! What an engine keeps of prompts: the keys and values of their beginnings, which another prompt
//! with the same beginning and the same salt finds. And what texts mean, as far as their letters
//! tell.

use std::{collections::HashSet, time::Duration};

use serde_json::Value;

/// Characters of a block. vLLM has 16 tokens, at about four characters each.
const BLOCK: usize = 64;
/// How long a block takes that is not there.
const BLOCK_TAKES: Duration = Duration::from_micros(250);
/// The longest that a prompt takes.
const MOST: Duration = Duration::from_millis(15);
/// Blocks that are remembered.
const ROOM: usize = 100_000;
/// Dimensions of a vector.
const DIMENSIONS: usize = 64;

/// The beginnings of prompts that were asked.
#[derive(Debug, Default)]
pub(super) struct Prefixes(HashSet<u64>);

impl Prefixes {
    /// How many tokens of the prompt are there; afterwards all are.
    pub(super) fn met(&mut self, account: &str, ask: &Value) -> usize {
        if self.0.len() > ROOM {
            self.0.clear();
        }
        let prompt = ask.get("messages").map(Value::to_string).unwrap_or_default();
        let salt = ask.get("cache_salt").and_then(Value::as_str).unwrap_or_default();
        let mut digest = hashed(hashed(FIRST, account.as_bytes()), salt.as_bytes());
        let (mut met, mut whole) = (0, true);
        for block in prompt.as_bytes().chunks_exact(BLOCK) {
            digest = hashed(digest, block);
            whole &= !self.0.insert(digest);
            met += if whole { BLOCK / 4 } else { 0 };
        }
        met
    }
}

/// How long a prompt takes of which so many tokens are there.
pub(super) fn time(cached: usize, ask: &Value) -> Duration {
    let blocks = ask.get("messages").map(|all| all.to_string().len() / BLOCK).unwrap_or_default();
    let missing = blocks.saturating_sub(cached * 4 / BLOCK);
    (BLOCK_TAKES * u32::try_from(missing).unwrap_or(u32::MAX)).min(MOST)
}

const FIRST: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a (Fowler, Noll and Vo).
fn hashed(from: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(from ^ 0xff, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// A vector of the letters in a text, three at a time: texts that differ in a few are near.
pub(super) fn vector(text: &str) -> Vec<f64> {
    let mut vector = vec![0.0_f64; DIMENSIONS];
    let lower = text.to_lowercase();
    for three in lower.as_bytes().windows(3) {
        let hash = hashed(FIRST, three);
        let at = usize::try_from(hash % DIMENSIONS as u64).unwrap_or_default();
        vector[at] += if hash & (1 << 40) == 0 { 1.0 } else { -1.0 };
    }
    let length = vector.iter().map(|part| part * part).sum::<f64>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|part| *part /= length);
    } else {
        vector[0] = 1.0;
    }
    vector
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_beginning_is_met_under_its_salt_alone() {
        let mut prefixes = Prefixes::default();
        let ask = |salt: &str, end: &str| {
            let text = format!("{}{end}", "a long beginning ".repeat(40));
            json!({ "messages": [{ "role": "user", "content": text }], "cache_salt": salt })
        };
        assert_eq!(prefixes.met("x", &ask("one", "1")), 0);
        assert!(prefixes.met("x", &ask("one", "2")) > 100);
        assert_eq!(prefixes.met("x", &ask("two", "1")), 0);
        assert_eq!(prefixes.met("y", &ask("one", "1")), 0);
        assert!(time(0, &ask("", "")) > time(160, &ask("", "")));
    }

    #[test]
    fn texts_are_near_that_differ_little() {
        let near =
            |a: &str, b: &str| -> f64 { vector(a).iter().zip(vector(b)).map(|(a, b)| a * b).sum() };
        let asked = "how do i get the money for my return back to the card";
        assert!(near(asked, asked) > 0.999);
        assert!(near(asked, "how do i get the money for my return back to my card") > 0.9);
        assert!(near(asked, "what is the weather in berlin this week") < 0.6);
        assert!(near("", "") > 0.999);
    }
}
