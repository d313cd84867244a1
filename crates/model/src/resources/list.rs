//! Lists of files and batches, from what is recorded as the scope's.

use std::time::Duration;

use bytes::Bytes;
use ids::planted;
use scope::{Scope, Write};
use serde::Serialize;
use serde_json::{Value, json, value::RawValue};

use super::{Reply, Resource, ResourceAsk, files::remembered, wire::object_of};
use crate::{
    Error, HandleKind, ModelHop,
    handles::{More, Owned, Page},
    upstream::Call,
};

/// Batches that may have got on are looked after, at most so many for one list.
const LOOKED_AFTER: usize = 20;
/// All of them together for no longer than this.
const PATIENCE: Duration = Duration::from_secs(10);
/// States that a batch does not leave.
const OVER: [&str; 4] = ["cancelled", "completed", "expired", "failed"];

#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    data: Vec<Box<RawValue>>,
    first_id: Option<&'a str>,
    last_id: Option<&'a str>,
    has_more: bool,
}

impl ModelHop {
    pub(super) async fn list(
        &self,
        scope: &Scope<Write>,
        ask: &ResourceAsk,
    ) -> Result<Bytes, Error> {
        let kind = ask.resource.kind();
        let files = ask.resource == Resource::ListFiles;
        let page = Page {
            after: ask.query.after.clone(),
            limit: ask.query.limit.unwrap_or(if files { 10_000 } else { 20 }),
            ascending: ask.query.ascending.unwrap_or(false),
            purpose: ask.query.purpose.clone(),
        };
        let providers: Vec<_> = self.inner.suppliers.keys().collect();
        let (mut listed, has_more) = self.handles().list(scope, &providers, kind, &page).await?;
        if !files {
            let going_on = listed.iter_mut().filter(|batch| !is_over(batch)).take(LOOKED_AFTER);
            let looking = async {
                for batch in going_on {
                    self.look_after(scope, batch).await?;
                }
                Ok(())
            };
            // What takes longer is shown as it stood.
            tokio::time::timeout(PATIENCE, looking).await.unwrap_or(Ok::<_, Error>(()))?;
        }
        let list = List {
            object: "list",
            data: listed.iter().filter_map(object).collect(),
            first_id: listed.first().map(|owned| owned.id.as_str()),
            last_id: listed.last().map(|owned| owned.id.as_str()),
            has_more,
        };
        serde_json::to_vec(&list).map(Bytes::from).map_err(|_| Error::Missing("id"))
    }

    /// How a batch stands now. If that cannot be learned, it is shown as it stood.
    async fn look_after(&self, scope: &Scope<Write>, batch: &mut Owned) -> Result<(), Error> {
        // Another provider than the one that policies were asked about is not asked.
        if self.resources(scope).is_none_or(|supplier| supplier.provider.id != batch.provider) {
            return Ok(());
        }
        let Ok(keeper) = self.keeper(scope, &batch.provider).await else { return Ok(()) };
        // Recorded at an account of the tenant's own, it may be another's at a shared one.
        let own = self.handles().confirmed(scope, keeper.account(), batch).await?;
        if !(own || planted::is("batch-looked-after-unasked")) {
            return Ok(());
        }
        let path = format!("/batches/{}", super::escaped(&batch.id));
        let reply = keeper.ask(Call::bare(http::Method::GET, path)).await;
        let Ok(Reply::Json { body, .. }) = reply else { return Ok(()) };
        let Ok(object) = object_of(&body, &batch.id) else { return Ok(()) };
        // A list is not lost for one of its own that cannot be recorded.
        if self.outputs(&keeper, &object).await.is_err() {
            return Ok(());
        }
        self.refresh(&keeper, batch, &object, &body).await?;
        batch.more = Some(More { purpose: None, ..remembered(&object, &body) });
        Ok(())
    }
}

fn is_over(batch: &Owned) -> bool {
    let object = batch.more.as_ref().and_then(|more| more.object.as_ref());
    let object = object.and_then(|object| serde_json::from_str::<Value>(object.get()).ok());
    let status = object.as_ref().and_then(|object| object.get("status")?.as_str());
    status.is_some_and(|status| OVER.contains(&status))
}

/// The provider's object, or what is known without it.
fn object(owned: &Owned) -> Option<Box<RawValue>> {
    let more = owned.more.as_ref();
    if let Some(object) = more.and_then(|more| more.object.as_ref()) {
        return Some(object.clone());
    }
    let known = match owned.kind {
        HandleKind::File => json!({
            "id": owned.id,
            "object": "file",
            "bytes": 0,
            "created_at": owned.created.secs(),
            "filename": owned.id,
            "purpose": more.and_then(|more| more.purpose.as_deref()).unwrap_or("batch_output"),
            "status": "processed",
        }),
        _ => json!({"id": owned.id, "object": "batch", "created_at": owned.created.secs()}),
    };
    serde_json::value::to_raw_value(&known).ok()
}
