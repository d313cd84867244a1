//! The way out: the tenant's own credential from the vault, the definition as it was pinned, and
//! the upstream's client.

use std::sync::Arc;

use ids::{BoxFuture, RandomId};
use scope::{Scope, Write};

use crate::{
    Error, Fault, FaultKind, Parts, Progress, Settings,
    catalog::{Catalog, Definition, Looking},
    contract::{Final, Tool},
    credential::{Authorized, Keys},
    fresh::Fresh,
    handles::Handles,
    owner::silent,
    rounds::{self, Asker, Round},
    upstream::{Answered, Reach, Reply, Upstreams, With},
};

/// One call on its way out.
#[derive(Clone, Copy)]
pub(crate) struct Errand<'a> {
    pub(crate) scope: &'a Scope<Write>,
    pub(crate) tool: &'a Arc<Tool>,
    pub(crate) call: &'a Final,
    /// Of a write: the id by which the upstream may know a repetition.
    pub(crate) intent: Option<RandomId>,
    pub(crate) progress: &'a Progress,
    /// Of a call that may take several rounds.
    pub(crate) round: Option<&'a Round>,
}

/// Where calls go; in tests of what is decided here, a double.
pub(crate) trait Network: Send + Sync {
    /// One call. Every error but [`Error::Upstream`] is from before anything was sent, and that
    /// says of itself whether it is.
    fn send<'a>(&'a self, errand: Errand<'a>) -> BoxFuture<'a, Result<Reply, Error>>;

    /// A tool's definition as it was pinned, if the scope can call it.
    fn definition<'a>(
        &'a self,
        scope: &'a Scope<Write>,
        tool: &'a Arc<Tool>,
    ) -> BoxFuture<'a, Result<Definition, Error>>;
}

/// A call without an answer that can be handed on.
#[derive(Debug)]
pub(crate) struct Missed {
    pub(crate) error: Error,
    /// Whether the upstream may have done it.
    pub(crate) sent: bool,
}

impl Missed {
    pub(crate) fn of(error: Error) -> Self {
        // Who is refused for a credential has done nothing.
        let sent = matches!(&error, Error::Upstream(fault)
            if fault.sent && !matches!(fault.kind, FaultKind::Credential | FaultKind::Forbidden));
        Self { error, sent }
    }
}

/// The real one.
pub(crate) struct Outside {
    pub(crate) keys: Keys,
    pub(crate) upstreams: Upstreams,
    pub(crate) catalog: Catalog,
    pub(crate) reaches: Fresh<Reach>,
    pub(crate) handles: Handles,
    pub(crate) parts: Arc<Parts>,
}

impl Outside {
    pub(crate) fn open(settings: &Settings, parts: &Arc<Parts>) -> Result<Self, Error> {
        let keys = Keys::open(
            settings,
            parts.credentials.clone(),
            parts.assertion_keys.clone(),
            parts.issuer.clone(),
            Arc::clone(&parts.clock),
            Arc::clone(&parts.entropy),
        )?;
        let (audit, clock) = (Arc::clone(&parts.audit), Arc::clone(&parts.clock));
        Ok(Self {
            keys,
            upstreams: Upstreams::open(settings)?,
            reaches: Fresh::new(settings.limits.clients, Arc::clone(&clock)),
            catalog: Catalog::new(settings, &parts.store, &parts.reviews, audit, clock),
            handles: Handles::new(&parts.vault, Arc::clone(&parts.clock)),
            parts: Arc::clone(parts),
        })
    }

    fn looking<'a>(&'a self, scope: &'a Scope<Write>, by: &'a Authorized) -> Looking<'a> {
        Looking { scope, system: &self.parts.system, upstreams: &self.upstreams, by }
    }

    async fn once(
        &self,
        errand: Errand<'_>,
    ) -> Result<(Authorized, Result<Answered, Fault>), Error> {
        let Errand { scope, tool, call, intent, progress, round } = errand;
        let account = call.account.as_ref();
        let by = self.keys.for_account(scope, &tool.upstream, account).await?;
        self.catalog.trusted(self.looking(scope, &by), tool).await.map_err(before)?;
        let round = match round {
            Some(round) => round.open(&self.handles, scope, &Asker::tool(tool, call)).await?,
            None => None,
        };
        let with = With { intent, progress, round: round.as_ref() };
        let answered = self.upstreams.call_in(scope, tool, call, &by, with).await;
        // Looked for as it is read, too: escapes hide it from whoever looks at bytes.
        let answered = answered.and_then(|answered| match &answered {
            Answered::Reply(reply) => silent(reply, &by.secrets).map(|()| answered),
            _ => Ok(answered),
        });
        Ok((by, answered))
    }
}

/// A fault of what comes before a call is none of the call's: nothing of that was sent.
fn before(error: Error) -> Error {
    match error {
        Error::Upstream(fault) => Error::Upstream(Fault::unsent(fault.kind)),
        error => error,
    }
}

impl Network for Outside {
    fn send<'a>(&'a self, errand: Errand<'a>) -> BoxFuture<'a, Result<Reply, Error>> {
        Box::pin(async move {
            let (by, mut answered) = self.once(errand).await?;
            let refused = matches!(&answered, Err(fault) if fault.kind == FaultKind::Credential);
            // What the upstream refused for its credential was not done: it may be asked once
            // more, with a fresh one.
            let Errand { scope, tool, call, .. } = errand;
            if refused && self.keys.reject(scope, &tool.upstream, &by).await {
                answered = self.once(errand).await?.1;
            }
            match answered? {
                Answered::Reply(reply) => Ok(reply),
                Answered::Asks(asks) => {
                    let asker = Asker::tool(tool, call);
                    let asks = rounds::shown(&self.handles, scope, &asker, asks).await?;
                    Err(Error::InputRequired(Box::new(asks)))
                }
            }
        })
    }

    fn definition<'a>(
        &'a self,
        scope: &'a Scope<Write>,
        tool: &'a Arc<Tool>,
    ) -> BoxFuture<'a, Result<Definition, Error>> {
        Box::pin(async move {
            let by = self.keys.of(scope, &tool.upstream).await?;
            self.catalog.trusted(self.looking(scope, &by), tool).await.map_err(before)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        standin::{HttpStandIn, whole},
        world::{self, World},
    };

    #[tokio::test]
    async fn of_a_call_whose_tool_cannot_be_looked_up_nothing_was_sent() {
        let standin = HttpStandIn::new().await;
        standin.answers(|_, _| whole(500, "text/plain", "broken"));
        let world = World::new().await;
        let contracts = vec![world::contract("refund", crate::Effect::Write)];
        let upstreams = vec![world::mcp(standin.address())];
        let tools = world.tools(Settings { upstreams, contracts, ..Settings::default() });
        let acme = world.acme().await;
        let Err(Error::Upstream(fault)) = tools.described(&acme, "refund").await else {
            panic!("it is described");
        };
        assert!(!fault.sent, "{fault:?}");
        assert!(!standin.book().seen().is_empty());
    }
}
