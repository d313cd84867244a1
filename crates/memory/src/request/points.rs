//! What is written, in Qdrant's words.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    Bounds, Filter, Given, NewPoint, Operation, Selector, paths,
    reading::{Count, Object, Read, Reader, Refused, Step, object, too_large},
    vectors::{Chosen, Columns, Named},
};
use crate::{Error, Payload, PointId};

/// Most operations of one batch: each is a write of its own, which nobody can stop.
const OPERATIONS: usize = 1_000;

object! {
    /// A point.
    Row {
        "id" => id: Chosen,
        "vector" => vector: Option<Named>,
        "payload" => payload: Option<Fields>,
    }
}

object! {
    /// Points, column by column.
    Batch {
        "ids" => ids: Vec<Chosen>,
        "vectors" => vectors: Columns,
        "payloads" => payloads: Option<Vec<Option<Fields>>>,
    }
}

object! {
    /// Points in one of the two forms.
    Upsert {
        "points" => points: Option<Vec<Row>>,
        "batch" => batch: Option<Batch>,
        "shard_key" => _shard_key: Refused,
        "update_filter" => _update_filter: Refused,
        "update_mode" => _update_mode: Refused,
    }
}

object! {
    /// Which points.
    Which {
        "points" => points: Option<Vec<Chosen>>,
        "filter" => filter: Option<Filter>,
        "shard_key" => _shard_key: Refused,
    }
}

object! {
    /// Fields to be put into payloads.
    SetPayload {
        "payload" => payload: Fields,
        "points" => points: Option<Vec<Chosen>>,
        "filter" => filter: Option<Filter>,
        "key" => key: Option<String>,
        "shard_key" => _shard_key: Refused,
    }
}

object! {
    /// Fields to be removed from payloads.
    DeletePayload {
        "keys" => keys: Vec<String>,
        "points" => points: Option<Vec<Chosen>>,
        "filter" => filter: Option<Filter>,
        "shard_key" => _shard_key: Refused,
    }
}

object! {
    /// A point's vectors.
    RowVectors {
        "id" => id: Chosen,
        "vector" => vector: Named,
    }
}

object! {
    /// Vectors to be put in place of others.
    UpdateVectors {
        "points" => points: Vec<RowVectors>,
        "shard_key" => _shard_key: Refused,
        "update_filter" => _update_filter: Refused,
    }
}

object! {
    /// Vectors to be removed.
    DeleteVectors {
        "vector" => vector: Vec<String>,
        "points" => points: Option<Vec<Chosen>>,
        "filter" => filter: Option<Filter>,
        "shard_key" => _shard_key: Refused,
    }
}

object! {
    /// One of a batch.
    Each {
        "upsert" => upsert: Option<Upsert>,
        "delete" => delete: Option<Which>,
        "set_payload" => set_payload: Option<SetPayload>,
        "overwrite_payload" => overwrite_payload: Option<SetPayload>,
        "delete_payload" => delete_payload: Option<DeletePayload>,
        "clear_payload" => clear_payload: Option<Which>,
        "update_vectors" => update_vectors: Option<UpdateVectors>,
        "delete_vectors" => delete_vectors: Option<DeleteVectors>,
    }
}

object! {
    /// One after the other.
    Operations {
        "operations" => operations: Vec<Each>,
    }
}

/// A payload, or a part of one.
pub(super) struct Fields(Payload);

impl Read for Fields {
    fn read<'de, D: serde::Deserializer<'de>>(
        reader: &Reader<'_>,
        from: D,
    ) -> Result<Self, D::Error> {
        let fields = Map::read(reader, from)?;
        let (size, bound) = (size(&fields), reader.bounds.payload_bytes);
        if size > bound {
            return Err(reader.fail(too_large("bytes of a payload", size, bound)));
        }
        match fields.keys().try_for_each(|key| paths::reserved(key)) {
            Ok(()) => Ok(Self(fields)),
            Err(error) => Err(reader.fail(error)),
        }
    }
}

/// What every value of a payload counts, besides the bytes of its texts: it takes more than that
/// in memory, however short it is as JSON.
const VALUE: usize = 16;

/// About how many bytes an object takes.
pub(crate) fn size(fields: &Payload) -> usize {
    VALUE + fields.iter().map(|(key, value)| key.len() + weight(value)).sum::<usize>()
}

/// About how many bytes a value takes.
pub(crate) fn weight(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => VALUE,
        Value::String(text) => VALUE + text.len(),
        Value::Array(list) => VALUE + list.iter().map(weight).sum::<usize>(),
        Value::Object(fields) => size(fields),
    }
}

fn new_point(id: PointId, vectors: BTreeMap<String, Given>, fields: Option<Fields>) -> NewPoint {
    NewPoint { id, vectors, payload: fields.map(|Fields(payload)| payload).unwrap_or_default() }
}

/// Which points: named or chosen.
fn selector(
    reader: &Reader<'_>,
    points: Option<Vec<Chosen>>,
    filter: Option<Filter>,
) -> Result<Selector, Error> {
    match (points, filter) {
        (Some(points), None) => {
            Ok(Selector::Ids(points.into_iter().map(|Chosen(id)| id).collect()))
        }
        (None, Some(filter)) => {
            // Each goes through the whole collection.
            reader.count(Count::Queries, 1)?;
            Ok(Selector::Filter(filter))
        }
        _ => Err(reader.invalid("expected either `points` or `filter`")),
    }
}

/// Read from a body, and turned into what is to be done.
trait Operates: Object {
    fn operation(self, reader: &Reader<'_>) -> Result<Operation, Error>;
}

impl Operates for Upsert {
    fn operation(self, reader: &Reader<'_>) -> Result<Operation, Error> {
        let points = match (self.points, self.batch) {
            (Some(rows), None) => rows
                .into_iter()
                .map(|row| {
                    let vectors = row.vector.map(|Named(named)| named).unwrap_or_default();
                    new_point(row.id.0, vectors, row.payload)
                })
                .collect(),
            (None, Some(batch)) => reader.at(Step::Field("batch"), || rows(reader, batch))?,
            _ => return Err(reader.invalid("expected either `points` or `batch`")),
        };
        Ok(Operation::Upsert(points))
    }
}

/// Columns as rows.
fn rows(reader: &Reader<'_>, batch: Batch) -> Result<Vec<NewPoint>, Error> {
    let count = batch.ids.len();
    let same = |what: &str, length: usize| match length == count {
        true => Ok(()),
        false => Err(reader.invalid(&format!("there are {count} `ids` and {length} {what}"))),
    };
    let columns = match batch.vectors {
        Columns::Unnamed(column) => BTreeMap::from([(String::new(), column)]),
        Columns::Named(columns) => columns,
    };
    let mut vectors = vec![BTreeMap::new(); count];
    for (name, column) in columns {
        same("`vectors`", column.len())?;
        for (row, vector) in vectors.iter_mut().zip(column) {
            row.insert(name.clone(), vector);
        }
    }
    let payloads = match batch.payloads {
        Some(payloads) => {
            same("`payloads`", payloads.len())?;
            payloads
        }
        None => batch.ids.iter().map(|_| None).collect(),
    };
    let rows = batch.ids.into_iter().zip(vectors).zip(payloads);
    Ok(rows.map(|((Chosen(id), vectors), fields)| new_point(id, vectors, fields)).collect())
}

impl Operates for Which {
    fn operation(self, reader: &Reader<'_>) -> Result<Operation, Error> {
        selector(reader, self.points, self.filter).map(Operation::Delete)
    }
}

/// To be cleared of their payloads.
struct Clear(Which);

impl Read for Clear {
    fn read<'de, D: serde::Deserializer<'de>>(
        reader: &Reader<'_>,
        from: D,
    ) -> Result<Self, D::Error> {
        Which::read(reader, from).map(Self)
    }
}

impl Clear {
    fn operation(self, reader: &Reader<'_>) -> Result<Operation, Error> {
        selector(reader, self.0.points, self.0.filter).map(Operation::ClearPayload)
    }
}

impl SetPayload {
    fn parts(self, reader: &Reader<'_>) -> Result<(Payload, Selector, Option<String>), Error> {
        if let Some(key) = &self.key {
            reader.at(Step::Field("key"), || paths::own(key))?;
        }
        let points = selector(reader, self.points, self.filter)?;
        Ok((self.payload.0, points, self.key))
    }

    fn set(self, reader: &Reader<'_>) -> Result<Operation, Error> {
        let (payload, points, key) = self.parts(reader)?;
        Ok(Operation::SetPayload { payload, points, key })
    }

    fn overwrite(self, reader: &Reader<'_>) -> Result<Operation, Error> {
        let (payload, points, key) = self.parts(reader)?;
        Ok(Operation::OverwritePayload { payload, points, key })
    }
}

impl Operates for DeletePayload {
    fn operation(self, reader: &Reader<'_>) -> Result<Operation, Error> {
        for key in &self.keys {
            reader.count(Count::Values, 1)?;
            paths::own(key)?;
        }
        let points = selector(reader, self.points, self.filter)?;
        Ok(Operation::DeletePayload { keys: self.keys, points })
    }
}

impl Operates for UpdateVectors {
    fn operation(self, _: &Reader<'_>) -> Result<Operation, Error> {
        let rows = self.points.into_iter();
        Ok(Operation::UpdateVectors(rows.map(|row| (row.id.0, row.vector.0)).collect()))
    }
}

impl Operates for DeleteVectors {
    fn operation(self, reader: &Reader<'_>) -> Result<Operation, Error> {
        let (count, bound) = (self.vector.len(), reader.bounds.vectors);
        if count > bound {
            return Err(too_large("names of vectors", count, bound));
        }
        if count == 0 {
            return Err(reader.invalid("`vector` names no vector"));
        }
        let points = selector(reader, self.points, self.filter)?;
        Ok(Operation::DeleteVectors { names: self.vector, points })
    }
}

fn parse<T: Operates>(body: &[u8], bounds: &Bounds) -> Result<Operation, Error> {
    let reader = Reader::new(bounds);
    reader.body::<T>(body)?.operation(&reader)
}

/// Points, in the form of `points` or of `batch`.
///
/// # Errors
/// What is wrong, by name.
pub fn parse_upsert(body: &[u8], bounds: &Bounds) -> Result<Operation, Error> {
    parse::<Upsert>(body, bounds)
}

/// Points to be removed.
///
/// # Errors
/// What is wrong, by name.
pub fn parse_delete(body: &[u8], bounds: &Bounds) -> Result<Operation, Error> {
    parse::<Which>(body, bounds)
}

/// Fields to be merged into payloads, of `POST …/points/payload`.
///
/// # Errors
/// What is wrong, by name.
pub fn parse_set_payload(body: &[u8], bounds: &Bounds) -> Result<Operation, Error> {
    let reader = Reader::new(bounds);
    reader.body::<SetPayload>(body)?.set(&reader)
}

/// Payloads to be put in place of others, of `PUT …/points/payload`.
///
/// # Errors
/// What is wrong, by name.
pub fn parse_overwrite_payload(body: &[u8], bounds: &Bounds) -> Result<Operation, Error> {
    let reader = Reader::new(bounds);
    reader.body::<SetPayload>(body)?.overwrite(&reader)
}

/// Fields to be removed.
///
/// # Errors
/// What is wrong, by name.
pub fn parse_delete_payload(body: &[u8], bounds: &Bounds) -> Result<Operation, Error> {
    parse::<DeletePayload>(body, bounds)
}

/// Points whose payload is to be removed.
///
/// # Errors
/// What is wrong, by name.
pub fn parse_clear(body: &[u8], bounds: &Bounds) -> Result<Operation, Error> {
    let reader = Reader::new(bounds);
    reader.body::<Clear>(body)?.operation(&reader)
}

/// Vectors to be put in place of others.
///
/// # Errors
/// What is wrong, by name.
pub fn parse_update_vectors(body: &[u8], bounds: &Bounds) -> Result<Operation, Error> {
    parse::<UpdateVectors>(body, bounds)
}

/// Vectors to be removed.
///
/// # Errors
/// What is wrong, by name.
pub fn parse_delete_vectors(body: &[u8], bounds: &Bounds) -> Result<Operation, Error> {
    parse::<DeleteVectors>(body, bounds)
}

/// Operations, one after the other.
///
/// # Errors
/// What is wrong, by name.
pub fn parse_batch(body: &[u8], bounds: &Bounds) -> Result<Vec<Operation>, Error> {
    let reader = &Reader::new(bounds);
    let Operations { operations } = reader.body(body)?;
    if operations.len() > OPERATIONS {
        return Err(too_large("operations of a batch", operations.len(), OPERATIONS));
    }
    let each = operations.into_iter().enumerate();
    let one = |(at, each): (usize, Each)| reader.at(Step::Item(at), || operation(each, reader));
    reader.at(Step::Field("operations"), || each.map(one).collect())
}

/// The one that there is.
fn operation(each: Each, reader: &Reader<'_>) -> Result<Operation, Error> {
    let all = [
        each.upsert.map(|it| it.operation(reader)),
        each.delete.map(|it| it.operation(reader)),
        each.set_payload.map(|it| it.set(reader)),
        each.overwrite_payload.map(|it| it.overwrite(reader)),
        each.delete_payload.map(|it| it.operation(reader)),
        each.clear_payload.map(|it| Clear(it).operation(reader)),
        each.update_vectors.map(|it| it.operation(reader)),
        each.delete_vectors.map(|it| it.operation(reader)),
    ];
    let mut there = all.into_iter().flatten();
    match (there.next(), there.next()) {
        (Some(one), None) => one,
        _ => Err(reader.invalid("expected one operation")),
    }
}
