//! Resources, prompts and completions of MCP upstreams that offer theirs. What is in them is not
//! held against an owner: an operator allows them where the credential alone decides what there
//! is. An agent sees no cursor of an upstream's, and no URI unless its operator wants that
//! ([`Uris::Unverifiable`]), but handles of its own.

use ids::{ProviderId, json::Json};
use scope::{Scope, Write};

use super::{Asks, Bounds, Upstreams, mcp};
use crate::{
    Error, Fault, FaultKind, Upstream, UpstreamKind, Uris,
    credential::Authorized,
    handles::{self, HandleKind, Handles},
    rounds::Opened,
};

mod reach;

pub(crate) use reach::Reach;
use reach::Template;

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

/// What asking for a prompt gave.
pub(crate) enum Prompted {
    Prompt(Json),
    /// Questions to whoever asks.
    Asks(Asks),
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

/// The fields of what is in a resource that are handed on as they are.
const CONTENT: [&str; 3] = ["mimeType", "text", "blob"];
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

    /// What an agent may name at the upstream by the upstream's own URIs.
    pub(crate) async fn reach(&self, asking: Asking<'_>) -> Result<Reach, Error> {
        let Asking { scope, upstream, by, .. } = asking;
        let mut all = [const { Vec::new() }; 2];
        for (list, items) in [List::Resources, List::Templates].into_iter().zip(&mut all) {
            let bounds = Bounds::of(upstream.timeouts, None, upstream.max_response_bytes);
            let mut call = self.call_of(scope, upstream, by, bounds, None)?;
            match self.every(&mut call, list.method(), list.name()).await {
                Ok(found) => *items = found,
                // It has no such list.
                Err(mcp::Failed::Refused(..)) => {}
                Err(failed) => return Err(failed.fault().into()),
            }
        }
        let [resources, templates] = all;
        match Reach::of(&resources, &templates) {
            Some(reach) => Ok(reach),
            None => bad("it lists more resources than are looked through"),
        }
    }

    /// What is in a resource, by the upstream's own URI of it.
    pub(crate) async fn read_resource(&self, asking: Asking<'_>, uri: &str) -> Result<Json, Error> {
        let params = vec![("uri".to_owned(), text(uri))];
        let result = match self.result(asking, "resources/read", params).await {
            // One that is not there and one that is not to be read are one.
            Err(error) if is_refusal(&error) => {
                return Err(Error::Handle(HandleKind::Resource.name()));
            }
            result => result?,
        };
        let Some(Json::Array(contents)) = taken(result, "contents") else {
            return bad("a resource without contents");
        };
        let mut shown = Vec::with_capacity(contents.len());
        for piece in contents {
            shown.extend(resource(asking, piece, &CONTENT, asking.upstream.uris).await?);
        }
        Ok(Json::Object(vec![("contents".to_owned(), Json::Array(shown))]))
    }

    /// A prompt, by the upstream's own name of it.
    pub(crate) async fn get_prompt(
        &self,
        asking: Asking<'_>,
        name: &str,
        arguments: Option<Json>,
        round: Option<&Opened>,
    ) -> Result<Prompted, Error> {
        let mut params = vec![("name".to_owned(), text(name))];
        params.extend(arguments.map(|arguments| ("arguments".to_owned(), arguments)));
        params.extend(round.into_iter().flat_map(Opened::params));
        let declared = round.map(|round| &round.capabilities);
        let result = self.answer(asking, "prompts/get", params, declared).await?;
        if result.get("resultType").and_then(Json::as_str) == Some("input_required") {
            return Ok(Prompted::Asks(mcp::asks(result, declared)?));
        }
        let result = complete(result)?;
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
            let Some(content) = links(asking, mcp::block(content)?).await? else { continue };
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
        Ok(Prompted::Prompt(Json::Object(prompt)))
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
        complete(self.answer(asking, method, params, None).await?)
    }

    async fn answer(
        &self,
        asking: Asking<'_>,
        method: &'static str,
        params: Vec<(String, Json)>,
        capabilities: Option<&Json>,
    ) -> Result<Json, Error> {
        let Asking { scope, upstream, by, .. } = asking;
        let bounds = Bounds::of(upstream.timeouts, None, upstream.max_response_bytes);
        let call = self.call_of(scope, upstream, by, bounds, None)?;
        let call = mcp::Call { capabilities, ..call };
        self.sessions.ask(&call, method, params).await.map_err(error_of)
    }
}

/// A result that is one.
fn complete(result: Json) -> Result<Json, Error> {
    match result.get("resultType").map(Json::as_str) {
        None | Some(Some("complete")) => Ok(result),
        Some(_) => bad("it asks for more, and nobody here may answer"),
    }
}

/// Of which of these upstreams a prompt is, and what it is called there.
pub(crate) fn prompt_of<'u, 'n>(
    upstreams: impl Iterator<Item = &'u Upstream>,
    name: &'n str,
) -> Option<(&'u Upstream, &'n str)> {
    let of = |upstream: &'u Upstream| {
        let rest = name.strip_prefix(&*upstream.prompt_prefix())?;
        Some((upstream, rest))
    };
    // The longest prefix is meant, where one begins with another.
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
    let none = || Error::Handle(kind.name());
    let template = Template::parse(opened.is).ok_or_else(none)?;
    let mut values = std::collections::BTreeMap::new();
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        if values.insert(name, value).is_some() {
            return Err(none());
        }
    }
    if values.len() != template.places().len() {
        return Err(none());
    }
    let uri = template.fill(|place| values.get(place).map(|value| (*value).to_owned()));
    Ok((opened.upstream, uri.ok_or_else(none)?))
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

/// A handle of a URI; nothing of one that is too long to come back with. Whoever lists such a one
/// holds up none of the others.
async fn sealed(asking: Asking<'_>, kind: HandleKind, uri: &str) -> Result<Option<String>, Error> {
    let Asking { scope, upstream, handles, .. } = asking;
    if uri.len() > handles::LONGEST {
        return Ok(None);
    }
    handles.seal(scope, &upstream.id, kind, uri).await.map(Some)
}

/// Whether an upstream's own URI is shown as it is: what looks like a handle is none of an upstream's
/// to show, and what is too long nobody reads.
fn is_shown(uri: &str) -> bool {
    uri.len() <= reach::LONGEST && !handles::is_one(uri)
}

/// A listed thing, as an agent may see it; nothing of one that cannot be shown.
async fn listed(asking: Asking<'_>, of: List, item: Json) -> Result<Option<Json>, Error> {
    let upstream = asking.upstream;
    let field = |key: &str| item.get(key).and_then(Json::as_str).map(str::to_owned);
    let Some(name) = field("name") else { return bad("something without a name") };
    let mut shown = Vec::with_capacity(8);
    match of {
        List::Prompts => {
            shown.push((
                "name".to_owned(),
                Json::String(format!("{}{name}", upstream.prompt_prefix())),
            ));
        }
        List::Resources => {
            let Some(uri) = field("uri") else { return bad("a resource without a URI") };
            let uri = match upstream.uris {
                Uris::Handles => sealed(asking, HandleKind::Resource, &uri).await?,
                Uris::Unverifiable => Some(uri).filter(|uri| is_shown(uri)),
            };
            let Some(uri) = uri else { return Ok(None) };
            shown.push(("uri".to_owned(), Json::String(uri)));
            shown.push(("name".to_owned(), Json::String(name)));
        }
        List::Templates => {
            let Some(template) = field("uriTemplate") else {
                return bad("a template without a URI");
            };
            let Some(parsed) = Template::parse(template.clone()) else { return Ok(None) };
            let template = match upstream.uris {
                Uris::Handles => {
                    let handle = sealed(asking, HandleKind::Template, &template).await?;
                    handle.map(|handle| format!("{handle}{{?{}}}", parsed.places().join(",")))
                }
                Uris::Unverifiable => Some(template).filter(|template| is_shown(template)),
            };
            let Some(template) = template else { return Ok(None) };
            shown.push(("uriTemplate".to_owned(), Json::String(template)));
            shown.push(("name".to_owned(), Json::String(name)));
        }
    }
    if let Json::Object(entries) = item {
        shown.extend(entries.into_iter().filter(|(key, _)| SHOWN.contains(&key.as_str())));
    }
    Ok(Some(Json::Object(shown)))
}

/// What has a URI, as agents see it, and of the rest these fields; nothing if it cannot be shown.
async fn resource(
    asking: Asking<'_>,
    piece: Json,
    keep: &[&str],
    uris: Uris,
) -> Result<Option<Json>, Error> {
    let Some(uri) = piece.get("uri").and_then(Json::as_str) else {
        return bad("a resource without a URI");
    };
    let uri = match uris {
        Uris::Unverifiable if is_shown(uri) => Some(uri.to_owned()),
        _ => sealed(asking, HandleKind::Resource, uri).await?,
    };
    let Some(uri) = uri else { return Ok(None) };
    let mut shown = vec![("uri".to_owned(), Json::String(uri))];
    if let Json::Object(entries) = piece {
        shown.extend(entries.into_iter().filter(|(key, _)| keep.contains(&key.as_str())));
    }
    Ok(Some(Json::Object(shown)))
}

/// A piece of content, with handles in the place of URIs. What is linked to need not be in any list,
/// so that a URI alone would not open it. Nothing of what cannot be shown.
pub(crate) async fn links(asking: Asking<'_>, block: Json) -> Result<Option<Json>, Error> {
    match block.get("type").and_then(Json::as_str) {
        Some("resource_link") => {
            let keep = ["type", "name", "title", "description", "mimeType", "size", "annotations"];
            resource(asking, block, &keep, Uris::Handles).await
        }
        Some("resource") => {
            let Json::Object(mut entries) = block else { return bad("content that is no object") };
            for (key, value) in &mut entries {
                if key == "resource" {
                    let inner = std::mem::replace(value, Json::Null);
                    let Some(inner) = resource(asking, inner, &CONTENT, Uris::Handles).await?
                    else {
                        return Ok(None);
                    };
                    *value = inner;
                }
            }
            Ok(Some(Json::Object(entries)))
        }
        _ => Ok(Some(block)),
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

fn is_refusal(error: &Error) -> bool {
    match error {
        Error::Refused(_) => true,
        Error::Upstream(fault) => fault.is_refusal(),
        _ => false,
    }
}

fn error_of(failed: mcp::Failed) -> Error {
    match failed {
        mcp::Failed::Refused(_, said) => Error::Refused(said),
        failed => failed.fault().into(),
    }
}
