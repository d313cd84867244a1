//! An MCP server: ids in every spelling, sessions, handles, lists, errors, and names of tenants
//! among the arguments.
//!
//! What its records are put to as any others is written elsewhere, over [`Records`]; here is what
//! only such servers have.

mod address;
mod arguments;
mod bench;
mod errors;
mod handles;
mod lists;
mod resolve;
mod rpc;
mod sessions;
mod spelling;

use self::bench::Bench;
use crate::{
    catalog::{
        self, CACHED_ERRORS, ERROR_RECORD, HANDLE_REUSE, ID_RESOLVE, ID_SPELLING, LIST_SCOPE,
        RPC_ID, RPC_IDEMPOTENCY, SESSION_REUSE, TENANT_ARG, TOKEN_IN_ADDRESS,
    },
    drive::mcp::{Mcp, Records},
    lab::Lab,
    sheet::Sheet,
    target::Server,
    verdict::{Halt, Trial},
};

/// A server at this address.
pub(super) async fn all(lab: &Lab, (server, url): (&Server, String), sheet: &mut Sheet<'_>) {
    let mcp = Mcp::new(server, url, lab);
    if let Some(records) = Records::of(&mcp) {
        Box::pin(super::at(&records, lab, sheet)).await;
    }
    let mut desk = Desk { lab, mcp: &mcp, sheet };
    Box::pin(ids(&mut desk)).await;
    desk.put(&RPC_ID, "tools", rpc::same_ids).await;
    if server.plant.is_some() {
        desk.put(&RPC_IDEMPOTENCY, "tools", rpc::same_id_later).await;
    }
    desk.put(&SESSION_REUSE, "sessions", sessions::reused).await;
    if server.list.as_ref().is_some_and(|list| list.cursor.is_some()) {
        desk.put(&HANDLE_REUSE, "cursors", handles::cursors).await;
    }
    if server.resource.is_some() {
        desk.put(&HANDLE_REUSE, "resources", handles::resources).await;
    }
    if server.resume.is_some() {
        desk.put(&HANDLE_REUSE, "interrupted calls", handles::interrupted).await;
    }
    desk.put(&LIST_SCOPE, "lists", lists::own).await;
    desk.put(&TENANT_ARG, "arguments", arguments::named).await;
    if lab.target.is_local() {
        desk.put(&TOKEN_IN_ADDRESS, "address", address::by_query).await;
    }
    mcp.close(lab).await;
}

/// What takes ids.
async fn ids(desk: &mut Desk<'_, '_>) {
    desk.put(&ID_RESOLVE, "tools", resolve::resolved).await;
    desk.put(&ID_SPELLING, "tools", spelling::spelled).await;
    desk.put(&ERROR_RECORD, "errors", errors::quoting).await;
    if desk.mcp.server.fail.is_some() {
        desk.put(&CACHED_ERRORS, "errors", errors::kept).await;
    }
}

/// Where checks are carried out.
struct Desk<'a, 's> {
    lab: &'a Lab,
    mcp: &'a Mcp<'a>,
    sheet: &'a mut Sheet<'s>,
}

impl Desk<'_, '_> {
    /// One check, after which nothing is left.
    async fn put(
        &mut self,
        check: &'static catalog::Check,
        place: &str,
        body: impl AsyncFnOnce(&Bench<'_>, &mut Trial) -> Result<(), Halt>,
    ) {
        let (lab, mcp) = (self.lab, self.mcp);
        let carried_out = async |trial: &mut Trial| {
            let bench = Bench::new(lab, mcp);
            // Each check is a large future; they are not all to be a part of the whole run's.
            let ended = Box::pin(body(&bench, trial)).await;
            bench.clear().await;
            ended
        };
        self.sheet.run(check, place, carried_out).await;
    }
}
