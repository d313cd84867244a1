//! What was looked up lately, so that the common look-up reads no file.
//!
//! It must never answer from before a change that has returned. While a change is under way
//! it neither answers nor learns; what the change touched is forgotten before it answers
//! again; and what a look-up began to read before the change is not learned after it.

use std::{num::NonZeroUsize, sync::Arc};

use ids::TenantId;
use lru::LruCache;
use parking_lot::Mutex;
use scope::{Digest, OperatorRecord, ServiceRecord};

use crate::rows::{KeyRow, TenantRow, Touched};

/// Records kept. A usual one has a few hundred bytes.
const KEPT: NonZeroUsize = NonZeroUsize::MIN.saturating_add(8_191);

/// By what a record is looked up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum By {
    Tenant(Box<str>),
    Alias(Box<str>),
    ApiKey(Digest),
    Service(Digest),
    Operator(Digest),
}

/// What is found there.
#[derive(Clone)]
pub(crate) enum Value {
    Tenant(Arc<TenantRow>),
    Alias(TenantId),
    ApiKey(Arc<KeyRow>),
    Service(Arc<ServiceRecord>),
    Operator(Arc<OperatorRecord>),
}

/// The right to add what is read now, unless a change comes between.
#[derive(Clone, Copy)]
pub(crate) struct Ticket(Option<u64>);

pub(crate) struct Memory(Mutex<State>);

struct State {
    /// Changes under way.
    changing: usize,
    /// Rises with each change.
    generation: u64,
    known: LruCache<By, Value>,
}

impl Memory {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State { changing: 0, generation: 0, known: LruCache::new(KEPT) }))
    }

    /// What is known, or the right to add it.
    pub(crate) fn look(&self, key: &By) -> Result<Value, Ticket> {
        let mut state = self.0.lock();
        if state.changing > 0 {
            return Err(Ticket(None));
        }
        let generation = state.generation;
        state.known.get(key).cloned().ok_or(Ticket(Some(generation)))
    }

    /// Adds what was read under a ticket. What is not there is not remembered, so that a
    /// flood of unknown names pushes nothing out.
    pub(crate) fn learn(&self, ticket: Ticket, key: By, value: Value) {
        let mut state = self.0.lock();
        if state.changing == 0 && ticket.0 == Some(state.generation) {
            state.known.put(key, value);
        }
    }

    /// A change begins; it ends when the guard goes.
    pub(crate) fn change(&self) -> Changing<'_> {
        let mut state = self.0.lock();
        state.changing += 1;
        state.generation += 1;
        Changing { memory: self, touched: None }
    }
}

/// A change under way.
pub(crate) struct Changing<'a> {
    memory: &'a Memory,
    touched: Option<Vec<By>>,
}

impl Changing<'_> {
    /// The change is done and touched this. A change that ends otherwise may have touched
    /// anything.
    pub(crate) fn done(mut self, touched: &mut Touched) {
        self.touched = Some(std::mem::take(&mut touched.keys));
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        let mut state = self.memory.0.lock();
        match self.touched.take() {
            Some(keys) => keys.iter().for_each(|key| {
                state.known.pop(key);
            }),
            None => state.known.clear(),
        }
        state.changing -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alias(text: &str) -> By {
        By::Alias(text.into())
    }

    fn id(text: &str) -> Value {
        Value::Alias(TenantId::parse(text).unwrap())
    }

    fn ticket(memory: &Memory, key: &By) -> Ticket {
        memory.look(key).err().unwrap()
    }

    #[test]
    fn what_was_read_before_a_change_is_not_learned_after_it() {
        let memory = Memory::new();
        let early = ticket(&memory, &alias("a"));
        let changing = memory.change();
        let during = ticket(&memory, &alias("a"));
        memory.learn(early, alias("a"), id("old"));
        memory.learn(during, alias("a"), id("old"));
        changing.done(&mut Touched::default());
        memory.learn(early, alias("a"), id("old"));
        memory.learn(during, alias("a"), id("old"));
        let late = ticket(&memory, &alias("a"));
        memory.learn(late, alias("a"), id("new"));
        assert!(matches!(memory.look(&alias("a")), Ok(Value::Alias(id)) if id.as_str() == "new"));
    }

    #[test]
    fn nothing_is_answered_while_a_change_is_under_way() {
        let memory = Memory::new();
        let before = ticket(&memory, &alias("a"));
        memory.learn(before, alias("a"), id("one"));
        let first = memory.change();
        let second = memory.change();
        assert!(memory.look(&alias("a")).is_err());
        first.done(&mut Touched::default());
        assert!(memory.look(&alias("a")).is_err(), "the second is still under way");
        second.done(&mut Touched { keys: vec![alias("b")], ..Touched::default() });
        assert!(memory.look(&alias("a")).is_ok(), "not touched");
    }

    #[test]
    fn a_change_that_failed_may_have_touched_anything() {
        let memory = Memory::new();
        let before = ticket(&memory, &alias("a"));
        memory.learn(before, alias("a"), id("one"));
        drop(memory.change());
        assert!(memory.look(&alias("a")).is_err());
    }
}
