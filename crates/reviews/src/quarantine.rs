//! What is in doubt: bounded, for operators only, and never let go to make room. Each tenant, and each of
//! its environments, has a share of its own: what turns up on one's hops pushes out nobody's evidence. Nor
//! does it hold up anybody's writes: they wait in the same lane of the store, so what has no room does not
//! get there, and of what has a few stand there at once.

use std::{collections::HashMap, sync::Arc};

use ids::{Environment, ProviderId, RandomId, TenantId, planted, text::hex};
use parking_lot::Mutex;
use scope::{Scope, SystemScope, Write};
use serde::{Deserialize, Serialize};
use store::{File, Range, Txn};
use tokio::sync::Semaphore;
use vault::Place;
use zeroize::Zeroizing;

use crate::{
    Error, Kind, Notice, QUARANTINE, Review, Reviews, State,
    inbox::{Inner, MAX_LIST},
    row,
};

/// What seals it all: the deployment's own data key, bound to this surface.
const SURFACE: &str = "quarantine";
/// The thing itself, likewise.
const THING: &str = "quarantine-thing";
/// What begins the rows that count what was found on the hops of a tenant, and of its environments.
const FOUND: u8 = b'f';
/// Tenants that it takes to fill it.
const TENANTS: u64 = 4;
/// Environments that it takes.
const ENVIRONMENTS: u64 = 8;
/// Whoever has as small a part of it as this still finds room in its last quarter, and nobody else.
const LITTLE: u64 = 64;
/// Things found on one tenant's hops that may be on their way in.
const COMING: usize = 4;
/// Of all that are, those that stand before the store at once.
const AT_ONCE: usize = 2;

/// What is on its way in.
#[derive(Debug)]
pub(crate) struct Coming {
    of: Arc<Mutex<HashMap<TenantId, usize>>>,
    turns: Semaphore,
}

/// The place of one thing among them, until it is dropped.
#[derive(Debug)]
struct Comes {
    of: Arc<Mutex<HashMap<TenantId, usize>>>,
    tenant: TenantId,
}

impl Default for Coming {
    fn default() -> Self {
        Self { of: Arc::default(), turns: Semaphore::new(AT_ONCE) }
    }
}

impl Coming {
    /// A place for one more of this tenant's, if it has not too many already.
    fn enter(&self, tenant: &TenantId) -> Result<Comes, Error> {
        let mut of = self.of.lock();
        let coming = of.entry(tenant.clone()).or_default();
        if *coming >= COMING && !planted::is("review-quarantine-unpaced") {
            return Err(store::Error::Busy.into());
        }
        *coming += 1;
        drop(of);
        Ok(Comes { of: Arc::clone(&self.of), tenant: tenant.clone() })
    }
}

impl Drop for Comes {
    fn drop(&mut self) {
        let mut of = self.of.lock();
        if let Some(coming) = of.get_mut(&self.tenant) {
            *coming -= 1;
            if *coming == 0 {
                of.remove(&self.tenant);
            }
        }
    }
}

/// A thing whose owner is in doubt, or that turned up where it must not.
#[derive(Clone, Debug)]
pub struct Doubtful {
    /// What it is about: the tool, as agents call it.
    pub what: String,
    /// Where it came from.
    pub upstream: Option<ProviderId>,
    /// The thing itself. Sealed under the quarantine key, for operators only.
    pub payload: Vec<u8>,
    /// What is wrong with it.
    pub reason: String,
}

/// A thing in quarantine, as operators see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doubt {
    /// On whose hop it was found. Whose it is, nobody knows.
    pub tenant: TenantId,
    /// In which environment.
    pub environment: Environment,
    /// The review under which it lies.
    pub review: Review,
}

impl Reviews {
    /// Puts a thing in quarantine, and says under which review it lies. Whoever stops waiting does
    /// not stop it.
    ///
    /// # Errors
    /// [`Error::QuarantineFull`]; [`store::Error::Busy`] when several of this tenant's are on their way in;
    /// what rows answer.
    pub async fn quarantine(
        &self,
        found_by: &Scope<Write>,
        thing: Doubtful,
    ) -> Result<RandomId, Error> {
        let (all, place) = (self.clone(), self.0.coming.enter(found_by.tenant())?);
        let kept = found_by.spawn(move |scope| async move {
            let _place = place;
            all.0.take_in(&scope, thing).await
        });
        kept.await.map_err(|_| store::Error::Panicked)?
    }

    /// What is in quarantine, and what was settled of late, newest first; behind one of these, if it is
    /// named; at most `limit` and 1,000.
    ///
    /// # Errors
    /// [`Error::Missing`] where the one that is named is not here; what rows answer.
    pub async fn quarantined(
        &self,
        system: &SystemScope,
        after: Option<RandomId>,
        limit: usize,
    ) -> Result<Vec<Doubt>, Error> {
        let view = self.0.store.system(system);
        let mut range = Range::prefix([row::ORDER]).limit(limit.min(MAX_LIST)).reverse();
        if let Some(after) = after {
            let (doubt, _) = self.0.doubt(&after).await?;
            range = range.after(row::at(row::ORDER, doubt.review.opened, &after));
        }
        let mut doubts = Vec::new();
        for (key, _) in view.scan(QUARANTINE, range).await? {
            let Some((_, id)) = row::read_at(&key) else { continue };
            match self.0.doubt(&id).await {
                Ok((doubt, _)) => doubts.push(doubt),
                // Gone since the order was read.
                Err(Error::Missing) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(doubts)
    }

    /// One thing, with all of it. Of one that is settled nothing is left but the record.
    ///
    /// # Errors
    /// [`Error::Missing`]; what rows answer.
    pub async fn doubtful(
        &self,
        system: &SystemScope,
        id: RandomId,
    ) -> Result<(Doubt, Option<Vec<u8>>), Error> {
        let (doubt, _) = self.0.doubt(&id).await?;
        let thing = self.0.store.system(system).get(QUARANTINE, &row::payload(&id)).await?;
        let Some(sealed) = thing else { return Ok((doubt, None)) };
        let place = Place { surface: THING, key: id.as_bytes(), version: 0 };
        let plain = self.0.vault.of_deployment(system).open(&place, &sealed).await?;
        Ok((doubt, Some(plain.into_vec())))
    }

    /// Settles one: a person has looked at it. The thing itself goes; the record stays for a while.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Settled`]; what rows answer.
    pub async fn settle(
        &self,
        system: &SystemScope,
        id: RandomId,
        by: &str,
        reason: &str,
    ) -> Result<Doubt, Error> {
        let (mut doubt, was) = self.0.doubt(&id).await?;
        let now = self.0.clock.now();
        doubt.review.close(by, reason, now)?;
        let shares = shares(&self.0.settings, &doubt);
        let item = self.0.sealed(&doubt).await?;
        let gone = now.plus(self.0.settings.keep());
        let opened = doubt.review.opened;
        let cost = item.len() + 256;
        let view = self.0.store.system(system);
        view.write(File::State, cost, move |txn| {
            if txn.get(QUARANTINE, &row::item(&id))?.is_none_or(|now| now != was) {
                return Err(Error::Settled(State::Closed.as_str()));
            }
            let thing = txn.get(QUARANTINE, &row::payload(&id))?.map_or(0, |thing| thing.len());
            let goes = Taken::of(was.len() + thing);
            txn.put_until(QUARANTINE, &row::item(&id), &item, gone)?;
            txn.put_until(QUARANTINE, &row::at(row::ORDER, opened, &id), &[], gone)?;
            txn.delete(QUARANTINE, &row::payload(&id))?;
            for share in shares {
                let left = share.taken(txn)?.without(goes);
                share.put(txn, left)?;
            }
            Ok::<_, Error>(())
        })
        .await?;
        Ok(doubt)
    }
}

/// A thing that is taken in: its rows, and the bounds.
struct Intake {
    doubt: Doubt,
    item: Vec<u8>,
    thing: Vec<u8>,
    shares: [Share; 3],
    /// What everything may take with what is left of what was settled, in bytes.
    most_bytes: u64,
}

/// How much there is: 16 bytes of a row, big-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Taken {
    things: u64,
    bytes: u64,
}

/// Whose part it is, and how much that may be.
struct Share {
    key: Vec<u8>,
    most: Taken,
    /// How much when little is left of all; of all itself, how much that is.
    late: Taken,
}

impl Taken {
    /// One thing of so many bytes.
    fn of(bytes: usize) -> Self {
        Self { things: 1, bytes: u64::try_from(bytes).unwrap_or(u64::MAX) }
    }

    fn read(row: Option<&[u8]>) -> Self {
        let (things, bytes) = row.map_or((None, None), |row| (row.get(..8), row.get(8..)));
        Self { things: row::number(things), bytes: row::number(bytes) }
    }

    const fn with(self, more: Self) -> Self {
        Self {
            things: self.things.saturating_add(more.things),
            bytes: self.bytes.saturating_add(more.bytes),
        }
    }

    const fn is_within(self, most: Self) -> bool {
        self.things <= most.things && self.bytes <= most.bytes
    }

    const fn without(self, less: Self) -> Self {
        Self {
            things: self.things.saturating_sub(less.things),
            bytes: self.bytes.saturating_sub(less.bytes),
        }
    }
}

impl Share {
    fn taken(&self, txn: &mut Txn<'_>) -> Result<Taken, Error> {
        Ok(Taken::read(txn.get(QUARANTINE, &self.key)?.as_deref()))
    }

    fn put(&self, txn: &mut Txn<'_>, taken: Taken) -> Result<(), Error> {
        if taken.things == 0 {
            txn.delete(QUARANTINE, &self.key)?;
            return Ok(());
        }
        let row = [taken.things.to_be_bytes(), taken.bytes.to_be_bytes()].concat();
        Ok(txn.put(QUARANTINE, &self.key, &row)?)
    }
}

impl Inner {
    async fn take_in(&self, scope: &Scope<Write>, thing: Doubtful) -> Result<RandomId, Error> {
        let now = self.clock.now();
        let id = RandomId::draw(&*self.entropy);
        let payload = Zeroizing::new(thing.payload);
        let review = Review {
            id,
            kind: Kind::Quarantine,
            state: State::Open,
            what: thing.what,
            upstream: thing.upstream,
            account: None,
            digest: hex(blake3::hash(&payload).as_bytes()),
            policy: String::new(),
            reason: thing.reason,
            asked_by: scope.actor().to_string(),
            workflow: scope.workflow().cloned(),
            run: scope.run().cloned(),
            agent: scope.agent().cloned(),
            subject: None,
            four_eyes: false,
            opened: now,
            // Nothing in doubt goes by itself.
            expires: row::NEVER,
            decisions: Vec::new(),
            intent: None,
            used_for: None,
        };
        let (tenant, environment) = (scope.tenant().clone(), scope.environment().clone());
        let doubt = Doubt { tenant, environment, review };
        let shares = shares(&self.settings, &doubt);
        let _turn = self.coming.turns.acquire().await.map_err(|_| store::Error::Closed)?;
        self.has_room(&shares, Taken::of(payload.len())).await?;
        let item = self.sealed(&doubt).await?;
        let place = Place { surface: THING, key: id.as_bytes(), version: 0 };
        let thing = self.vault.of_deployment(&self.system).seal(&place, &payload).await?;
        let cost = item.len() + thing.len() + 256;
        let most_bytes = self.settings.quarantine_bytes;
        let notice = Notice::of_doubt(&doubt.review);
        let intake = Intake { doubt, item, thing, shares, most_bytes };
        let view = self.store.system(&self.system);
        view.write(File::State, cost, move |txn| intake.write(txn)).await?;
        self.notify.opened(scope.tenant(), notice);
        Ok(id)
    }

    /// Refuses what would not fit before anything is sealed for it, or waits for the store.
    async fn has_room(&self, shares: &[Share; 3], comes: Taken) -> Result<(), Error> {
        if planted::is("review-quarantine-queued-unseen")
            || planted::is("review-quarantine-drops-oldest")
        {
            return Ok(());
        }
        let view = self.store.system(&self.system);
        let mut taken = Vec::with_capacity(shares.len());
        for share in shares {
            taken.push(Taken::read(view.get(QUARANTINE, &share.key).await?.as_deref()));
        }
        fit(shares, &taken, comes)
    }

    async fn sealed(&self, doubt: &Doubt) -> Result<Vec<u8>, Error> {
        let plain = serde_json::to_vec(doubt)
            .map(Zeroizing::new)
            .map_err(|_| vault::Error::Malformed("a review that JSON cannot hold"))?;
        let place = Place { surface: SURFACE, key: doubt.review.id.as_bytes(), version: 0 };
        Ok(self.vault.of_deployment(&self.system).seal(&place, &plain).await?)
    }

    /// A record, with the very bytes that it was read from.
    async fn doubt(&self, id: &RandomId) -> Result<(Doubt, bytes::Bytes), Error> {
        let row = self.store.system(&self.system).get(QUARANTINE, &row::item(id)).await?;
        let row = row.ok_or(Error::Missing)?;
        let place = Place { surface: SURFACE, key: id.as_bytes(), version: 0 };
        let plain = self.vault.of_deployment(&self.system).open(&place, &row).await?;
        let doubt: Doubt = serde_json::from_slice(&plain)
            .map_err(|_| vault::Error::Malformed("not a thing in doubt of this version"))?;
        Ok((doubt, row))
    }
}

impl Intake {
    /// Writes all of it, or nothing.
    fn write(self, txn: &mut Txn<'_>) -> Result<(), Error> {
        let Review { id, opened, .. } = self.doubt.review;
        let comes = Taken::of(self.item.len() + self.thing.len());
        let taken =
            self.shares.iter().map(|share| share.taken(txn)).collect::<Result<Vec<_>, _>>()?;
        if let Err(full) = fit(&self.shares, &taken, comes) {
            if !planted::is("review-quarantine-drops-oldest") {
                return Err(full);
            }
            drop_oldest(txn)?;
        }
        for (share, taken) in self.shares.iter().zip(taken) {
            share.put(txn, taken.with(comes))?;
        }
        txn.put(QUARANTINE, &row::item(&id), &self.item)?;
        txn.put(QUARANTINE, &row::payload(&id), &self.thing)?;
        txn.put(QUARANTINE, &row::at(row::ORDER, opened, &id), &[])?;
        let all = txn.usage(QUARANTINE)?;
        // Records of what was settled count here as well: they go by themselves.
        if all.bytes > self.most_bytes.saturating_mul(2) {
            return Err(Error::QuarantineFull(all.rows));
        }
        Ok(())
    }
}

/// Whether this fits into each share beside what was taken of it.
fn fit(shares: &[Share; 3], taken: &[Taken], comes: Taken) -> Result<(), Error> {
    let [all, ..] = shares;
    let late = taken.first().is_some_and(|taken| !taken.with(comes).is_within(all.late));
    for (nth, (share, taken)) in shares.iter().zip(taken).enumerate() {
        // The first is all of it.
        let most = if nth > 0 && late { share.late } else { share.most };
        let bounded = nth == 0 || !planted::is("review-quarantine-unshared");
        if bounded && !taken.with(comes).is_within(most) {
            return Err(Error::QuarantineFull(taken.things));
        }
    }
    Ok(())
}

/// The planted bug: room is made by forgetting.
fn drop_oldest(txn: &mut Txn<'_>) -> Result<(), Error> {
    for (key, _) in txn.scan(QUARANTINE, &Range::prefix([row::ORDER]).limit(1))? {
        if let Some((_, id)) = row::read_at(&key) {
            for key in [row::item(&id), row::payload(&id), key.to_vec()] {
                txn.delete(QUARANTINE, &key)?;
            }
        }
    }
    Ok(())
}

/// The shares that a thing takes of: of all, of its tenant's, of its environment's.
fn shares(settings: &crate::Settings, doubt: &Doubt) -> [Share; 3] {
    let Doubt { tenant, environment, review: _ } = doubt;
    let (things, bytes) = (settings.quarantine, settings.quarantine_bytes);
    let part = |among: u64| Taken { things: things.div_ceil(among), bytes: bytes.div_ceil(among) };
    let scarce = Taken { things: things - things / 4, bytes: bytes - bytes / 4 };
    let of = |key, among| Share { key, most: part(among), late: part(LITTLE) };
    [
        Share { key: row::COUNT.to_vec(), most: part(1), late: scarce },
        of(found_on(tenant, None), TENANTS),
        of(found_on(tenant, Some(environment)), ENVIRONMENTS),
    ]
}

/// The row that counts what was found on the hops of a tenant, or of one of its environments.
fn found_on(tenant: &TenantId, environment: Option<&Environment>) -> Vec<u8> {
    let framed = ids::frame::Frame::new("bulkhead quarantine: found on")
        .field(tenant.as_str())
        .option(environment.map(Environment::as_str))
        .finish();
    let mut key = vec![FOUND];
    key.extend_from_slice(blake3::hash(&framed).as_bytes());
    key
}
