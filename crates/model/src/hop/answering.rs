//! One answer: from the cache, or from a provider.

use std::time::Duration;

use bytes::Bytes;
use cache::{Found, Hit, KeyParts, Turn, Version};
use gate::Pass;
use http::StatusCode;
use ids::ProviderId;
use scope::{Scope, Write};

use super::{
    Entry, Inner,
    fetch::{Fetched, Refusal, Work},
    semantic::{Question, Similar},
};
use crate::{
    Answer, Api, Body, CacheRoute, CacheStatus, Caller, Dialect, Error, Request,
    answer::{EVENTS, JSON},
    delivery::{Delivery, LARGE},
    relay::{Keep, Relay},
    sse::Parser,
    stored::{self, Form},
};

/// What the work came to, before it is recorded.
pub(super) struct Outcome {
    pub(super) cache: CacheStatus,
    /// Why no similar question was looked for.
    semantic_off: Option<&'static str>,
    /// Who answered.
    provider: Option<ProviderId>,
    said: Said,
}

enum Said {
    /// What was kept.
    Kept(Form, Bytes),
    Fetched(Box<(Fetched, Option<Keep>)>),
}

impl Outcome {
    const fn kept(cache: CacheStatus, form: Form, body: Bytes) -> Self {
        Self { cache, semantic_off: None, provider: None, said: Said::Kept(form, body) }
    }
}

impl Inner {
    /// Finds the answer, or asks for it.
    pub(super) async fn answer(
        &self,
        scope: &Scope<Write>,
        ask: &Request,
        caller: &Caller,
        policy: Version,
    ) -> Result<Outcome, Error> {
        ask.concur(scope)?;
        let entry: &Entry = self.entry(scope, ask.model())?;
        // Before the cache is asked: whoever has no credential any more has no answers of it.
        let candidates = self.candidates(scope, entry, ask).await?;
        let work = Work { inner: self, scope, entry, ask, caller, candidates };
        work.betas_allowed()?;
        // What could not be recorded is not made.
        if ask.keeps() {
            self.parts.handles.room(scope).await?;
        }
        let wanted = !caller.cache.no_store && !work.stateful();
        let Some(kept) = entry.route.cache.filter(|_| wanted) else {
            return work.run(None, CacheStatus::Bypass, None).await;
        };
        self.through_cache(work, policy, &kept).await
    }

    /// What is kept, and otherwise what a provider answers.
    async fn through_cache(
        &self,
        work: Work<'_>,
        policy: Version,
        kept: &CacheRoute,
    ) -> Result<Outcome, Error> {
        let Work { scope, entry, ask, caller, .. } = work;
        let form = if ask.stream() { Form::Events } else { Form::Json };
        let (versions, canonical) = (versions(ask, caller), ask.canonical());
        let versions: Vec<&str> = versions.iter().map(String::as_str).collect();
        let parts = KeyParts {
            kind: kind(ask.api(), form),
            entity: entry.route.name.as_str(),
            versions: &versions,
            policy,
            config: entry.version,
            request: &canonical,
        };
        let similar = entry.measure.as_ref().zip(entry.route.semantic.as_ref());
        let question = similar.map(|(measure, by)| Question::of(scope, ask, measure, by));
        let partition = question.as_ref().and_then(|q| q.as_ref()).map(|q| q.digest);
        let mut keep = Keep {
            cache: self.parts.cache.clone(),
            key: self.parts.cache.of(scope).key(&parts),
            ttl: kept.ttl(),
            most: kept.max_value_bytes,
            leader: None,
            partition,
            then: None,
        };
        if caller.cache.no_cache {
            return work.run(Some(keep), CacheStatus::Bypass, None).await;
        }
        let oldest = caller.cache.max_age;
        let hit = self.seek(scope, &mut keep, kept, oldest).await;
        let body = hit.and_then(|hit| stored::decode(&hit.value, form, partition.as_ref()));
        if let Some(body) = body {
            return Ok(Outcome::kept(CacheStatus::Hit, form, body));
        }
        let Some(question) = question else {
            return work.run(Some(keep), CacheStatus::Miss, None).await;
        };
        match self.similar(scope, entry, &parts, question, form, oldest).await {
            Similar::Near { body, similarity } => {
                keep.leave();
                Ok(Outcome::kept(CacheStatus::Semantic { similarity }, form, body))
            }
            Similar::Nothing(placed) => {
                keep.then = Some(self.remember(scope, &keep, placed));
                work.run(Some(keep), CacheStatus::Miss, None).await
            }
            Similar::Off(why) => work.run(Some(keep), CacheStatus::Miss, Some(why)).await,
        }
    }

    /// Looks for the same request, and waits for one that is under way. Without a hit this one
    /// leads, or is on its own.
    async fn seek(
        &self,
        scope: &Scope<Write>,
        keep: &mut Keep,
        kept: &CacheRoute,
        oldest: Option<Duration>,
    ) -> Option<Hit> {
        let shelf = self.parts.cache.of(scope);
        let fresh = |hit: &Hit| oldest.is_none_or(|oldest| hit.age <= oldest);
        match shelf.seek(&keep.key, oldest).await {
            Found::Hit(found) => return Some(found),
            Found::Lead(leader) => keep.leader = Some(leader),
            Found::Follow(follower) => match follower.turn(kept.wait()).await {
                Turn::Lead(leader) => keep.leader = Some(leader),
                Turn::Read => return shelf.get(&keep.key).await.filter(fresh),
                Turn::Alone => {}
            },
        }
        None
    }

    /// Makes the answer of it, and records what it took.
    pub(super) fn hand_on(
        &self,
        scope: &Scope<Write>,
        mut pass: Pass,
        ask: &Request,
        outcome: Outcome,
    ) -> Answer {
        let Outcome { cache, semantic_off, provider, said } = outcome;
        let api = ask.api();
        if let Some(provider) = &provider {
            pass.tally().provider(provider.clone());
        }
        let answer = match said {
            Said::Kept(form, body) => {
                let content_type = match form {
                    Form::Json => JSON,
                    Form::Events => EVENTS,
                };
                let body = deliver(body, api, form, scope, pass);
                Answer::new(StatusCode::OK, content_type, cache, body)
            }
            Said::Fetched(fetched) => hand_over(scope, pass, (ask, cache), *fetched),
        };
        Answer { semantic_off, ..answer }
    }
}

/// The answer of what a provider said.
fn hand_over(
    scope: &Scope<Write>,
    mut pass: Pass,
    (ask, cache): (&Request, CacheStatus),
    (fetched, keep): (Fetched, Option<Keep>),
) -> Answer {
    let api = ask.api();
    match fetched {
        Fetched::Json { status, body, usage, .. } => {
            if let Some(usage) = usage {
                pass.tally().tokens(usage.input, usage.output);
            }
            Answer::new(status, JSON, cache, deliver(body, api, Form::Json, scope, pass))
        }
        Fetched::Refused(Refusal { status, body, retry_after }) => {
            pass.tally().bytes_out(body.len() as u64);
            pass.failed("upstream.error");
            Answer { retry_after, ..Answer::new(status, JSON, cache, Body::Full(body)) }
        }
        Fetched::Stream { exchange, credential, hide_usage, claimer } => {
            let status = exchange.status;
            let parser = Parser::new(api, hide_usage).keeps(ask.names());
            let relay = Relay::new(exchange, parser, scope, credential, pass)
                .keeping(keep)
                .claiming(Some(claimer));
            Answer::new(status, EVENTS, cache, Body::Stream(Box::pin(relay)))
        }
    }
}

impl Work<'_> {
    /// Asks the providers, and keeps what one answers if that is wanted and it is whole.
    async fn run(
        self,
        keep: Option<Keep>,
        cache: CacheStatus,
        semantic_off: Option<&'static str>,
    ) -> Result<Outcome, Error> {
        let scope = self.scope;
        let (fetched, keep, provider) = match (self.fetch().await, keep) {
            (Ok((fetched @ Fetched::Stream { .. }, provider)), keep) => (fetched, keep, provider),
            (Ok((fetched, provider)), None) => (fetched, None, provider),
            (Ok((fetched, provider)), Some(keep)) => {
                match &fetched {
                    Fetched::Json { whole: true, body, .. } => {
                        keep.keep(scope, Form::Json, body).await;
                    }
                    _ => keep.leave(),
                }
                (fetched, None, provider)
            }
            (Err(error), keep) => {
                if let Some(keep) = keep {
                    keep.leave();
                }
                return Err(error);
            }
        };
        let said = Said::Fetched(Box::new((fetched, keep)));
        Ok(Outcome { cache, semantic_off, provider: Some(provider), said })
    }
}

/// What kind of thing an answer is, for the cache.
const fn kind(api: Api, form: Form) -> &'static str {
    match (api, form) {
        (Api::Chat, Form::Json) => "model.chat",
        (Api::Chat, Form::Events) => "model.chat.stream",
        (Api::Responses, Form::Json) => "model.responses",
        (Api::Responses, Form::Events) => "model.responses.stream",
        (Api::Messages, Form::Json) => "model.messages",
        (Api::Messages, Form::Events) => "model.messages.stream",
        (Api::Embeddings, _) => "model.embeddings",
        (Api::CountTokens, _) => "model.count_tokens",
    }
}

/// What tells a caller's own answers apart: what it says in headers that changes them, then
/// its own versions.
fn versions(ask: &Request, caller: &Caller) -> Vec<String> {
    let mut versions = Vec::new();
    if ask.api().dialect() == Dialect::Anthropic {
        let version = caller.anthropic_version.as_ref().and_then(|v| v.to_str().ok());
        versions.push(version.unwrap_or_default().to_owned());
        versions.push(caller.anthropic_beta.join(","));
    }
    versions.extend(caller.cache.version.clone());
    versions.extend(ask.named_partition());
    versions
}

/// An answer that is there already. A large one keeps the pass for as long as the caller
/// takes to read it.
fn deliver(body: Bytes, api: Api, form: Form, scope: &Scope<Write>, mut pass: Pass) -> Body {
    if body.len() > LARGE {
        return Body::Stream(Box::pin(Delivery::new(body, api, form, scope, pass)));
    }
    pass.tally().bytes_out(body.len() as u64);
    pass.complete();
    Body::Full(body)
}
