//! The one pipeline.

use std::sync::Arc;

use ids::Clock;
use records::{Event, Recorder};
use scope::{AuditSink, Decision, Entry, Scope, Status, Write};

use crate::{
    Admission, Coded, Error, Hop, Meter, Pass, Policies, Version,
    hop::Resource,
    pass::{Desk, Record, Waiting},
    policy::Verdict,
    words::Facts,
};

/// The gate: the one way through for every hop.
pub struct Gate {
    policies: Policies,
    admissions: Vec<Arc<dyn Admission>>,
    recorder: Recorder,
    audit: Arc<dyn AuditSink>,
    clock: Arc<dyn Clock>,
    meter: Option<Arc<dyn Meter>>,
}

/// Why a hop was refused, with what only the log and the tenant's audit may know.
struct Denial {
    error: Error,
    /// Names the policies that decided.
    policies: Option<Arc<str>>,
}

impl From<Error> for Denial {
    fn from(error: Error) -> Self {
        Self { error, policies: None }
    }
}

impl Gate {
    /// With these policies; admissions are asked in this order.
    #[must_use]
    pub fn new(
        policies: Policies,
        admissions: Vec<Arc<dyn Admission>>,
        recorder: Recorder,
        audit: Arc<dyn AuditSink>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { policies, admissions, recorder, audit, clock, meter: None }
    }

    /// Besides being recorded, every hop that ends is shown to this meter.
    #[must_use]
    pub fn metered(mut self, meter: Arc<dyn Meter>) -> Self {
        self.meter = Some(meter);
        self
    }

    /// The policies in force; for reloading and showing them.
    #[must_use]
    pub const fn policies(&self) -> &Policies {
        &self.policies
    }

    /// Lets a hop through to its surface, or refuses it. Records exactly one event, also if
    /// the hop is cut off or the surface panics. A denial is in the tenant's audit log, too.
    ///
    /// # Errors
    /// The refusal, or what the surface fails with.
    pub async fn pass<T, E, S, F>(&self, scope: &Scope<Write>, hop: Hop, surface: S) -> Result<T, E>
    where
        S: FnOnce(Pass) -> F,
        F: Future<Output = Result<T, E>>,
        E: From<Error> + Coded,
    {
        // Before anything is decided, so that the time that it takes is counted.
        let record = self.record(self.event(scope, &hop), scope);
        let waiting = Waiting(Arc::new(Desk::default()));
        let pass = match self.admit(scope, &hop, record, &waiting.0) {
            Ok(pass) => pass,
            Err(denial) => {
                self.audit(scope, &hop, &denial).await;
                return Err(denial.error.into());
            }
        };
        let result = surface(pass).await;
        waiting.judge(result.as_ref().err().map(Coded::code));
        result
    }

    /// Records a denial that was found before the gate was asked: a body that names somebody
    /// else, say. `why` is for the tenant, who can read it.
    pub async fn refuse(&self, scope: &Scope<Write>, hop: &Hop, code: &'static str, why: &str) {
        let mut event = self.event(scope, hop);
        deny(&mut event, code);
        self.record(event, scope).failed(code);
        self.write(scope, entry(scope, hop, code).because(why)).await;
    }

    fn record(&self, event: Event, scope: &Scope<Write>) -> Record {
        Record::begin(event, scope.clone(), self.recorder.clone(), self.meter.clone())
    }

    /// All questions, in order. A refusal has its event before this returns.
    fn admit(
        &self,
        scope: &Scope<Write>,
        hop: &Hop,
        mut record: Record,
        desk: &Arc<Desk>,
    ) -> Result<Pass, Denial> {
        match self.questions(scope, hop) {
            Ok((policy, permits)) => {
                Ok(Pass::issue(record, hop.grant(), policy, Arc::clone(desk), permits))
            }
            Err(denial) => {
                let code = denial.error.code();
                deny(&mut record.event, code);
                record.failed(code);
                Err(denial)
            }
        }
    }

    fn questions(
        &self,
        scope: &Scope<Write>,
        hop: &Hop,
    ) -> Result<(Version, Vec<crate::Permit>), Denial> {
        scope.live().map_err(Error::Scope)?;
        if !scope.may(hop.grant()) {
            return Err(Error::Scope(scope::Error::Grant(hop.grant().to_owned())).into());
        }
        let (verdict, version) =
            self.policies.decide(scope.fingerprint(), || Facts::of(scope), hop);
        match verdict {
            Verdict::Allow => {}
            Verdict::Deny(by) => {
                return Err(Denial { error: Error::Denied, policies: Some(by) });
            }
            Verdict::Error(why) => {
                tracing::error!(
                    tenant = scope.tenant().as_str(),
                    environment = scope.environment().as_str(),
                    action = hop.grant(),
                    policy = %version,
                    error = &*why,
                    "a policy could not be evaluated; the hop is refused"
                );
                return Err(Error::Policy.into());
            }
        }
        let reader = scope.read_only();
        let mut permits = Vec::with_capacity(self.admissions.len());
        for admission in &self.admissions {
            permits.push(admission.admit(&reader, hop).map_err(Error::Refused)?);
        }
        Ok((version, permits))
    }

    fn event(&self, scope: &Scope<Write>, hop: &Hop) -> Event {
        let mut event =
            Event::of(scope, self.clock.now(), hop.request, hop.surface(), hop.action());
        event.step.clone_from(&hop.step);
        event.bytes_in = hop.bytes_in;
        if let [provider] = &hop.providers[..] {
            event.provider = Some(provider.clone());
        }
        if hop.resource == Resource::Route {
            event.route = hop.target.parse().ok();
        }
        event
    }

    /// Keeps a denial in the tenant's audit log. What was merely not admitted now is load, not
    /// a question of rights, and has its event.
    async fn audit(&self, scope: &Scope<Write>, hop: &Hop, denial: &Denial) {
        if matches!(denial.error, Error::Refused(_)) {
            return;
        }
        let mut entry = entry(scope, hop, denial.error.code()).because(denial.error.to_string());
        if let Some(policies) = &denial.policies {
            entry = entry.with("policies", policies);
        }
        self.write(scope, entry).await;
    }

    /// In a task of its own: whoever hangs up does not erase the trace. The denial stands,
    /// whether or not it can be written.
    async fn write(&self, scope: &Scope<Write>, entry: Entry) {
        // The log of an erased tenant is gone, and nothing may come back.
        if scope.tenant_record().status == Status::Erased {
            return;
        }
        let audit = Arc::clone(&self.audit);
        let written = scope.spawn(|scope| async move { audit.record(&scope, entry).await });
        let failed = match written.await {
            Ok(Ok(())) => return,
            Ok(Err(unavailable)) => unavailable.to_string(),
            Err(cut_off) => cut_off.to_string(),
        };
        tracing::error!(
            tenant = scope.tenant().as_str(),
            environment = scope.environment().as_str(),
            error = failed,
            "a denial could not be written to the audit log"
        );
    }
}

fn deny(event: &mut Event, code: &'static str) {
    event.decision = Decision::Denied;
    event.end = records::End::Failed;
    event.code = Some(code.into());
}

fn entry(scope: &Scope<Write>, hop: &Hop, code: &'static str) -> Entry {
    let entry = Entry::denied(scope.actor(), "hop.denied", &hop.target, code)
        .with("hop", format_args!("{}:{}", hop.surface(), hop.action()))
        .with("request", hop.request);
    let entry = scope.workflow().map_or(entry.clone(), |id| entry.with("workflow", id));
    scope.run().map_or(entry.clone(), |id| entry.with("run", id))
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").field("policies", &self.policies).finish_non_exhaustive()
    }
}
