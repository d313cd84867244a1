//! The vault itself: opening it, finding and making data keys, deriving subkeys.

use std::{
    fmt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use ids::{Clock, Entropy};
use parking_lot::RwLock;
use scope::{Access, Maintenance, Read, Scope, SystemScope};
use store::{File, Store, Txn};
use zeroize::Zeroizing;

use crate::{
    Error, KeyProvider, Roots, Sealer,
    credential::Held,
    keystore::{self, Head, MASTER, Wrapped, data_row, fingerprint, from_row},
    ring::{Found, Ring},
    seal::{DEPLOYMENT, DataKey, Unit, not_erased},
};

/// What a keystore row takes, roughly, in bytes: for the store's cap on a commit.
pub(crate) const ROW: usize = 512;

/// The keystore's file, in its directory.
const KEYSTORE: &str = "keystore.db";

pub(crate) struct Inner {
    pub(crate) keystore: Store,
    pub(crate) system: SystemScope,
    pub(crate) provider: Box<dyn KeyProvider>,
    pub(crate) roots: RwLock<Arc<Roots>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) held: Held,
    master: Zeroizing<[u8; 32]>,
    ring: Ring,
    foreign: AtomicU64,
}

/// Seals, opens, derives, rotates and destroys. Cheap to clone.
#[derive(Clone)]
pub struct Vault(pub(crate) Arc<Inner>);

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("provider", &self.0.provider).finish_non_exhaustive()
    }
}

impl Vault {
    /// Makes a new keystore in `directory` and opens it.
    ///
    /// # Errors
    /// [`Error::Exists`] if there is one; what the root key provider or the store answers.
    pub async fn create(
        directory: &Path,
        provider: impl KeyProvider + 'static,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, Error> {
        let roots = provider.roots()?;
        let (keystore, system) = open_keystore(directory, &clock)?;
        let mut master = Zeroizing::new([0; 32]);
        entropy.fill(master.as_mut());
        let made = (clock.now(), "master".to_owned());
        let row = Wrapped::wrap(&roots.current, &*entropy, MASTER, made, &master)?.into_row()?;
        let taken = directory.to_owned();
        keystore
            .system(&system)
            .write(File::Core, ROW, move |txn| {
                if txn.get(keystore::WRAPPED, MASTER)?.is_some() {
                    return Err(Error::Exists(taken));
                }
                Ok(txn.put(keystore::WRAPPED, MASTER, &row)?)
            })
            .await?;
        Ok(Self::assemble(keystore, system, Box::new(provider), roots, master, clock, entropy))
    }

    /// Opens the keystore in `directory`.
    ///
    /// # Errors
    /// [`Error::Missing`] if there is none: a new one is never made in its place, since it
    /// would open nothing. [`Error::NoRoot`] if it is wrapped under a root key that the
    /// provider does not have. What the provider or the store answers.
    pub async fn open(
        directory: &Path,
        provider: impl KeyProvider + 'static,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, Error> {
        let roots = provider.roots()?;
        if !directory.join(KEYSTORE).is_file() {
            return Err(Error::Missing(directory.to_owned()));
        }
        let (keystore, system) = open_keystore(directory, &clock)?;
        let row = keystore
            .system(&system)
            .get(keystore::WRAPPED, MASTER)
            .await?
            .ok_or_else(|| Error::Missing(directory.to_owned()))?;
        let master = from_row::<Wrapped>(&row)?.unwrap(&roots, MASTER)?;
        Ok(Self::assemble(keystore, system, Box::new(provider), roots, master, clock, entropy))
    }

    fn assemble(
        keystore: Store,
        system: SystemScope,
        provider: Box<dyn KeyProvider>,
        roots: Roots,
        master: Zeroizing<[u8; 32]>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self(Arc::new(Inner {
            keystore,
            system,
            provider,
            roots: RwLock::new(Arc::new(roots)),
            clock,
            entropy,
            held: Held::new(),
            master,
            ring: Ring::new(),
            foreign: AtomicU64::new(0),
        }))
    }

    /// The sealer of a scope's tenant and environment.
    pub fn of<'a, A: Access>(&'a self, scope: &'a Scope<A>) -> Sealer<'a> {
        Sealer::new(self, Unit::of(scope), Some(scope))
    }

    /// The sealer of the deployment itself: its own records, and quarantine.
    pub fn of_deployment(&self, _system: &SystemScope) -> Sealer<'_> {
        Sealer::new(self, DEPLOYMENT, None)
    }

    /// How often bytes did not open because they were another owner's, another place's, or
    /// changed, since the process started. Each is a security event.
    #[must_use]
    pub fn foreign(&self) -> u64 {
        self.0.foreign.load(Ordering::Relaxed)
    }

    /// A key of the deployment's for one purpose. It stays the same over every rotation.
    #[must_use]
    pub fn subkey(&self, _system: &SystemScope, purpose: &'static str) -> Zeroizing<[u8; 32]> {
        self.derived(purpose)
    }

    pub(crate) fn derived(&self, purpose: &'static str) -> Zeroizing<[u8; 32]> {
        let context = format!("bulkhead 2026 subkey v1: {purpose}");
        Zeroizing::new(blake3::derive_key(&context, &*self.0.master))
    }

    /// Waits for the keystore's writes and closes it.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn close(&self) -> Result<(), Error> {
        Ok(self.0.keystore.close().await?)
    }

    pub(crate) fn ring(&self) -> &Ring {
        &self.0.ring
    }

    pub(crate) fn entropy(&self) -> &dyn Entropy {
        &*self.0.entropy
    }

    pub(crate) fn note_foreign(&self) {
        self.0.foreign.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn roots(&self) -> Arc<Roots> {
        self.0.roots.read().clone()
    }

    /// Runs one transaction on the keystore.
    pub(crate) async fn change<T: Send + 'static>(
        &self,
        rows: usize,
        work: impl FnOnce(&Self, &mut Txn<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let this = self.clone();
        self.0
            .keystore
            .system(&self.0.system)
            .write(File::Core, rows * ROW, move |txn| work(&this, txn))
            .await
    }

    /// The key that seals for a unit, made if there is none and its owner was not erased.
    pub(crate) async fn current_key(
        &self,
        unit: &[u8; 32],
        owner: Option<Scope<Read>>,
    ) -> Result<Arc<DataKey>, Error> {
        if let Some(key) = self.ring().current(unit) {
            return Ok(key);
        }
        let (since, unit) = (self.ring().generation(), *unit);
        let view = self.0.keystore.system(&self.0.system);
        let head = match view.get(keystore::UNITS, &unit).await? {
            Some(row) => from_row(&row)?,
            None => Head::default(),
        };
        let (head, key) = match self.stored_key(&unit, head.current).await? {
            Some(key) => (head, key),
            // Decided anew inside the transaction: of a hundred first seals, one makes it.
            None => self.change(2, move |this, txn| this.ensure_key(txn, &unit, owner)).await?,
        };
        self.ring().remember(since, &unit, head, key.clone());
        Ok(key)
    }

    /// What is known of one version of a unit's key.
    pub(crate) async fn key_of(&self, unit: &[u8; 32], version: u32) -> Result<Found, Error> {
        let since = self.ring().generation();
        let view = self.0.keystore.system(&self.0.system);
        let Some(row) = view.get(keystore::UNITS, unit).await? else {
            return Ok(Found::Never);
        };
        let head: Head = from_row(&row)?;
        if let Some(found) = head.fate(version) {
            return Ok(found);
        }
        match self.stored_key(unit, Some(version)).await? {
            Some(key) => {
                self.ring().remember(since, unit, head, key.clone());
                Ok(Found::Key(key))
            }
            // Destroyed since the head was read.
            None => Ok(Found::Shredded),
        }
    }

    async fn stored_key(
        &self,
        unit: &[u8; 32],
        version: Option<u32>,
    ) -> Result<Option<Arc<DataKey>>, Error> {
        let Some(version) = version else { return Ok(None) };
        let row_key = data_row(unit, version);
        let view = self.0.keystore.system(&self.0.system);
        let row = view.get(keystore::WRAPPED, &row_key).await?;
        row.map(|row| self.unwrapped(&row_key, version, &row)).transpose()
    }

    fn unwrapped(&self, row_key: &[u8], version: u32, row: &[u8]) -> Result<Arc<DataKey>, Error> {
        let key = from_row::<Wrapped>(row)?.unwrap(&self.roots(), row_key)?;
        Ok(Arc::new(DataKey::new(version, &key)))
    }

    fn ensure_key(
        &self,
        txn: &mut Txn<'_>,
        unit: &[u8; 32],
        owner: Option<Scope<Read>>,
    ) -> Result<(Head, Arc<DataKey>), Error> {
        let head = Head::read(txn, unit)?;
        if let Some(version) = head.current {
            let row_key = data_row(unit, version);
            let row = txn.get(keystore::WRAPPED, &row_key)?;
            let row = row.ok_or(Error::Malformed("a head without its data key"))?;
            return Ok((head, self.unwrapped(&row_key, version, &row)?));
        }
        // Asked of the registry, too, for an erasure that is not in this keystore.
        owner.as_ref().map_or(Ok(()), not_erased)?;
        self.make_key(txn, unit)
    }

    /// Makes the next version of a unit's key. Wraps inside the transaction, so that a root
    /// rotation, whose passes are transactions too, sees it or is seen by it.
    pub(crate) fn make_key(
        &self,
        txn: &mut Txn<'_>,
        unit: &[u8; 32],
    ) -> Result<(Head, Arc<DataKey>), Error> {
        let mut head = Head::read(txn, unit)?;
        // Asked here, behind every erasure that came first.
        head.not_shredded()?;
        let version = head
            .last
            .checked_add(1)
            .ok_or(Error::TooMany { what: "data key versions", most: u32::MAX.into() })?;
        let mut key = Zeroizing::new([0; 32]);
        self.entropy().fill(key.as_mut());
        let row_key = data_row(unit, version);
        let made = (self.0.clock.now(), fingerprint(&key));
        let wrapped = Wrapped::wrap(&self.roots().current, self.entropy(), &row_key, made, &key)?;
        txn.put(keystore::WRAPPED, &row_key, &wrapped.into_row()?)?;
        head.current = Some(version);
        head.last = version;
        head.write(txn, unit)?;
        Ok((head, Arc::new(DataKey::new(version, &key))))
    }
}

#[expect(clippy::disallowed_methods, reason = "keys lie in the deployment's own partition")]
fn open_keystore(directory: &Path, clock: &Arc<dyn Clock>) -> Result<(Store, SystemScope), Error> {
    let keystore = Store::open_single(&directory.join(KEYSTORE), clock.clone())?;
    Ok((keystore, SystemScope::claim(Maintenance::Keys)))
}
