//! Files: up, down, and what they are.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use ids::{Millis, ProviderId, planted};
use scope::{Scope, Write};
use serde_json::Value;
use vault::Credential;

use super::{
    Done, Found, ResourceAsk,
    ask::Content,
    call,
    wire::{Keeper, Reply, document, object_of},
};
use crate::{
    Error, Fault, HandleKind, Made, ModelHop,
    batch::{self, Rewritten},
    handles::{MAX_OBJECT, More, Owned},
    hop::{Candidate, Target, grant, terms},
    multipart,
    upstream::Call,
};

/// A file of more bytes is not rewritten where others wait for it.
const LARGE: usize = 256 * 1024;

impl ModelHop {
    pub(super) async fn create_file(
        &self,
        keeper: &Keeper<'_>,
        ask: &ResourceAsk,
    ) -> Result<Done, Error> {
        let Content::File { upload, survey } = &ask.content else { return Err(Error::NoKeeper) };
        let mut bytes = upload.bytes.clone();
        if let Some(survey) = survey {
            let grant = grant(survey.api);
            if !keeper.scope.may(grant) {
                return Err(scope::Error::Grant(grant.to_owned()).into());
            }
            bytes = self.judged(keeper, &upload.bytes).await?;
        }
        let (content_type, body) = multipart::write(upload, &bytes);
        let content_type = HeaderValue::from_str(&content_type).ok();
        let call = Call { content_type, body, ..Call::bare(Method::POST, "/files") };
        let reply = keeper.ask(call).await?;
        if let Reply::Json { body, .. } = &reply {
            let object: Value = document(body)?;
            let more = More {
                purpose: Some(upload.purpose.clone()),
                lines: survey.as_ref().map(|survey| survey.api.path().to_owned()),
                models: survey.as_ref().map(|survey| survey.models.clone()).unwrap_or_default(),
                ..remembered(&object, body)
            };
            self.record(keeper, HandleKind::File, &object, more).await?;
        }
        Ok(reply.into())
    }

    pub(super) async fn file(&self, found: &Found<'_>, ask: &ResourceAsk) -> Result<Done, Error> {
        let reply = found.keeper.ask(call(ask)).await?;
        if let (Reply::Json { body, .. }, Some(owned)) = (&reply, &found.owned) {
            let object = object_of(body, ask.id())?;
            self.refresh(&found.keeper, owned, &object, body).await?;
        }
        Ok(reply.into())
    }

    pub(super) async fn file_content(
        &self,
        found: &Found<'_>,
        ask: &ResourceAsk,
    ) -> Result<Done, Error> {
        let accept = HeaderValue::from_static("*/*");
        let exchange = found.keeper.open(Call { accept, ..call(ask) }).await?;
        Ok(match exchange {
            Ok(exchange) => {
                // Events would be a stream of something else.
                if exchange.headers.contains_key(header::CONTENT_RANGE) {
                    return Err(Fault::Malformed("it is a part, which was not asked for").into());
                }
                Done::Download(exchange)
            }
            Err(refused) => Done::Refused(refused),
        })
    }

    /// The lines of a batch, each judged and written anew, and what they name the scope's own.
    async fn judged(&self, keeper: &Keeper<'_>, file: &Bytes) -> Result<Bytes, Error> {
        let credential = &keeper.credential;
        let rewritten = if file.len() <= LARGE {
            self.rewritten(keeper.scope, keeper.id(), credential, file)?
        } else {
            let (hop, scope, file) = (self.clone(), keeper.scope.clone(), file.clone());
            let (provider, credential) = (keeper.id().clone(), Arc::clone(credential));
            let work = move || hop.rewritten(&scope, &provider, &credential, &file);
            let done = tokio::task::spawn_blocking(work).await;
            done.map_err(|_| Error::Malformed { field: "file", must: "a batch" })??
        };
        for (line, cited) in &rewritten.cited {
            if keeper.whole_account() {
                break;
            }
            if !self.handles().owns(keeper.scope, keeper.account(), cited).await? {
                let error = Box::new(Error::Missing(cited.place));
                return Err(Error::Line { line: *line, error });
            }
        }
        Ok(rewritten.bytes)
    }

    fn rewritten(
        &self,
        scope: &Scope<Write>,
        provider: &ProviderId,
        credential: &Arc<Credential>,
        file: &Bytes,
    ) -> Result<Rewritten, Error> {
        batch::rewrite(file, self.limits(), |request| {
            request.concur(scope)?;
            let entry = self.inner.entry(scope, request.model())?;
            let serves = |target: &&Target| {
                let theirs = &target.supplier.provider;
                theirs.id == *provider && theirs.apis().contains(&request.api())
            };
            let target = entry.targets.iter().find(serves).ok_or(Error::Malformed {
                field: "model",
                must: "one that the provider of files and batches answers at this endpoint",
            })?;
            if !planted::is("batch-line-unjudged") {
                request.judge(&terms(entry, target, credential))?;
            }
            let candidate = Candidate { target, credential: Arc::clone(credential) };
            Ok(self.inner.dressed(scope, &candidate, request, false)?.0)
        })
    }

    /// Records what was made.
    pub(super) async fn record(
        &self,
        keeper: &Keeper<'_>,
        kind: HandleKind,
        object: &Value,
        more: More,
    ) -> Result<(), Error> {
        let id = object.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
        let made = Made { kind, id };
        self.handles().claim_with(keeper.scope, keeper.account(), &made, more).await
    }

    /// Records how what is owned stands now, if that is new.
    pub(super) async fn refresh(
        &self,
        keeper: &Keeper<'_>,
        owned: &Owned,
        object: &Value,
        body: &[u8],
    ) -> Result<(), Error> {
        let known = owned.more.clone().unwrap_or_default();
        let now = remembered(object, body);
        let text = |more: &More| more.object.as_ref().map(|object| object.get().to_owned());
        if text(&known) == text(&now) {
            return Ok(());
        }
        // What it was uploaded for is known better here, if it was uploaded here.
        let purpose = known.purpose.or_else(|| now.purpose.clone());
        let more = More { purpose, lines: known.lines, models: known.models, ..now };
        self.record(keeper, owned.kind, object, more).await
    }
}

/// What is remembered of a provider's object.
pub(super) fn remembered(object: &Value, body: &[u8]) -> More {
    let expires = object.get("expires_at").and_then(Value::as_u64);
    // A batch is still there when its time to be worked off is over.
    let expires = expires.filter(|_| object.get("object").and_then(Value::as_str) == Some("file"));
    let purpose = object.get("purpose").and_then(Value::as_str);
    let kept = body.len() <= MAX_OBJECT;
    More {
        purpose: purpose.filter(|purpose| purpose.len() <= 64).map(str::to_owned),
        lines: None,
        models: Vec::new(),
        expires: expires.map(Millis::from_secs),
        object: if kept { serde_json::from_slice(body).ok() } else { None },
    }
}
