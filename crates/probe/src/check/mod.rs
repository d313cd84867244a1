//! The checks, by what they attack.

mod app;
mod bulkhead;
mod identity;
mod left;
mod mcp;
mod model;
mod noise;
mod objects;
mod prompt_cache;
mod race;
mod redis;
mod vectors;

pub use bulkhead::ROUTES as CONTROL_ROUTES;

use crate::{lab::Lab, place::Place, sheet::Sheet, target::Kind};

/// Every check that the lab's target can be put to.
pub(crate) async fn all(lab: &Lab, sheet: &mut Sheet<'_>) {
    match &lab.target.kind {
        Kind::Bulkhead { .. } => bulkhead::all(lab, sheet).await,
        Kind::Openai { .. } | Kind::Anthropic { .. } => model::all(lab, sheet).await,
        Kind::Qdrant { .. } => vectors::all(lab, sheet).await,
        Kind::Redis { .. } => redis::all(lab, sheet).await,
        Kind::Mcp(server) => {
            Box::pin(mcp::all(lab, (server, lab.target.url.clone()), sheet)).await;
        }
        Kind::Http(app) => app::all(lab, app, sheet).await,
    }
}

/// What any place is put to, whatever its protocol.
pub(crate) async fn at(place: &dyn Place, lab: &Lab, sheet: &mut Sheet<'_>) {
    let place = lab.tended(place);
    identity::all(&place, lab, sheet).await;
    objects::all(&place, lab, sheet).await;
    race::all(&place, lab, sheet).await;
    place.sweep(lab).await;
}

#[cfg(test)]
mod tests;
