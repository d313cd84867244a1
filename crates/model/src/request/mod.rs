//! A request as asked for: parsed once, and kept as the bytes that it came as.

mod guard;
mod handles;
mod rewrite;
mod semantic;
#[cfg(test)]
mod tests;

use std::fmt;

use bytes::Bytes;
use ids::{
    json::{self, Json},
    planted,
};
use scope::{Access, Claim, Names, Scope};

pub(crate) use self::semantic::Turn;
use crate::{
    Api, Cited, Error, Kind, Limits, Mark,
    fields::{self, Fate, same},
    tools,
};

/// A bounded, unambiguous body for one endpoint. Every object in it names each key once.
#[derive(Clone)]
pub struct Request {
    api: Api,
    body: Bytes,
    json: Json,
    model: String,
    stream: bool,
    claims: Vec<Stated>,
    /// Fields and types that are not known, for the provider's configuration to allow.
    unknown: Vec<String>,
    /// Families of tools that run at the provider, for the route's configuration to allow.
    hosted: Vec<String>,
    cited: Vec<Cited>,
    keeps: bool,
    /// Whether it wants a chat completion kept.
    stores: bool,
    asks_usage: bool,
    /// Whether it has fields that are not sent on.
    withholds: bool,
    /// Among them: ids of items of its input.
    sheds: bool,
    /// It names something that is neither in it nor on the web.
    elsewhere: bool,
}

impl fmt::Debug for Request {
    /// Its endpoint and size, and nothing that it says.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Request({:?}, {} bytes)", self.api, self.body.len())
    }
}

/// A field that names a tenant or an environment.
#[derive(Clone)]
pub(crate) struct Stated {
    pub(crate) place: String,
    pub(crate) names: Names,
    pub(crate) value: String,
}

/// What a request has to be in order to go to a provider with a credential.
pub(crate) struct Terms<'a> {
    /// Whether other tenants use the credential, too.
    pub(crate) shared: bool,
    /// What the provider takes beyond the fields and types that are known.
    pub(crate) extra_fields: &'a [String],
    /// Which tools the route lets the provider run.
    pub(crate) hosted_tools: &'a [String],
    /// What the provider speaks.
    pub(crate) kind: Kind,
}

/// What is changed in a body on its way to a provider.
#[derive(Clone, Copy, Default)]
pub(crate) struct Dress<'a> {
    /// The provider's own name of the model, where it differs.
    pub(crate) model: Option<&'a str>,
    /// What it is marked with. Marks that are headers are none of the body's.
    pub(crate) marks: &'a [(Mark, &'a str)],
    /// Has a stream of chat completions say what it used, even if the caller does not ask.
    pub(crate) ask_usage: bool,
}

impl Request {
    /// Parses a body.
    ///
    /// # Errors
    /// Too large, no JSON, a repeated key, a field of the wrong type, or one that is refused
    /// by name. What depends on the provider, the route and the credential is judged later.
    pub fn parse(api: Api, body: Bytes, limits: &Limits) -> Result<Self, Error> {
        if body.len() > limits.body_bytes {
            return Err(Error::TooLarge { bytes: body.len(), most: limits.body_bytes });
        }
        // Texts may come as numbers of tokens: 300,000 in one request, by OpenAI's own bound.
        let nodes = match api {
            Api::Embeddings => limits.nodes.saturating_mul(2),
            _ => limits.nodes,
        };
        let bounds = json::Limits { depth: limits.depth, nodes };
        let json = Json::parse(&body, &bounds)?;
        let Json::Object(fields) = &json else {
            return Err(Error::Malformed { field: "body", must: "an object" });
        };
        let mut model = None;
        let (mut stream, mut withholds) = (false, false);
        let mut unknown = Vec::new();
        let kept = keeps(api, &json);
        let mut sweep = handles::Sweep::new(api, api == Api::Responses && !kept);
        for (name, value) in fields {
            match name.as_str() {
                "model" => model = Some(model_name(value)?),
                "stream" => stream = streams(api, value)?,
                name => match fields::judge(api, name)? {
                    Fate::Passes => well_formed(api, name, value)?,
                    Fate::Stays => {
                        withholds = true;
                        continue;
                    }
                    // What is held against the credential agrees with it.
                    Fate::Unknown if limits.claims.iter().any(|c| same(&c.path, name)) => {}
                    Fate::Unknown if tools::in_field(name, value).is_some() => {}
                    Fate::Unknown => unknown.push(name.to_owned()),
                },
            }
            fields::judge_within(name, value)?;
            sweep.field(name, value)?;
            fields::unknown_types(api, name, value, &mut |name| unknown.push(name.to_owned()));
        }
        let model = model.ok_or(Error::Malformed { field: "model", must: "a model's name" })?;
        let claims = stated(&json, limits)?;
        let stores = api == Api::Chat && handles::says(&json, "store");
        let keeps = stores || kept || sweep.hosted.iter().any(|f| handles::makes(f));
        let asks_usage = json.at_path("stream_options.include_usage") == Some(&Json::Bool(true));
        withholds |= handles::names_caller(api, &json);
        let handles::Sweep { cited, hosted, sheds, elsewhere, .. } = sweep;
        Ok(Self {
            api,
            body,
            model,
            stream,
            claims,
            unknown,
            hosted,
            cited,
            keeps,
            stores,
            asks_usage,
            withholds: withholds || sheds,
            sheds,
            elsewhere,
            json,
        })
    }

    /// The endpoint that it is for.
    #[must_use]
    pub const fn api(&self) -> Api {
        self.api
    }

    /// The model, by the name that the caller uses.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Whether the answer is to be a stream.
    #[must_use]
    pub const fn stream(&self) -> bool {
        self.stream
    }

    /// Its size in bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.body.len() as u64
    }

    /// What the body says about whose it is. It decides nothing; it may only agree.
    pub fn claims(&self) -> impl Iterator<Item = Claim<'_>> {
        self.claims.iter().map(|stated| Claim {
            place: &stated.place,
            names: stated.names,
            value: &stated.value,
        })
    }

    /// Holds every claim against the scope.
    ///
    /// # Errors
    /// The first one that names somebody else.
    pub fn concur<A: Access>(&self, scope: &Scope<A>) -> Result<(), Error> {
        self.claims().try_for_each(|claim| scope.concur(&claim)).map_err(Error::Scope)
    }

    /// Two requests to one endpoint with these same bytes are the same request: the body with
    /// its keys sorted and without white space.
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.body.len());
        self.json.canonical(&mut |part| out.extend_from_slice(part));
        out
    }

    /// The planted bug: the caller's own name of a partition.
    pub(crate) fn named_partition(&self) -> Option<String> {
        if !planted::is("cache-caller-namespace") {
            return None;
        }
        let named = self.json.at_path("cache.namespace").and_then(Json::as_str)?;
        Some(format!("namespace={named}"))
    }

    /// Refuses what the route does not allow the provider to run and, where others use the
    /// credential, too, everything that is not known.
    pub(crate) fn judge(&self, terms: &Terms<'_>) -> Result<(), Error> {
        let allowed = |tool: &String| terms.hosted_tools.iter().any(|a| tools::family(a) == *tool);
        if let Some(tool) = self.hosted.iter().find(|tool| !allowed(tool)) {
            return Err(Error::Tool(tool.clone()));
        }
        let engine = matches!(terms.kind, Kind::Vllm | Kind::Sglang);
        // The files of a server of one's own are everybody's, whoever's the key is.
        if self.elsewhere && (terms.shared || engine) {
            return Err(Error::Malformed { field: "url", must: "https:, http: or data:" });
        }
        if !terms.shared {
            return Ok(());
        }
        if self.stores {
            return Err(Error::Unsupported("store"));
        }
        let known = |name: &String| {
            terms.extra_fields.contains(name) || (engine && fields::engines_know(self.api, name))
        };
        match self.unknown.iter().find(|name| !known(name)) {
            Some(name) => Err(Error::unknown_field(name)),
            None => Ok(()),
        }
    }

    /// Everything that it names and that a provider keeps, each once.
    pub(crate) fn cited(&self) -> &[Cited] {
        &self.cited
    }

    /// Whether the provider will keep something of it, or make something that it keeps.
    pub(crate) const fn keeps(&self) -> bool {
        self.keeps
    }

    /// Whether its answer's own ids are to be recorded: the provider keeps it, or looks up what
    /// it ran itself when a client sends that along with the next request (`web_search_call`).
    pub(crate) const fn names(&self) -> bool {
        self.keeps || (matches!(self.api, Api::Responses) && !self.hosted.is_empty())
    }

    /// Whether the caller itself wants to know what a stream of chat completions used.
    pub(crate) const fn asks_usage(&self) -> bool {
        self.asks_usage
    }

    /// The body for a provider: the same bytes, but for the model's name, fields that stay
    /// here, and marks. Every other value keeps its bytes.
    pub(crate) fn upstream_body(&self, dress: &Dress<'_>) -> Result<Bytes, Error> {
        rewrite::body(self, dress)
    }

    /// What may be answered with what was answered to another who asked alike; none if the
    /// last turn is not plain text of the user's, or the answer depends on more than the body.
    pub(crate) fn semantic(&self) -> Option<Turn> {
        semantic::turn(self)
    }
}

fn model_name(value: &Json) -> Result<String, Error> {
    match value {
        Json::String(name) if (1..=256).contains(&name.len()) => Ok(name.clone()),
        _ => Err(Error::Malformed { field: "model", must: "a model's name" }),
    }
}

fn streams(api: Api, value: &Json) -> Result<bool, Error> {
    match value {
        Json::Null => Ok(false),
        Json::Bool(wanted) if api.streams() || !wanted => Ok(*wanted),
        Json::Bool(_) => Err(Error::Malformed { field: "stream", must: "false at this endpoint" }),
        _ => Err(Error::Malformed { field: "stream", must: "true or false" }),
    }
}

/// Holds fields that are written into against their type.
fn well_formed(api: Api, name: &str, value: &Json) -> Result<(), Error> {
    let field = match (api, name) {
        (Api::Chat, "stream_options") => "stream_options",
        (Api::Messages, "metadata") => "metadata",
        _ => return Ok(()),
    };
    match value {
        Json::Null | Json::Object(_) => Ok(()),
        _ => Err(Error::Malformed { field, must: "an object" }),
    }
}

/// Whether a provider keeps something of this, hosted tools aside.
fn keeps(api: Api, json: &Json) -> bool {
    match api {
        // What was said aloud is kept for a while, and named by the next turn.
        Api::Chat => handles::says(json, "audio"),
        // Kept unless told not to.
        Api::Responses => {
            json.get("store") != Some(&Json::Bool(false))
                || ["background", "conversation"].iter().any(|name| handles::says(json, name))
        }
        Api::Messages => ["container", "thread"].iter().any(|name| handles::says(json, name)),
        Api::Embeddings | Api::CountTokens => false,
    }
}

/// Everything in the body that names a tenant or an environment.
pub(crate) fn stated(json: &Json, limits: &Limits) -> Result<Vec<Stated>, Error> {
    let mut claims = Vec::new();
    for claim in &limits.claims {
        find(json, &claim.path, &mut |value| {
            let place = format!("body {}", claim.path);
            let value = match value {
                Json::Null => return Ok(()),
                Json::String(text) => text.clone(),
                Json::Number(number) => number.to_string(),
                _ => return Err(Error::Claim(place)),
            };
            claims.push(Stated { place, names: claim.names.into(), value });
            Ok(())
        })?;
    }
    Ok(claims)
}

/// Hands over every value at a dotted path; several, where a key is spelled in several ways.
fn find(
    json: &Json,
    path: &str,
    found: &mut dyn FnMut(&Json) -> Result<(), Error>,
) -> Result<(), Error> {
    let Json::Object(fields) = json else { return Ok(()) };
    let (segment, rest) = path.split_once('.').unwrap_or((path, ""));
    for (_, value) in fields.iter().filter(|(name, _)| same(segment, name)) {
        if rest.is_empty() {
            found(value)?;
        } else {
            find(value, rest, found)?;
        }
    }
    Ok(())
}
