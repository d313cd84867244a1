//! `/v1/cache`: what agents keep for themselves, on the shelf of their own workflow. It may go
//! at any time; what has to stay is state.

use std::{sync::Arc, time::Duration};

use axum::response::Response;
use cache::{Entries, Entry, EntryName, Version};
use gate::{Hop, Pass, Touch};
use http::{HeaderName, HeaderValue, StatusCode};
use model::CallerCache;
use scope::{Scope, Write};

use super::{
    body,
    raw::{self, Conditions},
    stepped, word,
};
use crate::{App, ask::Ask, fault::Fault, held::held};

/// What the cache had to do with an answer.
pub(super) const CACHE: HeaderName = HeaderName::from_static("x-bulkhead-cache");
/// The longest name of an entity and the longest key, in bytes.
const ENTITY: usize = 128;
const KEY: usize = 512;

/// What a request names.
struct Named {
    entity: String,
    key: String,
    version: Option<String>,
}

impl Named {
    fn of(ask: &Ask) -> Result<Self, Fault> {
        let version = CallerCache::from_headers(ask.headers())?.version;
        let (entity, key) = (word(ask, "entity", ENTITY)?, word(ask, "key", KEY)?);
        Ok(Self { entity: entity.to_owned(), key: key.to_owned(), version })
    }

    fn versions(&self) -> Vec<&str> {
        self.version.iter().map(String::as_str).collect()
    }

    fn name<'a>(&'a self, versions: &'a [&'a str]) -> EntryName<'a> {
        EntryName { entity: &self.entity, key: &self.key, versions }
    }
}

/// The workflow's entries, as the policies of this pass let them be seen.
fn entries<'a>(app: &'a App, scope: &'a Scope<Write>, pass: &Pass) -> Entries<'a> {
    let policy = Version::from_digest(*pass.policy().as_bytes());
    app.cache.of(scope).entries(policy, Version::of(b""))
}

pub(crate) async fn get(app: Arc<App>, scope: Scope<Write>, ask: Ask) -> Result<Response, Fault> {
    let named = Named::of(&ask)?;
    let conditions = Conditions::of(ask.headers())?;
    let hop = stepped(&ask, Hop::cache(Touch::Read, &named.entity, ask.request))?;
    let (app, scope) = (&*app, &scope);
    let versions = named.versions();
    let shown = app.gate.pass(scope, hop, async |mut pass: Pass| {
        let found = entries(app, scope, &pass).get(&named.name(&versions)).await?;
        let Some(entry) = found else {
            pass.tally().cache("miss");
            return Ok(None);
        };
        pass.tally().cache("hit");
        Ok::<_, Fault>(Some(held(shown(entry, &conditions)?, scope, pass).await))
    });
    // That it is not there is an answer, and no failure of the hop.
    shown.await?.ok_or_else(Fault::not_found)
}

fn shown(entry: Entry, conditions: &Conditions<'_>) -> Result<Response, Fault> {
    let Entry { value, content_type, etag, .. } = entry;
    let mut response = raw::reading(conditions, &content_type, &etag, value)?;
    response.headers_mut().insert(CACHE, HeaderValue::from_static("hit"));
    Ok(response)
}

pub(crate) async fn put(
    app: Arc<App>,
    scope: Scope<Write>,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let named = Named::of(&ask)?;
    unconditional(&ask)?;
    let content_type = raw::content_type(ask.headers())?.to_owned();
    let longest = Duration::from_secs(app.settings.cache.ttl_max_seconds);
    let ttl = raw::ttl(ask.headers())?.unwrap_or(longest);
    let hop = stepped(&ask, Hop::cache(Touch::Write, &named.entity, ask.request))?;
    let most = usize::try_from(app.settings.cache.value_max_bytes).unwrap_or(usize::MAX);
    let body = body::read(&app, &scope, &mut ask, &hop, most).await?;
    let hop = hop.bytes_in(body.bytes.len() as u64);
    let (app, scope) = (&*app, &scope);
    let versions = named.versions();
    let etag = app.gate.pass(scope, hop, async |pass: Pass| {
        let entries = entries(app, scope, &pass);
        let name = named.name(&versions);
        Ok::<_, Fault>(entries.put(&name, &content_type, &body.bytes, ttl).await?)
    });
    Ok(raw::empty(StatusCode::NO_CONTENT, Some(&etag.await?)))
}

pub(crate) async fn delete(
    app: Arc<App>,
    scope: Scope<Write>,
    ask: Ask,
) -> Result<Response, Fault> {
    let named = Named::of(&ask)?;
    unconditional(&ask)?;
    let hop = stepped(&ask, Hop::cache(Touch::Write, &named.entity, ask.request))?;
    let (app, scope) = (&*app, &scope);
    let versions = named.versions();
    let gone = app.gate.pass(scope, hop, async |pass: Pass| {
        Ok::<_, Fault>(entries(app, scope, &pass).delete(&named.name(&versions)).await?)
    });
    gone.await?;
    Ok(raw::empty(StatusCode::NO_CONTENT, None))
}

/// A cache that may forget cannot compare and set.
fn unconditional(ask: &Ask) -> Result<(), Fault> {
    if Conditions::of(ask.headers())? == Conditions::default() {
        return Ok(());
    }
    Err(Fault::new(
        "request.unsupported",
        "the cache takes no conditions on changes; run state does (/v1/state)",
    ))
}
