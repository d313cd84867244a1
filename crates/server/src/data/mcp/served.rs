//! The server that answers one message. Whose it is stands in it; what the SDK knows of the request
//! decides nothing.

use std::{
    borrow::Cow,
    pin::pin,
    sync::{Arc, OnceLock},
};

use gate::Hop;
use ids::{RequestId, json::Json};
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CacheScope, CallToolRequestParams, CallToolResponse, CompleteRequestParams, CompleteResult,
        ErrorCode, GetPromptRequestParams, GetPromptResponse, Implementation, InputRequiredResult,
        JsonObject, ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult,
        ListToolsResult, PaginatedRequestParams, ProgressNotificationParam, ProgressToken,
        PromptsCapability, ProtocolVersion, ReadResourceRequestParams, ReadResourceResponse,
        ReadResourceResult, ResourcesCapability, ServerCapabilities, ServerConfig,
    },
    service::RequestContext,
};
use scope::{Scope, Write};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::mpsc;
use tools::{Answer, Completes, Error, FaultKind, Note, Offer, Progress, Round};

use super::{
    Place,
    message::{Call, Message, RpcId},
    mirror::{self, Mirrored},
    shown, waiting,
};
use crate::{App, data::tools as calling, fault::Fault};

/// Notes of progress that wait to be handed on; of more the latest are dropped.
const NOTES: usize = 16;
/// Where a caller says what it can be asked for.
const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
/// To whom a call was ended by its own caller.
const CANCELLED: ErrorCode = ErrorCode(-32000);
/// What models read first.
const INSTRUCTIONS: &str = "Arguments that say whose data is meant come from the credential: leave \
    them out. A write may need a person's approval: the answer then names a review; call again \
    with the same arguments and `_meta` \"bulkhead/review\" once it is decided. The same write \
    twice in one run is done once; name an `Idempotency-Key` to mean two.";

/// A server for one message.
#[derive(Clone)]
pub(super) struct Served {
    pub(super) app: Arc<App>,
    pub(super) scope: Scope<Write>,
    /// What a listing asks of the gate.
    pub(super) hop: Hop,
    pub(super) request: RequestId,
    /// The message, as we read it.
    pub(super) message: Arc<Message>,
    /// The call that it is.
    pub(super) call: Option<Arc<Call>>,
    pub(super) id: Option<RpcId>,
    /// Of a call: the headers that repeat its arguments.
    pub(super) mirrored: Option<Mirrored>,
    pub(super) place: Place,
    /// The code of a refusal, for the log and the figures.
    pub(super) said: Arc<OnceLock<&'static str>>,
}

impl Served {
    /// A refusal in the protocol's own shape.
    fn refused(&self, fault: Fault) -> ErrorData {
        let _ = self.said.set(fault.code);
        let code = match fault.code {
            "tool.unknown" | "tool.handle" | "request.malformed" => ErrorCode::INVALID_PARAMS,
            "internal" => ErrorCode::INTERNAL_ERROR,
            _ => CANCELLED,
        };
        ErrorData::new(code, fault.message, Some(json!({"code": fault.code})))
    }

    /// What is said to a caller that would have to declare more, as the protocol has it.
    fn undeclared(&self, what: &'static str) -> ErrorData {
        let kind = FaultKind::Undeclared(what);
        let refused = self.refused(Error::from(tools::Fault { kind, sent: true }).into());
        let needs = json!({"code": "tool.undeclared", "requiredCapabilities": {what: {}}});
        let code = ErrorCode::MISSING_REQUIRED_CLIENT_CAPABILITY;
        ErrorData::new(code, refused.message, Some(needs))
    }

    /// Calls the tool, and waits for a person where its caller wants that.
    async fn called(&self, call: &Call, modern: bool, progress: Progress) -> Outcome {
        let mut ask = call.ask.clone();
        if let Some(why) = &call.mismatch {
            let hop = self.app.tools.unprepared(&ask.name, self.request);
            self.app.gate.refuse(&self.scope, &hop, "scope.mismatch", why).await;
            return Outcome::Failed(scope::Error::Mismatch(why.clone()).into());
        }
        let waits = call.state.as_ref().filter(|state| state.starts_with(waiting::MARK));
        let mut round = self.round(modern);
        if let Some(state) = waits {
            round.state = None;
            match waiting::opened(&self.app, &self.scope, &ask.name, state).await {
                Ok(review) => ask.review = Some(review),
                Err(error) => {
                    let hop = self.app.tools.unprepared(&ask.name, self.request);
                    let why = error.to_string();
                    self.app.gate.refuse(&self.scope, &hop, error.code(), &why).await;
                    return Outcome::Failed(error);
                }
            }
            if !self.decided(ask.review, u64::MAX).await {
                return Outcome::Later(state.clone());
            }
        }
        let said = calling::InMcp { round, mirrored: self.mirrored.as_ref() };
        let failed =
            match calling::call_in(&self.app, &self.scope, ask.clone(), said, progress.clone())
                .await
            {
                Ok(answer) => return Outcome::Answered(Box::new(answer)),
                Err(error) => error,
            };
        let (Error::ApprovalRequired { review, .. }, Some(wait)) = (&failed, call.wait) else {
            return Outcome::Failed(failed);
        };
        if modern {
            return match waiting::sealed(&self.app, &self.scope, &ask.name, *review).await {
                Ok(state) => Outcome::Later(state),
                Err(error) => Outcome::Failed(error),
            };
        }
        if !self.decided(Some(*review), wait).await {
            return Outcome::Failed(failed);
        }
        ask.review = Some(*review);
        match calling::call(&self.app, &self.scope, ask, progress).await {
            Ok(answer) => Outcome::Answered(Box::new(answer)),
            Err(error) => Outcome::Failed(error),
        }
    }

    /// What this caller can be asked for by an upstream, and what it was asked for before.
    fn round(&self, modern: bool) -> Round {
        if !modern {
            return Round::default();
        }
        Round {
            capabilities: self.message.meta(CAPABILITIES).cloned(),
            responses: self.message.param("inputResponses").cloned(),
            state: self.message.state().map(str::to_owned),
        }
    }

    /// Waits until a person has decided, for as long as is allowed. Takes no place meanwhile.
    async fn decided(&self, review: Option<ids::RandomId>, seconds: u64) -> bool {
        let Some(review) = review else { return true };
        drop(self.place.lock().take());
        waiting::decided(&self.app, &self.scope, review, seconds).await
    }

    /// Something of an upstream's besides its tools.
    async fn offered<T: DeserializeOwned>(
        &self,
        context: &RequestContext<RoleServer>,
        offer: Offer<'_>,
    ) -> Result<T, ErrorData> {
        let (app, scope) = (&self.app, &self.scope);
        let hop = app.tools.offer_hop(&offer, self.request);
        let asking = app.gate.pass(scope, hop, |pass| app.tools.offer(scope, pass, offer));
        let found = tokio::select! {
            biased;
            () = context.ct.cancelled() => return Err(unwanted()),
            found = asking => found.map_err(|error| self.refused(error.into()))?,
        };
        let mut found = shown::value(found);
        if let Some(found) = found.as_object_mut() {
            found.entry("resultType").or_insert_with(|| "complete".into());
        }
        self.meant(found)
    }

    /// What an upstream said, as the SDK has it.
    fn meant<T: DeserializeOwned>(&self, said: serde_json::Value) -> Result<T, ErrorData> {
        serde_json::from_value(said).map_err(|_| {
            let why = "the upstream's answer makes no sense in its protocol";
            self.refused(Fault::new("upstream.malformed", why))
        })
    }

    /// What the message says there, as text.
    fn said(&self, name: &str) -> Result<&str, ErrorData> {
        let said = self.message.param(name).and_then(Json::as_str);
        said.ok_or_else(|| self.refused(Fault::malformed(format!("`{name}` has to be text"))))
    }

    /// Where a list goes on.
    fn cursor(&self) -> Option<&str> {
        self.message.param("cursor").and_then(Json::as_str)
    }

    fn outcome(&self, outcome: Outcome, modern: bool) -> Result<CallToolResponse, ErrorData> {
        match outcome {
            Outcome::Answered(answer) => match shown::answer(*answer) {
                Ok(result) => Ok(result.into()),
                Err(fault) => {
                    let _ = self.said.set(fault.code);
                    Ok(shown::failure(fault.code, &fault.message, None).into())
                }
            },
            Outcome::Later(state) => Ok(InputRequiredResult::from_request_state(state).into()),
            // What an upstream asks for, its own caller is asked for.
            Outcome::Failed(Error::InputRequired(asks)) if modern => {
                let asks: InputRequiredResult = self.meant(shown::value(*asks))?;
                Ok(asks.into())
            }
            Outcome::Failed(Error::Header(why)) => {
                let fault = Fault::malformed(why);
                let _ = self.said.set(fault.code);
                let data = json!({"code": fault.code});
                Err(ErrorData::new(ErrorCode::HEADER_MISMATCH, fault.message, Some(data)))
            }
            Outcome::Failed(Error::Upstream(tools::Fault {
                kind: FaultKind::Undeclared(what),
                ..
            })) => Err(self.undeclared(what)),
            // No tool of that name is no failure of a tool, and a state that is none neither.
            Outcome::Failed(error @ (Error::Unknown | Error::Handle(_))) => {
                Err(self.refused(error.into()))
            }
            Outcome::Failed(error) => {
                let waiting = shown::waiting(&error);
                let fault = Fault::from(error);
                let _ = self.said.set(fault.code);
                Ok(shown::failure(fault.code, &fault.message, waiting).into())
            }
        }
    }
}

/// What became of a call.
enum Outcome {
    Answered(Box<Answer>),
    /// Its caller comes again, with this.
    Later(String),
    Failed(Error),
}

impl ServerHandler for Served {
    fn get_info(&self) -> ServerConfig {
        let mut able = ServerCapabilities::builder().enable_tools().build();
        let offers = &self.app.settings.tools.upstreams;
        if offers.iter().any(|upstream| upstream.resources) {
            able.resources = Some(ResourcesCapability::default());
        }
        if offers.iter().any(|upstream| upstream.prompts) {
            able.prompts = Some(PromptsCapability::default());
        }
        if able.resources.is_some() || able.prompts.is_some() {
            able.completions = Some(JsonObject::new());
        }
        let mut info = ServerConfig::new(able);
        info.server_info = Implementation::new("bulkhead", env!("CARGO_PKG_VERSION"));
        info.instructions = Some(INSTRUCTIONS.to_owned());
        info
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        let spoken = |version: &&ProtocolVersion| mirror::SPOKEN.contains(&version.as_str());
        ProtocolVersion::KNOWN_VERSIONS.iter().filter(spoken).cloned().collect::<Vec<_>>().into()
    }

    async fn list_tools(
        &self,
        asked: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        // All of them are on one page, so no cursor was ever given out.
        if asked.is_some_and(|asked| asked.cursor.is_some()) {
            let unknown = Error::Handle("cursor");
            self.app
                .gate
                .refuse(&self.scope, &self.hop, unknown.code(), &unknown.to_string())
                .await;
            return Err(self.refused(unknown.into()));
        }
        let (app, scope) = (&self.app, &self.scope);
        let listing = app.gate.pass(scope, self.hop.clone(), |pass| async move {
            let _held = pass;
            Ok::<_, Fault>(app.tools.list(scope).await?)
        });
        let listed = tokio::select! {
            biased;
            () = context.ct.cancelled() => return Err(unwanted()),
            listed = listing => listed.map_err(|fault| self.refused(fault))?,
        };
        let tools = listed.into_iter().map(shown::tool).collect();
        Ok(ListToolsResult::with_all_items(tools)
            .with_ttl_ms(0)
            .with_cache_scope(CacheScope::Private))
    }

    async fn call_tool(
        &self,
        _read_by_the_sdk: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let (Some(call), Some(id)) = (&self.call, &self.id) else {
            return Err(self.refused(Fault::malformed("this is no call of a tool")));
        };
        let modern = is_modern(&context);
        let running = self.app.calls.begin(&self.scope, id.clone());
        let token = context.meta.get_progress_token();
        let (progress, mut notes) = noted(token.is_some());
        let mut called = pin!(self.called(call, modern, progress));
        let outcome = loop {
            tokio::select! {
                biased;
                // Whoever hung up, or said so, wants it no more: with this its future is gone.
                () = context.ct.cancelled() => return Err(unwanted()),
                () = running.unwanted.cancelled() => return Err(unwanted()),
                Some(note) = notes.recv() => tell(&context, token.as_ref(), note).await,
                outcome = &mut called => break outcome,
            }
        };
        while let Ok(note) = notes.try_recv() {
            tell(&context, token.as_ref(), note).await;
        }
        self.outcome(outcome, modern)
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let found: ListResourcesResult =
            self.offered(&context, Offer::Resources(self.cursor())).await?;
        Ok(found.with_ttl_ms(0).with_cache_scope(CacheScope::Private))
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let found: ListResourceTemplatesResult =
            self.offered(&context, Offer::Templates(self.cursor())).await?;
        Ok(found.with_ttl_ms(0).with_cache_scope(CacheScope::Private))
    }

    async fn read_resource(
        &self,
        _: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let uri = self.said("uri")?;
        let found = self.offered(&context, Offer::Resource(uri)).await;
        let found: ReadResourceResult = found.map_err(|error| named(error, uri))?;
        Ok(ReadResourceResponse::Complete(found))
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        let found: ListPromptsResult =
            self.offered(&context, Offer::Prompts(self.cursor())).await?;
        Ok(found.with_ttl_ms(0).with_cache_scope(CacheScope::Private))
    }

    async fn get_prompt(
        &self,
        _: GetPromptRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        let (name, arguments) = (self.said("name")?, self.message.param("arguments"));
        let round = self.round(is_modern(&context));
        let offer = Offer::Prompt { name, arguments: arguments.cloned(), round };
        let found: serde_json::Value = self.offered(&context, offer).await?;
        Ok(match found["resultType"] == "input_required" {
            true => GetPromptResponse::InputRequired(self.meant(found)?),
            false => GetPromptResponse::Complete(self.meant(found)?),
        })
    }

    async fn complete(
        &self,
        _: CompleteRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        let text = |of: &'static str, name: &str| {
            let found = self.message.param(of).and_then(|part| part.get(name)?.as_str());
            found.ok_or_else(|| self.refused(Fault::malformed(format!("`{of}` is not whole"))))
        };
        let of = match text("ref", "type")? {
            "ref/prompt" => Completes::Prompt(text("ref", "name")?),
            "ref/resource" => Completes::Template(text("ref", "uri")?),
            _ => return Err(self.refused(Fault::malformed("`ref` is of a kind that is not known"))),
        };
        let argument = (text("argument", "name")?, text("argument", "value")?);
        self.offered(&context, Offer::Completion { of, argument }).await
    }

    async fn on_initialized(&self, _: rmcp::service::NotificationContext<RoleServer>) {}
}

/// Where an upstream's notes go, and where they come out.
fn noted(wanted: bool) -> (Progress, mpsc::Receiver<Note>) {
    let (sink, notes) = mpsc::channel(NOTES);
    let progress = match wanted {
        true => Progress::to(move |note| {
            // Whoever reads slowly misses some.
            let _ = sink.try_send(note);
        }),
        false => Progress::none(),
    };
    (progress, notes)
}

async fn tell(context: &RequestContext<RoleServer>, token: Option<&ProgressToken>, note: Note) {
    let Some(token) = token else { return };
    let mut said = ProgressNotificationParam::new(token.clone(), note.progress);
    said.total = note.total;
    said.message = note.message;
    // Whoever is gone needs no note; the call ends by itself.
    let _ = context.peer.notify_progress(said).await;
}

/// Whether the version is one in which an upstream may ask back by its answer.
fn is_modern(context: &RequestContext<RoleServer>) -> bool {
    context.protocol_version().is_some_and(|version| version.as_str() >= mirror::MODERN)
}

/// An error about a resource that is not there names it, as its caller did.
fn named(mut error: ErrorData, uri: &str) -> ErrorData {
    if error.code == ErrorCode::INVALID_PARAMS
        && let Some(data) = error.data.as_mut().and_then(|data| data.as_object_mut())
    {
        data.insert("uri".to_owned(), uri.into());
    }
    error
}

fn unwanted() -> ErrorData {
    ErrorData::new(CANCELLED, "this call was ended by its caller", None)
}
