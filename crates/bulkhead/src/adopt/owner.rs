//! Whose a point is: what stands in the tenant field, and which tenant that names. Nothing is
//! trimmed, folded or guessed.

use std::collections::HashMap;

use anyhow::Result;
use ids::planted;
use serde_json::Value;

use crate::{
    admin::Admin,
    cli::listing::Part,
    fault::Fault,
    print::{field, progress},
};

/// Why a point is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Why {
    /// The field is not there, null, or an empty list.
    NoValue,
    /// A list with more than one value, or with null among them.
    Several,
    /// Neither text nor a whole number.
    NoName,
    /// No tenant has this id or alias.
    Unknown,
    /// One tenant's id and another one's alias.
    Ambiguous,
    /// The tenant has no such environment.
    NoEnvironment,
}

impl Why {
    /// As it stands in reports.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::NoValue => "no_value",
            Self::Several => "several_values",
            Self::NoName => "not_text_or_integer",
            Self::Unknown => "unknown_tenant",
            Self::Ambiguous => "names_two_tenants",
            Self::NoEnvironment => "no_such_environment",
        }
    }
}

/// A path into a payload, in Qdrant's notation: `tenant_id`, `metadata.tenant_id`,
/// `owners[].id`, `"a.b".c`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FieldPath {
    text: String,
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Segment {
    name: String,
    /// Each element of the list that is there.
    each: bool,
}

impl FieldPath {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut segments = Vec::new();
        let mut rest = text;
        loop {
            let (name, after) = match rest.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"').ok_or("a quote is not closed")?,
                None => rest.split_at(rest.find(['.', '[']).unwrap_or(rest.len())),
            };
            if name.is_empty() {
                return Err("a name is empty".into());
            }
            let each = after.starts_with("[]");
            segments.push(Segment { name: name.to_owned(), each });
            let after = after.strip_prefix("[]").unwrap_or(after);
            match after.strip_prefix('.') {
                Some(more) => rest = more,
                None if after.is_empty() => return Ok(Self { text: text.to_owned(), segments }),
                None => return Err(format!("{after:?} is not understood: names, dots and [] are")),
            }
        }
    }

    /// As it was written.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    fn leaves<'a>(&self, payload: &'a Value) -> Vec<&'a Value> {
        let mut at = vec![payload];
        for Segment { name, each } in &self.segments {
            let under: Vec<&Value> = at.into_iter().filter_map(|value| value.get(name)).collect();
            at = match each {
                false => under,
                true => under
                    .into_iter()
                    .flat_map(|value| value.as_array().map_or(&[][..], Vec::as_slice))
                    .collect(),
            };
        }
        at
    }

    /// The one name that stands there.
    pub(super) fn name_in(&self, payload: &Value) -> Result<String, Why> {
        let mut values = Vec::new();
        for leaf in self.leaves(payload) {
            match leaf {
                Value::Array(list) => values.extend(list),
                one => values.push(one),
            }
        }
        let first = *values.first().ok_or(Why::NoValue)?;
        if values.len() == 1 && first.is_null() {
            return Err(Why::NoValue);
        }
        // Null beside a value, or two that differ: nobody knows whose it is.
        if values.iter().any(|value| *value != first || value.is_null())
            && !planted::is("adopt-guesses")
        {
            return Err(Why::Several);
        }
        match first {
            Value::String(text) => Ok(text.clone()),
            Value::Number(number) if number.is_u64() || number.is_i64() => Ok(number.to_string()),
            _ => Err(Why::NoName),
        }
    }
}

/// Which tenant each name means, as the registry had it when this was read.
pub(super) struct Tenants(HashMap<String, Named>);

#[derive(Clone, Debug)]
struct Named {
    tenant: String,
    here: bool,
    ambiguous: bool,
}

impl Tenants {
    /// All that are not erased.
    pub(super) async fn read(admin: &Admin, environment: &str) -> Result<Self> {
        let reading = Part::whole();
        let listed = progress("reading tenants", reading.read(admin, "/tenants", &[])).await?;
        Self::of(&listed.items, environment)
    }

    fn of(listed: &[Value], environment: &str) -> Result<Self> {
        let texts = |tenant: &Value, name: &str| -> Vec<String> {
            let all = tenant.get(name).and_then(Value::as_array);
            let text = |value: &Value| value.as_str().map(str::to_owned);
            all.into_iter().flatten().filter_map(text).collect()
        };
        let mut names: HashMap<String, Named> = HashMap::new();
        for tenant in listed.iter().filter(|tenant| field(tenant, "status") != "erased") {
            let id = field(tenant, "id");
            if id.is_empty() {
                return Err(Fault::failed("the server lists a tenant without an id").into());
            }
            let here = texts(tenant, "environments").iter().any(|name| name == environment);
            for name in texts(tenant, "aliases").into_iter().chain([id.clone()]) {
                let named = Named { tenant: id.clone(), here, ambiguous: false };
                let named = names.entry(name).or_insert(named);
                named.ambiguous |= named.tenant != id;
            }
        }
        Ok(Self(names))
    }

    /// The tenant of exactly this id or alias.
    pub(super) fn named(&self, name: &str) -> Result<&str, Why> {
        match self.0.get(name) {
            None => Err(Why::Unknown),
            Some(Named { ambiguous: true, .. }) => Err(Why::Ambiguous),
            Some(Named { here: false, .. }) => Err(Why::NoEnvironment),
            Some(Named { tenant, .. }) => Ok(tenant),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn name(path: &str, payload: &Value) -> Result<String, Why> {
        FieldPath::parse(path).unwrap().name_in(payload)
    }

    #[test]
    fn one_name_or_none() {
        for (path, payload, found) in [
            ("t", json!({"t": "acme"}), Ok("acme")),
            ("t", json!({"t": " Acme "}), Ok(" Acme ")),
            ("t", json!({"t": ""}), Ok("")),
            ("t", json!({"t": 42}), Ok("42")),
            ("t", json!({"t": -1}), Ok("-1")),
            ("t", json!({"t": ["acme"]}), Ok("acme")),
            ("t", json!({"t": ["acme", "acme"]}), Ok("acme")),
            ("t[]", json!({"t": ["acme"]}), Ok("acme")),
            ("t[]", json!({"t": "acme"}), Err(Why::NoValue)),
            ("m.t", json!({"m": {"t": "acme"}, "m.t": "globex"}), Ok("acme")),
            ("\"m.t\"", json!({"m": {"t": "acme"}, "m.t": "globex"}), Ok("globex")),
            ("o[].id", json!({"o": [{"id": "acme"}, {"id": "acme"}]}), Ok("acme")),
            ("t", json!({}), Err(Why::NoValue)),
            ("t", json!({"t": null}), Err(Why::NoValue)),
            ("t", json!({"t": []}), Err(Why::NoValue)),
            ("t", json!(null), Err(Why::NoValue)),
            ("m.t", json!({"m": "t"}), Err(Why::NoValue)),
            ("t", json!({"t": 1.5}), Err(Why::NoName)),
            ("t", json!({"t": true}), Err(Why::NoName)),
            ("t", json!({"t": {"id": "acme"}}), Err(Why::NoName)),
            ("t", json!({"t": [["acme"]]}), Err(Why::NoName)),
        ] {
            assert_eq!(
                name(path, &payload).as_deref(),
                found.as_ref().copied(),
                "{path} {payload}"
            );
        }
    }

    #[test]
    fn a_point_of_several_is_nobodys() {
        for (path, payload) in [
            ("t", json!({"t": ["acme", "globex"]})),
            ("t", json!({"t": ["acme", null]})),
            ("t", json!({"t": [null, null]})),
            ("t", json!({"t": ["acme", "Acme"]})),
            ("t", json!({"t": ["42", 42]})),
            ("t", json!({"t": ["acme", "acme", "globex"]})),
            ("o[].id", json!({"o": [{"id": "acme"}, {"id": "globex"}]})),
            ("o[].id", json!({"o": [{"id": ["acme", "globex"]}]})),
        ] {
            assert_eq!(name(path, &payload), Err(Why::Several), "{path} {payload}");
        }
    }

    #[test]
    fn paths_that_are_none_are_refused() {
        for path in ["", ".", "a.", ".a", "a[0]", "a[", "\"a", "\"\"", "a]x[", "\"a\"b"] {
            assert!(FieldPath::parse(path).is_err(), "{path}");
        }
        assert!(FieldPath::parse("a[].\"b.c\"[].d").is_ok());
    }

    #[test]
    fn a_name_means_a_tenant_exactly_or_nobody() {
        let listed = [
            json!({"id": "acme", "aliases": ["org_7", "globex"], "environments": ["live"], "status": "active"}),
            json!({"id": "globex", "aliases": ["G"], "environments": ["live", "staging"], "status": "suspended"}),
            json!({"id": "gone", "aliases": ["org_8"], "environments": ["live"], "status": "erased"}),
        ];
        let live = Tenants::of(&listed, "live").unwrap();
        for (name, found) in [
            ("acme", Ok("acme")),
            ("org_7", Ok("acme")),
            ("G", Ok("globex")),
            ("g", Err(Why::Unknown)),
            ("Acme", Err(Why::Unknown)),
            (" acme", Err(Why::Unknown)),
            ("", Err(Why::Unknown)),
            ("globex", Err(Why::Ambiguous)),
            ("gone", Err(Why::Unknown)),
            ("org_8", Err(Why::Unknown)),
        ] {
            assert_eq!(live.named(name), found, "{name}");
        }
        let staging = Tenants::of(&listed, "staging").unwrap();
        assert_eq!(staging.named("acme"), Err(Why::NoEnvironment));
        assert_eq!(staging.named("G"), Ok("globex"));
    }
}
