use std::sync::atomic::AtomicUsize;

use axum::{Router, body::Body, extract::Request as Incoming, http::HeaderMap, response::Response};
use futures_util::{StreamExt as _, stream};
use serde_json::json;
use tokio::task::JoinSet;

use super::*;
use crate::{
    canary::{Canaries, Side},
    target::{Credential, Limits, Plan},
};

struct Stage {
    wire: Wire,
    a: Caller,
    b: Caller,
    _tasks: JoinSet<()>,
}

async fn serve(router: Router) -> (String, JoinSet<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, tasks)
}

async fn stage(router: Router, options: Options) -> Stage {
    let (url, tasks) = serve(router).await;
    let file = format!(
        "[tenant.a]\ntoken = \"secret-of-a\"\nheaders = {{ x-org = \"acme\" }}\n[tenant.b]\ntoken = \"secret-of-b\"\n\
         [target.t]\nkind = \"http\"\nurl = \"{url}\"\n"
    );
    let plan = Plan::parse("t.toml", &file).unwrap();
    let target = Arc::clone(&plan.targets[0]);
    let (a, b) = plan.callers(&target).await.unwrap();
    let budget = Arc::new(Budget::new(Limits::default()));
    let wire = Wire::new(target, budget, Arc::new(options));
    wire.knows(&a);
    wire.knows(&b);
    Stage { wire, a, b, _tasks: tasks }
}

async fn echo(headers: HeaderMap, request: Incoming) -> axum::Json<Value> {
    let headers: Vec<String> = headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    let uri = request.uri().to_string();
    let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
    axum::Json(json!({ "headers": headers, "uri": uri, "body": String::from_utf8_lossy(&body) }))
}

#[tokio::test]
async fn what_was_sent_is_known_and_credentials_are_not_kept() {
    let stage = stage(Router::new().fallback(echo), Options::default()).await;
    let twist = Twist {
        headers: vec![("authorization".into(), "Bearer secret-of-b".into())],
        query: vec![("access_token".into(), "secret-of-b".into())],
        fields: vec![("tenant".into(), json!("acme"))],
        ..Twist::default()
    };
    let request = Request::new(http::Method::POST, "/x?y=1").json(&json!({ "q": "what" }));
    let exchange = stage.wire.send(&stage.a, request.twisted(&twist)).await.unwrap();
    let heard = exchange.json();
    // Both credentials went, in this order; what comes back of them is taken out.
    let heard_headers: Vec<&str> =
        heard["headers"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let sent: Vec<&&str> =
        heard_headers.iter().filter(|h| h.starts_with("authorization")).collect();
    assert_eq!(sent, [&"authorization: Bearer $B", &"authorization: Bearer $A"]);
    assert!(
        heard_headers.contains(&"x-org: acme")
            && heard_headers.contains(&"accept-encoding: identity")
    );
    assert_eq!(heard["uri"], "/x?y=1&access_token=$B");
    assert_eq!(heard["body"], r#"{"q":"what","tenant":"acme"}"#);
    assert!(exchange.line.ends_with("/x?y=1&access_token=$B"), "{}", exchange.line);
    assert!(exchange.headers.contains(&("authorization".into(), "Bearer $A".into())));
    assert!(exchange.answer().unwrap().revealed.is_empty(), "it said them itself");
    let kept = format!("{exchange:?}{:?}", exchange.step(None));
    assert!(!kept.contains("secret-of"), "{kept}");
    assert_eq!(stage.wire.sent(), 1);
}

#[test]
fn what_is_no_id_is_refused() {
    for id in ["", ".", ".."] {
        assert!(matches!(segment(id), Err(Halt::Failed(_))), "{id}");
    }
    assert_eq!(segment("../a").unwrap(), "..%2Fa");
}

#[tokio::test]
async fn a_credential_in_an_answer_is_told() {
    let router =
        Router::new().fallback(async || ([("x-last", "secret-of-b")], "seen: secret-of-a"));
    let stage = stage(router, Options::default()).await;
    let exchange = stage.wire.send(&stage.b, Request::get("/")).await.unwrap();
    let answer = exchange.answer().unwrap();
    assert_eq!(
        (&answer.revealed[..], &answer.body[..]),
        (&["$A".to_owned()][..], &b"seen: $A"[..])
    );
    assert_eq!(exchange.header("x-last"), Some("$B"));
}

#[tokio::test]
async fn a_credential_is_in_no_excerpt_however_it_is_spelled() {
    let canaries = Canaries::new("run".into());
    let text = canaries.draw(Side::A, "here").text;
    let inside = |spelled: &str| format!("{{\"own\":\"{spelled} {text}\"}}");
    let answers = [
        inside("\\u0073ecret-of-a"),
        inside("secret%2Dof%2da"),
        inside("&#115;ecret&#x2d;of-a"),
        format!("data: {{\"d\":\"{text} secret-\"}}\ndata: {{\"d\":\"of-a\"}}\n"),
    ];
    for body in answers {
        let given = body.clone();
        let stage = stage(Router::new().fallback(async move || given), Options::default()).await;
        let exchange = stage.wire.send(&stage.b, Request::get("/")).await.unwrap();
        let found = canaries.hunt(&exchange);
        assert_eq!(found.len(), 1, "{body}");
        assert_eq!(found[0].excerpt, "(holds $A)", "{body}");
        assert_eq!(exchange.answer().unwrap().revealed, ["$A"], "{body}");
    }
}

#[tokio::test]
async fn nothing_is_followed_and_nothing_too_long_is_read() {
    let long = async || Body::from(vec![b'x'; MOST + 10]);
    let away = async || (http::StatusCode::FOUND, [("location", "/long")], "");
    let router = Router::new()
        .route("/long", axum::routing::get(long))
        .route("/away", axum::routing::get(away));
    let stage = stage(router, Options::default()).await;
    let exchange = stage.wire.send(&stage.a, Request::get("/away")).await.unwrap();
    assert_eq!(exchange.status(), 302);
    assert!(!exchange.accepted() && !exchange.refused());
    let exchange = stage.wire.send(&stage.a, Request::get("/long")).await.unwrap();
    let answer = exchange.answer().unwrap();
    assert!(answer.cut && answer.body.len() == MOST);
    assert!(exchange.accepted() && exchange.inconclusive(), "the rest may have had it");
}

#[tokio::test]
async fn one_hangs_up_before_or_in_the_body() {
    let never = async || std::future::pending::<()>().await;
    let half = async || {
        let first = stream::iter([Ok::<_, std::io::Error>("first")]);
        Response::new(Body::from_stream(first.chain(stream::pending())))
    };
    let router = Router::new()
        .route("/never", axum::routing::get(never))
        .route("/half", axum::routing::get(half));
    let stage = stage(router, Options::default()).await;
    let soon = Some(Duration::from_millis(5));
    let request = Request { hang_up: soon, ..Request::get("/never") };
    let exchange = stage.wire.send(&stage.a, request).await.unwrap();
    assert_eq!((exchange.status(), exchange.outcome.unwrap_err()), (0, "hung up".to_owned()));
    let twist = Twist { hang_up_in_body: true, ..Twist::default() };
    let exchange = stage.wire.send(&stage.a, Request::get("/half").twisted(&twist)).await.unwrap();
    let answer = exchange.answer().unwrap();
    assert!(answer.cut && answer.body == "first");
    assert!(!exchange.inconclusive(), "we hung up ourselves");
    let request = Request { timeout: Duration::from_millis(20), ..Request::get("/never") };
    let exchange = stage.wire.send(&stage.a, request).await.unwrap();
    assert_eq!(exchange.outcome.unwrap_err(), "no answer in time");
}

#[tokio::test]
async fn a_dry_run_sends_nothing_and_lists_everything() {
    let panics = async || -> String { panic!("it was sent") };
    let options = Options { dry_run: true, ..Options::default() };
    let stage = stage(Router::new().fallback(panics), options).await;
    let request = Request::new(http::Method::POST, "/docs").json(&json!({ "a": 1 }));
    let exchange = stage.wire.send(&stage.b, request.example(json!({ "id": "7" }))).await.unwrap();
    assert_eq!((exchange.status(), exchange.json()), (200, json!({ "id": "7" })));
    let planned = stage.wire.planned();
    assert_eq!((planned.len(), planned[0].who.as_str()), (1, "b"));
    assert!(planned[0].line.starts_with("POST http://127.0.0.1:"));
    assert_eq!(planned[0].body.as_deref(), Some("{\"a\":1}"));
}

#[tokio::test]
async fn who_is_told_to_wait_a_little_asks_again() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let busy = async move || {
        let n = counted.fetch_add(1, Ordering::Relaxed);
        let code = if n < 2 { 503 } else { 200 };
        (http::StatusCode::from_u16(code).unwrap(), [("retry-after", "0")], "")
    };
    let away = async || (http::StatusCode::TOO_MANY_REQUESTS, [("retry-after", "60")], "");
    let router =
        Router::new().route("/", axum::routing::get(busy)).route("/away", axum::routing::get(away));
    let stage = stage(router, Options::default()).await;
    let exchange = stage.wire.send_patiently(&stage.a, Request::get("/")).await.unwrap();
    assert_eq!((exchange.status(), asked.load(Ordering::Relaxed)), (200, 3));
    let before = stage.wire.sent();
    let exchange = stage.wire.send_patiently(&stage.a, Request::get("/away")).await.unwrap();
    assert_eq!((exchange.status(), stage.wire.sent() - before), (429, 1), "a minute is too long");
}

#[tokio::test]
async fn why_there_is_no_answer_is_told() {
    let mut stage = stage(Router::new(), Options::default()).await;
    let exchange = stage.wire.send(&stage.a, Request::get("http://127.0.0.1:1/")).await.unwrap();
    assert!(exchange.outcome.unwrap_err().starts_with("no connection: "));
    stage.a.credential = Some(Credential::new("two\nlines-of-it".into()));
    let exchange = stage.wire.send(&stage.a, Request::get("/")).await.unwrap();
    let why = exchange.outcome.unwrap_err();
    assert!(why.starts_with("it cannot be sent: ") && !why.contains("lines-of-it"), "{why}");
}

#[tokio::test]
async fn the_words_of_the_status_line_are_hunted_too() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let canaries = Canaries::new("run".into());
    let canary = canaries.draw(Side::A, "docs");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    let text = canary.text.clone();
    tasks.spawn(async move {
        let (mut peer, _) = listener.accept().await.unwrap();
        let _ = peer.read(&mut [0; 4096]).await.unwrap();
        let answer = format!("HTTP/1.1 404 no {text}\r\ncontent-length: 0\r\n\r\n");
        peer.write_all(answer.as_bytes()).await.unwrap();
    });
    let stage = stage(Router::new(), Options::default()).await;
    let exchange = stage.wire.send(&stage.b, Request::get(url)).await.unwrap();
    assert_eq!(canary.seen_in(&exchange).unwrap().place, "in the status line");
}

#[test]
fn addresses_are_quoted() {
    assert_eq!(quote("a b/é~"), "a%20b%2F%C3%A9~");
}
