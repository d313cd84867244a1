//! Ids and vectors, in all the forms in which Qdrant takes them. Numbers are read straight to
//! where they stay.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::{
    Example, Given,
    reading::{Count, Object, Read, Reader, Refused, Seed, Step, name, object, too_large},
};
use crate::{Document, Error, PointId, Vector};

/// What is said of what is no id, without repeating it.
pub(super) const NO_ID: &str = "a point's id is a number from 0 to 18446744073709551615, or a UUID";

/// Most numbers of a multi-vector, as Qdrant has it.
const MULTI: usize = 1 << 20;

/// Most rows of a multi-vector: each of a query's is compared with each of every point's.
const ROWS: usize = 4_096;

/// A UUID with hyphens, as 32 digits, or as a URN.
pub(super) fn uuid(text: &str) -> Option<PointId> {
    let uuid = qdrant_edge::external::uuid::Uuid::parse_str(text).ok()?;
    Some(PointId::Uuid(uuid.into_bytes()))
}

/// An id that was read as JSON already.
pub(super) fn point_id(value: &Value) -> Option<PointId> {
    match value {
        Value::Number(number) => number.as_u64().map(PointId::Num),
        Value::String(text) => uuid(text),
        _ => None,
    }
}

impl Read for PointId {
    fn read<'de, D: Deserializer<'de>>(_: &Reader<'_>, from: D) -> Result<Self, D::Error> {
        struct Id;
        impl Visitor<'_> for Id {
            type Value = PointId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "something else: {NO_ID}")
            }

            fn visit_u64<E: serde::de::Error>(self, id: u64) -> Result<PointId, E> {
                Ok(PointId::Num(id))
            }

            fn visit_str<E: serde::de::Error>(self, id: &str) -> Result<PointId, E> {
                uuid(id)
                    .ok_or_else(|| E::custom(format_args!(", expected something else: {NO_ID}")))
            }
        }
        from.deserialize_any(Id)
    }
}

/// The id of a point that is written or chosen, counted as such.
pub(super) struct Chosen(pub(super) PointId);

impl Read for Chosen {
    fn read<'de, D: Deserializer<'de>>(reader: &Reader<'_>, from: D) -> Result<Self, D::Error> {
        reader.counted(Count::Points)?;
        PointId::read(reader, from).map(Self)
    }
}

object! {
    /// A sparse vector, or a text to be embedded.
    Spelled {
        "indices" => indices: Option<Vec<u32>>,
        "values" => values: Option<Vec<f32>>,
        "text" => text: Option<String>,
        "model" => model: Option<String>,
        "options" => options: Option<Map<String, Value>>,
        "image" => _image: Refused,
        "object" => _object: Refused,
    }
}

impl Spelled {
    /// What it is; `None` if there is nothing of either.
    pub(super) fn given(self, reader: &Reader<'_>) -> Result<Option<Given>, Error> {
        let vector = (self.indices, self.values);
        let document = (self.text, self.model);
        match (vector, document) {
            ((Some(indices), Some(values)), (None, None)) if self.options.is_none() => {
                sparse(reader, indices, values).map(|vector| Some(Given::Vector(vector)))
            }
            ((None, None), (Some(text), Some(model))) => {
                let options = self.options.unwrap_or_default();
                Ok(Some(Given::Document(Document { text, model, options })))
            }
            ((None, None), (None, None)) if self.options.is_none() => Ok(None),
            _ => {
                Err(reader.invalid("expected either `indices` and `values`, or `text` and `model`"))
            }
        }
    }
}

/// A sparse vector, its dimensions ascending.
fn sparse(reader: &Reader<'_>, indices: Vec<u32>, values: Vec<f32>) -> Result<Vector, Error> {
    if indices.len() != values.len() {
        return Err(reader.invalid("`indices` and `values` must be of one length"));
    }
    if indices.is_sorted_by(|a, b| a < b) {
        return Ok(Vector::Sparse { indices, values });
    }
    let mut pairs: Vec<_> = indices.into_iter().zip(values).collect();
    pairs.sort_by_key(|(index, _)| *index);
    if pairs.windows(2).any(|two| matches!(two, [a, b] if a.0 == b.0)) {
        return Err(reader.invalid("`indices` must be unique"));
    }
    let (indices, values) = pairs.into_iter().unzip();
    Ok(Vector::Sparse { indices, values })
}

/// The first of a list: what kind of list it is.
enum First {
    Number(f32),
    Row(Vec<f32>),
}

impl Read for First {
    fn read<'de, D: Deserializer<'de>>(reader: &Reader<'_>, from: D) -> Result<Self, D::Error> {
        struct Either<'r, 'b>(&'r Reader<'b>);
        impl<'de> Visitor<'de> for Either<'_, '_> {
            type Value = First;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or a list of numbers")
            }

            fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<First, E> {
                f32::read(self.0, serde::de::value::F64Deserializer::new(value)).map(First::Number)
            }

            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<First, E> {
                f32::read(self.0, serde::de::value::U64Deserializer::new(value)).map(First::Number)
            }

            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<First, E> {
                f32::read(self.0, serde::de::value::I64Deserializer::new(value)).map(First::Number)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<First, A::Error> {
                numbers(self.0, None, list).map(First::Row)
            }
        }
        from.deserialize_any(Either(reader))
    }
}

/// The numbers of a dense vector.
struct Dense(Vec<f32>);

impl Read for Dense {
    fn read<'de, D: Deserializer<'de>>(reader: &Reader<'_>, from: D) -> Result<Self, D::Error> {
        struct List<'r, 'b>(&'r Reader<'b>);
        impl<'de> Visitor<'de> for List<'_, '_> {
            type Value = Vec<f32>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of numbers")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Vec<f32>, A::Error> {
                numbers(self.0, None, list)
            }
        }
        from.deserialize_seq(List(reader)).map(Self)
    }
}

/// The rest of a dense vector.
fn numbers<'de, A: SeqAccess<'de>>(
    reader: &Reader<'_>,
    first: Option<f32>,
    mut list: A,
) -> Result<Vec<f32>, A::Error> {
    let bound = reader.bounds.dimensions;
    let mut all: Vec<f32> = first.into_iter().collect();
    while let Some(number) = list.next_element_seed(Seed::new(reader))? {
        all.push(number);
        if all.len() > bound {
            return Err(reader.fail(too_large("dimensions of a vector", all.len(), bound)));
        }
    }
    if all.is_empty() {
        return Err(reader.fail(reader.invalid("a vector without dimensions")));
    }
    all.shrink_to_fit();
    Ok(all)
}

/// A dense vector or a multi-vector.
fn listed<'de, A: SeqAccess<'de>>(reader: &Reader<'_>, mut list: A) -> Result<Vector, A::Error> {
    let row = match list.next_element_seed(Seed::new(reader))? {
        Some(First::Number(first)) => return numbers(reader, Some(first), list).map(Vector::Dense),
        Some(First::Row(row)) => row,
        None => return Err(reader.fail(reader.invalid("a vector without dimensions"))),
    };
    let (size, mut rows) = (row.len(), vec![row]);
    while let Some(Dense(row)) = list.next_element_seed(Seed::new(reader))? {
        reader.counted(Count::Values)?;
        if row.len() != size {
            return Err(reader.fail(reader.invalid("rows of different sizes")));
        }
        rows.push(row);
        if rows.len() > ROWS {
            return Err(reader.fail(too_large("rows of a multi-vector", rows.len(), ROWS)));
        }
        if rows.len() * size > MULTI {
            let error = too_large("numbers of a multi-vector", rows.len() * size, MULTI);
            return Err(reader.fail(error));
        }
    }
    Ok(Vector::Multi(rows))
}

/// A vector where its name is known: a list, lists, a sparse one, or a text.
impl Read for Given {
    fn read<'de, D: Deserializer<'de>>(reader: &Reader<'_>, from: D) -> Result<Self, D::Error> {
        match from.deserialize_any(AnyVector { reader, ids: false })? {
            Example::Given(given) => Ok(given),
            Example::Id(_) => Err(reader.fail(reader.invalid("expected a vector"))),
        }
    }
}

/// A vector to compare with: as [`Given`], or the id of a point.
impl Read for Example {
    fn read<'de, D: Deserializer<'de>>(reader: &Reader<'_>, from: D) -> Result<Self, D::Error> {
        reader.counted(Count::Examples)?;
        from.deserialize_any(AnyVector { reader, ids: true })
    }
}

struct AnyVector<'r, 'b> {
    reader: &'r Reader<'b>,
    ids: bool,
}

impl<'de> Visitor<'de> for AnyVector<'_, '_> {
    type Value = Example;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.ids {
            "a vector, a document or a point's id"
        } else {
            "a vector or a document"
        })
    }

    fn visit_u64<E: serde::de::Error>(self, id: u64) -> Result<Example, E> {
        match self.ids {
            true => Ok(Example::Id(PointId::Num(id))),
            false => Err(E::custom(", expected a vector or a document")),
        }
    }

    fn visit_str<E: serde::de::Error>(self, id: &str) -> Result<Example, E> {
        match uuid(id) {
            Some(id) if self.ids => Ok(Example::Id(id)),
            _ if self.ids => Err(self.reader.fail(self.reader.invalid(NO_ID))),
            _ => Err(E::custom(", expected a vector or a document")),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Example, A::Error> {
        listed(self.reader, list).map(|vector| Example::Given(Given::Vector(vector)))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Example, A::Error> {
        let reader = self.reader;
        let given = Spelled::fields(reader, map)?.given(reader);
        match given.map_err(|error| reader.fail(error))? {
            Some(given) => Ok(Example::Given(given)),
            None => Err(reader.fail(reader.invalid("expected a vector or a document"))),
        }
    }
}

/// The vectors of a point: one without a name, or a map of names.
#[derive(Default)]
pub(super) struct Named(pub(super) BTreeMap<String, Given>);

impl Read for Named {
    fn read<'de, D: Deserializer<'de>>(reader: &Reader<'_>, from: D) -> Result<Self, D::Error> {
        from.deserialize_any(OneOrNamed(reader)).map(Self)
    }
}

struct OneOrNamed<'r, 'b>(&'r Reader<'b>);

/// What may be a vector by this name, or a part of a text to be embedded: only the whole tells.
enum Loose {
    Text(String),
    Vector(Vector),
    Object(Map<String, Value>),
}

impl Read for Loose {
    fn read<'de, D: Deserializer<'de>>(reader: &Reader<'_>, from: D) -> Result<Self, D::Error> {
        struct Any<'r, 'b>(&'r Reader<'b>);
        impl<'de> Visitor<'de> for Any<'_, '_> {
            type Value = Loose;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a vector or a document")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Loose, E> {
                Ok(Loose::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Loose, A::Error> {
                listed(self.0, list).map(Loose::Vector)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Loose, A::Error> {
                let object = serde::de::value::MapAccessDeserializer::new(map);
                Map::read(self.0, object).map(Loose::Object)
            }
        }
        from.deserialize_any(Any(reader))
    }
}

/// Fields of what is to be embedded, which may be names of vectors as well.
const INFERENCE: [&str; 5] = ["text", "model", "options", "image", "object"];

impl<'de> Visitor<'de> for OneOrNamed<'_, '_> {
    type Value = BTreeMap<String, Given>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a vector, a document, or vectors by name")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        let vector = listed(self.0, list)?;
        Ok(BTreeMap::from([(String::new(), Given::Vector(vector))]))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let reader = self.0;
        let mut named = BTreeMap::new();
        let mut loose: BTreeMap<&'static str, Loose> = BTreeMap::new();
        while let Some(key) = map.next_key::<Cow<'_, str>>()? {
            let again = match INFERENCE.iter().find(|known| **known == key) {
                Some(known) => {
                    let value = reader.field(Step::Field(known), &mut map)?;
                    loose.insert(known, value).is_some()
                }
                None => {
                    let value = reader.field(Step::Named, &mut map)?;
                    named.insert(key.clone().into_owned(), value).is_some()
                }
            };
            if again {
                return Err(reader.twice(&key));
            }
            let (count, bound) = (named.len() + loose.len(), reader.bounds.vectors);
            if count > bound.max(INFERENCE.len()) {
                return Err(reader.fail(too_large("vectors of a point", count, bound)));
            }
        }
        if let Some(Loose::Text(_)) = loose.get("model") {
            let document = document(reader, &named, loose).map_err(|error| reader.fail(error))?;
            return Ok(BTreeMap::from([(String::new(), Given::Document(document))]));
        }
        for (name, value) in loose {
            let value = reader.at(Step::Field(name), || match value {
                Loose::Vector(vector) => Ok(Given::Vector(vector)),
                Loose::Object(object) => reader.again(Value::Object(object)),
                Loose::Text(_) => Err(reader.fail(reader.invalid("a vector, or a `model` too"))),
            })?;
            named.insert(name.to_owned(), value);
        }
        Ok(named)
    }
}

/// A text to be embedded.
fn document(
    reader: &Reader<'_>,
    named: &BTreeMap<String, Given>,
    mut loose: BTreeMap<&'static str, Loose>,
) -> Result<Document, Error> {
    for refused in ["image", "object"] {
        if loose.contains_key(refused) {
            return reader.at(Step::Field(refused), || Err(reader.unsupported()));
        }
    }
    if let Some(unknown) = named.keys().next() {
        return Err(reader.invalid(&format!("unknown field {}", name(unknown))));
    }
    match (loose.remove("text"), loose.remove("model"), loose.remove("options")) {
        (Some(Loose::Text(text)), Some(Loose::Text(model)), None) => {
            Ok(Document { text, model, options: Map::new() })
        }
        (Some(Loose::Text(text)), Some(Loose::Text(model)), Some(Loose::Object(options))) => {
            Ok(Document { text, model, options })
        }
        _ => Err(reader.invalid("a document is a `text`, a `model`, and perhaps `options`")),
    }
}

/// The vectors of a batch: those without a name in the order of the points, or such lists by
/// name.
pub(super) enum Columns {
    Unnamed(Vec<Given>),
    Named(BTreeMap<String, Vec<Given>>),
}

impl Read for Columns {
    fn read<'de, D: Deserializer<'de>>(reader: &Reader<'_>, from: D) -> Result<Self, D::Error> {
        struct Either<'r, 'b>(&'r Reader<'b>);
        impl<'de> Visitor<'de> for Either<'_, '_> {
            type Value = Columns;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of vectors, or such lists by name")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Columns, A::Error> {
                let mut all = Vec::new();
                while let Some(one) = self.0.item(all.len(), &mut list)? {
                    self.0.element::<Given, _>()?;
                    all.push(one);
                }
                Ok(Columns::Unnamed(all))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Columns, A::Error> {
                let (reader, mut all) = (self.0, BTreeMap::new());
                while let Some(key) = map.next_key::<String>()? {
                    let column = reader.field(Step::Named, &mut map)?;
                    if all.insert(key.clone(), column).is_some() {
                        return Err(reader.twice(&key));
                    }
                    if all.len() > reader.bounds.vectors {
                        let error =
                            too_large("vectors of a point", all.len(), reader.bounds.vectors);
                        return Err(reader.fail(error));
                    }
                }
                Ok(Columns::Named(all))
            }
        }
        from.deserialize_any(Either(reader))
    }
}
