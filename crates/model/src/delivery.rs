//! A large answer that is there already, on its way to the caller.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::Stream;
use gate::Pass;
use ids::planted;
use scope::{Scope, Write};

use crate::{Api, Error, relay::error_event, stored::Form};

/// Answers larger than this hold what was admitted until the caller has read them.
pub(crate) const LARGE: usize = 64 * 1024;

/// It goes out in pieces of this size.
pub(crate) const PIECE: usize = 16 * 1024;

/// The rest of an answer, with the pass of its hop: it is over when the caller has taken it
/// all, and ends early when the scope does.
pub(crate) struct Delivery {
    rest: Bytes,
    api: Api,
    form: Form,
    ended: Pin<Box<dyn Future<Output = scope::Error> + Send>>,
    /// Until the end is recorded.
    pass: Option<Pass>,
}

impl Delivery {
    pub(crate) fn new(body: Bytes, api: Api, form: Form, scope: &Scope<Write>, pass: Pass) -> Self {
        let held = scope.clone();
        let ended = Box::pin(async move { held.ended().await });
        Self { rest: body, api, form, ended, pass: Some(pass) }
    }

    /// Nothing more goes out. Events can say why; of a document the connection is cut.
    fn break_off(&mut self, error: Error) -> Result<Bytes, Error> {
        self.rest = Bytes::new();
        if let Some(pass) = self.pass.take() {
            pass.failed(error.code());
        }
        match self.form {
            Form::Events => Ok(error_event(self.api, &error)),
            Form::Json => Err(error),
        }
    }
}

impl Stream for Delivery {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.rest.is_empty() {
            if let Some(pass) = this.pass.take() {
                pass.complete();
            }
            return Poll::Ready(None);
        }
        if !planted::is("stream-outlives-revocation")
            && let Poll::Ready(why) = this.ended.as_mut().poll(cx)
        {
            return Poll::Ready(Some(this.break_off(Error::Scope(why))));
        }
        let piece = this.rest.split_to(PIECE.min(this.rest.len()));
        if let Some(pass) = &mut this.pass {
            pass.tally().bytes_out(piece.len() as u64);
        }
        Poll::Ready(Some(Ok(piece)))
    }
}
