//! Whose each token is: a token server behind a cache that does not look at who asks would give one to
//! all.

use std::collections::HashMap;

use crate::shares::{Shares, Whose};

/// A token's keyed digest.
type Digest = [u8; 32];

/// The owners of the tokens that were given. Whoever is given many forgets their own first.
pub(super) struct Owners {
    by: HashMap<Digest, Whose>,
    shares: Shares<Digest, Digest>,
}

impl Owners {
    /// Of so many tokens.
    pub(super) fn new(most: usize) -> Self {
        Self { by: HashMap::new(), shares: Shares::new(most) }
    }

    /// Whether nobody else was given this token; from now on nobody else is.
    pub(super) fn is_own(&mut self, whose: &Whose, token: Digest) -> bool {
        if let Some(owner) = self.by.get(&token) {
            // Looked at: it is one of those used last.
            return owner == whose && self.shares.get(whose, &token).is_some();
        }
        self.by.insert(token, *whose);
        if let Some(gone) = self.shares.put(whose, token, token) {
            self.by.remove(&gone);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACME: Whose = [1; 32];
    const GLOBEX: Whose = [2; 32];

    #[test]
    fn nobodys_many_tokens_make_anothers_forgotten() {
        let mut owners = Owners::new(8);
        let token = |nth: u8| [nth; 32];
        assert!(owners.is_own(&ACME, token(0)));
        for nth in 1..200 {
            assert!(owners.is_own(&GLOBEX, token(nth)));
            assert!(owners.by.len() <= 8);
        }
        assert!(!owners.is_own(&GLOBEX, token(0)), "it is acme's");
        assert!(owners.is_own(&ACME, token(0)));
        assert!(!owners.is_own(&ACME, token(199)));
    }
}
