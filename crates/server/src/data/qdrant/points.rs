//! Points, as they are put, changed, removed and looked up.

use std::sync::Arc;

use axum::response::Response;
use gate::Use;
use memory::{
    MemorySettings,
    request::{self, Operation},
};
use scope::{Scope, Write};
use serde_json::json;

use super::{
    Call, Writing,
    envelope::{Shown, Updated, shown},
    named,
};
use crate::{App, ask::Ask, fault::Fault};

type Parse = fn(&[u8], &MemorySettings) -> Result<Operation, memory::Error>;

/// One write.
async fn written(
    app: Arc<App>,
    scope: Scope<Write>,
    mut ask: Ask,
    parse: Parse,
) -> Result<Response, Fault> {
    let name = named(&ask)?;
    let (patience, status) = Writing::of(&app, &ask)?;
    let mut call = Call::new(&ask, Use::Write, name.as_str(), patience)?;
    let operation = call.body(&app, &scope, &mut ask, parse).await?;
    let written = async {
        let seqs = app.memory.of(&scope).write(&name, vec![operation]).await?;
        let operation_id = seqs.last().copied().unwrap_or_default();
        Ok(Updated { operation_id, status })
    };
    call.answer(&app, &scope, written).await
}

macro_rules! writes {
    ($($(#[$doc:meta])* $name:ident by $parse:expr;)*) => {$(
        $(#[$doc])*
        pub(crate) async fn $name(
            app: Arc<App>,
            scope: Scope<Write>,
            ask: Ask,
        ) -> Result<Response, Fault> {
            written(app, scope, ask, $parse).await
        }
    )*};
}

writes! {
    upsert by request::parse_upsert;
    delete by request::parse_delete;
    set_payload by request::parse_set_payload;
    overwrite_payload by overwriting;
    delete_payload by request::parse_delete_payload;
    clear_payload by request::parse_clear;
    update_vectors by request::parse_update_vectors;
    delete_vectors by request::parse_delete_vectors;
}

/// The same words as for setting fields: only the method tells them apart.
fn overwriting(body: &[u8], bounds: &MemorySettings) -> Result<Operation, memory::Error> {
    Ok(match request::parse_set_payload(body, bounds)? {
        Operation::SetPayload { payload, points, key } => {
            Operation::OverwritePayload { payload, points, key }
        }
        other => other,
    })
}

/// Several writes, one after the other.
pub(crate) async fn batch(
    app: Arc<App>,
    scope: Scope<Write>,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let name = named(&ask)?;
    let (patience, status) = Writing::of(&app, &ask)?;
    let mut call = Call::new(&ask, Use::Write, name.as_str(), patience)?;
    let operations = call.body(&app, &scope, &mut ask, request::parse_batch).await?;
    let written = async {
        let seqs = app.memory.of(&scope).write(&name, operations).await?;
        let updated = |operation_id| Updated { operation_id, status };
        Ok(seqs.into_iter().map(updated).collect::<Vec<_>>())
    };
    call.answer(&app, &scope, written).await
}

/// Points by their ids.
pub(crate) async fn retrieve(
    app: Arc<App>,
    scope: Scope<Write>,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let (name, mut call) = Call::reading(&app, &ask)?;
    let asked = call.body(&app, &scope, &mut ask, request::parse_retrieve).await?;
    let found = async { Ok(shown(app.memory.of(&scope).retrieve(&name, asked).await?)) };
    call.answer(&app, &scope, found).await
}

/// One point, whole.
pub(crate) async fn one(app: Arc<App>, scope: Scope<Write>, ask: Ask) -> Result<Response, Fault> {
    let (name, call) = Call::reading(&app, &ask)?;
    let id = ask.param("id");
    let named = id.parse::<u64>().map_or_else(|_| json!(id), |number| json!(number));
    // By the words for several, so that there is one way to read an id.
    let asked = json!({"ids": [named], "with_payload": true, "with_vector": true}).to_string();
    let asked = request::parse_retrieve(asked.as_bytes(), app.memory.settings())?;
    let found = async {
        let mut found = app.memory.of(&scope).retrieve(&name, asked).await?;
        let none =
            || Fault::new("memory.no_point", format!("Not found: No point with id {id} found"));
        found.pop().map(Shown).ok_or_else(none)
    };
    call.answer(&app, &scope, found).await
}
