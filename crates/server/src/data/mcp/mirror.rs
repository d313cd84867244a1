//! Headers that repeat what the body says, so that something on the way can look at them. They
//! have to be the same, or what was let through is not what is done.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue};
use ids::json::Json;
use scope::{Scope, Write};
use tools::Error;

use super::message::Message;
use crate::App;

pub(super) const METHOD: &str = "mcp-method";
pub(super) const NAME: &str = "mcp-name";
pub(super) const VERSION: &str = "mcp-protocol-version";
/// What the headers of a call's arguments begin with.
pub(super) const PARAMETER: &str = "mcp-param-";
/// The version since which there are such headers.
pub(super) const MODERN: &str = "2026-07-28";
/// The versions that are spoken here.
pub(super) const SPOKEN: [&str; 4] = ["2025-03-26", "2025-06-18", "2025-11-25", MODERN];
/// Where the body says its version.
const SAID_VERSION: &str = "io.modelcontextprotocol/protocolVersion";

/// Holds the headers that there are against the body. Which have to be there, the SDK says.
pub(super) fn held(headers: &HeaderMap, message: &Message) -> Result<(), String> {
    if ids::planted::is("mcp-mirrors-unheld") {
        return Ok(());
    }
    if let Some(method) = one(headers, METHOD)?
        && method != message.method
    {
        return Err("Mcp-Method is not the method of the body".to_owned());
    }
    if let Some(name) = one(headers, NAME)? {
        let expected = match message.method.as_str() {
            "tools/call" | "prompts/get" => message.param("name"),
            "resources/read" | "resources/subscribe" | "resources/unsubscribe" => {
                message.param("uri")
            }
            _ => None,
        };
        if expected.and_then(Json::as_str) != Some(plain(name)?.as_str()) {
            return Err("Mcp-Name is not what the body names".to_owned());
        }
    }
    if has_parameters(headers) && message.tool().is_none() {
        return Err("Mcp-Param headers are of calls of tools".to_owned());
    }
    version(headers, message)
}

fn version(headers: &HeaderMap, message: &Message) -> Result<(), String> {
    let stated = one(headers, VERSION)?;
    let said = match message.method.as_str() {
        "initialize" => message.param("protocolVersion"),
        _ => message.meta(SAID_VERSION),
    };
    let said = said.and_then(Json::as_str);
    match (stated, said) {
        (Some(stated), Some(said)) if stated != said => {
            Err("MCP-Protocol-Version is not the version of the body".to_owned())
        }
        // The SDK says which there are, where the body says one that is not.
        (Some(stated), None) if !SPOKEN.contains(&stated) => {
            Err(format!("this version of the protocol is not spoken here; {}", SPOKEN.join(", ")))
        }
        _ => Ok(()),
    }
}

fn has_parameters(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().starts_with(PARAMETER))
}

/// The headers of a call's arguments, and the arguments that they repeat. They are held against each
/// other once the gate has let the call through: what the tool declares, its upstream says.
#[derive(Clone, Debug)]
pub(in crate::data) struct Mirrored {
    headers: HeaderMap,
    message: Arc<Message>,
    /// Whether what is declared has to be there.
    all: bool,
}

impl Mirrored {
    /// Of a call of a tool, if it may have any.
    pub(super) fn of(headers: &HeaderMap, message: &Arc<Message>) -> Option<Self> {
        message.tool()?;
        let all = message.is_modern(headers);
        if !all && !has_parameters(headers) {
            return None;
        }
        let own = headers.iter().filter(|(name, _)| name.as_str().starts_with(PARAMETER));
        let own = own.map(|(name, value)| (name.clone(), value.clone())).collect();
        Some(Self { headers: own, message: Arc::clone(message), all })
    }

    /// Holds them against each other, by the tool as its caller sees it. Where that cannot be had, no
    /// header is held, and where there is none the call goes on: to send it needs the definition all
    /// the same, and what became of it before is known without.
    pub(in crate::data) async fn held(
        &self,
        app: &App,
        scope: &Scope<Write>,
        name: &str,
    ) -> Result<(), Error> {
        let shown = tokio::select! {
            biased;
            why = scope.ended() => Err(Error::Scope(why)),
            shown = app.tools.described(scope, name) => shown,
        };
        let shown = match shown {
            Err(_) if self.headers.is_empty() => return Ok(()),
            shown => shown?,
        };
        self.by(shown.as_ref().map(|shown| &shown.input)).map_err(Error::Header)
    }

    /// Each header has to be declared in the schema (`x-mcp-header`), and to be what the body says.
    fn by(&self, schema: Option<&Json>) -> Result<(), String> {
        if ids::planted::is("mcp-mirrors-unheld") {
            return Ok(());
        }
        let mut declared = Vec::new();
        if let Some(schema) = schema {
            annotated(schema, &mut Vec::new(), &mut declared);
        }
        for name in self.headers.keys() {
            let suffix = &name.as_str()[PARAMETER.len()..];
            let stated = one(&self.headers, name.as_str())?.map(plain).transpose()?;
            let found = declared.iter().find(|(header, _)| header.eq_ignore_ascii_case(suffix));
            let Some((_, path)) = found else {
                return Err(format!("{name} mirrors no argument of this tool"));
            };
            if self.said(path) != stated {
                return Err(format!("{name} is not what the body says"));
            }
        }
        let missing = declared.iter().find(|(header, path)| {
            let name = format!("{PARAMETER}{header}").to_ascii_lowercase();
            !self.headers.contains_key(name) && self.said(path).is_some()
        });
        match missing {
            Some((header, _)) if self.all => Err(format!("Mcp-Param-{header} has to be there")),
            _ => Ok(()),
        }
    }

    /// What the body says there, as it would stand in a header.
    fn said(&self, path: &[&str]) -> Option<String> {
        let arguments = self.message.param("arguments")?;
        match path.iter().try_fold(arguments, |value, key| value.get(key))? {
            Json::String(text) => Some(text.clone()),
            value @ (Json::Bool(_) | Json::Number(_)) => {
                Some(String::from_utf8_lossy(&value.to_vec()).into_owned())
            }
            _ => None,
        }
    }
}

/// Properties with `x-mcp-header`, reached through `properties` alone.
fn annotated<'a>(
    schema: &'a Json,
    path: &mut Vec<&'a str>,
    found: &mut Vec<(&'a str, Vec<&'a str>)>,
) {
    let Some(Json::Object(properties)) = schema.get("properties") else { return };
    for (name, property) in properties {
        path.push(name);
        if let Some(header) = property.get("x-mcp-header").and_then(Json::as_str) {
            found.push((header, path.clone()));
        }
        annotated(property, path, found);
        path.pop();
    }
}

/// The one value of a header, as text.
fn one<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, String> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(format!("{name} is there twice"));
    }
    let text = |value: &'a HeaderValue| value.to_str().map_err(|_| format!("{name} is no text"));
    text(value).map(Some)
}

/// What a header says, where it had to be wrapped: `=?base64?…?=`.
fn plain(value: &str) -> Result<String, String> {
    let wrapped = value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?="));
    let Some(wrapped) = wrapped else { return Ok(value.to_owned()) };
    let bad = || "a header is not the base64 that it says it is".to_owned();
    String::from_utf8(STANDARD.decode(wrapped).map_err(|_| bad())?).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;
    use http::HeaderName;
    use ids::json::Limits;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        map
    }

    /// Those of the newest version.
    fn modern(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        headers(&[&[(VERSION, MODERN)], pairs].concat())
    }

    fn call() -> Message {
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"søk",
            "arguments":{"region":"eu","deep":{"n":42}},
            "_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
        Message::read(&Bytes::from_static(body.as_bytes()), &Limits::default()).unwrap()
    }

    #[test]
    fn what_is_repeated_is_the_same() {
        for (pairs, good) in [
            (&[][..], true),
            (&[("mcp-method", "tools/call")], true),
            (&[("mcp-method", "tools/list")], false),
            (&[("mcp-method", "tools/call"), ("mcp-method", "tools/call")], false),
            (&[("mcp-name", "=?base64?c8O4aw==?=")], true),
            (&[("mcp-name", "=?base64?c8O4a?=")], false),
            (&[("mcp-name", "sok")], false),
            (&[("mcp-protocol-version", "2026-07-28")], true),
            (&[("mcp-protocol-version", "2025-11-25")], false),
        ] {
            assert_eq!(held(&headers(pairs), &call()).is_ok(), good, "{pairs:?}");
        }
    }

    #[test]
    fn arguments_in_headers_are_declared_and_the_same() {
        let schema = r#"{"properties":{"region":{"type":"string","x-mcp-header":"Region"},
            "deep":{"properties":{"n":{"type":"integer","x-mcp-header":"N"}}},
            "absent":{"x-mcp-header":"Absent"}}}"#;
        let schema = Json::parse(schema.as_bytes(), &Limits::default()).unwrap();
        for (pairs, good) in [
            (&[][..], false),
            (&[("mcp-param-region", "eu")], false),
            (&[("mcp-param-region", "eu"), ("mcp-param-n", "42")], true),
            (&[("mcp-param-region", "=?base64?ZXU=?="), ("mcp-param-n", "42")], true),
            (&[("mcp-param-region", "us")], false),
            (&[("mcp-param-region", "eu"), ("mcp-param-region", "us")], false),
            (&[("mcp-param-n", "43")], false),
            (&[("mcp-param-absent", "")], false),
            (&[("mcp-param-tenant", "acme")], false),
        ] {
            let mirrored = Mirrored::of(&modern(pairs), &Arc::new(call())).unwrap();
            let told = mirrored.by(Some(&schema));
            assert_eq!(told.is_ok(), good, "{pairs:?} {told:?}");
        }
        // In the older version nothing has to be there, and what is has to be right.
        for (pairs, good) in
            [(&[("mcp-param-region", "eu")], true), (&[("mcp-param-region", "us")], false)]
        {
            let mirrored = Mirrored::of(&headers(pairs), &Arc::new(call())).unwrap();
            let told = mirrored.by(Some(&schema));
            assert_eq!(told.is_ok(), good, "{pairs:?} {told:?}");
        }
        let mirrored =
            Mirrored::of(&headers(&[("mcp-param-region", "eu")]), &Arc::new(call())).unwrap();
        assert!(mirrored.by(None).is_err());
    }
}
