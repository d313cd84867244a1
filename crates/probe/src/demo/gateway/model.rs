//! The model: a stand-in that says again what it was told, and how the gateway asks it.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::Response,
};
use ids::Clock as _;
use serde_json::{Value, json};

use super::{Gateway, Tenant, answered, caches, error, refusal, typed};
use crate::stats::Latency;

/// What it is called.
pub(super) const NAME: &str = "demo-1";

/// How long the answer to a short question is on its way, so that one can hang up meanwhile; and
/// how many words are too many for that.
const WORK: Duration = Duration::from_millis(2);
const LONG: u64 = 400;

/// How a model's time is simulated: for any answer, and for each token of the prompt that is not
/// yet computed. Nobody waits so long; it is only reported, as OpenAI reports it.
const ANSWERING: f64 = 120.0;
const COMPUTING: f64 = 0.08;
const NOISE: Latency = Latency { median: 1.0, sigma: 0.15 };

/// An answer of the model.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    id: String,
    created: u64,
    pub(super) text: String,
    prompt: u64,
    cached: u64,
    millis: f64,
}

pub(super) async fn models(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    match gateway.who(&headers, &uri, &Value::Null) {
        Ok(_) => {
            let model = json!({"id": NAME, "object": "model"});
            answered(StatusCode::OK, &[], json!({"object": "list", "data": [model]}))
        }
        Err(refused) => refused,
    }
}

pub(super) async fn chat(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    uri: Uri,
    body: Bytes,
) -> Response {
    gateway.complete(&headers, &uri, &body, false).await
}

pub(super) async fn messages(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    uri: Uri,
    body: Bytes,
) -> Response {
    gateway.complete(&headers, &uri, &body, true).await
}

impl Gateway {
    async fn complete(
        &self,
        headers: &HeaderMap,
        uri: &Uri,
        body: &[u8],
        anthropic: bool,
    ) -> Response {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let tenant = match self.who(headers, uri, &body) {
            Ok(tenant) => tenant,
            Err(refused) => return refused,
        };
        // One at a time of each customer, so that nobody's flood is another's wait.
        let _lane = self.lanes[tenant as usize].acquire().await;
        if let Err(refused) = self.sound(&body) {
            return refused;
        }
        if let Some(kept) = self.store().failures.get(&failure(tenant, &body)) {
            return answered(StatusCode::BAD_REQUEST, &[], kept.clone());
        }
        let key = self.key(tenant, headers, &body);
        let kept = self.store().answers.get(&key).cloned();
        let kept = kept.or_else(|| self.alike(tenant, headers, &body));
        let (answer, mark) = match kept {
            Some(answer) => (answer, "hit"),
            None => {
                let answer = self.think(tenant, &caches::last(&body), &body, anthropic);
                self.remember(tenant, headers, &body, &answer);
                (answer, "miss")
            }
        };
        self.store().answers.insert(key, answer.clone());
        let answer = self.fetched(answer).await;
        shown(&answer, &body, anthropic, mark)
    }

    /// Whether the model can answer this.
    #[expect(clippy::result_large_err, reason = "a refusal is an answer, and is sent at once")]
    fn sound(&self, body: &Value) -> Result<(), Response> {
        let Some((kind, what)) = fault(body) else { return Ok(()) };
        let message = error("invalid_request_error", &what);
        let mut store = self.store();
        let told = match self.wrong("gateway-errors-by-kind") {
            true => store.errors.entry(kind.to_owned()).or_insert(message).clone(),
            false => message,
        };
        if self.wrong("gateway-error-kept") {
            for tenant in [Tenant::Acme, Tenant::Globex] {
                store.failures.insert(failure(tenant, body), told.clone());
            }
        }
        let status = if kind == "model" { StatusCode::NOT_FOUND } else { StatusCode::BAD_REQUEST };
        Err(answered(status, &[], told))
    }

    fn think(&self, tenant: Tenant, prompt: &str, body: &Value, anthropic: bool) -> Answer {
        let (computed, cached) = self.computed(tenant, prompt, body);
        let tokens = prompt.split_whitespace().count() as u64;
        let most = body["max_tokens"].as_u64().unwrap_or(256);
        let said = said(prompt);
        let text: Vec<&str> = said.split(' ').take(usize::try_from(most).unwrap_or(256)).collect();
        // The noise belongs to the question, so that equal runs see equal times.
        let question = prompt.rsplit("\n\n").next().unwrap_or_default();
        let seed = question.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let noise = NOISE.draw(&mut fastrand::Rng::with_seed(seed));
        let unknown = tokens.saturating_sub(computed) as f64;
        let id = ids::RandomId::draw(&ids::OsEntropy);
        Answer {
            id: format!("{}{id}", if anthropic { "msg_" } else { "chatcmpl-" }),
            created: ids::SystemClock.now().secs(),
            text: text.join(" "),
            prompt: tokens,
            cached,
            millis: (ANSWERING + COMPUTING * unknown) * noise,
        }
    }

    /// The answer as it comes from where it is kept, over the one connection that there is.
    async fn fetched(&self, answer: Answer) -> Answer {
        if answer.prompt > LONG {
            return answer;
        }
        if self.wrong("gateway-shared-buffer") {
            self.store().buffer = Some(answer.clone());
            tokio::time::sleep(WORK).await;
            return self.store().buffer.clone().unwrap_or(answer);
        }
        if self.wrong("gateway-connection-desync") {
            let mut connection = self.connection.lock().await;
            connection.push_back(answer.clone());
            tokio::time::sleep(WORK * 4).await;
            let first = connection.pop_front().unwrap_or(answer);
            // What else has come is thrown away.
            connection.clear();
            return first;
        }
        tokio::time::sleep(WORK).await;
        answer
    }
}

/// What the model says: again what it was told to, or what it understood.
pub(super) fn said(prompt: &str) -> String {
    let repeated = prompt.strip_prefix("Repeat ").and_then(|rest| rest.split_once(": "));
    repeated.map_or_else(|| format!("You said: {prompt}"), |(_, text)| text.to_owned())
}

/// What is wrong with a request, and where.
fn fault(body: &Value) -> Option<(&'static str, String)> {
    let model = body["model"].as_str().unwrap_or_default();
    if model != NAME {
        return Some(("model", format!("the model {model} does not exist")));
    }
    let Some(messages) = body["messages"].as_array() else {
        return Some(("messages", format!("messages has to be a list, not {}", body["messages"])));
    };
    let known = ["system", "developer", "user", "assistant", "tool"];
    let roles = messages.iter().map(|message| message["role"].as_str().unwrap_or_default());
    if let Some(role) = roles.into_iter().find(|role| !known.contains(role)) {
        return Some(("role", format!("{role} is no role of a message")));
    }
    let temperature = &body["temperature"];
    if !temperature.is_null() && !temperature.is_number() {
        return Some(("temperature", format!("the temperature {temperature} is no number")));
    }
    let choice = &body["tool_choice"];
    let kind = choice["type"].as_str().or(choice.as_str()).unwrap_or("none");
    let kinds = ["none", "auto", "any", "tool", "required", "function"];
    (!kinds.contains(&kind)).then(|| ("tool choice", format!("{kind} is no choice of a tool")))
}

/// Under what an error is kept as if it were an answer.
fn failure(tenant: Tenant, body: &Value) -> String {
    format!("{tenant:?} {}", body["messages"])
}

/// An answer in the words of its interface.
fn shown(answer: &Answer, body: &Value, anthropic: bool, mark: &'static str) -> Response {
    let headers =
        [("openai-processing-ms", format!("{:.2}", answer.millis)), ("x-cache", mark.to_owned())];
    let streams = body["stream"] == true;
    let text = match (anthropic, streams) {
        (false, false) => completion(answer).to_string(),
        (true, false) => message(answer).to_string(),
        (false, true) => completion_events(answer),
        (true, true) => message_events(answer),
    };
    let kind = if streams { "text/event-stream" } else { "application/json" };
    typed(StatusCode::OK, kind, &headers, text)
}

fn completion(answer: &Answer) -> Value {
    json!({
        "id": answer.id, "object": "chat.completion", "created": answer.created, "model": NAME,
        "choices": [{"index": 0, "finish_reason": "stop",
            "message": {"role": "assistant", "content": answer.text}}],
        "usage": openai_usage(answer),
    })
}

fn openai_usage(answer: &Answer) -> Value {
    let said = answer.text.split(' ').count() as u64;
    json!({
        "prompt_tokens": answer.prompt, "completion_tokens": said,
        "total_tokens": answer.prompt + said,
        "prompt_tokens_details": {"cached_tokens": answer.cached},
    })
}

fn message(answer: &Answer) -> Value {
    json!({
        "id": answer.id, "type": "message", "role": "assistant", "model": NAME,
        "content": [{"type": "text", "text": answer.text}], "stop_reason": "end_turn",
        "usage": anthropic_usage(answer),
    })
}

fn anthropic_usage(answer: &Answer) -> Value {
    json!({
        "input_tokens": answer.prompt - answer.cached.min(answer.prompt),
        "cache_read_input_tokens": answer.cached,
        "output_tokens": answer.text.split(' ').count(),
    })
}

/// Half of the text in each of two events, so that whoever looks has to put it together.
fn halves(text: &str) -> [&str; 2] {
    let middle = text.char_indices().nth(text.chars().count() / 2).map_or(0, |(at, _)| at);
    [&text[..middle], &text[middle..]]
}

fn completion_events(answer: &Answer) -> String {
    let chunk = |choices: Value, usage: Value| {
        let event = json!({
            "id": answer.id, "object": "chat.completion.chunk", "created": answer.created,
            "model": NAME, "choices": choices, "usage": usage,
        });
        format!("data: {event}\n\n")
    };
    let pieces = halves(&answer.text)
        .map(|half| chunk(json!([{"index": 0, "delta": {"content": half}}]), Value::Null));
    let end = json!([{"index": 0, "delta": {}, "finish_reason": "stop"}]);
    let (end, usage) = (chunk(end, Value::Null), chunk(json!([]), openai_usage(answer)));
    format!("{}{end}{usage}data: [DONE]\n\n", pieces.concat())
}

fn message_events(answer: &Answer) -> String {
    let event = |data: Value| {
        format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap_or_default())
    };
    let start = json!({"type": "message_start", "message": {
        "id": answer.id, "type": "message", "role": "assistant", "model": NAME, "content": [],
        "usage": anthropic_usage(answer),
    }});
    let pieces = halves(&answer.text).map(|half| {
        event(json!({"type": "content_block_delta", "index": 0,
            "delta": {"type": "text_delta", "text": half}}))
    });
    let begin = json!({"type": "content_block_start", "index": 0,
        "content_block": {"type": "text", "text": ""}});
    let end = json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"},
        "usage": {"output_tokens": answer.text.split(' ').count()}});
    let parts = [
        event(start),
        event(begin),
        pieces.concat(),
        event(json!({"type": "content_block_stop", "index": 0})),
        event(end),
        event(json!({"type": "message_stop"})),
    ];
    parts.concat()
}

/// For requests that the rest of the gateway answers.
pub(super) fn unknown() -> Response {
    refusal(StatusCode::NOT_FOUND, "there is nothing of this id")
}
