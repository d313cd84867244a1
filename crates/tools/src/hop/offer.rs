//! What upstreams offer besides tools, through the same gate.

use gate::{Hop, Pass, ToolCall};
use ids::{RequestId, json::Json};
use scope::{Scope, Write};

use super::Tools;
use crate::{Completes, Error, Round, Upstream, UpstreamKind, offers::Offers, upstream::List};

/// Something of an upstream's besides its tools.
#[derive(Clone, Debug)]
pub enum Offer<'a> {
    /// A page of resources.
    Resources(Option<&'a str>),
    /// A page of templates of resources.
    Templates(Option<&'a str>),
    /// A page of prompts.
    Prompts(Option<&'a str>),
    /// What is in a resource, by the URI that was shown.
    Resource(&'a str),
    /// A prompt.
    Prompt {
        /// As it was listed.
        name: &'a str,
        /// Its arguments.
        arguments: Option<Json>,
        /// In one round of several: the upstream may ask for more.
        round: Round,
    },
    /// How an argument may go on.
    Completion {
        /// Of what.
        of: Completes<'a>,
        /// Its name, and what there is of it.
        argument: (&'a str, &'a str),
    },
}

impl Offer<'_> {
    const fn name(&self) -> &'static str {
        match self {
            Self::Resources(_) => "resources/list",
            Self::Templates(_) => "resources/templates/list",
            Self::Prompts(_) => "prompts/list",
            Self::Resource(_) => "resources/read",
            Self::Prompt { .. } => "prompts/get",
            Self::Completion { .. } => "completion/complete",
        }
    }

    const fn is_list(&self) -> bool {
        matches!(self, Self::Resources(_) | Self::Templates(_) | Self::Prompts(_))
    }
}

impl Tools {
    /// What is asked of the gate. Which upstream answers is not known yet, so that policies have to
    /// permit every one that may.
    #[must_use]
    pub fn offer_hop(&self, offer: &Offer<'_>, request: RequestId) -> Hop {
        let mut all = self.offering();
        let first = all.next().filter(|_| !offer.is_list());
        let Some(first) = first else { return Hop::tools(request) };
        let call = ToolCall {
            effect: gate::Effect::Read,
            tool: offer.name().to_owned(),
            upstream: first.id.clone(),
            account: None,
            arguments: Vec::new(),
            amount: None,
        };
        all.fold(Hop::tool(call, request), |hop, upstream| hop.provider(upstream.id.clone()))
    }

    /// The upstreams that offer anything.
    fn offering(&self) -> impl Iterator<Item = &Upstream> {
        let upstreams = self.0.settings.upstreams.iter();
        upstreams.filter(|upstream| {
            upstream.kind == UpstreamKind::Mcp && (upstream.resources || upstream.prompts)
        })
    }

    /// Gives it.
    ///
    /// # Errors
    /// The pass is for something else; there is no such thing for this scope; what the upstream
    /// answers.
    pub async fn offer(
        &self,
        scope: &Scope<Write>,
        pass: Pass,
        offer: Offer<'_>,
    ) -> Result<Json, Error> {
        let lists = offer.is_list() || self.offering().next().is_none();
        pass.admits(scope, if lists { "tools:list" } else { "tools:read" })?;
        let offered = tokio::select! {
            biased;
            why = scope.ended() => Err(Error::Scope(why)),
            offered = self.offered(scope, offer) => offered,
        };
        match &offered {
            Ok(_) => pass.complete(),
            Err(error) => pass.failed(error.code()),
        }
        offered
    }

    async fn offered(&self, scope: &Scope<Write>, offer: Offer<'_>) -> Result<Json, Error> {
        let outside = self.0.outside.as_deref().ok_or(Error::Unknown)?;
        let offers = Offers {
            settings: &self.0.settings,
            keys: &outside.keys,
            upstreams: &outside.upstreams,
            handles: &outside.handles,
            reaches: &outside.reaches,
        };
        match offer {
            Offer::Resources(cursor) => offers.list(scope, List::Resources, cursor).await,
            Offer::Templates(cursor) => offers.list(scope, List::Templates, cursor).await,
            Offer::Prompts(cursor) => offers.list(scope, List::Prompts, cursor).await,
            Offer::Resource(uri) => offers.read(scope, uri).await,
            Offer::Prompt { name, arguments, round } => {
                offers.prompt(scope, name, arguments, &round).await
            }
            Offer::Completion { of, argument } => offers.complete(scope, of, argument).await,
        }
    }
}
