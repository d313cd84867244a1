//! Real doors, vault and store; a token server that counts, waits and lies.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, Response, StatusCode},
    routing::any,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::future::join_all;
use ids::{ManualClock, Millis, OsEntropy};
use store::{Options, Store};
use testkit::Kit;
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};
use vault::{FileRoot, Vault};

use super::*;
use crate::{Limits, Timeouts};

mod oauth;

/// A request as the token server got it.
#[derive(Clone, Debug)]
struct Seen {
    path: String,
    headers: HeaderMap,
    body: String,
}

impl Seen {
    /// Whose it is: the client's id.
    fn client(&self) -> String {
        let basic = self.headers[header::AUTHORIZATION].to_str().unwrap();
        let told = STANDARD.decode(basic.strip_prefix("Basic ").unwrap()).unwrap();
        String::from_utf8(told).unwrap().split_once(':').unwrap().0.to_owned()
    }
}

type Said = (u16, Vec<(&'static str, String)>, String);
type Script = Box<dyn Fn(usize, &Seen) -> Said + Send + Sync>;

struct Inside {
    seen: Mutex<Vec<Seen>>,
    answered: AtomicUsize,
    script: Mutex<Arc<Script>>,
    /// Each answer takes one.
    turns: Semaphore,
}

/// A token server.
struct Server {
    url: String,
    inside: Arc<Inside>,
    _tasks: JoinSet<()>,
}

impl Server {
    /// Gives `token-CLIENT-N` for an hour.
    async fn new() -> Self {
        let script: Script = Box::new(|n, seen| json(&format!("token-{}-{n}", seen.client())));
        let inside = Arc::new(Inside {
            seen: Mutex::default(),
            answered: AtomicUsize::new(0),
            script: Mutex::new(Arc::new(script)),
            turns: Semaphore::new(1_000),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/token", listener.local_addr().unwrap());
        let router = Router::new().route("/{*path}", any(answer)).with_state(Arc::clone(&inside));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, inside, _tasks: tasks }
    }

    fn say(&self, script: impl Fn(usize, &Seen) -> Said + Send + Sync + 'static) {
        *self.inside.script.lock().unwrap() = Arc::new(Box::new(script));
    }

    fn seen(&self) -> Vec<Seen> {
        self.inside.seen.lock().unwrap().clone()
    }

    fn count(&self) -> usize {
        self.inside.seen.lock().unwrap().len()
    }

    /// Waits until so many were asked.
    async fn until_asked(&self, count: usize) {
        let asked = async {
            while self.count() < count {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(testkit::PATIENCE, asked).await.unwrap();
    }
}

async fn answer(State(inside): State<Arc<Inside>>, request: Request) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let body = String::from_utf8(body.to_vec()).unwrap();
    let seen = Seen { path: head.uri.path().to_owned(), headers: head.headers, body };
    inside.seen.lock().unwrap().push(seen.clone());
    inside.turns.acquire().await.unwrap().forget();
    let n = inside.answered.fetch_add(1, Ordering::SeqCst);
    let script = Arc::clone(&inside.script.lock().unwrap());
    let (status, headers, body) = script(n, &seen);
    let mut response = Response::builder().status(StatusCode::from_u16(status).unwrap());
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response.body(Body::from(body)).unwrap()
}

fn json(token: &str) -> Said {
    let body = format!(r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":3600}}"#);
    (200, Vec::new(), body)
}

fn with_refresh(token: &str, refresh: &str) -> Said {
    let body = format!(
        r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":3600,"refresh_token":"{refresh}"}}"#
    );
    (200, Vec::new(), body)
}

/// What tells the refresh token that was shown, as a token must not repeat it.
fn after_refresh(seen: &Seen) -> &str {
    seen.body.rsplit_once("=refresh").unwrap().1
}

struct World {
    kit: Kit,
    clock: Arc<ManualClock>,
    store: Store,
    credentials: Credentials,
    server: Server,
    _directory: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(Millis::from_secs(1_795_000_000)));
        let root = FileRoot::create(directory.path().join("root.key"), &OsEntropy).unwrap();
        let keys = directory.path().join("keys");
        let vault = Vault::create(&keys, root, clock.clone(), Arc::new(OsEntropy)).await.unwrap();
        let store =
            Store::open(&Options::new(directory.path().join("data")), clock.clone()).unwrap();
        let kit = Kit::new(clock.clone()).await;
        let credentials = vault.credentials(&store);
        let server = Server::new().await;
        Self { kit, clock, store, credentials, server, _directory: directory }
    }

    fn upstream(&self, auth: Auth) -> Arc<Upstream> {
        Arc::new(Upstream {
            id: "crm".parse().unwrap(),
            kind: UpstreamKind::Http,
            url: "https://crm.example".to_owned(),
            system: None,
            auth,
            timeouts: Timeouts::default(),
            max_response_bytes: 1 << 20,
            allow_plain_http: false,
            ca_file: None,
            openapi: None,
            resources: false,
            prompts: false,
            prompt_prefix: None,
            uris: bulkhead_tools::Uris::default(),
        })
    }

    fn client(&self) -> Arc<Upstream> {
        self.upstream(Auth::OauthClient {
            token_url: self.server.url.clone(),
            scope: Some("read write".to_owned()),
            resource: Some("https://crm.example/api".to_owned()),
        })
    }

    fn refresh(&self) -> Arc<Upstream> {
        self.upstream(Auth::OauthRefresh { token_url: self.server.url.clone(), scope: None })
    }

    fn keys(&self, upstream: &Arc<Upstream>) -> Keys {
        let limits = Limits::default();
        let upstreams = vec![Upstream::clone(upstream)];
        let settings = Settings { upstreams, limits, ..Settings::default() };
        let assertions = ToolKeys::assertions([&[11; 32]]);
        let issuer = "https://bulkhead.test".to_owned();
        let (clock, entropy) = (self.clock.clone(), Arc::new(OsEntropy));
        Keys::open(&settings, self.credentials.clone(), assertions, issuer, clock, entropy).unwrap()
    }

    async fn acme(&self) -> Scope<Write> {
        self.kit.scope("acme", "live").await
    }

    async fn set(&self, scope: &Scope<Write>, workflow: Option<&str>, secret: &str) -> u64 {
        let workflow = workflow.map(|name| name.parse().unwrap());
        let secret = SecretText::parse(secret.to_owned()).unwrap();
        let wallet = self.credentials.of(scope);
        wallet.set(&"crm".parse().unwrap(), workflow.as_ref(), secret, false).await.unwrap()
    }

    async fn stored(&self, scope: &Scope<Write>) -> String {
        let wallet = self.credentials.of(scope);
        let found = wallet.get(&"crm".parse().unwrap(), None).await.unwrap().unwrap();
        found.secret.expose().to_owned()
    }
}

/// What a call carries, for the eye.
fn shown(authorized: &Authorized) -> String {
    let [(name, value)] = authorized.headers.as_slice() else { return String::new() };
    assert!(value.is_sensitive());
    format!("{name}: {}", value.to_str().unwrap())
}

fn why(answer: Result<Authorized, Error>) -> &'static str {
    match answer {
        Err(Error::Credential { why, .. }) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn each_kind_is_shown_as_it_is_wanted() {
    let world = World::new().await;
    let scope = world.acme().await;
    let pem = [
        include_str!("../../tests/it/tls/certificate.pem"),
        include_str!("../../tests/it/tls/key.pem"),
    ];
    let pem = STANDARD.encode(pem.concat());
    let named = Auth::Header { name: "X-Api-Key".to_owned() };
    for (auth, secret, expected, secrets) in [
        (Auth::Bearer, "sk-canary-1", "authorization: Bearer sk-canary-1", &["sk-canary-1"][..]),
        (named, "sk-canary-2", "x-api-key: sk-canary-2", &["sk-canary-2"]),
        (
            Auth::Basic,
            "ann:canary:333",
            "authorization: Basic YW5uOmNhbmFyeTozMzM=",
            &["canary:333", "YW5uOmNhbmFyeTozMzM="],
        ),
        (Auth::Mtls, pem.as_str(), "", &[pem.as_str()]),
    ] {
        let is_mtls = auth == Auth::Mtls;
        let upstream = world.upstream(auth);
        let keys = world.keys(&upstream);
        let version = world.set(&scope, None, secret).await;
        for _ in 0..2 {
            let carried = keys.of(&scope, &upstream).await.unwrap();
            assert_eq!((shown(&carried).as_str(), carried.version), (expected, version));
            assert_eq!(carried.identity.is_some(), is_mtls);
            assert!(carried.login.is_none());
            for secret in secrets {
                assert!(carried.secrets.found_in(secret.as_bytes()), "{secret}");
            }
            assert!(!keys.reject(&scope, &upstream, &carried).await);
            let told = format!("{carried:?} {keys:?}");
            assert!(!told.contains("canary"), "{told}");
        }
        // Another secret is used from the next call on.
        if !is_mtls {
            world.set(&scope, None, &format!("{secret}-next")).await;
            let carried = keys.of(&scope, &upstream).await.unwrap();
            assert_ne!(shown(&carried), expected);
            assert!(carried.version > version);
        }
        let wallet = world.credentials.of(&scope);
        wallet.remove(&upstream.id, None).await.unwrap();
        let answer = keys.of(&scope, &upstream).await;
        assert!(matches!(answer, Err(Error::NoCredential(_))), "{answer:?}");
    }
    // Without a credential there is nothing to be wrong.
    let upstream = world.upstream(Auth::None);
    let carried = world.keys(&upstream).of(&scope, &upstream).await.unwrap();
    assert_eq!((carried.headers.len(), carried.version), (0, 0));
    assert_eq!(world.server.count(), 0);
}

#[tokio::test]
async fn a_secret_of_another_form_is_said_to_be() {
    let world = World::new().await;
    let scope = world.acme().await;
    for (auth, secret, part) in [
        (Auth::Bearer, "Bearer canary", "token alone"),
        (Auth::Basic, "canary", "user:password"),
        (Auth::Mtls, "canary", "PEM"),
        (world.client().auth.clone(), "canary", "client_id:client_secret"),
        (world.refresh().auth.clone(), "canary:x", "refresh_token"),
    ] {
        let upstream = world.upstream(auth);
        world.set(&scope, None, secret).await;
        let answer = world.keys(&upstream).of(&scope, &upstream).await;
        let told = answer.as_ref().unwrap_err().to_string();
        assert!(told.contains("`crm`") && !told.contains("canary"), "{told}");
        assert!(why(answer).contains(part));
    }
    assert_eq!(world.server.count(), 0);
}

#[tokio::test]
async fn an_assertion_is_made_for_each_call() {
    let world = World::new().await;
    let scope = world.acme().await;
    let upstream =
        world.upstream(Auth::Assertion { audience: "https://crm.internal".into(), seconds: 60 });
    let keys = world.keys(&upstream);
    let account: AccountId = "acct_42".parse().unwrap();
    let first = keys.for_account(&scope, &upstream, Some(&account)).await.unwrap();
    let second = keys.of(&scope, &upstream).await.unwrap();
    let claims = |carried: &Authorized| -> serde_json::Value {
        let shown = shown(carried);
        let token = shown.strip_prefix("authorization: Bearer ").unwrap();
        assert!(carried.secrets.found_in(token.as_bytes()));
        let payload = ids::text::unbase64url(token.split('.').nth(1).unwrap()).unwrap();
        serde_json::from_slice(&payload).unwrap()
    };
    let (first, second) = (claims(&first), claims(&second));
    assert_ne!(first["jti"], second["jti"]);
    assert_eq!(first["account"], "acct_42");
    assert_eq!(second.get("account"), None);
    for claims in [first, second] {
        assert_eq!(claims["tenant"], "acme");
        assert_eq!(claims["environment"], "live");
        assert_eq!(claims["iss"], "https://bulkhead.test");
    }
}

#[tokio::test]
async fn settings_that_cannot_be_used_are_refused_at_start() {
    let world = World::new().await;
    let (open, here) = ("http://id.example/token".to_owned(), world.server.url.clone());
    for (auth, kind, good) in [
        (Auth::OauthRefresh { token_url: here.clone(), scope: None }, UpstreamKind::Mcp, true),
        (Auth::OauthRefresh { token_url: open, scope: None }, UpstreamKind::Mcp, false),
        (Auth::OauthRefresh { token_url: here, scope: None }, UpstreamKind::Postgres, false),
        (Auth::Header { name: "host".into() }, UpstreamKind::Http, false),
        (Auth::Header { name: "Content-Length".into() }, UpstreamKind::Http, false),
        (Auth::Header { name: "a b".into() }, UpstreamKind::Http, false),
        (Auth::Assertion { audience: "x".into(), seconds: 301 }, UpstreamKind::Http, false),
        (Auth::Assertion { audience: String::new(), seconds: 60 }, UpstreamKind::Http, false),
        (Auth::Bearer, UpstreamKind::Postgres, false),
        (Auth::Basic, UpstreamKind::Postgres, true),
    ] {
        let upstream = Upstream { kind, ..Upstream::clone(&world.upstream(auth.clone())) };
        let settings = Settings { upstreams: vec![upstream], ..Settings::default() };
        let assertions = ToolKeys::assertions([&[11; 32]]);
        let (clock, entropy) = (world.clock.clone(), Arc::new(OsEntropy));
        let opened = Keys::open(
            &settings,
            world.credentials.clone(),
            assertions,
            String::new(),
            clock,
            entropy,
        );
        assert_eq!(opened.is_ok(), good, "{auth:?}");
    }
}
