//! An answer of our own that is in flight until it was delivered: as long as somebody takes to
//! read it, its hop counts, and it ends early when the scope does.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes},
    response::Response,
};
use gate::Pass;
use http_body::{Frame, SizeHint};
use ids::{BoxFuture, planted};
use scope::{Scope, Write};

/// It goes out in pieces of this size, in bytes.
const PIECE: usize = 16 * 1024;

/// The same answer, with the pass of its hop in it.
pub(crate) async fn held(response: Response, scope: &Scope<Write>, pass: Pass) -> Response {
    let (parts, body) = response.into_parts();
    // It is one of ours, and in memory already.
    let rest = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    let scope = scope.clone();
    let ended = Box::pin(async move { scope.ended().await });
    let pass = Some(pass).filter(|_| !planted::is("unread-answer-frees-its-place"));
    Response::from_parts(parts, Body::new(Held { rest, ended, pass }))
}

struct Held {
    rest: Bytes,
    ended: BoxFuture<'static, scope::Error>,
    pass: Option<Pass>,
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = scope::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, scope::Error>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        if let Poll::Ready(why) = self.ended.as_mut().poll(cx) {
            self.rest = Bytes::new();
            if let Some(pass) = self.pass.take() {
                pass.failed(why.code());
            }
            return Poll::Ready(Some(Err(why)));
        }
        let piece = PIECE.min(self.rest.len());
        let piece = self.rest.split_to(piece);
        if let Some(pass) = &mut self.pass {
            pass.tally().bytes_out(piece.len() as u64);
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Whoever hung up before the end did not get it: then the pass says so by itself.
        if let Some(pass) = self.pass.take().filter(|_| self.rest.is_empty()) {
            pass.complete();
        }
    }
}
