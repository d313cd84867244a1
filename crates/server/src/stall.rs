//! A connection that ends if its peer stops reading, or reads so slowly that it might as well:
//! otherwise a client that asks and never reads would hold a connection, an answer and an
//! upstream for ever.

use std::{
    future::Future as _,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

/// A stream whose writes may wait for so long, altogether, for each so many bytes. Time in which
/// there is nothing to write does not count.
pub(crate) struct Stall<S> {
    stream: S,
    patience: Duration,
    /// Bytes for which the patience is.
    floor: u64,
    /// Bytes that went out since there was this much patience.
    moved: u64,
    /// How much of it is used up.
    spent: Duration,
    /// Made when a write first waits.
    timer: Option<Pin<Box<Sleep>>>,
    /// Since when a write waits.
    waiting: Option<Instant>,
}

impl<S> Stall<S> {
    pub(crate) const fn new(stream: S, patience: Duration, floor: u64) -> Self {
        let (moved, spent) = (0, Duration::ZERO);
        Self { stream, patience, floor, moved, spent, timer: None, waiting: None }
    }

    /// Watches over one attempt to write.
    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        attempt: Poll<io::Result<T>>,
        moved: impl FnOnce(&T) -> usize,
    ) -> Poll<io::Result<T>> {
        if let Poll::Ready(done) = &attempt {
            if let Some(since) = self.waiting.take() {
                self.spent += since.elapsed();
            }
            self.moved += done.as_ref().map_or(0, moved) as u64;
            if self.moved >= self.floor {
                (self.moved, self.spent) = (0, Duration::ZERO);
            }
            return attempt;
        }
        let left = self.patience.saturating_sub(self.spent);
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(left)));
        if self.waiting.is_none() {
            let now = Instant::now();
            self.waiting = Some(now);
            timer.as_mut().reset(now + left);
        }
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stall<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Stall<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let attempt = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, attempt, |bytes| *bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let attempt = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.watch(cx, attempt, |bytes| *bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let attempt = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch(cx, attempt, |()| 0)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let attempt = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.watch(cx, attempt, |()| 0)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_read_ends_the_connection() {
        let (ours, _theirs) = tokio::io::duplex(4);
        let mut stall = Stall::new(ours, Duration::from_secs(9), 1);
        let error = stall.write_all(b"more than four").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    /// A peer that reads a byte every five seconds, where so many are asked for in nine.
    async fn slow(floor: u64) -> io::Result<()> {
        let (ours, mut theirs) = tokio::io::duplex(4);
        let mut stall = Stall::new(ours, Duration::from_secs(9), floor);
        let reading = async {
            let mut byte = [0];
            for _ in 0..14 {
                tokio::time::sleep(Duration::from_secs(5)).await;
                theirs.read_exact(&mut byte).await?;
            }
            io::Result::Ok(())
        };
        let writing = async {
            let written = stall.write_all(b"more than four").await;
            drop(stall);
            written
        };
        tokio::join!(writing, reading).0
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_peer_that_reads_does_not() {
        slow(1).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_trickles_does() {
        assert_eq!(slow(9).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn time_without_anything_to_write_does_not_count() {
        let (ours, mut theirs) = tokio::io::duplex(4);
        let mut stall = Stall::new(ours, Duration::from_secs(9), 1_000);
        for _ in 0..9 {
            tokio::time::sleep(Duration::from_secs(5)).await;
            stall.write_all(b"four").await.unwrap();
            theirs.read_exact(&mut [0; 4]).await.unwrap();
        }
    }
}
