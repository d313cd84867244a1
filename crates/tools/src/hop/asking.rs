//! One call out, and whose it is that comes back.

use std::sync::Arc;

use ids::json::Json;
use reviews::Doubtful;
use scope::{AuditSink, Entry, Scope, Write};

use super::{Described, Inner, is_for};
use crate::{
    Content, Error,
    contract::Tool,
    credential::Authorized,
    outside::{Errand, Missed},
    owner::Foreign,
    upstream::{Asking, links},
    write::intent::Kept,
};

impl Inner {
    /// The tool of this name, if it is here for this scope. Nobody learns which there are for
    /// others.
    pub(crate) fn tool_for(&self, scope: &Scope<Write>, name: &str) -> Result<Arc<Tool>, Error> {
        let tool = self.tools.get(name).ok_or(Error::Unknown)?;
        if !is_for(tool, scope) {
            return Err(Error::Unknown);
        }
        Ok(Arc::clone(tool))
    }

    /// A tool as the scope sees it.
    pub(crate) async fn described(
        &self,
        scope: &Scope<Write>,
        name: &str,
        tool: &Arc<Tool>,
    ) -> Result<Described, Error> {
        let definition = self.network.definition(scope, tool).await?;
        let input = tool.shown(&definition.input).map_err(Error::Settings)?;
        // What an operator wrote of it is what holds.
        let description = tool.description.clone().or(definition.description);
        Ok(Described {
            name: name.to_owned(),
            title: definition.title,
            description,
            input,
            output: definition.output,
            effect: tool.contract.effect,
        })
    }

    /// Calls, and holds what comes back against the owner. What is not handed on lies in
    /// quarantine when this returns, as far as there is room.
    pub(crate) async fn ask(&self, errand: Errand<'_>) -> Result<Content, Missed> {
        let Errand { scope, tool, call, .. } = errand;
        // What is said meanwhile is held, too.
        let progress = &tool.owners.notes(call, errand.progress);
        let reply = self.network.send(Errand { progress, ..errand }).await.map_err(Missed::of)?;
        let most = self.settings.limits.records;
        match tool.owners.check(scope, call, &reply.content, most) {
            Ok(content) => self.handed(scope, tool, content).await,
            Err(foreign) => {
                self.withheld(scope, tool, &reply.content, foreign).await;
                Err(Missed { error: Error::OutOfScope, sent: true })
            }
        }
    }

    /// An answer with handles in the place of its upstream's URIs.
    async fn handed(
        &self,
        scope: &Scope<Write>,
        tool: &Tool,
        content: Content,
    ) -> Result<Content, Missed> {
        let Content::Mcp(Json::Object(mut result)) = content else { return Ok(content) };
        let (upstream, by, handles) = (&*tool.upstream, &Authorized::bare(), &self.handles);
        let asking = Asking { scope, upstream, by, handles };
        for (key, value) in &mut result {
            let Json::Array(blocks) = value else { continue };
            if key != "content" {
                continue;
            }
            for block in blocks {
                let raw = std::mem::replace(block, Json::Null);
                let shown = links(asking, raw).await;
                *block = shown.map_err(|error| Missed { error, sent: true })?;
            }
        }
        Ok(Content::Mcp(Json::Object(result)))
    }

    /// Puts away an answer that is not the tenant's, and writes down that it came: never what it
    /// is.
    async fn withheld(
        &self,
        scope: &Scope<Write>,
        tool: &Tool,
        content: &Content,
        foreign: Foreign,
    ) {
        let doubtful = Doubtful {
            what: tool.contract.name.clone(),
            upstream: Some(tool.upstream.id.clone()),
            payload: serde_json::to_vec(&Kept::of(content)).unwrap_or_default(),
            reason: foreign.why.clone(),
        };
        let (reviews, audit) = (self.parts.reviews.clone(), Arc::clone(&self.parts.audit));
        let what = tool.contract.name.clone();
        // In a task of its own: whoever hangs up does not erase the trace.
        let kept = scope.spawn(async move |scope| {
            let code = Error::OutOfScope.code();
            let mut entry = Entry::denied(scope.actor(), code, what, code).because(foreign.why);
            match reviews.quarantine(&scope, doubtful).await {
                Ok(review) => entry = entry.with("review", review),
                Err(error) => {
                    tracing::error!(%error, "what is not a tenant's could not be quarantined");
                    entry = entry.with("quarantine", error.code());
                }
            }
            record(&*audit, &scope, entry).await;
        });
        if kept.await.is_err() {
            tracing::error!("what is not a tenant's was withheld, and that is on no record");
        }
    }

    /// Writes down what was done. What was done stays done if that fails.
    pub(crate) async fn audited(&self, scope: &Scope<Write>, entry: Entry) {
        record(&*self.parts.audit, scope, entry).await;
    }
}

async fn record(audit: &dyn AuditSink, scope: &Scope<Write>, entry: Entry) {
    let action = entry.action.clone();
    if let Err(error) = audit.record(scope, entry).await {
        tracing::error!(
            tenant = scope.tenant().as_str(),
            environment = scope.environment().as_str(),
            action,
            %error,
            "this could not be written to the audit log"
        );
    }
}
