//! Upstreams as they should be; those that are not are in `lies`.

use std::sync::Arc;

use ::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::future::join_all;
use parking_lot::Mutex;
use serde_json::{Value, json};
use vault::Forms;

use super::*;
use crate::{
    Note, Timeouts,
    standin::{HttpStandIn, McpStandIn, Raw, RawStandIn, Seen, Speaks, json_reply, whole},
    template::Filled,
    world::{self, World, secret_of},
};

mod lies;

struct Bench {
    world: World,
    upstreams: Upstreams,
    upstream: Upstream,
}

impl Bench {
    async fn of(upstream: Upstream) -> Self {
        let settings = Settings { upstreams: vec![upstream.clone()], ..Settings::default() };
        let upstreams = Upstreams::open(&settings).unwrap();
        Self { world: World::new().await, upstreams, upstream }
    }

    fn bounds(&self) -> Bounds {
        Bounds::of(self.upstream.timeouts, None, self.upstream.max_response_bytes)
    }

    /// One call of an MCP tool.
    async fn tool(
        &self,
        scope: &Scope<Write>,
        name: &str,
        arguments: Value,
    ) -> Result<Value, Fault> {
        self.tool_noting(scope, name, arguments, &Progress::none()).await
    }

    async fn tool_noting(
        &self,
        scope: &Scope<Write>,
        name: &str,
        arguments: Value,
        progress: &Progress,
    ) -> Result<Value, Fault> {
        let by = by(scope);
        let bounds = self.bounds();
        let call = self.upstreams.call_of(scope, &self.upstream, &by, bounds, Some(progress))?;
        match self.upstreams.call_tool(call, name, strict(&arguments), None).await? {
            Answered::Reply(Reply { content: Content::Mcp(result), .. }) => {
                Ok(serde_json::from_slice(&result.to_vec()).unwrap())
            }
            other => panic!("{other:?}"),
        }
    }

    /// One request of an HTTP API's.
    async fn request(&self, scope: &Scope<Write>, path: &str) -> Result<Content, Fault> {
        self.send(scope, filled(Method::GET, path, None)).await
    }

    async fn send(&self, scope: &Scope<Write>, filled: Filled) -> Result<Content, Fault> {
        let by = by(scope);
        let (line, target) = self.upstreams.line(scope, &self.upstream, &by)?;
        let intent = Some(("idempotency-key", RandomId::from_bytes([7; 16])));
        let reply = http::call(&line, target, filled, &by, intent, &self.bounds()).await?;
        Ok(reply.content)
    }
}

fn filled(method: Method, path: &str, body: Option<&'static str>) -> Filled {
    let body = body.map(|body| bytes::Bytes::from_static(body.as_bytes()));
    Filled { method, path: path.to_owned(), query: None, headers: Vec::new(), body }
}

fn strict(value: &Value) -> Json {
    Json::parse(value.to_string().as_bytes(), &ids::json::Limits::default()).unwrap()
}

/// The scope's own credential; everybody's is of the same version.
fn by(scope: &Scope<Write>) -> Authorized {
    let secret = secret_of(scope.tenant().as_str(), scope.environment().as_str());
    let value = HeaderValue::try_from(format!("Bearer {secret}")).unwrap();
    Authorized {
        version: 1,
        headers: vec![(HeaderName::from_static("authorization"), value)],
        identity: None,
        login: None,
        secrets: Arc::new(Forms::of(&secret)),
    }
}

fn kind(answered: Result<impl std::fmt::Debug, Fault>) -> FaultKind {
    let fault = answered.unwrap_err();
    assert!(fault.sent, "{fault:?}");
    fault.kind
}

/// Everything that came with one secret shares nothing with what came with another.
fn apart(seen: &[Seen]) {
    let of = |field: fn(&Seen) -> Option<String>, tenant: &str| -> Vec<String> {
        let of = seen.iter().filter(|seen| seen.secret().is_some_and(|s| s.contains(tenant)));
        of.filter_map(field).collect()
    };
    let connection = |seen: &Seen| Some(seen.connection.to_string());
    let session = |seen: &Seen| seen.header("mcp-session-id").map(str::to_owned);
    for field in [connection as fn(&Seen) -> Option<String>, session] {
        let (acme, globex) = (of(field, "acme"), of(field, "globex"));
        assert!(acme.iter().all(|one| !globex.contains(one)), "{acme:?} {globex:?}");
    }
    assert!(!of(connection, "acme").is_empty() && !of(connection, "globex").is_empty());
}

#[tokio::test]
async fn tenants_share_no_connection_and_no_session() {
    for speaks in [Speaks::Sessions, Speaks::Stateless] {
        let standin = McpStandIn::new(speaks).await;
        let bench = Bench::of(world::mcp(standin.address())).await;
        let (acme, globex) = (bench.world.acme().await, bench.world.globex().await);
        for nth in 0..3 {
            for scope in [&acme, &globex] {
                let arguments = json!({"n": nth, "of": scope.tenant().as_str()});
                let answer = bench.tool(scope, "whoami", arguments.clone()).await.unwrap();
                assert_eq!(answer["structuredContent"]["arguments"], arguments, "{answer}");
            }
        }
        let seen = standin.book().seen();
        apart(&seen);
        // Hands were shaken once by each, and the connection was kept.
        let begun = if speaks == Speaks::Sessions { "initialize" } else { "server/discover" };
        assert_eq!(standin.book().rpc(begun).len(), 2, "{speaks:?}");
        assert_eq!(bench.upstreams.clients.len(), 2);
    }
    let standin = HttpStandIn::new().await;
    let bench = Bench::of(world::http(standin.address())).await;
    let (acme, globex) = (bench.world.acme().await, bench.world.globex().await);
    for _ in 0..3 {
        bench.request(&acme, "/a").await.unwrap();
        bench.request(&globex, "/a").await.unwrap();
    }
    apart(&standin.book().seen());
}

#[tokio::test]
async fn end_users_share_no_session() {
    let standin = McpStandIn::new(Speaks::Sessions).await;
    let bench = Bench::of(world::mcp(standin.address())).await;
    for subject in [None, Some("ada"), Some("bob"), Some("ada")] {
        let scope = bench.world.subject("acme", "live", subject).await;
        bench.tool(&scope, "whoami", json!({"s": subject})).await.unwrap();
    }
    assert_eq!(standin.book().rpc("initialize").len(), 3);
    let calls = standin.book().rpc("tools/call");
    let session = |nth: usize| calls[nth].header("mcp-session-id").unwrap();
    assert_eq!(session(1), session(3));
    assert!(session(0) != session(1) && session(1) != session(2) && session(0) != session(2));
}

#[tokio::test]
async fn another_version_of_the_credential_starts_afresh() {
    let standin = McpStandIn::new(Speaks::Sessions).await;
    let bench = Bench::of(world::mcp(standin.address())).await;
    let acme = bench.world.acme().await;
    for version in [1, 2] {
        let by = Authorized { version, ..by(&acme) };
        let call = bench.upstreams.call_of(&acme, &bench.upstream, &by, bench.bounds(), None);
        bench.upstreams.call_tool(call.unwrap(), "whoami", strict(&json!({})), None).await.unwrap();
    }
    assert_eq!(standin.book().rpc("initialize").len(), 2);
    let calls = standin.book().rpc("tools/call");
    assert_ne!(calls[0].connection, calls[1].connection);
}

/// Whatever ids callers use, upstream there are ours; each answer and each note finds who asked.
#[tokio::test]
async fn calls_at_once_are_not_mixed_up() {
    for speaks in [Speaks::Sessions, Speaks::Stateless] {
        let standin = McpStandIn::new(speaks).await;
        standin.shelf.notes.store(3, std::sync::atomic::Ordering::SeqCst);
        let bench = Bench::of(world::mcp(standin.address())).await;
        let (acme, globex) = (bench.world.acme().await, bench.world.globex().await);
        let calls = (0..24).map(|nth| {
            let (bench, scope) = (&bench, if nth % 2 == 0 { &acme } else { &globex });
            async move {
                let notes = Arc::new(Mutex::new(Vec::<Note>::new()));
                let sink = Arc::clone(&notes);
                let progress = Progress::to(move |note| sink.lock().push(note));
                let arguments = json!({"nth": nth, "of": scope.tenant().as_str()});
                let answer =
                    bench.tool_noting(scope, "whoami", arguments.clone(), &progress).await.unwrap();
                assert_eq!(answer["structuredContent"]["arguments"], arguments);
                let notes = notes.lock();
                let progress: Vec<_> = notes.iter().map(|note| note.progress).collect();
                assert_eq!(progress, [0.0, 1.0, 2.0], "{speaks:?}");
            }
        });
        join_all(calls).await;
        let asked = standin.book().rpc("tools/call");
        for tenant in ["acme", "globex"] {
            let of = |seen: &&Seen| seen.secret().is_some_and(|secret| secret.contains(tenant));
            let ids: std::collections::BTreeSet<_> =
                asked.iter().filter(of).map(|seen| seen.json()["id"].as_u64().unwrap()).collect();
            assert_eq!(ids.len(), 12, "{tenant}: {ids:?}");
        }
        for seen in &asked {
            assert_eq!(seen.json()["params"]["arguments"]["of"], *tenant_of(seen));
        }
    }
}

fn tenant_of(seen: &Seen) -> &str {
    seen.secret().unwrap().split('-').nth(1).unwrap()
}

#[tokio::test]
async fn who_hangs_up_ends_the_call_and_spoils_nothing() {
    for speaks in [Speaks::Sessions, Speaks::Stateless] {
        let standin = McpStandIn::new(speaks).await;
        let bench = Bench::of(world::mcp(standin.address())).await;
        let acme = bench.world.acme().await;
        bench.tool(&acme, "whoami", json!({})).await.unwrap();
        standin.shelf.holds.store(true, std::sync::atomic::Ordering::SeqCst);
        let other = bench.tool(&acme, "whoami", json!({"stays": true}));
        tokio::pin!(other);
        let both =
            |seen: &[Seen]| seen.iter().filter(|seen| seen.rpc() == "tools/call").count() == 3;
        tokio::select! {
            _ = bench.tool(&acme, "whoami", json!({"goes": true})) => panic!("nobody answers"),
            _ = &mut other => panic!("nobody answers"),
            () = standin.book().until(both) => {}
        }
        let calls = standin.book().rpc("tools/call");
        let goes = calls.iter().find(|seen| seen.json()["params"]["arguments"]["goes"] == true);
        let goes = goes.unwrap().json()["id"].clone();
        if speaks == Speaks::Sessions {
            let told =
                |seen: &[Seen]| seen.iter().any(|seen| seen.rpc() == "notifications/cancelled");
            standin.book().until(told).await;
            let told = standin.book().rpc("notifications/cancelled");
            assert_eq!(told.len(), 1);
            assert_eq!(told[0].json()["params"]["requestId"], goes);
            assert_eq!(told[0].header("mcp-session-id"), calls[0].header("mcp-session-id"));
        }
        standin.shelf.go_on();
        let answer = other.await.unwrap();
        assert_eq!(answer["structuredContent"]["arguments"]["stays"], true);
        bench.tool(&acme, "whoami", json!({})).await.unwrap();
    }
}

#[tokio::test]
async fn a_stateless_server_is_told_in_headers_what_the_body_says() {
    let standin = McpStandIn::new(Speaks::Stateless).await;
    let schema = json!({"type": "object",
        "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}});
    standin.shelf.put("where", json!({"inputSchema": schema}), |arguments| Ok(arguments.clone()));
    let bench = Bench::of(world::mcp(standin.address())).await;
    let acme = bench.world.acme().await;
    let by = by(&acme);
    let tools = bench.upstreams.list_tools(&acme, &bench.upstream, &by).await.unwrap();
    assert_eq!(
        tools.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        ["where", "whoami"]
    );
    bench.tool(&acme, "where", json!({"region": "eu ü"})).await.unwrap();
    let call = standin.book().rpc("tools/call").remove(0);
    assert_eq!(call.header("mcp-protocol-version"), Some("2026-07-28"));
    assert_eq!(call.header("mcp-method"), Some("tools/call"));
    assert_eq!(call.header("mcp-name"), Some("where"));
    assert_eq!(call.header("mcp-param-region"), Some("=?base64?ZXUgw7w=?="));
    assert_eq!(call.header("mcp-session-id"), None);
    assert_eq!(call.header("accept-encoding"), Some("identity"));
    let meta = &call.json()["params"]["_meta"];
    assert_eq!(meta["io.modelcontextprotocol/protocolVersion"], "2026-07-28");
    assert_eq!(meta["io.modelcontextprotocol/clientCapabilities"], json!({}));
    assert_eq!(standin.book().rpc("initialize").len(), 0);
}

/// An MCP server with sessions, whose answers to calls are written by a test.
async fn scripted(answers: impl Fn(u64, &Seen) -> Response + Send + Sync + 'static) -> HttpStandIn {
    let standin = HttpStandIn::new().await;
    standin.answers(move |nth, seen| {
        let id = seen.json()["id"].as_u64().unwrap_or_default();
        match seen.rpc().as_str() {
            "server/discover" => whole(400, "text/plain", "what?"),
            "initialize" => {
                let agreed = json!({"jsonrpc": "2.0", "id": id, "result": {
                    "protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
                    "serverInfo": {"name": "stand-in", "version": "0"}}});
                let mut answer = json_reply(&agreed);
                let session = HeaderValue::try_from(format!("session-{nth}")).unwrap();
                answer.headers_mut().insert("mcp-session-id", session);
                answer
            }
            "tools/call" => answers(id, seen),
            "ping" => json_reply(&json!({"jsonrpc": "2.0", "id": id, "result": {}})),
            _ => StatusCode::ACCEPTED.into_response(),
        }
    });
    standin
}

fn result(id: u64, text: &str) -> String {
    json!({"jsonrpc": "2.0", "id": id, "result": {"content": [{"type": "text", "text": text}]}})
        .to_string()
}

/// Each a piece of an event stream.
fn stream(events: &[String]) -> Response {
    let events: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    whole(200, "text/event-stream", events)
}

#[tokio::test]
async fn a_call_is_sent_once_even_if_its_session_is_gone() {
    let calls = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let standin =
        scripted(move |id, _| match count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            1 => whole(404, "text/plain", "no such session"),
            _ => whole(200, "application/json", result(id, "done")),
        })
        .await;
    let bench = Bench::of(world::mcp(standin.address())).await;
    let acme = bench.world.acme().await;
    bench.tool(&acme, "pay", json!({"n": 1})).await.unwrap();
    assert_eq!(kind(bench.tool(&acme, "pay", json!({"n": 2})).await), FaultKind::Unreachable);
    bench.tool(&acme, "pay", json!({"n": 3})).await.unwrap();
    let sent = standin.book().rpc("tools/call");
    let sent: Vec<_> = sent.iter().map(|s| s.json()["params"]["arguments"]["n"].clone()).collect();
    assert_eq!(sent, [1, 2, 3]);
    assert_eq!(standin.book().rpc("initialize").len(), 2);
}

#[tokio::test]
async fn a_call_is_sent_once_even_if_its_connection_breaks() {
    for (answer, cut) in [
        ("", FaultKind::Unreachable),
        (
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{\"a\":",
            FaultKind::Unreachable,
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: {}",
            FaultKind::Malformed(""),
        ),
        ("HTTP/1.1 999999 what\r\n\r\n", FaultKind::Unreachable),
        ("nonsense\r\n\r\n", FaultKind::Unreachable),
    ] {
        let standin = RawStandIn::new(move |_| Raw::Close(answer.into())).await;
        let bench = Bench::of(world::http(standin.address)).await;
        let acme = bench.world.acme().await;
        let post = filled(Method::POST, "/pay", Some("{}"));
        let got = bench.send(&acme, post).await;
        if cut == FaultKind::Unreachable {
            assert_eq!(kind(got), cut, "{answer:?}");
        } else {
            // To plain HTTP an event stream is a body like another one.
            assert!(got.is_ok());
        }
        assert_eq!(standin.book.seen().len(), 1, "{answer:?}");
    }
}

#[tokio::test]
async fn what_has_no_connection_was_not_sent() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let bench = Bench::of(world::http(address)).await;
    let acme = bench.world.acme().await;
    let unsent = Fault::unsent(FaultKind::Unreachable);
    assert_eq!(bench.request(&acme, "/a").await.unwrap_err(), unsent);
    let bench = Bench::of(world::mcp(address)).await;
    let acme = bench.world.acme().await;
    assert_eq!(bench.tool(&acme, "whoami", json!({})).await.unwrap_err(), unsent);
}

#[tokio::test]
async fn refusals_are_errors_that_a_model_can_read() {
    for (status, kind) in [(200, "application/json"), (400, "application/json; charset=utf-8")] {
        let standin = scripted(move |id, _| {
            let text = json!({"jsonrpc": "2.0", "id": id,
                "error": {"code": -32_602, "message": "no such tool", "data": {"x": 1}}});
            whole(status, kind, text.to_string())
        })
        .await;
        let bench = Bench::of(world::mcp(standin.address())).await;
        let acme = bench.world.acme().await;
        let answer = bench.tool(&acme, "t", json!({})).await.unwrap();
        assert_eq!(answer["isError"], true);
        assert_eq!(answer["content"][0]["text"], "the upstream refused (-32602): no such tool");
    }
}

/// A head of an answer without an end.
#[tokio::test]
async fn clients_are_bounded() {
    let standin = HttpStandIn::new().await;
    let upstream = world::http(standin.address());
    let limits = crate::Limits { clients: 3, ..crate::Limits::default() };
    let settings = Settings { upstreams: vec![upstream.clone()], limits, ..Settings::default() };
    let upstreams = Upstreams::open(&settings).unwrap();
    let acme = World::new().await.acme().await;
    for version in 0..10 {
        let by = Authorized { version, ..by(&acme) };
        upstreams.line(&acme, &upstream, &by).unwrap();
        assert!(upstreams.clients.len() <= 3);
    }
}

/// A session that lay idle is looked at before it carries a call.
#[tokio::test]
async fn a_session_that_lay_idle_is_looked_at_first() {
    let gone = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let standin = scripted(|id, _| whole(200, "application/json", result(id, "done"))).await;
    let bench = Bench::of(world::mcp(standin.address())).await;
    let acme = bench.world.acme().await;
    let methods = || -> Vec<String> {
        let seen = standin.book().seen();
        standin.book().forget();
        seen.iter().map(Seen::rpc).collect()
    };
    bench.tool(&acme, "pay", json!({})).await.unwrap();
    bench.tool(&acme, "pay", json!({})).await.unwrap();
    let hands = ["server/discover", "initialize", "notifications/initialized"];
    assert_eq!(methods(), [&hands[..], &["tools/call", "tools/call"]].concat());
    for forgotten in [false, true] {
        gone.store(forgotten, std::sync::atomic::Ordering::SeqCst);
        let forgets = Arc::clone(&gone);
        let before = standin.script();
        standin.answers(move |nth, seen| {
            let lost = forgets.load(std::sync::atomic::Ordering::SeqCst);
            match seen.rpc().as_str() {
                "ping" if lost => whole(404, "text/plain", "no such session"),
                _ => before(nth, seen),
            }
        });
        tokio::time::pause();
        tokio::time::advance(std::time::Duration::from_secs(31)).await;
        tokio::time::resume();
        bench.tool(&acme, "pay", json!({})).await.unwrap();
        let expected = match forgotten {
            false => vec!["ping", "tools/call"],
            true => [&["ping"], &hands[..], &["tools/call"]].concat(),
        };
        assert_eq!(methods(), expected);
    }
}

#[tokio::test]
async fn a_call_may_take_several_rounds_if_its_caller_says_so() {
    let standin = HttpStandIn::new().await;
    standin.answers(|_, seen| {
        let asked = seen.json();
        let result = match (seen.rpc().as_str(), asked["params"].get("inputResponses")) {
            ("server/discover", _) => {
                json!({"supportedVersions": ["2026-07-28"], "capabilities": {}})
            }
            (_, None) => json!({"resultType": "input_required", "requestState": "s-1",
                "inputRequests": {"who": {"method": "elicitation/create",
                    "params": {"message": "who?"}}}}),
            (_, Some(said)) => json!({"content": [{"type": "text", "text": said["who"]}],
                "structuredContent": {"state": asked["params"]["requestState"]}}),
        };
        json_reply(&json!({"jsonrpc": "2.0", "id": asked["id"], "result": result}))
    });
    let bench = Bench::of(world::mcp(standin.address())).await;
    let acme = bench.world.acme().await;
    assert!(matches!(kind(bench.tool(&acme, "t", json!({})).await), FaultKind::Malformed(_)));
    let by = by(&acme);
    let call = async |round: &Opened| {
        let call = bench.upstreams.call_of(&acme, &bench.upstream, &by, bench.bounds(), None);
        bench.upstreams.call_tool(call.unwrap(), "t", strict(&json!({})), Some(round)).await
    };
    let capabilities = strict(&json!({"elicitation": {}}));
    let mut round = Opened { capabilities, responses: None, state: None };
    let Answered::Asks(asks) = call(&round).await.unwrap() else { panic!() };
    assert_eq!(asks.state.as_deref(), Some("s-1"));
    round.responses = Some(strict(&json!({"who": "me"})));
    round.state = asks.state;
    let Answered::Reply(reply) = call(&round).await.unwrap() else { panic!() };
    let Content::Mcp(answer) = reply.content else { panic!() };
    assert_eq!(answer.at_path("structuredContent.state").unwrap().as_str(), Some("s-1"));
    let last = standin.book().rpc("tools/call").pop().unwrap();
    let declared = &last.json()["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"];
    assert_eq!(*declared, json!({"elicitation": {}}));
}
