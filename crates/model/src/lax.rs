//! JSON of a provider, read for a few fields: what has another shape than expected counts as
//! absent, and everything else is skipped without being held.
//!
//! A key that is read and named twice is an error, as for every derived reader: two readers
//! would read two things.

use std::{borrow::Cow, collections::BTreeSet, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};

use crate::Made;

/// Handles in one answer at most. One more, and the answer makes no sense.
pub(crate) const MOST_MADE: usize = 512;

/// What a visitor makes of the kinds of values that it has no use for.
macro_rules! absent {
    ($($kind:ident)*) => { $(absent!(@$kind);)* };
    (@bool) => { fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> { Ok(Self::Value::default()) } };
    (@signed) => { fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> { Ok(Self::Value::default()) } };
    (@unsigned) => { fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> { Ok(Self::Value::default()) } };
    (@float) => { fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> { Ok(Self::Value::default()) } };
    (@text) => { fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> { Ok(Self::Value::default()) } };
    (@null) => { fn visit_unit<E>(self) -> Result<Self::Value, E> { Ok(Self::Value::default()) } };
    (@list) => {
        fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
            IgnoredAny.visit_seq(list).map(|_| Self::Value::default())
        }
    };
    (@object) => {
        fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Self::Value, A::Error> {
            IgnoredAny.visit_map(object).map(|_| Self::Value::default())
        }
    };
}

/// Text.
#[derive(Default)]
pub(crate) struct Text<'a>(Option<Cow<'a, str>>);

impl Text<'_> {
    pub(crate) fn get(&self) -> Option<&str> {
        self.0.as_deref()
    }

    pub(crate) fn is(&self, other: &str) -> bool {
        self.get() == Some(other)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reads;
        impl<'de> Visitor<'de> for Reads {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Some(Cow::Borrowed(text))))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Some(Cow::Owned(text.to_owned()))))
            }
            absent!(bool signed unsigned float null list object);
        }
        from.deserialize_any(Reads)
    }
}

/// A count: whole, not negative, and not absurd.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count(pub(crate) Option<u64>);

/// No answer takes more tokens.
const ABSURD: u64 = 1_000_000_000_000;

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reads;
        impl<'de> Visitor<'de> for Reads {
            type Value = Count;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }
            fn visit_u64<E>(self, count: u64) -> Result<Self::Value, E> {
                Ok(Count((count <= ABSURD).then_some(count)))
            }
            absent!(bool signed float text null list object);
        }
        from.deserialize_any(Reads)
    }
}

/// An object.
pub(crate) struct Object<T>(pub(crate) Option<T>);

impl<T> Default for Object<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reads<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Reads<T> {
            type Value = Object<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }
            fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(object)).map(|it| Object(Some(it)))
            }
            absent!(bool signed unsigned float text null list);
        }
        from.deserialize_any(Reads(PhantomData))
    }
}

/// An id: text, or an object that has one.
#[derive(Default)]
pub(crate) struct Id(pub(crate) Option<String>);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Named<'a> {
            #[serde(borrow, default)]
            id: Text<'a>,
        }
        struct Reads;
        impl<'de> Visitor<'de> for Reads {
            type Value = Id;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }
            fn visit_str<E>(self, id: &str) -> Result<Self::Value, E> {
                Ok(Id((!id.is_empty()).then(|| id.to_owned())))
            }
            fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Self::Value, A::Error> {
                let named = Named::deserialize(MapAccessDeserializer::new(object))?;
                let id = named.id.get().filter(|id| !id.is_empty());
                Ok(Id(id.map(ToOwned::to_owned)))
            }
            absent!(bool signed unsigned float null list);
        }
        from.deserialize_any(Reads)
    }
}

/// Says which handles it names as made.
pub(crate) trait Tells {
    fn tell(self, made: &mut BTreeSet<Made>);
}

/// What the objects of a list tell, or one object in its place. The objects are not held.
pub(crate) struct Several<T> {
    pub(crate) made: BTreeSet<Made>,
    /// There was something other than null.
    pub(crate) there: bool,
    /// It was a list without elements, or no list.
    pub(crate) empty: bool,
    of: PhantomData<T>,
}

impl<T> Default for Several<T> {
    fn default() -> Self {
        Self { made: BTreeSet::new(), there: false, empty: false, of: PhantomData }
    }
}

impl<T: Tells> Several<T> {
    fn there() -> Self {
        Self { there: true, ..Self::default() }
    }

    fn add<E: serde::de::Error>(&mut self, one: Object<T>) -> Result<(), E> {
        if let Some(one) = one.0 {
            one.tell(&mut self.made);
        }
        if self.made.len() > MOST_MADE { Err(E::custom("too many handles")) } else { Ok(()) }
    }
}

impl<'de, T: Deserialize<'de> + Tells> Deserialize<'de> for Several<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reads<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de> + Tells> Visitor<'de> for Reads<T> {
            type Value = Several<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut several = Several::there();
                several.empty = true;
                while let Some(one) = list.next_element::<Object<T>>()? {
                    several.empty = false;
                    several.add(one)?;
                }
                Ok(several)
            }
            fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Self::Value, A::Error> {
                let mut several = Several::there();
                several.add(Object(Some(T::deserialize(MapAccessDeserializer::new(object))?)))?;
                Ok(several)
            }
            fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
                Ok(Several { empty: true, ..Several::there() })
            }
            absent!(bool signed unsigned float null);
        }
        from.deserialize_any(Reads(PhantomData))
    }
}
