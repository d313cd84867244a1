//! The surface itself: routes, the cache in front of them, the providers behind.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::Arc,
};

use bytes::Bytes;
use cache::{Cache, Found, Hit, KeyParts, Turn, Version};
use gate::Pass;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use ids::{RouteName, frame::Frame};
use scope::{Access, Scope, Write};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;
use vault::{Credential, Credentials};

use crate::{
    Answer, Body, CacheStatus, CallerCache, ChatRequest, Error, Fault, Limits, ModelCard, Provider,
    Route, Settings,
    answer::{EVENTS, JSON},
    delivery::{Delivery, LARGE},
    relay::{Keep, Relay},
    scrub, sse,
    stored::{self, Form},
    tls,
    upstream::{Exchange, Upstream},
};

/// Of an error's body, so much is read.
const ERROR_BODY: u64 = 64 * 1024;

/// The model surface. Cheap to clone.
#[derive(Clone)]
pub struct ModelHop {
    inner: Arc<Inner>,
}

struct Inner {
    routes: HashMap<RouteName, Entry>,
    cards: Vec<ModelCard>,
    upstreams: Vec<Arc<Upstream>>,
    limits: Limits,
    credentials: Credentials,
    cache: Cache,
}

/// A route, and what it takes to serve it.
struct Entry {
    route: Route,
    extra_fields: Vec<String>,
    version: Version,
    upstream: Arc<Upstream>,
}

/// What the work came to, before it is recorded.
enum Outcome {
    Kept(Form, Bytes),
    Whole {
        status: StatusCode,
        body: Bytes,
        usage: Option<sse::Usage>,
        cache: CacheStatus,
    },
    Refused {
        refusal: Refusal,
        cache: CacheStatus,
    },
    Stream {
        exchange: Box<Exchange>,
        credential: Arc<Credential>,
        keep: Option<Keep>,
        cache: CacheStatus,
    },
}

/// An error that the provider answered with.
struct Refusal {
    status: StatusCode,
    body: Bytes,
    retry_after: Option<HeaderValue>,
}

/// What the provider answered.
enum Fetched {
    /// `whole`: an answer, rather than something else in JSON.
    Json {
        status: StatusCode,
        body: Bytes,
        usage: Option<sse::Usage>,
        whole: bool,
    },
    Refused(Refusal),
    Stream(Box<Exchange>, Arc<Credential>),
}

impl ModelHop {
    /// The surface for these settings.
    ///
    /// # Errors
    /// Settings that contradict each other or cannot be used.
    pub fn open(settings: Settings, credentials: Credentials, cache: Cache) -> Result<Self, Error> {
        let mut targets = settings.targets()?;
        let public = tls::connector(None)?;
        let mut providers = HashMap::new();
        let mut upstreams = Vec::new();
        for provider in &settings.providers {
            if let Some(target) = targets.remove(&provider.id) {
                let tls = match &provider.ca_file {
                    Some(path) => tls::connector(Some(path))?,
                    None => public.clone(),
                };
                let upstream = Arc::new(Upstream::new(provider, target, tls));
                upstreams.push(Arc::clone(&upstream));
                providers.insert(&provider.id, (provider, upstream));
            }
        }
        let mut routes = HashMap::new();
        let mut cards = Vec::new();
        for route in &settings.routes {
            let Some((provider, upstream)) = providers.get(&route.provider) else { continue };
            cards.push(ModelCard { name: route.name.clone(), provider: route.provider.clone() });
            let entry = Entry {
                version: version(provider, route),
                extra_fields: provider.extra_fields.clone(),
                upstream: Arc::clone(upstream),
                route: route.clone(),
            };
            routes.insert(route.name.clone(), entry);
        }
        let limits = settings.limits;
        let inner = Inner { routes, cards, upstreams, limits, credentials, cache };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Bounds on requests, for [`ChatRequest::parse`].
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    /// The route of this name.
    #[must_use]
    pub fn route(&self, model: &str) -> Option<&Route> {
        self.inner.routes.get(model).map(|entry| &entry.route)
    }

    /// Closes connections to providers that were idle for too long. For maintenance, now and
    /// then.
    pub fn tidy(&self) {
        for upstream in &self.inner.upstreams {
            upstream.tidy();
        }
    }

    /// The models that this scope may name: those for whose provider it has a credential.
    ///
    /// # Errors
    /// The scope does not hold any more, or the vault cannot be asked.
    pub async fn models<A: Access>(
        &self,
        scope: &Scope<A>,
        pass: Pass,
    ) -> Result<Vec<ModelCard>, Error> {
        let listed = self.listed(scope).await;
        match &listed {
            Ok(_) => pass.complete(),
            Err(error) => pass.failed(error.code()),
        }
        listed
    }

    async fn listed<A: Access>(&self, scope: &Scope<A>) -> Result<Vec<ModelCard>, Error> {
        scope.live()?;
        let wallet = self.inner.credentials.of(scope);
        let mut held = HashMap::new();
        let mut cards = Vec::new();
        for card in &self.inner.cards {
            let has = match held.get(&card.provider) {
                Some(has) => *has,
                None => {
                    let has = wallet.get(&card.provider, scope.workflow()).await?.is_some();
                    held.insert(&card.provider, has);
                    has
                }
            };
            if has {
                cards.push(card.clone());
            }
        }
        Ok(cards)
    }

    /// A chat completion.
    ///
    /// An error that the provider answers with is an answer, with its status and rebuilt body.
    ///
    /// # Errors
    /// The body names somebody else, the model is not known, the tenant has no credential, the
    /// provider failed, or the scope was revoked meanwhile.
    pub async fn chat(
        &self,
        scope: &Scope<Write>,
        mut pass: Pass,
        ask: ChatRequest,
        caller: CallerCache,
    ) -> Result<Answer, Error> {
        let policy = Version::from_digest(*pass.policy().as_bytes());
        let outcome = tokio::select! {
            biased;
            why = scope.ended() => Err(Error::Scope(why)),
            outcome = self.answer(scope, &ask, &caller, policy) => outcome,
        };
        match outcome {
            Err(error) => {
                pass.failed(error.code());
                Err(error)
            }
            Ok(Outcome::Kept(form, body)) => {
                pass.tally().cache(CacheStatus::Hit.as_str());
                let content_type = match form {
                    Form::Json => JSON,
                    Form::Events => EVENTS,
                };
                let body = deliver(body, form, scope, pass);
                Ok(answer(StatusCode::OK, content_type, CacheStatus::Hit, body))
            }
            Ok(Outcome::Whole { status, body, usage, cache }) => {
                let tally = pass.tally().cache(cache.as_str());
                if let Some(usage) = usage {
                    tally.tokens(usage.prompt_tokens, usage.completion_tokens);
                }
                Ok(answer(status, JSON, cache, deliver(body, Form::Json, scope, pass)))
            }
            Ok(Outcome::Refused { refusal: Refusal { status, body, retry_after }, cache }) => {
                pass.tally().cache(cache.as_str()).bytes_out(body.len() as u64);
                pass.failed("upstream.error");
                Ok(Answer { retry_after, ..answer(status, JSON, cache, Body::Full(body)) })
            }
            Ok(Outcome::Stream { exchange, credential, keep, cache }) => {
                pass.tally().cache(cache.as_str());
                let status = exchange.status;
                let relay = Relay::new(exchange, scope, credential, pass, keep);
                Ok(answer(status, EVENTS, cache, Body::Stream(Box::pin(relay))))
            }
        }
    }

    async fn answer(
        &self,
        scope: &Scope<Write>,
        ask: &ChatRequest,
        caller: &CallerCache,
        policy: Version,
    ) -> Result<Outcome, Error> {
        ask.concur(scope)?;
        let entry = self.inner.routes.get(ask.model()).ok_or(Error::UnknownModel)?;
        ask.confined_to(&entry.extra_fields)?;
        // Before the cache is asked: whoever has no credential any more has no answers of it.
        let credential = self.credential(scope, entry, ask).await?;
        let work = Work { scope, entry, ask, credential };
        let Some(kept) = entry.route.cache.filter(|_| !caller.no_store) else {
            return work.run(None, CacheStatus::Bypass).await;
        };
        let form = if ask.stream() { Form::Events } else { Form::Json };
        let shelf = self.inner.cache.of(scope);
        let key = shelf.key(&KeyParts {
            kind: match form {
                Form::Json => "model.chat",
                Form::Events => "model.chat.stream",
            },
            entity: entry.route.name.as_str(),
            versions: &versions(ask, caller).each(),
            policy,
            config: entry.version,
            request: &ask.canonical(),
        });
        let mut keep = Keep {
            cache: self.inner.cache.clone(),
            key,
            ttl: kept.ttl(),
            most: kept.max_value_bytes,
            leader: None,
        };
        if caller.no_cache {
            return work.run(Some(keep), CacheStatus::Bypass).await;
        }
        let fresh = |hit: &Hit| caller.max_age.is_none_or(|oldest| hit.age <= oldest);
        let mut hit = None;
        match shelf.seek(&key, caller.max_age).await {
            Found::Hit(found) => hit = Some(found),
            Found::Lead(leader) => keep.leader = Some(leader),
            Found::Follow(follower) => match follower.turn(kept.wait()).await {
                Turn::Lead(leader) => keep.leader = Some(leader),
                Turn::Read => hit = shelf.get(&key).await.filter(fresh),
                Turn::Alone => {}
            },
        }
        if let Some(body) = hit.and_then(|hit| stored::decode(&hit.value, form)) {
            return Ok(Outcome::Kept(form, body));
        }
        work.run(Some(keep), CacheStatus::Miss).await
    }

    /// The credential for the route's provider.
    async fn credential(
        &self,
        scope: &Scope<Write>,
        entry: &Entry,
        ask: &ChatRequest,
    ) -> Result<Arc<Credential>, Error> {
        let provider = &entry.route.provider;
        let wallet = self.inner.credentials.of(scope);
        let credential = wallet
            .get(provider, scope.workflow())
            .await?
            .ok_or_else(|| Error::NoCredential(provider.clone()))?;
        if credential.shared
            && let Some(handle) = ask.handle()
        {
            return Err(Error::Handle(handle));
        }
        Ok(credential)
    }
}

/// What is to be asked of a provider, and for whom.
struct Work<'a> {
    scope: &'a Scope<Write>,
    entry: &'a Entry,
    ask: &'a ChatRequest,
    credential: Arc<Credential>,
}

impl Work<'_> {
    /// Asks the provider, and keeps what it answers if that is wanted and it is whole.
    async fn run(self, keep: Option<Keep>, cache: CacheStatus) -> Result<Outcome, Error> {
        let scope = self.scope;
        match self.fetch().await {
            Ok(Fetched::Stream(exchange, credential)) => {
                Ok(Outcome::Stream { exchange, credential, keep, cache })
            }
            Ok(Fetched::Json { status, body, usage, whole }) => {
                match keep {
                    Some(keep) if whole => keep.keep(scope, Form::Json, &body).await,
                    Some(keep) => keep.leave(),
                    None => {}
                }
                Ok(Outcome::Whole { status, body, usage, cache })
            }
            Ok(Fetched::Refused(refusal)) => {
                if let Some(keep) = keep {
                    keep.leave();
                }
                Ok(Outcome::Refused { refusal, cache })
            }
            Err(error) => {
                if let Some(keep) = keep {
                    keep.leave();
                }
                Err(error)
            }
        }
    }

    async fn fetch(self) -> Result<Fetched, Error> {
        let Self { scope, entry, ask, credential } = self;
        let body = ask.upstream_body(entry.route.upstream_model.as_deref())?;
        let exchange = entry.upstream.chat(scope, &credential, body, ask.stream()).await?;
        let status = exchange.status;
        match status {
            StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::PROXY_AUTHENTICATION_REQUIRED => Err(Fault::Credential(status).into()),
            status if status.is_success() && ask.stream() => {
                if !exchange.is(EVENTS) {
                    return Err(Fault::Malformed("it is no event stream").into());
                }
                Ok(Fetched::Stream(exchange, credential))
            }
            status if status.is_success() => Ok(document(exchange).await?),
            status if status.is_client_error() || status.is_server_error() => {
                Ok(Fetched::Refused(refusal(exchange, &credential).await))
            }
            _ => Err(Fault::Malformed("its status is no answer").into()),
        }
    }
}

impl fmt::Debug for ModelHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let routes: HashSet<_> = self.inner.routes.keys().collect();
        f.debug_struct("ModelHop").field("routes", &routes).finish_non_exhaustive()
    }
}

/// The caller's own versions.
struct Versions([Option<String>; 2]);

impl Versions {
    fn each(&self) -> Vec<&str> {
        self.0.iter().flatten().map(String::as_str).collect()
    }
}

fn versions(ask: &ChatRequest, caller: &CallerCache) -> Versions {
    Versions([caller.version.clone(), ask.named_partition()])
}

/// What of the configuration an answer depends on. A new field has to be decided on here.
fn version(provider: &Provider, route: &Route) -> Version {
    let Provider {
        id,
        kind,
        base_url,
        timeouts: _,
        max_response_bytes: _,
        allow_plain_http: _,
        ca_file: _,
        extra_fields: _,
    } = provider;
    let Route { name, provider: _, upstream_model, cache: _ } = route;
    let framed = Frame::new("bulkhead.model.route.1")
        .field(id.as_str())
        .field(format!("{kind:?}"))
        .field(base_url)
        .field(name.as_str())
        .option(upstream_model.as_ref())
        .finish();
    Version::of(&framed)
}

/// Reads a JSON answer to its end, and looks at what it is.
async fn document(exchange: Box<Exchange>) -> Result<Fetched, Fault> {
    #[derive(Deserialize)]
    struct Shape {
        choices: Option<IgnoredAny>,
        error: Option<IgnoredAny>,
        usage: Option<Value>,
    }
    if !exchange.is(JSON) {
        return Err(Fault::Malformed("it is not JSON"));
    }
    let (status, secret) = (exchange.status, exchange.secret());
    let body = exchange.collect().await?;
    if secret.found_in(&body) {
        return Err(Fault::REPEATS);
    }
    let Ok(shape) = serde_json::from_slice::<Shape>(&body) else {
        return Err(Fault::Malformed("it is not a JSON object"));
    };
    let whole = status == StatusCode::OK && shape.choices.is_some() && shape.error.is_none();
    let usage = shape.usage.and_then(|usage| serde_json::from_value(usage).ok());
    Ok(Fetched::Json { status, body, usage, whole })
}

/// Reads an error, and rebuilds it without credentials.
async fn refusal(mut exchange: Box<Exchange>, credential: &Credential) -> Refusal {
    let status = exchange.status;
    let retry_after = retry_after(&exchange.headers);
    exchange.at_most(ERROR_BODY);
    // An error whose words do not come is still one.
    let body = exchange.collect().await.unwrap_or_default();
    let body = scrub::error_body(status, &body, credential.secret.expose());
    Refusal { status, body: body.into(), retry_after }
}

/// `Retry-After`, if it is what RFC 9110 (10.2.3) says: seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<HeaderValue> {
    let value = headers.get(header::RETRY_AFTER)?;
    let bytes = value.as_bytes();
    let seconds = (1..=8).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_digit);
    (seconds || is_date(bytes)).then(|| value.clone())
}

/// Whether this is a date as HTTP writes it now: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn is_date(bytes: &[u8]) -> bool {
    const FORM: &[u8] = b"Www, 00 Mmm 0000 00:00:00 GMT";
    const DAYS: &[u8] = b"MonTueWedThuFriSatSun";
    const MONTHS: &[u8] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    bytes.len() == FORM.len()
        && DAYS.chunks(3).any(|day| bytes.starts_with(day))
        && MONTHS.chunks(3).any(|month| bytes[8..].starts_with(month))
        && bytes[3..].iter().zip(&FORM[3..]).enumerate().all(|(at, (byte, form))| match form {
            b'0' => byte.is_ascii_digit(),
            // The month.
            _ if (5..8).contains(&at) => true,
            _ => byte == form,
        })
}

/// An answer that is there already. A large one keeps the pass for as long as the caller
/// takes to read it.
fn deliver(body: Bytes, form: Form, scope: &Scope<Write>, mut pass: Pass) -> Body {
    if body.len() > LARGE {
        return Body::Stream(Box::pin(Delivery::new(body, form, scope, pass)));
    }
    pass.tally().bytes_out(body.len() as u64);
    pass.complete();
    Body::Full(body)
}

fn answer(
    status: StatusCode,
    content_type: &'static str,
    cache: CacheStatus,
    body: Body,
) -> Answer {
    let content_type = HeaderValue::from_static(content_type);
    Answer { status, content_type, cache, retry_after: None, body }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_a_number_or_a_date() {
        for (value, passes) in [
            ("0", true),
            ("120", true),
            ("Sun, 06 Nov 1994 08:49:37 GMT", true),
            ("Mon, 30 Feb 2026 00:00:00 GMT", true),
            ("", false),
            ("123456789", false),
            ("-1", false),
            ("1.5", false),
            ("sk-abc", false),
            ("Sun, 06 sk- 1994 08:49:37 GMT", false),
            ("sk-, 06 Nov 1994 08:49:37 GMT", false),
            ("Sun, 06 Nov 1994 08:49:37 sk-", false),
            ("Sun, 06 Nov 1994 08:49:37 GMTx", false),
            ("Sunday, 06-Nov-94 08:49:37 GMT", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_str(value).unwrap());
            assert_eq!(retry_after(&headers).is_some(), passes, "{value}");
        }
    }
}
