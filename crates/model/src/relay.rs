//! A stream on its way to the caller.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use cache::{Cache, CacheKey, Leader};
use futures_util::Stream;
use gate::Pass;
use ids::planted;
use scope::{Scope, Write};
use serde_json::json;
use vault::Credential;

use crate::{
    Error, Fault,
    leak::Forms,
    scrub,
    sse::{Parser, Piece},
    stored::{self, Form},
    upstream::Exchange,
};

/// Where an answer is kept once it is whole.
pub(crate) struct Keep {
    pub(crate) cache: Cache,
    pub(crate) key: CacheKey,
    pub(crate) ttl: Duration,
    pub(crate) most: u64,
    /// Followers wait for it. Dropped, it hands over to one of them.
    pub(crate) leader: Option<Leader>,
}

impl Keep {
    /// Keeps the answer and lets the followers go.
    pub(crate) async fn keep(self, scope: &Scope<Write>, form: Form, body: &[u8]) {
        // What an erasure removed must not come back.
        let kept = if body.len() as u64 > self.most || scope.live().is_err() {
            Ok(false)
        } else {
            let value = stored::encode(form, body);
            self.cache.of(scope).put(&self.key, &value, self.ttl).await
        };
        if let Err(error) = &kept {
            tracing::warn!(code = error.code(), "an answer could not be kept");
        }
        match (self.leader, kept) {
            (Some(leader), Ok(true)) => leader.kept(),
            (Some(leader), _) => leader.not_kept(),
            (None, _) => {}
        }
    }

    /// There is an answer, and it is not one to keep.
    pub(crate) fn leave(self) {
        if let Some(leader) = self.leader {
            leader.not_kept();
        }
    }
}

/// The answer of a provider as a stream of whole events.
pub(crate) struct Relay {
    exchange: Option<Box<Exchange>>,
    parser: Parser,
    scope: Scope<Write>,
    ended: Pin<Box<dyn Future<Output = scope::Error> + Send>>,
    credential: Arc<Credential>,
    secret: Arc<Forms>,
    /// Until the end is recorded.
    pass: Option<Pass>,
    keep: Option<Keep>,
    copy: Vec<u8>,
}

impl Relay {
    pub(crate) fn new(
        exchange: Box<Exchange>,
        scope: &Scope<Write>,
        credential: Arc<Credential>,
        pass: Pass,
        keep: Option<Keep>,
    ) -> Self {
        let held = scope.clone();
        Self {
            secret: exchange.secret(),
            exchange: Some(exchange),
            parser: Parser::default(),
            scope: scope.clone(),
            ended: Box::pin(async move { held.ended().await }),
            credential,
            pass: Some(pass),
            keep,
            copy: Vec::new(),
        }
    }

    /// The next whole events, unless more has to come first.
    fn next_events(&mut self) -> Option<Bytes> {
        // Once the end is recorded, nothing follows it.
        self.pass.as_ref()?;
        match self.parser.next_piece()? {
            Piece::Events(bytes) if self.secret.found_in(&bytes) => {
                self.break_off(&Fault::REPEATS.into())
            }
            Piece::Events(bytes) => {
                self.copy_for_cache(&bytes);
                let bytes = self.counted(bytes);
                if self.parser.done() {
                    self.complete();
                }
                Some(bytes)
            }
            Piece::Error(says) => {
                let event = scrub::error_event(says.as_ref(), self.credential.secret.expose());
                let event = self.counted(event.into());
                self.fail("upstream.error");
                Some(event)
            }
        }
    }

    fn copy_for_cache(&mut self, bytes: &Bytes) {
        let Some(keep) = &self.keep else { return };
        if (self.copy.len() + bytes.len()) as u64 > keep.most {
            self.copy = Vec::new();
            // Followers need not wait for what will not be there.
            if let Some(keep) = self.keep.take() {
                keep.leave();
            }
            return;
        }
        self.copy.extend_from_slice(bytes);
    }

    /// The stream is whole: keeps it, and records that it was.
    fn complete(&mut self) {
        if let Some(exchange) = &mut self.exchange {
            exchange.finish_soon();
        }
        if let Some(keep) = self.keep.take() {
            let body = std::mem::take(&mut self.copy);
            drop(self.scope.spawn(move |scope| async move {
                keep.keep(&scope, Form::Events, &body).await;
            }));
        }
        if let Some(mut pass) = self.pass.take() {
            if let Some(usage) = self.parser.usage() {
                pass.tally().tokens(usage.prompt_tokens, usage.completion_tokens);
            }
            pass.complete();
        }
    }

    /// It will not be whole: nothing is kept, the connection is closed, and why is recorded.
    fn fail(&mut self, code: &'static str) {
        self.exchange = None;
        if let Some(keep) = self.keep.take() {
            keep.leave();
        }
        if let Some(pass) = self.pass.take() {
            pass.failed(code);
        }
    }

    /// An event that says why the stream ends here, unless it had ended already.
    fn break_off(&mut self, error: &Error) -> Option<Bytes> {
        if self.pass.is_none() {
            self.exchange = None;
            return None;
        }
        let event = self.counted(error_event(error));
        self.fail(error.code());
        Some(event)
    }

    fn counted(&mut self, bytes: Bytes) -> Bytes {
        if let Some(pass) = &mut self.pass {
            pass.tally().bytes_out(bytes.len() as u64);
        }
        bytes
    }
}

impl Stream for Relay {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.pass.is_some()
            && !planted::is("stream-outlives-revocation")
            && let Poll::Ready(why) = this.ended.as_mut().poll(cx)
        {
            return Poll::Ready(this.break_off(&Error::Scope(why)).map(Ok));
        }
        loop {
            if let Some(events) = this.next_events() {
                return Poll::Ready(Some(Ok(events)));
            }
            let Some(exchange) = &mut this.exchange else { return Poll::Ready(None) };
            let fault = match ready!(exchange.poll_piece(cx)) {
                // Whoever sends more behind the end is not asked again.
                Ok(_) if this.parser.done() => {
                    this.exchange = None;
                    return Poll::Ready(None);
                }
                Ok(Some(piece)) => match this.parser.push(&piece) {
                    Ok(()) => continue,
                    Err(_) => Fault::Malformed("an event is too large"),
                },
                Ok(None) if planted::is("incomplete-stream-kept") => {
                    this.complete();
                    return Poll::Ready(None);
                }
                Ok(None) => Fault::Malformed("the stream ended without [DONE]"),
                Err(fault) => fault,
            };
            return Poll::Ready(this.break_off(&fault.into()).map(Ok));
        }
    }
}

/// An event in the shape that SDKs raise as an error.
pub(crate) fn error_event(error: &Error) -> Bytes {
    let kind = match error {
        Error::Upstream(_) => "upstream_error",
        _ => "permission_error",
    };
    let body = json!({"error": {
        "message": error.to_string(),
        "type": kind,
        "param": null,
        "code": error.code(),
    }});
    Bytes::from(format!("data: {body}\n\n"))
}

#[cfg(test)]
mod tests {
    use cache::{KeyParts, LogAlarm, Version};
    use ids::{ManualClock, Millis, OsEntropy};
    use scope::Status;
    use store::{Options, Store};
    use testkit::Kit;
    use vault::{FileRoot, Vault};
    use zeroize::Zeroizing;

    use super::*;

    /// An answer that is whole only after its tenant was erased is not kept.
    #[tokio::test]
    async fn nothing_is_kept_after_an_erasure() {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(Millis::from_secs(1_795_000_000)));
        let root = FileRoot::create(directory.path().join("root.key"), &OsEntropy).unwrap();
        let keys = directory.path().join("keys");
        let vault = Vault::create(&keys, root, clock.clone(), Arc::new(OsEntropy)).await.unwrap();
        let data = Options::new(directory.path().join("data"));
        let store = Store::open(&data, clock.clone()).unwrap();
        let (settings, secret) = (cache::Settings::default(), Zeroizing::new([3; 32]));
        let alarm = Arc::new(LogAlarm);
        let cache = Cache::open(settings, &store, &vault, secret, clock.clone(), alarm).unwrap();
        let kit = Kit::new(clock).await;
        let scope = kit.scope("acme", "live").await;
        let key = |request: &[u8]| {
            cache.of(&scope).key(&KeyParts {
                kind: "model.chat",
                entity: "m",
                versions: &[],
                policy: Version::of(b"p"),
                config: Version::of(b"c"),
                request,
            })
        };
        let keep = |key| Keep {
            cache: cache.clone(),
            key,
            ttl: Duration::from_secs(60),
            most: 1_024,
            leader: None,
        };
        let (before, after) = (key(b"before"), key(b"after"));
        keep(before).keep(&scope, Form::Json, b"{}").await;
        assert!(cache.of(&scope).get(&before).await.is_some());
        kit.change("acme", |record| record.status = Status::Erased).await;
        keep(after).keep(&scope, Form::Json, b"{}").await;
        assert!(cache.of(&scope).get(&after).await.is_none());
    }
}
