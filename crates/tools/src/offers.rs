//! What MCP upstreams offer besides tools, as one server's: resources, templates, prompts and
//! completions of those that are configured to. An upstream whose part cannot be listed is left
//! out of the list; the others are not held up by it.

use std::{sync::Arc, time::Duration};

use ids::{ProviderId, json::Json, planted};
use scope::{Scope, Write};

use crate::{
    Error, Settings, Upstream, Uris,
    credential::{Authorized, Keys},
    fresh::{self, Fresh, Whose},
    handles::{self, HandleKind, Handles},
    rounds::{self, Asker, Round},
    upstream::{Asking, List, Prompted, Reach, Reference, Upstreams, opened, prompt_of, template},
};

/// What the grant is called by which anything of it is read.
const READ: &str = "tools:read";

/// Everybody's offers, and what they are reached by.
#[derive(Clone, Copy)]
pub(crate) struct Offers<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) keys: &'a Keys,
    pub(crate) upstreams: &'a Upstreams,
    pub(crate) handles: &'a Handles,
    pub(crate) reaches: &'a Fresh<Reach>,
}

/// What a completion is for, as an agent names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completes<'a> {
    /// A prompt, by its name.
    Prompt(&'a str),
    /// A template, as it was listed.
    Template(&'a str),
}

impl Offers<'_> {
    /// A page of a list: of one upstream after another.
    pub(crate) async fn list(
        self,
        scope: &Scope<Write>,
        list: List,
        cursor: Option<&str>,
    ) -> Result<Json, Error> {
        let all: Vec<&Upstream> =
            self.settings.upstreams.iter().filter(|upstream| list.is_offered(upstream)).collect();
        let (mut at, mut cursor) = match cursor {
            None => (0, None),
            Some(handle) => {
                let kind = HandleKind::Cursor;
                let opened = self.handles.open(scope, kind, handle).await?;
                let cursor = list.cursor(&opened.is).ok_or(Error::Handle(kind.name()))?.to_owned();
                let at = all.iter().position(|upstream| upstream.id == opened.upstream);
                let at = at.ok_or(Error::Handle(kind.name()))?;
                (at, Some(cursor).filter(|cursor| !cursor.is_empty()))
            }
        };
        while let Some(upstream) = all.get(at) {
            at += 1;
            let page = match self.by(scope, upstream).await {
                Err(error) => Err(error),
                Ok(by) => {
                    let asking = self.asking(scope, upstream, &by);
                    self.upstreams.list(asking, list, cursor.take()).await
                }
            };
            let (mut items, next) = match page {
                Ok(page) => page,
                Err(Error::NoCredential(_)) => continue,
                Err(error) => {
                    // Not the error itself: it may hold the upstream's own words.
                    let (tenant, code) = (scope.tenant(), error.code());
                    tracing::warn!(%tenant, code, upstream = %upstream.id, "its part of a list is left out");
                    continue;
                }
            };
            if list == List::Prompts {
                self.without_shadows(upstream, &mut items);
            }
            let next = match (next, all.get(at)) {
                (Some(next), _) => Some((&upstream.id, next)),
                (None, Some(other)) => Some((&other.id, String::new())),
                (None, None) => None,
            };
            let mut shown = vec![(list.name().to_owned(), Json::Array(items))];
            if let Some((upstream, next)) = next {
                let next = format!("{}{next}", list.mark());
                let next = self.handles.seal(scope, upstream, HandleKind::Cursor, &next).await?;
                shown.push(("nextCursor".to_owned(), Json::String(next)));
            }
            return Ok(Json::Object(shown));
        }
        Ok(Json::Object(vec![(list.name().to_owned(), Json::Array(Vec::new()))]))
    }

    /// Leaves out prompts whose names lead to another upstream: nobody takes another's place.
    fn without_shadows(&self, upstream: &Upstream, prompts: &mut Vec<Json>) {
        let all = prompts.len();
        prompts.retain(|prompt| {
            let name = prompt.get("name").and_then(Json::as_str).unwrap_or_default();
            let found = prompt_of(self.settings.upstreams.iter(), name);
            found.is_some_and(|(of, _)| of.id == upstream.id) || planted::is("tools-prompt-shadows")
        });
        let left_out = all - prompts.len();
        if left_out > 0 {
            tracing::warn!(
                upstream = %upstream.id,
                left_out,
                "prompts that are named like another upstream's are left out"
            );
        }
    }

    /// What is in a resource.
    pub(crate) async fn read(self, scope: &Scope<Write>, uri: &str) -> Result<Json, Error> {
        let none = || Error::Handle(HandleKind::Resource.name());
        if !handles::is_one(uri) {
            let own = self.by_own_uris().filter(|_| scope.may(READ));
            let upstream = own.ok_or_else(none)?;
            let by = self.by(scope, upstream).await?;
            let asking = self.asking(scope, upstream, &by);
            let has = |reach: &Reach| reach.has(uri);
            self.reached(asking, has).await?.ok_or_else(none)?;
            return self.upstreams.read_resource(asking, uri).await;
        }
        let (upstream, uri) = opened(self.handles, scope, uri).await?;
        let upstream = self.offering(scope, &upstream, List::Resources).ok_or_else(none)?;
        let by = self.by(scope, upstream).await?;
        self.upstreams.read_resource(self.asking(scope, upstream, &by), &uri).await
    }

    /// A prompt.
    pub(crate) async fn prompt(
        self,
        scope: &Scope<Write>,
        name: &str,
        arguments: Option<Json>,
        round: &Round,
    ) -> Result<Json, Error> {
        let (upstream, name) = self.named(scope, name)?;
        let asker = Asker::prompt(&upstream.id, name, arguments.as_ref());
        let opened = round.open(self.handles, scope, &asker).await?;
        let by = self.by(scope, upstream).await?;
        let asking = self.asking(scope, upstream, &by);
        match self.upstreams.get_prompt(asking, name, arguments, opened.as_ref()).await? {
            Prompted::Prompt(prompt) => Ok(prompt),
            Prompted::Asks(asks) => rounds::shown(self.handles, scope, &asker, asks).await,
        }
    }

    /// How an argument may go on.
    pub(crate) async fn complete(
        self,
        scope: &Scope<Write>,
        of: Completes<'_>,
        argument: (&str, &str),
    ) -> Result<Json, Error> {
        match of {
            Completes::Prompt(name) => {
                let (upstream, name) = self.named(scope, name)?;
                let by = self.by(scope, upstream).await?;
                let asking = self.asking(scope, upstream, &by);
                self.upstreams.complete(asking, Reference::Prompt(name), argument).await
            }
            Completes::Template(shown) => {
                let none = || Error::Handle(HandleKind::Template.name());
                if !handles::is_one(shown) {
                    let own = self.by_own_uris().filter(|_| scope.may(READ));
                    let upstream = own.ok_or_else(none)?;
                    let by = self.by(scope, upstream).await?;
                    let asking = self.asking(scope, upstream, &by);
                    let has = |reach: &Reach| reach.has_template(shown);
                    self.reached(asking, has).await?.ok_or_else(none)?;
                    let of = Reference::Template(shown);
                    return self.upstreams.complete(asking, of, argument).await;
                }
                let (upstream, template) = template(self.handles, scope, shown).await?;
                let upstream = self.offering(scope, &upstream, List::Templates).ok_or_else(none)?;
                let by = self.by(scope, upstream).await?;
                let asking = self.asking(scope, upstream, &by);
                self.upstreams.complete(asking, Reference::Template(&template), argument).await
            }
        }
    }

    /// The upstream whose own URIs agents name.
    fn by_own_uris(&self) -> Option<&Upstream> {
        let mut all = self.settings.upstreams.iter();
        all.find(|upstream| {
            upstream.uris == Uris::Unverifiable && List::Resources.is_offered(upstream)
        })
    }

    /// Whether something is there for this tenant, as its upstream lists it; looked up anew if not.
    async fn reached(
        &self,
        asking: Asking<'_>,
        has: impl Fn(&Reach) -> bool,
    ) -> Result<Option<()>, Error> {
        let keep = Duration::from_secs(self.settings.limits.catalog_seconds);
        for keep in [keep, fresh::COOL] {
            let whose = Whose::of(asking.scope, asking.upstream, asking.by);
            let reach = self.reaches.of(whose, keep, self.upstreams.reach(asking)).await?;
            if has(&reach) {
                return Ok(Some(()));
            }
        }
        Ok(None)
    }

    fn named<'n>(
        &self,
        scope: &Scope<Write>,
        name: &'n str,
    ) -> Result<(&Upstream, &'n str), Error> {
        let found = prompt_of(self.settings.upstreams.iter(), name);
        found.filter(|_| scope.may(READ)).ok_or(Error::Handle("prompt"))
    }

    fn offering(&self, scope: &Scope<Write>, id: &ProviderId, list: List) -> Option<&Upstream> {
        let upstream = self.settings.upstream(id)?;
        (list.is_offered(upstream) && scope.may(READ)).then_some(upstream)
    }

    async fn by(&self, scope: &Scope<Write>, upstream: &Upstream) -> Result<Authorized, Error> {
        self.keys.of(scope, &Arc::new(upstream.clone())).await
    }

    fn asking<'s>(
        &'s self,
        scope: &'s Scope<Write>,
        upstream: &'s Upstream,
        by: &'s Authorized,
    ) -> Asking<'s> {
        Asking { scope, upstream, by, handles: self.handles }
    }
}

#[cfg(test)]
mod tests;
