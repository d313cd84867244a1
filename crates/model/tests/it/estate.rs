//! What the tests of ownership stand on: real doors, vault, store and gate, and a provider
//! `p` whose one account all tenants share, unless each has a credential of its own.

use std::sync::Arc;

use bulkhead_model::{
    Account, Api, Body, Caller, Error, HandleBounds, Handles, Kind, ModelHop, Parts, Provider,
    Request, Resource, ResourceAsk, Retries, Route, Salts, Settings, Timeouts,
};
use bytes::{Bytes, BytesMut};
use cache::{Cache, LogAlarm, Semantic, SemanticSettings};
use futures_util::StreamExt;
use gate::{Action, Gate, Hop, Kept, Policies, Touch};
use http::HeaderValue;
use ids::{ManualClock, Millis, OsEntropy, ProviderId, RequestId};
use records::Recorder;
use scope::{Maintenance, Scope, SystemScope, Write};
use serde_json::Value;
use store::{Options, Store};
use testkit::Kit;
use vault::{Credentials, FileRoot, SecretText, Vault};
use zeroize::Zeroizing;

use super::depot::Depot;

/// The credential that everybody has, where it is shared.
pub(crate) const SHARED: &str = "sk-shared-0123456789";
const LONG: u64 = 600_000;

pub(crate) struct Estate {
    pub(crate) kit: Kit,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) store: Store,
    pub(crate) handles: Handles,
    pub(crate) depot: Depot,
    pub(crate) model: ModelHop,
    pub(crate) provider: ProviderId,
    gate: Gate,
    recorder: Recorder,
    _directory: tempfile::TempDir,
}

/// What is sent along.
pub(crate) enum Sent<'a> {
    Nothing,
    Json(Value),
    /// Fields of a form; that of the name `file` is one.
    Form(&'a [(&'a str, &'a str)]),
    /// Of this type.
    Raw(&'a str, String),
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) content_type: HeaderValue,
    pub(crate) bytes: Bytes,
}

impl Got {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap()
    }

    pub(crate) fn id(&self) -> String {
        self.json()["id"].as_str().unwrap().to_owned()
    }

    /// The ids of a list.
    pub(crate) fn ids(&self) -> Vec<String> {
        let list = self.json();
        let data = list["data"].as_array().unwrap();
        data.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
    }
}

#[expect(clippy::disallowed_methods, reason = "a test of what the deployment records")]
pub(crate) const fn system() -> SystemScope {
    SystemScope::claim(Maintenance::Start)
}

impl Estate {
    /// Both tenants, in each environment, with one credential.
    pub(crate) async fn shared() -> Self {
        Self::new(true, HandleBounds::default(), |_| {}).await
    }

    /// Each with its own.
    pub(crate) async fn new(
        shared: bool,
        bounds: HandleBounds,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(Millis::from_secs(1_795_000_000)));
        let root = FileRoot::create(directory.path().join("root.key"), &OsEntropy).unwrap();
        let keys = directory.path().join("keys");
        let vault = Vault::create(&keys, root, clock.clone(), Arc::new(OsEntropy)).await.unwrap();
        let store =
            Store::open(&Options::new(directory.path().join("data")), clock.clone()).unwrap();
        let kit = Kit::new(clock.clone()).await;
        let options = records::Options { linger_ms: 0, ..records::Options::default() };
        let recorder = Recorder::open(options, &store, &vault, clock.clone(), &OsEntropy).unwrap();
        let (audit, time) = (kit.audit.clone(), clock.clone());
        let gate = Gate::new(Policies::built_in(), Vec::new(), recorder.clone(), audit, time);
        let credentials = vault.credentials(&store);
        for tenant in ["acme", "globex"] {
            for environment in ["live", "staging"] {
                let scope = kit.scope(tenant, environment).await;
                let secret = match shared {
                    true => SHARED.to_owned(),
                    false => format!("sk-{tenant}-{environment}-0123456789"),
                };
                set(&credentials, &scope, secret, shared).await;
            }
        }
        let secret = Zeroizing::new([4; 32]);
        let handles = Handles::bounded(&store, &vault, secret, system(), clock.clone(), bounds);
        let depot = Depot::new().await;
        let mut settings = settings(&depot);
        change(&mut settings);
        let alarm = Arc::new(LogAlarm);
        let secret = Zeroizing::new([3; 32]);
        let kept = cache::Settings::default();
        let cache = Cache::open(kept, &store, &vault, secret, clock.clone(), alarm).unwrap();
        let parts = Parts {
            credentials,
            cache,
            semantic: Semantic::new(SemanticSettings::default(), clock.clone()),
            handles: handles.clone(),
            salts: Salts::new(Zeroizing::new([5; 32])),
            clock: clock.clone(),
            entropy: Arc::new(OsEntropy),
        };
        let model = ModelHop::open(settings, parts).unwrap();
        let provider = "p".parse().unwrap();
        Self {
            kit,
            clock,
            store,
            handles,
            depot,
            model,
            provider,
            gate,
            recorder,
            _directory: directory,
        }
    }

    /// The account that all tenants share.
    pub(crate) const fn account(&self) -> Account<'_> {
        Account { provider: &self.provider, shared: true }
    }

    pub(crate) async fn acme(&self) -> Scope<Write> {
        self.kit.scope("acme", "live").await
    }

    pub(crate) async fn globex(&self) -> Scope<Write> {
        self.kit.scope("globex", "live").await
    }

    /// A request about something that is kept, through the gate.
    pub(crate) async fn ask(
        &self,
        scope: &Scope<Write>,
        resource: Resource,
        ids: &[&str],
        query: &[(&str, &str)],
        sent: Sent<'_>,
    ) -> Result<Got, Error> {
        let query: Vec<_> =
            query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let (kind, body) = match sent {
            Sent::Nothing => (None, Bytes::new()),
            Sent::Json(value) => (Some("application/json"), value.to_string().into()),
            Sent::Raw(kind, body) => (Some(kind), body.into()),
            Sent::Form(fields) => (Some("multipart/form-data; boundary=x"), form(fields)),
        };
        let limits = self.model.limits();
        let ids = ids.iter().copied();
        let ask = ResourceAsk::parse(resource, ids, &query, kind, body, limits)?;
        let kept = match resource.grant() {
            "model:files" => Kept::Files,
            "model:batches" => Kept::Batches,
            _ => Kept::Responses,
        };
        let hop = Hop::resource(kept, Touch::Write, RequestId::draw(&OsEntropy));
        let model = &self.model;
        let answer = self.gate.pass(scope, hop, |pass| model.resource(scope, pass, ask)).await?;
        read(answer).await
    }

    /// Without parameters and body.
    pub(crate) async fn get(
        &self,
        scope: &Scope<Write>,
        resource: Resource,
        ids: &[&str],
    ) -> Result<Got, Error> {
        self.ask(scope, resource, ids, &[], Sent::Nothing).await
    }

    pub(crate) async fn upload(
        &self,
        scope: &Scope<Write>,
        purpose: &str,
        content: &str,
    ) -> Result<Got, Error> {
        let form = Sent::Form(&[("purpose", purpose), ("file", content)]);
        self.ask(scope, Resource::CreateFile, &[], &[], form).await
    }

    /// A response that is kept.
    pub(crate) async fn respond(&self, scope: &Scope<Write>, body: &Value) -> Result<Got, Error> {
        self.tell(scope, Api::Responses, body).await
    }

    /// Asks a model.
    pub(crate) async fn tell(
        &self,
        scope: &Scope<Write>,
        api: Api,
        body: &Value,
    ) -> Result<Got, Error> {
        let ask = Request::parse(api, body.to_string().into(), self.model.limits())?;
        let action = match api {
            Api::Chat => Action::Chat,
            Api::Responses => Action::Responses,
            Api::Embeddings => Action::Embeddings,
            Api::Messages | Api::CountTokens => Action::Messages,
        };
        let hop = Hop::model(action, ask.model(), RequestId::draw(&OsEntropy));
        let model = &self.model;
        let caller = Caller::default();
        let answer = self.gate.pass(scope, hop, |pass| model.ask(scope, pass, ask, caller)).await?;
        read(answer).await
    }

    /// How the hops of a scope ended.
    pub(crate) async fn codes(&self, scope: &Scope<Write>) -> Vec<Option<String>> {
        self.recorder.flush().await;
        let filter = records::Filter::default();
        let events = self.recorder.list(scope, &filter).await.unwrap();
        events.into_iter().map(|event| event.event.code.map(|code| code.to_string())).collect()
    }
}

async fn set(credentials: &Credentials, scope: &Scope<Write>, secret: String, shared: bool) {
    for provider in ["p", "anthropic"] {
        // Its own for each, unless it is everybody's.
        let more = if shared { "" } else { provider };
        let secret = SecretText::parse(format!("{secret}{more}")).unwrap();
        let provider = provider.parse().unwrap();
        credentials.of(scope).set(&provider, None, secret, shared).await.unwrap();
    }
}

/// Routes `m` (of provider `p`, which calls it `real`) and `tools` (with tools that run there);
/// `q` and `claude`, of other providers.
fn settings(depot: &Depot) -> Settings {
    let provider = |id: &str, kind| Provider {
        timeouts: Timeouts { connect_ms: LONG, first_byte_ms: LONG, idle_ms: LONG, total_ms: LONG },
        max_response_bytes: 1 << 20,
        retries: Retries { most: 0, ..Retries::default() },
        ..Provider::new(id.parse().unwrap(), kind, &format!("http://{}/v1", depot.address))
    };
    let route =
        |name: &str, provider: &str| Route::new(name.parse().unwrap(), provider.parse().unwrap());
    let tools = || ["web_search", "code_interpreter", "file_search"].map(String::from).to_vec();
    Settings {
        providers: vec![
            provider("p", Kind::Openai),
            provider("other", Kind::Vllm),
            provider("anthropic", Kind::Anthropic),
        ],
        routes: vec![
            Route { upstream_model: Some("real".into()), ..route("m", "p") },
            Route { hosted_tools: tools(), ..route("tools", "p") },
            route("q", "other"),
            Route { hosted_tools: tools(), ..route("claude", "anthropic") },
        ],
        ..Settings::default()
    }
}

fn form(fields: &[(&str, &str)]) -> Bytes {
    let mut body = String::new();
    for (name, value) in fields {
        let file = if *name == "file" { "; filename=\"input.jsonl\"" } else { "" };
        let head = format!("--x\r\ncontent-disposition: form-data; name=\"{name}\"{file}");
        body.push_str(&format!("{head}\r\n\r\n{value}\r\n"));
    }
    body.push_str("--x--\r\n");
    body.into()
}

async fn read(answer: bulkhead_model::Answer) -> Result<Got, Error> {
    let bytes = match answer.body {
        Body::Full(bytes) => bytes,
        Body::Stream(mut stream) => {
            let mut all = BytesMut::new();
            while let Some(piece) = stream.next().await {
                all.extend_from_slice(&piece?);
            }
            all.freeze()
        }
    };
    Ok(Got { status: answer.status.as_u16(), content_type: answer.content_type, bytes })
}
