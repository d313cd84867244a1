//! How bodies are read: typed and in one pass, with what is wrong told by its place and never by
//! its content. A field is told by Qdrant's name, an item by its number, a vector's name as `*`.

use std::{
    cell::{Cell, RefCell},
    fmt,
    marker::PhantomData,
};

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::Bounds;
use crate::Error;

/// Most values in all payloads, filters and options of one request. Each takes 32 bytes and more
/// once it is read, and may have been two bytes before.
const VALUES: usize = 1_000_000;

/// Most examples of a request: each id is a row to be opened, each vector a comparison per point.
const EXAMPLES: usize = 1_000;

/// Reads one body.
pub(super) struct Reader<'b> {
    pub(super) bounds: &'b Bounds,
    path: RefCell<Vec<Step>>,
    refusal: RefCell<Option<Error>>,
    counts: [Cell<usize>; 6],
    depth: Cell<usize>,
}

/// A step on the way to what is read.
#[derive(Clone, Copy)]
pub(super) enum Step {
    /// A field that Qdrant knows.
    Field(&'static str),
    /// One of a list.
    Item(usize),
    /// What has a name of the caller's.
    Named,
}

/// What is counted over a whole request.
#[derive(Clone, Copy)]
pub(super) enum Count {
    Points,
    Queries,
    Prefetches,
    Examples,
    Conditions,
    Values,
}

/// What can be read strictly.
pub(super) trait Read: Sized {
    /// Reads it.
    fn read<'de, D: Deserializer<'de>>(reader: &Reader<'_>, from: D) -> Result<Self, D::Error>;

    /// What it is if its field is not there; `None` if it has to be.
    fn absent() -> Option<Self> {
        None
    }
}

/// What is read of an object whose beginning was seen already.
pub(super) trait Object: Read {
    /// Reads its fields.
    fn fields<'de, A: MapAccess<'de>>(reader: &Reader<'_>, map: A) -> Result<Self, A::Error>;
}

impl<'b> Reader<'b> {
    pub(super) fn new(bounds: &'b Bounds) -> Self {
        let (path, refusal) = (RefCell::default(), RefCell::default());
        Self { bounds, path, refusal, counts: Default::default(), depth: Cell::new(0) }
    }

    /// A whole body.
    pub(super) fn body<T: Read>(&self, body: &[u8]) -> Result<T, Error> {
        let mut json = serde_json::Deserializer::from_slice(body);
        let read = T::read(self, &mut json).and_then(|read| json.end().map(|()| read));
        read.map_err(|error| self.why(&error))
    }

    /// A value that was read before what it is could be told.
    pub(super) fn again<T: Read, E: serde::de::Error>(&self, value: Value) -> Result<T, E> {
        self.part(value).map_err(|error| self.fail(error))
    }

    /// What was found wrong, or what the parser says, which may hold content: of its words only
    /// those behind the last `expected` are ours, and those of syntax the parser's own.
    fn why(&self, error: &serde_json::Error) -> Error {
        if let Some(refusal) = self.refusal.borrow_mut().take() {
            return refusal;
        }
        let text = error.to_string();
        let known = match error.is_data() {
            false => text,
            true => match text.rsplit_once(", expected ") {
                Some((_, expected)) => format!("expected {expected}"),
                None => "this cannot be read".to_owned(),
            },
        };
        self.invalid(&known)
    }

    /// An error that ends the reading.
    pub(super) fn fail<E: serde::de::Error>(&self, error: Error) -> E {
        self.refusal.borrow_mut().get_or_insert(error);
        E::custom("refused")
    }

    /// What is wrong, here.
    pub(super) fn invalid(&self, what: &str) -> Error {
        let place = self.place();
        let place = if place.is_empty() { place } else { format!("{place}: ") };
        Error::Invalid(format!("Format error in JSON body: {place}{what}"))
    }

    /// What there is not, here.
    pub(super) fn unsupported(&self) -> Error {
        Error::Unsupported(format!("`{}`", self.place()))
    }

    /// Where the reader is.
    pub(super) fn place(&self) -> String {
        let mut place = String::new();
        for step in self.path.borrow().iter() {
            match step {
                Step::Item(at) => place.push_str(&format!("[{at}]")),
                Step::Field(_) | Step::Named => {
                    if !place.is_empty() {
                        place.push('.');
                    }
                    place.push_str(if let Step::Field(name) = step { name } else { "*" });
                }
            }
        }
        place
    }

    /// Takes a step; takes it back only where nothing went wrong, so that the place of what did
    /// can be told.
    pub(super) fn at<T, E>(&self, step: Step, then: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        self.path.borrow_mut().push(step);
        let done = then()?;
        self.path.borrow_mut().pop();
        Ok(done)
    }

    /// A part of a body that was read before what it is could be told.
    pub(super) fn part<T: Read>(&self, value: Value) -> Result<T, Error> {
        T::read(self, value).map_err(|error| self.why(&error))
    }

    /// One level deeper of what is nested; what it was before.
    pub(super) fn enter(&self) -> Result<usize, Error> {
        let (depth, bound) = (self.depth.get(), self.bounds.depth);
        if depth >= bound {
            return Err(too_large("nesting of filters and prefetches", depth + 1, bound));
        }
        self.depth.set(depth + 1);
        Ok(depth)
    }

    /// Back to where it was.
    pub(super) fn leave(&self, depth: usize) {
        self.depth.set(depth);
    }

    /// So many more of these.
    pub(super) fn count(&self, what: Count, more: usize) -> Result<(), Error> {
        let (name, bound) = match what {
            Count::Points => ("points of a request", self.bounds.batch),
            Count::Queries => ("queries of a batch", self.bounds.queries),
            // A batch of the largest size may have four in each.
            Count::Prefetches => ("prefetches of a request", self.bounds.queries * 4),
            Count::Examples => ("examples of a request", EXAMPLES),
            Count::Conditions => ("conditions of a request", self.bounds.conditions),
            Count::Values => ("values in payloads and filters of a request", VALUES),
        };
        let Some(count) = self.counts.get(what as usize) else {
            return Ok(());
        };
        count.set(count.get() + more);
        if count.get() > bound {
            return Err(too_large(name, count.get(), bound));
        }
        Ok(())
    }

    /// As [`Self::count`], while reading.
    pub(super) fn counted<E: serde::de::Error>(&self, what: Count) -> Result<(), E> {
        self.count(what, 1).map_err(|error| self.fail(error))
    }

    /// One more of a list: what takes more in memory than it had bytes counts as values.
    pub(super) fn element<T, E: serde::de::Error>(&self) -> Result<(), E> {
        let weight = match size_of::<T>() {
            0..16 => return Ok(()),
            size => size.div_ceil(32),
        };
        self.count(Count::Values, weight).map_err(|error| self.fail(error))
    }

    /// The value of a field.
    pub(super) fn field<'de, T: Read, A: MapAccess<'de>>(
        &self,
        step: Step,
        map: &mut A,
    ) -> Result<T, A::Error> {
        self.at(step, || map.next_value_seed(Seed::new(self)))
    }

    /// The next of a list.
    pub(super) fn item<'de, T: Read, A: SeqAccess<'de>>(
        &self,
        at: usize,
        list: &mut A,
    ) -> Result<Option<T>, A::Error> {
        self.at(Step::Item(at), || list.next_element_seed(Seed::new(self)))
    }

    pub(super) fn unknown<E: serde::de::Error>(&self, field: &str) -> E {
        self.fail(self.invalid(&format!("unknown field {}", name(field))))
    }

    pub(super) fn twice<E: serde::de::Error>(&self, field: &str) -> E {
        self.fail(self.invalid(&format!("field {} stands there twice", name(field))))
    }

    pub(super) fn missing<E: serde::de::Error>(&self, field: &str) -> E {
        self.fail(self.invalid(&format!("missing field `{field}`")))
    }
}

pub(super) fn too_large(what: &'static str, size: usize, bound: usize) -> Error {
    Error::TooLarge { what, size: size as u64, bound: bound as u64 }
}

/// A name of the caller's, as a message may have it: short, and nothing that a terminal obeys.
pub(crate) fn name(name: &str) -> String {
    let mut short: String = name.chars().take(64).flat_map(char::escape_debug).collect();
    if name.chars().nth(64).is_some() {
        short.push('…');
    }
    format!("`{short}`")
}

/// Reads a `T`, with what the reader knows.
pub(super) struct Seed<'r, 'b, T> {
    reader: &'r Reader<'b>,
    of: PhantomData<T>,
}

impl<'r, 'b, T> Seed<'r, 'b, T> {
    pub(super) fn new(reader: &'r Reader<'b>) -> Self {
        Self { reader, of: PhantomData }
    }
}

impl<'de, T: Read> DeserializeSeed<'de> for Seed<'_, '_, T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<T, D::Error> {
        T::read(self.reader, from)
    }
}

/// An object of Qdrant's: its fields by their names. A field that it does not know, and one that
/// stands there twice, is refused.
macro_rules! object {
    ($(#[$doc:meta])* $name:ident {
        $($json:literal $(| $alias:literal)* => $field:ident: $type:ty),* $(,)?
    }) => {
        $(#[$doc])*
        pub(super) struct $name {
            $(pub(super) $field: $type,)*
        }

        impl $crate::request::reading::Object for $name {
            fn fields<'de, A: serde::de::MapAccess<'de>>(
                reader: &$crate::request::reading::Reader<'_>,
                mut map: A,
            ) -> Result<Self, A::Error> {
                use $crate::request::reading::{Read, Step};
                $(let mut $field: Option<$type> = None;)*
                while let Some(key) = map.next_key::<std::borrow::Cow<'_, str>>()? {
                    match &*key {
                        $($json $(| $alias)* => {
                            if $field.is_some() {
                                return Err(reader.twice($json));
                            }
                            $field = Some(reader.field(Step::Field($json), &mut map)?);
                        })*
                        unknown => return Err(reader.unknown(unknown)),
                    }
                }
                Ok(Self {
                    $($field: match $field.or_else(<$type as Read>::absent) {
                        Some(value) => value,
                        None => return Err(reader.missing($json)),
                    },)*
                })
            }
        }

        impl $crate::request::reading::Read for $name {
            fn read<'de, D: serde::Deserializer<'de>>(
                reader: &$crate::request::reading::Reader<'_>,
                from: D,
            ) -> Result<Self, D::Error> {
                $crate::request::reading::object_of(reader, from)
            }
        }
    };
}
pub(super) use object;

/// Reads an object.
pub(super) fn object_of<'de, T: Object, D: Deserializer<'de>>(
    reader: &Reader<'_>,
    from: D,
) -> Result<T, D::Error> {
    struct Whole<'r, 'b, T>(&'r Reader<'b>, PhantomData<T>);
    impl<'de, T: Object> Visitor<'de> for Whole<'_, '_, T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            T::fields(self.0, map)
        }
    }
    from.deserialize_map(Whole(reader, PhantomData))
}

/// A scalar: which of the visitor's calls bring it, and what each does with what it brings.
macro_rules! scalar {
    ($type:ty, $expected:literal, $($visit:ident($from:ty) $body:expr),* $(,)?) => {
        impl Read for $type {
            fn read<'de, D: Deserializer<'de>>(
                _: &Reader<'_>,
                from: D,
            ) -> Result<Self, D::Error> {
                struct One;
                impl Visitor<'_> for One {
                    type Value = $type;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expected)
                    }

                    $(fn $visit<E: serde::de::Error>(self, value: $from) -> Result<$type, E> {
                        let read: fn($from) -> Option<$type> = $body;
                        read(value).ok_or_else(|| E::custom(concat!(", expected ", $expected)))
                    })*
                }
                from.deserialize_any(One)
            }
        }
    };
}

/// Numbers beyond what 32 bits can tell are no numbers of a vector's.
#[expect(clippy::cast_possible_truncation, reason = "that is what vectors are made of")]
fn single(value: f64) -> Option<f32> {
    Some(value as f32).filter(|single| single.is_finite())
}

#[expect(clippy::cast_precision_loss, reason = "that is what vectors are made of")]
fn whole_single(value: i128) -> Option<f32> {
    Some(value as f32)
}

scalar!(bool, "true or false", visit_bool(bool) Some);
scalar!(String, "a string", visit_str(&str) | text | Some(text.to_owned()));
scalar!(usize, "a number from 0 on, without a fraction", visit_u64(u64) | n | n.try_into().ok());
scalar!(
    u32,
    "a number from 0 to 4294967295, without a fraction",
    visit_u64(u64) | n | n.try_into().ok()
);
scalar!(
    f32,
    "a number of single precision",
    visit_f64(f64) single,
    visit_u64(u64) |n| whole_single(n.into()),
    visit_i64(i64) |n| whole_single(n.into()),
);

impl<T: Read> Read for Option<T> {
    fn read<'de, D: Deserializer<'de>>(reader: &Reader<'_>, from: D) -> Result<Self, D::Error> {
        struct Maybe<'r, 'b, T>(&'r Reader<'b>, PhantomData<T>);
        impl<'de, T: Read> Visitor<'de> for Maybe<'_, '_, T> {
            type Value = Option<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value or null")
            }

            fn visit_none<E: serde::de::Error>(self) -> Result<Option<T>, E> {
                Ok(None)
            }

            fn visit_unit<E: serde::de::Error>(self) -> Result<Option<T>, E> {
                Ok(None)
            }

            fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Option<T>, D::Error> {
                T::read(self.0, from).map(Some)
            }
        }
        from.deserialize_option(Maybe(reader, PhantomData))
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl<T: Read> Read for Vec<T> {
    fn read<'de, D: Deserializer<'de>>(reader: &Reader<'_>, from: D) -> Result<Self, D::Error> {
        struct All<'r, 'b, T>(&'r Reader<'b>, PhantomData<T>);
        impl<'de, T: Read> Visitor<'de> for All<'_, '_, T> {
            type Value = Vec<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
                let mut all = Vec::new();
                while let Some(one) = self.0.item(all.len(), &mut list)? {
                    self.0.element::<T, _>()?;
                    all.push(one);
                }
                Ok(all)
            }
        }
        from.deserialize_seq(All(reader, PhantomData))
    }
}

/// An object, or a list of such: Qdrant takes either.
pub(super) struct OneOrMany<T>(pub(super) Vec<T>);

impl<T: Object> Read for OneOrMany<T> {
    fn read<'de, D: Deserializer<'de>>(reader: &Reader<'_>, from: D) -> Result<Self, D::Error> {
        struct Either<'r, 'b, T>(&'r Reader<'b>, PhantomData<T>);
        impl<'de, T: Object> Visitor<'de> for Either<'_, '_, T> {
            type Value = OneOrMany<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object or a list of objects")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                Ok(OneOrMany(vec![T::fields(self.0, map)?]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut all = Vec::new();
                while let Some(one) = self.0.item(all.len(), &mut list)? {
                    self.0.element::<T, _>()?;
                    all.push(one);
                }
                Ok(OneOrMany(all))
            }
        }
        from.deserialize_any(Either(reader, PhantomData))
    }
}

/// A field of Qdrant's that there is not here: null only.
pub(super) struct Refused;

impl Read for Refused {
    fn read<'de, D: Deserializer<'de>>(reader: &Reader<'_>, from: D) -> Result<Self, D::Error> {
        struct Nothing;
        impl<'de> Visitor<'de> for Nothing {
            type Value = bool;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("null")
            }

            fn visit_none<E: serde::de::Error>(self) -> Result<bool, E> {
                Ok(true)
            }

            fn visit_unit<E: serde::de::Error>(self) -> Result<bool, E> {
                Ok(true)
            }

            fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<bool, D::Error> {
                from.deserialize_ignored_any(IgnoredAny).map(|_| false)
            }
        }
        if from.deserialize_option(Nothing)? {
            return Ok(Self);
        }
        Err(reader.fail(reader.unsupported()))
    }

    fn absent() -> Option<Self> {
        Some(Self)
    }
}

/// A value that asks for what is so anyway.
pub(super) trait Met {
    /// Whether it does.
    fn met(value: &Value) -> bool;
}

/// A field of Qdrant's of which one value is met here: null and that value only.
pub(super) struct Only<M>(PhantomData<M>);

impl<M: Met> Read for Only<M> {
    fn read<'de, D: Deserializer<'de>>(reader: &Reader<'_>, from: D) -> Result<Self, D::Error> {
        let value = Value::read(reader, from)?;
        if value.is_null() || M::met(&value) {
            return Ok(Self(PhantomData));
        }
        Err(reader.fail(reader.unsupported()))
    }

    fn absent() -> Option<Self> {
        Some(Self(PhantomData))
    }
}
