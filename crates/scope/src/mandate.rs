//! Mandates: how work that outlives its request gets its scope back.

use std::time::Duration;

use ids::{
    AgentId, Environment, Millis, RandomId, RunId, Subject, TenantId, WorkflowId, frame::Frame,
    text,
};
use serde::{Deserialize, Serialize};

use crate::{Actor, Doors, Entry, Error, Grants, Scope, SystemScope, Write, identity::Identity};

/// The longest that a mandate may wait.
const MAX_LIFE: Duration = Duration::from_secs(90 * 24 * 3_600);

/// A record written under a scope, to be redeemed once, for one action. Authenticated by a
/// MAC under the deployment's key, so it may lie in a queue or a database; it is not a
/// capability until the doors redeem it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Mandate(String);

impl Mandate {
    /// As it was written down.
    #[must_use]
    pub const fn from_text(text: String) -> Self {
        Self(text)
    }

    /// To be written down.
    #[must_use]
    pub fn as_text(&self) -> &str {
        &self.0
    }
}

/// For whom configuration has work done.
#[derive(Clone, Debug)]
pub struct Commission {
    /// Which tenant.
    pub tenant: TenantId,
    /// In which environment.
    pub environment: Environment,
    /// As which workflow.
    pub workflow: WorkflowId,
    /// With which grants.
    pub grants: Grants,
}

#[derive(Serialize, Deserialize)]
struct Terms {
    id: RandomId,
    action: String,
    tenant: TenantId,
    environment: Environment,
    workflow: Option<WorkflowId>,
    run: Option<RunId>,
    agent: Option<AgentId>,
    subject: Option<Subject>,
    grants: Grants,
    lineage: Vec<RandomId>,
    epoch: u64,
    expires: Millis,
}

impl Doors {
    /// Writes a mandate for one action under a scope. It keeps the scope's identity and at
    /// most its grants, and falls with any credential that the scope came from.
    ///
    /// # Errors
    /// A life beyond 90 days, or a scope that no longer holds.
    pub fn mandate(
        &self,
        scope: &Scope<Write>,
        action: &str,
        life: Duration,
    ) -> Result<Mandate, Error> {
        scope.live()?;
        if life > MAX_LIFE {
            return Err(Error::Invalid("a mandate lives 90 days at most".into()));
        }
        let identity = scope.inner().identity.clone();
        let terms = Terms {
            id: RandomId::draw(&*self.entropy),
            action: action.to_owned(),
            lineage: identity.chain(),
            tenant: identity.tenant,
            environment: identity.environment,
            workflow: identity.workflow,
            run: identity.run,
            agent: identity.agent,
            subject: identity.subject,
            grants: identity.grants,
            epoch: identity.epoch,
            expires: self.now().plus(life),
        };
        let body = serde_json::to_vec(&terms)
            .map_err(|_| Error::Invalid("a mandate that cannot be written".into()))?;
        let mac = text::base64url(self.mac(&body).as_bytes());
        Ok(Mandate(format!("{}.{mac}", text::base64url(&body))))
    }

    /// Redeems a mandate for its action: the scope that it was written under, once.
    ///
    /// # Errors
    /// A wrong MAC or action, an expired or redeemed mandate, a revoked lineage, a tenant
    /// that is suspended or whose epoch has moved on. A second redemption is recorded.
    pub async fn redeem(&self, mandate: &Mandate, action: &str) -> Result<Scope<Write>, Error> {
        let (body, mac) = mandate.0.split_once('.').ok_or(Error::Malformed("a mandate"))?;
        let body = text::unbase64url(body).ok_or(Error::Malformed("a mandate"))?;
        let mac: [u8; 32] = text::unbase64url(mac)
            .and_then(|mac| mac.try_into().ok())
            .ok_or(Error::Malformed("a mandate"))?;
        // blake3::Hash compares in constant time.
        if self.mac(&body) != blake3::Hash::from_bytes(mac) {
            return Err(Error::Signature);
        }
        let terms: Terms =
            serde_json::from_slice(&body).map_err(|_| Error::Malformed("a mandate"))?;
        if terms.action != action {
            return Err(Error::Mismatch("a mandate for another action".into()));
        }
        let (id, expires) = (terms.id, terms.expires);
        let identity = Identity {
            tenant: terms.tenant,
            environment: terms.environment,
            workflow: terms.workflow,
            run: terms.run,
            agent: terms.agent,
            subject: terms.subject,
            grants: terms.grants,
            actor: Actor::Mandate(id),
            jti: id,
            lineage: terms.lineage,
            epoch: terms.epoch,
            expires,
        };
        let inner = self.admit(identity).await?;
        inner.live()?;
        let scope = Scope::from_inner(inner);
        if !self.directory.spend(&id, expires).await? && !ids::planted::is("mandate-twice") {
            let entry = Entry::denied(scope.actor(), "mandate.redeem", id, "scope.revoked")
                .because("redeemed before");
            self.audit.record(&scope, entry).await?;
            return Err(Error::Revoked);
        }
        Ok(scope)
    }

    /// Writes a mandate by verified configuration: for a schedule or a webhook source, whose
    /// tenant the deployment itself has established.
    ///
    /// # Errors
    /// As [`Doors::mandate`], and an unknown tenant or environment.
    pub async fn commission(
        &self,
        _system: &SystemScope,
        commission: Commission,
        action: &str,
        life: Duration,
    ) -> Result<Mandate, Error> {
        let Commission { tenant, environment, workflow, grants } = commission;
        let epoch = self.standings.of(&tenant).await?.state().record.epoch;
        let jti = RandomId::draw(&*self.entropy);
        let identity = Identity {
            tenant,
            environment,
            workflow: Some(workflow),
            run: None,
            agent: None,
            subject: None,
            grants,
            actor: Actor::Mandate(jti),
            jti,
            lineage: Vec::new(),
            epoch,
            expires: self.now().plus(life),
        };
        let scope = Scope::from_inner(self.admit(identity).await?);
        self.mandate(&scope, action, life)
    }

    fn mac(&self, body: &[u8]) -> blake3::Hash {
        let framed = Frame::new("bulkhead mandate 1").field(body).finish();
        blake3::keyed_hash(&self.mandate_key, &framed)
    }
}
