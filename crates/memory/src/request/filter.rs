//! Filters in Qdrant's words. The tree is walked strictly, every field that it asks about is
//! looked at, and the engine's own types are made of its leaves.

use qdrant_edge::{
    Condition, FieldCondition, HasIdCondition, HasVectorCondition, IsEmptyCondition,
    IsNullCondition, JsonPath, MinShould, Nested, NestedCondition, RangeInterface,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{
    Bounds, paths, points,
    reading::{self, Count, Read, Reader, Step},
    vectors,
};
use crate::Error;

/// Most bytes of filters in a query. The engine gives what holds for a query to each of its
/// sub-queries, so one that is large is there as often as there are prefetches.
pub(super) const BYTES: usize = 4 << 20;

/// A filter: checked, and with every field that it asks about known.
#[derive(Clone, Debug)]
pub struct Filter {
    /// The engine's own.
    pub(crate) engine: qdrant_edge::Filter,
    /// How many conditions.
    pub(crate) conditions: usize,
    /// About how many bytes it takes.
    pub(crate) bytes: usize,
}

/// Whose words a filter is.
#[derive(Clone, Copy, PartialEq)]
enum Author {
    /// Not to ask about content, nor about what is this program's own.
    Caller,
    /// May ask about `_bulkhead`.
    Program,
}

impl Filter {
    /// A caller's, or a workflow's.
    ///
    /// # Errors
    /// What is wrong, by name; [`Error::Content`] for a content field.
    pub fn parse(filter: &Value, bounds: &Bounds) -> Result<Self, Error> {
        Self::walk(filter, &Reader::new(bounds))
    }

    /// This program's own, which may ask about `_bulkhead`.
    pub(crate) fn internal(filter: &Value, bounds: &Bounds) -> Result<Self, Error> {
        Self::by(Author::Program, filter, &Reader::new(bounds))
    }

    /// A part of a body, where the reader is.
    pub(super) fn walk(filter: &Value, reader: &Reader<'_>) -> Result<Self, Error> {
        Self::by(Author::Caller, filter, reader)
    }

    fn by(author: Author, filter: &Value, reader: &Reader<'_>) -> Result<Self, Error> {
        let bytes = points::weight(filter);
        if author == Author::Caller && bytes > BYTES {
            return Err(reading::too_large("bytes of a filter", bytes, BYTES));
        }
        let mut walk = Walk { reader, author, within: None, conditions: 0 };
        let engine = walk.filter(filter)?;
        Ok(Self { engine, conditions: walk.conditions, bytes })
    }

    /// Both, each as it is under a `must` of its own: their `should` and `min_should` do not run
    /// together, so neither lets more through than it does alone.
    #[must_use]
    pub(crate) fn and(self, other: Self) -> Self {
        let conditions = self.conditions + other.conditions;
        let bytes = self.bytes + other.bytes;
        if ids::planted::is("memory-filter-merged") {
            return Self { engine: self.engine.merge_owned(other.engine), conditions, bytes };
        }
        Self { engine: all([self.engine, other.engine]), conditions, bytes }
    }
}

/// A filter that lets through what all of these do.
pub(crate) fn all(filters: impl IntoIterator<Item = qdrant_edge::Filter>) -> qdrant_edge::Filter {
    let must = filters.into_iter().map(Condition::Filter).collect();
    qdrant_edge::Filter { must: Some(must), ..qdrant_edge::Filter::new() }
}

impl Read for Filter {
    fn read<'de, D: serde::Deserializer<'de>>(
        reader: &Reader<'_>,
        from: D,
    ) -> Result<Self, D::Error> {
        let value = Value::read(reader, from)?;
        Self::walk(&value, reader).map_err(|error| reader.fail(error))
    }
}

struct Walk<'r, 'b> {
    reader: &'r Reader<'b>,
    author: Author,
    /// The lists whose elements are asked about, from the top.
    within: Option<JsonPath>,
    conditions: usize,
}

/// The conditions on a field of which one has to be there.
const ON_A_FIELD: &[&str] = &[
    "match",
    "range",
    "geo_bounding_box",
    "geo_radius",
    "geo_polygon",
    "values_count",
    "is_empty",
    "is_null",
];

impl Walk<'_, '_> {
    fn filter(&mut self, value: &Value) -> Result<qdrant_edge::Filter, Error> {
        let reader = self.reader;
        let object = self.object(value, &["must", "should", "must_not", "min_should"])?;
        let depth = reader.enter()?;
        let filter = qdrant_edge::Filter {
            must: self.clause(object, "must")?,
            should: self.clause(object, "should")?,
            must_not: self.clause(object, "must_not")?,
            min_should: match present(object, "min_should") {
                Some(value) => Some(self.step("min_should", |walk| walk.min_should(value))?),
                None => None,
            },
        };
        reader.leave(depth);
        Ok(filter)
    }

    fn clause(
        &mut self,
        object: &Map<String, Value>,
        name: &'static str,
    ) -> Result<Option<Vec<Condition>>, Error> {
        let Some(value) = present(object, name) else {
            return Ok(None);
        };
        let conditions = self.step(name, |walk| walk.conditions(value, true))?;
        // No conditions are none: of an empty `should` the engine thinks otherwise within
        // `nested`.
        Ok(Some(conditions).filter(|conditions| !conditions.is_empty()))
    }

    fn conditions(&mut self, value: &Value, or_one: bool) -> Result<Vec<Condition>, Error> {
        match value {
            Value::Array(list) => {
                let each = list.iter().enumerate();
                each.map(|(at, one)| self.item(at, |walk| walk.condition(one))).collect()
            }
            Value::Object(_) if or_one => Ok(vec![self.condition(value)?]),
            _ => Err(self.reader.invalid("expected a list of conditions")),
        }
    }

    fn min_should(&mut self, value: &Value) -> Result<MinShould, Error> {
        let object = self.object(value, &["conditions", "min_count"])?;
        let conditions = present(object, "conditions").unwrap_or(&Value::Null);
        Ok(MinShould {
            conditions: self.step("conditions", |walk| walk.conditions(conditions, false))?,
            min_count: self.step("min_count", |walk| {
                let count = present(object, "min_count").and_then(Value::as_u64);
                let count = count.and_then(|count| usize::try_from(count).ok());
                count.ok_or_else(|| walk.reader.invalid("expected a number from 0 on"))
            })?,
        })
    }

    fn condition(&mut self, value: &Value) -> Result<Condition, Error> {
        self.reader.count(Count::Conditions, 1)?;
        self.conditions += 1;
        let Value::Object(object) = value else {
            return Err(self.reader.invalid("expected a condition"));
        };
        let has = |name: &str| object.contains_key(name);
        if has("key") {
            return self.on_a_field(value);
        }
        if has("has_id") {
            let ids = self.only(object, "has_id")?;
            return self.step("has_id", |walk| walk.has_id(ids));
        }
        if has("has_vector") {
            let Value::String(name) = self.only(object, "has_vector")? else {
                return Err(self.reader.invalid("`has_vector` is the name of a vector"));
            };
            return Ok(Condition::HasVector(HasVectorCondition { has_vector: name.clone() }));
        }
        if has("nested") {
            let nested = self.only(object, "nested")?;
            return self.step("nested", |walk| walk.nested(nested));
        }
        if has("is_empty") {
            let field = self.only(object, "is_empty")?;
            let key = self.step("is_empty", |walk| walk.payload_field(field))?;
            return Ok(Condition::IsEmpty(IsEmptyCondition::from(key)));
        }
        if has("is_null") {
            let field = self.only(object, "is_null")?;
            let key = self.step("is_null", |walk| walk.payload_field(field))?;
            return Ok(Condition::IsNull(IsNullCondition::from(key)));
        }
        if has("slice") {
            return self.step("slice", |walk| Err(walk.reader.unsupported()));
        }
        self.filter(value).map(Condition::Filter)
    }

    fn has_id(&self, ids: &Value) -> Result<Condition, Error> {
        let Value::Array(ids) = ids else {
            return Err(self.reader.invalid("expected a list of ids"));
        };
        let id = |(at, id): (usize, &Value)| {
            self.reader.at(Step::Item(at), || {
                let id =
                    vectors::point_id(id).ok_or_else(|| self.reader.invalid(vectors::NO_ID))?;
                Ok(super::plan::engine_id(id))
            })
        };
        let ids: Vec<_> = ids.iter().enumerate().map(id).collect::<Result<_, Error>>()?;
        Ok(Condition::HasId(HasIdCondition::from_iter(ids)))
    }

    fn nested(&mut self, value: &Value) -> Result<Condition, Error> {
        let object = self.object(value, &["key", "filter"])?;
        let key = self.key(object)?;
        let outer = self.within.take();
        self.within = Some(JsonPath::extend_or_new(outer.as_ref(), &key));
        let filter = present(object, "filter").unwrap_or(&Value::Null);
        let filter = self.step("filter", |walk| walk.filter(filter))?;
        self.within = outer;
        Ok(Condition::Nested(NestedCondition { nested: Nested { key, filter } }))
    }

    fn payload_field(&self, value: &Value) -> Result<JsonPath, Error> {
        let object = self.object(value, &["key"])?;
        self.key(object)
    }

    /// The field that is asked about, which may be asked about.
    fn key(&self, object: &Map<String, Value>) -> Result<JsonPath, Error> {
        let Some(Value::String(key)) = object.get("key") else {
            return Err(self.reader.invalid("`key` is the path of a field"));
        };
        let key = paths::parse(key)?;
        let whole = JsonPath::extend_or_new(self.within.as_ref(), &key);
        if self.author == Author::Caller {
            paths::reserved(&whole.first_key)?;
            paths::content(&whole, self.reader.bounds)?;
        }
        Ok(key)
    }

    fn on_a_field(&self, value: &Value) -> Result<Condition, Error> {
        let known: Vec<_> = [&["key"], ON_A_FIELD].concat();
        let object = self.object(value, &known)?;
        self.key(object)?;
        let asked: Vec<_> =
            ON_A_FIELD.iter().filter(|name| present(object, name).is_some()).collect();
        let (name, condition) = match asked[..] {
            [name] => (*name, present(object, name).unwrap_or(&Value::Null)),
            [] => {
                return Err(self.reader.invalid("at least one field condition must be specified"));
            }
            // Qdrant takes the one or the other, by whether there is an index of the field.
            [first, second, ..] => {
                let both = format!("`{first}` and `{second}` in one condition (write two)");
                return Err(Error::Unsupported(both));
            }
        };
        self.reader.at(Step::Field(name), || self.strict(name, condition))?;
        let condition: FieldCondition = self.reader.at(Step::Field(name), || self.engine(value))?;
        Ok(Condition::Field(condition))
    }

    /// What a condition on a field is made of.
    fn strict(&self, name: &str, value: &Value) -> Result<(), Error> {
        match name {
            "match" => self.matching(value),
            "range" => {
                let object = self.object(value, &["lt", "gt", "gte", "lte"])?;
                if object.values().all(Value::is_null) {
                    return Err(self.reader.invalid("expected at least one of lt, gt, gte, lte"));
                }
                self.engine::<RangeInterface>(value).map(|_| ())
            }
            "values_count" => self.object(value, &["lt", "gt", "gte", "lte"]).map(|_| ()),
            "geo_bounding_box" => {
                let corners = self.object(value, &["top_left", "bottom_right"])?;
                corners.values().try_for_each(|corner| self.geo_point(corner))
            }
            "geo_radius" => {
                let circle = self.object(value, &["center", "radius"])?;
                circle.get("center").map_or(Ok(()), |center| self.geo_point(center))?;
                match circle.get("radius").and_then(Value::as_f64) {
                    Some(radius) if radius >= 0.0 => Ok(()),
                    _ => Err(self.reader.invalid("`radius` is a number of meters from 0 on")),
                }
            }
            "geo_polygon" => {
                let polygon = self.object(value, &["exterior", "interiors"])?;
                polygon.get("exterior").map_or(Ok(()), |line| self.geo_line(line))?;
                match present(polygon, "interiors") {
                    Some(Value::Array(lines)) => lines.iter().try_for_each(|l| self.geo_line(l)),
                    Some(_) => Err(self.reader.invalid("`interiors` is a list of lines")),
                    None => Ok(()),
                }
            }
            _ if value.is_boolean() => Ok(()),
            _ => Err(self.reader.invalid("expected true or false")),
        }
    }

    fn matching(&self, value: &Value) -> Result<(), Error> {
        const SUPPORTED: [&str; 6] = ["value", "any", "except", "text", "text_any", "phrase"];
        let Value::Object(object) = value else {
            return Err(self.reader.invalid("expected an object"));
        };
        for refused in ["prefix", "substring"] {
            if object.contains_key(refused) {
                return self.reader.at(Step::Field(refused), || Err(self.reader.unsupported()));
            }
        }
        self.object(value, &SUPPORTED)?;
        match object.iter().next() {
            Some((name, one)) if object.len() == 1 => {
                let scalar = |v: &Value| v.is_string() || v.as_i64().is_some();
                let sound = match (name.as_str(), one) {
                    ("value", Value::Bool(_)) => true,
                    ("value", one) => scalar(one),
                    ("any" | "except", Value::Array(list)) => {
                        list.iter().all(Value::is_string)
                            || list.iter().all(|v| v.as_i64().is_some())
                    }
                    (_, one) => one.is_string(),
                };
                match sound {
                    true => Ok(()),
                    false => Err(self.reader.invalid("this cannot be matched with")),
                }
            }
            _ => Err(self
                .reader
                .invalid("expected exactly one of value, any, except, text, text_any, phrase")),
        }
    }

    fn geo_point(&self, value: &Value) -> Result<(), Error> {
        self.object(value, &["lon", "lat"]).map(|_| ())
    }

    fn geo_line(&self, value: &Value) -> Result<(), Error> {
        let line = self.object(value, &["points"])?;
        match line.get("points") {
            Some(Value::Array(points)) => {
                // Each is looked at for every point of the collection.
                self.reader.count(Count::Conditions, points.len())?;
                points.iter().try_for_each(|p| self.geo_point(p))
            }
            _ => Err(self.reader.invalid("`points` is a list of points")),
        }
    }

    /// As the engine understands it. What it says may hold what it was given.
    fn engine<T: DeserializeOwned>(&self, value: &Value) -> Result<T, Error> {
        T::deserialize(value.clone()).map_err(|_| self.reader.invalid("this is no such condition"))
    }

    /// An object of these fields.
    fn object<'v>(
        &self,
        value: &'v Value,
        known: &[&str],
    ) -> Result<&'v Map<String, Value>, Error> {
        let Value::Object(object) = value else {
            return Err(self.reader.invalid("expected an object"));
        };
        match object.keys().find(|key| !known.contains(&key.as_str())) {
            Some(unknown) => {
                let unknown = reading::name(unknown);
                Err(self.reader.invalid(&format!("unknown field {unknown}")))
            }
            None => Ok(object),
        }
    }

    /// The one field of an object that has no other.
    fn only<'v>(&self, object: &'v Map<String, Value>, field: &str) -> Result<&'v Value, Error> {
        match object.keys().find(|key| *key != field) {
            Some(unknown) => {
                let unknown = reading::name(unknown);
                Err(self.reader.invalid(&format!("unknown field {unknown} beside `{field}`")))
            }
            None => Ok(object.get(field).unwrap_or(&Value::Null)),
        }
    }

    fn step<T>(
        &mut self,
        field: &'static str,
        then: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let reader = self.reader;
        reader.at(Step::Field(field), || then(self))
    }

    fn item<T>(
        &mut self,
        at: usize,
        then: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let reader = self.reader;
        reader.at(Step::Item(at), || then(self))
    }
}

/// A field that is there and not null.
fn present<'v>(object: &'v Map<String, Value>, field: &str) -> Option<&'v Value> {
    object.get(field).filter(|value| !value.is_null())
}
