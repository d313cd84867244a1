//! A deployment with tenants in it, and what speaks to it.

use std::{
    io,
    net::SocketAddr,
    path::Path,
    sync::{Arc, OnceLock},
};

use bulkhead_server::{
    Deployment, Form, Handle, Log, RootKey, Server, Settings, logs, routes::Plane,
};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use ids::{ManualClock, Millis, OsEntropy};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tempfile::TempDir;
use tracing_subscriber::fmt::MakeWriter;

mod tools;

pub(crate) use tools::{account_of, crm_secret, failure};

use super::{
    probing::Told,
    upstream::{
        Upstream,
        crm::{self, Crm},
    },
};

/// When the tests' clocks begin.
pub(crate) const NOON: Millis = Millis(1_800_000_000_000);
/// Every grant that a tenant's credential can use here.
pub(crate) const ALL: &str = "model:* cache:* state:* memory:* records:* audit:* tools:* reviews:*";
pub(crate) const TENANTS: [&str; 2] = ["acme", "globex"];
pub(crate) const ENVIRONMENTS: [&str; 2] = ["live", "staging"];

/// Every tenant's environments.
pub(crate) fn units() -> impl Iterator<Item = (&'static str, &'static str)> {
    TENANTS.into_iter().flat_map(|tenant| ENVIRONMENTS.map(|environment| (tenant, environment)))
}

/// Every log line of this process.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock()).into_owned()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// The log, with everything that Bulkhead ever says.
pub(crate) fn log() -> &'static Lines {
    static LINES: OnceLock<Lines> = OnceLock::new();
    LINES.get_or_init(|| {
        let lines = Lines::default();
        let log = Log { level: "trace".into(), form: Form::Json };
        let dispatch = logs::dispatch(&log, lines.clone()).unwrap();
        tracing::dispatcher::set_global_default(dispatch).unwrap();
        lines
    })
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    /// The code of an error, in any of the forms; empty for an answer.
    pub(crate) fn code(&self) -> String {
        let json: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let native = || json["code"].as_str().or_else(|| json["status"]["code"].as_str());
        let mcp = || json["error"]["data"]["code"].as_str();
        let code = json["error"]["code"].as_str().or_else(mcp).or_else(native);
        code.unwrap_or_default().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Asserts that it is an answer.
    #[track_caller]
    pub(crate) fn good(self) -> Self {
        assert!(self.status < 300, "{} {}", self.status, self.text());
        self
    }

    /// Asserts that it is a refusal.
    #[track_caller]
    pub(crate) fn refused(self, status: u16, code: &str) -> Self {
        assert_eq!((self.status, self.code().as_str()), (status, code), "{}", self.text());
        self
    }
}

pub(crate) type Headers<'a> = &'a [(&'a str, &'a str)];

pub(crate) struct Rig {
    pub(crate) handle: Option<Handle>,
    addresses: [SocketAddr; 2],
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) upstream: Upstream,
    pub(crate) crm: Crm,
    pub(crate) settings: Settings,
    /// Of an operator with every right.
    pub(crate) operator: String,
    /// Of a service that may mint for everybody.
    pub(crate) service: String,
    pub(crate) client: Client<HttpConnector, Full<Bytes>>,
    pub(crate) dir: TempDir,
    /// Who probes it.
    pub(crate) prober: Arc<Told>,
}

pub(crate) fn settings(dir: &Path, upstream: SocketAddr) -> Settings {
    let mut settings = Settings::default();
    let free = "127.0.0.1:0".parse().unwrap();
    settings.data.address = Some(free);
    settings.control.address = Some(free);
    settings.storage.data.dir = dir.join("data");
    settings.storage.keys = dir.join("keys");
    settings.storage.root_key = RootKey::File(dir.join("keys/root.key"));
    settings.records.linger_ms = 1;
    let base = format!("http://{upstream}/v1");
    let model = json!({
        "providers": [
            {"id": "standin", "base_url": base, "retries": {"most": 0}},
            {"id": "claude", "kind": "anthropic", "base_url": base, "retries": {"most": 0}},
        ],
        "routes": [
            {"name": "plain", "provider": "standin", "upstream_model": "m"},
            {"name": "cached", "provider": "standin", "cache": {"ttl_seconds": 600}},
            {"name": "claude", "provider": "claude", "upstream_model": "c"},
        ],
    });
    settings.model = serde_json::from_value(model).unwrap();
    settings
}

/// The provider credential that a tenant's environment has at first.
pub(crate) fn secret_of(tenant: &str, environment: &str) -> String {
    format!("sk-{tenant}-{environment}-0123456789abcdef")
}

impl Rig {
    /// Tenants `acme` and `globex`, each with `live` and `staging`, a provider credential in
    /// each, and a service that may mint for all of them.
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let rig = Self::empty(change).await;
        for tenant in TENANTS {
            rig.add_tenant(tenant).await;
        }
        rig
    }

    /// Without tenants.
    pub(crate) async fn empty(change: impl FnOnce(&mut Settings)) -> Self {
        log();
        let dir = TempDir::new().unwrap();
        let upstream = Upstream::start().await;
        let crm = Crm::start().await;
        let mut settings = settings(dir.path(), upstream.address);
        settings.tools = serde_json::from_value(crm::tools(crm.address)).unwrap();
        change(&mut settings);
        let clock = Arc::new(ManualClock::at(NOON));
        let ada = "ada".parse().unwrap();
        let operator =
            Deployment::create_with(&settings, &ada, clock.clone(), Arc::new(OsEntropy)).await;
        let operator = operator.unwrap().expose().to_owned();
        let prober = Arc::<Told>::default();
        let handle = Self::serve(&settings, &clock, &prober).await;
        let client = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
        let service = String::new();
        let addresses = [handle.data_address(), handle.control_address()];
        let handle = Some(handle);
        let mut rig = Self {
            handle,
            addresses,
            clock,
            upstream,
            crm,
            settings,
            operator,
            service,
            client,
            dir,
            prober,
        };
        let made = rig
            .admin(
                Method::POST,
                "/admin/v1/services",
                json!({"name": "backend",
                "tenants": ["*"], "environments": ["*"], "workflows": ["*"], "scope": ALL}),
            )
            .await
            .good();
        rig.service = made.json()["secret"].as_str().unwrap().to_owned();
        rig
    }

    pub(crate) async fn serve(
        settings: &Settings,
        clock: &Arc<ManualClock>,
        prober: &Arc<Told>,
    ) -> Handle {
        let opened =
            Deployment::open_with(settings.clone(), clock.clone(), Arc::new(OsEntropy)).await;
        Server::start(opened.unwrap().probed_by(prober.clone())).await.unwrap()
    }

    pub(crate) async fn add_tenant(&self, tenant: &str) {
        let aliases = [format!("org_{tenant}")];
        let body = json!({"id": tenant, "aliases": aliases, "environments": ENVIRONMENTS});
        self.admin(Method::POST, "/admin/v1/tenants", body).await.good();
        for environment in ENVIRONMENTS {
            let secret = secret_of(tenant, environment);
            self.upstream.mark(&secret, &format!("{tenant}/{environment}"));
            self.set_credential(tenant, environment, &secret).await.good();
        }
    }

    pub(crate) async fn set_credential(
        &self,
        tenant: &str,
        environment: &str,
        secret: &str,
    ) -> Reply {
        self.set_credential_of("standin", tenant, environment, json!({"secret": secret})).await
    }

    pub(crate) async fn set_credential_of(
        &self,
        provider: &str,
        tenant: &str,
        environment: &str,
        body: Value,
    ) -> Reply {
        let at = format!("/admin/v1/tenants/{tenant}/environments/{environment}/credentials");
        self.admin(Method::PUT, &format!("{at}/{provider}"), body).await
    }

    /// Gives both tenants the same secret for both providers, in all environments.
    pub(crate) async fn share(&self, secret: &str) {
        self.upstream.mark(secret, "everybody");
        for provider in ["standin", "claude"] {
            for (tenant, environment) in units() {
                let body = json!({"secret": secret, "shared": true});
                self.set_credential_of(provider, tenant, environment, body).await.good();
            }
        }
    }

    /// Ends the server in order.
    pub(crate) async fn stop(&mut self) {
        self.handle.take().unwrap().shutdown().await.unwrap();
    }

    /// Serves again what was stopped.
    pub(crate) async fn serve_again(&mut self) {
        let handle = Self::serve(&self.settings, &self.clock, &self.prober).await;
        self.addresses = [handle.data_address(), handle.control_address()];
        self.handle = Some(handle);
    }

    pub(crate) fn address(&self, plane: Plane) -> SocketAddr {
        self.addresses[plane as usize]
    }

    /// Sends, and gives the answer's head, its body still on the way.
    pub(crate) async fn open(
        &self,
        plane: Plane,
        method: Method,
        path: &str,
        headers: Headers<'_>,
        body: Bytes,
    ) -> Response<Incoming> {
        let uri = format!("http://{}{path}", self.address(plane));
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.client.request(request.body(Full::new(body)).unwrap()).await.unwrap()
    }

    pub(crate) async fn send(
        &self,
        plane: Plane,
        method: Method,
        path: &str,
        headers: Headers<'_>,
        body: impl Into<Bytes>,
    ) -> Reply {
        let response = self.open(plane, method, path, headers, body.into()).await;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Reply { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    pub(crate) async fn admin(&self, method: Method, path: &str, body: Value) -> Reply {
        self.admin_as(&self.operator, method, path, body).await
    }

    pub(crate) async fn admin_as(
        &self,
        operator: &str,
        method: Method,
        path: &str,
        body: Value,
    ) -> Reply {
        let bearer = format!("Bearer {operator}");
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let headers = [("authorization", bearer.as_str()), ("x-bulkhead-reason", "a test")];
        self.send(Plane::Control, method, path, &headers, body).await
    }

    /// A GET on the data plane.
    pub(crate) async fn get(&self, token: &str, path: &str) -> Reply {
        self.call(token, Method::GET, path, &[], "").await
    }

    /// A request to the data plane.
    pub(crate) async fn call(
        &self,
        token: &str,
        method: Method,
        path: &str,
        headers: Headers<'_>,
        body: impl Into<Bytes>,
    ) -> Reply {
        let bearer = format!("Bearer {token}");
        let mut all = vec![("authorization", bearer.as_str())];
        all.extend_from_slice(headers);
        self.send(Plane::Data, method, path, &all, body).await
    }

    /// A request of the token endpoint.
    pub(crate) async fn exchange(&self, service: &str, form: &[(&str, &str)]) -> Reply {
        let bearer = format!("Bearer {service}");
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", "application/x-www-form-urlencoded"),
        ];
        self.send(Plane::Control, Method::POST, "/oauth/token", &headers, encode(form)).await
    }

    /// A tenant token for workflow `support`.
    pub(crate) async fn token(&self, tenant: &str, environment: &str, scope: &str) -> String {
        self.minted(tenant, environment, &[("scope", scope)]).await["access_token"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// What the token endpoint gives for a named tenant.
    pub(crate) async fn minted(
        &self,
        tenant: &str,
        environment: &str,
        more: &[(&str, &str)],
    ) -> Value {
        let mut form = vec![
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token_type", "urn:bulkhead:params:oauth:token-type:tenant"),
            ("subject_token", tenant),
            ("environment", environment),
            ("workflow", "support"),
        ];
        form.extend_from_slice(more);
        self.exchange(&self.service, &form).await.good().json()
    }

    /// An API key for workflow `support`.
    pub(crate) async fn key(&self, tenant: &str, environment: &str) -> Value {
        let path = format!("/admin/v1/tenants/{tenant}/environments/{environment}/keys");
        let body = json!({"workflow": "support", "scope": ALL});
        self.admin(Method::POST, &path, body).await.good().json()
    }

    /// A chat completion, whole.
    pub(crate) async fn chat(&self, token: &str, model: &str, prompt: &str) -> Reply {
        self.chat_with(token, &[], chat_body(model, prompt, false)).await
    }

    pub(crate) async fn chat_with(&self, token: &str, headers: Headers<'_>, body: Value) -> Reply {
        let bearer = format!("Bearer {token}");
        let mut all =
            vec![("authorization", bearer.as_str()), ("content-type", "application/json")];
        all.extend_from_slice(headers);
        self.send(Plane::Data, Method::POST, "/v1/chat/completions", &all, body.to_string()).await
    }

    /// A chat completion as a stream, opened.
    pub(crate) async fn stream(&self, token: &str, model: &str, prompt: &str) -> Streaming {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str())];
        let body = chat_body(model, prompt, true).to_string().into();
        let response =
            self.open(Plane::Data, Method::POST, "/v1/chat/completions", &headers, body).await;
        assert_eq!(response.status(), 200);
        Streaming(response.into_body())
    }

    /// A request about collections, with a body in JSON.
    pub(crate) async fn ask(&self, token: &str, method: &str, path: &str, body: Value) -> Reply {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let headers = [("content-type", "application/json")];
        self.call(token, method.parse().unwrap(), path, &headers, body).await
    }

    /// A collection of two dimensions and a sparse vector, with a field to find points by.
    pub(crate) async fn collection(&self, token: &str, name: &str) {
        let at = format!("/qdrant/collections/{name}");
        let body = json!({"vectors": {"size": 2, "distance": "Dot"},
            "sparse_vectors": {"words": {"modifier": "idf"}}});
        self.ask(token, "PUT", &at, body).await.good();
        let index = json!({"field_name": "topic", "field_schema": "keyword"});
        self.ask(token, "PUT", &format!("{at}/index?wait=true"), index).await.good();
    }

    /// Puts a point there.
    pub(crate) async fn point(&self, token: &str, name: &str, id: Value, payload: Value) -> Reply {
        let at = format!("/qdrant/collections/{name}/points?wait=true");
        let vector = json!({"": [1.0, 0.5], "words": {"indices": [1, 2], "values": [1.0, 1.0]}});
        let body = json!({"points": [{"id": id, "vector": vector, "payload": payload}]});
        self.ask(token, "PUT", &at, body).await
    }

    /// The audit log of a tenant's environment, as the tenant reads it.
    pub(crate) async fn audit(&self, tenant: &str, environment: &str) -> Vec<Value> {
        let token = self.token(tenant, environment, "audit:read").await;
        let page = self.get(&token, "/v1/audit?limit=1000").await.good().json();
        page["items"].as_array().unwrap().clone()
    }

    /// The same, as soon as it has an answer that was withheld: that is written behind what is answered.
    pub(crate) async fn audit_of_withheld(&self, tenant: &str, environment: &str) -> String {
        loop {
            let log = serde_json::json!(self.audit(tenant, environment).await).to_string();
            if log.contains("tool.result_out_of_scope") {
                return log;
            }
        }
    }

    /// What is in quarantine, as soon as there is something.
    pub(crate) async fn quarantined(&self) -> Reply {
        loop {
            let listed = self.admin(Method::GET, "/admin/v1/quarantine", Value::Null).await.good();
            if listed.json()["items"] != serde_json::json!([]) {
                return listed;
            }
        }
    }
}

/// The body of an event stream.
pub(crate) struct Streaming(Incoming);

impl Streaming {
    /// What is left of an answer.
    pub(crate) fn of(response: Response<Incoming>) -> Self {
        Self(response.into_body())
    }

    /// The next piece, as text; nothing at the end.
    pub(crate) async fn next(&mut self) -> Option<String> {
        let frame = self.0.frame().await?.unwrap();
        Some(String::from_utf8(frame.into_data().unwrap_or_default().to_vec()).unwrap())
    }

    /// Whether it ends without an end.
    pub(crate) async fn cut_off(mut self) -> bool {
        while let Some(frame) = self.0.frame().await {
            if frame.is_err() {
                return true;
            }
        }
        false
    }

    /// Everything that is left.
    pub(crate) async fn rest(mut self) -> String {
        let mut text = String::new();
        while let Some(piece) = self.next().await {
            text.push_str(&piece);
        }
        text
    }
}

pub(crate) fn chat_body(model: &str, prompt: &str, stream: bool) -> Value {
    json!({"model": model, "stream": stream, "messages": [{"role": "user", "content": prompt}]})
}

/// `application/x-www-form-urlencoded`
pub(crate) fn encode(form: &[(&str, &str)]) -> String {
    let escape = |text: &str| -> String {
        text.bytes()
            .map(|b| match b {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                    char::from(b).to_string()
                }
                other => format!("%{other:02X}"),
            })
            .collect()
    };
    form.iter().map(|(n, v)| format!("{}={}", escape(n), escape(v))).collect::<Vec<_>>().join("&")
}
