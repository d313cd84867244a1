//! Bulkhead itself: every surface that there is.
//!
//! What any store, model or application is put to is written elsewhere, over places; here is what
//! Bulkhead's places are, and what it alone has: a control plane, environments and runs, records
//! that tenants see, and marks by which it keeps providers from mixing its tenants up.

mod cited;
mod control;
mod desk;
mod elsewhere;
mod places;
mod promises;
mod provider;
mod views;

pub use control::ROUTES;

use self::{
    desk::Desk,
    places::{Spot, What},
};
use super::{identity, mcp, model, objects, prompt_cache, vectors};
use crate::{
    catalog,
    drive::{
        chat::{Chat, Dialect, places as kept},
        vectors::Layout,
    },
    lab::Lab,
    sheet::Sheet,
    target::{Deployment, Kind},
};

/// What the target file says of it.
struct Known<'l> {
    control: Option<&'l str>,
    model: Option<&'l str>,
    embedding_model: Option<&'l str>,
    more: &'l Deployment,
}

impl Known<'_> {
    fn run(&self) -> &str {
        self.more.run.as_deref().unwrap_or("bulkhead-probe")
    }
}

pub(super) async fn all(lab: &Lab, sheet: &mut Sheet<'_>) {
    let Kind::Bulkhead { control, model, embedding_model, more } = &lab.target.kind else {
        return;
    };
    let known = Known {
        control: control.as_deref(),
        model: model.as_deref(),
        embedding_model: embedding_model.as_deref(),
        more,
    };
    let desk = Desk::of(lab, &known);
    let before = promises::withheld(&desk, lab).await;
    // Records first: what is looked for in them stands at their beginning then.
    views::all(&desk, &known, lab, sheet).await;
    control::all(&desk, &known, lab, sheet).await;
    kept_here(&desk, &known, lab, sheet).await;
    promises::all(&known, lab, sheet).await;
    models(&desk, &known, lab, sheet).await;
    if let Some(tools) = &known.more.tools {
        let url = format!("{}/mcp", lab.target.url.trim_end_matches('/'));
        Box::pin(mcp::all(lab, (tools, url), sheet)).await;
    }
    promises::nothing_met(before.as_ref(), &desk, lab, sheet).await;
}

/// What stays in the deployment.
async fn kept_here(desk: &Desk<'_>, known: &Known<'_>, lab: &Lab, sheet: &mut Sheet<'_>) {
    for what in [What::State, What::Cache, What::Memory] {
        let spot = Spot::new(what, known, lab);
        super::at(&spot, lab, sheet).await;
        elsewhere::all(&spot, desk, lab, sheet).await;
        spot.close(lab).await;
    }
    let layout = Layout { base: "/qdrant".into(), ..Layout::default() };
    vectors::at(&layout, lab, sheet).await;
}

/// What goes to models and their providers.
async fn models(desk: &Desk<'_>, known: &Known<'_>, lab: &Lab, sheet: &mut Sheet<'_>) {
    if let Some(name) = known.model {
        let chat = Chat::new(Dialect::Openai, name, &lab.target);
        model::answers(&chat, lab, sheet).await;
        super::at(&kept::Asking(&chat), lab, sheet).await;
        for place in kept::kept(&chat, lab).await {
            let place = lab.tended(&place);
            identity::all(&place, lab, sheet).await;
            objects::all(&place, lab, sheet).await;
            place.sweep(lab).await;
        }
        for what in [What::Content, What::Output] {
            let spot = Spot::new(what, known, lab);
            let place = lab.tended(&spot);
            objects::all(&place, lab, sheet).await;
            place.sweep(lab).await;
            elsewhere::all(&spot, desk, lab, sheet).await;
        }
        cited::all(&chat, lab, sheet).await;
        let spot = Spot::new(What::Models, known, lab);
        identity::all(&spot, lab, sheet).await;
    }
    if known.embedding_model.is_some() {
        let spot = Spot::new(What::Embeddings, known, lab);
        identity::all(&spot, lab, sheet).await;
    }
    if let Some(name) = &known.more.similar_model {
        let chat = Chat::new(Dialect::Openai, name, &lab.target);
        let at = "similar questions";
        sheet
            .run(&catalog::SOFT_SCOPE, at, async |trial| model::similar(&chat, lab, trial).await)
            .await;
    }
    if let Some(name) = &known.more.messages_model {
        let chat = Chat::new(Dialect::Anthropic, name, &lab.target);
        let at = "messages";
        sheet
            .run(&catalog::EXACT_KEY, at, async |trial| model::exact(&chat, lab, trial).await)
            .await;
        let place = places::Named { name: at, place: &kept::Asking(&chat) };
        super::at(&place, lab, sheet).await;
    }
    if let Some(name) = &known.more.engine_model {
        let chat = Chat::new(Dialect::Openai, name, &lab.target);
        prompt_cache::all(&chat, lab, sheet).await;
        provider::all(&chat, desk, known, lab, sheet).await;
    }
}
