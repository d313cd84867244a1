//! Upstreams: one client for each (tenant, environment, upstream, credential version), and
//! nothing that two of them share.

use std::{collections::BTreeMap, sync::Arc};

use ids::{ProviderId, RandomId, json::Json, planted};
use scope::{Scope, Write};
use serde_json::Value;

use crate::{
    Content, Error, Fault, FaultKind, Progress, Settings, Upstream, UpstreamKind,
    contract::{Final, Form, Tool},
    credential::Authorized,
    rounds::Opened,
};

mod client;
mod http;
mod mcp;
pub(crate) mod postgres;
mod resources;
#[cfg(test)]
mod tests;

pub(crate) use client::Owner;
use client::{Bounds, Clients, Line, Target};
pub(crate) use mcp::Asks;
use mcp::{Call, Failed, Sessions};
use postgres::Postgres;
pub(crate) use resources::{
    Asking, List, Prompted, Reach, Reference, links, opened, prompt_of, template,
};

/// A reply, before anybody looked whose it is. JSON in it was parsed strictly.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) content: Content,
    /// What the body of an HTTP API's answer says, where it is JSON: what was parsed once.
    pub(crate) read: Option<Value>,
}

impl Reply {
    pub(crate) const fn of(content: Content) -> Self {
        Self { content, read: None }
    }
}

/// What a call in one round of several gave.
#[derive(Clone, Debug)]
pub(crate) enum Answered {
    /// An answer.
    Reply(Reply),
    /// Questions to whoever calls.
    Asks(Asks),
}

/// What goes along with a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct With<'a> {
    /// Of a write: the id by which the upstream may know a repetition.
    pub(crate) intent: Option<RandomId>,
    pub(crate) progress: &'a Progress,
    /// Of a call that may take several rounds.
    pub(crate) round: Option<&'a Opened>,
}

/// All upstreams.
pub(crate) struct Upstreams {
    /// Those that speak HTTP.
    targets: BTreeMap<ProviderId, Target>,
    databases: BTreeMap<ProviderId, Postgres>,
    clients: Clients,
    sessions: Sessions,
}

/// A tool as its upstream lists it: its name, and all of its definition.
pub(crate) type Listed = (String, Json);

/// Most pages of one list, and most things in it.
const PAGES: usize = 64;
const LISTED: usize = 2_000;
/// Longest cursor of an upstream's, in bytes.
const CURSOR: usize = 4_096;

impl Upstreams {
    /// Makes ready what does not depend on whose call it is.
    pub(crate) fn open(settings: &Settings) -> Result<Self, Error> {
        let (mut targets, mut databases) = (BTreeMap::new(), BTreeMap::new());
        for upstream in &settings.upstreams {
            let id = upstream.id.clone();
            if upstream.kind == UpstreamKind::Postgres {
                let database = Postgres::open(&Arc::new(upstream.clone()), &settings.limits)?;
                databases.insert(id, database);
            } else {
                targets.insert(id, Target::parse(upstream)?);
            }
        }
        let most = settings.limits.clients;
        let (clients, sessions) = (Clients::new(most), Sessions::new(most));
        Ok(Self { targets, databases, clients, sessions })
    }

    /// Closes connections to databases that were idle for too long. For maintenance, now and then;
    /// those of HTTP see to themselves.
    pub(crate) fn tidy(&self) {
        self.databases.values().for_each(Postgres::tidy);
    }

    /// One call: sent once, if at all.
    pub(crate) async fn call_in(
        &self,
        scope: &Scope<Write>,
        tool: &Tool,
        call: &Final,
        by: &Authorized,
        with: With<'_>,
    ) -> Result<Answered, Fault> {
        let (contract, upstream) = (&tool.contract, &*tool.upstream);
        let most = contract.max_response_bytes.unwrap_or(upstream.max_response_bytes);
        let bounds = Bounds::of(upstream.timeouts, contract.timeout_ms, most);
        match &tool.form {
            Form::Mcp(name) => {
                let arguments = call.arguments.clone();
                let call = self.call_of(scope, upstream, by, bounds, Some(with.progress))?;
                self.call_tool(call, name, arguments, with.round).await
            }
            Form::Http(template) => {
                let filled = template.fill(&call.arguments).map_err(|_| http::UNFIT)?;
                let header = contract.idempotency.header.as_deref();
                let (line, target) = self.line(scope, upstream, by)?;
                let intent = header.zip(with.intent);
                let reply = http::call(&line, target, filled, by, intent, &bounds).await?;
                Ok(Answered::Reply(reply))
            }
            Form::Sql(_) => {
                const NOWHERE: Fault = Fault::unsent(FaultKind::Unreachable);
                let database = self.databases.get(&upstream.id).ok_or(NOWHERE)?;
                database.call(scope, tool, call, by, with.intent).await.map(Answered::Reply)
            }
        }
    }

    async fn call_tool(
        &self,
        call: Call<'_>,
        name: &str,
        arguments: Json,
        round: Option<&Opened>,
    ) -> Result<Answered, Fault> {
        let name = ("name".to_owned(), Json::String(name.to_owned()));
        let mut params = vec![name, ("arguments".to_owned(), arguments)];
        let declared = round.map(|round| &round.capabilities);
        params.extend(round.into_iter().flat_map(Opened::params));
        let call = Call { capabilities: declared, ..call };
        let answered = self.sessions.ask(&call, "tools/call", params).await;
        Ok(match mcp::from_call(answered, declared)? {
            mcp::Given::Content(content) => Answered::Reply(Reply::of(content)),
            mcp::Given::Asks(asks) => Answered::Asks(asks),
        })
    }

    /// All tools that an MCP upstream lists for this scope, each name once.
    pub(crate) async fn list_tools(
        &self,
        scope: &Scope<Write>,
        upstream: &Upstream,
        by: &Authorized,
    ) -> Result<Vec<Listed>, Fault> {
        let bounds = Bounds::of(upstream.timeouts, None, upstream.max_response_bytes);
        let mut call = self.call_of(scope, upstream, by, bounds, None)?;
        let found = self.every(&mut call, "tools/list", "tools").await.map_err(Failed::fault)?;
        let (mut tools, mut mirrors) = (Vec::<Listed>::with_capacity(found.len()), Vec::new());
        let mut names = std::collections::HashSet::new();
        let bad = |why| Err(Fault::sent(FaultKind::Malformed(why)));
        for tool in found {
            let Some(name) = tool.get("name").and_then(Json::as_str).map(str::to_owned) else {
                return bad("a tool without a name");
            };
            if !names.insert(name.clone()) {
                return bad("two tools of one name");
            }
            if let Some(of) = tool.get("inputSchema").and_then(mcp::mirrors) {
                mirrors.push((name.clone(), of));
                tools.push((name, tool));
            }
        }
        self.sessions.mirror(&call.owner, mirrors);
        Ok(tools)
    }

    /// All pages of a list. Together they are one answer, within its bounds.
    async fn every(
        &self,
        call: &mut Call<'_>,
        method: &'static str,
        of: &str,
    ) -> Result<Vec<Json>, Failed> {
        let (mut items, mut cursor) = (Vec::new(), None);
        for _ in 0..PAGES {
            let page = self.page(call, method, of, cursor).await?;
            items.extend(page.items);
            call.bounds.most = call.bounds.most.saturating_sub(page.bytes);
            cursor = page.next;
            if cursor.is_none() {
                return Ok(items);
            }
            if items.len() > LISTED {
                break;
            }
        }
        Err(Failed::Fault(Fault::sent(FaultKind::Malformed("a list without an end"))))
    }

    /// One page of a list.
    async fn page(
        &self,
        call: &Call<'_>,
        method: &'static str,
        of: &str,
        cursor: Option<String>,
    ) -> Result<Page, Failed> {
        let bad = |why| Err(Failed::Fault(Fault::sent(FaultKind::Malformed(why))));
        let params = cursor.map(|cursor| ("cursor".to_owned(), Json::String(cursor)));
        let result = self.sessions.ask(call, method, params.into_iter().collect()).await?;
        let bytes = result.to_vec().len() as u64;
        let Json::Object(entries) = result else { return bad("a result that is no object") };
        let (mut items, mut next) = (None, None);
        for (key, value) in entries {
            match (key.as_str(), value) {
                (key, Json::Array(list)) if key == of => items = Some(list),
                ("nextCursor", Json::String(cursor)) if cursor.len() <= CURSOR => {
                    next = Some(cursor);
                }
                ("nextCursor", Json::Null) => {}
                ("nextCursor", _) => return bad("a cursor that is none"),
                _ => {}
            }
        }
        let Some(items) = items.filter(|items| items.len() <= LISTED) else {
            return bad("a page without a list, or with too long a one");
        };
        Ok(Page { items, next, bytes })
    }

    fn line(
        &self,
        scope: &Scope<Write>,
        upstream: &Upstream,
        by: &Authorized,
    ) -> Result<(Arc<Line>, &Target), Fault> {
        const NOWHERE: Fault = Fault::unsent(FaultKind::Unreachable);
        let target = self.targets.get(&upstream.id).ok_or(NOWHERE)?;
        let owner = Owner::of(scope, upstream, by);
        let line = self.clients.of(&owner, target, by).map_err(|_| NOWHERE)?;
        Ok((line, target))
    }

    fn call_of<'a>(
        &'a self,
        scope: &'a Scope<Write>,
        upstream: &Upstream,
        by: &'a Authorized,
        bounds: Bounds,
        progress: Option<&'a Progress>,
    ) -> Result<Call<'a>, Fault> {
        let (line, target) = self.line(scope, upstream, by)?;
        let owner = Owner::of(scope, upstream, by);
        let url = &target.url;
        Ok(Call { scope, owner, line, url, by, bounds, progress, capabilities: None })
    }
}

/// A page of a list.
struct Page {
    items: Vec<Json>,
    next: Option<String>,
    /// How large it was.
    bytes: u64,
}

/// Refuses what repeats the credential.
fn held(by: &Authorized, said: &[u8]) -> Result<(), Fault> {
    match by.secrets.found_in(said) && !planted::is("tools-credential-echoed") {
        true => Err(Fault::sent(FaultKind::Malformed("it repeats the credential"))),
        false => Ok(()),
    }
}

impl std::fmt::Debug for Upstreams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstreams").field("targets", &self.targets.len()).finish_non_exhaustive()
    }
}
