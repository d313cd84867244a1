//! One write: read what there is, decide, commit; and again if somebody else was first.

use std::{collections::BTreeMap, sync::Arc};

use ids::planted;
use scope::{Scope, Write};

use super::{
    Asked, Collections, Inner,
    edits::{Edit, check_payload, fitted},
    queues::Turn,
};
use crate::{
    Collection, CollectionName, Error, Point, PointId, Seq, Vectors,
    reach::Reach,
    request::{Filter, NewPoint, Operation, Selector, edit::At},
    truth::{Head, Row},
};

/// How often a write is decided anew because another one came first. Writers of a collection
/// take turns, so that is rare.
const TRIES: usize = 8;

/// Points of one step of an operation over a filter.
const PAGE: usize = 256;

/// About how many bytes of rows one step has.
const STEP_BYTES: usize = 8 << 20;

/// Writes after which deletions are trimmed that the index has.
const TRIMMED_EVERY: Seq = 16;

const OUT_OF_REACH: &str =
    "a point with one of these ids is out of reach of this credential: it is another end user's";
const NOT_OWN: &str = "one of these points is nobody's in particular, or another end user's: \
     this credential can change and delete only its end user's own";
const LEAVES: &str = "a point would be out of reach of this credential afterwards: it does not fit the filter \
     that its workflow is held to";

/// Who writes to one collection. Its turn lasts as long as it is there.
pub(super) struct Writer {
    inner: Arc<Inner>,
    scope: Scope<Write>,
    collection: Collection,
    _turn: Turn,
}

/// What a write came to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Done {
    pub(super) seq: Seq,
    /// Points that were changed or removed.
    pub(super) points: u64,
}

/// Vectors as they are to be, by point.
type Given = BTreeMap<PointId, Vectors>;

impl Writer {
    /// Waits for a turn at the collection of this name.
    ///
    /// # Errors
    /// [`Error::NoCollection`], [`Error::Busy`].
    pub(super) async fn of(
        inner: Arc<Inner>,
        scope: Scope<Write>,
        name: &CollectionName,
    ) -> Result<Self, Error> {
        let missing = || Error::NoCollection(name.to_string());
        for _ in 0..TRIES {
            let found = inner.truth.of(&scope).collection(name).await?.ok_or_else(missing)?;
            let (partition, incarnation) = (*scope.partition_bytes(), found.incarnation);
            let turn = inner.queues.turn(partition, incarnation, inner.settings.waiting).await?;
            // While this waited it may have become another one, or changed.
            let now = inner.truth.of(&scope).collection(name).await?.ok_or_else(missing)?;
            if now.incarnation == incarnation {
                return Ok(Self { inner, scope, collection: now, _turn: turn });
            }
        }
        Err(Error::Busy)
    }

    pub(super) fn collection(&self) -> &Collection {
        &self.collection
    }

    /// Does it: all or nothing, or, over a filter, step by step.
    pub(super) async fn write(&self, operation: Operation) -> Result<Done, Error> {
        match operation {
            Operation::Upsert(points) => self.upsert(points).await,
            Operation::UpdateVectors(points) => self.update_vectors(points).await,
            Operation::Delete(points) => self.edit(points, Edit::Delete).await,
            Operation::SetPayload { payload, points, key } => {
                let at = key.as_deref().map(At::parse).transpose()?;
                self.edit(points, Edit::Set(payload, at)).await
            }
            Operation::OverwritePayload { key: Some(_), .. } => {
                Err(Error::Unsupported("`key` where a payload is overwritten".into()))
            }
            Operation::OverwritePayload { payload, points, key: None } => {
                self.edit(points, Edit::Overwrite(payload)).await
            }
            Operation::DeletePayload { keys, points } => {
                let at = keys.iter().map(|key| At::parse(key)).collect::<Result<_, _>>()?;
                self.edit(points, Edit::Remove(at)).await
            }
            Operation::ClearPayload(points) => {
                self.edit(points, Edit::Overwrite(crate::Payload::new())).await
            }
            Operation::DeleteVectors { names, points } => {
                for name in &names {
                    self.collection.schema.check_name(name)?;
                }
                self.edit(points, Edit::Drop(names)).await
            }
        }
    }

    async fn upsert(&self, points: Vec<NewPoint>) -> Result<Done, Error> {
        self.check_batch(points.len())?;
        let mut new = BTreeMap::new();
        for NewPoint { id, vectors, payload } in points {
            let vectors = fitted(vectors, &self.collection.schema)?;
            check_payload(&payload, &self.inner.settings)?;
            // Of one id twice, the last stays.
            new.insert(id, (vectors, payload));
        }
        let ids: Vec<_> = new.keys().copied().collect();
        self.commit(&ids, |reach, id, before| {
            let foreign = before.as_ref().is_some_and(|point| !own(reach, point));
            if foreign && !planted::is("memory-upsert-over-foreign-owner") {
                return Err(Error::Unreachable(OUT_OF_REACH));
            }
            let Some((vectors, payload)) = new.get(&id).cloned() else { return Ok(None) };
            // Whoever may write everybody's leaves each point whose it is.
            let subject = reach.owner().or(before.and_then(|point| point.subject));
            let point = Point { id, version: 0, vectors, payload, subject, expires: None };
            within(reach, point).map(Some)
        })
        .await
    }

    /// Puts one new point, whole as it is.
    pub(super) async fn put(&self, point: Point) -> Result<Done, Error> {
        check_payload(&point.payload, &self.inner.settings)?;
        self.commit(&[point.id], |reach, _, _| within(reach, point.clone()).map(Some)).await
    }

    async fn update_vectors(
        &self,
        points: Vec<(PointId, BTreeMap<String, crate::request::Given>)>,
    ) -> Result<Done, Error> {
        self.check_batch(points.len())?;
        let mut given = Given::new();
        for (id, vectors) in points {
            let vectors = fitted(vectors, &self.collection.schema)?;
            given.entry(id).or_default().extend(vectors);
        }
        let ids: Vec<_> = given.keys().copied().collect();
        self.commit(&ids, |reach, id, before| {
            let mut point = there(reach, id, before)?;
            point.vectors.extend(given.get(&id).cloned().unwrap_or_default());
            within(reach, point).map(Some)
        })
        .await
    }

    async fn edit(&self, points: Selector, edit: Edit) -> Result<Done, Error> {
        let ids = match points {
            Selector::Filter(filter) => return self.over(filter, &edit).await,
            Selector::Ids(ids) => ids,
        };
        self.check_batch(ids.len())?;
        let mut ids = ids;
        ids.sort_unstable();
        ids.dedup();
        let settings = &self.inner.settings;
        self.commit(&ids, |reach, id, before| {
            // What is not there, or not for this caller, is gone already.
            if matches!(edit, Edit::Delete) {
                match &before {
                    // A row that was withheld goes, too.
                    None => return Ok(Some(Row::Delete(id))),
                    Some(point) if !reach.holds(point) => return Ok(None),
                    Some(_) => {}
                }
            }
            match edit.of(there(reach, id, before)?, settings)? {
                Some(point) => within(reach, point).map(Some),
                None => Ok(Some(Row::Delete(id))),
            }
        })
        .await
    }

    /// An operation over a filter, step by step in the order of ids: what came to match behind
    /// it is not gone back for.
    async fn over(&self, filter: Filter, edit: &Edit) -> Result<Done, Error> {
        let (mut done, mut from) = (Done::default(), None);
        loop {
            let reach = Reach::of(&self.inner, &self.scope, &self.collection);
            let of = Collections { inner: &self.inner, scope: &self.scope };
            let asked = Asked { of, collection: self.collection.clone(), reach };
            let within = asked.filter(Some(&filter))?;
            let page =
                move |shard: &crate::engine::Shard| shard.scroll(within.as_ref(), from, PAGE + 1);
            let mut ids = asked.told(page).await?;
            from = ids.get(PAGE).copied();
            ids.truncate(PAGE);
            while !ids.is_empty() {
                let (some, left) = self.step(ids, edit).await?;
                done = Done { seq: some.seq, points: done.points + some.points };
                ids = left;
            }
            if from.is_none() {
                break;
            }
        }
        if done.seq == 0 {
            // Nothing matched. It was an operation all the same.
            done.seq = self.commit(&[], |_, _, _| Ok(None)).await?.seq;
        }
        Ok(done)
    }

    /// As many of these as fit into one step; those that are left.
    async fn step(&self, ids: Vec<PointId>, edit: &Edit) -> Result<(Done, Vec<PointId>), Error> {
        let mut bytes = 0;
        let mut ids = ids;
        if !matches!(edit, Edit::Delete) {
            let rows = self.inner.truth.of(&self.scope).points(&self.collection, &ids).await?;
            let fits = rows.iter().position(|row| {
                bytes += row.as_ref().map_or(0, about);
                bytes > STEP_BYTES
            });
            let fits = fits.unwrap_or(ids.len()).max(1);
            let left = ids.split_off(fits);
            return Ok((self.step_of(&ids, edit).await?, left));
        }
        Ok((self.step_of(&ids, edit).await?, Vec::new()))
    }

    async fn step_of(&self, ids: &[PointId], edit: &Edit) -> Result<Done, Error> {
        let settings = &self.inner.settings;
        self.commit(ids, |reach, id, before| {
            // Removed since the index was asked, or not to be changed by this caller.
            let Some(before) = before.filter(|point| own(reach, point)) else { return Ok(None) };
            match edit.of(before, settings)? {
                Some(point) => within(reach, point).map(Some),
                None => Ok(Some(Row::Delete(id))),
            }
        })
        .await
    }

    /// Decides on every row and writes what is decided, as one. `decide` is asked anew if
    /// another write came first.
    async fn commit(
        &self,
        ids: &[PointId],
        decide: impl Fn(&Reach, PointId, Option<Point>) -> Result<Option<Row>, Error>,
    ) -> Result<Done, Error> {
        let (truth, most) = (self.inner.truth.of(&self.scope), self.inner.settings.answer_bytes);
        for _ in 0..TRIES {
            let Head { seq, .. } = truth.head(&self.collection).await?;
            let reach = Reach::of(&self.inner, &self.scope, &self.collection);
            let (mut rows, mut replaces, mut points, mut bytes) = (Vec::new(), false, 0, 0);
            for ids in ids.chunks(PAGE) {
                let before = truth.points(&self.collection, ids).await?;
                for (id, before) in ids.iter().zip(before) {
                    let there = before.is_some();
                    if let Some(row) = decide(&reach, *id, before)? {
                        replaces |= there;
                        points += u64::from(there || matches!(row, Row::Put(_)));
                        bytes += row_bytes(&row);
                        if bytes > most {
                            let (size, bound) = (bytes as u64, most as u64);
                            return Err(Error::TooLarge { what: "a write", size, bound });
                        }
                        rows.push(row);
                    }
                }
            }
            if replaces {
                // Before the rows: a process that ends in between has not lost it.
                self.inner.shards.to_forget(&self.scope, &self.collection).await;
            }
            if let Some(seq) = truth.commit(&self.collection, seq, rows).await? {
                return Ok(Done { seq, points });
            }
        }
        Err(Error::Store(store::Error::Busy))
    }

    /// Gives up the turn, and brings the index up to what was written. What fails here does not
    /// undo the write: the next who asks the index brings it up.
    pub(super) async fn finish(self) {
        let Self { inner, scope, collection, _turn: turn } = self;
        drop(turn);
        if let Err(error) = inner.shards.open(&inner.truth, &scope, &collection).await {
            tracing::warn!(code = error.code(), "an index could not be brought up to a write");
            return;
        }
        let rows = inner.truth.of(&scope);
        let due = match rows.head(&collection).await {
            Ok(head) if head.seq.is_multiple_of(TRIMMED_EVERY) => {
                inner.shards.trimmable(&scope, &collection).filter(|upto| *upto > head.trimmed)
            }
            _ => None,
        };
        if let Some(upto) = due
            && let Err(error) = rows.trim(&collection, upto).await
        {
            tracing::warn!(code = error.code(), "deletions could not be trimmed");
        }
    }

    fn check_batch(&self, points: usize) -> Result<(), Error> {
        let bound = self.inner.settings.batch;
        if points > bound {
            let (size, bound) = (points as u64, bound as u64);
            return Err(Error::TooLarge { what: "points of one request", size, bound });
        }
        Ok(())
    }
}

/// Whether the caller may change a point that is there: within reach, and its end user's own if
/// it has one.
fn own(reach: &Reach, point: &Point) -> bool {
    reach.holds(point) && reach.owner().is_none_or(|owner| point.subject == Some(owner))
}

/// A point that is to be changed.
fn there(reach: &Reach, id: PointId, before: Option<Point>) -> Result<Point, Error> {
    // What is out of reach is not there: one answer for both.
    let point = before.filter(|point| reach.holds(point)).ok_or(Error::NoPoint(id))?;
    if own(reach, &point) { Ok(point) } else { Err(Error::Unreachable(NOT_OWN)) }
}

/// A point as it is to be: no write leaves one that its writer could not reach.
fn within(reach: &Reach, point: Point) -> Result<Row, Error> {
    if reach.holds(&point) || planted::is("memory-write-unreached") {
        return Ok(Row::Put(point));
    }
    Err(Error::Unreachable(LEAVES))
}

fn row_bytes(row: &Row) -> usize {
    match row {
        Row::Put(point) => about(point),
        Row::Delete(_) => 0,
    }
}

/// About how many bytes a point's row has.
fn about(point: &Point) -> usize {
    let vectors = point.vectors.values().map(|vector| match vector {
        crate::Vector::Dense(values) => values.len() * 4,
        crate::Vector::Sparse { values, .. } => values.len() * 8,
        crate::Vector::Multi(rows) => rows.iter().map(|row| row.len() * 4).sum(),
    });
    crate::request::points::size(&point.payload) + vectors.sum::<usize>()
}
