//! Any JSON: payloads, filters, options. serde_json's own trees take the last of two values that
//! stand under one key, and read an object of a certain name as what its text says.

use std::{borrow::Cow, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::reading::{Count, Read, Reader, too_large};

/// Deepest nesting of a value in a payload.
const DEEPEST: usize = 64;

/// Any JSON, with no key twice.
impl Read for Value {
    fn read<'de, D: Deserializer<'de>>(reader: &Reader<'_>, from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Tree { reader, depth: 0 })
    }
}

/// Any JSON object, with no key twice.
impl Read for Map<String, Value> {
    fn read<'de, D: Deserializer<'de>>(reader: &Reader<'_>, from: D) -> Result<Self, D::Error> {
        match from.deserialize_map(Tree { reader, depth: 0 })? {
            Value::Object(map) => Ok(map),
            _ => Err(D::Error::custom(", expected an object")),
        }
    }
}

struct Tree<'r, 'b> {
    reader: &'r Reader<'b>,
    depth: usize,
}

impl Tree<'_, '_> {
    fn below<E: serde::de::Error>(&self) -> Result<Tree<'_, '_>, E> {
        if self.depth >= DEEPEST {
            let error = too_large("nesting of values", self.depth + 1, DEEPEST);
            return Err(self.reader.fail(error));
        }
        Ok(Tree { reader: self.reader, depth: self.depth + 1 })
    }

    fn one<E: serde::de::Error>(&self, value: Value) -> Result<Value, E> {
        self.reader.counted(Count::Values)?;
        Ok(value)
    }
}

impl<'de> DeserializeSeed<'de> for Tree<'_, '_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_, '_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Value, E> {
        self.one(Value::Null)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Value, E> {
        self.one(Value::Bool(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        self.one(value.into())
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        self.one(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        match Number::from_f64(value) {
            Some(number) => self.one(Value::Number(number)),
            None => Err(E::custom(", expected a finite number")),
        }
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        self.one(value.into())
    }

    fn visit_string<E: serde::de::Error>(self, value: String) -> Result<Value, E> {
        self.one(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(value) = list.next_element_seed(self.below()?)? {
            all.push(value);
        }
        self.one(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some(key) = map.next_key::<Cow<'_, str>>()? {
            let value = map.next_value_seed(self.below()?)?;
            if all.insert(key.clone().into_owned(), value).is_some() {
                return Err(self.reader.twice(&key));
            }
        }
        self.one(Value::Object(all))
    }
}
