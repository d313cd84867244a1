//! What providers keep for a tenant: files, batches, responses, conversations.
//!
//! A request names what it is about by its id. The id has to be the scope's own, as
//! [`crate::Handles`] has it; then that record also says which provider keeps it. What an answer
//! says was made is recorded before the answer is handed on. Lists of files and batches come
//! from the record, never from the provider, whose account may be shared.

use bytes::Bytes;
use gate::Pass;
use http::{HeaderValue, StatusCode};
use ids::ProviderId;
use scope::{Scope, Write};

use crate::{
    Account, Answer, Api, Body, CacheStatus, Cited, Error, HandleKind, Handles, ModelHop,
    answer::JSON,
    delivery::{Delivery, LARGE},
    handles::Owned,
    hop::Refusal,
    stored::Form,
    upstream::{Call, Exchange},
};

mod ask;
mod batches;
mod body;
mod download;
mod files;
mod items;
mod list;
mod query;
mod wire;

pub use ask::{Resource, ResourceAsk};
pub(crate) use body::batched;

use ask::Content;
use query::escaped;
use wire::{Keeper, Reply};

/// What the work came to, before it is recorded.
enum Done {
    Whole(StatusCode, Bytes),
    Refused(Refusal),
    Download(Box<Exchange>),
}

impl From<Reply> for Done {
    fn from(reply: Reply) -> Self {
        match reply {
            Reply::Json { status, body } => Self::Whole(status, body),
            Reply::Refused(refused) => Self::Refused(refused),
        }
    }
}

impl ModelHop {
    /// Something that a provider keeps for the scope.
    ///
    /// An error that the provider answers with is an answer, with its status and rebuilt body.
    ///
    /// # Errors
    /// [`Error::Missing`] for what is not the scope's own, whoever else's or nobody's it is; the
    /// tenant has no credential, the provider failed, or the scope was revoked meanwhile.
    pub async fn resource(
        &self,
        scope: &Scope<Write>,
        mut pass: Pass,
        ask: ResourceAsk,
    ) -> Result<Answer, Error> {
        let mut at = None;
        let outcome = match pass.admits(scope, ask.resource.grant()) {
            Err(mixed_up) => Err(Error::Gate(mixed_up)),
            Ok(()) => tokio::select! {
                biased;
                why = scope.ended() => Err(Error::Scope(why)),
                outcome = self.kept(scope, &ask, &mut at) => outcome,
            },
        };
        if let Some(provider) = at {
            pass.tally().provider(provider);
        }
        let json = HeaderValue::from_static(JSON);
        match outcome {
            Err(error) => {
                pass.failed(error.code());
                Err(error)
            }
            Ok(Done::Whole(status, body)) => Ok(answer(status, json, deliver(body, scope, pass))),
            Ok(Done::Refused(Refusal { status, body, retry_after })) => {
                pass.tally().bytes_out(body.len() as u64);
                pass.failed("upstream.error");
                Ok(Answer { retry_after, ..answer(status, json, Body::Full(body)) })
            }
            Ok(Done::Download(exchange)) => {
                let status = exchange.status;
                let kind = download::safe_type(&exchange.headers);
                let stream = download::Download::new(exchange, scope, pass);
                Ok(answer(status, kind, Body::Stream(Box::pin(stream))))
            }
        }
    }

    /// Which provider a request is for, as far as that is known: for the gate, whose policies
    /// may speak of it.
    ///
    /// # Errors
    /// Who owns what cannot be looked up.
    pub async fn keeper_of(
        &self,
        scope: &Scope<Write>,
        ask: &ResourceAsk,
    ) -> Result<Option<ProviderId>, Error> {
        let (kind, id) = match (&ask.resource, &ask.content) {
            (Resource::CreateBatch, Content::Batch(batch)) => {
                (HandleKind::File, batch.input_file_id.as_str())
            }
            (resource, _) => (resource.kind(), ask.id()),
        };
        if !id.is_empty() {
            for provider in self.keepers(scope) {
                if self.handles().find(scope, provider, kind, id).await?.is_some() {
                    return Ok(Some(provider.clone()));
                }
            }
        }
        Ok(self.resources(scope).map(|supplier| supplier.provider.id.clone()))
    }

    /// What a provider is to work off later, if this uploads the lines of a batch or begins one:
    /// which endpoint, and which models by the names that the caller uses. What was allowed when
    /// the lines came need not be when they are worked off.
    ///
    /// # Errors
    /// What is recorded of the lines cannot be looked up.
    pub async fn asks_later(
        &self,
        scope: &Scope<Write>,
        ask: &ResourceAsk,
    ) -> Result<Option<(Api, Vec<String>)>, Error> {
        let batch = match &ask.content {
            Content::File { survey: Some(survey), .. } => {
                return Ok(Some((survey.api, survey.models.clone())));
            }
            Content::Batch(batch) => batch,
            _ => return Ok(None),
        };
        for provider in self.keepers(scope) {
            let (kind, id) = (HandleKind::File, &batch.input_file_id);
            if let Some(owned) = self.handles().find(scope, provider, kind, id).await? {
                let models = owned.more.map(|more| more.models).unwrap_or_default();
                return Ok(Some((batch.endpoint, models)));
            }
        }
        Ok(None)
    }

    async fn kept(
        &self,
        scope: &Scope<Write>,
        ask: &ResourceAsk,
        at: &mut Option<ProviderId>,
    ) -> Result<Done, Error> {
        scope.live()?;
        ask.concur(scope)?;
        let found = match ask.resource {
            Resource::ListFiles | Resource::ListBatches => {
                return Ok(Done::Whole(StatusCode::OK, self.list(scope, ask).await?));
            }
            Resource::CreateFile | Resource::CreateConversation => {
                self.handles().room(scope).await?;
                Found { keeper: self.maker(scope).await?, owned: None }
            }
            Resource::CreateBatch => {
                self.handles().room(scope).await?;
                let Content::Batch(batch) = &ask.content else { return Err(Error::NoKeeper) };
                let id = &batch.input_file_id;
                self.find(scope, HandleKind::File, id, "input_file_id").await?
            }
            resource => self.find(scope, resource.kind(), ask.id(), "id").await?,
        };
        *at = Some(found.keeper.id().clone());
        match ask.resource {
            Resource::CreateFile => self.create_file(&found.keeper, ask).await,
            Resource::File => self.file(&found, ask).await,
            Resource::FileContent => self.file_content(&found, ask).await,
            Resource::CreateBatch => self.create_batch(&found, ask).await,
            Resource::Batch | Resource::CancelBatch => self.batch(&found, ask).await,
            Resource::DeleteFile | Resource::DeleteResponse | Resource::DeleteConversation => {
                self.delete(&found, ask).await
            }
            _ => self.talk(&found, ask).await,
        }
    }

    /// The provider that keeps what the scope owns, or what its own account has if that is
    /// allowed.
    async fn find<'a>(
        &'a self,
        scope: &'a Scope<Write>,
        kind: HandleKind,
        id: &str,
        place: &'static str,
    ) -> Result<Found<'a>, Error> {
        for provider in self.keepers(scope) {
            let found = self.handles().find(scope, provider, kind, id).await?;
            let Some(owned) = found else { continue };
            let keeper = self.keeper(scope, provider).await?;
            if self.handles().confirmed(scope, keeper.account(), &owned).await? {
                return Ok(Found { keeper, owned: Some(owned) });
            }
        }
        match self.maker(scope).await {
            Ok(keeper) if keeper.whole_account() => Ok(Found { keeper, owned: None }),
            _ => Err(Error::Missing(place)),
        }
    }

    /// Every provider that is there for the scope, the one that keeps files and batches first.
    fn keepers<'a>(&'a self, scope: &'a Scope<Write>) -> impl Iterator<Item = &'a ProviderId> {
        let first = self.resources(scope).map(|supplier| &supplier.provider.id);
        let there = self.inner.suppliers.values().filter(|s| s.provider.serves(scope.tenant()));
        let others = there.map(|s| &s.provider.id).filter(move |id| Some(*id) != first);
        first.into_iter().chain(others)
    }

    /// The provider that keeps what is made.
    async fn maker<'a>(&'a self, scope: &'a Scope<Write>) -> Result<Keeper<'a>, Error> {
        let supplier = self.resources(scope).ok_or(Error::NoKeeper)?;
        self.keeper(scope, &supplier.provider.id).await
    }

    async fn keeper<'a>(
        &'a self,
        scope: &'a Scope<Write>,
        id: &ProviderId,
    ) -> Result<Keeper<'a>, Error> {
        let supplier = self.inner.suppliers.get(id).ok_or(Error::NoKeeper)?;
        let credential = self.inner.credential(scope, id).await?;
        let credential = credential.ok_or_else(|| Error::NoCredential(id.clone()))?;
        Ok(Keeper { scope, supplier, credential })
    }

    fn handles(&self) -> &Handles {
        &self.inner.parts.handles
    }

    /// Deletes, and forgets what is not there any more.
    async fn delete(&self, found: &Found<'_>, ask: &ResourceAsk) -> Result<Done, Error> {
        let reply = found.keeper.ask(call(ask)).await?;
        let gone = match &reply {
            Reply::Json { .. } => true,
            Reply::Refused(refused) => refused.status == StatusCode::NOT_FOUND,
        };
        if gone {
            let keeper = &found.keeper;
            self.handles()
                .release(keeper.scope, keeper.id(), ask.resource.kind(), ask.id())
                .await?;
        }
        Ok(reply.into())
    }

    /// Refuses a handle that the scope does not own there.
    async fn owned(
        &self,
        keeper: &Keeper<'_>,
        kind: HandleKind,
        id: &str,
        place: &'static str,
    ) -> Result<(), Error> {
        if keeper.whole_account() {
            return Ok(());
        }
        let cited = Cited { kind, id: id.to_owned(), place };
        self.handles().all_owned(keeper.scope, keeper.account(), &[cited]).await
    }
}

/// What a request is about.
struct Found<'a> {
    keeper: Keeper<'a>,
    /// As it is recorded. Nothing is of what is about to be made, nor of the rest of a tenant's
    /// own account.
    owned: Option<Owned>,
}

impl Keeper<'_> {
    fn account(&self) -> Account<'_> {
        self.supplier.account(&self.credential)
    }

    /// Whether the tenant may name whatever the account has.
    fn whole_account(&self) -> bool {
        self.supplier.whole_account(&self.credential)
    }
}

/// The same request at the provider, without a body.
fn call(ask: &ResourceAsk) -> Call {
    let path = ask.resource.path();
    let mut path = path.strip_prefix("/v1").unwrap_or(path).to_owned();
    for (name, id) in ["{id}", "{item}"].iter().zip(&ask.ids) {
        path = path.replacen(name, &escaped(id), 1);
    }
    Call { query: ask.query.write(), ..Call::bare(ask.resource.method(), path) }
}

/// An answer that is there already. A large one keeps the pass for as long as the caller takes
/// to read it.
fn deliver(body: Bytes, scope: &Scope<Write>, mut pass: Pass) -> Body {
    if body.len() > LARGE {
        return Body::Stream(Box::pin(Delivery::new(
            body,
            Api::Responses,
            Form::Json,
            scope,
            pass,
        )));
    }
    pass.tally().bytes_out(body.len() as u64);
    pass.complete();
    Body::Full(body)
}

fn answer(status: StatusCode, content_type: HeaderValue, body: Body) -> Answer {
    Answer {
        status,
        content_type,
        cache: CacheStatus::Bypass,
        retry_after: None,
        semantic_off: None,
        body,
    }
}
