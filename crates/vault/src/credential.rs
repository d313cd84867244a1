//! Tenants' credentials for outside systems: sealed in the tenant's own rows, and noticed
//! when one secret is pasted for two tenants or two environments.
//!
//! A keyed fingerprint of every secret stands in the deployment's partition with the unit
//! that claims it. Claims are made before a credential is written and dropped after it is
//! gone, so that a crash between leaves a claim too many, never one too few; the next change
//! of the same credential clears it away.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    num::NonZeroUsize,
    sync::Arc,
};

use ids::{Millis, ProviderId, WorkflowId, frame::Frame, text};
use lru::LruCache;
use parking_lot::Mutex;
use scope::{Access, Scope, SystemScope, Write};
use serde::{Deserialize, Serialize};
use store::{File, Range, Store, Table, Txn};
use zeroize::Zeroizing;

use crate::{
    Error, Place, SecretText, Vault,
    keystore::{from_row, to_row},
};

/// Credentials, sealed, in the partition of their owner.
pub const CREDENTIALS: Table = Table { file: File::Core, id: 304, name: "vault.credentials" };
/// Who claims which secret, by keyed fingerprint, in the deployment's partition.
pub const FINGERPRINTS: Table = Table { file: File::Core, id: 305, name: "vault.fingerprints" };

/// A greatest number of credentials for one tenant in one environment.
const MOST: u64 = 1_024;
/// Credentials that are kept open in memory.
const HELD: NonZeroUsize = NonZeroUsize::MIN.saturating_add(2_047);
/// The row that counts versions; the slot of a provider begins with its name.
const COUNTER: &[u8] = b"\0version";
const SURFACE: &str = "credential";

/// An outside credential, opened.
#[derive(Clone, Debug)]
pub struct Credential {
    /// The secret.
    pub secret: SecretText,
    /// Changes with every change of the secret; never used twice by one owner.
    pub version: u64,
    /// Whether it may be stored for others too.
    pub shared: bool,
    /// The workflow that it is for alone, if it is.
    pub workflow: Option<WorkflowId>,
}

/// What may be shown of a credential: no part of the secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CredentialInfo {
    /// For which provider.
    pub provider: ProviderId,
    /// For one workflow only, if named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow: Option<WorkflowId>,
    /// See [`Credential::version`].
    pub version: u64,
    /// Whether it may be stored for others too.
    pub shared: bool,
    /// When it was set.
    pub set: Millis,
    /// Eight digits that tell two secrets apart, and nothing else.
    pub fingerprint: String,
}

/// A credential as it is sealed.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row<S> {
    provider: ProviderId,
    workflow: Option<WorkflowId>,
    version: u64,
    shared: bool,
    set: Millis,
    secret: S,
}

/// Secrets at one provider that are shared, or may be: whoever holds one of them is the same
/// account there, with one prompt cache, one rate limit and one bill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SharedCredential {
    /// At which provider; unknown for what was stored by a version that did not note it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderId>,
    /// How many such secrets.
    pub secrets: u64,
    /// How many (tenant, environment) units hold one, counted for each secret.
    pub units: u64,
}

/// What a claim says. Versions that did not note the provider wrote `shared` alone.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Claimed {
    Noted { shared: bool, provider: ProviderId },
    Bare(bool),
}

impl Claimed {
    const fn shared(&self) -> bool {
        match self {
            Self::Noted { shared, .. } | Self::Bare(shared) => *shared,
        }
    }

    fn provider(self) -> Option<ProviderId> {
        match self {
            Self::Noted { provider, .. } => Some(provider),
            Self::Bare(_) => None,
        }
    }
}

/// Which credential of one owner.
type Name = (ProviderId, Option<WorkflowId>);

/// Opened credentials in memory, absent ones too, and the turn for changes.
pub(crate) struct Held {
    known: Mutex<Known>,
    /// Changes are rare and take three transactions: one at a time.
    turn: tokio::sync::Mutex<()>,
}

struct Known {
    generation: u64,
    by_name: LruCache<([u8; 32], Name), Option<Arc<Credential>>>,
}

impl Held {
    pub(crate) fn new() -> Self {
        let known = Known { generation: 0, by_name: LruCache::sparse(HELD) };
        Self { known: Mutex::new(known), turn: tokio::sync::Mutex::new(()) }
    }

    /// Forgets what one owner has.
    pub(crate) fn forget_unit(&self, unit: &[u8; 32]) {
        let mut known = self.known.lock();
        known.generation += 1;
        let theirs: Vec<_> = known
            .by_name
            .iter()
            .map(|(name, _)| name)
            .filter(|(of, _)| of == unit)
            .cloned()
            .collect();
        for name in theirs {
            known.by_name.pop(&name);
        }
    }
}

impl Vault {
    /// Outside credentials, kept in `store`. A vault serves one data store.
    #[must_use]
    pub fn credentials(&self, store: &Store) -> Credentials {
        Credentials {
            vault: self.clone(),
            store: store.clone(),
            fingerprints: self.derived("credential fingerprint").into(),
        }
    }
}

/// The doorway to outside credentials. Cheap to clone.
#[derive(Clone)]
pub struct Credentials {
    vault: Vault,
    store: Store,
    fingerprints: Arc<Zeroizing<[u8; 32]>>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

impl Credentials {
    /// Those of a scope's tenant and environment.
    pub const fn of<'a, A: Access>(&'a self, scope: &'a Scope<A>) -> Wallet<'a, A> {
        Wallet { all: self, scope }
    }

    /// Which providers have secrets that more than one unit holds, or that are stored as
    /// shared: one entry a provider, without naming whose. Reads every claim of the deployment
    /// page by page, in memory by the number of providers: whoever asks often keeps the answer.
    ///
    /// # Errors
    /// What the store answers; [`Error::Malformed`].
    pub async fn shared(&self, system: &SystemScope) -> Result<Vec<SharedCredential>, Error> {
        let mut tally = Tally::default();
        let mut range = Range::prefix(b"f");
        loop {
            let rows = self.store.system(system).scan(FINGERPRINTS, range.clone()).await?;
            let Some((last, _)) = rows.last() else { break };
            range = range.after(last.to_vec());
            for (key, row) in &rows {
                tally.add(key, from_row(row)?)?;
            }
        }
        Ok(tally.finish())
    }
}

/// Counts claims, which come in the order of secret and unit.
#[derive(Default)]
struct Tally {
    secret: Option<[u8; 32]>,
    unit: Option<[u8; 32]>,
    units: u64,
    shared: bool,
    providers: BTreeSet<Option<ProviderId>>,
    found: BTreeMap<Option<ProviderId>, (u64, u64)>,
}

impl Tally {
    fn add(&mut self, key: &[u8], claimed: Claimed) -> Result<(), Error> {
        let part = |range: std::ops::Range<usize>| {
            let part: Option<[u8; 32]> = key.get(range).and_then(|part| part.try_into().ok());
            part.ok_or(Error::Malformed("a claim"))
        };
        let (secret, unit) = (part(1..33)?, part(33..65)?);
        if self.secret != Some(secret) {
            self.close();
            self.secret = Some(secret);
        }
        if self.unit != Some(unit) {
            self.unit = Some(unit);
            self.units += 1;
        }
        self.shared |= claimed.shared();
        self.providers.insert(claimed.provider());
        Ok(())
    }

    /// Ends a secret: it is one account, whichever providers it is stored for.
    fn close(&mut self) {
        let providers = std::mem::take(&mut self.providers);
        if self.shared || self.units > 1 {
            for provider in providers {
                let (secrets, units) = self.found.entry(provider).or_default();
                *secrets += 1;
                *units += self.units;
            }
        }
        (self.unit, self.units, self.shared) = (None, 0, false);
    }

    fn finish(mut self) -> Vec<SharedCredential> {
        self.close();
        let shared = |(provider, (secrets, units))| SharedCredential { provider, secrets, units };
        self.found.into_iter().map(shared).collect()
    }
}

/// The outside credentials of one tenant in one environment.
#[must_use]
#[derive(Debug)]
pub struct Wallet<'a, A: Access> {
    all: &'a Credentials,
    scope: &'a Scope<A>,
}

impl<A: Access> Wallet<'_, A> {
    /// The credential for a provider: the workflow's own if there is one, else the
    /// environment's.
    ///
    /// # Errors
    /// What the store answers; [`Error::Foreign`] if the row is not this owner's.
    pub async fn get(
        &self,
        provider: &ProviderId,
        workflow: Option<&WorkflowId>,
    ) -> Result<Option<Arc<Credential>>, Error> {
        if let Some(workflow) = workflow {
            let own = self.one((provider.clone(), Some(workflow.clone()))).await?;
            if own.is_some() {
                return Ok(own);
            }
        }
        self.one((provider.clone(), None)).await
    }

    async fn one(&self, name: Name) -> Result<Option<Arc<Credential>>, Error> {
        let held = &self.all.vault.0.held;
        let full = (*self.scope.partition_bytes(), name);
        let since = {
            let mut known = held.known.lock();
            if let Some(found) = known.by_name.get(&full) {
                return Ok(found.clone());
            }
            known.generation
        };
        let slot = slot(&full.1);
        let found = match self.all.store.of(self.scope).get(CREDENTIALS, &slot).await? {
            None => None,
            Some(sealed) => {
                let row = self.open(&slot, &sealed).await?;
                let Row { secret, version, shared, workflow, .. } = row;
                Some(Arc::new(Credential { secret, version, shared, workflow }))
            }
        };
        let mut known = held.known.lock();
        if known.generation == since {
            known.by_name.put(full, found.clone());
        }
        Ok(found)
    }

    async fn open(&self, slot: &[u8], sealed: &[u8]) -> Result<Row<SecretText>, Error> {
        let place = Place { surface: SURFACE, key: slot, version: 0 };
        let plain = self.all.vault.of(self.scope).open(&place, sealed).await?;
        from_row(&plain)
    }

    /// What there is, without the secrets, by provider and workflow.
    ///
    /// # Errors
    /// As [`Wallet::get`].
    pub async fn list(&self) -> Result<Vec<CredentialInfo>, Error> {
        let view = self.all.store.of(self.scope);
        // One more than there may be, with the counter.
        let rows = view.scan(CREDENTIALS, Range::all().limit(MOST as usize + 2)).await?;
        let mut list = Vec::with_capacity(rows.len());
        for (slot, sealed) in rows.iter().filter(|(slot, _)| **slot != *COUNTER) {
            let row = self.open(slot, sealed).await?;
            let Row { provider, workflow, version, shared, set, secret } = row;
            let fingerprint = text::hex(&self.all.fingerprint(&secret)[..4]);
            list.push(CredentialInfo { provider, workflow, version, shared, set, fingerprint });
        }
        Ok(list)
    }
}

impl Wallet<'_, Write> {
    /// Stores a credential, in the place of the former one. `shared` says that others may
    /// have the same secret, if theirs says so too. Returns its version.
    ///
    /// # Errors
    /// [`Error::Duplicate`] if another tenant or environment has the same secret and not both
    /// are shared; [`Error::TooMany`]; what the store answers.
    pub async fn set(
        &self,
        provider: &ProviderId,
        workflow: Option<&WorkflowId>,
        secret: SecretText,
        shared: bool,
    ) -> Result<u64, Error> {
        let _turn = self.all.vault.0.held.turn.lock().await;
        self.put((provider.clone(), workflow.cloned()), secret, shared).await
    }

    /// Stores what an outside system gave in the place of a secret, such as the next refresh
    /// token, if the credential is still the one of this version: what was set or removed
    /// meanwhile stays as it is. Returns the new version, or nothing if it was not written.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub async fn renew(
        &self,
        provider: &ProviderId,
        workflow: Option<&WorkflowId>,
        version: u64,
        secret: SecretText,
    ) -> Result<Option<u64>, Error> {
        let name = (provider.clone(), workflow.cloned());
        let slot = slot(&name);
        let _turn = self.all.vault.0.held.turn.lock().await;
        let Some(sealed) = self.all.store.of(self.scope).get(CREDENTIALS, &slot).await? else {
            return Ok(None);
        };
        let row = self.open(&slot, &sealed).await?;
        if row.version != version {
            return Ok(None);
        }
        self.put(name, secret, row.shared).await.map(Some)
    }

    /// Writes, when it is its turn.
    async fn put(&self, name: Name, secret: SecretText, shared: bool) -> Result<u64, Error> {
        let all = self.all;
        let slot = slot(&name);
        let fingerprint = all.fingerprint(&secret);
        let claim = Claims { unit: *self.scope.partition_bytes(), slot: slot_digest(&slot) };
        let claimed = Claimed::Noted { shared, provider: name.0.clone() };
        all.change(move |txn| claim.make(txn, &fingerprint, &claimed)).await?;

        let version = self.next_version(slot.clone()).await?;
        let row = Row {
            provider: name.0,
            workflow: name.1,
            version,
            shared,
            set: all.vault.0.clock.now(),
            secret: secret.expose(),
        };
        let mut plain = Zeroizing::new(Vec::with_capacity(512 + 2 * SecretText::MAX));
        serde_json::to_writer(&mut *plain, &row).map_err(|_| Error::Malformed("a credential"))?;
        let place = Place { surface: SURFACE, key: &slot, version: 0 };
        let sealed = all.vault.of(self.scope).seal(&place, &plain).await?;
        let written = all.store.of(self.scope).put(CREDENTIALS, &slot, &sealed).await;
        all.vault.0.held.forget_unit(self.scope.partition_bytes());
        written?;
        all.change(move |txn| claim.keep_only(txn, Some(&fingerprint))).await?;
        Ok(version)
    }

    /// Removes a credential; whether there was one.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn remove(
        &self,
        provider: &ProviderId,
        workflow: Option<&WorkflowId>,
    ) -> Result<bool, Error> {
        let slot = slot(&(provider.clone(), workflow.cloned()));
        let claim = Claims { unit: *self.scope.partition_bytes(), slot: slot_digest(&slot) };
        let _turn = self.all.vault.0.held.turn.lock().await;
        let removed = self.all.store.of(self.scope).delete(CREDENTIALS, &slot).await;
        self.all.vault.0.held.forget_unit(self.scope.partition_bytes());
        let removed = removed?;
        self.all.change(move |txn| claim.keep_only(txn, None)).await?;
        Ok(removed)
    }

    /// Removes all of the owner's credentials with their claims, which lie outside its own
    /// partition: a part of every erasure. Returns how many there were.
    ///
    /// # Errors
    /// What the store answers; it can be run again.
    pub async fn clear(&self) -> Result<u64, Error> {
        let unit = *self.scope.partition_bytes();
        let _turn = self.all.vault.0.held.turn.lock().await;
        let view = self.all.store.of(self.scope);
        let rows = view.scan(CREDENTIALS, Range::all().limit(MOST as usize + 2)).await?;
        let mut removed = 0;
        for (slot, _) in rows.iter().filter(|(slot, _)| **slot != *COUNTER) {
            removed += u64::from(view.delete(CREDENTIALS, slot).await?);
        }
        self.all.vault.0.held.forget_unit(&unit);
        loop {
            let left = self.all.change(move |txn| Claims::drop_some(txn, &unit)).await?;
            if !left {
                return Ok(removed);
            }
        }
    }

    async fn next_version(&self, slot: Vec<u8>) -> Result<u64, Error> {
        self.all
            .store
            .of(self.scope)
            .write(File::Core, 64, move |txn| {
                // The counter is a row, too.
                let full = txn.usage(CREDENTIALS)?.rows > MOST;
                if full && txn.get(CREDENTIALS, &slot)?.is_none() {
                    return Err(Error::TooMany { what: "credentials", most: MOST });
                }
                let last: u64 = match txn.get(CREDENTIALS, COUNTER)? {
                    Some(row) => from_row(&row)?,
                    None => 0,
                };
                txn.put(CREDENTIALS, COUNTER, &to_row(&(last + 1))?)?;
                Ok(last + 1)
            })
            .await
    }
}

impl Credentials {
    fn fingerprint(&self, secret: &SecretText) -> [u8; 32] {
        *blake3::keyed_hash(&self.fingerprints, secret.expose().as_bytes()).as_bytes()
    }

    async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Txn<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.store.system(&self.vault.0.system).write(File::Core, 512, work).await
    }
}

/// The claims of one credential, in the deployment's partition:
/// `f ‖ fingerprint ‖ unit ‖ slot → shared, provider` and `s ‖ unit ‖ slot → fingerprints`.
#[derive(Clone, Copy)]
struct Claims {
    unit: [u8; 32],
    slot: [u8; 16],
}

impl Claims {
    fn row(&self, fingerprint: &[u8; 32]) -> Vec<u8> {
        [b"f", &fingerprint[..], &self.unit, &self.slot].concat()
    }

    fn index(&self) -> Vec<u8> {
        [b"s", &self.unit[..], &self.slot].concat()
    }

    fn listed(&self, txn: &mut Txn<'_>) -> Result<Vec<[u8; 32]>, Error> {
        txn.get(FINGERPRINTS, &self.index())?.map_or(Ok(Vec::new()), |row| from_row(&row))
    }

    /// Claims a secret, besides those that the credential already claims.
    fn make(self, txn: &mut Txn<'_>, fingerprint: &[u8; 32], says: &Claimed) -> Result<(), Error> {
        let prefix = [b"f", &fingerprint[..]].concat();
        let mut range = Range::prefix(prefix);
        loop {
            let rows = txn.scan(FINGERPRINTS, &range)?;
            let Some((last, _)) = rows.last() else { break };
            range = range.after(last.to_vec());
            for (key, row) in &rows {
                let theirs = key.get(33..65) != Some(&self.unit[..]);
                if theirs && !(says.shared() && from_row::<Claimed>(row)?.shared()) {
                    return Err(Error::Duplicate);
                }
            }
        }
        txn.put(FINGERPRINTS, &self.row(fingerprint), &to_row(says)?)?;
        let mut listed = self.listed(txn)?;
        if !listed.contains(fingerprint) {
            listed.push(*fingerprint);
        }
        Ok(txn.put(FINGERPRINTS, &self.index(), &to_row(&listed)?)?)
    }

    /// Drops all of the credential's claims but one.
    fn keep_only(self, txn: &mut Txn<'_>, keep: Option<&[u8; 32]>) -> Result<(), Error> {
        for fingerprint in self.listed(txn)? {
            if Some(&fingerprint) != keep {
                txn.delete(FINGERPRINTS, &self.row(&fingerprint))?;
            }
        }
        match keep {
            Some(keep) => txn.put(FINGERPRINTS, &self.index(), &to_row(&[keep])?)?,
            None => {
                txn.delete(FINGERPRINTS, &self.index())?;
            }
        }
        Ok(())
    }

    /// Drops claims of a unit; whether there may be more.
    fn drop_some(txn: &mut Txn<'_>, unit: &[u8; 32]) -> Result<bool, Error> {
        let prefix = [b"s", &unit[..]].concat();
        let rows = txn.scan(FINGERPRINTS, &Range::prefix(prefix).limit(64))?;
        for (key, _) in &rows {
            let slot = *key.last_chunk().ok_or(Error::Malformed("a claim"))?;
            Self { unit: *unit, slot }.keep_only(txn, None)?;
        }
        Ok(!rows.is_empty())
    }
}

fn slot((provider, workflow): &Name) -> Vec<u8> {
    let workflow = workflow.as_ref().map_or("", WorkflowId::as_str);
    [provider.as_str(), "\0", workflow].concat().into_bytes()
}

fn slot_digest(slot: &[u8]) -> [u8; 16] {
    let framed = Frame::new("bulkhead.credential.slot.v1").field(slot).finish();
    let mut digest = [0; 16];
    digest.copy_from_slice(&blake3::hash(&framed).as_bytes()[..16]);
    digest
}
