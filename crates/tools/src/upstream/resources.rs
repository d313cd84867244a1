//! Resources, prompts and completions of MCP upstreams that offer theirs. What is in them is not
//! held against an owner: an operator allows them where the credential alone decides what there
//! is. An agent sees no URI and no cursor of an upstream's, but handles of its own.

use ids::{ProviderId, json::Json};
use scope::{Scope, Write};

use super::{Bounds, Upstreams, mcp};
use crate::{
    Error, Fault, FaultKind, Upstream, UpstreamKind,
    credential::Authorized,
    handles::{HandleKind, Handles},
};

/// What stands between an upstream's name and a prompt's.
const BETWEEN: &str = "__";
/// Most values of a completion.
const VALUES: usize = 100;

/// Who asks whom, and what makes handles of what comes back.
#[derive(Clone, Copy)]
pub(crate) struct Asking<'a> {
    pub(crate) scope: &'a Scope<Write>,
    pub(crate) upstream: &'a Upstream,
    pub(crate) by: &'a Authorized,
    pub(crate) handles: &'a Handles,
}

/// What is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum List {
    Resources,
    Templates,
    Prompts,
}

impl List {
    /// What it is called in an answer.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Resources => "resources",
            Self::Templates => "resourceTemplates",
            Self::Prompts => "prompts",
        }
    }

    const fn method(self) -> &'static str {
        match self {
            Self::Resources => "resources/list",
            Self::Templates => "resources/templates/list",
            Self::Prompts => "prompts/list",
        }
    }

    /// Whether an upstream's part of it is offered.
    pub(crate) fn is_offered(self, upstream: &Upstream) -> bool {
        upstream.kind == UpstreamKind::Mcp
            && match self {
                Self::Resources | Self::Templates => upstream.resources,
                Self::Prompts => upstream.prompts,
            }
    }

    /// What its cursors begin with: a cursor of one list is none of another.
    pub(crate) fn mark(self) -> String {
        format!("{} ", self.method())
    }

    /// The upstream's own cursor, of one that begins so.
    pub(crate) fn cursor(self, marked: &str) -> Option<&str> {
        marked.strip_prefix(&self.mark())
    }
}

/// What a completion is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reference<'a> {
    /// A prompt, as the upstream calls it.
    Prompt(&'a str),
    /// A template, likewise.
    Template(&'a str),
}

/// The fields of a listed thing that are handed on as they are.
const SHOWN: [&str; 6] = ["title", "description", "mimeType", "size", "annotations", "arguments"];

impl Upstreams {
    /// A page of a list, as an agent may see it, and the upstream's cursor to the next.
    pub(crate) async fn list(
        &self,
        asking: Asking<'_>,
        list: List,
        cursor: Option<String>,
    ) -> Result<(Vec<Json>, Option<String>), Error> {
        let Asking { scope, upstream, by, .. } = asking;
        let bounds = Bounds::of(upstream.timeouts, None, upstream.max_response_bytes);
        let call = self.call_of(scope, upstream, by, bounds, None)?;
        let page = self.page(&call, list.method(), list.name(), cursor).await.map_err(error_of)?;
        let mut items = Vec::with_capacity(page.items.len());
        for item in page.items {
            items.extend(listed(asking, list, item).await?);
        }
        Ok((items, page.next))
    }

    /// What is in a resource, by the URI that [`opened`] gave.
    pub(crate) async fn read_resource(&self, asking: Asking<'_>, uri: &str) -> Result<Json, Error> {
        let params = vec![("uri".to_owned(), text(uri))];
        let result = self.result(asking, "resources/read", params).await?;
        let Some(Json::Array(contents)) = taken(result, "contents") else {
            return bad("a resource without contents");
        };
        let mut shown = Vec::with_capacity(contents.len());
        for piece in contents {
            shown.push(resource(asking, piece, &["mimeType", "text", "blob"]).await?);
        }
        Ok(Json::Object(vec![("contents".to_owned(), Json::Array(shown))]))
    }

    /// A prompt, by the upstream's own name of it.
    pub(crate) async fn get_prompt(
        &self,
        asking: Asking<'_>,
        name: &str,
        arguments: Option<Json>,
    ) -> Result<Json, Error> {
        let mut params = vec![("name".to_owned(), text(name))];
        params.extend(arguments.map(|arguments| ("arguments".to_owned(), arguments)));
        let result = self.result(asking, "prompts/get", params).await?;
        let description = result.get("description").filter(|d| d.as_str().is_some()).cloned();
        let Some(Json::Array(messages)) = taken(result, "messages") else {
            return bad("a prompt without messages");
        };
        let mut shown = Vec::with_capacity(messages.len());
        for message in messages {
            let role = message.get("role").filter(|role| role.as_str().is_some()).cloned();
            let (Some(role), Some(content)) = (role, taken(message, "content")) else {
                return bad("a message without a role or without content");
            };
            let content = links(asking, mcp::block(content)?).await?;
            shown.push(Json::Object(vec![
                ("role".to_owned(), role),
                ("content".to_owned(), content),
            ]));
        }
        let mut prompt: Vec<_> = description
            .map(|description| ("description".to_owned(), description))
            .into_iter()
            .collect();
        prompt.push(("messages".to_owned(), Json::Array(shown)));
        Ok(Json::Object(prompt))
    }

    /// How an argument may go on.
    pub(crate) async fn complete(
        &self,
        asking: Asking<'_>,
        of: Reference<'_>,
        argument: (&str, &str),
    ) -> Result<Json, Error> {
        let object = |entries: [(&str, &str); 2]| {
            Json::Object(entries.map(|(key, value)| (key.to_owned(), text(value))).into())
        };
        let of = match of {
            Reference::Prompt(name) => object([("type", "ref/prompt"), ("name", name)]),
            Reference::Template(uri) => object([("type", "ref/resource"), ("uri", uri)]),
        };
        let argument = object([("name", argument.0), ("value", argument.1)]);
        let params = vec![("ref".to_owned(), of), ("argument".to_owned(), argument)];
        let result = self.result(asking, "completion/complete", params).await?;
        let Some(Json::Object(entries)) = taken(result, "completion") else {
            return bad("a completion that is none");
        };
        let mut shown = Vec::with_capacity(3);
        for (key, value) in entries {
            match (key.as_str(), value) {
                ("values", Json::Array(values))
                    if values.len() <= VALUES && values.iter().all(|v| v.as_str().is_some()) =>
                {
                    shown.push((key, Json::Array(values)));
                }
                ("values", _) => return bad("a completion with other values than texts"),
                ("total", value @ Json::Number(_)) | ("hasMore", value @ Json::Bool(_)) => {
                    shown.push((key, value));
                }
                _ => {}
            }
        }
        Ok(Json::Object(vec![("completion".to_owned(), Json::Object(shown))]))
    }

    async fn result(
        &self,
        asking: Asking<'_>,
        method: &'static str,
        params: Vec<(String, Json)>,
    ) -> Result<Json, Error> {
        let Asking { scope, upstream, by, .. } = asking;
        let bounds = Bounds::of(upstream.timeouts, None, upstream.max_response_bytes);
        let call = self.call_of(scope, upstream, by, bounds, None)?;
        let result = self.sessions.ask(&call, method, params).await.map_err(error_of)?;
        match result.get("resultType").map(Json::as_str) {
            None | Some(Some("complete")) => Ok(result),
            Some(_) => bad("it asks for more, and nobody here may answer"),
        }
    }
}

/// The name of a prompt, as agents see it.
fn prefixed(upstream: &ProviderId, prompt: &str) -> String {
    format!("{upstream}{BETWEEN}{prompt}")
}

/// Of which of these upstreams a prompt is, and what it is called there.
pub(crate) fn prompt_of<'u, 'n>(
    upstreams: impl Iterator<Item = &'u Upstream>,
    name: &'n str,
) -> Option<(&'u Upstream, &'n str)> {
    let of = |upstream: &'u Upstream| {
        let rest = name.strip_prefix(upstream.id.as_str())?.strip_prefix(BETWEEN)?;
        Some((upstream, rest))
    };
    // The longest name is meant, where one begins with another.
    upstreams
        .filter(|upstream| List::Prompts.is_offered(upstream))
        .filter_map(of)
        .min_by_key(|(_, rest)| rest.len())
}

/// Which upstream a shown URI is of, and what it is there: a resource's own, or a template's with
/// its places filled.
pub(crate) async fn opened(
    handles: &Handles,
    scope: &Scope<Write>,
    shown: &str,
) -> Result<(ProviderId, String), Error> {
    let Some((handle, query)) = shown.split_once('?') else {
        let opened = handles.open(scope, HandleKind::Resource, shown).await?;
        return Ok((opened.upstream, opened.is));
    };
    let kind = HandleKind::Template;
    let opened = handles.open(scope, kind, handle).await?;
    let places = places(&opened.is).ok_or(Error::Handle(kind.name()))?;
    let mut uri = opened.is.clone();
    let mut filled = 0;
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        let encoded = value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'%'));
        // Nor does a value step out of its segment.
        let dots = matches!(value.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..");
        if !encoded || dots || !places.iter().any(|place| place == name) {
            return Err(Error::Handle(kind.name()));
        }
        uri = uri.replace(&format!("{{{name}}}"), value);
        filled += 1;
    }
    if filled != places.len() {
        return Err(Error::Handle(kind.name()));
    }
    Ok((opened.upstream, uri))
}

/// The template behind one that was shown.
pub(crate) async fn template(
    handles: &Handles,
    scope: &Scope<Write>,
    shown: &str,
) -> Result<(ProviderId, String), Error> {
    let handle = shown.split_once('{').map_or(shown, |(handle, _)| handle);
    let opened = handles.open(scope, HandleKind::Template, handle).await?;
    Ok((opened.upstream, opened.is))
}

/// The places of a template (RFC 6570) of the first level; nothing if it is of a higher one, or
/// names a place twice.
fn places(template: &str) -> Option<Vec<String>> {
    let mut places = Vec::new();
    let mut rest = template;
    while let Some((_, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}')?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        if name.is_empty() || !name.bytes().all(plain) || places.iter().any(|known| known == name) {
            return None;
        }
        places.push(name.to_owned());
        rest = after;
    }
    (!places.is_empty()).then_some(places)
}

/// A listed thing, as an agent may see it; nothing of one that cannot be shown.
async fn listed(asking: Asking<'_>, of: List, item: Json) -> Result<Option<Json>, Error> {
    let Asking { scope, upstream, handles, .. } = asking;
    let field = |key: &str| item.get(key).and_then(Json::as_str).map(str::to_owned);
    let Some(name) = field("name") else { return bad("something without a name") };
    let mut shown = Vec::with_capacity(8);
    match of {
        List::Prompts => shown.push(("name".to_owned(), text(&prefixed(&upstream.id, &name)))),
        List::Resources => {
            let Some(uri) = field("uri") else { return bad("a resource without a URI") };
            let uri = handles.seal(scope, &upstream.id, HandleKind::Resource, &uri).await?;
            shown.push(("uri".to_owned(), Json::String(uri)));
            shown.push(("name".to_owned(), Json::String(name)));
        }
        List::Templates => {
            let Some(template) = field("uriTemplate") else {
                return bad("a template without a URI");
            };
            let Some(places) = places(&template) else { return Ok(None) };
            let kind = HandleKind::Template;
            let handle = handles.seal(scope, &upstream.id, kind, &template).await?;
            let template = format!("{handle}{{?{}}}", places.join(","));
            shown.push(("uriTemplate".to_owned(), Json::String(template)));
            shown.push(("name".to_owned(), Json::String(name)));
        }
    }
    if let Json::Object(entries) = item {
        shown.extend(entries.into_iter().filter(|(key, _)| SHOWN.contains(&key.as_str())));
    }
    Ok(Some(Json::Object(shown)))
}

/// What has a URI, with a handle in its place, and of the rest these fields.
async fn resource(asking: Asking<'_>, piece: Json, keep: &[&str]) -> Result<Json, Error> {
    let Asking { scope, upstream, handles, .. } = asking;
    let Some(uri) = piece.get("uri").and_then(Json::as_str) else {
        return bad("a resource without a URI");
    };
    let uri = handles.seal(scope, &upstream.id, HandleKind::Resource, uri).await?;
    let mut shown = vec![("uri".to_owned(), Json::String(uri))];
    if let Json::Object(entries) = piece {
        shown.extend(entries.into_iter().filter(|(key, _)| keep.contains(&key.as_str())));
    }
    Ok(Json::Object(shown))
}

/// A piece of content, with handles in the place of URIs.
pub(crate) async fn links(asking: Asking<'_>, block: Json) -> Result<Json, Error> {
    match block.get("type").and_then(Json::as_str) {
        Some("resource_link") => {
            let keep = ["type", "name", "title", "description", "mimeType", "size", "annotations"];
            resource(asking, block, &keep).await
        }
        Some("resource") => {
            let Json::Object(mut entries) = block else { return bad("content that is no object") };
            for (key, value) in &mut entries {
                if key == "resource" {
                    let inner = std::mem::replace(value, Json::Null);
                    *value = resource(asking, inner, &["mimeType", "text", "blob"]).await?;
                }
            }
            Ok(Json::Object(entries))
        }
        _ => Ok(block),
    }
}

fn text(text: &str) -> Json {
    Json::String(text.to_owned())
}

fn taken(from: Json, key: &str) -> Option<Json> {
    let Json::Object(entries) = from else { return None };
    entries.into_iter().find(|(k, _)| k == key).map(|(_, value)| value)
}

fn bad<T>(why: &'static str) -> Result<T, Error> {
    Err(Fault::sent(FaultKind::Malformed(why)).into())
}

fn error_of(failed: mcp::Failed) -> Error {
    match failed {
        mcp::Failed::Refused(_, said) => Error::Refused(said),
        failed => failed.fault().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_the_first_level_alone() {
        for (template, expected) in [
            ("crm://{kind}/{id}", Some(vec!["kind", "id"])),
            ("crm://all", None),
            ("crm://{+path}", None),
            ("crm://{a,b}", None),
            ("crm://{a}/{a}", None),
            ("crm://{a", None),
            ("crm://{}", None),
        ] {
            let expected: Option<Vec<String>> =
                expected.map(|names| names.into_iter().map(str::to_owned).collect());
            assert_eq!(places(template), expected, "{template}");
        }
    }
}
