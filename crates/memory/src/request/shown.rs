//! In which order, and what of a point: where Qdrant takes one thing or another.

use std::fmt;

use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::{
    Order, ShowPayload, ShowVectors, paths, plan,
    reading::{Object, Read, Reader, object, too_large},
};

/// Most paths that choose of a payload.
const PATHS: usize = 100;

object! {
    /// By a payload field.
    OrderFields {
        "key" => key: String,
        "direction" => direction: Option<String>,
        "start_from" => start_from: Option<Value>,
    }
}

object! {
    /// What of a payload.
    Selected {
        "include" => include: Option<Vec<String>>,
        "exclude" => exclude: Option<Vec<String>>,
    }
}

/// An order: a field, or a field and more.
impl Read for Order {
    fn read<'de, D: Deserializer<'de>>(reader: &Reader<'_>, from: D) -> Result<Self, D::Error> {
        struct Any<'r, 'b>(&'r Reader<'b>);
        impl<'de> Visitor<'de> for Any<'_, '_> {
            type Value = Order;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a field or an object")
            }

            fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<Order, E> {
                Ok(Order { key: key.to_owned(), descending: false, start_from: None })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Order, A::Error> {
                let fields = OrderFields::fields(self.0, map)?;
                let descending = match fields.direction.as_deref() {
                    None | Some("asc") => false,
                    Some("desc") => true,
                    Some(_) => {
                        return Err(self.0.fail(self.0.invalid("`direction` is one of asc, desc")));
                    }
                };
                Ok(Order { key: fields.key, descending, start_from: fields.start_from })
            }
        }
        let order = from.deserialize_any(Any(reader))?;
        let checked = paths::asked(&order.key, reader.bounds).and_then(|_| plan::order(&order));
        checked.map_err(|error| reader.fail(error))?;
        Ok(order)
    }
}

impl Read for ShowVectors {
    fn read<'de, D: Deserializer<'de>>(reader: &Reader<'_>, from: D) -> Result<Self, D::Error> {
        struct Any<'r, 'b>(&'r Reader<'b>);
        impl<'de> Visitor<'de> for Any<'_, '_> {
            type Value = ShowVectors;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false or a list of names")
            }

            fn visit_bool<E: serde::de::Error>(self, all: bool) -> Result<ShowVectors, E> {
                Ok(ShowVectors::All(all))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<ShowVectors, A::Error> {
                let list = serde::de::value::SeqAccessDeserializer::new(list);
                let names = Vec::<String>::read(self.0, list)?;
                let (count, bound) = (names.len(), self.0.bounds.vectors);
                match count > bound {
                    true => Err(self.0.fail(too_large("names of vectors", count, bound))),
                    false => Ok(ShowVectors::Only(names)),
                }
            }
        }
        from.deserialize_any(Any(reader))
    }
}

impl Read for ShowPayload {
    fn read<'de, D: Deserializer<'de>>(reader: &Reader<'_>, from: D) -> Result<Self, D::Error> {
        struct Any<'r, 'b>(&'r Reader<'b>);
        impl<'de> Visitor<'de> for Any<'_, '_> {
            type Value = ShowPayload;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false, a list of fields, include or exclude")
            }

            fn visit_bool<E: serde::de::Error>(self, all: bool) -> Result<ShowPayload, E> {
                Ok(ShowPayload::All(all))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<ShowPayload, A::Error> {
                let list = serde::de::value::SeqAccessDeserializer::new(list);
                let include = Vec::read(self.0, list)?;
                Ok(ShowPayload::Only(include))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ShowPayload, A::Error> {
                let selected = Selected::fields(self.0, map)?;
                match (selected.include, selected.exclude) {
                    (Some(include), None) => Ok(ShowPayload::Only(include)),
                    (None, Some(exclude)) => Ok(ShowPayload::Without(exclude)),
                    _ => Err(self.0.fail(self.0.invalid("expected either include or exclude"))),
                }
            }
        }
        let show = from.deserialize_any(Any(reader))?;
        if let ShowPayload::Only(paths) | ShowPayload::Without(paths) = &show {
            if paths.len() > PATHS {
                return Err(reader.fail(too_large("fields to be shown", paths.len(), PATHS)));
            }
            let sound = paths.iter().try_for_each(|path| paths::own(path).map(|_| ()));
            sound.map_err(|error| reader.fail(error))?;
        }
        Ok(show)
    }
}
