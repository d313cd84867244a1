//! A tenant's body on its way in: nothing is read for whoever may not ask, or asks for too much
//! at once.

use std::sync::Arc;

use axum::body::Bytes;
use gate::{Hop, Permit};
use records::{End, Event};
use scope::{Decision, Scope, Write};

use crate::{App, ask::Ask, fault::Fault, load::Charge};

/// A body of more bytes is not understood where others wait for it.
const LARGE: usize = 256 * 1024;

/// A body, and what it counts for as long as it is there.
pub(crate) struct Body {
    pub(crate) bytes: Bytes,
    pub(crate) charge: Charge,
    pub(crate) entered: Permit,
}

/// Reads the body of a hop that is not fully known yet: `unread` says of it what is. At most
/// so many bytes.
pub(crate) async fn read(
    app: &App,
    scope: &Scope<Write>,
    ask: &mut Ask,
    unread: &Hop,
    most: usize,
) -> Result<Body, Fault> {
    if !scope.may(unread.grant()) {
        let error = scope::Error::Grant(unread.grant().to_owned());
        app.gate.refuse(scope, unread, error.code(), &error.to_string()).await;
        return Err(error.into());
    }
    let turned_away = |fault: &Fault| turned_away(app, scope, unread, fault);
    let entered = app.load.enter(scope, unread).inspect_err(turned_away)?;
    let read = ask.body_of(app, scope, most).await;
    let (bytes, charge) = read.inspect_err(turned_away)?;
    Ok(Body { bytes, charge, entered })
}

/// A body that says something, or what is wrong with it, and what it still counts. A large one
/// takes a thread of its own, and a tenant has only so many of them at once.
pub(super) async fn understood<T: Send + 'static, E: Send + 'static>(
    app: &Arc<App>,
    scope: &Scope<Write>,
    body: Bytes,
    charge: Charge,
    parse: impl FnOnce(&App, &Scope<Write>, Bytes) -> Result<T, E> + Send + 'static,
) -> Result<(Result<T, E>, Charge), Fault> {
    if body.len() <= LARGE {
        return Ok((parse(app, scope, body), charge));
    }
    let lane = app.load.lane(scope).await?;
    let (app, scope) = (Arc::clone(app), scope.clone());
    let parsing = tokio::task::spawn_blocking(move || {
        let parsed = parse(&app, &scope, body);
        // Whoever hangs up meanwhile gives neither back before this is over.
        drop(lane);
        (parsed, charge)
    });
    parsing.await.map_err(|panicked| Fault::internal(&panicked))
}

/// A body that names somebody else is on record.
pub(super) async fn refused(
    app: &App,
    scope: &Scope<Write>,
    hop: &Hop,
    error: model::Error,
) -> Fault {
    if error.code() == "scope.mismatch" {
        app.gate.refuse(scope, hop, error.code(), &error.to_string()).await;
    }
    error.into()
}

/// Load is no question of rights: it has its event, and no entry in the audit log.
fn turned_away(app: &App, scope: &Scope<Write>, hop: &Hop, fault: &Fault) {
    if fault.code != "limit.concurrency" {
        return;
    }
    let now = app.clock.now();
    let mut event = Event::of(scope, now, hop.request(), hop.surface(), hop.action());
    event.decision = Decision::Denied;
    event.end = End::Failed;
    event.code = Some(fault.code.into());
    app.recorder.event(scope, event);
}
