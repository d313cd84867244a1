//! A bounded queue with a lane per owner.
//!
//! A lane may grow to the room that is left (dynamic thresholds: Choudhury and Hahne, "Dynamic
//! Queue Length Thresholds for Shared-Memory Packet Switches", 1998): one that floods gets
//! half of the queue, and there is always room for whoever comes next. Constant time per item.

use std::collections::HashMap;

/// Items that wait, by owner.
pub(crate) struct Lanes<T> {
    lanes: HashMap<[u8; 32], Vec<T>>,
    len: usize,
    capacity: usize,
}

impl<T> Lanes<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { lanes: HashMap::new(), len: 0, capacity }
    }

    /// Takes an item in; whether there was room for it.
    pub(crate) fn push(&mut self, owner: &[u8; 32], item: T) -> bool {
        let waiting = self.lanes.get(owner).map_or(0, Vec::len);
        if waiting >= self.capacity.saturating_sub(self.len) {
            return false;
        }
        self.lanes.entry(*owner).or_default().push(item);
        self.len += 1;
        true
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Everything, a batch per owner.
    pub(crate) fn drain(&mut self) -> Vec<Vec<T>> {
        self.len = 0;
        std::mem::take(&mut self.lanes).into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_leaves_room_for_others() {
        let mut lanes = Lanes::new(100);
        let flood = (0..1_000).filter(|n| lanes.push(&[1; 32], *n)).count();
        assert_eq!(flood, 50);
        let second = (0..1_000).filter(|n| lanes.push(&[2; 32], *n)).count();
        assert_eq!(second, 25);
        // A hundred more who want to say one thing each: those who find room do.
        let others = (10..110).filter(|n| lanes.push(&[*n; 32], 0)).count();
        assert_eq!(others, 25);
        assert_eq!(lanes.len(), 100);
        assert_eq!(lanes.drain().iter().map(Vec::len).sum::<usize>(), 100);
        assert!(lanes.push(&[1; 32], 0) && lanes.len() == 1);
    }
}
