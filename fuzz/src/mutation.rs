//! Seeded mutation of byte strings: the same seed gives the same sequence of inputs.

/// SplitMix64 (Steele, Lea and Flood, 2014): small, seedable, and good enough to choose bytes with.
pub struct Chance(u64);

impl Chance {
    /// Begins a sequence.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `end`, or 0 where that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        match end {
            0 => 0,
            end => usize::try_from(self.bits() % end as u64).unwrap_or(0),
        }
    }
}

/// Inputs longer than this are cut.
const LONGEST: usize = 16 * 1024;

/// Makes a new input out of old ones: up to eight changes, one after the other.
pub fn mutate(chance: &mut Chance, corpus: &[Vec<u8>], words: &[&str]) -> Vec<u8> {
    let pick = |chance: &mut Chance| corpus.get(chance.below(corpus.len())).cloned();
    let mut input = pick(chance).unwrap_or_default();
    for _ in 0..=chance.below(8) {
        let at = chance.below(input.len() + 1);
        let until = at + chance.below(input.len() - at + 1).min(64);
        match chance.below(8) {
            0 if at < input.len() => input[at] ^= 1 << chance.below(8),
            1 if at < input.len() => input[at] = chance.bits().to_le_bytes()[0],
            2 => input.insert(at, chance.bits().to_le_bytes()[0]),
            3 => drop(input.drain(at..until)),
            4 => {
                let part = input[at..until].to_vec();
                let to = chance.below(input.len() + 1);
                input.splice(to..to, part);
            }
            5 => {
                let word = words.get(chance.below(words.len())).copied().unwrap_or("");
                input.splice(at..at, word.bytes());
            }
            6 => input.truncate(at),
            _ => {
                let other = pick(chance).unwrap_or_default();
                let from = chance.below(other.len() + 1);
                input.splice(at.., other[from..].iter().copied());
            }
        }
    }
    input.truncate(LONGEST);
    input
}
