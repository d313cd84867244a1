//! The tool hop, put together.

use std::{collections::BTreeMap, sync::Arc};

use gate::{Hop, Pass};
use ids::{Clock, Entropy, RandomId, json::Json};
use reviews::Reviews;
use scope::{AuditSink, Doors, Scope, SystemScope, Write};
use store::Store;
use vault::{Credentials, Vault};
use zeroize::Zeroizing;

use crate::{
    Answer, Ask, Effect, Error, Progress, Round, Settings, ToolKeys,
    contract::{self, Final, Tool},
    handles::Handles,
    outside::{Errand, Network, Outside},
    write::{Job, UnderWay, intent::Key},
};

mod asking;
mod nothing;
mod offer;
mod route;
mod traces;
mod upkeep;

pub use offer::Offer;
use traces::Traces;

/// What it stands on.
pub struct Parts {
    /// Rows.
    pub store: Store,
    /// What seals them.
    pub vault: Vault,
    /// Tenants' credentials.
    pub credentials: Credentials,
    /// What people decide.
    pub reviews: Reviews,
    /// Mandates for writes that outlive their request.
    pub doors: Arc<Doors>,
    /// Where refusals and foreign records are written down.
    pub audit: Arc<dyn AuditSink>,
    /// What signs assertions.
    pub assertion_keys: ToolKeys,
    /// What signs receipts.
    pub receipt_keys: ToolKeys,
    /// `iss` of what is signed.
    pub issuer: String,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// For what is the deployment's: open writes, pinned definitions.
    pub system: SystemScope,
}

/// Every tool of a deployment.
#[derive(Clone)]
pub struct Tools(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) settings: Settings,
    pub(crate) tools: BTreeMap<String, Arc<Tool>>,
    pub(crate) parts: Arc<Parts>,
    network: Arc<dyn Network>,
    /// The same, for what is no call of a tool: resources, prompts, pins.
    pub(crate) outside: Option<Arc<Outside>>,
    handles: Handles,
    pub(crate) under_way: UnderWay,
    traces: Arc<Traces>,
    /// Keys the hashes that tell writes apart.
    secret: Zeroizing<[u8; 32]>,
}

/// A tool as an agent sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Described {
    /// What agents call it.
    pub name: String,
    /// For people.
    pub title: Option<String>,
    /// What the model reads of it.
    pub description: Option<String>,
    /// The JSON Schema of its arguments, without what is bound.
    pub input: Json,
    /// The JSON Schema of what it answers.
    pub output: Option<Json>,
    /// What it does.
    pub effect: Effect,
}

/// A call whose arguments are final: what the gate decides on.
#[derive(Debug)]
pub struct Prepared {
    pub(crate) tool: Arc<Tool>,
    pub(crate) call: Final,
    pub(crate) ask: Ask,
    /// The intent that it is of, where there is one already.
    pub(crate) key: Option<Key>,
    /// What the caller can be asked for, and what it was asked for before.
    pub(crate) round: Round,
}

impl Prepared {
    /// The same in one round of several.
    #[must_use]
    pub fn in_round(self, round: Round) -> Self {
        Self { round, ..self }
    }

    /// What is asked of the gate.
    #[must_use]
    pub fn hop(&self, _scope: &Scope<Write>) -> Hop {
        let Self { tool, call, ask, key: _, round: _ } = self;
        let how = match tool.contract.effect {
            Effect::Read => gate::Effect::Read,
            Effect::Write => gate::Effect::Write,
            Effect::Destructive => gate::Effect::Destructive,
        };
        let facts = gate::ToolCall {
            effect: how,
            tool: tool.contract.name.clone(),
            upstream: tool.upstream.id.clone(),
            account: call.account.clone(),
            arguments: call.facts.clone(),
            amount: call.amount,
        };
        let hop = Hop::tool(facts, ask.request).bytes_in(ask.arguments.len() as u64);
        match &ask.step {
            Some(step) => hop.step(step.clone()),
            None => hop,
        }
    }

    /// What would have been refused, if the contract were enforced.
    #[must_use]
    pub fn observed(&self) -> &[String] {
        &self.call.observed
    }
}

impl Tools {
    /// Checks every contract and makes ready what they need.
    ///
    /// # Errors
    /// What is wrong with the settings, and where.
    pub fn open(settings: Settings, parts: Parts) -> Result<Self, Error> {
        settings.check_surroundings().map_err(Error::Settings)?;
        let tools = contract::table(&settings)?;
        let parts = Arc::new(parts);
        let outside = Arc::new(Outside::open(&settings, &parts)?);
        let network = Arc::clone(&outside) as Arc<dyn Network>;
        Self::over(settings, tools, parts, (network, Some(outside)))
    }

    /// With this way out.
    pub(crate) fn over(
        settings: Settings,
        tools: BTreeMap<String, Arc<Tool>>,
        parts: Arc<Parts>,
        (network, outside): (Arc<dyn Network>, Option<Arc<Outside>>),
    ) -> Result<Self, Error> {
        let secret = parts.vault.subkey(&parts.system, "tools intents");
        let handles = Handles::new(&parts.vault, Arc::clone(&parts.clock));
        let under_way = UnderWay::default();
        Ok(Self(Arc::new(Inner {
            settings,
            tools,
            parts,
            network,
            outside,
            handles,
            under_way,
            traces: Arc::default(),
            secret,
        })))
    }

    /// The tools that this scope may call: those of its grants and its workflow whose upstream it has
    /// a credential for, and whose definition is the pinned one.
    ///
    /// # Errors
    /// The scope does not hold.
    pub async fn list(&self, scope: &Scope<Write>) -> Result<Vec<Described>, Error> {
        scope.live()?;
        let mut listed = Vec::with_capacity(self.0.tools.len());
        for (name, tool) in &self.0.tools {
            if !is_for(tool, scope) || !scope.may(grant(tool.contract.effect)) {
                continue;
            }
            match self.0.described(scope, name, tool).await {
                Ok(described) => listed.push(described),
                // One upstream out of reach takes no other's tools away.
                Err(error) => tracing::debug!(
                    tenant = scope.tenant().as_str(),
                    tool = name,
                    %error,
                    "a tool is not offered"
                ),
            }
        }
        Ok(listed)
    }

    /// Makes a call's arguments final.
    ///
    /// # Errors
    /// There is no such tool for this scope; what is refused of the arguments.
    pub fn prepare(&self, scope: &Scope<Write>, ask: Ask) -> Result<Prepared, Error> {
        let tool = self.0.tool_for(scope, &ask.name)?;
        let call = tool.finalize(scope, &ask.arguments, &self.0.settings.limits)?;
        Ok(Prepared { tool, call, ask, key: None, round: Round::default() })
    }

    /// What was approved by a review, as a call: exactly that. For carrying out what a person
    /// allowed, under the scope that its mandate gives.
    ///
    /// # Errors
    /// There is no such review here; what it allows is not the same any more.
    pub(crate) async fn prepare_approved(
        &self,
        scope: &Scope<Write>,
        review: RandomId,
    ) -> Result<Prepared, Error> {
        self.0.approved(scope, review).await
    }

    /// Calls.
    ///
    /// A write goes on if whoever asked hangs up, or is revoked, half-way: its outcome is on
    /// record, and the same call again is answered from there.
    ///
    /// # Errors
    /// The pass is for something else; what the write path, the upstream and the owner check say.
    pub async fn call(
        &self,
        scope: &Scope<Write>,
        pass: Pass,
        prepared: Prepared,
        progress: Progress,
    ) -> Result<Answer, Error> {
        if let Err(mixed_up) = pass.admits(scope, grant(prepared.tool.contract.effect)) {
            let error = Error::Gate(mixed_up);
            pass.failed(error.code());
            return Err(error);
        }
        match prepared.tool.contract.effect {
            Effect::Read => self.read(scope, pass, prepared, progress).await,
            Effect::Write | Effect::Destructive => {
                self.write(scope, pass, prepared, progress).await
            }
        }
    }

    async fn read(
        &self,
        scope: &Scope<Write>,
        mut pass: Pass,
        prepared: Prepared,
        progress: Progress,
    ) -> Result<Answer, Error> {
        let Prepared { tool, call, ask: _, key: _, round } = prepared;
        let (progress, round) = (&progress, Some(&round));
        let errand = Errand { scope, tool: &tool, call: &call, intent: None, progress, round };
        let answered = tokio::select! {
            biased;
            why = scope.ended() => Err(Error::Scope(why)),
            answered = self.0.read(errand) => answered,
        };
        pass.tally().provider(tool.upstream.id.clone());
        match answered {
            Ok(content) => {
                pass.complete();
                Ok(Answer { content, receipt: None, duplicate: false, observed: call.observed })
            }
            Err(error) => {
                pass.failed(error.code());
                Err(error)
            }
        }
    }

    async fn write(
        &self,
        scope: &Scope<Write>,
        mut pass: Pass,
        prepared: Prepared,
        progress: Progress,
    ) -> Result<Answer, Error> {
        let inner = Arc::clone(&self.0);
        let key = prepared.key.unwrap_or_else(|| {
            let named = (prepared.tool.contract.name.as_str(), &prepared.tool.upstream.id);
            Key::of(&inner.secret, scope, named, &prepared.call, &prepared.ask)
        });
        let policy = *pass.policy().as_bytes();
        let fresh = RandomId::draw(&*self.0.parts.entropy);
        let job = Job { prepared, key, fresh, policy, progress };
        // The pass goes along: what was admitted is held until the write is over.
        let task = scope.spawn(async move |scope| {
            let written = inner.write(&scope, &job).await;
            pass.tally().provider(job.prepared.tool.upstream.id.clone());
            match &written {
                Ok(_) => pass.complete(),
                Err(error) => pass.failed(error.code()),
            }
            written
        });
        tokio::select! {
            biased;
            why = scope.ended() => Err(Error::Scope(why)),
            written = task => written.unwrap_or(Err(Error::Internal("a write was cut off"))),
        }
    }
}

/// The grant that a call takes.
const fn grant(effect: Effect) -> &'static str {
    match effect {
        Effect::Read => "tools:read",
        Effect::Write => "tools:write",
        Effect::Destructive => "tools:destructive",
    }
}

/// Whether a tool is for the scope's workflow.
fn is_for(tool: &Tool, scope: &Scope<Write>) -> bool {
    let allowed = tool.contract.workflows.as_ref();
    allowed.is_none_or(|allowed| scope.workflow().is_some_and(|own| allowed.contains(own)))
}

impl std::fmt::Debug for Tools {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tools").field("tools", &self.0.tools.len()).finish_non_exhaustive()
    }
}
