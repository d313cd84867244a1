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
use ids::{BoxFuture, planted};
use scope::{Scope, Write};
use vault::{Credential, Forms};

use crate::{
    Api, Dialect, Error, Fault, Made, Usage,
    handles::Claimer,
    scrub::{self, Says},
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
    /// The partition within which a similar request may be answered with it.
    pub(crate) partition: Option<[u8; 32]>,
    /// What is done once it is kept.
    pub(crate) then: Option<Box<dyn FnOnce() + Send>>,
}

impl Keep {
    /// Keeps the answer and lets the followers go.
    pub(crate) async fn keep(self, scope: &Scope<Write>, form: Form, body: &[u8]) {
        // What an erasure removed must not come back.
        let kept = if body.len() as u64 > self.most || scope.live().is_err() {
            Ok(false)
        } else {
            let value = stored::encode(form, self.partition.as_ref(), body);
            self.cache.of(scope).put(&self.key, &value, self.ttl).await
        };
        if let Err(error) = &kept {
            tracing::warn!(code = error.code(), "an answer could not be kept");
        }
        if let (Some(then), Ok(true)) = (self.then.filter(|_| !stored::acts(body)), &kept) {
            then();
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

/// Where the bytes of an answer come from.
pub(crate) trait Source {
    /// The next piece; nothing when the answer has ended in order.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Fault>>;
    /// All that mattered is here.
    fn finish_soon(&mut self);
}

impl Source for Exchange {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Fault>> {
        self.poll_piece(cx)
    }

    fn finish_soon(&mut self) {
        self.finish_soon();
    }
}

/// Records durably whose the handles are.
type Claims = Box<dyn Fn(Scope<Write>, Vec<Made>) -> Claim + Send>;
type Claim = BoxFuture<'static, Result<(), Error>>;

/// Events that name new handles. They wait until the handles are claimed: a client that knows
/// a handle may use it at once, and if we stop between the two, nobody else may ever have it.
struct Claiming {
    claim: Claim,
    events: Bytes,
    then: Then,
}

/// What follows events that are handed on.
#[derive(Clone, Copy)]
enum Then {
    /// More, unless they were the last.
    GoOn,
    /// Nothing: the answer failed.
    Fail,
}

/// The answer of a provider as a stream of whole events.
pub(crate) struct Relay<S = Exchange> {
    exchange: Option<Box<S>>,
    parser: Parser,
    scope: Scope<Write>,
    ended: Pin<Box<dyn Future<Output = scope::Error> + Send>>,
    credential: Arc<Credential>,
    secret: Arc<Forms>,
    /// Until the end is recorded.
    pass: Option<Pass>,
    keep: Option<Keep>,
    copy: Vec<u8>,
    claims: Option<Claims>,
    claiming: Option<Claiming>,
}

impl Relay {
    /// Relays what comes as the parser reads it.
    pub(crate) fn new(
        exchange: Box<Exchange>,
        parser: Parser,
        scope: &Scope<Write>,
        credential: Arc<Credential>,
        pass: Pass,
    ) -> Self {
        let secret = exchange.secret();
        Self::over(exchange, secret, parser, scope, credential, pass)
    }
}

impl<S: Source> Relay<S> {
    fn over(
        exchange: Box<S>,
        secret: Arc<Forms>,
        parser: Parser,
        scope: &Scope<Write>,
        credential: Arc<Credential>,
        pass: Pass,
    ) -> Self {
        let held = scope.clone();
        Self {
            secret,
            exchange: Some(exchange),
            parser,
            scope: scope.clone(),
            ended: Box::pin(async move { held.ended().await }),
            credential,
            pass: Some(pass),
            keep: None,
            copy: Vec::new(),
            claims: None,
            claiming: None,
        }
    }

    /// Keeps the answer once it is whole.
    pub(crate) fn keeping(mut self, keep: Option<Keep>) -> Self {
        self.keep = keep;
        self
    }

    /// Claims what the answer says was made, before it says so to the caller.
    pub(crate) fn claiming(mut self, claims: Option<Claimer>) -> Self {
        self.claims = claims
            .map(|claimer| -> Claims { Box::new(move |scope, made| claimer.claim(scope, made)) });
        self
    }

    /// The next whole events, unless more has to come, or be claimed, first.
    fn next_events(&mut self) -> Option<Bytes> {
        // Once the end is recorded, nothing follows it.
        self.pass.as_ref()?;
        let (events, made, then) = match self.parser.next_piece()? {
            Piece::Events { bytes, made } => (bytes, made, Then::GoOn),
            Piece::Failed { says, made } => {
                let event = scrub::failed_event(says, self.credential.secret.expose());
                (event.into(), made, Then::Fail)
            }
            Piece::Error(says) => {
                let secret = self.credential.secret.expose();
                let event = scrub::error_event(self.parser.api(), says.as_ref(), secret);
                return Some(self.hand_on(event.into(), Then::Fail));
            }
            Piece::Malformed(why) => return self.break_off(&Fault::Malformed(why).into()),
        };
        if std::str::from_utf8(&events).is_err() {
            return self.break_off(&Fault::Malformed("it is not UTF-8").into());
        }
        if self.secret.found_in(&events) {
            return self.break_off(&Fault::REPEATS.into());
        }
        // What the provider made for one request is no answer for another.
        if !made.is_empty()
            && let Some(keep) = self.keep.take()
        {
            keep.leave();
        }
        match &self.claims {
            Some(claims) if !made.is_empty() && !planted::is("handle-claim-skipped-in-streams") => {
                let claim = claims(self.scope.clone(), made);
                self.claiming = Some(Claiming { claim, events, then });
                None
            }
            _ => Some(self.hand_on(events, then)),
        }
    }

    /// Events on their way out.
    fn hand_on(&mut self, events: Bytes, then: Then) -> Bytes {
        let events = self.counted(events);
        match then {
            Then::Fail => self.fail("upstream.error"),
            Then::GoOn => {
                self.copy_for_cache(&events);
                if self.parser.done() {
                    self.complete();
                }
            }
        }
        events
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

    /// The stream is over in order: keeps it if it is all of an answer, and records the end.
    fn complete(&mut self) {
        if let Some(exchange) = &mut self.exchange {
            exchange.finish_soon();
        }
        let whole = self.parser.whole() || planted::is("incomplete-stream-kept");
        match self.keep.take() {
            Some(keep) if whole => {
                let body = std::mem::take(&mut self.copy);
                drop(self.scope.spawn(move |scope| async move {
                    keep.keep(&scope, Form::Events, &body).await;
                }));
            }
            Some(keep) => keep.leave(),
            None => {}
        }
        if let Some(mut pass) = self.pass.take() {
            tally(&mut pass, self.parser.usage());
            pass.complete();
        }
    }

    /// It will not be whole: nothing is kept, the connection is closed, and why is recorded.
    fn fail(&mut self, code: &'static str) {
        self.exchange = None;
        self.claiming = None;
        if let Some(keep) = self.keep.take() {
            keep.leave();
        }
        if let Some(mut pass) = self.pass.take() {
            // What was used is used, whatever became of the answer.
            tally(&mut pass, self.parser.usage());
            pass.failed(code);
        }
    }

    /// An event that says why the stream ends here, unless it had ended already.
    fn break_off(&mut self, error: &Error) -> Option<Bytes> {
        if self.pass.is_none() {
            self.exchange = None;
            return None;
        }
        let event = self.counted(error_event(self.parser.api(), error));
        self.fail(error.code());
        Some(event)
    }

    fn counted(&mut self, bytes: Bytes) -> Bytes {
        if let Some(pass) = &mut self.pass {
            // As far as it is told: whoever hangs up before the end used them, too.
            tally(pass, self.parser.usage());
            pass.tally().bytes_out(bytes.len() as u64);
        }
        bytes
    }
}

fn tally(pass: &mut Pass, usage: Option<Usage>) {
    if let Some(usage) = usage {
        pass.tally().tokens(usage.input, usage.output);
    }
}

impl<S: Source> Stream for Relay<S> {
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
            // Nothing more is read meanwhile.
            if let Some(claiming) = &mut this.claiming {
                let claimed = ready!(claiming.claim.as_mut().poll(cx));
                let Some(Claiming { events, then, .. }) = this.claiming.take() else { continue };
                return Poll::Ready(match claimed {
                    Ok(()) => Some(Ok(this.hand_on(events, then))),
                    Err(error) => this.break_off(&error).map(Ok),
                });
            }
            if let Some(events) = this.next_events() {
                return Poll::Ready(Some(Ok(events)));
            }
            if this.claiming.is_some() {
                continue;
            }
            let Some(exchange) = &mut this.exchange else { return Poll::Ready(None) };
            let fault = match ready!(exchange.poll_piece(cx)) {
                Ok(Some(piece)) if this.parser.done() && this.parser.may_trail(&piece) => continue,
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
                Ok(None) => Fault::Malformed(this.parser.missing()),
                Err(fault) => fault,
            };
            return Poll::Ready(this.break_off(&fault.into()).map(Ok));
        }
    }
}

/// An event in the shape that SDKs raise as an error.
pub(crate) fn error_event(api: Api, error: &Error) -> Bytes {
    let kind = match (error, api.dialect()) {
        (Error::Upstream(_), Dialect::OpenAi) => "upstream_error",
        (Error::Upstream(_), Dialect::Anthropic) => "api_error",
        _ => "permission_error",
    };
    let says = Says {
        kind: Some(kind.to_owned()),
        code: Some(error.code().to_owned()),
        ..Says::default()
    };
    says.event(api, error.to_string()).into()
}

#[cfg(test)]
mod tests;
