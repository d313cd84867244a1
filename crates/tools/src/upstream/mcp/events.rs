//! An event stream (WHATWG HTML, 9.2), of which the data alone matters.

use std::collections::VecDeque;

use memchr::memchr2;

use crate::{Fault, upstream::client::Incoming};

/// The events of an answer, in order. Whatever is still open is bounded by the answer's bound.
pub(super) struct Events {
    incoming: Incoming,
    parser: Parser,
}

impl Events {
    pub(super) fn of(incoming: Incoming) -> Self {
        Self { incoming, parser: Parser::default() }
    }

    /// The data of the next event; nothing at the end of the stream. An event that the end cuts
    /// off is none.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<u8>>, Fault> {
        loop {
            if let Some(event) = self.parser.ready.pop_front() {
                return Ok(Some(event));
            }
            match self.incoming.piece().await? {
                None => return Ok(None),
                Some(piece) => self.parser.feed(&piece),
            }
        }
    }
}

#[derive(Default)]
struct Parser {
    line: Vec<u8>,
    data: Option<Vec<u8>>,
    after_return: bool,
    ready: VecDeque<Vec<u8>>,
}

impl Parser {
    fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if std::mem::take(&mut self.after_return) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let Some(end) = memchr2(b'\n', b'\r', bytes) else {
                self.line.extend_from_slice(bytes);
                return;
            };
            self.line.extend_from_slice(&bytes[..end]);
            self.after_return = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            self.end_of_line();
        }
    }

    fn end_of_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            self.ready.extend(self.data.take().filter(|data| !data.is_empty()));
            return;
        }
        let Some(value) = line.strip_prefix(b"data") else { return };
        let value = match value {
            [] => value,
            [b':', b' ', value @ ..] | [b':', value @ ..] => value,
            _ => return,
        };
        match &mut self.data {
            None => self.data = Some(value.to_vec()),
            Some(data) => {
                data.push(b'\n');
                data.extend_from_slice(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pieces: &[&str]) -> Vec<String> {
        let mut parser = Parser::default();
        pieces.iter().for_each(|piece| parser.feed(piece.as_bytes()));
        parser.ready.into_iter().map(|event| String::from_utf8(event).unwrap()).collect()
    }

    #[test]
    fn events_are_the_same_however_they_are_cut() {
        let text = ": hello\r\nevent: message\r\ndata: {\"a\":\r\ndata:1}\r\nid: 7\r\n\r\n\
                    data\n\ndata: x\n\ndatab: no\n\ndata: two\rdata: lines\r\rretry: 1\n\ndata: cut";
        let expected = ["{\"a\":\n1}", "x", "two\nlines"];
        assert_eq!(parse(&[text]), expected);
        for at in 0..=text.len() {
            assert_eq!(parse(&[&text[..at], &text[at..]]), expected, "cut at {at}");
        }
        let bytes: Vec<_> = text.split("").filter(|piece| !piece.is_empty()).collect();
        assert_eq!(parse(&bytes), expected);
    }
}
