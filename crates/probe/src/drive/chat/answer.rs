//! What a model's answer says, whole or as events, and by what it is known again.

use serde_json::{Value, json};

use super::Dialect;
use crate::wire::Exchange;

/// An answer of a model.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) exchange: Exchange,
    /// All that it says.
    pub(crate) text: String,
    /// `chatcmpl-…`, `msg_…`: made for this answer.
    pub(crate) id: Option<String>,
    /// When it says that it was made, in seconds.
    pub(crate) created: Option<i64>,
    /// Tokens of the prompt, with those out of a cache.
    pub(crate) prompt_tokens: Option<u64>,
    /// Those of them that came out of a prompt cache, if that is reported.
    pub(crate) cached_tokens: Option<u64>,
    /// To the first byte, in milliseconds, as we saw it.
    pub(crate) first_byte: f64,
    /// The time that the target itself says it took, in milliseconds.
    pub(crate) reported: Option<f64>,
}

/// Headers in which servers say how long they took, in milliseconds.
const REPORTED: &[&str] = &[
    "openai-processing-ms",
    "llm_provider-openai-processing-ms",
    "x-litellm-response-duration-ms",
    "x-envoy-upstream-service-time",
];

impl Said {
    /// Reads what came back.
    pub(crate) fn read(dialect: Dialect, exchange: Exchange) -> Self {
        let mut said = Self {
            text: String::new(),
            id: None,
            created: None,
            prompt_tokens: None,
            cached_tokens: None,
            first_byte: exchange.answer().map_or(0.0, |answer| millis(answer.first_byte)),
            reported: REPORTED
                .iter()
                .find_map(|name| exchange.header(name)?.trim().parse().ok())
                .filter(|value: &f64| value.is_finite()),
            exchange,
        };
        let body = body_of(&said.exchange);
        match body.trim_start().starts_with('{') {
            true => said.whole(dialect, &serde_json::from_str(&body).unwrap_or_default()),
            false => events(&body).for_each(|event| said.piece(dialect, &event)),
        }
        said
    }

    fn whole(&mut self, dialect: Dialect, body: &Value) {
        self.identity(body);
        self.usage(&body["usage"]);
        let parts = match dialect {
            Dialect::Openai => &body["choices"][0]["message"]["content"],
            Dialect::Anthropic => &body["content"],
        };
        if let Some(text) = parts.as_str() {
            self.text.push_str(text);
        }
        for part in parts.as_array().into_iter().flatten() {
            self.text.push_str(part["text"].as_str().unwrap_or_default());
        }
    }

    fn piece(&mut self, dialect: Dialect, event: &Value) {
        let delta = match dialect {
            Dialect::Openai => {
                self.identity(event);
                self.usage(&event["usage"]);
                &event["choices"][0]["delta"]["content"]
            }
            Dialect::Anthropic => {
                self.identity(&event["message"]);
                self.usage(&event["message"]["usage"]);
                self.usage(&event["usage"]);
                &event["delta"]["text"]
            }
        };
        self.text.push_str(delta.as_str().unwrap_or_default());
    }

    fn identity(&mut self, body: &Value) {
        let id = body["id"].as_str().filter(|id| !id.is_empty()).map(str::to_owned);
        self.id = self.id.take().or(id);
        self.created = self.created.or(body["created"].as_i64());
    }

    fn usage(&mut self, usage: &Value) {
        let cached = usage["prompt_tokens_details"]["cached_tokens"]
            .as_u64()
            .or(usage["prompt_cache_hit_tokens"].as_u64())
            .or(usage["cache_read_input_tokens"].as_u64());
        // Anthropic counts what comes out of the cache, and what goes in, apart.
        let apart = |name: &str| usage[name].as_u64().unwrap_or(0);
        let anthropics = usage["input_tokens"].as_u64().map(|tokens| {
            tokens + apart("cache_read_input_tokens") + apart("cache_creation_input_tokens")
        });
        self.cached_tokens = cached.or(self.cached_tokens);
        self.prompt_tokens = usage["prompt_tokens"].as_u64().or(anthropics).or(self.prompt_tokens);
    }

    /// Whether this is the very same answer: it has the other's id. If both say when they were
    /// made, they must say the same, too: an id may be made of the question.
    pub(crate) fn is(&self, other: &Self) -> bool {
        let times = self.created.zip(other.created);
        self.id.is_some() && self.id == other.id && times.is_none_or(|(own, its)| own == its)
    }

    /// Whether the headers say that it came out of a cache: which one, and what it says.
    pub(crate) fn marked(&self) -> Option<String> {
        let headers = &self.exchange.answer()?.headers;
        let hit = headers.iter().find(|(name, value)| {
            let value = value.to_ascii_lowercase();
            // LiteLLM names the key of a hit, and of nothing else.
            name == "x-litellm-cache-key"
                || name.contains("cache")
                    && value.split(|c: char| !c.is_alphanumeric()).any(|word| word == "hit")
                || name == "age" && value.parse().is_ok_and(|age: u64| age > 0)
        });
        hit.map(|(name, value)| match name.as_str() {
            "x-litellm-cache-key" => name.clone(),
            _ => format!("{name}: {value}"),
        })
    }

    /// The status, or why there was none.
    pub(crate) fn outcome(&self) -> String {
        match &self.exchange.outcome {
            Ok(answer) if answer.cut => format!("{}, cut off", answer.status),
            Ok(answer) => answer.status.to_string(),
            Err(why) => format!("by nothing ({why})"),
        }
    }
}

/// The body as text.
pub(crate) fn body_of(exchange: &Exchange) -> String {
    let body = exchange.answer().map(|answer| &answer.body[..]).unwrap_or_default();
    String::from_utf8_lossy(body).into_owned()
}

fn millis(time: std::time::Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The data of server-sent events, as far as it is JSON.
fn events(body: &str) -> impl Iterator<Item = Value> + '_ {
    let data = body.lines().filter_map(|line| line.strip_prefix("data:"));
    data.filter_map(|data| serde_json::from_str(data.trim()).ok())
}

/// What a dry run takes for an answer.
pub(super) fn example(dialect: Dialect, model: &str, prompt: &str) -> Value {
    // Each its own, as real ones have.
    let id = ids::RandomId::draw(&ids::OsEntropy);
    match dialect {
        Dialect::Openai => json!({
            "id": format!("chatcmpl-{id}"), "object": "chat.completion", "created": 0, "model": model,
            "choices": [{"index": 0, "finish_reason": "stop",
                "message": {"role": "assistant", "content": prompt}}],
            "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
        }),
        Dialect::Anthropic => json!({
            "id": format!("msg_{id}"), "type": "message", "role": "assistant", "model": model,
            "content": [{"type": "text", "text": prompt}], "stop_reason": "end_turn",
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }),
    }
}
