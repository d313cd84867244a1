//! The audit log: a hash chain per tenant and environment, and the deployment's own.

mod chain;
mod denials;
mod export;
mod log;
mod note;
mod verify;

use std::{
    num::NonZeroUsize,
    sync::{Arc, Weak},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::SigningKey;
use ids::{BoxFuture, Clock, Entropy, Millis, json::Json, text};
use lru::LruCache;
use parking_lot::{Mutex, RwLock};
use scope::{
    AuditSink, Decision, Entry, Maintenance, Scope, Status, SystemScope, Unavailable, Write,
};
use serde::{Deserialize, Serialize};
use store::{File, Store, Txn};
use tokio::sync::Notify;
use vault::{Place, Vault};

use self::{
    chain::{Body, Chain, Head, commitment},
    denials::{Denials, Summary},
    note::Signers,
};
use crate::Error;

pub use self::{
    chain::{AUDIT, AUDIT_HEAD, AUDIT_NOTES, Hash},
    export::{Export, ExportedBody, ExportedEntry, verify_export},
    log::{AuditEntry, Log},
    note::{Checkpoint, SignedNote, verify_note},
    verify::{Broken, Verdict, Verified},
};

const SURFACE: &str = "audit";
/// What the vault keeps the signing seeds under.
const PURPOSE: &str = "audit heads";
/// The entry that says up to where bodies were erased. No caller may write one.
const ERASED: &str = "audit.bodies_erased";
/// How often ended minutes of denials are looked for.
const SETTLE: Duration = Duration::from_secs(5);
/// Chains whose heads are signed at shutdown; those of others are at most 255 entries ahead
/// of their last note.
const TOUCHED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1_023);

/// Whose log is written.
#[derive(Clone)]
pub(crate) enum Owner {
    Unit(Scope<Write>),
    Deployment,
}

impl Owner {
    fn id(&self) -> Option<[u8; 32]> {
        match self {
            Self::Unit(scope) => Some(*scope.partition_bytes()),
            Self::Deployment => None,
        }
    }

    fn is_erased(&self) -> bool {
        match self {
            Self::Unit(scope) => scope.tenant_record().status == Status::Erased,
            Self::Deployment => false,
        }
    }
}

/// An entry's body: what is committed to, as canonical JSON (keys sorted, no white space).
#[derive(Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) at: Millis,
    #[serde(flatten)]
    pub(crate) entry: Entry,
}

impl Told {
    fn canonical(&self) -> Result<Vec<u8>, Error> {
        let bytes = chain::to_row(self)?;
        let json = Json::parse(&bytes, &ids::json::Limits::default());
        Ok(json.map_err(|_| Error::Damaged("an entry that has no canonical form"))?.to_vec())
    }
}

pub(crate) struct Inner {
    deployment: String,
    store: Store,
    vault: Vault,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    system: SystemScope,
    head_key: [u8; 32],
    signers: RwLock<Arc<Signers>>,
    denials: Denials,
    touched: Mutex<LruCache<Option<[u8; 32]>, Owner>>,
    stop: Arc<Notify>,
}

/// Keeps audit entries. Cheap to clone.
#[derive(Clone)]
pub struct Audit(Arc<Inner>);

impl std::fmt::Debug for Audit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Audit").field("deployment", &self.0.deployment).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop.notify_one();
    }
}

impl Audit {
    /// Opens the log. `deployment` names it in signed notes, and has to stay the same. To be
    /// called within the runtime, which runs the task that sums up denials.
    ///
    /// # Errors
    /// [`Error::Settings`] for a name that notes cannot hold; what the vault answers.
    #[expect(clippy::disallowed_methods, reason = "the deployment has an audit log of its own")]
    pub async fn open(
        deployment: &str,
        store: &Store,
        vault: &Vault,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, Error> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        if deployment.is_empty() || deployment.len() > 63 || !deployment.bytes().all(fits) {
            return Err(Error::Settings(
                "the deployment's name is 1 to 63 letters, digits, '.', '-', '_'",
            ));
        }
        let system = SystemScope::claim(Maintenance::Audit);
        let stop = Arc::new(Notify::new());
        let inner = Arc::new(Inner {
            deployment: deployment.to_owned(),
            store: store.clone(),
            vault: vault.clone(),
            clock,
            entropy,
            head_key: *vault.subkey(&system, "audit heads"),
            signers: RwLock::new(Arc::new(signers(vault, &system).await?)),
            system,
            denials: Denials::new(crate::Options::default().denials_per_day),
            touched: Mutex::new(LruCache::sparse(TOUCHED)),
            stop: stop.clone(),
        });
        let weak = Arc::downgrade(&inner);
        SystemScope::claim(Maintenance::Audit).spawn(|_| settle_on(weak, stop));
        Ok(Self(inner))
    }

    /// Bounds the denials of one tenant in one environment, and of the deployment, that are
    /// entries of their own a day; [`Options::denials_per_day`](crate::Options) unless told.
    pub fn hold_denials_to(&self, per_day: u32) {
        self.0.denials.hold_to(per_day);
    }

    /// Reads the signing keys again, after their rotation.
    ///
    /// # Errors
    /// What the vault answers.
    pub async fn reload_keys(&self) -> Result<(), Error> {
        let anew = signers(&self.0.vault, &self.0.system).await?;
        *self.0.signers.write() = Arc::new(anew);
        Ok(())
    }

    /// What the vault keeps the signing seeds under, for their rotation.
    #[must_use]
    pub const fn signing_purpose() -> &'static str {
        PURPOSE
    }

    /// Writes the summaries of those minutes of denials that have ended. A task does it every
    /// few seconds.
    ///
    /// # Errors
    /// What the store or the vault answers; what was not written is kept for the next time.
    pub async fn settle(&self) -> Result<(), Error> {
        let due = self.0.denials.due(self.0.clock.now(), false);
        self.summarize(due).await
    }

    /// For shutdown: writes the summaries of all denials, and signs the heads of the chains
    /// that grew.
    ///
    /// # Errors
    /// The first of what the store or the vault answers; all is tried.
    pub async fn close(&self) -> Result<(), Error> {
        let due = self.0.denials.due(self.0.clock.now(), true);
        let mut result = self.summarize(due).await;
        let grown: Vec<_> = {
            let mut touched = self.0.touched.lock();
            std::iter::from_fn(|| touched.pop_lru()).map(|(_, owner)| owner).collect()
        };
        // Nothing may come back after an erasure.
        for owner in grown.into_iter().filter(|owner| !owner.is_erased()) {
            let (chain, signers) = (self.chain(owner.id()), self.signers());
            let signed = self.write(&owner, 1_024, move |txn| {
                let head = chain.read_head(txn)?;
                chain.keep_note(txn, &signers, &head)
            });
            result = result.and(unless_erased(signed.await));
        }
        result
    }

    /// Erases the bodies of the scope's log, and says so in the log. Commitments and links
    /// stay, and still verify. Returns how many there were. Cut off, it can be run again.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn erase_bodies(&self, scope: &Scope<Write>) -> Result<u64, Error> {
        let owner = Owner::Unit(scope.clone());
        let (salt, at, chain, signers) =
            (self.salt(), self.0.clock.now(), self.chain(owner.id()), self.signers());
        let through = self
            .write(&owner, 1_024, move |txn| {
                let through = chain.read_head(txn)?.seq;
                let entry = Entry::allowed("bulkhead", ERASED, "audit").with("through", through);
                let told = Told { at, entry }.canonical()?;
                let text = String::from_utf8(told).map_err(|_| Error::Damaged("an entry"))?;
                let commitment = commitment(&salt, text.as_bytes());
                let body = Body::Clear { salt: Hash(salt), text };
                chain.append(txn, &signers, commitment, body)?;
                Ok(through)
            })
            .await?;
        let (mut erased, mut after) = (0, 0);
        while after < through {
            let (count, last) =
                self.write(&owner, 65_536, move |txn| log::erase(txn, after, through)).await?;
            erased += count;
            after = last;
        }
        Ok(erased)
    }

    async fn take(&self, owner: Owner, entry: Entry) -> Result<(), Error> {
        if ids::planted::is("audit-entry-skipped") {
            return Ok(());
        }
        if entry.action == ERASED {
            return Err(Error::Settings("this action is the audit log's own"));
        }
        let denied = entry.decision == Decision::Denied;
        if denied {
            if owner.is_erased() {
                return Ok(());
            }
            let code = entry.code.as_deref().unwrap_or_default();
            let verdict = self.0.denials.count(&owner, code, self.0.clock.now());
            if let Err(error) = self.summarize(verdict.due).await {
                note_unsummed(&error);
            }
            if !verdict.single {
                return Ok(());
            }
        }
        let written = self.append(&owner, entry).await.map(drop);
        if denied { unless_erased(written) } else { written }
    }

    async fn summarize(&self, due: Vec<Summary>) -> Result<(), Error> {
        let mut result = Ok(());
        for summary in due {
            if summary.owner.is_erased() {
                // Nothing may come back after an erasure.
                continue;
            }
            let written = self.append(&summary.owner, summary.entry()).await;
            if let Err(error) = unless_erased(written.map(drop)) {
                self.0.denials.put_back(summary);
                result = Err(error);
            }
        }
        result
    }

    async fn append(&self, owner: &Owner, entry: Entry) -> Result<Head, Error> {
        let told = Told { at: self.0.clock.now(), entry: bounded(entry) }.canonical()?;
        let salt = self.salt();
        let commitment = commitment(&salt, &told);
        let place = Place { surface: SURFACE, key: &commitment.0, version: 0 };
        let plain = [&salt[..], &told].concat();
        let sealed = match owner {
            Owner::Unit(scope) => self.0.vault.of(scope).seal(&place, &plain).await?,
            Owner::Deployment => {
                self.0.vault.of_deployment(&self.0.system).seal(&place, &plain).await?
            }
        };
        let body = Body::Sealed(URL_SAFE_NO_PAD.encode(&sealed));
        let (chain, signers) = (self.chain(owner.id()), self.signers());
        let cost = 2 * sealed.len() + 512;
        let append = move |txn: &mut Txn<'_>| chain.append(txn, &signers, commitment, body);
        let head = self.write(owner, cost, append).await?;
        self.0.touched.lock().put(owner.id(), owner.clone());
        Ok(head)
    }

    async fn write<T: Send + 'static>(
        &self,
        owner: &Owner,
        cost: usize,
        work: impl FnOnce(&mut Txn<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (store, file) = (&self.0.store, File::Records);
        match owner {
            Owner::Unit(scope) => store.of(scope).write(file, cost, work).await,
            Owner::Deployment => store.system(&self.0.system).write(file, cost, work).await,
        }
    }

    fn chain(&self, partition: Option<[u8; 32]>) -> Chain {
        let whose = partition.map_or_else(|| "deployment".into(), |bytes| text::hex(&bytes));
        let origin = format!("bulkhead/{}/{whose}", self.0.deployment);
        Chain { origin, head_key: self.0.head_key }
    }

    fn signers(&self) -> Arc<Signers> {
        self.0.signers.read().clone()
    }

    fn salt(&self) -> [u8; 32] {
        let mut salt = [0; 32];
        self.0.entropy.fill(&mut salt);
        salt
    }
}

impl AuditSink for Audit {
    fn record<'a>(
        &'a self,
        scope: &'a Scope<Write>,
        entry: Entry,
    ) -> BoxFuture<'a, Result<(), Unavailable>> {
        Box::pin(
            async move { self.take(Owner::Unit(scope.clone()), entry).await.map_err(unavailable) },
        )
    }

    fn record_deployment<'a>(
        &'a self,
        _system: &'a SystemScope,
        entry: Entry,
    ) -> BoxFuture<'a, Result<(), Unavailable>> {
        Box::pin(async move { self.take(Owner::Deployment, entry).await.map_err(unavailable) })
    }
}

/// Nothing may come back after an erasure: what was only to be noted is dropped.
fn unless_erased(written: Result<(), Error>) -> Result<(), Error> {
    match written {
        Err(error) if error.says_erased() => Ok(()),
        written => written,
    }
}

fn unavailable(error: Error) -> Unavailable {
    Unavailable(format!("{}: {error}", error.code()))
}

async fn signers(vault: &Vault, system: &SystemScope) -> Result<Signers, Error> {
    let seeds = vault.signing_seeds(system, PURPOSE).await?;
    Ok(Signers(seeds.iter().map(|seed| SigningKey::from_bytes(seed.expose())).collect()))
}

async fn settle_on(inner: Weak<Inner>, stop: Arc<Notify>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(SETTLE) => {}
            () = stop.notified() => {}
        }
        let Some(inner) = inner.upgrade() else { return };
        if let Err(error) = Audit(inner).settle().await {
            note_unsummed(&error);
        }
    }
}

fn note_unsummed(error: &Error) {
    tracing::error!(code = error.code(), "denials could not be summed up, and wait");
}

/// Cuts what is too long: an entry is a few short words.
fn bounded(mut entry: Entry) -> Entry {
    fn cut(text: &mut String, most: usize) {
        if text.len() > most {
            text.truncate(text.floor_char_boundary(most));
            text.push('…');
        }
    }
    cut(&mut entry.actor, 256);
    cut(&mut entry.action, 128);
    cut(&mut entry.target, 512);
    if let Some(code) = &mut entry.code {
        cut(code, 64);
    }
    if let Some(reason) = &mut entry.reason {
        cut(reason, 2_048);
    }
    while entry.detail.len() > 32 {
        entry.detail.pop_last();
    }
    entry.detail = std::mem::take(&mut entry.detail)
        .into_iter()
        .map(|(mut name, mut value)| {
            cut(&mut name, 64);
            cut(&mut value, 512);
            (name, value)
        })
        .collect();
    entry
}
