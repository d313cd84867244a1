//! Server-sent events, as chat completions use them: where one event ends, whether the stream
//! is whole, and whether it holds an error.
//!
//! Bytes are handed on as they came, event by event, so that a stream that has to be cut is
//! cut between two events (WHATWG HTML, 9.2.6 "Interpreting an event stream").

use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use serde_json::Value;

/// The largest event, in bytes.
pub const MAX_EVENT: usize = 8 << 20;

/// An event is larger than [`MAX_EVENT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event is larger than {MAX_EVENT} bytes")]
pub struct TooLarge;

/// What a stream says about the tokens that it took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt.
    #[serde(default)]
    pub prompt_tokens: u64,
    /// Tokens of the answer.
    #[serde(default)]
    pub completion_tokens: u64,
}

/// Whole events, in the order in which they came.
#[derive(Clone, PartialEq)]
pub enum Piece {
    /// One or more ordinary events, byte for byte.
    Events(Bytes),
    /// An event that is an error: what it says, if it says it in JSON.
    Error(Option<Value>),
}

/// Splits a stream into events.
#[derive(Default)]
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
    usage: Option<Usage>,
}

/// What one event is.
enum Kind {
    Ordinary,
    Done,
    Error(Option<Value>),
}

impl Parser {
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
        let mut whole = 0;
        // The second half of a line's end whose first half was handed on already.
        let half = self.looked == 0 && self.after_return && self.held.first() == Some(&b'\n');
        if half && !self.done {
            (self.looked, self.line, self.after_return, whole) = (1, 1, false, 1);
        }
        while !self.done
            && let Some(end) = self.next_end()
        {
            match self.examine(whole, end) {
                Kind::Ordinary => whole = end,
                Kind::Done => {
                    self.done = true;
                    whole = end;
                }
                // What came before it goes first; it is met again then.
                Kind::Error(_) if whole > 0 => {
                    self.looked = whole;
                    self.line = whole;
                    self.after_return = false;
                    break;
                }
                Kind::Error(says) => {
                    self.failed = true;
                    self.release(end);
                    return Some(Piece::Error(says));
                }
            }
        }
        (whole > 0).then(|| Piece::Events(self.release(whole)))
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

    fn examine(&mut self, from: usize, end: usize) -> Kind {
        let mut event = &self.held[from..end];
        if !self.begun && from == 0 {
            event = event.strip_prefix(b"\xef\xbb\xbf").unwrap_or(event);
        }
        let mut data: Option<std::borrow::Cow<'_, [u8]>> = None;
        let mut is_error = false;
        for line in event.split(|byte| matches!(byte, b'\n' | b'\r')) {
            let (name, value) = match line.iter().position(|byte| *byte == b':') {
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
        let Some(data) = data else { return Kind::Ordinary };
        if data.trim_ascii() == b"[DONE]" {
            return Kind::Done;
        }
        if is_error || holds(&data, b"\"error\"") {
            let says = error_of(&data);
            if is_error || says.is_some() {
                return Kind::Error(says);
            }
        }
        if holds(&data, b"\"usage\"") {
            self.usage = usage_of(&data).or(self.usage);
        }
        Kind::Ordinary
    }

    /// Whether the last event of a whole stream (`data: [DONE]`) was handed on.
    #[must_use]
    pub const fn done(&self) -> bool {
        self.done
    }

    /// Whether an event was an error.
    #[must_use]
    pub const fn failed(&self) -> bool {
        self.failed
    }

    /// The tokens, if an event told them.
    #[must_use]
    pub const fn usage(&self) -> Option<Usage> {
        self.usage
    }
}

fn holds(data: &[u8], word: &[u8]) -> bool {
    data.windows(word.len()).any(|window| window == word)
}

/// What `error` says at the top of an object, unless it is null.
fn error_of(data: &[u8]) -> Option<Value> {
    #[derive(Deserialize)]
    struct Top {
        error: Option<Value>,
    }
    match serde_json::from_slice::<Top>(data) {
        Ok(top) => top.error,
        // What cannot be read but speaks of an error is one: it is not relayed as it is.
        Err(_) => holds(data, b"\"error\"").then_some(Value::Null),
    }
}

fn usage_of(data: &[u8]) -> Option<Usage> {
    #[derive(Deserialize)]
    struct Top {
        usage: Option<Usage>,
    }
    serde_json::from_slice::<Top>(data).ok()?.usage
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Relayed as it is, it would be a provider's error with whatever it quotes.
    #[test]
    fn an_error_that_cannot_be_read_is_one() {
        for bad in
            [&b"data: {\"error\":{\"m\":\"\xff\"}}\n\n"[..], b"data: {\"error\":1,\"error\":2}\n\n"]
        {
            let (out, errors, parser) = run(bad, &[bad.len()]);
            assert!(out.is_empty() && errors.len() == 1 && parser.failed(), "{bad:?}");
        }
    }

    /// Feeds pieces of the given sizes and collects what comes out.
    fn run(stream: &[u8], sizes: &[usize]) -> (Vec<u8>, Vec<Option<Value>>, Parser) {
        let mut parser = Parser::default();
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        let mut rest = stream;
        let mut sizes = sizes.iter().cycle();
        while !rest.is_empty() {
            let size = (*sizes.next().unwrap_or(&1)).clamp(1, rest.len());
            parser.push(&rest[..size]).unwrap();
            rest = &rest[size..];
            while let Some(piece) = parser.next_piece() {
                match piece {
                    Piece::Events(bytes) => out.extend_from_slice(&bytes),
                    Piece::Error(says) => errors.push(says),
                }
            }
        }
        (out, errors, parser)
    }

    #[test]
    fn knows_whole_streams() {
        for (stream, handed_on, done) in [
            ("data: {}\n\ndata: [DONE]\n\n", 24, true),
            ("data:{}\n\ndata:[DONE]\n\n", 22, true),
            ("data: {}\r\n\r\ndata: [DONE]\r\n\r\n", 28, true),
            ("data: {}\r\rdata: [DONE]\r\r", 24, true),
            ("\u{feff}data: [DONE]\n\n", 17, true),
            (": ping\n\ndata: [DONE]\n\n", 22, true),
            ("event: x\nid: 1\ndata: [DONE]\n\n", 29, true),
            ("data: {}\n\n", 10, false),
            ("data: {}\n\ndata: [DONE]", 10, false),
            ("data: {}\n\ndata: [DONE]\n", 10, false),
            ("data: {}", 0, false),
            ("data: x [DONE]\n\n", 16, false),
            ("", 0, false),
            // Nothing behind the end is handed on.
            ("data: [DONE]\n\ndata: {\"more\":1}\n\n", 14, true),
        ] {
            for sizes in [vec![1], vec![1_000], vec![3, 1, 7]] {
                let (out, errors, parser) = run(stream.as_bytes(), &sizes);
                // A lone return at the end of a piece ends the event; its line feed follows.
                let expected = &stream.as_bytes()[..handed_on];
                assert!(
                    expected.starts_with(&out) && expected.len() - out.len() <= 1,
                    "{stream:?} {sizes:?}: {:?}",
                    String::from_utf8_lossy(&out)
                );
                assert_eq!((parser.done(), errors.len()), (done, 0), "{stream:?} {sizes:?}");
            }
        }
    }

    #[test]
    fn finds_errors_and_nothing_else() {
        for (event, is_error) in [
            ("data: {\"error\":{\"message\":\"m\"}}", true),
            ("data: {\"error\":\"m\"}", true),
            ("event: error\ndata: overloaded", true),
            ("data: {\"error\":\ndata: {\"message\":\"m\"}}", true),
            ("data: {\"error\":null,\"choices\":[]}", false),
            ("data: {\"choices\":[{\"delta\":{\"content\":\"an \\\"error\\\"\"}}]}", false),
            ("data: {\"choices\":[{\"error\":1}]}", false),
        ] {
            let stream = format!("data: {{}}\n\n{event}\n\ndata: [DONE]\n\n");
            for sizes in [vec![1], vec![1_000]] {
                let (out, errors, parser) = run(stream.as_bytes(), &sizes);
                assert_eq!(errors.len(), usize::from(is_error), "{event}");
                assert_eq!(parser.failed(), is_error, "{event}");
                let expected = stream.replace(&format!("{event}\n\n"), "");
                if is_error {
                    assert_eq!(String::from_utf8(out).unwrap(), expected, "{event}");
                } else {
                    assert_eq!(out, stream.as_bytes(), "{event}");
                }
            }
        }
    }

    #[test]
    fn reads_usage() {
        let stream =
            b"data: {\"usage\":null}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\
            \"completion_tokens\":3,\"total_tokens\":10}}\n\ndata: [DONE]\n\n";
        let (_, _, parser) = run(stream, &[5]);
        assert_eq!(parser.usage(), Some(Usage { prompt_tokens: 7, completion_tokens: 3 }));
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut parser = Parser::default();
        let chunk = vec![b'x'; 1 << 20];
        let refused = (0..64).find(|_| parser.push(&chunk).is_err());
        assert!(refused.is_some());
    }

    proptest! {
        /// However a stream is cut into pieces, the same bytes and the same verdict come out.
        #[test]
        fn cuts_change_nothing(
            parts in proptest::collection::vec(
                prop_oneof![
                    Just("data: {\"a\":1}\n\n"), Just("data: x\r\n\r\n"), Just(": c\n"), Just("\n"),
                    Just("data: {\"error\":1}\n\n"), Just("event: a\n"), Just("data: [DONE]"),
                    Just("data:\n"), Just("retry: 1\n\n"),
                ],
                0..12,
            ),
            sizes in proptest::collection::vec(1..9_usize, 1..5),
        ) {
            let stream = parts.concat();
            let (a, a_errors, a_end) = run(stream.as_bytes(), &[usize::MAX]);
            let (b, b_errors, b_end) = run(stream.as_bytes(), &sizes);
            // A return and its line feed may come apart at the very end alone.
            prop_assert!(a.starts_with(&b) && a.len() - b.len() <= 1);
            prop_assert_eq!(a_errors, b_errors);
            prop_assert_eq!((a_end.done(), a_end.failed()), (b_end.done(), b_end.failed()));
        }

        #[test]
        fn never_panics_and_never_invents(stream: Vec<u8>, sizes in proptest::collection::vec(1..9_usize, 1..5)) {
            let (out, errors, _) = run(&stream, &sizes);
            prop_assert!(out.len() <= stream.len());
            if errors.is_empty() {
                prop_assert!(stream.starts_with(&out));
            }
        }
    }
}
