//! Against small servers: each flaw is found by its check and by no other, a correct server is
//! isolated, and one that proves nothing is never called so.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, Uri, request::Parts},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{Finding, Options, Plan, Verdict, run::Silent};

const A: &str = "tok-a-8sd7f6g5h4j3k2l1m0n9";
const B: &str = "tok-b-1q2w3e4r5t6y7u8i9o0p";
const DEAD: &str = "tok-a-dead-dead-dead-dead";

/// What is wrong with a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Nothing,
    /// Whoever has no credential is A.
    Missing,
    /// So is whoever has an empty one.
    Null,
    Expired,
    /// A dead credential is refused, unless the live one was there before.
    ExpiredMidRun,
    FirstWins,
    LastWins,
    /// The first is proven, the last is read.
    LastUnproven,
    /// `X-Api-Key` is none, but says whose it is.
    KeyOverrides,
    /// Proven once for a connection.
    PerConnection,
    Session,
    Unowned,
    TenantHeader,
    TenantQuery,
    Person,
    Prefix,
    CaseFolded,
    /// The name in a token is read, its rest is not.
    Unproven,
    /// Answers with what it was asked.
    Echo,
    Fails,
    Everything,
    RefusesAll,
    Busy,
    /// Refuses everybody after the first six requests.
    Locks,
}

struct Server {
    wrong: Wrong,
    docs: Mutex<BTreeMap<String, (String, String)>>,
    proven: Mutex<BTreeMap<String, String>>,
    connections: Mutex<BTreeMap<String, String>>,
    asked: Mutex<usize>,
}

fn tokens(headers: &HeaderMap) -> Vec<String> {
    let all = headers.get_all("authorization").iter();
    let bearer = all.filter_map(|value| value.to_str().ok()?.strip_prefix("Bearer"));
    let keys = headers.get_all("x-api-key").iter().filter_map(|value| value.to_str().ok());
    bearer.chain(keys).map(|token| token.trim().to_owned()).collect()
}

fn named(uri: &Uri, headers: &HeaderMap, fields: &[&str]) -> Option<String> {
    let query = uri.query().unwrap_or_default().replace("%40", "@");
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let mut all: Vec<(String, String)> =
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    all.extend(headers.iter().filter_map(|(name, value)| {
        Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
    }));
    all.into_iter().find(|(name, _)| fields.contains(&name.as_str())).map(|(_, value)| value)
}

fn whose(name: &str) -> Option<String> {
    [("acme", "a"), ("ops@acme.test", "a"), ("globex", "b"), ("ops@globex.test", "b")]
        .iter()
        .find(|(own, _)| *own == name)
        .map(|(_, tenant)| (*tenant).to_owned())
}

impl Server {
    fn prove(&self, token: &str) -> Option<String> {
        let wrong = self.wrong;
        let cut: String = token.chars().take(20).collect();
        let mut proven = self.proven.lock().unwrap();
        if let Some(known) = proven.get(&cut).filter(|_| wrong == Wrong::Prefix) {
            return Some(known.clone());
        }
        let live = proven.contains_key("live");
        let found = match token {
            A => "a",
            B => "b",
            "" | "null" if wrong == Wrong::Null => "a",
            DEAD if wrong == Wrong::Expired || (wrong == Wrong::ExpiredMidRun && live) => "a",
            token if wrong == Wrong::CaseFolded && token.eq_ignore_ascii_case(A) => "a",
            token if wrong == Wrong::Unproven && token.starts_with("tok-a") => "a",
            _ => return None,
        };
        proven.insert(cut, found.to_owned());
        if token == A {
            proven.insert("live".into(), "a".into());
        }
        Some(found.to_owned())
    }

    fn who(&self, uri: &Uri, headers: &HeaderMap) -> Option<String> {
        let wrong = self.wrong;
        let own = self.own(headers)?;
        let trusted: &[&str] = match wrong {
            Wrong::TenantHeader => &["x-org-id"],
            Wrong::TenantQuery => &["tenant_id"],
            Wrong::Person => &["x-user-email"],
            _ => &[],
        };
        if let Some(other) = named(uri, headers, trusted).and_then(|name| whose(&name)) {
            return Some(other);
        }
        let cookie = headers.get("cookie").and_then(|value| value.to_str().ok());
        if let (Wrong::Session, Some(cookie)) = (wrong, cookie) {
            return cookie.strip_prefix("sid=").map(str::to_owned).or(Some(own));
        }
        Some(own)
    }

    fn own(&self, headers: &HeaderMap) -> Option<String> {
        let tokens = tokens(headers);
        let (first, last) = (tokens.first(), tokens.last());
        let key = headers.get("x-api-key").and_then(|key| key.to_str().ok());
        match self.wrong {
            Wrong::Missing if first.is_none() => Some("a".into()),
            Wrong::FirstWins => self.prove(first?),
            Wrong::LastWins => self.prove(last?),
            Wrong::LastUnproven => {
                self.prove(first?)?;
                Some(if last?.starts_with("tok-a") { "a" } else { "b" }.to_owned())
            }
            Wrong::KeyOverrides if key == Some(A) => {
                headers.get("authorization")?;
                Some("a".into())
            }
            _ => {
                let proven: Option<Vec<String>> =
                    tokens.iter().map(|token| self.prove(token)).collect();
                let proven = proven?;
                let first = proven.first()?.clone();
                proven.iter().all(|other| *other == first).then_some(first)
            }
        }
    }

    fn answer(&self, parts: &Parts, found: impl FnOnce(&str) -> Response) -> Response {
        let mut asked = self.asked.lock().unwrap();
        *asked += 1;
        match self.wrong {
            Wrong::Fails => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            Wrong::Everything => return Json(json!({ "id": "1", "ok": true })).into_response(),
            Wrong::RefusesAll => return StatusCode::UNAUTHORIZED.into_response(),
            Wrong::Locks if *asked > 6 => return StatusCode::FORBIDDEN.into_response(),
            Wrong::Echo => return Json(json!({ "id": parts.uri.path() })).into_response(),
            _ => {}
        }
        let (uri, headers) = (&parts.uri, &parts.headers);
        let peer = headers.get("x-peer").and_then(|peer| peer.to_str().ok()).unwrap_or_default();
        let mut connections = self.connections.lock().unwrap();
        let known = connections.get(peer).filter(|_| self.wrong == Wrong::PerConnection).cloned();
        let Some(who) = known.or_else(|| self.who(uri, headers)) else {
            let code = match self.wrong {
                // Overload, wherever a refusal would be due.
                Wrong::Busy => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::UNAUTHORIZED,
            };
            return (code, [("retry-after", "0")]).into_response();
        };
        connections.insert(peer.to_owned(), who.clone());
        let mut response = found(&who);
        if self.wrong == Wrong::Session {
            let cookie = format!("sid={who}; HttpOnly").parse().unwrap();
            response.headers_mut().insert("set-cookie", cookie);
        }
        response
    }
}

type Shared = State<Arc<Server>>;

async fn leave(State(server): Shared, parts: Parts, body: Bytes) -> Response {
    server.answer(&parts, |who| {
        let body: Value = serde_json::from_slice(&body).unwrap();
        let mut docs = server.docs.lock().unwrap();
        let id = format!("d{}", docs.len());
        docs.insert(id.clone(), (who.to_owned(), body["text"].as_str().unwrap().to_owned()));
        Json(json!({ "id": id })).into_response()
    })
}

async fn read(State(server): Shared, Path(id): Path<String>, parts: Parts) -> Response {
    server.answer(&parts, |who| {
        let docs = server.docs.lock().unwrap();
        let known = docs.get(&id);
        let known = known.filter(|(owner, _)| owner == who || server.wrong == Wrong::Unowned);
        match known {
            Some((_, text)) => Json(json!({ "text": text })).into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        }
    })
}

async fn delete(State(server): Shared, Path(id): Path<String>, parts: Parts) -> Response {
    server.answer(&parts, |_| {
        server.docs.lock().unwrap().remove(&id);
        StatusCode::NO_CONTENT.into_response()
    })
}

/// The findings of the identity checks at a server of which something is wrong.
async fn findings(wrong: Wrong, more: &str) -> Vec<Finding> {
    findings_of(wrong, more, &IDS).await
}

async fn findings_of(wrong: Wrong, more: &str, ids: &[&str]) -> Vec<Finding> {
    let server = Arc::new(Server {
        wrong,
        docs: Mutex::default(),
        proven: Mutex::default(),
        connections: Mutex::default(),
        asked: Mutex::default(),
    });
    let router = Router::new()
        .route("/docs", post(leave))
        .route("/docs/{id}", get(read).delete(delete))
        .with_state(server);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, with_peers(router)).await.unwrap() });
    let file = format!(
        "[tenant.a]\ntoken = \"{A}\"\n{more}\nnames = [\"acme\", \"ops@acme.test\"]\n\
         [tenant.b]\ntoken = \"{B}\"\nnames = [\"globex\", \"ops@globex.test\"]\n\
         [target.t]\nkind = \"http\"\nurl = \"{url}\"\n\
         plant = {{ post = \"/docs\", json = {{ text = \"{{canary}}\" }}, id = \"/id\" }}\n\
         objects = [\"/docs/{{id}}\"]\ncleanup = {{ delete = \"/docs/{{id}}\" }}\n"
    );
    let plan = Plan::parse("t.toml", &file).unwrap();
    let only = ids.iter().map(|id| (*id).to_owned()).collect();
    let options = Options { only, ..Options::default() };
    crate::run(&plan, options, &Silent).await.unwrap().findings
}

/// Each connection by its number, in a header that no client sends.
fn with_peers(
    router: Router,
) -> axum::extract::connect_info::IntoMakeServiceWithConnectInfo<Router, std::net::SocketAddr> {
    let tell = axum::middleware::from_fn(
        async |peer: axum::extract::ConnectInfo<std::net::SocketAddr>,
               mut request: axum::extract::Request,
               next: axum::middleware::Next| {
            let peer = peer.0.to_string().parse().unwrap();
            request.headers_mut().insert("x-peer", peer);
            next.run(request).await
        },
    );
    router.layer(tell).into_make_service_with_connect_info()
}

const IDS: [&str; 7] = [
    "identity-missing",
    "identity-expired",
    "identity-conflict",
    "identity-swap",
    "tenant-arg",
    "token-prefix",
    "platform-secret",
];

fn told(findings: &[Finding]) -> String {
    let told = findings.iter().map(|finding| {
        format!(
            "\n{} {} {:?} {}",
            finding.check.id, finding.place, finding.verdict, finding.summary
        )
    });
    told.collect()
}

fn with(findings: &[Finding], verdict: Verdict) -> Vec<&'static str> {
    let with = findings.iter().filter(|finding| finding.verdict == verdict);
    with.map(|finding| finding.check.id).collect()
}

fn expired() -> String {
    format!("expired = \"{DEAD}\"")
}

#[tokio::test]
async fn a_correct_server_is_isolated() {
    let findings = findings(Wrong::Nothing, &expired()).await;
    assert_eq!(with(&findings, Verdict::Isolated), IDS, "{}", told(&findings));
    for finding in &findings {
        assert!(finding.summary.len() <= 60, "{}", finding.summary);
        assert!(finding.attacks > 0 && finding.proof.is_none());
    }
}

#[tokio::test]
async fn each_flaw_is_found_by_its_check_alone() {
    for (wrong, ids) in [
        (Wrong::Missing, &["identity-missing"][..]),
        (Wrong::Null, &["identity-missing"]),
        (Wrong::Expired, &["identity-expired"]),
        (Wrong::ExpiredMidRun, &["identity-expired"]),
        (Wrong::FirstWins, &["identity-conflict"]),
        (Wrong::LastWins, &["identity-conflict"]),
        (Wrong::LastUnproven, &["identity-conflict"]),
        (Wrong::KeyOverrides, &["identity-conflict"]),
        (Wrong::Session, &["identity-swap"]),
        (Wrong::Unowned, &["identity-swap"]),
        (Wrong::TenantHeader, &["tenant-arg"]),
        (Wrong::TenantQuery, &["tenant-arg"]),
        (Wrong::Person, &["platform-secret"]),
        (Wrong::Prefix, &["token-prefix"]),
        (Wrong::CaseFolded, &["token-prefix"]),
        // A forged one beside a true one is none of its own, then.
        (Wrong::Unproven, &["identity-expired", "token-prefix"]),
    ] {
        let findings = findings(wrong, &expired()).await;
        assert_eq!(with(&findings, Verdict::Leak), ids, "{wrong:?} {}", told(&findings));
        for finding in findings.iter().filter(|finding| finding.verdict == Verdict::Leak) {
            assert!(finding.summary.len() <= 100, "{}", finding.summary);
            let proof = format!("{:?}", finding.proof.as_ref().unwrap());
            for secret in [A, B, DEAD] {
                assert!(!proof.contains(secret), "{proof}");
            }
        }
    }
}

/// Where being proven once counts for a connection, every doubtful identity passes on it.
#[tokio::test]
async fn a_connection_is_no_identity() {
    let findings = findings(Wrong::PerConnection, &expired()).await;
    let leaks = with(&findings, Verdict::Leak);
    assert!(leaks.contains(&"identity-swap") && leaks.contains(&"identity-missing"), "{leaks:?}");
}

#[tokio::test]
async fn what_proves_nothing_is_never_isolated() {
    for wrong in [Wrong::Echo, Wrong::Fails, Wrong::Everything, Wrong::RefusesAll, Wrong::Locks] {
        let findings = findings(wrong, &expired()).await;
        let proven = findings.iter().any(|finding| finding.verdict != Verdict::NotProven);
        assert!(!proven && findings.len() == IDS.len(), "{wrong:?} {}", told(&findings));
    }
    // Overload is no refusal.
    let ids = ["identity-missing", "identity-expired", "token-prefix"];
    let findings = findings_of(Wrong::Busy, &expired(), &ids).await;
    assert_eq!(with(&findings, Verdict::NotProven), ids, "{}", told(&findings));
}

#[tokio::test]
async fn what_the_file_does_not_say_is_asked_for() {
    let findings = findings(Wrong::Nothing, "").await;
    let expired = findings.iter().find(|finding| finding.check.id == "identity-expired").unwrap();
    assert_eq!(expired.verdict, Verdict::NotProven);
    assert!(expired.summary.contains("expired ="), "{}", expired.summary);
}

#[test]
fn an_empty_error_is_none() {
    use super::failed;
    use crate::wire::{Answer, Exchange};

    let answered = |body: &str| Exchange {
        who: "b".into(),
        line: "GET /x".into(),
        headers: Vec::new(),
        body: None,
        outcome: Ok(Answer { status: 200, body: body.to_owned().into(), ..Answer::default() }),
    };
    for none in [r#"{"errors":[]}"#, r#"{"error":""}"#, r#"{"error":{}}"#, r#"{"error":null}"#] {
        assert!(!failed(&answered(none)), "{none}");
    }
    for some in [r#"{"errors":[{}]}"#, r#"{"error":"no"}"#, r#"{"error":{"code":1}}"#] {
        assert!(failed(&answered(some)), "{some}");
    }
}
