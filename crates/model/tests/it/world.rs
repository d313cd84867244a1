//! What every test here stands on: real doors, vault, store, cache and gate.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bulkhead_model::{
    Answer, Api, Body, CacheRoute, Caller, CallerCache, Error, Handles, Kind, ModelHop, Parts,
    Provider, Request, Retries, Route, Salts, Settings, Timeouts,
};
use bytes::{Bytes, BytesMut};
use cache::{Cache, LogAlarm, Semantic, SemanticSettings};
use futures_util::StreamExt;
use gate::{Action, Gate, Hop, Policies};
use ids::{ManualClock, Millis, OsEntropy, RequestId};
use records::{Filter, Recorded, Recorder};
use scope::{Maintenance, Scope, SystemScope, Write};
use store::{Options, Store};
use testkit::Kit;
use vault::{Credentials, FileRoot, SecretText, Vault};
use zeroize::Zeroizing;

/// A timeout that no test waits for.
pub(crate) const LONG: u64 = 600_000;

pub(crate) struct World {
    pub(crate) kit: Kit,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) cache: Cache,
    pub(crate) credentials: Credentials,
    pub(crate) gate: Gate,
    pub(crate) recorder: Recorder,
    pub(crate) semantic: Semantic,
    pub(crate) handles: Handles,
    _directory: tempfile::TempDir,
}

impl World {
    /// With a credential for provider `p` of tenants `acme` and `globex` in each environment:
    /// `sk-acme-live-…`.
    pub(crate) async fn new() -> Self {
        Self::under(Policies::built_in()).await
    }

    pub(crate) async fn under(policies: Policies) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(Millis::from_secs(1_795_000_000)));
        let root = FileRoot::create(directory.path().join("root.key"), &OsEntropy).unwrap();
        let keys = directory.path().join("keys");
        let vault = Vault::create(&keys, root, clock.clone(), Arc::new(OsEntropy)).await.unwrap();
        let store =
            Store::open(&Options::new(directory.path().join("data")), clock.clone()).unwrap();
        let kit = Kit::new(clock.clone()).await;
        let secret = Zeroizing::new([3; 32]);
        let settings = cache::Settings::default();
        let alarm = Arc::new(LogAlarm);
        let cache = Cache::open(settings, &store, &vault, secret, clock.clone(), alarm).unwrap();
        let options = records::Options { linger_ms: 0, ..records::Options::default() };
        let recorder = Recorder::open(options, &store, &vault, clock.clone(), &OsEntropy).unwrap();
        let audit = kit.audit.clone();
        let gate = Gate::new(policies, Vec::new(), recorder.clone(), audit, clock.clone());
        let credentials = vault.credentials(&store);
        let semantic = Semantic::new(SemanticSettings::default(), clock.clone());
        #[expect(clippy::disallowed_methods, reason = "as the deployment does it")]
        let system = SystemScope::claim(Maintenance::Storage);
        let handles = Handles::open(&store, &vault, Zeroizing::new([5; 32]), system, clock.clone());
        let world = Self {
            kit,
            clock,
            cache,
            credentials,
            gate,
            recorder,
            semantic,
            handles,
            _directory: directory,
        };
        for tenant in ["acme", "globex"] {
            for environment in ["live", "staging"] {
                let scope = world.kit.scope(tenant, environment).await;
                world.set_secret(&scope, &secret_of(tenant, environment)).await;
            }
        }
        world
    }

    pub(crate) async fn set_secret(&self, scope: &Scope<Write>, secret: &str) {
        self.set(scope, "p", secret, false).await;
    }

    /// Stores a secret for a provider; `shared` with others, or not.
    pub(crate) async fn set(
        &self,
        scope: &Scope<Write>,
        provider: &str,
        secret: &str,
        shared: bool,
    ) {
        let secret = SecretText::parse(secret.to_owned()).unwrap();
        let provider = provider.parse().unwrap();
        self.credentials.of(scope).set(&provider, None, secret, shared).await.unwrap();
    }

    pub(crate) async fn acme(&self) -> Scope<Write> {
        self.kit.scope("acme", "live").await
    }

    pub(crate) async fn globex(&self) -> Scope<Write> {
        self.kit.scope("globex", "live").await
    }

    pub(crate) fn parts(&self) -> Parts {
        Parts {
            credentials: self.credentials.clone(),
            cache: self.cache.clone(),
            semantic: self.semantic.clone(),
            handles: self.handles.clone(),
            salts: Salts::new(Zeroizing::new([7; 32])),
            clock: self.clock.clone(),
            entropy: Arc::new(OsEntropy),
        }
    }

    pub(crate) fn hop(&self, settings: Settings) -> ModelHop {
        ModelHop::open(settings, self.parts()).unwrap()
    }

    /// Through the gate, as the server does it.
    pub(crate) async fn call(
        &self,
        model: &ModelHop,
        scope: &Scope<Write>,
        api: Api,
        body: &str,
        caller: Caller,
    ) -> Result<Answer, Error> {
        let ask = Request::parse(api, Bytes::copy_from_slice(body.as_bytes()), model.limits())?;
        let action = match api {
            Api::Chat => Action::Chat,
            Api::Responses => Action::Responses,
            Api::Embeddings => Action::Embeddings,
            Api::Messages | Api::CountTokens => Action::Messages,
        };
        let request = RequestId::draw(&OsEntropy);
        let hop =
            Hop::model(action, ask.model(), request).bytes_in(ask.bytes()).stream(ask.stream());
        self.gate.pass(scope, hop, |pass| model.ask(scope, pass, ask, caller)).await
    }

    /// A chat completion.
    pub(crate) async fn chat(
        &self,
        model: &ModelHop,
        scope: &Scope<Write>,
        body: &str,
        cache: CallerCache,
    ) -> Result<Answer, Error> {
        self.call(model, scope, Api::Chat, body, Caller { cache, ..Caller::default() }).await
    }

    /// The same without wishes about the cache.
    pub(crate) async fn ask(
        &self,
        model: &ModelHop,
        scope: &Scope<Write>,
        body: &str,
    ) -> Result<Answer, Error> {
        self.chat(model, scope, body, CallerCache::default()).await
    }

    pub(crate) async fn events(&self, scope: &Scope<Write>) -> Vec<Recorded> {
        self.recorder.flush().await;
        self.recorder.list(scope, &Filter::default()).await.unwrap()
    }
}

pub(crate) fn secret_of(tenant: &str, environment: &str) -> String {
    format!("sk-{tenant}-{environment}-0123456789")
}

/// What shows whose secret it is and is not the secret.
pub(crate) fn whose(secret: &str) -> String {
    format!("the owner of {}", secret.replace("sk-", ""))
}

/// A provider at this address that is never waited for in vain, and asked once.
pub(crate) fn provider(id: &str, kind: Kind, address: SocketAddr) -> Provider {
    Provider {
        timeouts: Timeouts { connect_ms: LONG, first_byte_ms: LONG, idle_ms: LONG, total_ms: LONG },
        max_response_bytes: 1 << 20,
        extra_fields: vec!["x_unknown".into()],
        // What comes back is what was sent; hidden usage has tests of its own.
        stream_usage: false,
        retries: Retries { most: 0, ..Retries::default() },
        ..Provider::new(id.parse().unwrap(), kind, &format!("http://{address}/v1"))
    }
}

/// One provider `p` at this address, with routes `plain` (no cache), `kept` (an hour) and
/// `alias` (the provider calls it `real-name`).
pub(crate) fn settings(address: SocketAddr) -> Settings {
    let route = |name: &str| Route::new(name.parse().unwrap(), "p".parse().unwrap());
    let cache = CacheRoute { ttl_seconds: 3_600, max_value_bytes: 1 << 20, wait_ms: LONG };
    Settings {
        providers: vec![provider("p", Kind::OpenaiCompatible, address)],
        routes: vec![
            route("plain"),
            Route { cache: Some(cache), ..route("kept") },
            Route { upstream_model: Some("real-name".into()), ..route("alias") },
        ],
        ..Settings::default()
    }
}

/// The body of a request to `model`.
pub(crate) fn prompt(model: &str, text: &str) -> String {
    format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"{text}"}}]}}"#)
}

/// The same as a stream.
pub(crate) fn stream_prompt(model: &str, text: &str) -> String {
    prompt(model, text).replacen('{', r#"{"stream":true,"#, 1)
}

pub(crate) fn max_age(seconds: u64) -> CallerCache {
    CallerCache { max_age: Some(Duration::from_secs(seconds)), ..CallerCache::default() }
}

/// All bytes of an answer.
pub(crate) async fn bytes(answer: Answer) -> Bytes {
    match answer.body {
        Body::Full(bytes) => bytes,
        Body::Stream(mut stream) => {
            let mut all = BytesMut::new();
            while let Some(piece) = stream.next().await {
                all.extend_from_slice(&piece.unwrap());
            }
            all.freeze()
        }
    }
}

pub(crate) async fn text(answer: Answer) -> String {
    String::from_utf8(bytes(answer).await.to_vec()).unwrap()
}
