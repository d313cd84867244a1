//! Bounded memory of which nobody uses up another's part: what goes, if there is no room, is the
//! oldest of whoever has most.

use std::hash::Hash;

use ids::planted;
use lru::LruCache;

/// Whose share it is: a partition.
pub(crate) type Whose = [u8; 32];

/// Values by whose they are and a key, the ones used last.
pub(crate) struct Shares<K, V> {
    most: usize,
    held: usize,
    by: LruCache<Whose, LruCache<K, V>>,
}

impl<K: Hash + Eq, V> Shares<K, V> {
    /// With room for so many, and for one at least.
    pub(crate) fn new(most: usize) -> Self {
        Self { most: most.max(1), held: 0, by: LruCache::unbounded() }
    }

    pub(crate) fn get(&mut self, whose: &Whose, key: &K) -> Option<&V> {
        self.by.get_mut(whose)?.get(key)
    }

    /// What is there, or is made now.
    pub(crate) fn get_or_insert(&mut self, whose: &Whose, key: K, make: impl FnOnce() -> V) -> V
    where
        V: Clone,
    {
        if let Some(value) = self.get(whose, &key) {
            return value.clone();
        }
        let value = make();
        self.put(whose, key, value.clone());
        value
    }

    /// Puts it there, and gives back what had to go.
    pub(crate) fn put(&mut self, whose: &Whose, key: K, value: V) -> Option<V> {
        let own = self.by.get_or_insert_mut(*whose, LruCache::unbounded);
        if let Some(before) = own.put(key, value) {
            return Some(before);
        }
        self.held += 1;
        if self.held <= self.most {
            return None;
        }
        self.shrink()
    }

    /// Looks at everybody's share: what is made anew costs far more.
    fn shrink(&mut self) -> Option<V> {
        // Of those who have the same, whoever was here longest ago: they come last.
        let most = match planted::is("tools-one-evicts-all") {
            true => self.by.iter().next_back(),
            false => self.by.iter().max_by_key(|(_, own)| own.len()),
        };
        let whose = *most?.0;
        let own = self.by.peek_mut(&whose)?;
        let gone = own.pop_lru();
        if own.is_empty() {
            self.by.pop(&whose);
        }
        self.held -= 1;
        gone.map(|(_, value)| value)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.by.iter().flat_map(|(_, own)| own.iter().map(|(_, value)| value))
    }

    pub(crate) fn clear(&mut self) {
        self.by.clear();
        self.held = 0;
    }

    #[cfg(test)]
    pub(crate) const fn len(&self) -> usize {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACME: Whose = [1; 32];
    const GLOBEX: Whose = [2; 32];

    #[test]
    fn whoever_fills_it_pushes_out_their_own() {
        let mut shares = Shares::new(8);
        for key in 0..3 {
            assert_eq!(shares.put(&GLOBEX, key, key), None);
        }
        for key in 0..1_000_u32 {
            let gone = shares.put(&ACME, key, key);
            assert_eq!(gone, key.checked_sub(5), "its oldest");
            assert!(shares.len() <= 8);
        }
        for key in 0..3 {
            assert_eq!(shares.get(&GLOBEX, &key), Some(&key), "nobody else's went");
        }
        // Whoever comes new has room, too, at the cost of whoever has most.
        assert_eq!(shares.put(&[3; 32], 7, 7), Some(995));
        assert_eq!(shares.get(&[3; 32], &7), Some(&7));
        assert_eq!((shares.len(), shares.values().count()), (8, 8));
        shares.clear();
        assert_eq!((shares.len(), shares.values().count()), (0, 0));
    }

    #[test]
    fn of_equals_the_one_that_was_here_longest_ago_goes() {
        let mut shares = Shares::new(2);
        assert_eq!(shares.get_or_insert(&ACME, 1, || 1), 1);
        assert_eq!(shares.get_or_insert(&GLOBEX, 1, || 2), 2);
        assert_eq!(shares.get_or_insert(&ACME, 1, || 9), 1);
        assert_eq!(shares.put(&[3; 32], 1, 3), Some(2));
        assert_eq!(shares.get(&GLOBEX, &1), None);
        assert_eq!(shares.put(&ACME, 1, 4), Some(1), "what it takes the place of");
        assert_eq!(shares.len(), 2);
        let mut one = Shares::new(0);
        one.put(&ACME, 1, 1);
        assert_eq!(one.put(&GLOBEX, 1, 2), Some(1));
        assert_eq!(one.get(&GLOBEX, &1), Some(&2));
    }
}
