//! An MCP server over Streamable HTTP, in both versions of the protocol that are common: each
//! request for itself (2026-07-28), or after `initialize` and in a session (2025-11-25).
//!
//! What is said here is said by hand: nothing of it comes from what such servers are made of.

mod answer;
mod place;

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use base64::Engine as _;
use http::Method;
use serde_json::{Map, Value, json};
use tokio::sync::OnceCell;

pub(crate) use self::{
    answer::{answers, denied, pick, result, text},
    place::{Records, Way},
};
use super::app::{Words, filled, steady, told, value};
use crate::{
    canary::Side,
    lab::{Caller, Lab},
    place::Twist,
    target::{Call, Credential, Protocol, Server},
    verdict::Halt,
    wire::{Exchange, Request},
};

const STATELESS: &str = "2026-07-28";
const SESSIONS: &str = "2025-11-25";
/// Stands where arguments are to come to the letter.
const RAW: &str = "bulkhead-probe-raw-arguments";
/// The header of a session.
pub(crate) const SESSION: &str = "mcp-session-id";

/// How it is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// Each request for itself.
    Stateless,
    /// After `initialize`.
    Sessions,
}

/// In which session something is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Within {
    /// In the caller's own, where there are any.
    #[default]
    Own,
    /// In the one of this name, whoever opened it.
    Named(String),
}

/// One JSON-RPC message.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    method: String,
    params: Value,
    /// Drawn, if not said.
    id: Option<Value>,
    /// Arguments to the letter, for what JSON can say and a table cannot.
    raw: Option<String>,
    version: Option<Version>,
    within: Within,
    /// Its result in a dry run.
    example: Value,
}

impl Message {
    pub(crate) fn new(method: &str, params: Value) -> Self {
        Self {
            method: method.to_owned(),
            params,
            id: None,
            raw: None,
            version: None,
            within: Within::Own,
            example: json!({}),
        }
    }

    /// With this id, which others may have, too.
    pub(crate) fn id(mut self, id: Value) -> Self {
        self.id = Some(id);
        self
    }

    pub(crate) fn raw(mut self, arguments: &str) -> Self {
        self.raw = Some(arguments.to_owned());
        self
    }

    pub(crate) fn version(mut self, version: Version) -> Self {
        self.version = Some(version);
        self
    }

    pub(crate) fn within(mut self, within: Within) -> Self {
        self.within = within;
        self
    }

    pub(crate) fn example(mut self, result: Value) -> Self {
        self.example = result;
        self
    }

    /// With something put over its parameters.
    pub(crate) fn param(mut self, name: &str, value: Value) -> Self {
        if let Value::Object(params) = &mut self.params {
            params.insert(name.to_owned(), value);
        }
        self
    }

    /// With something among the arguments besides.
    pub(crate) fn argument(mut self, name: &str, value: Value) -> Self {
        if let Some(Value::Object(arguments)) = self.params.get_mut("arguments") {
            arguments.insert(name.to_owned(), value);
        }
        self
    }

    /// What `Mcp-Name` has to say.
    fn name(&self) -> Option<&str> {
        let field = match self.method.as_str() {
            "tools/call" | "prompts/get" => "name",
            "resources/read" => "uri",
            _ => return None,
        };
        self.params.get(field)?.as_str()
    }
}

/// Somebody's session, if the server made one.
#[derive(Clone, Debug)]
struct Session {
    by: Caller,
    name: Option<String>,
}

/// A server, and what is known of how it is spoken to.
pub(crate) struct Mcp<'a> {
    pub(crate) server: &'a Server,
    url: String,
    version: OnceCell<Version>,
    sessions: Mutex<BTreeMap<String, Session>>,
    number: AtomicU64,
    /// Whether its ids are numbers.
    numeric: AtomicBool,
}

impl<'a> Mcp<'a> {
    pub(crate) fn new(server: &'a Server, url: String, lab: &Lab) -> Self {
        let first = 1 + lab.below(1_000_000);
        Self {
            server,
            url,
            version: OnceCell::new(),
            sessions: Mutex::default(),
            number: AtomicU64::new(first as u64),
            numeric: AtomicBool::new(false),
        }
    }

    /// A tool called, with what is known in its places.
    pub(crate) fn calling(&self, call: &Call, words: &Words) -> Result<Message, Halt> {
        let empty = Value::Object(Map::new());
        let arguments = value(call.arguments.as_ref().unwrap_or(&empty), words)?.unwrap_or(empty);
        let arguments = match self.numeric.load(Ordering::Relaxed) {
            true => numbered(arguments, words.get("id")),
            false => arguments,
        };
        let message =
            Message::new("tools/call", json!({ "name": call.tool, "arguments": arguments }));
        Ok(message.example(answer::example(call)))
    }

    /// A resource read.
    pub(crate) fn reading(&self, uri: &str, words: &Words) -> Result<Message, Halt> {
        let uri = filled(uri, words, str::to_owned)?;
        Ok(Message::new("resources/read", json!({ "uri": uri })))
    }

    /// A tool called in somebody's name.
    pub(crate) async fn call(
        &self,
        lab: &Lab,
        by: &Caller,
        (call, words): (&Call, &Words),
        twist: &Twist,
    ) -> Result<Exchange, Halt> {
        let words = words.clone().with_all(&twist.words);
        self.send(lab, by, &self.calling(call, &words)?, twist).await
    }

    /// Says something in somebody's name, and waits for what comes back.
    pub(crate) async fn send(
        &self,
        lab: &Lab,
        by: &Caller,
        message: &Message,
        twist: &Twist,
    ) -> Result<Exchange, Halt> {
        let version = match message.version {
            Some(version) => version,
            None => Box::pin(self.spoken(lab)).await?,
        };
        let session = match (&message.within, version) {
            (Within::Named(name), _) => Some(name.clone()),
            (Within::Own, Version::Stateless) => None,
            (Within::Own, Version::Sessions) => match Box::pin(self.session(lab, by, twist)).await?
            {
                Ok(session) => session,
                Err(refused) => return Ok(*refused),
            },
        };
        Box::pin(self.post(lab, by, message, (version, session.as_deref()), twist)).await
    }

    /// The version that both sides know.
    pub(crate) async fn spoken(&self, lab: &Lab) -> Result<Version, Halt> {
        let found = async {
            match self.server.protocol {
                Protocol::Stateless => return Ok(Version::Stateless),
                Protocol::Sessions => return Ok(Version::Sessions),
                Protocol::Auto => {}
            }
            let discover = Message::new("server/discover", json!({}))
                .example(json!({ "supportedVersions": [STATELESS] }));
            let sent = (Version::Stateless, None);
            let by = lab.caller(Side::A);
            let exchange = self.post(lab, by, &discover, sent, &Twist::none()).await?;
            let versions = result(&exchange).map(|result| result["supportedVersions"].clone());
            let known = versions.as_ref().and_then(Value::as_array);
            Ok(match known.is_some_and(|all| all.iter().any(|one| *one == STATELESS)) {
                true => Version::Stateless,
                false => Version::Sessions,
            })
        };
        self.version.get_or_try_init(|| found).await.copied()
    }

    /// Opens a session of this caller's, whether or not it has one; what came back, and its name.
    pub(crate) async fn open(
        &self,
        lab: &Lab,
        by: &Caller,
        twist: &Twist,
    ) -> Result<(Exchange, Option<String>), Halt> {
        let hello = json!({
            "protocolVersion": SESSIONS,
            "capabilities": {},
            "clientInfo": { "name": "bulkhead-probe", "version": env!("CARGO_PKG_VERSION") },
        });
        let hello = Message::new("initialize", hello)
            .example(json!({ "protocolVersion": SESSIONS, "capabilities": {} }));
        let calm =
            Twist { headers: twist.headers.clone(), query: twist.query.clone(), ..Twist::none() };
        let sent = (Version::Sessions, None);
        let exchange = self.post(lab, by, &hello, sent, &calm).await?;
        let name = exchange.header(SESSION).map(str::to_owned);
        if result(&exchange).is_some() {
            let done = Message::new("notifications/initialized", Value::Null);
            let sent = (Version::Sessions, name.as_deref());
            self.post(lab, by, &done, sent, &calm).await?;
        }
        Ok((exchange, name))
    }

    /// The caller's own session, opened where it has none; or how that was refused.
    async fn session(
        &self,
        lab: &Lab,
        by: &Caller,
        twist: &Twist,
    ) -> Result<Result<Option<String>, Box<Exchange>>, Halt> {
        let secret = by.credential.as_ref().map(Credential::expose);
        let key = format!("{:?}", (&by.label, secret, &by.headers, &twist.headers, &twist.query));
        if let Some(known) = self.known().get(&key) {
            return Ok(Ok(known.name.clone()));
        }
        let (exchange, name) = self.open(lab, by, twist).await?;
        if result(&exchange).is_none() {
            return Ok(Err(Box::new(exchange)));
        }
        self.known().insert(key, Session { by: by.clone(), name: name.clone() });
        Ok(Ok(name))
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends what sessions were opened for the checks.
    pub(crate) async fn close(&self, lab: &Lab) {
        let _cleaning = lab.wire.cleaning();
        let sessions = std::mem::take(&mut *self.known());
        for Session { by, name } in sessions.into_values() {
            let Some(name) = name else { continue };
            // A server may not let its clients end sessions; they end by themselves then.
            let _ = lab.send(&by, self.bare(Method::DELETE, &name)).await;
        }
    }

    /// A request on a session that is no message.
    pub(crate) fn bare(&self, method: Method, session: &str) -> Request {
        Request::new(method, self.url.clone())
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", SESSIONS)
            .header(SESSION, session)
    }

    async fn post(
        &self,
        lab: &Lab,
        by: &Caller,
        message: &Message,
        (version, session): (Version, Option<&str>),
        twist: &Twist,
    ) -> Result<Exchange, Halt> {
        let mut message = message.clone();
        for (name, value) in &twist.fields {
            message = message.argument(name, value.clone());
        }
        let request = self.request(&message, version, session);
        let twist = Twist { fields: Vec::new(), ..twist.clone() };
        steady(lab, by, request.twisted(&twist)).await
    }

    fn request(&self, message: &Message, version: Version, session: Option<&str>) -> Request {
        let stateless = version == Version::Stateless;
        let mut params = message.params.clone();
        if stateless {
            let meta = json!({
                "io.modelcontextprotocol/protocolVersion": STATELESS,
                "io.modelcontextprotocol/clientInfo":
                    { "name": "bulkhead-probe", "version": env!("CARGO_PKG_VERSION") },
                "io.modelcontextprotocol/clientCapabilities": { "elicitation": {}, "sampling": {} },
            });
            if let Value::Object(params) = &mut params {
                let known = params.entry("_meta").or_insert_with(|| json!({}));
                if let (Value::Object(known), Value::Object(meta)) = (known, meta) {
                    known.extend(meta);
                }
            }
        }
        let mut body = json!({ "jsonrpc": "2.0", "method": message.method });
        let id = match (message.method.starts_with("notifications/"), &message.id) {
            (true, _) => Value::Null,
            (false, Some(id)) => id.clone(),
            (false, None) => json!(self.number.fetch_add(1, Ordering::Relaxed)),
        };
        if !id.is_null() || message.id.is_some() {
            body["id"] = id.clone();
        }
        if message.raw.is_some() {
            params["arguments"] = json!(RAW);
        }
        if !params.is_null() {
            body["params"] = params;
        }
        let example = json!({ "jsonrpc": "2.0", "id": id, "result": message.example });
        let mut request = Request::new(Method::POST, self.url.clone())
            .header("accept", "application/json, text/event-stream")
            .json(&body)
            .example(example);
        if let Some(raw) = &message.raw {
            let text = body.to_string().replace(&format!("\"{RAW}\""), raw);
            request.body = Some(text.into_bytes());
        }
        request = match version {
            Version::Stateless => {
                let named = request.header("mcp-protocol-version", STATELESS);
                let named = named.header("mcp-method", &message.method);
                match message.name() {
                    Some(name) => named.header("mcp-name", &mirrored(name)),
                    None => named,
                }
            }
            Version::Sessions if message.method == "initialize" => request,
            Version::Sessions => request.header("mcp-protocol-version", SESSIONS),
        };
        match session {
            Some(session) => request.header(SESSION, session),
            None => request,
        }
    }

    /// From now on ids are sent as numbers, if they came as such.
    fn learn(&self, id: &Value) {
        if id.is_number() {
            self.numeric.store(true, Ordering::Relaxed);
        }
    }
}

/// The result of something that has to be done.
pub(crate) fn done(exchange: &Exchange) -> Result<Value, Halt> {
    result(exchange).ok_or_else(|| Halt::Failed(told(exchange)))
}

/// A header's value as SEP-2243 has it: what cannot stand there as it is comes in base64.
fn mirrored(name: &str) -> String {
    let plain = name.bytes().all(|byte| (0x20..0x7f).contains(&byte)) && name.trim() == name;
    match plain && !name.starts_with("=?") {
        true => name.to_owned(),
        false => {
            format!("=?base64?{}?=", base64::engine::general_purpose::STANDARD.encode(name))
        }
    }
}

/// With the id as a number, where it is the whole of an argument.
fn numbered(arguments: Value, id: Option<&str>) -> Value {
    let Value::Object(arguments) = arguments else { return arguments };
    let number = |value: Value| match value.as_str() {
        Some(text) if Some(text) == id => text.parse::<u64>().map_or(value, Value::from),
        _ => value,
    };
    Value::Object(arguments.into_iter().map(|(name, value)| (name, number(value))).collect())
}

#[cfg(test)]
mod tests;
