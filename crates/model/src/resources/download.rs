//! What a file holds, on its way to the caller.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use gate::Pass;
use http::{HeaderMap, HeaderValue, header};
use ids::planted;
use scope::{Scope, Write};

use vault::Forms;

use crate::{Error, Fault, upstream::Exchange};

/// Bytes as they come, but for a few that are held back: a credential that is cut in two is
/// found as well. It ends early when the scope does.
pub(crate) struct Download {
    exchange: Box<Exchange>,
    secret: Arc<Forms>,
    /// How much is held back.
    hold: usize,
    held: BytesMut,
    ended: Pin<Box<dyn Future<Output = scope::Error> + Send>>,
    /// Until the end is recorded.
    pass: Option<Pass>,
}

impl Download {
    pub(crate) fn new(exchange: Box<Exchange>, scope: &Scope<Write>, pass: Pass) -> Self {
        let secret = exchange.secret();
        let longest = secret.each().map(<[u8]>::len).max().unwrap_or_default();
        let scope = scope.clone();
        Self {
            exchange,
            secret,
            hold: longest.saturating_sub(1),
            held: BytesMut::new(),
            ended: Box::pin(async move { scope.ended().await }),
            pass: Some(pass),
        }
    }

    /// Nothing more goes out, and the connection to the caller is cut.
    fn break_off(&mut self, error: Error) -> Option<Result<Bytes, Error>> {
        self.held.clear();
        if let Some(pass) = self.pass.take() {
            pass.failed(error.code());
        }
        Some(Err(error))
    }

    /// So much of what is held goes out.
    fn hand_out(&mut self, bytes: usize) -> Option<Result<Bytes, Error>> {
        if let Some(pass) = &mut self.pass {
            pass.tally().bytes_out(bytes as u64);
        }
        Some(Ok(self.held.split_to(bytes).freeze()))
    }
}

impl Stream for Download {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.pass.is_none() {
            return Poll::Ready(None);
        }
        if !planted::is("stream-outlives-revocation")
            && let Poll::Ready(why) = this.ended.as_mut().poll(cx)
        {
            return Poll::Ready(this.break_off(Error::Scope(why)));
        }
        loop {
            match ready!(this.exchange.poll_piece(cx)) {
                Err(fault) => return Poll::Ready(this.break_off(fault.into())),
                Ok(Some(piece)) => {
                    this.held.extend_from_slice(&piece);
                    if this.secret.found_in(&this.held) {
                        return Poll::Ready(this.break_off(Fault::REPEATS.into()));
                    }
                    let out = this.held.len().saturating_sub(this.hold);
                    if out > 0 {
                        return Poll::Ready(this.hand_out(out));
                    }
                }
                Ok(None) if this.held.is_empty() => {
                    if let Some(pass) = this.pass.take() {
                        pass.complete();
                    }
                    return Poll::Ready(None);
                }
                Ok(None) => return Poll::Ready(this.hand_out(this.held.len())),
            }
        }
    }
}

/// The type of a download: one that no program runs, or else of no kind.
pub(crate) fn safe_type(headers: &HeaderMap) -> HeaderValue {
    const SAFE: &[&str] = &[
        "application/json",
        "application/jsonl",
        "application/pdf",
        "application/x-ndjson",
        "audio/mpeg",
        "audio/wav",
        "image/gif",
        "image/jpeg",
        "image/png",
        "image/webp",
        "text/csv",
        "text/plain",
    ];
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
    let safe = SAFE.iter().find(|safe| safe.eq_ignore_ascii_case(kind));
    HeaderValue::from_static(safe.copied().unwrap_or("application/octet-stream"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_that_programs_run_are_none() {
        for (sent, passed) in [
            (Some("text/plain; charset=utf-8"), "text/plain"),
            (Some("Image/PNG"), "image/png"),
            (Some("text/html"), "application/octet-stream"),
            (Some("image/svg+xml"), "application/octet-stream"),
            (Some("application/javascript"), "application/octet-stream"),
            (None, "application/octet-stream"),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(sent) = sent {
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(sent));
            }
            assert_eq!(safe_type(&headers), passed);
        }
    }
}
