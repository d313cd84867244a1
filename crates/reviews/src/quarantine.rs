//! What is in doubt: bounded, for operators only, and never let go to make room.

use ids::{Environment, ProviderId, RandomId, TenantId, planted, text::hex};
use scope::{Scope, SystemScope, Write};
use serde::{Deserialize, Serialize};
use store::{File, Range, Txn};
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
/// What begins the rows that count what was found on the hops of one tenant's environment.
const FOUND: u8 = b'f';
/// What everything in quarantine may take, in bytes.
const MOST_BYTES: u64 = 4 << 30;

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
    /// [`Error::QuarantineFull`]; what rows answer.
    pub async fn quarantine(
        &self,
        found_by: &Scope<Write>,
        thing: Doubtful,
    ) -> Result<RandomId, Error> {
        let all = self.clone();
        let kept = found_by.spawn(move |scope| async move { all.0.take_in(&scope, thing).await });
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
        let found = found_on(&doubt.tenant, &doubt.environment);
        let item = self.0.sealed(&doubt).await?;
        let gone = now.plus(self.0.settings.keep());
        let opened = doubt.review.opened;
        let cost = item.len() + 256;
        let view = self.0.store.system(system);
        view.write(File::State, cost, move |txn| {
            if txn.get(QUARANTINE, &row::item(&id))?.is_none_or(|now| now != was) {
                return Err(Error::Settled(State::Closed.as_str()));
            }
            txn.put_until(QUARANTINE, &row::item(&id), &item, gone)?;
            txn.put_until(QUARANTINE, &row::at(row::ORDER, opened, &id), &[], gone)?;
            txn.delete(QUARANTINE, &row::payload(&id))?;
            less(txn, row::COUNT)?;
            less(txn, &found)
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
    /// Most of all, and of one tenant's environment.
    most: (u64, u64),
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
        let item = self.sealed(&doubt).await?;
        let place = Place { surface: THING, key: id.as_bytes(), version: 0 };
        let thing = self.vault.of_deployment(&self.system).seal(&place, &payload).await?;
        let cost = item.len() + thing.len() + 256;
        let most = (self.settings.quarantine, self.settings.quarantine_per_tenant());
        let notice = Notice::of_doubt(&doubt.review);
        let intake = Intake { doubt, item, thing, most };
        let view = self.store.system(&self.system);
        view.write(File::State, cost, move |txn| intake.write(txn)).await?;
        self.notify.opened(notice);
        Ok(id)
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
        let found = found_on(&self.doubt.tenant, &self.doubt.environment);
        let mut all = row::number(txn.get(QUARANTINE, row::COUNT)?.as_deref());
        let theirs = row::number(txn.get(QUARANTINE, &found)?.as_deref());
        if planted::is("review-quarantine-drops-oldest") && all >= self.most.0 {
            drop_oldest(txn)?;
            all -= 1;
        }
        if all >= self.most.0 {
            return Err(Error::QuarantineFull(all));
        }
        if theirs >= self.most.1 && !planted::is("review-quarantine-drops-oldest") {
            return Err(Error::QuarantineFull(theirs));
        }
        txn.put(QUARANTINE, &row::item(&id), &self.item)?;
        txn.put(QUARANTINE, &row::payload(&id), &self.thing)?;
        txn.put(QUARANTINE, &row::at(row::ORDER, opened, &id), &[])?;
        txn.put(QUARANTINE, row::COUNT, &(all + 1).to_be_bytes())?;
        txn.put(QUARANTINE, &found, &(theirs + 1).to_be_bytes())?;
        if txn.usage(QUARANTINE)?.bytes > MOST_BYTES {
            return Err(Error::QuarantineFull(all));
        }
        Ok(())
    }
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

/// The row that counts what was found on the hops of a tenant's environment.
fn found_on(tenant: &TenantId, environment: &Environment) -> Vec<u8> {
    let framed = ids::frame::Frame::new("bulkhead quarantine: found on")
        .field(tenant.as_str())
        .field(environment.as_str())
        .finish();
    let mut key = vec![FOUND];
    key.extend_from_slice(blake3::hash(&framed).as_bytes());
    key
}

fn less(txn: &mut Txn<'_>, key: &[u8]) -> Result<(), Error> {
    match row::number(txn.get(QUARANTINE, key)?.as_deref()).saturating_sub(1) {
        0 => drop(txn.delete(QUARANTINE, key)?),
        left => txn.put(QUARANTINE, key, &left.to_be_bytes())?,
    }
    Ok(())
}
