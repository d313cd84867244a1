//! Server-sent events of a provider, as each endpoint streams them: however they are cut into pieces, they mean the
//! same, and what they mean is what a plain reading of the standard says (WHATWG HTML, 9.2.6).

use std::collections::BTreeSet;

use ids::json::{Json, Limits};
use model::{
    Api, HandleKind, MAX_HANDLE, Made,
    sse::{Parser, Piece, Usage},
};
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
    "\"error\":",
    "\\u0065",
    "{\"usage\":{\"prompt_tokens\":1}}",
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1}}\n\n",
    "data: {\"choices\":[{\"delta\":{\"audio\":{\"id\":\"audio_1\"}}}]}\n\n",
    "data: {\"type\":\"error\",\"message\":\"m\"}\n\n",
    "data: {\"type\":\"response.created\",\"response\":{\"id\":\"resp_1\"}}\n\n",
    "data: {\"type\":\"response.output_item.added\",\"item\":{\"id\":\"item_1\",\"container_id\":\"cntr_1\"}}\n\n",
    "data: {\"type\":\"response.completed\",\"response\":{\"id\":\"resp_1\",\"status\":\"completed\"}}\n\n",
    "data: {\"type\":\"response.failed\",\"response\":{\"error\":{\"message\":\"m\"}}}\n\n",
    "response.incomplete",
    "\"response\":{\"id\":\"resp_2\"},",
    "data: {\"type\":\"message_start\",\"message\":{\"container\":{\"id\":\"c\"},\"usage\":{\"input_tokens\":1}}}\n\n",
    "data: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":2}}\n\n",
    "data: {\"type\":\"message_stop\"}\n\n",
    "\u{feff}",
    "\u{0}",
];

/// The first byte says into pieces of what size the rest is cut.
pub fn run(input: &[u8]) {
    let Some((size, stream)) = input.split_first() else {
        return;
    };
    for api in [Api::Chat, Api::Responses, Api::Messages] {
        let whole = read(api, false, stream, stream.len().max(1));
        let pieces = read(api, false, stream, usize::from(*size).max(1));
        assert_eq!(whole, pieces, "pieces of {size} bytes mean something else");
        whole.is_what(&plainly(api, stream), stream);
        let hidden = read(api, true, stream, usize::from(*size).max(1));
        hides_usage_alone(api, &whole, &hidden);
    }
}

#[derive(Debug, PartialEq)]
struct Read {
    lines: Vec<Vec<u8>>,
    errors: usize,
    done: bool,
    kept: bool,
    usage: Option<Usage>,
    made: BTreeSet<Made>,
}

impl Read {
    /// The properties that tie it to the plain reading.
    fn is_what(&self, plain: &Plain, stream: &[u8]) {
        let Plain { done, failed, doubtful, responses, .. } = plain;
        assert!(self.errors > 0 || !failed, "an error went by");
        assert!(self.errors == 0 || *failed || *doubtful, "nothing spoke of an error");
        // What is in doubt may be taken for an error, and then the stream ends there.
        assert!(*doubtful || self.done == *done, "not what the standard says");
        assert!(!self.kept || (self.done && self.errors == 0), "what is not whole would be kept");
        for made in &self.made {
            assert!(made.id.len() <= MAX_HANDLE && !made.id.is_empty());
            let said = plain.texts.contains(&made.id);
            assert!(said || *doubtful, "a handle that nobody named");
        }
        for id in responses {
            let told = Made { kind: HandleKind::Response, id: id.clone() };
            assert!(*doubtful || self.made.contains(&told), "a handle went by");
        }
        let mut came = lines(stream).into_iter();
        let in_order = self.lines.iter().all(|line| came.any(|other| other.ends_with(line)));
        assert!(in_order, "bytes were handed on that did not come");
    }
}

fn read(api: Api, hide_usage: bool, stream: &[u8], size: usize) -> Read {
    let mut parser = Parser::new(api, hide_usage);
    let (mut bytes, mut told) = (Vec::new(), Vec::new());
    let mut errors = 0;
    for piece in stream.chunks(size) {
        if parser.push(piece).is_err() {
            panic!("too large: the longest input is smaller than the largest event");
        }
        while let Some(piece) = parser.next_piece() {
            match piece {
                Piece::Events { bytes: events, made } => {
                    bytes.extend_from_slice(&events);
                    told.extend(made);
                }
                Piece::Failed { made, .. } => {
                    errors += 1;
                    told.extend(made);
                }
                Piece::Error(_) | Piece::Malformed(_) => errors += 1,
            }
        }
    }
    assert_eq!(parser.failed(), errors > 0);
    let relays_all = api == Api::Chat && !hide_usage && errors == 0;
    assert!(!relays_all || stream.starts_with(&bytes), "bytes were handed on that did not come");
    let made: BTreeSet<_> = told.iter().cloned().collect();
    assert_eq!(made.len(), told.len(), "a handle was told twice");
    let (done, kept, usage) = (parser.done(), parser.whole(), parser.usage());
    Read { lines: lines(&bytes), errors, done, kept, usage, made }
}

/// Whether the line feed of a return and line feed that ends an event comes with it or with what follows depends on
/// the pieces, and means nothing.
fn lines(bytes: &[u8]) -> Vec<Vec<u8>> {
    let lines = bytes.split(|byte| matches!(byte, b'\n' | b'\r'));
    lines.filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect()
}

/// Hiding usage hides it from the caller of a chat completion, and changes nothing else.
fn hides_usage_alone(api: Api, shown: &Read, hidden: &Read) {
    let rest = |read: &Read| (read.errors, read.done, read.kept, read.usage);
    assert_eq!(rest(shown), rest(hidden));
    if api != Api::Chat {
        assert_eq!(shown, hidden);
    }
    let mut all = shown.lines.iter();
    assert!(hidden.lines.iter().all(|line| all.any(|other| other == line)));
    let counts = |read: &Read| read.lines.iter().filter(|line| line.starts_with(b"data")).count();
    let tells =
        |line: &Vec<u8>| holds(line, "usage") || holds(line, "\\u00") || !line.contains(&b'{');
    assert!(counts(shown) == counts(hidden) || shown.lines.iter().any(tells));
}

/// Under these, handles stand.
const KEYS: &[&str] = &["id", "container_id", "file_id", "conversation", "container", "audio"];

fn is_id(id: &str) -> bool {
    id.len() <= MAX_HANDLE && id.bytes().all(|byte| byte.is_ascii_graphic())
}

fn holds(data: &[u8], word: &str) -> bool {
    data.windows(word.len()).any(|window| window == word.as_bytes())
}

/// What a stream is, read the slow way.
#[derive(Default)]
struct Plain {
    /// Whether it is whole.
    done: bool,
    /// Whether it holds an error before its end.
    failed: bool,
    /// Whether an event that could matter cannot be read, or can be read in two ways.
    doubtful: bool,
    /// Ids of responses.
    responses: BTreeSet<String>,
    /// Every text in it.
    texts: BTreeSet<String>,
}

fn plainly(api: Api, stream: &[u8]) -> Plain {
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
    let mut plain = Plain::default();
    let (mut data, mut named_error): (Option<Vec<u8>>, bool) = (None, false);
    for line in lines {
        if line.is_empty() {
            let named = std::mem::take(&mut named_error);
            if let Some(data) = data.take() {
                plain.event(api, named, &data);
            }
            if plain.done {
                break;
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
    plain
}

impl Plain {
    fn event(&mut self, api: Api, named: bool, data: &[u8]) {
        if data.trim_ascii() == b"[DONE]" {
            self.done = api == Api::Chat;
            return;
        }
        self.failed |= named;
        // A stream is decoded as UTF-8 with replacement.
        let text = String::from_utf8_lossy(data);
        let words = match api {
            Api::Chat => &["\"error\"", "\\u00"][..],
            _ => &[
                "\"error\"",
                "\\u00",
                "\"response",
                "\"item\"",
                "\"usage\"",
                "container",
                "file_id",
                "message_stop",
            ],
        };
        let once = Json::parse(data, &Limits { depth: 100, nodes: 100_000 }).is_ok();
        self.doubtful |= !once && words.iter().any(|word| holds(data, word));
        let Ok(value) = serde_json::from_str::<Value>(&text) else { return };
        self.collect(&value);
        if !value.is_object() {
            return;
        }
        let there = |value: Option<&Value>| value.is_some_and(|value| !value.is_null());
        let kind = value.get("type").and_then(Value::as_str).filter(|_| api != Api::Chat);
        if there(value.get("error")) || kind == Some("error") {
            self.failed = true;
            return;
        }
        // Of an event that is called an error, nothing else counts.
        if named {
            return;
        }
        if api == Api::Messages {
            self.done = kind == Some("message_stop");
        }
        if api == Api::Responses {
            let response = value.get("response").filter(|response| response.is_object());
            let inside = response.is_some_and(|response| {
                there(response.get("error")) || response["status"] == "failed"
            });
            if inside || kind == Some("response.failed") {
                self.failed = true;
                self.done = response.is_some();
            }
            let ends = ["response.completed", "response.incomplete", "response.cancelled"];
            self.done |= kind.is_some_and(|kind| ends.contains(&kind));
            let id = response.and_then(|response| response["id"].as_str());
            self.responses.extend(id.filter(|id| !id.is_empty()).map(ToOwned::to_owned));
        }
    }

    fn collect(&mut self, value: &Value) {
        match value {
            Value::String(text) => drop(self.texts.insert(text.clone())),
            Value::Array(list) => list.iter().for_each(|value| self.collect(value)),
            Value::Object(object) => {
                for (key, value) in object {
                    // What can be no id is refused where it stands for one.
                    let names = KEYS.iter().any(|name| key == name);
                    self.doubtful |= names && value.as_str().is_some_and(|id| !is_id(id));
                    self.collect(value);
                }
            }
            _ => {}
        }
    }
}
