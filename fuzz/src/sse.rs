//! Server-sent events of a provider: however they are cut into pieces, they mean the same, and what they mean is
//! what a plain reading of the standard says (WHATWG HTML, 9.2.6).

use model::sse::{Parser, Piece};
use serde_json::Value;

/// What streams are made of.
pub const WORDS: &[&str] = &[
    "data: ",
    "data:",
    "data",
    "event: error\n",
    "event: ",
    "id: ",
    "retry: ",
    ":",
    "\n",
    "\r",
    "\r\n",
    "\n\n",
    "\r\n\r\n",
    "[DONE]",
    "data: [DONE]\n\n",
    "data: {\"error\":{\"code\":\"x\"}}\n\n",
    "{\"error\":null}",
    "{\"usage\":{\"prompt_tokens\":1}}",
    "\u{feff}",
    "\u{0}",
];

/// The first byte says into pieces of what size the rest is cut.
pub fn run(input: &[u8]) {
    let Some((size, stream)) = input.split_first() else {
        return;
    };
    let whole = read(stream, stream.len().max(1));
    let pieces = read(stream, usize::from(*size).max(1));
    assert_eq!(whole, pieces, "pieces of {size} bytes mean something else");
    let Plain { done, failed, doubtful } = plainly(stream);
    assert!(whole.errors > 0 || !failed, "an error went by");
    assert!(whole.errors == 0 || failed || doubtful, "nothing spoke of an error");
    // What is in doubt may be taken for an error, and then the stream ends there.
    assert!(doubtful || whole.done == done, "not what the standard says");
}

#[derive(Debug, PartialEq)]
struct Read {
    lines: Vec<Vec<u8>>,
    errors: usize,
    done: bool,
    usage: Option<model::sse::Usage>,
}

fn read(stream: &[u8], size: usize) -> Read {
    let mut parser = Parser::default();
    let mut bytes = Vec::new();
    let mut errors = 0;
    for piece in stream.chunks(size) {
        if parser.push(piece).is_err() {
            panic!("too large: the longest input is smaller than the largest event");
        }
        while let Some(piece) = parser.next_piece() {
            match piece {
                Piece::Events(events) => bytes.extend_from_slice(&events),
                Piece::Error(_) => errors += 1,
            }
        }
    }
    assert_eq!(parser.failed(), errors > 0);
    assert!(errors > 0 || stream.starts_with(&bytes), "bytes were handed on that did not come");
    // Whether the line feed of a return and line feed that ends an event comes with it or with what follows
    // depends on the pieces, and means nothing.
    let lines = bytes.split(|byte| matches!(byte, b'\n' | b'\r'));
    let lines = lines.filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect();
    Read { lines, errors, done: parser.done(), usage: parser.usage() }
}

/// What a stream is, read the slow way.
struct Plain {
    /// Whether it is whole.
    done: bool,
    /// Whether it holds an error before its end.
    failed: bool,
    /// Whether an event speaks of an error and cannot be read, or says it twice.
    doubtful: bool,
}

fn plainly(stream: &[u8]) -> Plain {
    let stream = stream.strip_prefix("\u{feff}".as_bytes()).unwrap_or(stream);
    let mut lines: Vec<Vec<u8>> = vec![Vec::new()];
    let mut bytes = stream.iter().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\r' => {
                bytes.next_if(|next| **next == b'\n');
                lines.push(Vec::new());
            }
            b'\n' => lines.push(Vec::new()),
            other => lines.last_mut().into_iter().for_each(|line| line.push(*other)),
        }
    }
    // What stands behind the last line's end is not a line yet.
    lines.pop();
    let (mut failed, mut doubtful) = (false, false);
    let (mut data, mut named_error): (Option<Vec<u8>>, bool) = (None, false);
    for line in lines {
        if line.is_empty() {
            let event = data.take();
            let named = std::mem::take(&mut named_error);
            if event.as_ref().is_some_and(|data| data.trim_ascii() == b"[DONE]") {
                return Plain { done: true, failed, doubtful };
            }
            if let Some(data) = event {
                let tells = tells_error(&data);
                failed |= named || tells;
                doubtful |= !tells && data.windows(7).any(|word| word == b"\"error\"");
            }
            continue;
        }
        let (name, value) = match line.iter().position(|byte| *byte == b':') {
            Some(at) => (&line[..at], &line[at + 1..]),
            None => (&line[..], &[][..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match (name, &mut data) {
            (b"event", _) => named_error = value == b"error",
            (b"data", None) => data = Some(value.to_vec()),
            (b"data", Some(data)) => {
                data.push(b'\n');
                data.extend_from_slice(value);
            }
            _ => {}
        }
    }
    Plain { done: false, failed, doubtful }
}

fn tells_error(data: &[u8]) -> bool {
    // A stream is decoded as UTF-8 with replacement.
    serde_json::from_str::<Value>(&String::from_utf8_lossy(data))
        .is_ok_and(|value| value.get("error").is_some_and(|error| !error.is_null()))
}
