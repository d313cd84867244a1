//! Batches: begun from files whose lines were judged, and what comes out of them.

use ids::planted;
use serde_json::Value;

use super::{
    Done, Found, ResourceAsk,
    ask::Content,
    call,
    files::remembered,
    wire::{Keeper, Reply, document, object_of},
};
use crate::{Error, HandleKind, Made, ModelHop, handles::More, hop::grant, upstream::Call};

/// Fields of a batch that name files which it made.
const OUTPUTS: [&str; 2] = ["output_file_id", "error_file_id"];

impl ModelHop {
    /// Begins a batch from a file that was found to be the scope's.
    pub(super) async fn create_batch(
        &self,
        found: &Found<'_>,
        ask: &ResourceAsk,
    ) -> Result<Done, Error> {
        let Content::Batch(batch) = &ask.content else { return Err(Error::NoKeeper) };
        let more = found.owned.as_ref().and_then(|owned| owned.more.as_ref());
        let lines = more.and_then(|more| more.lines.as_deref());
        if lines != Some(batch.endpoint.path()) {
            return Err(Error::Malformed {
                field: "input_file_id",
                must: "a file that was uploaded here for the purpose `batch`, with lines for this endpoint",
            });
        }
        // Whoever uploaded the lines may have had more grants.
        let keeper = &found.keeper;
        let grant = grant(batch.endpoint);
        if !(keeper.scope.may(grant) || planted::is("batch-grant-unasked")) {
            return Err(scope::Error::Grant(grant.to_owned()).into());
        }
        let reply = keeper.ask(Call::post("/batches", batch.write(), false)).await?;
        if let Reply::Json { body, .. } = &reply {
            let object: Value = document(body)?;
            let more = More { purpose: None, ..remembered(&object, body) };
            // It is there already: whatever else is wrong with the answer, it has an owner.
            self.record(keeper, HandleKind::Batch, &object, more).await?;
            self.outputs(keeper, &object).await?;
        }
        Ok(reply.into())
    }

    pub(super) async fn batch(&self, found: &Found<'_>, ask: &ResourceAsk) -> Result<Done, Error> {
        let reply = found.keeper.ask(call(ask)).await?;
        if let (Reply::Json { body, .. }, Some(owned)) = (&reply, &found.owned) {
            let object = object_of(body, ask.id())?;
            self.outputs(&found.keeper, &object).await?;
            self.refresh(&found.keeper, owned, &object, body).await?;
        }
        Ok(reply.into())
    }

    /// Records the files that a batch made.
    pub(super) async fn outputs(&self, keeper: &Keeper<'_>, batch: &Value) -> Result<(), Error> {
        // Some say with empty text that there is none yet.
        let ids = OUTPUTS.iter().filter_map(|field| batch.get(field)?.as_str());
        let ids = ids.filter(|id| !id.is_empty());
        let made: Vec<_> =
            ids.map(|id| Made { kind: HandleKind::File, id: id.to_owned() }).collect();
        self.handles().claim(keeper.scope, keeper.account(), &made).await
    }
}
