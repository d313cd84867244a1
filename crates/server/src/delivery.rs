//! An answer on its way out. It is handed over in pieces, so that what the client has not read
//! yet is here, and with it whatever the answer holds until it is delivered: an HTTP library
//! takes as many bytes as one piece has, however large, and lets go of their owner.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::body::{Body, Bytes};
use http_body::{Frame, SizeHint};

use crate::places::Busy;

/// Bytes in one piece.
const PIECE: usize = 32 * 1024;

/// A body, and that its connection is at work.
pub(crate) struct Delivery {
    body: Body,
    left: Bytes,
    _busy: Busy,
}

impl Delivery {
    pub(crate) const fn new(body: Body, busy: Busy) -> Self {
        Self { body, left: Bytes::new(), _busy: busy }
    }
}

impl http_body::Body for Delivery {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.left.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => self.left = bytes,
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                end => return Poll::Ready(end),
            }
        }
        let piece = self.left.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.left.split_to(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (left, rest) = (self.left.len() as u64, self.body.size_hint());
        let mut hint = SizeHint::new();
        if let Some(most) = rest.upper() {
            hint.set_upper(most.saturating_add(left));
        }
        hint.set_lower(rest.lower().saturating_add(left));
        hint
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use http_body::Body as _;
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::places::Places;

    #[tokio::test]
    async fn a_large_answer_is_held_until_its_last_piece_went_out() {
        let whole: Vec<u8> = (0..=250).cycle().take(PIECE * 2 + 5).collect();
        let place = Places::new(1, 1).take(Ipv4Addr::LOCALHOST.into()).await.unwrap();
        let mut delivery = Delivery::new(Body::from(whole.clone()), place.line.begin());
        let mut out = Vec::new();
        for size in [PIECE, PIECE, 5] {
            assert!(!delivery.is_end_stream());
            assert_eq!(delivery.size_hint().exact(), Some((whole.len() - out.len()) as u64));
            let piece = delivery.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(piece.len(), size);
            out.extend_from_slice(&piece);
        }
        assert!(delivery.is_end_stream() && delivery.frame().await.is_none() && out == whole);
    }
}
