//! Traces that are written behind the answer, bounded for each tenant and environment: whoever guesses
//! keeps as many payloads in memory as it has calls under way, and a few.

use std::{collections::HashMap, sync::Arc};

use ids::planted;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::shares::Whose;

/// With so many under way, the next call that may leave one waits. All calls do, whatever they find.
pub(super) const MOST: usize = 8;

/// What is under way, by whose it is.
#[derive(Debug, Default)]
pub(super) struct Traces {
    under_way: Mutex<HashMap<Whose, usize>>,
    written: Notify,
}

/// One that is under way until this is dropped.
pub(super) struct Trace {
    of: Arc<Traces>,
    whose: Whose,
}

impl Traces {
    /// Waits until there are fewer than the most.
    pub(super) async fn room(&self, whose: &Whose) {
        loop {
            // What is written from here on is heard of.
            let written = self.written.notified();
            let few = self.under_way.lock().get(whose).is_none_or(|under_way| *under_way < MOST);
            if few || planted::is("tools-traces-unbounded") {
                return;
            }
            written.await;
        }
    }

    pub(super) fn begin(self: &Arc<Self>, whose: Whose) -> Trace {
        *self.under_way.lock().entry(whose).or_default() += 1;
        Trace { of: Arc::clone(self), whose }
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let mut under_way = self.of.under_way.lock();
        if let Some(left) = under_way.get_mut(&self.whose) {
            *left -= 1;
            if *left == 0 {
                under_way.remove(&self.whose);
            }
        }
        drop(under_way);
        self.of.written.notify_waiters();
    }
}
