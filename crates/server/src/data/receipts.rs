//! `/v1/receipts`: what proves the tenant's own writes.

use std::sync::Arc;

use axum::response::Response;
use gate::{Hop, Reading};
use ids::RandomId;
use scope::{Scope, Write};
use serde::Deserialize;
use serde_json::{Value, json};
use tools::{Error, Receipt};

use crate::{
    App,
    ask::{Ask, ok},
    fault::Fault,
    held::held,
};

/// Receipts of one page, at most.
const MOST: usize = 1_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Paging {
    after: Option<RandomId>,
    limit: Option<usize>,
}

fn shown(receipt: &Receipt) -> Value {
    let Receipt { intent, at, signed } = receipt;
    json!({"intent": intent.to_string(), "at": at.to_string(), "signed": signed})
}

/// To its reader, what there is not and what is another's is the same.
fn missing(error: Error) -> Fault {
    match error {
        Error::Handle(_) => Fault::not_found(),
        error => error.into(),
    }
}

pub(crate) async fn list(app: Arc<App>, scope: Scope<Write>, ask: Ask) -> Result<Response, Fault> {
    let Paging { after, limit } = ask.query(&app)?;
    let limit = limit.unwrap_or(100).clamp(1, MOST);
    let hop = Hop::records(Reading::Runs, ask.request);
    let (app, scope) = (&*app, &scope);
    app.gate
        .pass(scope, hop, |pass| async move {
            let listed = app.tools.receipts(scope, after, limit).await.map_err(missing)?;
            let next = listed.last().filter(|_| listed.len() == limit);
            let next = next.map(|receipt| receipt.intent.to_string());
            let items: Vec<_> = listed.iter().map(shown).collect();
            Ok(held(ok(&json!({"items": items, "next": next}))?, scope, pass).await)
        })
        .await
}

pub(crate) async fn one(app: Arc<App>, scope: Scope<Write>, ask: Ask) -> Result<Response, Fault> {
    // What is no id names nothing.
    let id = RandomId::parse(ask.param("id")).map_err(|_| Fault::not_found())?;
    let hop = Hop::records(Reading::Runs, ask.request);
    let (app, scope) = (&*app, &scope);
    let found = app.gate.pass(scope, hop, |pass| async move {
        match app.tools.receipt(scope, id).await {
            Ok(receipt) => Ok(Some(held(ok(&shown(&receipt))?, scope, pass).await)),
            // That it is not there is an answer, and no failure of the hop.
            Err(Error::Handle(_)) => Ok(None),
            Err(error) => Err(Fault::from(error)),
        }
    });
    found.await?.ok_or_else(Fault::not_found)
}
