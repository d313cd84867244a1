//! Server-sent events, as models stream their answers: where one event ends, whether the
//! stream is whole, whether it holds an error, and what the provider says that it made.
//!
//! Bytes are handed on as they came, event by event, so that a stream that has to be cut is
//! cut between two events (WHATWG HTML, 9.2.6 "Interpreting an event stream"). What one event
//! means depends on the endpoint, and is looked into only where a word of it matters.

use bytes::{Bytes, BytesMut};
use serde_json::Value;

pub use crate::usage::Usage;
use crate::{
    Api, Made,
    event::{Reader, Verdict},
};

/// The largest event, in bytes.
pub(crate) const MAX_EVENT: usize = 8 << 20;

/// An event is larger than [`MAX_EVENT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event is larger than {MAX_EVENT} bytes")]
pub struct TooLarge;

/// Whole events, in the order in which they came.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// One or more ordinary events.
    Events {
        /// Byte for byte.
        bytes: Bytes,
        /// Handles that they are the first to name as made.
        made: Vec<Made>,
    },
    /// An event that is an error: what it says, if it says it in JSON.
    Error(Option<Value>),
    /// The last event of an answer that failed. It holds the answer so far, and an error.
    Failed {
        /// The event.
        says: Value,
        /// Handles that it is the first to name as made.
        made: Vec<Made>,
    },
    /// An event that makes no sense, and why. It is not handed on.
    Malformed(&'static str),
}

/// Splits a stream into events.
pub struct Parser {
    held: BytesMut,
    /// Up to here `held` was looked at; lines before it are whole.
    looked: usize,
    /// Where the current line begins.
    line: usize,
    /// The last line ended with a carriage return: a line feed that follows belongs to it.
    after_return: bool,
    begun: bool,
    done: bool,
    failed: bool,
    /// How much of a second end, behind the first, has come.
    trailing: usize,
    reader: Reader,
}

impl Parser {
    /// For a stream of this endpoint. `hide_usage`: the caller did not ask for the chunk that
    /// tells the tokens of a chat completion; it is read, and not handed on.
    #[must_use]
    pub fn new(api: Api, hide_usage: bool) -> Self {
        Self {
            held: BytesMut::new(),
            looked: 0,
            line: 0,
            after_return: false,
            begun: false,
            done: false,
            failed: false,
            trailing: 0,
            reader: Reader::new(api, hide_usage),
        }
    }

    /// Whether the provider keeps the answer itself, so that its ids are handles. It does
    /// unless this says otherwise.
    #[must_use]
    pub fn keeps(mut self, keeps: bool) -> Self {
        self.reader.keeps = keeps;
        self
    }

    /// Takes what came.
    ///
    /// # Errors
    /// One event is too large.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), TooLarge> {
        if self.held.len() > MAX_EVENT {
            return Err(TooLarge);
        }
        if !self.done {
            self.held.extend_from_slice(chunk);
        }
        Ok(())
    }

    /// The next whole events, if there are any. After the last one, nothing.
    pub fn next_piece(&mut self) -> Option<Piece> {
        let (mut whole, mut made) = (0, Vec::new());
        // The second half of a line's end whose first half was handed on already.
        let half = self.looked == 0 && self.after_return && self.held.first() == Some(&b'\n');
        if half && !self.done {
            (self.looked, self.line, self.after_return, whole) = (1, 1, false, 1);
        }
        while !self.done
            && let Some(end) = self.next_end()
        {
            match self.examine(whole, end) {
                Verdict::Ordinary(found) => {
                    made.extend(found);
                    whole = end;
                }
                Verdict::Done(found) => {
                    made.extend(found);
                    self.done = true;
                    whole = end;
                }
                // What came before it goes first; it is met again then.
                _ if whole > 0 => {
                    self.looked = whole;
                    self.line = whole;
                    self.after_return = false;
                    break;
                }
                Verdict::Dropped => drop(self.release(end)),
                other => return Some(self.fail(other, end)),
            }
        }
        (whole > 0).then(|| Piece::Events { bytes: self.release(whole), made })
    }

    /// An event that is not handed on as it is.
    fn fail(&mut self, verdict: Verdict, end: usize) -> Piece {
        self.failed = true;
        self.release(end);
        match verdict {
            Verdict::Error(says) => Piece::Error(says),
            Verdict::Failed(says, made) => {
                self.done = true;
                self.reader.told(&made);
                Piece::Failed { says, made }
            }
            Verdict::Malformed(why) => Piece::Malformed(why),
            Verdict::Ordinary(_) | Verdict::Done(_) | Verdict::Dropped => Piece::Error(None),
        }
    }

    fn release(&mut self, end: usize) -> Bytes {
        self.looked -= end;
        self.line -= end;
        self.begun = true;
        self.held.split_to(end).freeze()
    }

    /// Looks on to the end of the next event: behind its blank line.
    fn next_end(&mut self) -> Option<usize> {
        while let Some(&byte) = self.held.get(self.looked) {
            let at = self.looked;
            self.looked += 1;
            let ends_line = match byte {
                b'\n' if std::mem::take(&mut self.after_return) => {
                    // The second half of a line's end. Its line was looked at already.
                    self.line = self.looked;
                    continue;
                }
                b'\n' => true,
                b'\r' => {
                    self.after_return = true;
                    true
                }
                _ => {
                    self.after_return = false;
                    false
                }
            };
            if ends_line {
                let blank = at == self.line;
                self.line = self.looked;
                if blank {
                    // A line feed that is here already goes along with its return.
                    if self.after_return && self.held.get(self.looked) == Some(&b'\n') {
                        self.looked += 1;
                        self.line = self.looked;
                        self.after_return = false;
                    }
                    return Some(self.looked);
                }
            }
        }
        None
    }

    fn examine(&mut self, from: usize, end: usize) -> Verdict {
        let mut event = &self.held[from..end];
        if !self.begun && from == 0 {
            event = event.strip_prefix(b"\xef\xbb\xbf").unwrap_or(event);
        }
        let mut data: Option<std::borrow::Cow<'_, [u8]>> = None;
        let mut is_error = false;
        for line in event.split(|byte| matches!(byte, b'\n' | b'\r')) {
            let (name, value) = match memchr::memchr(b':', line) {
                Some(at) => (&line[..at], &line[at + 1..]),
                None => (line, &line[line.len()..]),
            };
            let value = value.strip_prefix(b" ").unwrap_or(value);
            match name {
                b"event" => is_error = value == b"error",
                b"data" => match &mut data {
                    None => data = Some(value.into()),
                    Some(data) => {
                        data.to_mut().push(b'\n');
                        data.to_mut().extend_from_slice(value);
                    }
                },
                _ => {}
            }
        }
        match data {
            Some(data) => self.reader.read(is_error, &data),
            None => Verdict::Ordinary(Vec::new()),
        }
    }

    /// Which endpoint's stream it is.
    #[must_use]
    pub const fn api(&self) -> Api {
        self.reader.api
    }

    /// Whether the last event of the stream was handed on.
    #[must_use]
    pub const fn done(&self) -> bool {
        self.done
    }

    /// Whether it was the last event of a whole answer, rather than of one that was cut
    /// short: only that is kept.
    #[must_use]
    pub const fn whole(&self) -> bool {
        self.done && !self.failed && self.reader.whole
    }

    /// Whether an event was an error.
    #[must_use]
    pub const fn failed(&self) -> bool {
        self.failed
    }

    /// The tokens, if an event told them.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        self.reader.usage()
    }

    /// What is wrong with a stream that ends before it is done.
    #[must_use]
    pub const fn missing(&self) -> &'static str {
        match self.reader.api {
            Api::Responses => "the stream ended without response.completed",
            Api::Messages => "the stream ended without message_stop",
            Api::Chat | Api::Embeddings | Api::CountTokens => "the stream ended without [DONE]",
        }
    }

    /// Whether this may come behind the end: some servers send `data: [DONE]` after the event
    /// that ends a stream already. It is not handed on.
    pub(crate) fn may_trail(&mut self, chunk: &[u8]) -> bool {
        const DONE: &[u8] = b"data:[DONE]";
        if !matches!(self.reader.api, Api::Responses | Api::Messages) {
            return chunk.trim_ascii().is_empty();
        }
        for byte in chunk.iter().filter(|byte| !byte.is_ascii_whitespace()) {
            if DONE.get(self.trailing) != Some(byte) {
                return false;
            }
            self.trailing += 1;
        }
        true
    }
}

#[cfg(test)]
mod tests;
