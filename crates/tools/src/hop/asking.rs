//! One call out, and whose it is that comes back.

use std::sync::Arc;

use ids::{json::Json, planted};
use reviews::Doubtful;
use scope::{AuditSink, Entry, Scope, Write};
use tokio::task::JoinHandle;

use super::{Described, Inner, is_for, nothing};
use crate::{
    Content, Error,
    contract::Tool,
    credential::Authorized,
    outside::{Errand, Missed},
    owner::Foreign,
    upstream::{Asking, Reply, links},
    write::intent::Kept,
};

/// An answer that is not handed on.
enum Unheld {
    /// There is none.
    Missed(Missed),
    /// Not all of it is the tenant's.
    Foreign(Arc<Content>),
}

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

    /// Calls, and holds what comes back against the owner: all of it is the tenant's, or nothing of it
    /// is handed on. For whoever concludes from what is not there, too.
    pub(crate) async fn ask(&self, errand: Errand<'_>) -> Result<Content, Missed> {
        self.asked(errand).await.map_err(|unheld| match unheld {
            Unheld::Missed(missed) => missed,
            Unheld::Foreign(_) => Missed { error: Error::OutOfScope, sent: true },
        })
    }

    /// What a read answers its caller: what is another's is not there.
    pub(super) async fn read(&self, errand: Errand<'_>) -> Result<Content, Error> {
        let Errand { scope, tool, call, .. } = errand;
        let most = self.settings.limits.records;
        let answer = match self.asked(errand).await {
            Ok(content) => Ok(content),
            Err(Unheld::Missed(missed)) => Err(missed.error),
            Err(Unheld::Foreign(content)) => nothing::withheld(scope, tool, call, &content, most),
        };
        nothing::answered(scope, tool, answer)
    }

    /// Calls. What is withheld lies in quarantine when this returns, as far as there is room; but
    /// where it is answered like what is not there, that comes behind the answer: else the time that
    /// it takes would tell the two apart.
    async fn asked(&self, errand: Errand<'_>) -> Result<Content, Unheld> {
        let Errand { scope, tool, call, .. } = errand;
        let behind = nothing::is_one(tool);
        if behind {
            // Before it is known what comes back.
            self.traces.room(scope.partition_bytes()).await;
        }
        // What is said meanwhile is held, too.
        let progress = &tool.owners.notes(call, errand.progress);
        let reply = self.network.send(Errand { progress, ..errand }).await;
        let reply = reply.map_err(|error| Unheld::Missed(Missed::of(error)))?;
        let (Reply { content, read }, most) = (reply, self.settings.limits.records);
        match tool.owners.check(scope, call, (&content, read), most) {
            Ok(content) => self.handed(scope, tool, content).await.map_err(Unheld::Missed),
            Err(foreign) => {
                let content = Arc::new(content);
                let kept = self.withheld(scope, tool, Arc::clone(&content), foreign);
                if (!behind || planted::is("tools-trace-awaited")) && kept.await.is_err() {
                    tracing::error!(
                        "what is not a tenant's was withheld, and that is on no record"
                    );
                }
                Err(Unheld::Foreign(content))
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
            for raw in std::mem::take(blocks) {
                let shown = links(asking, raw).await;
                blocks.extend(shown.map_err(|error| Missed { error, sent: true })?);
            }
        }
        Ok(Content::Mcp(Json::Object(result)))
    }

    /// Puts away an answer that is not the tenant's, and writes down that it came: never what it
    /// is.
    fn withheld(
        &self,
        scope: &Scope<Write>,
        tool: &Tool,
        content: Arc<Content>,
        foreign: Foreign,
    ) -> JoinHandle<()> {
        let trace = self.traces.begin(*scope.partition_bytes());
        let upstream = tool.upstream.id.clone();
        let (reviews, audit) = (self.parts.reviews.clone(), Arc::clone(&self.parts.audit));
        let what = tool.contract.name.clone();
        // In a task of its own: whoever hangs up does not erase the trace.
        scope.spawn(async move |scope| {
            let _until_it_is_written = trace;
            let doubtful = Doubtful {
                what: what.clone(),
                upstream: Some(upstream),
                payload: serde_json::to_vec(&Kept::of(&content)).unwrap_or_default(),
                reason: foreign.why.clone(),
            };
            // It may be long, and nobody needs it any more.
            drop(content);
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
        })
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
