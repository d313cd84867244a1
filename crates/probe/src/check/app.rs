//! Any application: tools, JSON-RPC, administration, logs, injected instructions.
//!
//! What an application is not put to because its file does not say how is told, as NOT PROVEN with
//! the field that would say it, wherever the application has that side at all.

mod asking;
mod bench;
mod injection;
mod objects;
mod office;
mod rpc;
mod sink;
#[cfg(test)]
mod tests;
mod tools;

use self::bench::Bench;
use crate::{
    catalog::{
        self, ADMIN_ROUTE, CACHED_ERRORS, ERASURE, EXACT_KEY, ID_RESOLVE, INJECTION_EGRESS,
        OBJECT_ID, OPEN_LOG_STORE, RPC_ID, RPC_IDEMPOTENCY, SWAP,
    },
    drive::app::{Documents, places},
    lab::Lab,
    sheet::Sheet,
    target::App,
    verdict::{Halt, Trial},
};

pub(super) async fn all(lab: &Lab, app: &App, sheet: &mut Sheet<'_>) {
    for place in places(app) {
        super::at(&*place, lab, sheet).await;
    }
    let mut desk = Desk { lab, app, sheet };
    let read = Documents::of(app).and_then(|documents| documents.path());
    for route in app.objects.iter().filter(|route| Some(route.as_str()) != read) {
        desk.put(&OBJECT_ID, route, async |bench, trial| objects::route(bench, trial, route).await)
            .await;
    }
    if !app.tools.is_empty() {
        desk.put(&ID_RESOLVE, "tools", tools::resolve).await;
    }
    if app.rpc.is_some() {
        desk.put(&RPC_ID, "rpc", rpc::same_ids).await;
        desk.put(&RPC_IDEMPOTENCY, "rpc", rpc::same_id_later).await;
        if rpc::in_sessions(app) {
            desk.put(&SWAP, "rpc", rpc::foreign_session).await;
        }
    }
    if app.ask.is_some() {
        desk.put(&EXACT_KEY, "ask", asking::same_question).await;
        desk.put(&INJECTION_EGRESS, "ask", injection::instructed).await;
        desk.put(&CACHED_ERRORS, "ask", asking::failing).await;
    }
    if app.ask.is_some() && app.plant.is_some() && app.cleanup.is_some() {
        desk.put(&ERASURE, "ask", asking::erased).await;
    }
    if !app.admin.is_empty() {
        desk.put(&ADMIN_ROUTE, "admin", office::admin).await;
    }
    if !app.logs.is_empty() {
        desk.put(&OPEN_LOG_STORE, "logs", office::logs).await;
    }
}

/// Where checks are carried out.
struct Desk<'a, 's> {
    lab: &'a Lab,
    app: &'a App,
    sheet: &'a mut Sheet<'s>,
}

impl Desk<'_, '_> {
    /// One check, after which nothing is left.
    async fn put(
        &mut self,
        check: &'static catalog::Check,
        place: &str,
        body: impl AsyncFnOnce(&mut Bench<'_>, &mut Trial) -> Result<(), Halt>,
    ) {
        let (lab, app) = (self.lab, self.app);
        let carried_out = async |trial: &mut Trial| {
            let mut bench = Bench::new(lab, app);
            let ended = body(&mut bench, trial).await;
            bench.clear().await;
            ended
        };
        self.sheet.run(check, place, carried_out).await;
    }
}
