//! What answers look like.

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Chat,
    Response,
    Embeddings,
    Message,
    Count,
}

impl Shape {
    /// Of the endpoints that models answer at.
    pub(super) fn of(method: &Method, path: &str) -> Option<Self> {
        match (method.as_str(), path) {
            ("POST", "/chat/completions") => Some(Self::Chat),
            ("POST", "/responses") => Some(Self::Response),
            ("POST", "/embeddings") => Some(Self::Embeddings),
            ("POST", "/messages") => Some(Self::Message),
            ("POST", "/messages/count_tokens") => Some(Self::Count),
            _ => None,
        }
    }

    pub(super) fn prompt(self, body: &Value) -> String {
        let text = match self {
            Self::Chat | Self::Message | Self::Count => &body["messages"][0]["content"],
            Self::Response | Self::Embeddings => &body["input"],
        };
        text.as_str().map_or_else(|| text.to_string(), str::to_owned)
    }

    pub(super) fn whole(self, number: u64, said: &str, asked: &Value) -> Value {
        let model = &asked["model"];
        match self {
            Self::Chat => json!({
                "id": format!("chatcmpl-{number}"), "object": "chat.completion", "created": 1,
                "model": model,
                "choices": [{"index": 0, "finish_reason": "stop",
                    "message": {"role": "assistant", "content": said}}],
                "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12},
            }),
            Self::Response => json!({
                "id": format!("resp_{number}"), "object": "response", "created_at": 1,
                "status": "completed", "error": null, "model": model,
                "conversation": asked.get("conversation").map(|id| json!({"id": id})),
                "output": [{"type": "message", "id": format!("msg_{number}"), "role": "assistant",
                    "status": "completed",
                    "content": [{"type": "output_text", "text": said, "annotations": []}]}],
                "usage": {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12},
            }),
            Self::Embeddings => json!({
                "object": "list", "model": said,
                "data": [{"object": "embedding", "index": 0, "embedding": direction(asked)}],
                "usage": {"prompt_tokens": 5, "total_tokens": 5},
            }),
            Self::Message => json!({
                "id": format!("msg_a{number}"), "type": "message", "role": "assistant",
                "model": model, "stop_reason": "end_turn", "stop_sequence": null,
                "content": [{"type": "text", "text": said}],
                "usage": {"input_tokens": 5, "output_tokens": 7},
            }),
            Self::Count => json!({"input_tokens": 5}),
        }
    }

    /// The events of a stream, the last of which ends it.
    pub(super) fn events(self, number: u64, said: &str, whole: &Value) -> Vec<Bytes> {
        let named = |data: &Value| {
            Bytes::from(format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap()))
        };
        let words = said.split_inclusive(' ');
        match self {
            Self::Response => {
                let mut begun = whole.clone();
                begun["status"] = json!("in_progress");
                begun["output"] = json!([]);
                let created = json!({"type": "response.created", "sequence_number": 0,
                    "response": begun});
                let delta = |word| {
                    named(&json!({"type": "response.output_text.delta", "sequence_number": 1,
                        "item_id": format!("msg_{number}"), "output_index": 0,
                        "content_index": 0, "delta": word}))
                };
                let completed = json!({"type": "response.completed", "sequence_number": 2,
                    "response": whole});
                let middle = words.map(delta);
                [named(&created)].into_iter().chain(middle).chain([named(&completed)]).collect()
            }
            Self::Message => {
                let mut begun = whole.clone();
                begun["content"] = json!([]);
                let start = json!({"type": "message_start", "message": begun});
                let block = json!({"type": "content_block_start", "index": 0,
                    "content_block": {"type": "text", "text": ""}});
                let delta = |word| {
                    named(&json!({"type": "content_block_delta", "index": 0,
                        "delta": {"type": "text_delta", "text": word}}))
                };
                let end = [
                    json!({"type": "content_block_stop", "index": 0}),
                    json!({"type": "message_delta", "usage": {"output_tokens": 7},
                        "delta": {"stop_reason": "end_turn", "stop_sequence": null}}),
                    json!({"type": "message_stop"}),
                ];
                let begin = [named(&start), named(&block)];
                begin.into_iter().chain(words.map(delta)).chain(end.iter().map(named)).collect()
            }
            _ => {
                let event = |content: &str| {
                    let chunk = json!({"id": "c", "object": "chat.completion.chunk", "created": 1,
                        "model": "m", "choices": [{"index": 0, "delta": {"content": content}}]});
                    Bytes::from(format!("data: {chunk}\n\n"))
                };
                words.map(event).chain([Bytes::from("data: [DONE]\n\n")]).collect()
            }
        }
    }
}

/// Questions of which one begins with the same word mean the same.
fn direction(asked: &Value) -> Value {
    let text = asked["input"].as_str().unwrap_or_default();
    let word = text.split(' ').next().unwrap_or_default();
    let sum: u32 = word.bytes().map(u32::from).sum();
    let angle = f64::from(sum);
    json!([angle.sin(), angle.cos()])
}
