//! OpenAPI documents: operations that an operator lists become tools.
//!
//! Versions 3.0 and 3.1, as JSON. Of an operation, what goes into the path, the query and a JSON body
//! becomes arguments. Headers and cookies do not: what is said there is said by the gateway, and
//! credentials above all. A document is an operator's own file, and is bounded all the same.

use std::{collections::BTreeMap, path::Path};

use ids::json::{self, Json};
use serde_json::{Map, Value, json};

use crate::{
    HttpRequest,
    owner::{json_of, value},
    pointer::Pointer,
};

mod schema;
#[cfg(test)]
mod tests;

use schema::Schemas;

/// The largest document that is read, in bytes.
const LARGEST: u64 = 8 << 20;
const LIMITS: json::Limits = json::Limits { depth: 128, nodes: 1_000_000 };
const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];
/// Headers that are never an argument, whatever a document says of them.
const CREDENTIALS: &[&str] = &[
    "authorization",
    "cookie",
    "proxy-authorization",
    "x-api-key",
    "api-key",
    "apikey",
    "x-auth-token",
    "x-access-token",
    "x-csrf-token",
];

/// A document, read.
#[derive(Debug)]
pub(crate) struct Document {
    root: Value,
    /// Names of query parameters and headers by which a credential is shown.
    secret: Vec<String>,
}

/// An operation, as a tool.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Operation {
    pub(crate) id: String,
    pub(crate) request: HttpRequest,
    /// The JSON Schema of its arguments.
    pub(crate) parameters: Json,
    /// For people: the document's `summary`.
    pub(crate) title: Option<String>,
    /// For the model: the document's `description`, or its `summary`.
    pub(crate) description: Option<String>,
    /// The JSON Schema of what it answers with success.
    pub(crate) answer: Option<Value>,
}

/// Where an operation stands.
struct Found<'a> {
    path: &'a str,
    method: &'static str,
    item: &'a Value,
    operation: &'a Value,
}

impl Document {
    /// Reads a file.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        use std::io::Read as _;
        let place = path.display();
        let file = std::fs::File::open(path).map_err(|error| format!("{place}: {error}"))?;
        let mut text = Vec::new();
        file.take(LARGEST + 1)
            .read_to_end(&mut text)
            .map_err(|error| format!("{place}: {error}"))?;
        Self::parse(&text).map_err(|why| format!("{place}: {why}"))
    }

    /// Reads a text.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, String> {
        if text.len() as u64 > LARGEST {
            return Err(format!("it is larger than {LARGEST} bytes"));
        }
        let root = Json::parse(text, &LIMITS).map_err(|error| error.to_string())?;
        let root = value(&root);
        let version = root.get("openapi").and_then(Value::as_str).unwrap_or_default();
        if !["3.0.", "3.1."].iter().any(|known| version.starts_with(known)) {
            return Err("it is not an OpenAPI document of version 3.0 or 3.1".to_owned());
        }
        let secret = secrets(&root);
        Ok(Self { root, secret })
    }

    /// The ids of all operations that have one, in the order of the document.
    pub(crate) fn operations(&self) -> Vec<&str> {
        self.all().filter_map(|found| found.operation.get("operationId")?.as_str()).collect()
    }

    /// What a method and path of it are called, for a document without ids.
    fn all(&self) -> impl Iterator<Item = Found<'_>> {
        let paths = self.root.get("paths").and_then(Value::as_object);
        paths.into_iter().flatten().flat_map(|(path, item)| {
            let item = Schemas::new(&self.root).resolve(item).unwrap_or(item);
            METHODS.into_iter().filter_map(move |method| {
                let operation = item.get(method).filter(|operation| operation.is_object())?;
                Some(Found { path, method, item, operation })
            })
        })
    }

    /// The operation of this `operationId`.
    pub(crate) fn operation(&self, id: &str) -> Result<Operation, String> {
        let named = |found: &Found<'_>| {
            found.operation.get("operationId").and_then(Value::as_str) == Some(id)
        };
        let mut found = self.all().filter(named);
        let one = found.next().ok_or_else(|| format!("there is no operation `{id}`"))?;
        if found.next().is_some() {
            return Err(format!("there are two operations `{id}`"));
        }
        self.build(id, &one).map_err(|why| format!("operation `{id}`: {why}"))
    }

    fn build(&self, id: &str, found: &Found<'_>) -> Result<Operation, String> {
        let schemas = Schemas::new(&self.root);
        let mut arguments = Arguments::default();
        let mut query = BTreeMap::new();
        for parameter in self.parameters(&schemas, found)? {
            self.parameter(&schemas, parameter, &mut arguments, &mut query)?;
        }
        for name in places(found.path) {
            if !arguments.properties.contains_key(name) {
                arguments.add(name, json!({"type": "string"}), true)?;
            }
        }
        let body = body(&schemas, found, &mut arguments)?;
        let text = |field: &str| {
            found
                .operation
                .get(field)
                .and_then(Value::as_str)
                .map(str::trim)
                .filter(|t| !t.is_empty())
        };
        Ok(Operation {
            id: id.to_owned(),
            request: HttpRequest {
                method: found.method.to_ascii_uppercase(),
                path: found.path.to_owned(),
                query,
                body,
                headers: BTreeMap::new(),
            },
            parameters: json_of(&arguments.into_schema()),
            title: text("summary").map(str::to_owned),
            description: text("description").or(text("summary")).map(str::to_owned),
            answer: answer(&schemas, found.operation),
        })
    }

    /// The parameters of an operation: its own, and those of its path that it does not replace.
    fn parameters<'a>(
        &'a self,
        schemas: &Schemas<'a>,
        found: &Found<'a>,
    ) -> Result<Vec<&'a Value>, String> {
        let mut all: Vec<(&str, &str, &Value)> = Vec::new();
        for of in [found.item, found.operation] {
            for parameter in of.get("parameters").and_then(Value::as_array).into_iter().flatten() {
                let parameter = schemas.resolve(parameter)?;
                let field = |name: &str| parameter.get(name).and_then(Value::as_str);
                let (Some(name), Some(place)) = (field("name"), field("in")) else {
                    return Err("a parameter has no name or place".to_owned());
                };
                all.retain(|(n, p, _)| (*n, *p) != (name, place));
                all.push((name, place, parameter));
            }
        }
        Ok(all.into_iter().map(|(_, _, parameter)| parameter).collect())
    }

    fn parameter<'a>(
        &self,
        schemas: &Schemas<'a>,
        parameter: &'a Value,
        arguments: &mut Arguments,
        query: &mut BTreeMap<String, String>,
    ) -> Result<(), String> {
        let name = parameter.get("name").and_then(Value::as_str).unwrap_or_default();
        let required = parameter.get("required").and_then(Value::as_bool).unwrap_or_default();
        let lower = name.to_ascii_lowercase();
        let secret = CREDENTIALS.contains(&lower.as_str()) || self.secret.contains(&lower);
        match parameter.get("in").and_then(Value::as_str) {
            Some("path") => {
                let schema = described(schemas, parameter)?;
                arguments.add(name, schema, true)
            }
            Some("query") if secret => Ok(()),
            Some("query") if !is_plain(parameter, schemas) && required => {
                Err(format!("the parameter `{name}` is written in a way that is not supported"))
            }
            Some("query") if !is_plain(parameter, schemas) => Ok(()),
            Some("query") => {
                let schema = described(schemas, parameter)?;
                arguments.add(name, schema, required)?;
                query.insert(name.to_owned(), Pointer::named(name).to_string());
                Ok(())
            }
            // What is in these is no argument of OpenAPI's either.
            Some("header") if ["accept", "content-type"].contains(&lower.as_str()) => Ok(()),
            Some("header" | "cookie") if secret || !required => Ok(()),
            Some("header" | "cookie") => {
                Err(format!("it needs `{name}` as a header or cookie, which no argument can be"))
            }
            _ => Err(format!("the parameter `{name}` has an unknown place")),
        }
    }
}

/// The schema of arguments, while it grows.
#[derive(Default)]
struct Arguments {
    properties: Map<String, Value>,
    required: Vec<Value>,
    closed: bool,
}

impl Arguments {
    fn add(&mut self, name: &str, schema: Value, required: bool) -> Result<(), String> {
        if name.is_empty() || self.properties.insert(name.to_owned(), schema).is_some() {
            return Err(format!("two of its arguments are called `{name}`"));
        }
        if required {
            self.required.push(name.into());
        }
        Ok(())
    }

    fn into_schema(self) -> Value {
        let mut schema = json!({"type": "object", "properties": self.properties});
        if !self.required.is_empty() {
            schema["required"] = self.required.into();
        }
        if self.closed {
            schema["additionalProperties"] = false.into();
        }
        schema
    }
}

/// What the body becomes: its properties are arguments if it is a plain object, else it is one
/// argument. Gives the pointer to that one.
fn body<'a>(
    schemas: &Schemas<'a>,
    found: &Found<'a>,
    arguments: &mut Arguments,
) -> Result<Option<String>, String> {
    arguments.closed = true;
    let Some(body) = found.operation.get("requestBody") else { return Ok(None) };
    let body = schemas.resolve(body)?;
    let required = body.get("required").and_then(Value::as_bool).unwrap_or_default();
    let Some(media) = media_of(body) else {
        return match required {
            true => Err("its body is not `application/json`".to_owned()),
            false => Ok(None),
        };
    };
    if found.method == "get" {
        return if required { Err("a GET has no body".to_owned()) } else { Ok(None) };
    }
    let schema = match media.get("schema") {
        Some(schema) => schemas.inline(schema)?,
        None => json!({}),
    };
    let properties = schema.get("properties").and_then(Value::as_object);
    let mixed = ["oneOf", "anyOf", "allOf", "not", "if", "patternProperties"];
    let plain = found.method != "delete"
        && schema.get("type").and_then(Value::as_str) == Some("object")
        && !mixed.iter().any(|key| schema.get(key).is_some());
    if let Some(properties) = properties
        && plain
        && !properties.keys().any(|name| arguments.properties.contains_key(name))
    {
        let needed = schema.get("required").and_then(Value::as_array);
        let needs = |name: &str| {
            required && needed.is_some_and(|all| all.iter().any(|one| one.as_str() == Some(name)))
        };
        for (name, property) in properties {
            let read_only = property.get("readOnly").and_then(Value::as_bool) == Some(true);
            if !read_only {
                arguments.add(name, property.clone(), needs(name))?;
            }
        }
        arguments.closed =
            schema.get("additionalProperties").is_none_or(|more| more == &json!(false));
        return Ok(None);
    }
    arguments.add("body", schema, required)?;
    Ok(Some("/body".to_owned()))
}

/// The schema of what an operation answers with success.
fn answer(schemas: &Schemas<'_>, operation: &Value) -> Option<Value> {
    let responses = operation.get("responses")?.as_object()?;
    let mut good = responses.iter().filter(|(status, _)| status.starts_with('2'));
    let response = good.find_map(|(_, response)| {
        let response = schemas.resolve(response).ok()?;
        media_of(response)
    })?;
    schemas.inline(response.get("schema")?).ok()
}

fn media_of(of: &Value) -> Option<&Value> {
    let content = of.get("content")?.as_object()?;
    let is_json = |kind: &str| {
        kind.split(';')
            .next()
            .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
    };
    content.iter().find(|(kind, _)| is_json(kind)).map(|(_, media)| media)
}

/// Whether a query parameter is written as we write it: a scalar, or a list that repeats its name.
fn is_plain(parameter: &Value, schemas: &Schemas<'_>) -> bool {
    let style = parameter.get("style").and_then(Value::as_str).unwrap_or("form");
    let explode = parameter.get("explode").and_then(Value::as_bool).unwrap_or(true);
    let of = parameter.get("schema").and_then(|schema| schemas.resolve(schema).ok());
    let kind = of.and_then(|schema| schema.get("type")).and_then(Value::as_str);
    match kind {
        Some("object") => false,
        Some("array") => style == "form" && explode,
        _ => style == "form" && parameter.get("content").is_none(),
    }
}

fn described<'a>(schemas: &Schemas<'a>, parameter: &'a Value) -> Result<Value, String> {
    let mut schema = match parameter.get("schema") {
        Some(schema) => schemas.inline(schema)?,
        None => json!({"type": "string"}),
    };
    if let (Some(object), Some(text)) = (schema.as_object_mut(), parameter.get("description"))
        && !object.contains_key("description")
    {
        object.insert("description".to_owned(), text.clone());
    }
    Ok(schema)
}

/// The names of the places in a path.
fn places(path: &str) -> impl Iterator<Item = &str> {
    path.split('{').skip(1).filter_map(|after| after.split_once('}')).map(|(name, _)| name)
}

/// What the security schemes call the headers, cookies and parameters that hold credentials.
fn secrets(root: &Value) -> Vec<String> {
    let schemes = root.pointer("/components/securitySchemes").and_then(Value::as_object);
    schemes
        .into_iter()
        .flat_map(Map::values)
        .filter_map(|scheme| scheme.get("name")?.as_str())
        .map(str::to_ascii_lowercase)
        .collect()
}
