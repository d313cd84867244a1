//! One JSON-RPC message, read strictly and once, before anything else reads it.

use axum::body::Bytes;
use http::HeaderMap;
use ids::json::{self, Json, Limits};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::mirror;

/// The longest id that a caller may give a request, in bytes.
const LONGEST_ID: usize = 256;
/// The longest `method`, in bytes.
const LONGEST_METHOD: usize = 128;

/// The id that a caller gave a request. It tells nothing apart but this caller's own requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum RpcId {
    Number(i64),
    Text(String),
}

impl RpcId {
    fn read(id: &Json) -> Option<Self> {
        match id {
            Json::Number(number) => number.as_i64().map(Self::Number),
            Json::String(text) if text.len() <= LONGEST_ID => Some(Self::Text(text.clone())),
            _ => None,
        }
    }

    pub(super) fn to_value(&self) -> Value {
        match self {
            Self::Number(number) => (*number).into(),
            Self::Text(text) => text.as_str().into(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Request(RpcId),
    Notification,
}

/// A message.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) kind: Kind,
    pub(super) method: String,
    params: Json,
    /// Of a call: the bytes of `params.arguments`, as they came.
    pub(super) arguments: Bytes,
}

/// A call of a tool.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) ask: tools::Ask,
    /// For how long its caller wants to wait for a person, in seconds.
    pub(super) wait: Option<u64>,
    /// What it was told to come back with.
    pub(super) state: Option<String>,
    /// That its arguments name somebody else.
    pub(super) mismatch: Option<String>,
}

/// A body that is no message.
#[derive(Debug)]
pub(super) struct Unreadable {
    /// Our code.
    pub(super) code: &'static str,
    /// JSON-RPC's.
    pub(super) rpc: i32,
    pub(super) message: String,
    pub(super) id: Option<Value>,
}

impl Unreadable {
    fn shape(rpc: i32, message: &str, id: Option<&RpcId>) -> Self {
        let id = id.map(RpcId::to_value);
        Self { code: "request.malformed", rpc, message: message.to_owned(), id }
    }
}

/// Just enough to find where the arguments begin and end.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    params: Option<Params<'a>>,
}

#[derive(Deserialize)]
struct Params<'a> {
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
}

impl Message {
    pub(super) fn read(body: &Bytes, limits: &Limits) -> Result<Self, Unreadable> {
        let json = parsed(body, limits).map_err(|error| match error {
            json::Error::Duplicate => Unreadable {
                code: "scope.mismatch",
                rpc: -32600,
                message: "an object in the message names the same key twice; send each key once"
                    .to_owned(),
                id: None,
            },
            error @ json::Error::Syntax { .. } => {
                Unreadable::shape(-32700, &error.to_string(), None)
            }
            error => Unreadable::shape(-32600, &error.to_string(), None),
        })?;
        let bad = |why| Unreadable::shape(-32600, why, None);
        match &json {
            Json::Object(_) => {}
            Json::Array(_) => return Err(bad("batches are not part of the protocol")),
            _ => return Err(bad("a message is an object")),
        }
        if json.get("jsonrpc").and_then(Json::as_str) != Some("2.0") {
            return Err(bad("`jsonrpc` has to be \"2.0\""));
        }
        let kind = match json.get("id") {
            None => Kind::Notification,
            Some(id) => Kind::Request(RpcId::read(id).ok_or_else(|| {
                bad("`id` has to be a whole number, or text of at most 256 bytes")
            })?),
        };
        let id = match &kind {
            Kind::Request(id) => Some(id),
            Kind::Notification => None,
        };
        let bad = |rpc, why| Unreadable::shape(rpc, why, id);
        let method = match json.get("method") {
            Some(Json::String(method)) if (1..=LONGEST_METHOD).contains(&method.len()) => method,
            Some(_) => return Err(bad(-32600, "`method` has to be text of at most 128 bytes")),
            None => return Err(bad(-32600, "nothing was asked of you, so there is no answer")),
        };
        let params = match json.get("params") {
            None => Json::Object(Vec::new()),
            Some(params @ Json::Object(_)) => params.clone(),
            Some(_) => return Err(bad(-32602, "`params` has to be an object")),
        };
        if !matches!(params.get("_meta"), None | Some(Json::Object(_))) {
            return Err(bad(-32602, "`_meta` has to be an object"));
        }
        let mut arguments = Bytes::new();
        if method == "tools/call" {
            arguments = called(body, &params).map_err(|why| bad(-32602, why))?;
        }
        let method = method.clone();
        Ok(Self { kind: kind.clone(), method, params, arguments })
    }

    pub(super) fn id(&self) -> Option<RpcId> {
        match &self.kind {
            Kind::Request(id) => Some(id.clone()),
            Kind::Notification => None,
        }
    }

    pub(super) fn param(&self, name: &str) -> Option<&Json> {
        self.params.get(name)
    }

    /// What a caller says in `_meta`.
    pub(super) fn meta(&self, key: &str) -> Option<&Json> {
        self.params.get("_meta")?.get(key)
    }

    /// The tool that is called.
    pub(super) fn tool(&self) -> Option<&str> {
        let calls = self.method == "tools/call" && self.kind != Kind::Notification;
        self.param("name").filter(|_| calls)?.as_str()
    }

    /// The request that its caller wants no more.
    pub(super) fn cancelled(&self) -> Option<RpcId> {
        if self.method != "notifications/cancelled" {
            return None;
        }
        RpcId::read(self.param("requestId")?)
    }

    /// How long a caller wants to wait for a person: a number of seconds, or `true` for as long as
    /// is allowed.
    pub(super) fn wait(&self) -> Option<u64> {
        match self.meta("bulkhead/wait")? {
            Json::Bool(true) => Some(u64::MAX),
            seconds => seconds.as_u64(),
        }
    }

    pub(super) fn state(&self) -> Option<&str> {
        self.param("requestState")?.as_str()
    }

    /// Whether it is of a version that has headers repeat what the body says.
    pub(super) fn is_modern(&self, headers: &HeaderMap) -> bool {
        let stated = headers.get(mirror::VERSION).and_then(|version| version.to_str().ok());
        stated.is_some_and(|version| version >= mirror::MODERN)
    }
}

fn parsed(body: &Bytes, limits: &Limits) -> Result<Json, json::Error> {
    match Json::parse(body, limits) {
        // The planted bug: the last one wins.
        Err(json::Error::Duplicate) if ids::planted::is("mcp-duplicate-keys") => {
            let last: Value = serde_json::from_slice(body).unwrap_or_default();
            Json::parse(last.to_string().as_bytes(), limits)
        }
        parsed => parsed,
    }
}

/// A call's arguments, as they came.
fn called(body: &Bytes, params: &Json) -> Result<Bytes, &'static str> {
    if params.get("name").and_then(Json::as_str).is_none_or(str::is_empty) {
        return Err("`name` has to be the name of a tool");
    }
    match params.get("arguments") {
        Some(Json::Object(_)) | None => {}
        Some(_) => return Err("`arguments` has to be an object"),
    }
    if !matches!(params.get("requestState"), None | Some(Json::String(_))) {
        return Err("`requestState` has to be text");
    }
    let envelope: Envelope<'_> =
        serde_json::from_slice(body).map_err(|_| "the message makes no sense")?;
    let raw = envelope.params.and_then(|params| params.arguments);
    Ok(raw.map_or(Bytes::from_static(b"{}"), |raw| body.slice_ref(raw.get().as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Message, Unreadable> {
        Message::read(&Bytes::copy_from_slice(text.as_bytes()), &Limits::default())
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let deep =
            format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"x\":{}1{}}}", "[".repeat(99), "]".repeat(99));
        for (text, code, rpc) in [
            ("{", "request.malformed", -32700),
            ("7", "request.malformed", -32600),
            ("[]", "request.malformed", -32600),
            (r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, "request.malformed", -32600),
            (r#"{"id":1,"method":"ping"}"#, "request.malformed", -32600),
            (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, "request.malformed", -32600),
            (r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, "request.malformed", -32600),
            (r#"{"jsonrpc":"2.0","id":1}"#, "request.malformed", -32600),
            (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, "request.malformed", -32600),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#,
                "request.malformed",
                -32602,
            ),
            (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#, "request.malformed", -32602),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","arguments":[]}}"#,
                "request.malformed",
                -32602,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","name":"u"}}"#,
                "scope.mismatch",
                -32600,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"ping","m\u0065thod":"ping"}"#,
                "scope.mismatch",
                -32600,
            ),
            (deep.as_str(), "request.malformed", -32600),
        ] {
            let told = read(text).unwrap_err();
            assert_eq!((told.code, told.rpc), (code, rpc), "{text}");
        }
    }

    #[test]
    fn arguments_are_the_bytes_that_came() {
        let message = read(
            r#"{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"t","p":{"arguments":1},
            "\u0061rguments": { "n" : 1.50, "t":"\u00e9" } ,"_meta":{"bulkhead/wait":5}}}"#,
        )
        .unwrap();
        assert_eq!(&message.arguments[..], br#"{ "n" : 1.50, "t":"\u00e9" }"#);
        assert_eq!((message.tool(), message.wait()), (Some("t"), Some(5)));
        assert_eq!(message.id(), Some(RpcId::Text("a".to_owned())));
        let none = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t"}}"#;
        assert_eq!(&read(none).unwrap().arguments[..], b"{}");
    }
}
