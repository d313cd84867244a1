//! What is written to an MCP server and what it says, held to JSON-RPC 2.0 and to nothing else.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use ids::{json::Json, planted};

use crate::{Fault, FaultKind, Note, rounds::KNOWN};

/// The version without sessions.
pub(super) const STATELESS: &str = "2026-07-28";
/// Versions that begin with `initialize`, the newest first.
pub(super) const WITH_SESSIONS: [&str; 3] = ["2025-11-25", "2025-06-18", "2025-03-26"];

/// What a server refuses with that needs something of whoever calls.
const MISSING_CAPABILITY: i64 = -32_021;

/// The longest text of an error or a note that is handed on, in bytes.
const LONGEST: usize = 2_048;

/// Which rules a server goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// Every request stands alone and says everything.
    Stateless,
    /// There was an `initialize`, which agreed on this.
    Agreed(&'static str),
    /// Nothing is agreed yet.
    None,
}

/// An object of these.
pub(super) fn object<const N: usize>(entries: [(&str, Json); N]) -> Json {
    Json::Object(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

/// A text.
pub(super) fn text(text: &str) -> Json {
    Json::String(text.to_owned())
}

/// Who we say that we are. Nothing of whoever calls.
pub(super) fn client_info() -> Json {
    object([("name", text("bulkhead")), ("version", text(env!("CARGO_PKG_VERSION")))])
}

/// The text of a request, under an id of our own.
pub(super) fn request(
    version: Version,
    id: u64,
    method: &str,
    mut params: Vec<(String, Json)>,
    capabilities: Option<&Json>,
) -> Vec<u8> {
    let mut meta = vec![("progressToken".to_owned(), Json::Number(id.into()))];
    if version == Version::Stateless {
        for (key, value) in [
            ("protocolVersion", text(STATELESS)),
            ("clientInfo", client_info()),
            // Of nobody who could answer: what it asks back is refused.
            ("clientCapabilities", capabilities.cloned().unwrap_or_else(|| object([]))),
        ] {
            meta.push((format!("io.modelcontextprotocol/{key}"), value));
        }
    }
    params.push(("_meta".to_owned(), Json::Object(meta)));
    object([
        ("jsonrpc", text("2.0")),
        ("id", Json::Number(id.into())),
        ("method", text(method)),
        ("params", Json::Object(params)),
    ])
    .to_vec()
}

/// The text of a notification.
pub(super) fn notification(method: &str, params: Json) -> Vec<u8> {
    object([("jsonrpc", text("2.0")), ("method", text(method)), ("params", params)]).to_vec()
}

/// What is answered to whatever a server asks back.
pub(super) fn refusal(id: Json, method: &str) -> Vec<u8> {
    let answer = if method == "ping" {
        ("result", object([]))
    } else {
        let message = text("nobody here answers requests of a server's");
        ("error", object([("code", Json::Number((-32_601).into())), ("message", message)]))
    };
    object([("jsonrpc", text("2.0")), ("id", id), answer]).to_vec()
}

/// The headers of a message.
pub(super) fn headers(
    version: Version,
    session: Option<&HeaderValue>,
    mirrored: Vec<(HeaderName, HeaderValue)>,
) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(12);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let accept = HeaderValue::from_static("application/json, text/event-stream");
    headers.insert(header::ACCEPT, accept);
    let agreed = match version {
        Version::Stateless => Some(STATELESS),
        Version::Agreed(version) => Some(version),
        Version::None => None,
    };
    if let Some(agreed) = agreed {
        let name = HeaderName::from_static("mcp-protocol-version");
        headers.insert(name, HeaderValue::from_static(agreed));
    }
    if let Some(session) = session {
        headers.insert(HeaderName::from_static("mcp-session-id"), session.clone());
    }
    headers.extend(mirrored);
    headers
}

/// Where arguments stand that a tool wants to see in headers too (`x-mcp-header`).
pub(in crate::upstream) type Mirrors = Vec<(Vec<String>, HeaderName)>;

/// Those of a tool's schema; nothing if they break the rules.
pub(in crate::upstream) fn mirrors(schema: &Json) -> Option<Mirrors> {
    let mut found = Mirrors::new();
    let mut open = vec![(Vec::new(), schema)];
    while let Some((path, schema)) = open.pop() {
        let Some(Json::Object(properties)) = schema.get("properties") else { continue };
        for (name, schema) in properties {
            let mut path = path.clone();
            path.push(name.clone());
            if let Some(header) = schema.get("x-mcp-header") {
                let header = header.as_str().filter(|header| !header.is_empty())?;
                let header = HeaderName::try_from(format!("mcp-param-{header}")).ok()?;
                if found.iter().any(|(_, known)| *known == header) {
                    return None;
                }
                found.push((path.clone(), header));
            }
            open.push((path, schema));
        }
    }
    Some(found)
}

/// The headers that repeat what a message of version [`STATELESS`] says.
pub(super) fn repeated(
    method: &str,
    params: &[(String, Json)],
    mirrors: &[(Vec<String>, HeaderName)],
) -> Result<Vec<(HeaderName, HeaderValue)>, Fault> {
    const UNFIT: Fault = Fault::unsent(FaultKind::Malformed("a value does not fit in a header"));
    let param = |key: &str| params.iter().find(|(k, _)| k == key).map(|(_, value)| value);
    let mut headers = Vec::with_capacity(2 + mirrors.len());
    let mut push = |name: HeaderName, value: &str| {
        let value = HeaderValue::from_str(&in_header(value)).map_err(|_| UNFIT)?;
        headers.push((name, value));
        Ok::<_, Fault>(())
    };
    push(HeaderName::from_static("mcp-method"), method)?;
    let name = match method {
        "tools/call" | "prompts/get" => param("name"),
        "resources/read" => param("uri"),
        _ => None,
    };
    if let Some(name) = name.and_then(Json::as_str) {
        push(HeaderName::from_static("mcp-name"), name)?;
    }
    for (path, header) in mirrors {
        let found = path
            .iter()
            .try_fold(param("arguments"), |value, key| value.map(|value| value.get(key)));
        match found.flatten() {
            Some(Json::String(value)) => push(header.clone(), value)?,
            Some(Json::Bool(value)) => push(header.clone(), &value.to_string())?,
            Some(Json::Number(value)) => push(header.clone(), &value.to_string())?,
            _ => {}
        }
    }
    Ok(headers)
}

/// A value as it stands in a header: as it is, or in base64 between marks.
fn in_header(value: &str) -> String {
    const MARKS: (&str, &str) = ("=?base64?", "?=");
    let edge = |c: char| matches!(c, ' ' | '\t');
    let edged = value.starts_with(edge) || value.ends_with(edge);
    let marked = value.starts_with(MARKS.0) && value.ends_with(MARKS.1);
    let visible = value.bytes().all(|byte| (0x20..=0x7e).contains(&byte));
    match visible && !edged && !marked {
        true => value.to_owned(),
        false => format!("{}{}{}", MARKS.0, STANDARD.encode(value), MARKS.1),
    }
}

/// One thing that a server says.
#[derive(Debug, PartialEq)]
pub(super) enum Heard {
    /// The answer to what was asked.
    Answer(Json),
    /// Its refusal: a code, and its words.
    Refusal(i64, String),
    /// Its refusal, for what whoever calls did not declare.
    Needs(&'static str),
    /// How far it is.
    Progress(Note),
    /// It asks something back.
    Asked(Json, String),
    /// Nothing that matters here.
    Nothing,
}

/// Reads one message on the stream of the request with this id. `nameless`: an error may leave
/// the id out, as it does where the request could not be read.
pub(super) fn hear(message: Json, id: u64, nameless: bool) -> Result<Heard, Fault> {
    let bad = |why| Err(Fault::sent(FaultKind::Malformed(why)));
    let Json::Object(entries) = message else { return bad("it is no message") };
    let (mut version, mut of, mut method, mut params) = (None, None, None, None);
    let (mut result, mut error) = (None, None);
    for (key, value) in entries {
        match key.as_str() {
            "jsonrpc" => version = Some(value),
            "id" => of = Some(value),
            "method" => method = Some(value),
            "params" => params = Some(value),
            "result" => result = Some(value),
            "error" => error = Some(value),
            _ => {}
        }
    }
    if version.as_ref().and_then(Json::as_str) != Some("2.0") {
        return bad("it is no message of JSON-RPC 2.0");
    }
    if let Some(method) = method {
        let Json::String(method) = method else { return bad("a method without a name") };
        if result.is_some() || error.is_some() {
            return bad("a message that asks and answers");
        }
        return match of {
            Some(asked @ (Json::Number(_) | Json::String(_))) => Ok(Heard::Asked(asked, method)),
            Some(_) => bad("a request without an id"),
            None if method == "notifications/progress" => Ok(progress(params.as_ref(), id)),
            None => Ok(Heard::Nothing),
        };
    }
    let ours = match &of {
        Some(Json::Number(number)) => number.as_u64() == Some(id),
        None | Some(Json::Null) => nameless && error.is_some(),
        Some(_) => false,
    };
    if !(ours || planted::is("tools-rpc-id-ignored")) {
        return bad("it answers something that was not asked");
    }
    match (result, error) {
        (Some(result), None) => Ok(Heard::Answer(result)),
        (None, Some(error)) => {
            let code = match error.get("code") {
                Some(Json::Number(code)) => code.as_i64(),
                _ => None,
            };
            let (Some(code), Some(message)) = (code, error.get("message").and_then(Json::as_str))
            else {
                return bad("an error without a code or a message");
            };
            match needed(&error).filter(|_| code == MISSING_CAPABILITY) {
                Some(what) => Ok(Heard::Needs(what)),
                None => Ok(Heard::Refusal(code, cut(message))),
            }
        }
        _ => bad("an answer that is neither a result nor an error"),
    }
}

/// What an error says that its server needs, if it is known here.
fn needed(error: &Json) -> Option<&'static str> {
    let needs = error.get("data")?.get("requiredCapabilities")?;
    KNOWN.into_iter().find(|what| needs.get(what).is_some())
}

/// A note, if it is of this request.
fn progress(params: Option<&Json>, id: u64) -> Heard {
    let number = |key: &str| match params?.get(key)? {
        Json::Number(number) => number.as_f64(),
        _ => None,
    };
    let token = params.and_then(|params| params.get("progressToken")).and_then(Json::as_u64);
    match number("progress") {
        Some(progress) if token == Some(id) => {
            let message = params.and_then(|params| params.get("message")).and_then(Json::as_str);
            Heard::Progress(Note { progress, total: number("total"), message: message.map(cut) })
        }
        // Of another's request: nobody here asked for it.
        _ => Heard::Nothing,
    }
}

/// A text, cut to the length at which it is handed on.
pub(super) fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(LONGEST)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Json {
        Json::parse(text.as_bytes(), &ids::json::Limits::default()).unwrap()
    }

    #[test]
    fn only_the_answer_to_this_request_is_one() {
        for (message, answer) in [
            (r#"{"jsonrpc":"2.0","id":7,"result":{}}"#, Some(Heard::Answer(object([])))),
            (r#"{"jsonrpc":"2.0","id":8,"result":{}}"#, None),
            (r#"{"jsonrpc":"2.0","id":"7","result":{}}"#, None),
            (r#"{"jsonrpc":"2.0","id":7.0,"result":{}}"#, None),
            (r#"{"jsonrpc":"2.0","id":-7,"result":{}}"#, None),
            (r#"{"jsonrpc":"2.0","id":null,"result":{}}"#, None),
            (r#"{"jsonrpc":"2.0","result":{}}"#, None),
            (r#"{"id":7,"result":{}}"#, None),
            (r#"{"jsonrpc":"1.0","id":7,"result":{}}"#, None),
            (r#"{"jsonrpc":"2.0","id":7}"#, None),
            (r#"{"jsonrpc":"2.0","id":7,"result":{},"error":{"code":1,"message":""}}"#, None),
            (r#"{"jsonrpc":"2.0","id":7,"result":{},"method":"ping"}"#, None),
            (r#"{"jsonrpc":"2.0","id":7,"error":{"code":"1","message":"m"}}"#, None),
            (r#"{"jsonrpc":"2.0","error":{"code":1,"message":"m"}}"#, None),
            (r#"[{"jsonrpc":"2.0","id":7,"result":{}}]"#, None),
            (
                r#"{"jsonrpc":"2.0","id":7,"error":{"code":-3,"message":"m"}}"#,
                Some(Heard::Refusal(-3, "m".into())),
            ),
            (
                r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32021,"message":"m",
                    "data":{"requiredCapabilities":{"sampling":{}}}}}"#,
                Some(Heard::Needs("sampling")),
            ),
            (
                r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32021,"message":"m",
                    "data":{"requiredCapabilities":{"secrets":{}}}}}"#,
                Some(Heard::Refusal(-32_021, "m".into())),
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
                Some(Heard::Asked(Json::Number(1.into()), "ping".into())),
            ),
            (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, None),
            (r#"{"jsonrpc":"2.0","method":"x"}"#, Some(Heard::Nothing)),
        ] {
            assert_eq!(hear(json(message), 7, false).ok(), answer, "{message}");
        }
        let nameless = json(r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"m"}}"#);
        assert_eq!(hear(nameless, 7, true), Ok(Heard::Refusal(1, "m".into())));
    }

    #[test]
    fn only_notes_of_this_request_are_handed_on() {
        let note = |token: &str| {
            let text = format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":
                {{"progressToken":{token},"progress":1,"total":2,"message":"m"}}}}"#
            );
            hear(json(&text), 7, false).unwrap()
        };
        let expected = Note { progress: 1.0, total: Some(2.0), message: Some("m".into()) };
        assert_eq!(note("7"), Heard::Progress(expected));
        for foreign in ["8", "\"7\"", "null", "[7]"] {
            assert_eq!(note(foreign), Heard::Nothing, "{foreign}");
        }
    }

    #[test]
    fn values_are_themselves_in_headers_or_stand_between_marks() {
        for (value, expected) in [
            ("search", "search"),
            ("a b", "a b"),
            ("", ""),
            (" a", "=?base64?IGE=?="),
            ("a\r\nx: y", "=?base64?YQ0KeDogeQ==?="),
            ("ü", "=?base64?w7w=?="),
            ("=?base64?YQ==?=", "=?base64?PT9iYXNlNjQ/WVE9PT89?="),
        ] {
            assert_eq!(in_header(value), expected);
        }
    }

    #[test]
    fn arguments_are_repeated_where_the_schema_says_so() {
        let schema = json(
            r#"{"properties":{"region":{"type":"string","x-mcp-header":"Region"},
            "at":{"properties":{"n":{"type":"integer","x-mcp-header":"N"}}},"b":{}}}"#,
        );
        let mut of = mirrors(&schema).unwrap();
        of.sort_by(|a, b| a.0.cmp(&b.0));
        let params = vec![
            ("name".to_owned(), text("t")),
            ("arguments".to_owned(), json(r#"{"region":"eu","at":{"n":3},"b":"x"}"#)),
        ];
        let got = repeated("tools/call", &params, &of).unwrap();
        let got: Vec<_> = got.iter().map(|(n, v)| (n.as_str(), v.to_str().unwrap())).collect();
        let expected = [
            ("mcp-method", "tools/call"),
            ("mcp-name", "t"),
            ("mcp-param-n", "3"),
            ("mcp-param-region", "eu"),
        ];
        assert_eq!(got, expected);
        for bad in [
            r#"{"properties":{"a":{"x-mcp-header":""}}}"#,
            r#"{"properties":{"a":{"x-mcp-header":"a b"}}}"#,
            r#"{"properties":{"a":{"x-mcp-header":"a\r\nb"}}}"#,
            r#"{"properties":{"a":{"x-mcp-header":1}}}"#,
            r#"{"properties":{"a":{"x-mcp-header":"X"},"b":{"x-mcp-header":"x"}}}"#,
        ] {
            assert!(mirrors(&json(bad)).is_none(), "{bad}");
        }
    }
}
