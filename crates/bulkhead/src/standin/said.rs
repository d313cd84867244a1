//! What the stand-in says to one question, in each protocol's form.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use ids::{Clock as _, OsEntropy, RandomId, SystemClock};
use serde_json::{Value, json};

use super::{Body, Manner, Shared, cached, json_of, response};

const BANNER: &str = "(a stand-in, not a model)";
/// Between two words of a slow answer.
const WORD: Duration = Duration::from_millis(5);
/// The most that is repeated of a question, in characters.
const REPEATED: usize = 2_000;

/// The last thing that a question says, as text.
pub(super) fn last(ask: &Value) -> String {
    let all = ask.get("messages").or_else(|| ask.get("input")).unwrap_or(&Value::Null);
    let last = match all {
        Value::Array(all) => all.last().map_or(&Value::Null, |last| match last {
            Value::Object(_) => &last["content"],
            other => other,
        }),
        other => other,
    };
    last.as_str().map_or_else(|| last.to_string(), str::to_owned)
}

/// The text of a response.
pub(super) fn text_of(response: Option<&Value>) -> String {
    let text = response.and_then(|one| one.pointer("/output/0/content/0/text"));
    text.and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// What it says to one request.
pub(super) struct Said {
    id: RandomId,
    /// In seconds of Unix time; nothing in the demo.
    created: u64,
    model: Value,
    text: String,
    prompt_tokens: usize,
    cached: usize,
    connection: u64,
}

impl Said {
    pub(super) fn new(ask: &Value, word: &str, manner: Manner, before: &str) -> Self {
        let prompt = ask.get("messages").map(Value::to_string).unwrap_or_default();
        let id = RandomId::draw(&OsEntropy);
        let text = match manner {
            Manner::Shown => format!(
                "{BANNER} For account {word}: three invoices are open. The oldest is 41 days past \
                 due and a reminder has gone out twice; the other two fall due this week. Nothing \
                 is disputed. I suggest a call about the first, and to leave the others alone until \
                 they are late. Totals, by age: 0 to 30 days 2; 31 to 60 days 1; older 0."
            ),
            Manner::Probed => {
                let asked: String = last(ask).chars().take(REPEATED).collect();
                let before: String = before.chars().take(REPEATED).collect();
                let own = RandomId::draw(&OsEntropy);
                format!("{BANNER} Answer {own} for {word}. {before} You said: {asked}")
            }
        };
        // About four characters a token, and a system prompt such as agents have.
        let prompt_tokens = prompt.len() / 4 + if manner == Manner::Shown { 280 } else { 0 };
        let created = match manner {
            Manner::Shown => 0,
            Manner::Probed => SystemClock.now().0 / 1_000,
        };
        let model = ask["model"].clone();
        Self { id, created, model, text, prompt_tokens, cached: 0, connection: 0 }
    }

    /// Over which connection it was asked.
    pub(super) fn over(self, connection: u64) -> Self {
        Self { connection, ..self }
    }

    /// How many tokens of the question were in the cache of prompts.
    pub(super) fn with(self, cached: usize) -> Self {
        Self { cached: cached.min(self.prompt_tokens), ..self }
    }

    fn tokens(&self) -> Value {
        let completion = self.text.len() / 4;
        json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": self.prompt_tokens + completion,
            "prompt_tokens_details": { "cached_tokens": self.cached },
        })
    }

    pub(super) fn whole(&self) -> Response<Body> {
        json_of(&json!({
            "id": format!("chatcmpl-{}", self.id), "object": "chat.completion", "created": self.created,
            "model": self.model, "system_fingerprint": format!("connection-{}", self.connection),
            "choices": [{
                "index": 0, "finish_reason": "stop",
                "message": { "role": "assistant", "content": self.text },
            }],
            "usage": self.tokens(),
        }))
    }

    /// A vector for each text. In the demo they mean nothing.
    pub(super) fn embedding(&self, ask: &Value, manner: Manner) -> Value {
        let texts: Vec<&str> = match &ask["input"] {
            Value::Array(all) => all.iter().map(|text| text.as_str().unwrap_or_default()).collect(),
            text => vec![text.as_str().unwrap_or_default()],
        };
        let one = |(index, text): (usize, &&str)| {
            let vector = match manner {
                Manner::Shown => vec![0.6, 0.8],
                Manner::Probed => cached::vector(text),
            };
            json!({ "object": "embedding", "index": index, "embedding": vector })
        };
        let data: Vec<Value> = texts.iter().enumerate().map(one).collect();
        let usage =
            json!({ "prompt_tokens": self.prompt_tokens, "total_tokens": self.prompt_tokens });
        json!({ "object": "list", "model": self.model, "usage": usage, "data": data })
    }

    pub(super) fn response(&self) -> Value {
        let id = self.id;
        let part = json!({ "type": "output_text", "text": self.text, "annotations": [] });
        json!({
            "id": format!("resp_{id}"), "object": "response", "created_at": self.created,
            "status": "completed", "model": self.model, "error": null,
            "output": [{
                "type": "message", "id": format!("msg_{id}"), "role": "assistant",
                "status": "completed", "content": [part],
            }],
            "usage": self.used("total_tokens"),
        })
    }

    pub(super) fn message(&self) -> Value {
        json!({
            "id": format!("msg_{}", self.id), "type": "message",
            "role": "assistant", "model": self.model, "stop_reason": "end_turn",
            "stop_sequence": null, "content": [{ "type": "text", "text": self.text }],
            "usage": self.used("cache_read_input_tokens"),
        })
    }

    fn used(&self, more: &str) -> Value {
        let output = self.text.len() / 4;
        let sum = if more == "total_tokens" { self.prompt_tokens + output } else { self.cached };
        json!({ "input_tokens": self.prompt_tokens, "output_tokens": output, more: sum })
    }

    fn chunk(&self, delta: &Value, end: &Value, usage: &Value) -> String {
        let event = json!({
            "id": format!("chatcmpl-{}", self.id), "object": "chat.completion.chunk",
            "created": self.created, "model": self.model, "usage": usage,
            "choices": [{ "index": 0, "delta": delta, "finish_reason": end }],
        });
        format!("data: {event}\n\n")
    }

    /// The same words over and over, until the caller goes away.
    pub(super) fn slowly(self, shared: Arc<Shared>) -> Response<Body> {
        let words: Vec<String> = self.text.split_inclusive(' ').map(str::to_owned).collect();
        let frames = stream::unfold(0, move |at| {
            let word = json!({ "content": words[at % words.len()] });
            let event = self.chunk(&word, &Value::Null, &Value::Null);
            let shared = Arc::clone(&shared);
            async move {
                tokio::time::sleep(WORD).await;
                if at == 5 {
                    shared.reading.notify_one();
                }
                Some((Ok(Frame::data(Bytes::from(event))), at + 1))
            }
        });
        response(StatusCode::OK, "text/event-stream", StreamBody::new(frames).boxed())
    }

    fn words(&self) -> impl Iterator<Item = &str> {
        self.text.split_inclusive(' ')
    }

    pub(super) fn stream(&self) -> Response<Body> {
        let mut events: Vec<String> = self
            .words()
            .map(|word| self.chunk(&json!({ "content": word }), &Value::Null, &Value::Null))
            .collect();
        events.push(self.chunk(&json!({}), &json!("stop"), &self.tokens()));
        events.push("data: [DONE]\n\n".to_owned());
        streamed(events)
    }

    pub(super) fn response_stream(&self) -> Response<Body> {
        let whole = self.response();
        let mut begun = whole.clone();
        (begun["status"], begun["output"]) = (json!("in_progress"), json!([]));
        let mut events = vec![named(
            &json!({ "type": "response.created", "sequence_number": 0, "response": begun }),
        )];
        events.extend(self.words().map(|word| {
            named(&json!({ "type": "response.output_text.delta", "sequence_number": 1,
                "item_id": format!("msg_{}", self.id), "output_index": 0, "content_index": 0,
                "delta": word }))
        }));
        let end = json!({ "type": "response.completed", "sequence_number": 2, "response": whole });
        events.push(named(&end));
        streamed(events)
    }

    pub(super) fn message_stream(&self) -> Response<Body> {
        let mut begun = self.message();
        (begun["content"], begun["stop_reason"]) = (json!([]), Value::Null);
        let mut events = vec![
            named(&json!({ "type": "message_start", "message": begun })),
            named(&json!({ "type": "content_block_start", "index": 0,
                "content_block": { "type": "text", "text": "" } })),
        ];
        events.extend(self.words().map(|word| {
            named(&json!({ "type": "content_block_delta", "index": 0,
                "delta": { "type": "text_delta", "text": word } }))
        }));
        events.extend([
            named(&json!({ "type": "content_block_stop", "index": 0 })),
            named(
                &json!({ "type": "message_delta", "usage": { "output_tokens": self.text.len() / 4 },
                "delta": { "stop_reason": "end_turn", "stop_sequence": null } }),
            ),
            named(&json!({ "type": "message_stop" })),
        ]);
        streamed(events)
    }
}

/// An event with its name before it, as Anthropic and OpenAI's responses have them.
fn named(data: &Value) -> String {
    format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap_or_default())
}

fn streamed(events: Vec<String>) -> Response<Body> {
    let frames = events.into_iter().map(|event| Ok(Frame::data(Bytes::from(event))));
    let body = StreamBody::new(stream::iter(frames)).boxed();
    response(StatusCode::OK, "text/event-stream", body)
}
