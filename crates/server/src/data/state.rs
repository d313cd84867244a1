//! `/v1/state`: what agents keep of their runs, durably, with versions and compare-and-set.

use std::sync::Arc;

use axum::response::Response;
use cache::{Condition, Item, Listed};
use gate::{Hop, Touch};
use http::{HeaderName, HeaderValue, StatusCode};
use ids::RunId;
use scope::{Scope, Write};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    body,
    raw::{self, Change, Conditions},
    stepped, word,
};
use crate::{
    App,
    ask::{Ask, json_answer, ok},
    fault::Fault,
    held::held,
};

/// Which version an answer is.
const VERSION: HeaderName = HeaderName::from_static("x-bulkhead-state-version");
/// The longest key, in bytes; the settings may say less.
const KEY: usize = 768;

/// Which part of a run is listed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listing {
    #[serde(default)]
    prefix: String,
    after: Option<String>,
    limit: Option<u64>,
}

/// Which version of a key is read.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    #[serde(default)]
    history: bool,
    version: Option<u64>,
    limit: Option<u64>,
}

fn limited(limit: Option<u64>) -> usize {
    let limit = usize::try_from(limit.unwrap_or(100)).unwrap_or(usize::MAX);
    limit.clamp(1, cache::MAX_LIST)
}

/// The run of the path, and the hop to its state. Whose credential is for another run stops
/// here, and that is on record.
async fn run(
    app: &App,
    scope: &Scope<Write>,
    ask: &Ask,
    touch: Touch,
) -> Result<(RunId, Hop), Fault> {
    let run: RunId = ask.id("run")?;
    let hop = stepped(ask, Hop::state(touch, run.as_str(), ask.request))?;
    // Without the grant it is the gate that says no.
    let other = scope.run().is_some_and(|own| *own != run) && scope.may(hop.grant());
    if other && !ids::planted::is("state-run-not-checked") {
        let why = "the state of another run than the credential's";
        app.gate.refuse(scope, &hop, "scope.mismatch", why).await;
        return Err(scope::Error::Mismatch(why.into()).into());
    }
    Ok((run, hop))
}

pub(crate) async fn get(app: Arc<App>, scope: Scope<Write>, ask: Ask) -> Result<Response, Fault> {
    let which: Which = ask.query(&app)?;
    let key = word(&ask, "key", KEY)?;
    let conditions = Conditions::of(ask.headers())?;
    let (run, hop) = run(&app, &scope, &ask, Touch::Read).await?;
    let (app, scope) = (&*app, &scope);
    let shown = app.gate.pass(scope, hop, |pass| async {
        let book = app.state.of(scope);
        let found = if which.history {
            if which.version.is_some() {
                return Err(Fault::malformed("`history` or `version`, not both"));
            }
            let listed = book.history(&run, key, limited(which.limit)).await?;
            let items: Vec<_> = listed.iter().map(listing).collect();
            (!items.is_empty()).then(|| ok(&json!({"items": items})))
        } else {
            let item = book.get(&run, key, which.version).await?;
            item.map(|item| shown(item, &conditions))
        };
        // That it is not there is an answer, and no failure of the hop.
        let Some(found) = found else { return Ok(None) };
        Ok(Some(held(found?, scope, pass).await))
    });
    shown.await?.ok_or_else(Fault::not_found)
}

fn shown(item: Item, conditions: &Conditions<'_>) -> Result<Response, Fault> {
    let Item { value, content_type, version, etag, .. } = item;
    let mut response = raw::reading(conditions, &content_type, &etag, value)?;
    response.headers_mut().insert(VERSION, HeaderValue::from(version));
    Ok(response)
}

pub(crate) async fn put(
    app: Arc<App>,
    scope: Scope<Write>,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let key = word(&ask, "key", KEY)?.to_owned();
    let conditions = ask.headers().clone();
    let conditions = Conditions::of(&conditions)?;
    let condition = condition(&conditions)?;
    let content_type = raw::content_type(ask.headers())?.to_owned();
    let ttl = raw::ttl(ask.headers())?;
    let (run, hop) = run(&app, &scope, &ask, Touch::Write).await?;
    let most = usize::try_from(app.state.settings().value_max_bytes).unwrap_or(usize::MAX);
    let body = body::read(&app, &scope, &mut ask, &hop, most).await?;
    let hop = hop.bytes_in(body.bytes.len() as u64);
    let (app, scope) = (&*app, &scope);
    let put = app.gate.pass(scope, hop, |pass| async {
        let _held = pass;
        let book = app.state.of(scope);
        let put = book.put(&run, &key, &body.bytes, &content_type, ttl, condition).await?;
        Ok::<_, Fault>(put)
    });
    let put = put.await?;
    let status = if put.created { StatusCode::CREATED } else { StatusCode::OK };
    let told = json!({"key": key, "version": put.version, "etag": put.etag});
    let mut response = json_answer(status, &told)?;
    raw::tag(&mut response, Some(&put.etag));
    response.headers_mut().insert(VERSION, HeaderValue::from(put.version));
    Ok(response)
}

pub(crate) async fn delete(
    app: Arc<App>,
    scope: Scope<Write>,
    ask: Ask,
) -> Result<Response, Fault> {
    let key = word(&ask, "key", KEY)?;
    let conditions = Conditions::of(ask.headers())?;
    let condition = condition(&conditions)?;
    let (run, hop) = run(&app, &scope, &ask, Touch::Write).await?;
    let (app, scope) = (&*app, &scope);
    let gone = app.gate.pass(scope, hop, |pass| async {
        let _held = pass;
        Ok::<_, Fault>(app.state.of(scope).delete(&run, key, condition).await?)
    });
    gone.await?;
    Ok(raw::empty(StatusCode::NO_CONTENT, None))
}

pub(crate) async fn list(app: Arc<App>, scope: Scope<Write>, ask: Ask) -> Result<Response, Fault> {
    let Listing { prefix, after, limit } = ask.query(&app)?;
    let limit = limited(limit);
    let (run, hop) = run(&app, &scope, &ask, Touch::Read).await?;
    let (app, scope) = (&*app, &scope);
    app.gate
        .pass(scope, hop, |pass| async {
            let listed = app.state.of(scope).list(&run, &prefix, after.as_deref(), limit).await?;
            let next = listed.last().filter(|_| listed.len() == limit).map(|last| &last.key);
            let items: Vec<_> = listed.iter().map(listing).collect();
            Ok(held(ok(&json!({"items": items, "next": next}))?, scope, pass).await)
        })
        .await
}

pub(crate) async fn clear(app: Arc<App>, scope: Scope<Write>, ask: Ask) -> Result<Response, Fault> {
    let (run, hop) = run(&app, &scope, &ask, Touch::Write).await?;
    let (app, scope) = (&*app, &scope);
    let gone = app.gate.pass(scope, hop, |pass| async {
        let _held = pass;
        Ok::<_, Fault>(app.state.of(scope).delete_run(&run).await?)
    });
    ok(&json!({"deleted": gone.await?}))
}

fn condition<'a>(conditions: &Conditions<'a>) -> Result<Condition<'a>, Fault> {
    Ok(match conditions.change()? {
        Change::Always => Condition::Any,
        Change::Create => Condition::Absent,
        Change::Replace => Condition::Present,
        Change::If(etag) => Condition::Is(etag),
    })
}

fn listing(listed: &Listed) -> Value {
    let Listed { key, etag, version, bytes, written, expires } = listed;
    json!({
        "key": key,
        "etag": etag,
        "version": version,
        "bytes": bytes,
        "written": written.to_string(),
        "expires": expires.map(|at| at.to_string()),
    })
}
