//! The proof that the gate was passed, and the one event that comes of it.

use std::{sync::Arc, time::Instant};

use ids::{ProviderId, TenantId};
use parking_lot::Mutex;
use records::{End, Event, Recorder};
use scope::{Access, Scope, Write};

use crate::{Error, Permit, Version};

/// The proof that a hop passed the gate. A surface takes it by value and keeps it for as long
/// as the hop lasts: what was admitted is held until it is gone, and then the hop's event is
/// recorded. A stream takes it along.
///
/// Whoever drops it without a word leaves the verdict to the gate, while the surface has not
/// answered yet: what the surface returns decides. Afterwards it means that the hop was cut
/// off.
#[must_use = "a surface holds its pass until the hop is over"]
pub struct Pass {
    tally: Tally,
    record: Option<Record>,
    scope: Scope<Write>,
    grant: &'static str,
    policy: Version,
    desk: Arc<Desk>,
    _permits: Vec<Permit>,
}

impl Pass {
    pub(crate) fn issue(
        record: Record,
        grant: &'static str,
        policy: Version,
        desk: Arc<Desk>,
        permits: Vec<Permit>,
    ) -> Self {
        let (tally, scope) = (Tally::default(), record.scope.clone());
        Self { tally, record: Some(record), scope, grant, policy, desk, _permits: permits }
    }

    /// For a surface to ask first: whether this pass was issued to this very scope, for a hop
    /// of this grant.
    ///
    /// # Errors
    /// [`scope::Error::Mismatch`] if the two were mixed up on the way.
    pub fn admits<A: Access>(&self, scope: &Scope<A>, grant: &str) -> Result<(), Error> {
        let same = self.scope.jti() == scope.jti()
            && self.scope.fingerprint() == scope.fingerprint()
            && self.grant == grant;
        if same {
            return Ok(());
        }
        tracing::error!(
            tenant = self.scope.tenant().as_str(),
            environment = self.scope.environment().as_str(),
            grant = self.grant,
            "a pass was presented with another scope or to another surface than its own"
        );
        Err(Error::Scope(scope::Error::Mismatch("a pass that is for another hop".into())))
    }

    /// What is counted while the hop lasts.
    pub fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }

    /// Under which policies it was let through; what is kept of the answer must not outlive
    /// them.
    #[must_use]
    pub const fn policy(&self) -> Version {
        self.policy
    }

    /// The hop is over, and the whole answer went out.
    pub fn complete(mut self) {
        if let Some(record) = self.take() {
            record.complete();
        }
    }

    /// The hop is over, and failed.
    pub fn failed(mut self, code: &'static str) {
        if let Some(record) = self.take() {
            record.failed(code);
        }
    }

    fn take(&mut self) -> Option<Record> {
        let mut record = self.record.take()?;
        record.count(std::mem::take(&mut self.tally));
        Some(record)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Some(record) = self.take() {
            self.desk.leave(record);
        }
    }
}

impl std::fmt::Debug for Pass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pass({:?})", self.policy)
    }
}

/// Sees how every hop ended, as it is recorded: for figures. It must not block.
pub trait Meter: Send + Sync + std::fmt::Debug {
    /// A hop of this tenant is over.
    fn ended(&self, tenant: &TenantId, event: &Event);
}

/// Counts what a hop moved.
#[derive(Debug, Default)]
pub struct Tally {
    cache: Option<&'static str>,
    bytes_out: u64,
    tokens: Option<(u64, u64)>,
    provider: Option<ProviderId>,
}

impl Tally {
    /// What the cache did: `hit`, `semantic`, `miss` or `bypass`.
    pub const fn cache(&mut self, did: &'static str) -> &mut Self {
        self.cache = Some(did);
        self
    }

    /// So many more bytes of the answer went out.
    pub const fn bytes_out(&mut self, more: u64) -> &mut Self {
        self.bytes_out = self.bytes_out.saturating_add(more);
        self
    }

    /// Tokens of prompt and answer, as the provider counted them.
    pub const fn tokens(&mut self, prompt: u64, answer: u64) -> &mut Self {
        self.tokens = Some((prompt, answer));
        self
    }

    /// Which provider answers.
    pub fn provider(&mut self, provider: ProviderId) -> &mut Self {
        self.provider = Some(provider);
        self
    }
}

/// An event in the making. It is recorded when this is dropped, so it cannot be forgotten,
/// and there is no copy of it, so it cannot be recorded twice.
pub(crate) struct Record {
    pub(crate) event: Event,
    scope: Scope<Write>,
    recorder: Recorder,
    meter: Option<Arc<dyn Meter>>,
    began: Instant,
    over: bool,
}

impl Record {
    pub(crate) fn begin(
        event: Event,
        scope: Scope<Write>,
        recorder: Recorder,
        meter: Option<Arc<dyn Meter>>,
    ) -> Self {
        Self { event, scope, recorder, meter, began: Instant::now(), over: false }
    }

    fn count(&mut self, tally: Tally) {
        let Tally { cache, bytes_out, tokens, provider } = tally;
        self.event.cache = cache.map(Into::into);
        self.event.bytes_out = bytes_out;
        if let Some((prompt, answer)) = tokens {
            self.event.tokens_in = Some(prompt);
            self.event.tokens_out = Some(answer);
        }
        if provider.is_some() {
            self.event.provider = provider;
        }
    }

    pub(crate) fn complete(self) {
        self.end(End::Complete, None);
    }

    pub(crate) fn failed(self, code: &'static str) {
        self.end(End::Failed, Some(code));
    }

    fn end(mut self, end: End, code: Option<&'static str>) {
        self.event.end = end;
        self.event.code = code.map(Into::into);
        self.over = true;
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.over {
            let (end, code) = if std::thread::panicking() {
                (End::Failed, Some("internal"))
            } else {
                (End::Cancelled, None)
            };
            self.event.end = end;
            self.event.code = code.map(Into::into);
        }
        self.event.latency_us = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        if let Some(meter) = &self.meter {
            meter.ended(self.scope.tenant(), &self.event);
        }
        self.recorder.event(&self.scope, self.event.clone());
    }
}

/// Where a pass that says nothing leaves its record, for as long as the gate waits for the
/// surface.
#[derive(Default)]
pub(crate) struct Desk(Mutex<State>);

#[derive(Default)]
struct State {
    closed: bool,
    left: Option<Record>,
}

impl Desk {
    fn leave(&self, record: Record) {
        let mut state = self.0.lock();
        if state.closed {
            // Nobody will judge it: it is recorded as cut off, outside of the lock.
            drop(state);
            drop(record);
        } else {
            state.left = Some(record);
        }
    }

    fn close(&self) -> Option<Record> {
        let mut state = self.0.lock();
        state.closed = true;
        state.left.take()
    }
}

/// The gate's side of the desk. Closes it, also when the hop is cut off.
pub(crate) struct Waiting(pub(crate) Arc<Desk>);

impl Waiting {
    /// The surface has answered. A record that was left gets this verdict; one that is still
    /// with its pass will get its own.
    pub(crate) fn judge(self, code: Option<&'static str>) {
        match (self.0.close(), code) {
            (Some(record), None) => record.complete(),
            (Some(record), Some(code)) => record.failed(code),
            (None, _) => {}
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        drop(self.0.close());
    }
}
