//! The doors. What comes in is a credential, what goes out is a scope or a coded error.

use std::sync::Arc;

use ids::{Clock, Entropy, Millis, RandomId, TenantId};
use lru::LruCache;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use crate::{
    Actor, AuditSink, Digester, Directory, Entry, Error, Kind, Maintenance, Presented, Scope,
    Settings, SystemScope, TokenKeys, Unavailable, Write,
    identity::{Identity, Inner, Shared},
    issuer::Trusted,
    standing::{Standing, Standings},
    token::{Claims, MAX_CREDENTIAL, Parts, SKEW, issued_by},
};

/// Shards of the cache of proven credentials.
const SHARDS: usize = 16;
/// Proven credentials kept per shard.
const PROVEN: usize = 2_048;
/// How long a proof from outside our own keys is kept.
const PROOF_LIFE: std::time::Duration = std::time::Duration::from_secs(300);

/// A proven credential, kept under the digest of all of its bytes.
#[derive(Clone)]
struct Proven {
    inner: Arc<Inner>,
    revision: u64,
    /// By which set of our keys.
    turn: u64,
    until: Millis,
}

/// The doors: the only way to a scope.
pub struct Doors {
    pub(crate) issuer: String,
    pub(crate) audience: String,
    pub(crate) keys: Arc<TokenKeys>,
    pub(crate) digester: Digester,
    pub(crate) mandate_key: Zeroizing<[u8; 32]>,
    pub(crate) issuers: Vec<Trusted>,
    pub(crate) directory: Arc<dyn Directory>,
    pub(crate) standings: Standings,
    pub(crate) audit: Arc<dyn AuditSink>,
    pub(crate) entropy: Arc<dyn Entropy>,
    shared: Arc<Shared>,
    proven: Vec<Mutex<LruCache<[u8; 32], Proven>>>,
}

impl Doors {
    /// Opens the doors.
    #[must_use]
    pub fn open(
        settings: Settings,
        directory: Arc<dyn Directory>,
        audit: Arc<dyn AuditSink>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Arc<Self> {
        let Settings { issuer, audience, keys, digester, mandate_key, issuers } = settings;
        let cap = std::num::NonZeroUsize::new(PROVEN).unwrap_or(std::num::NonZeroUsize::MIN);
        Arc::new(Self {
            issuer,
            audience,
            keys,
            digester,
            mandate_key,
            issuers: issuers.into_iter().map(Trusted::new).collect(),
            standings: Standings::new(Arc::clone(&directory)),
            directory,
            audit,
            entropy,
            shared: Arc::new(Shared { clock, tasks: TaskTracker::new() }),
            proven: (0..SHARDS).map(|_| Mutex::new(LruCache::new(cap))).collect(),
        })
    }

    /// A request's credential becomes a scope.
    ///
    /// # Errors
    /// Why not. Where the credential was good and something beside it disagreed, the denial is
    /// in the tenant's audit log.
    pub async fn authenticate(&self, presented: &Presented<'_>) -> Result<Scope<Write>, Error> {
        let (first, others) = presented.credentials.split_first().ok_or(Error::Missing)?;
        let scope = self.prove(first).await?;
        let agreed = if others.iter().all(|other| same(first, other)) {
            presented.claims.iter().try_for_each(|claim| scope.concur(claim))
        } else {
            Err(Error::Mismatch("two different credentials in one request".into()))
        };
        match agreed {
            Ok(()) => Ok(scope),
            Err(error) => {
                self.deny(&scope, "scope.authenticate", &error).await;
                Err(error)
            }
        }
    }

    /// Records a denial in the log of the scope's tenant.
    async fn deny(&self, scope: &Scope<Write>, action: &str, error: &Error) {
        let entry = Entry::denied(scope.actor(), action, scope.tenant(), error.code())
            .because(error.to_string());
        if let Err(failed) = self.audit.record(scope, entry).await {
            tracing::error!(error = %failed, code = error.code(), "a denial could not be recorded");
        }
    }

    /// Waits until every task that was spawned through a scope has ended.
    pub async fn drained(&self) {
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    /// Reads a tenant's record again. To be called after every change of it: what it says is
    /// effective when this returns.
    ///
    /// # Errors
    /// The registry is out of reach.
    pub async fn refresh(&self, tenant: &TenantId) -> Result<(), Unavailable> {
        self.standings.refresh(tenant).await
    }

    pub(crate) fn now(&self) -> Millis {
        self.shared.clock.now()
    }

    /// The scope of one credential, from memory if it was proven before.
    async fn prove(&self, credential: &str) -> Result<Scope<Write>, Error> {
        if credential.len() > MAX_CREDENTIAL {
            return Err(Error::Malformed("longer than 8 KiB"));
        }
        let key = if ids::planted::is("token-by-prefix") {
            digest(credential.get(..20).unwrap_or(credential))
        } else {
            digest(credential)
        };
        // Before anything is verified by them: they may be replaced meanwhile.
        let turn = self.keys.turn();
        let shard = &self.proven[usize::from(key[0]) % SHARDS];
        let known = shard.lock().get(&key).cloned();
        if let Some(proven) = known
            && proven.until > self.now()
            && proven.turn == turn
            && proven.revision == proven.inner.standing().revision()
        {
            match proven.inner.live() {
                Ok(()) => return Ok(Scope::from_inner(proven.inner)),
                // What could not be read may be readable now.
                Err(Error::Unavailable(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let inner = self.verify(credential).await?;
        inner.live()?;
        let until = match inner.identity.actor {
            Actor::Token(_) => inner.identity.expires,
            _ => inner.identity.expires.min(self.now().plus(PROOF_LIFE)),
        };
        let revision = inner.standing().revision();
        shard.lock().put(key, Proven { inner: Arc::clone(&inner), revision, turn, until });
        Ok(Scope::from_inner(inner))
    }

    async fn verify(&self, credential: &str) -> Result<Arc<Inner>, Error> {
        match Kind::of(credential) {
            Some(Kind::ApiKey) => self.by_api_key(credential).await,
            Some(Kind::RunGrant) => Err(Error::Malformed(
                "a run grant is not accepted for a hop: exchange it for a tenant token",
            )),
            Some(Kind::Service | Kind::Operator) => {
                Err(Error::Malformed("not a tenant's credential"))
            }
            None => {
                let parts = Parts::split(credential)?;
                if self.is_ours(&parts)? {
                    let identity = self.token_identity(&parts)?;
                    self.admit(identity).await
                } else {
                    self.by_issuer(&parts).await
                }
            }
        }
    }

    /// Reads `iss` before anything is verified, only to choose who verifies.
    pub(crate) fn is_ours(&self, parts: &Parts<'_>) -> Result<bool, Error> {
        #[derive(serde::Deserialize)]
        struct Iss {
            iss: String,
        }
        serde_json::from_slice::<Iss>(&parts.payload)
            .map(|claims| claims.iss == self.issuer)
            .map_err(|_| Error::Malformed("the token names no issuer"))
    }

    pub(crate) fn trusted(&self, parts: &Parts<'_>) -> Result<&Trusted, Error> {
        let claims: serde_json::Value = serde_json::from_slice(&parts.payload)
            .map_err(|_| Error::Malformed("the token's claims"))?;
        let iss = claims.get("iss").and_then(serde_json::Value::as_str);
        let named = |known: &&Trusted| Some(known.issuer.issuer.as_str()) == iss;
        self.issuers.iter().find(named).ok_or(Error::Issuer)
    }

    /// The identity that one of our own tokens proves.
    pub(crate) fn token_identity(&self, parts: &Parts<'_>) -> Result<Identity, Error> {
        let claims = self.keys.verify(parts, &self.issuer, &self.audience, self.now())?;
        let lineage = claims.lineage();
        let Claims { exp, jti, txn, tenant, env, workflow, agent, sub, scope, epoch, .. } = claims;
        Ok(Identity {
            tenant,
            environment: env,
            workflow: Some(workflow),
            run: Some(txn),
            agent,
            subject: sub,
            grants: scope,
            actor: Actor::Token(jti),
            jti,
            lineage,
            epoch,
            expires: Millis::from_secs(exp),
        })
    }

    /// An API key: known by its digest, bound to one tenant, environment and workflow.
    async fn by_api_key(&self, credential: &str) -> Result<Arc<Inner>, Error> {
        let digest = self.digester.digest(credential);
        let key = self.directory.api_key(&digest).await?.ok_or(Error::Unknown)?;
        if key.revoked {
            return Err(Error::Revoked);
        }
        let identity = Identity {
            tenant: key.tenant,
            environment: key.environment,
            workflow: Some(key.workflow),
            run: None,
            agent: None,
            subject: None,
            grants: key.grants,
            actor: Actor::Key(key.prefix),
            jti: key.id,
            lineage: Vec::new(),
            epoch: key.epoch,
            expires: key.expires.unwrap_or(Millis(u64::MAX)),
        };
        self.admit(identity).await
    }

    /// A trusted issuer's token, used directly.
    async fn by_issuer(&self, parts: &Parts<'_>) -> Result<Arc<Inner>, Error> {
        let trusted = self.trusted(parts)?;
        if !trusted.issuer.direct {
            return Err(Error::Issuer);
        }
        let says = trusted.verify(parts, self.now()).await?;
        let standing = self.standings.named(&says.tenant).await?;
        let state = standing.state();
        // Its tokens know no epoch of ours, but they know when they were issued.
        if issued_by(says.iat, state.record.epoch.max(state.record.named_since)) {
            return Err(Error::Revoked);
        }
        let jti = token_id(parts);
        let identity = Identity {
            tenant: state.record.id.clone(),
            environment: says.environment,
            workflow: Some(says.workflow.ok_or(Error::Malformed("it names no workflow"))?),
            run: None,
            agent: None,
            subject: says.subject,
            grants: trusted.issuer.grants.clone(),
            actor: Actor::Issuer(trusted.issuer.name.to_string(), jti),
            jti,
            lineage: Vec::new(),
            epoch: state.record.epoch,
            expires: Millis::from_secs(says.exp).plus(SKEW),
        };
        self.admit_to(identity, standing)
    }

    /// Joins an identity with how its tenant stands.
    pub(crate) async fn admit(&self, identity: Identity) -> Result<Arc<Inner>, Error> {
        let standing = self.standings.of(&identity.tenant).await?;
        self.admit_to(identity, standing)
    }

    pub(crate) fn admit_to(
        &self,
        identity: Identity,
        standing: Arc<Standing>,
    ) -> Result<Arc<Inner>, Error> {
        let state = standing.state();
        // An alias finds a tenant, but it is not the tenant: partitions derive from ids alone.
        if state.record.id != identity.tenant {
            return Err(Error::Tenant);
        }
        if !standing.has(&identity.environment) {
            return Err(Error::Environment);
        }
        Ok(Arc::new(Inner::new(identity, standing, Arc::clone(&self.shared))))
    }

    /// Records something that concerns no tenant.
    pub(crate) async fn record_deployment(&self, entry: Entry) -> Result<(), Unavailable> {
        #[expect(clippy::disallowed_methods, reason = "the doors' own entries: operators")]
        let system = SystemScope::claim(Maintenance::Audit);
        self.audit.record_deployment(&system, entry).await
    }
}

/// An id for a token that has none of ours: the digest of what is signed. Not of the signature,
/// which for ECDSA has a twin that verifies as well.
pub(crate) fn token_id(parts: &Parts<'_>) -> RandomId {
    let mut id = [0; 16];
    id.copy_from_slice(&blake3::hash(parts.message.as_bytes()).as_bytes()[..16]);
    RandomId::from_bytes(id)
}

/// Under which a proven credential is kept. SHA-256, because processors have instructions for
/// it and this is on every hop's way.
fn digest(credential: &str) -> [u8; 32] {
    Sha256::digest(credential.as_bytes()).into()
}

/// Whether two credentials are the same, in time that does not tell where they differ.
fn same(a: &str, b: &str) -> bool {
    a.as_bytes().ct_eq(b.as_bytes()).into()
}
