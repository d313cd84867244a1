//! The exchange (RFC 8693): a service credential turns what it holds into tenant tokens and
//! run grants. What comes out never does more than what went in.

use std::{sync::Arc, time::Duration};

use ids::{AgentId, Environment, Jti, Millis, RandomId, RunId, Subject, TenantId, WorkflowId};

use crate::{
    Digest, Doors, Error, Grants, Kind, Listed, Operator, Right, RunGrantRecord, Secret,
    ServiceRecord,
    doors::token_id,
    standing::Standing,
    token::{Claims, MAX_LINEAGE, MAX_TOKEN_LIFE, Parts, issued_by},
};

/// The longest life of a run grant.
const MAX_GRANT_LIFE: Duration = Duration::from_secs(90 * 24 * 3_600);
/// The life of a run grant if none is asked for.
const GRANT_LIFE: Duration = Duration::from_secs(24 * 3_600);

/// A proven service credential.
#[must_use]
#[derive(Debug)]
pub struct Service(ServiceRecord);

impl Service {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.name.as_str()
    }
}

/// What is exchanged.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// A tenant by name, for which the service may mint.
    Tenant(&'a str),
    /// A trusted issuer's token.
    Issuer(&'a str),
    /// A run grant.
    RunGrant(&'a str),
    /// A tenant token, to be narrowed.
    Token(&'a str),
}

/// What is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Want {
    /// A tenant token.
    #[default]
    Token,
    /// A run grant.
    RunGrant,
}

/// A request to the exchange. What is left out comes from the source, or is an error; nothing
/// defaults to more.
#[derive(Clone, Debug)]
pub struct Exchange<'a> {
    /// What is exchanged.
    pub source: Source<'a>,
    /// What is wanted.
    pub want: Want,
    /// In which environment.
    pub environment: Option<Environment>,
    /// For which workflow.
    pub workflow: Option<WorkflowId>,
    /// For which run; a new one if the source has none.
    pub run: Option<RunId>,
    /// By which agent.
    pub agent: Option<AgentId>,
    /// For which end user.
    pub subject: Option<Subject>,
    /// With which grants.
    pub grants: Option<Grants>,
    /// For how long.
    pub life: Option<Duration>,
}

/// What the exchange gave.
pub struct Minted {
    /// The tenant token, or the run grant's secret.
    pub secret: zeroize::Zeroizing<String>,
    /// Its id.
    pub id: Jti,
    /// Whose.
    pub tenant: TenantId,
    /// In which environment.
    pub environment: Environment,
    /// For which run.
    pub run: RunId,
    /// What it may do.
    pub grants: Grants,
    /// When it ends.
    pub expires: Millis,
}

/// What a source proves, and how far it reaches.
struct Held {
    tenant: TenantId,
    epoch: u64,
    environment: Option<Environment>,
    workflow: Option<WorkflowId>,
    run: Option<RunId>,
    agent: Option<AgentId>,
    subject: Option<Subject>,
    /// The most that may be given; `None` where only the service's own bound holds.
    grants: Option<Grants>,
    lineage: Vec<RandomId>,
    /// What comes out ends no later.
    ends: Option<Millis>,
}

impl Doors {
    /// A service's credential.
    ///
    /// # Errors
    /// Not known, revoked or expired.
    pub async fn service(&self, secret: &str) -> Result<Service, Error> {
        if Kind::of(secret) != Some(Kind::Service) {
            return Err(Error::Unknown);
        }
        let digest = self.digester.digest(secret);
        let record = self.directory.service(&digest).await?.ok_or(Error::Unknown)?;
        if record.revoked {
            return Err(Error::Revoked);
        }
        if record.expires.is_some_and(|end| self.now() >= end) {
            return Err(Error::Expired);
        }
        Ok(Service(record))
    }

    /// Exchanges on behalf of a service.
    ///
    /// # Errors
    /// A source that is not good, or an ask beyond what source and service allow.
    pub async fn exchange(&self, service: &Service, ask: Exchange<'_>) -> Result<Minted, Error> {
        let held = self.held(&service.0.tenants, &ask).await?;
        self.mint(&service.0, held, ask).await
    }

    /// Mints for an operator who tries something out. To be announced in the audit log first.
    ///
    /// # Errors
    /// No right to write, or as [`Doors::exchange`].
    pub async fn mint_for(&self, operator: &Operator, ask: Exchange<'_>) -> Result<Minted, Error> {
        operator.require(Right::Write)?;
        let Source::Tenant(_) = ask.source else {
            return Err(Error::Invalid("an operator mints for a named tenant".into()));
        };
        let all = Listed::from_names(vec!["*".into()]);
        let bound = ServiceRecord {
            name: ids::ServiceName::parse("operator").map_err(|e| Error::Invalid(e.to_string()))?,
            tenants: all.clone(),
            environments: all.clone(),
            workflows: all,
            grants: ask.grants.clone().unwrap_or_default(),
            created: self.now(),
            expires: None,
            revoked: false,
        };
        let held = self.held(&bound.tenants, &ask).await?;
        self.mint(&bound, held, ask).await
    }

    async fn held(&self, bound: &Listed, ask: &Exchange<'_>) -> Result<Held, Error> {
        match ask.source {
            Source::Tenant(name) => self.held_tenant(bound, name).await,
            Source::Issuer(token) => self.held_issuer(bound, token).await,
            Source::RunGrant(secret) => self.held_grant(bound, secret).await,
            Source::Token(token) => self.held_token(bound, token).await,
        }
    }

    /// The tenant of this name, if it is one of those that may be minted for. A tenant that is
    /// not, and one that does not exist, give the same answer.
    async fn within(&self, bound: &Listed, name: &str) -> Result<Arc<Standing>, Error> {
        match self.standings.named(name).await {
            Ok(standing) if bound.allows(standing.state().record.id.as_str()) => Ok(standing),
            Err(Error::Tenant) if bound.is_any() => Err(Error::Tenant),
            Ok(_) | Err(Error::Tenant) => Err(beyond()),
            Err(error) => Err(error),
        }
    }

    async fn held_tenant(&self, bound: &Listed, name: &str) -> Result<Held, Error> {
        let standing = self.within(bound, name).await?;
        let state = standing.state();
        standing.check(state.record.epoch, &[])?;
        Ok(Held {
            tenant: state.record.id.clone(),
            epoch: state.record.epoch,
            environment: None,
            workflow: None,
            run: None,
            agent: None,
            subject: None,
            grants: None,
            lineage: Vec::new(),
            ends: None,
        })
    }

    async fn held_issuer(&self, bound: &Listed, token: &str) -> Result<Held, Error> {
        let parts = Parts::split(token)?;
        let trusted = self.trusted(&parts)?;
        let says = trusted.verify(&parts, self.now()).await?;
        let mut held = self.held_tenant(bound, &says.tenant).await?;
        let standing = self.standings.of(&held.tenant).await?;
        if issued_by(says.iat, held.epoch.max(standing.state().record.named_since)) {
            return Err(Error::Revoked);
        }
        let id = token_id(&parts);
        standing.check(held.epoch, &[id])?;
        held.environment = Some(says.environment);
        held.workflow = says.workflow;
        held.subject = says.subject;
        held.lineage = vec![id];
        Ok(held)
    }

    async fn held_grant(&self, bound: &Listed, secret: &str) -> Result<Held, Error> {
        if Kind::of(secret) != Some(Kind::RunGrant) {
            return Err(Error::Malformed("not a run grant"));
        }
        let digest: Digest = self.digester.digest(secret);
        let grant = self.directory.run_grant(&digest).await?.ok_or(Error::Unknown)?;
        let standing = self.within(bound, grant.tenant.as_str()).await?;
        if grant.revoked {
            return Err(Error::Revoked);
        }
        if self.now() >= grant.expires {
            return Err(Error::Expired);
        }
        let mut lineage = grant.lineage;
        lineage.push(grant.id);
        standing.check(grant.epoch, &lineage)?;
        Ok(Held {
            tenant: grant.tenant,
            epoch: grant.epoch,
            environment: Some(grant.environment),
            workflow: Some(grant.workflow),
            run: Some(grant.run),
            agent: grant.agent,
            subject: grant.subject,
            grants: Some(grant.grants),
            lineage,
            ends: Some(grant.expires),
        })
    }

    async fn held_token(&self, bound: &Listed, token: &str) -> Result<Held, Error> {
        let parts = Parts::split(token)?;
        if !self.is_ours(&parts)? {
            return Err(Error::Issuer);
        }
        let identity = self.token_identity(&parts)?;
        self.within(bound, identity.tenant.as_str()).await?;
        let inner = self.admit(identity).await?;
        inner.live()?;
        let held = inner.identity.clone();
        Ok(Held {
            lineage: held.chain(),
            tenant: held.tenant,
            epoch: held.epoch,
            environment: Some(held.environment),
            workflow: held.workflow,
            run: held.run,
            agent: held.agent,
            subject: held.subject,
            grants: Some(held.grants),
            ends: Some(held.expires),
        })
    }

    async fn mint(
        &self,
        bound: &ServiceRecord,
        held: Held,
        ask: Exchange<'_>,
    ) -> Result<Minted, Error> {
        let environment = agreed("environment", held.environment, ask.environment)?
            .ok_or_else(|| Error::Invalid("`environment` is needed".into()))?;
        let workflow = agreed("workflow", held.workflow, ask.workflow)?
            .ok_or_else(|| Error::Invalid("`workflow` is needed".into()))?;
        let grants = match (&held.grants, ask.grants) {
            (Some(most), Some(asked)) if most.covers(&asked) => asked,
            (Some(_), Some(_)) => {
                return Err(Error::Grant("what is asked for: narrowing only removes".into()));
            }
            (Some(most), None) => most.clone(),
            (None, Some(asked)) => asked,
            (None, None) => return Err(Error::Invalid("`scope` is needed".into())),
        };
        if !bound.environments.allows(environment.as_str())
            || !bound.workflows.allows(workflow.as_str())
            || !bound.grants.covers(&grants)
        {
            return Err(beyond());
        }
        if !self.standings.of(&held.tenant).await?.has(&environment) {
            return Err(Error::Environment);
        }
        if held.lineage.len() > MAX_LINEAGE {
            return Err(Error::Invalid(format!("narrowed more than {MAX_LINEAGE} times")));
        }
        let fresh = || {
            RunId::parse(&format!("run_{}", RandomId::draw(&*self.entropy)))
                .map_err(|e| Error::Invalid(e.to_string()))
        };
        let run = match agreed("run", held.run, ask.run)? {
            Some(run) => run,
            None => fresh()?,
        };
        let terms = Terms {
            tenant: held.tenant,
            epoch: held.epoch,
            environment,
            workflow,
            run,
            agent: agreed("agent", held.agent, ask.agent)?,
            subject: agreed("sub", held.subject, ask.subject)?,
            grants,
            lineage: held.lineage,
            ends: held.ends,
        };
        match ask.want {
            Want::Token => self.mint_token(terms, ask.life),
            Want::RunGrant => self.mint_grant(terms, ask.life).await,
        }
    }

    fn mint_token(&self, terms: Terms, life: Option<Duration>) -> Result<Minted, Error> {
        let life = bounded(life, MAX_TOKEN_LIFE, MAX_TOKEN_LIFE)?;
        let now = self.now();
        let expires = terms.ends.map_or(now.plus(life), |ends| ends.min(now.plus(life)));
        let jti = RandomId::draw(&*self.entropy);
        let mut ancestors = terms.lineage;
        let parent = ancestors.pop();
        let claims = Claims {
            iss: self.issuer.clone(),
            aud: self.audience.clone(),
            iat: now.secs(),
            exp: expires.secs(),
            jti,
            txn: terms.run,
            tenant: terms.tenant,
            env: terms.environment,
            workflow: terms.workflow,
            agent: terms.agent,
            sub: terms.subject,
            scope: terms.grants,
            epoch: terms.epoch,
            parent,
            ancestors,
        };
        Ok(Minted {
            secret: self.keys.sign(&claims)?.into(),
            id: jti,
            tenant: claims.tenant,
            environment: claims.env,
            run: claims.txn,
            grants: claims.scope,
            expires: Millis::from_secs(claims.exp),
        })
    }

    async fn mint_grant(&self, terms: Terms, life: Option<Duration>) -> Result<Minted, Error> {
        let life = bounded(life, GRANT_LIFE, MAX_GRANT_LIFE)?;
        let secret = Secret::draw(Kind::RunGrant, &*self.entropy);
        let now = self.now();
        let record = RunGrantRecord {
            id: secret.id(),
            tenant: terms.tenant,
            environment: terms.environment,
            workflow: terms.workflow,
            run: terms.run,
            agent: terms.agent,
            subject: terms.subject,
            grants: terms.grants,
            epoch: terms.epoch,
            lineage: terms.lineage,
            created: now,
            expires: terms.ends.map_or(now.plus(life), |ends| ends.min(now.plus(life))),
            revoked: false,
        };
        let minted = Minted {
            secret: secret.expose().to_owned().into(),
            id: record.id,
            tenant: record.tenant.clone(),
            environment: record.environment.clone(),
            run: record.run.clone(),
            grants: record.grants.clone(),
            expires: record.expires,
        };
        self.directory.keep_run_grant(&self.digester.digest(secret.expose()), record).await?;
        Ok(minted)
    }
}

/// An ask for what the service may not mint.
fn beyond() -> Error {
    Error::Grant(
        "minting this: see the tenants, environments, workflows and grants of the service".into(),
    )
}

/// What is minted, all decided.
struct Terms {
    tenant: TenantId,
    epoch: u64,
    environment: Environment,
    workflow: WorkflowId,
    run: RunId,
    agent: Option<AgentId>,
    subject: Option<Subject>,
    grants: Grants,
    lineage: Vec<RandomId>,
    ends: Option<Millis>,
}

/// What the source has and what is asked for must be one: an ask may fill a gap, not choose.
fn agreed<T: PartialEq>(what: &str, held: Option<T>, asked: Option<T>) -> Result<Option<T>, Error> {
    match (held, asked) {
        (Some(held), Some(asked)) if held != asked => {
            Err(Error::Mismatch(format!("`{what}` is not the one that the subject token names")))
        }
        (held, asked) => Ok(held.or(asked)),
    }
}

fn bounded(asked: Option<Duration>, usual: Duration, most: Duration) -> Result<Duration, Error> {
    let life = asked.unwrap_or(usual);
    if life > most || life < Duration::from_secs(1) {
        return Err(Error::Invalid(format!("`ttl_seconds` is between 1 and {}", most.as_secs())));
    }
    Ok(life)
}
