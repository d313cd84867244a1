//! What MCP upstreams offer besides tools, as one server's: resources, templates, prompts and
//! completions of those that are configured to. An upstream whose part cannot be listed is left
//! out of the list; the others are not held up by it.

use std::sync::Arc;

use ids::{ProviderId, json::Json};
use scope::{Scope, Write};

use crate::{
    Error, Settings, Upstream,
    credential::{Authorized, Keys},
    handles::{HandleKind, Handles},
    upstream::{Asking, List, Reference, Upstreams, opened, prompt_of, template},
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
            let (items, next) = match page {
                Ok(page) => page,
                Err(Error::NoCredential(_)) => continue,
                Err(error) => {
                    // Not the error itself: it may hold the upstream's own words.
                    let (tenant, code) = (scope.tenant(), error.code());
                    tracing::warn!(%tenant, code, upstream = %upstream.id, "its part of a list is left out");
                    continue;
                }
            };
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

    /// What is in a resource.
    pub(crate) async fn read(self, scope: &Scope<Write>, uri: &str) -> Result<Json, Error> {
        let none = Error::Handle(HandleKind::Resource.name());
        let (upstream, uri) = opened(self.handles, scope, uri).await?;
        let upstream = self.offering(scope, &upstream, List::Resources).ok_or(none)?;
        let by = self.by(scope, upstream).await?;
        self.upstreams.read_resource(self.asking(scope, upstream, &by), &uri).await
    }

    /// A prompt.
    pub(crate) async fn prompt(
        self,
        scope: &Scope<Write>,
        name: &str,
        arguments: Option<Json>,
    ) -> Result<Json, Error> {
        let (upstream, name) = self.named(scope, name)?;
        let by = self.by(scope, upstream).await?;
        self.upstreams.get_prompt(self.asking(scope, upstream, &by), name, arguments).await
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
                let none = Error::Handle(HandleKind::Template.name());
                let (upstream, template) = template(self.handles, scope, shown).await?;
                let upstream = self.offering(scope, &upstream, List::Templates).ok_or(none)?;
                let by = self.by(scope, upstream).await?;
                let asking = self.asking(scope, upstream, &by);
                self.upstreams.complete(asking, Reference::Template(&template), argument).await
            }
        }
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
