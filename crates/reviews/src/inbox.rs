//! The inbox.

use std::sync::Arc;

use bytes::Bytes;
use ids::{Clock, Entropy, Millis, RandomId, planted, text::hex};
use scope::{Access, Mandate, Read, Scope, SystemScope, Write};
use store::{File, Range, Store};
use vault::{Place, Vault};
use zeroize::Zeroizing;

use crate::{
    Decision, Error, Finding, Kind, New, Notice, Notify, REVIEWS, Review, Settings, State, Wanted,
    course::Decider,
    quarantine::Coming,
    row::{self, Kept, Opening},
    waiting::Waiting,
};

/// The surface of records, of arguments and of mandates, in what seals them.
const RECORD: &str = "review";
const ARGUMENTS: &str = "review-arguments";
const MANDATE: &str = "review-mandate";

/// The most reviews that one list gives.
pub(crate) const MAX_LIST: usize = 1_000;
/// How often a change begins anew because another one came first.
const TRIES: usize = 16;

/// All reviews of a deployment. Cheap to clone.
#[derive(Clone)]
pub struct Reviews(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) settings: Settings,
    pub(crate) store: Store,
    pub(crate) vault: Vault,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    /// For what is the deployment's: the index of open reviews, and quarantine.
    pub(crate) system: SystemScope,
    pub(crate) notify: Arc<dyn Notify>,
    pub(crate) waiting: Waiting,
    pub(crate) coming: Coming,
}

/// Those of one tenant's environment.
///
/// Whoever may only read decides nothing:
/// ```compile_fail
/// # use bulkhead_reviews as reviews;
/// async fn f(all: &reviews::Reviews, scope: &scope::Scope<scope::Read>, id: ids::RandomId, d: reviews::Decision) {
///     let _ = all.of(scope).decide(id, d).await;
/// }
/// ```
/// Its compiling twin:
/// ```
/// # use bulkhead_reviews as reviews;
/// async fn f(all: &reviews::Reviews, scope: &scope::Scope<scope::Write>, id: ids::RandomId, d: reviews::Decision) {
///     let _ = all.of(scope).decide(id, d).await;
/// }
/// ```
#[must_use]
pub struct Inbox<'a, A: Access> {
    all: &'a Reviews,
    scope: &'a Scope<A>,
}

/// A record as it was read, with the very bytes that it was read from.
struct Loaded {
    row: Bytes,
    kept: Kept,
}

/// A change that is ready to be written.
struct Changed {
    kept: Kept,
    /// The sealed arguments, if they are others now.
    payload: Option<Vec<u8>>,
}

impl Reviews {
    /// Opens.
    ///
    /// # Errors
    /// Settings that cannot be used.
    pub fn open(
        settings: Settings,
        store: &Store,
        vault: &Vault,
        system: SystemScope,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        notify: Arc<dyn Notify>,
    ) -> Result<Self, Error> {
        settings.check()?;
        let (store, vault, waiting) = (store.clone(), vault.clone(), Waiting::default());
        Ok(Self(Arc::new(Inner {
            settings,
            store,
            vault,
            clock,
            entropy,
            system,
            notify,
            waiting,
            coming: Coming::default(),
        })))
    }

    /// Those of a scope's tenant and environment.
    pub fn of<'a, A: Access>(&'a self, scope: &'a Scope<A>) -> Inbox<'a, A> {
        Inbox { all: self, scope }
    }
}

impl Inbox<'_, Write> {
    /// Opens a review. Whoever stops waiting does not stop it.
    ///
    /// # Errors
    /// [`Error::Full`]; a scope that ended; what rows answer.
    pub async fn ask(&self, new: New) -> Result<Review, Error> {
        let all = self.all.clone();
        let asked = self
            .scope
            .spawn(move |scope| async move { Inbox { all: &all, scope: &scope }.open(new).await });
        asked.await.map_err(|_| store::Error::Panicked)?
    }

    /// Notes a decision. The last one that was needed settles it. Of a suggestion and of a definition that
    /// changed, any decision closes it.
    ///
    /// Whoever asked may withdraw what it asked for, and decides nothing else; so does whoever works in
    /// the same workflow or as the same agent. Operators are none of these.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Settled`], [`Error::SamePerson`], [`Error::Other`] where the digest is
    /// not of what is kept, [`Error::Kind`] where the outcome of a write is asked for.
    pub async fn decide(&self, id: RandomId, decision: Decision) -> Result<Review, Error> {
        self.change_detached(id, move |scope, review, now| {
            let who = Decider::of(scope, &decision.by, review);
            review.decide(&who, &decision, now)
        })
        .await
    }

    /// Puts other arguments, in canonical JSON, in place of those that were asked for, with their
    /// digest. Earlier decisions are void. The caller has held the arguments against the contract.
    ///
    /// # Errors
    /// As [`Self::decide`].
    pub async fn edit(
        &self,
        id: RandomId,
        payload: Vec<u8>,
        digest: [u8; 32],
        by: &str,
    ) -> Result<Review, Error> {
        let (all, by) = (self.all.clone(), by.to_owned());
        let payload = Zeroizing::new(payload);
        let edited = self.scope.spawn(move |scope| async move {
            let edit = |review: &mut Review, now| {
                let who = Decider::of(&scope, &by, review);
                review.edit(&who, &digest, now)
            };
            Inbox { all: &all, scope: &scope }.change(id, Some(&payload), edit).await
        });
        edited.await.map_err(|_| store::Error::Panicked)?
    }

    /// Notes what a person found out of a write of which it was not known whether it was done, and closes the
    /// review. That the write itself is settled is the caller's.
    ///
    /// # Errors
    /// As [`Self::decide`]; [`Error::Kind`] where nothing of that kind is asked.
    pub async fn settle(&self, id: RandomId, finding: Finding) -> Result<Review, Error> {
        self.change_detached(id, move |scope, review, now| {
            let who = Decider::of(scope, &finding.by, review);
            review.settle(&who, &finding, now)
        })
        .await
    }

    /// Whether [`Self::settle`] would take this now. Nothing is changed.
    ///
    /// # Errors
    /// As [`Self::settle`].
    pub async fn may_settle(&self, id: RandomId, finding: &Finding) -> Result<Review, Error> {
        let review = self.record(id).await?;
        let who = Decider::of(self.scope, &finding.by, &review);
        review.clone().settle(&who, finding, self.all.0.clock.now())?;
        Ok(review)
    }

    /// Closes a review of which nothing is to come any more: what it asked about was settled elsewhere.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Settled`]; what rows answer.
    pub async fn close(&self, id: RandomId, by: &str, reason: &str) -> Result<Review, Error> {
        let (by, reason) = (by.to_owned(), reason.to_owned());
        self.change_detached(id, move |_, review, now| review.close(&by, &reason, now)).await
    }

    /// Uses an approval, durably and once: before what it allows is done. It is noted for which
    /// intent.
    ///
    /// # Errors
    /// [`Error::Settled`] unless it is approved and not expired; [`Error::Other`] for another
    /// tool, other arguments or policies, and under another workflow, end user or account.
    pub async fn redeem(&self, id: RandomId, wanted: Wanted<'_>) -> Result<Review, Error> {
        let Wanted { what, digest, policy, account, intent } = wanted;
        let (what, account) = (what.to_owned(), account.cloned());
        self.change_detached(id, move |scope, review, _| {
            let account = account.as_ref();
            review.redeem(scope, &Wanted { what: &what, digest, policy, account, intent })
        })
        .await
    }

    async fn open(&self, new: New) -> Result<Review, Error> {
        let Inner { settings, store, vault, clock, entropy, notify, .. } = &*self.all.0;
        self.scope.live()?;
        self.room(clock.now()).await?;
        let now = clock.now();
        let id = RandomId::draw(&**entropy);
        let New { payload, mandates, .. } = &new;
        let sealer = vault.of(self.scope);
        let arguments = Place { surface: ARGUMENTS, key: id.as_bytes(), version: 0 };
        let payload = sealer.seal(&arguments, payload).await?;
        let sealed = match &mandates[..] {
            [] => None,
            mandates => {
                let place = Place { surface: MANDATE, key: id.as_bytes(), version: 0 };
                let plain = serde_json::to_vec(mandates)
                    .map(Zeroizing::new)
                    .map_err(|_| vault::Error::Malformed("mandates that JSON cannot hold"))?;
                Some(sealer.seal(&place, &plain).await?)
            }
        };
        let review = self.review(id, now, &new);
        let mandate = sealed.is_some();
        let kept = Kept { review: review.clone(), revision: 0, edition: 0, mandate };
        let item = kept.seal(&sealer, RECORD).await?;
        let opening = Opening {
            id,
            opened: now,
            expires: review.expires,
            item,
            payload,
            mandate: sealed,
            settings: settings.clone(),
        };
        // The index first: what is in it and nowhere else is an entry that leads nowhere. The other
        // way round there could be a call that waits for a person whom nobody tells.
        let notice = Notice::of(&review, self.scope);
        self.all.0.announce(&notice).await?;
        let (scope, cost) = (self.scope.clone(), opening.cost());
        let written = store
            .of(self.scope)
            .write(File::State, cost, move |txn| {
                // Revoked or erased while it waited for its turn: nothing is opened any more.
                scope.live()?;
                opening.write(txn)
            })
            .await;
        if let Err(error) = written {
            self.all.0.withdraw(now, &id).await;
            return Err(error);
        }
        notify.opened(self.scope.tenant(), notice);
        Ok(review)
    }

    /// Refuses what would not fit before anything is sealed or written for it.
    async fn room(&self, now: Millis) -> Result<(), Error> {
        let view = self.all.0.store.of(self.scope);
        let live = row::number(view.get(REVIEWS, row::COUNT).await?.as_deref());
        if live < self.all.0.settings.open_per_tenant {
            return Ok(());
        }
        let first = view.scan(REVIEWS, Range::prefix([row::ENDS]).limit(1)).await?;
        let ended = first.first().and_then(|(key, _)| row::read_at(key));
        match ended {
            Some((expires, _)) if expires <= now => Ok(()),
            _ => Err(Error::Full(live)),
        }
    }

    fn review(&self, id: RandomId, now: Millis, new: &New) -> Review {
        let scope = self.scope;
        Review {
            id,
            kind: new.kind,
            state: State::Open,
            what: new.what.clone(),
            upstream: new.upstream.clone(),
            account: new.account.clone(),
            digest: hex(&new.digest),
            policy: hex(&new.policy),
            reason: new.reason.clone(),
            asked_by: scope.actor().to_string(),
            workflow: scope.workflow().cloned(),
            run: scope.run().cloned(),
            agent: scope.agent().cloned(),
            subject: scope.subject().cloned(),
            four_eyes: new.four_eyes,
            opened: now,
            expires: new.expires.min(row::NEVER),
            decisions: Vec::new(),
            intent: new.intent,
            used_for: None,
        }
    }

    /// Changes a review, in a task of its own: a caller who hangs up leaves it done or not begun, with
    /// all that follows from it.
    async fn change_detached(
        &self,
        id: RandomId,
        change: impl Fn(&Scope<Write>, &mut Review, Millis) -> Result<(), Error> + Send + Sync + 'static,
    ) -> Result<Review, Error> {
        let all = self.all.clone();
        let changed = self.scope.spawn(move |scope| async move {
            let change = |review: &mut Review, now| change(&scope, review, now);
            Inbox { all: &all, scope: &scope }.change(id, None, change).await
        });
        changed.await.map_err(|_| store::Error::Panicked)?
    }

    /// Changes a review on the version that the change was judged by, or begins anew.
    async fn change(
        &self,
        id: RandomId,
        payload: Option<&[u8]>,
        change: impl Fn(&mut Review, Millis) -> Result<(), Error> + Sync,
    ) -> Result<Review, Error> {
        for _ in 0..TRIES {
            let Loaded { row, kept } = self.load(id).await?;
            let mut next = kept.clone();
            change(&mut next.review, self.all.0.clock.now())?;
            next.revision += 1;
            let payload = match payload {
                None => None,
                Some(plain) => {
                    next.edition += 1;
                    let place =
                        Place { surface: ARGUMENTS, key: id.as_bytes(), version: next.edition };
                    Some(self.all.0.vault.of(self.scope).seal(&place, plain).await?)
                }
            };
            let review = next.review.clone();
            if review.state == State::Open && kept.review.state == State::Approved {
                self.all.0.announce(&Notice::of(&review, self.scope)).await?;
            }
            // First, so that a crash leaves nothing that is allowed and that nobody knows of.
            if review.state == State::Approved && !planted::is("review-due-unnoted") {
                let mandates = self.mandates_of(&kept).await?;
                self.all.0.note_due(self.scope, &review, mandates).await?;
            }
            if !self.swap(row, Changed { kept: next, payload }).await? {
                continue;
            }
            if review.state != State::Open {
                self.all.0.withdraw(review.opened, &id).await;
                self.all.0.waiting.settled(self.scope, id);
            }
            return Ok(review);
        }
        Err(store::Error::Busy.into())
    }

    /// Writes a change, if the record is still the one that it was made from.
    async fn swap(&self, was: Bytes, changed: Changed) -> Result<bool, Error> {
        let Changed { kept, payload } = changed;
        let item = kept.seal(&self.all.0.vault.of(self.scope), RECORD).await?;
        let Review { id, expires, state, .. } = kept.review;
        let gone = expires.plus(self.all.0.settings.keep());
        let scope = self.scope.clone();
        let cost = item.len() + payload.as_ref().map_or(0, Vec::len) + 256;
        let view = self.all.0.store.of(self.scope);
        view.write(File::State, cost, move |txn| {
            scope.live()?;
            let key = row::item(&id);
            let same = txn.get(REVIEWS, &key)?.is_some_and(|now| now == was);
            if !same && !planted::is("review-used-twice") {
                return Ok(false);
            }
            // Time went on while it waited for its turn.
            if txn.now() >= expires && !planted::is("review-expired-used") {
                return Err(Error::Settled(State::Expired.as_str()));
            }
            txn.put_until(REVIEWS, &key, &item, gone)?;
            if let Some(payload) = payload {
                txn.put_until(REVIEWS, &row::payload(&id), &payload, gone)?;
            }
            if matches!(state, State::Denied | State::Closed) {
                txn.delete(REVIEWS, &row::mandate(&id))?;
            }
            if !state.is_live() {
                row::settled(txn, expires, &id)?;
            }
            Ok(true)
        })
        .await
    }
}

impl<A: Access> Inbox<'_, A> {
    /// One, with all of what is to be decided on.
    ///
    /// # Errors
    /// [`Error::Missing`]; what rows answer.
    pub async fn get(&self, id: RandomId) -> Result<(Review, Vec<u8>), Error> {
        let reader = self.reader();
        // As of one moment: an edit changes both.
        let keys = vec![row::item(&id), row::payload(&id)];
        let mut found = self.all.0.store.of(&reader).get_many(REVIEWS, keys).await?.into_iter();
        let (Some(Some(item)), Some(Some(payload))) = (found.next(), found.next()) else {
            return Err(Error::Missing);
        };
        let Kept { review, edition, .. } = self.opened(&id, &item).await?;
        let place = Place { surface: ARGUMENTS, key: id.as_bytes(), version: edition };
        let payload = self.all.0.vault.of(&reader).open(&place, &payload).await?;
        Ok((review, payload.into_vec()))
    }

    /// One as it stands, without its arguments.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn record(&self, id: RandomId) -> Result<Review, Error> {
        Ok(self.load(id).await?.kept.review)
    }

    /// In the order in which they were opened, newest first, without what is in them; behind one of
    /// them, if it is named; at most `limit` and 1,000.
    ///
    /// # Errors
    /// [`Error::Missing`] where the one that is named is not here; what rows answer.
    pub async fn list(&self, after: Option<RandomId>, limit: usize) -> Result<Vec<Review>, Error> {
        let reader = self.reader();
        let view = self.all.0.store.of(&reader);
        let mut range = Range::prefix([row::ORDER]).limit(limit.min(MAX_LIST)).reverse();
        if let Some(after) = after {
            let opened = self.load(after).await?.kept.review.opened;
            range = range.after(row::at(row::ORDER, opened, &after));
        }
        let order = view.scan(REVIEWS, range).await?;
        let listed: Vec<RandomId> =
            order.iter().filter_map(|(key, _)| Some(row::read_at(key)?.1)).collect();
        let keys = listed.iter().map(row::item).collect();
        let rows = view.get_many(REVIEWS, keys).await?;
        let mut reviews = Vec::with_capacity(listed.len());
        for (id, row) in listed.iter().zip(rows) {
            // Gone since the order was read.
            let Some(row) = row else { continue };
            reviews.push(self.opened(id, &row).await?.review);
        }
        Ok(reviews)
    }

    /// The mandates under which Bulkhead itself executes it, if it is to.
    async fn mandates_of(&self, kept: &Kept) -> Result<Vec<Mandate>, Error> {
        if !kept.mandate {
            return Ok(Vec::new());
        }
        let (reader, id) = (self.reader(), kept.review.id);
        let row = self.all.0.store.of(&reader).get(REVIEWS, &row::mandate(&id)).await?;
        let Some(row) = row else { return Ok(Vec::new()) };
        let place = Place { surface: MANDATE, key: id.as_bytes(), version: 0 };
        let plain = self.all.0.vault.of(&reader).open(&place, &row).await?;
        let mandates = serde_json::from_slice(&plain)
            .map_err(|_| vault::Error::Malformed("not mandates of this version"))?;
        Ok(mandates)
    }

    async fn load(&self, id: RandomId) -> Result<Loaded, Error> {
        let reader = self.reader();
        let row = self.all.0.store.of(&reader).get(REVIEWS, &row::item(&id)).await?;
        let row = row.ok_or(Error::Missing)?;
        let kept = self.opened(&id, &row).await?;
        Ok(Loaded { row, kept })
    }

    /// Opens a record, as it stands now.
    async fn opened(&self, id: &RandomId, row: &[u8]) -> Result<Kept, Error> {
        let reader = self.reader();
        let mut kept = Kept::open(&self.all.0.vault.of(&reader), RECORD, id, row).await?;
        kept.review.state = kept.review.stands(self.all.0.clock.now());
        Ok(kept)
    }

    /// Whose rows are read: the scope's, always.
    fn reader(&self) -> Scope<Read> {
        if planted::is("review-across-tenants") {
            static FIRST: std::sync::OnceLock<Scope<Read>> = std::sync::OnceLock::new();
            return FIRST.get_or_init(|| self.scope.read_only()).clone();
        }
        self.scope.read_only()
    }
}

impl Notice {
    /// Of a review of a tenant's.
    fn of<A: Access>(review: &Review, scope: &Scope<A>) -> Self {
        Self {
            id: review.id,
            tenant: Some(scope.tenant().clone()),
            environment: Some(scope.environment().clone()),
            kind: review.kind,
            what: review.what.clone(),
            opened: review.opened,
            expires: review.expires,
        }
    }

    /// Of a thing in doubt: nobody's.
    pub(crate) fn of_doubt(review: &Review) -> Self {
        Self {
            id: review.id,
            tenant: None,
            environment: None,
            kind: Kind::Quarantine,
            what: review.what.clone(),
            opened: review.opened,
            expires: review.expires,
        }
    }
}

impl std::fmt::Debug for Reviews {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reviews(…)")
    }
}
