//! Arguments as parameters. They are sent as text, which the server reads by the type that it
//! inferred, so that nothing has to be known here of types; what is not a plain value is sent
//! where the server wants JSON or a list, and nowhere else.

use std::{error::Error as StdError, fmt};

use bytes::BytesMut;
use ids::json::Json;
use tokio_postgres::{
    Statement,
    types::{Format, IsNull, Kind, ToSql, Type, to_sql_checked},
};

use crate::{Fault, FaultKind, pointer::Pointer};

/// What Postgres itself says of a text that is not of the type.
const UNFIT: FaultKind = FaultKind::Database(*b"22P02");

/// One parameter: text, or null.
pub(super) struct Parameter(Option<String>);

/// All parameters of a statement: what stands in the arguments at these JSON Pointers.
pub(super) fn all(
    statement: &Statement,
    pointers: &[String],
    arguments: &Json,
) -> Result<Vec<Parameter>, Fault> {
    let types = statement.params();
    if types.len() != pointers.len() {
        let why = "the query takes another number of parameters than its contract has";
        return Err(Fault::unsent(FaultKind::Malformed(why)));
    }
    let value = |(pointer, kind): (&String, &Type)| {
        let pointer = Pointer::literal(pointer).ok();
        let value = pointer.and_then(|pointer| pointer.one(arguments)).unwrap_or(&Json::Null);
        text(value, kind).map(Parameter).ok_or(Fault::unsent(UNFIT))
    };
    pointers.iter().zip(types).map(value).collect()
}

/// The text of a value for a type. Nothing if they do not go together; `Some(None)` for null.
#[expect(clippy::option_option, reason = "null is a value here")]
fn text(value: &Json, kind: &Type) -> Option<Option<String>> {
    let text = match (value, kind.kind()) {
        (Json::Null, _) => return Some(None),
        (value, Kind::Simple) if matches!(*kind, Type::JSON | Type::JSONB) => {
            String::from_utf8(value.to_vec()).ok()?
        }
        (value, Kind::Domain(inner)) => return text(value, inner),
        (Json::Array(items), Kind::Array(of)) => list(items, of)?,
        // The text of a list, a row or a range would be taken apart by the server: what was
        // held as one value would be several.
        (_, Kind::Array(_) | Kind::Composite(_) | Kind::Pseudo | Kind::Range(_)) => return None,
        (_, Kind::Multirange(_)) => return None,
        (Json::Array(_) | Json::Object(_), _) => return None,
        (Json::String(text), _) => text.clone(),
        (Json::Bool(value), _) => value.to_string(),
        (Json::Number(number), _) => number.to_string(),
    };
    // Postgres holds no such text, and says so in words that quote it.
    (!text.contains('\0')).then_some(Some(text))
}

/// A list as Postgres writes it: every item in quotes.
fn list(items: &[Json], of: &Type) -> Option<String> {
    let mut out = String::from("{");
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        match (item, text(item, of)?) {
            // Lists of lists have one type, and their shape is the caller's.
            (Json::Array(_) | Json::Object(_), _) if !matches!(*of, Type::JSON | Type::JSONB) => {
                return None;
            }
            (_, None) => out.push_str("NULL"),
            (_, Some(text)) => {
                out.push('"');
                for c in text.chars() {
                    if matches!(c, '"' | '\\') {
                        out.push('\\');
                    }
                    out.push(c);
                }
                out.push('"');
            }
        }
    }
    out.push('}');
    Some(out)
}

impl fmt::Debug for Parameter {
    /// The driver writes parameters to its log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl ToSql for Parameter {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        match &self.0 {
            None => Ok(IsNull::Yes),
            Some(text) => {
                out.extend_from_slice(text.as_bytes());
                Ok(IsNull::No)
            }
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use ids::json::Limits;

    use super::*;

    fn json(text: &str) -> Json {
        Json::parse(text.as_bytes(), &Limits::default()).unwrap()
    }

    #[test]
    fn values_and_types_go_together_or_not() {
        for (value, kind, expected) in [
            ("null", Type::TEXT, Some(None)),
            (r#""a""#, Type::TEXT, Some(Some("a"))),
            ("5", Type::INT4, Some(Some("5"))),
            ("5", Type::TEXT, Some(Some("5"))),
            ("1.5", Type::NUMERIC, Some(Some("1.5"))),
            ("true", Type::BOOL, Some(Some("true"))),
            (r#"{"a":[1]}"#, Type::JSONB, Some(Some(r#"{"a":[1]}"#))),
            (r#""a""#, Type::JSON, Some(Some(r#""a""#))),
            (r#"["a","b\"}\\,{"]"#, Type::TEXT_ARRAY, Some(Some(r#"{"a","b\"}\\,{"}"#))),
            ("[1,null]", Type::INT8_ARRAY, Some(Some(r#"{"1",NULL}"#))),
            ("[]", Type::TEXT_ARRAY, Some(Some("{}"))),
            (r#""{a,b}""#, Type::TEXT_ARRAY, None),
            ("[[1],[2]]", Type::INT4_ARRAY, None),
            (r#"["a"]"#, Type::TEXT, None),
            (r#"{"a":1}"#, Type::TEXT, None),
            (r#""(1,2)""#, Type::RECORD, None),
            (r#""[1,9)""#, Type::INT4_RANGE, None),
            (r#""a\u0000b""#, Type::TEXT, None),
        ] {
            let got = text(&json(value), &kind);
            let want = expected.map(|text| text.map(str::to_owned));
            assert_eq!(got, want, "{value} as {kind}");
        }
        assert!(!format!("{:?}", Parameter(Some("canary".to_owned()))).contains("canary"));
    }
}
