//! Names and values of a query or a form, as a typed struct: options, numbers and truth values
//! from text; a name that the struct does not have, or that is there twice, is refused.

use axum::extract::Query;
use serde::{
    Deserializer,
    de::{
        DeserializeOwned, Error as _, IntoDeserializer, Visitor,
        value::{Error, MapDeserializer},
    },
    forward_to_deserialize_any,
};

use crate::fault::Fault;

/// Decodes `application/x-www-form-urlencoded`.
pub(crate) fn decode(text: &[u8]) -> Result<Vec<(String, String)>, Fault> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let malformed = || Fault::malformed("the parameters are not URL-encoded");
    let text = std::str::from_utf8(text).map_err(|_| malformed())?;
    let uri: http::Uri = format!("/?{text}").parse().map_err(|_| malformed())?;
    Query::<Vec<(String, String)>>::try_from_uri(&uri).map(|query| query.0).map_err(|_| malformed())
}

/// The struct that they are.
pub(crate) fn typed<'a, T: DeserializeOwned>(
    pairs: impl Iterator<Item = &'a (String, String)>,
) -> Result<T, Fault> {
    let pairs = pairs.map(|(name, value)| (name.as_str(), Value(value)));
    T::deserialize(MapDeserializer::<_, Error>::new(pairs))
        .map_err(|error| Fault::malformed(told(&error.to_string())))
}

/// What an error of serde may tell the caller: names and types, not the caller's own values.
pub(crate) fn told(error: &str) -> String {
    let error = error.split(", expected").next().unwrap_or_default();
    let error = error.split(" at line").next().unwrap_or_default();
    match error.split_once(": ") {
        // "invalid type: string \"…\"", "unknown variant": the rest quotes the value.
        Some((kind @ ("invalid type" | "invalid value"), _)) => kind.to_owned(),
        _ if error.starts_with("unknown variant") => "unknown variant".to_owned(),
        _ => error.to_owned(),
    }
}

struct Value<'a>(&'a str);

impl IntoDeserializer<'_, Error> for Value<'_> {
    type Deserializer = Self;
    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! parsed {
    ($($method:ident $visit:ident,)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.0.parse() {
                Ok(value) => visitor.$visit(value),
                Err(_) => Err(Error::custom("a number or truth value is malformed")),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Value<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str(self.0)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(self.0.into_deserializer())
    }

    parsed! {
        deserialize_bool visit_bool,
        deserialize_u32 visit_u32,
        deserialize_u64 visit_u64,
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        seq tuple tuple_struct map struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Asked {
        after: Option<String>,
        limit: Option<u64>,
        #[serde(default)]
        dry_run: bool,
    }

    fn read(text: &str) -> Result<Asked, String> {
        decode(text.as_bytes()).and_then(|pairs| typed(pairs.iter())).map_err(|fault| fault.message)
    }

    #[test]
    fn typed_and_strict() {
        let asked = Asked { after: Some("a b".into()), limit: Some(5), dry_run: true };
        assert_eq!(read("after=a%20b&limit=5&dry_run=true"), Ok(asked));
        assert_eq!(read(""), Ok(Asked { after: None, limit: None, dry_run: false }));
        for (text, says) in [
            ("limits=5", "unknown field `limits`"),
            ("limit=5&limit=6", "duplicate field `limit`"),
            ("limit=many", "malformed"),
            ("after=%zz", "URL-encoded"),
        ] {
            // A malformed escape is kept as it is by the decoder: it names nothing then.
            match read(text) {
                Err(error) => assert!(error.contains(says), "{text}: {error}"),
                Ok(asked) => assert_eq!(asked.after.as_deref(), Some("%zz"), "{text}"),
            }
        }
    }

    #[test]
    fn an_error_does_not_quote_a_value() {
        let error = serde_json::from_str::<Asked>(r#"{"limit":"sk-canary"}"#).unwrap_err();
        assert_eq!(told(&error.to_string()), "invalid type");
    }
}
