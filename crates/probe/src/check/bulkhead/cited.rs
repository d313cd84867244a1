//! What a provider keeps, named in a request instead of a path: in the body of a call, whole and as
//! a stream, in a message, and as the lines of a batch.

use http::Method;
use serde_json::{Value, json};

use crate::{
    canary::{Canary, Side},
    catalog,
    drive::chat::{Chat, repeat},
    lab::{Caller, Lab},
    sheet::Sheet,
    verdict::{Halt, Trial},
    wire::{Exchange, Request, quote},
};

/// How an answer goes on with what was said before.
const GO_ON: &str = "Repeat word for word what I told you to repeat before.";

pub(super) async fn all(chat: &Chat, lab: &Lab, sheet: &mut Sheet<'_>) {
    sheet
        .run(&catalog::OBJECT_ID, "cited handles", async |trial| {
            let mut left = Vec::new();
            let ended = check(chat, lab, trial, &mut left).await;
            let _cleaning = lab.wire.cleaning();
            for path in left {
                // A provider may have let it go already.
                let _ = lab.send(lab.caller(Side::A), Request::new(Method::DELETE, path)).await;
            }
            ended
        })
        .await;
}

/// What A keeps.
struct Kept {
    response: String,
    conversation: String,
    file: String,
}

async fn made(lab: &Lab, path: &str, body: &Value) -> Result<String, Halt> {
    let request = Request::new(Method::POST, path).json(body).example(json!({ "id": "example" }));
    let exchange = lab.patiently(lab.caller(Side::A), request).await?;
    let id = exchange.json()["id"].as_str().filter(|_| exchange.accepted()).map(str::to_owned);
    id.ok_or_else(|| Halt::Failed(format!("{path} was answered {}", exchange.status())))
}

async fn keep(
    chat: &Chat,
    lab: &Lab,
    canary: &Canary,
    left: &mut Vec<String>,
) -> Result<Kept, Halt> {
    let model = &chat.model;
    let input = repeat(&canary.text);
    let ask = json!({ "model": model, "input": input, "store": true, "max_output_tokens": 96 });
    let response = made(lab, "/v1/responses", &ask).await?;
    left.push(format!("/v1/responses/{}", quote(&response)));
    let message = json!({ "type": "message", "role": "user", "content": canary.text });
    let conversation = made(lab, "/v1/conversations", &json!({ "items": [message] })).await?;
    left.push(format!("/v1/conversations/{}", quote(&conversation)));
    let line = json!({ "custom_id": "one", "method": "POST", "url": "/v1/chat/completions",
        "body": { "model": model, "messages": [{ "role": "user", "content": input }] } });
    let form = format!(
        "--xx\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--xx\r\n\
         content-disposition: form-data; name=\"file\"; filename=\"f.jsonl\"\r\n\r\n{line}\n\r\n--xx--\r\n"
    );
    let mut request = Request::new(Method::POST, "/v1/files");
    request.body = Some(form.into_bytes());
    let request = request.header("content-type", "multipart/form-data; boundary=xx");
    let request = request.example(json!({ "id": "file-example" }));
    let exchange = lab.patiently(lab.caller(Side::A), request).await?;
    let file = exchange.json()["id"].as_str().filter(|_| exchange.accepted()).map(str::to_owned);
    let file =
        file.ok_or_else(|| Halt::Failed(format!("/v1/files was answered {}", exchange.status())))?;
    left.push(format!("/v1/files/{}", quote(&file)));
    Ok(Kept { response, conversation, file })
}

/// Ways to name what A keeps, each with whether its answer repeats it.
fn ways(chat: &Chat, kept: &Kept) -> Vec<(&'static str, &'static str, Value, bool)> {
    let model = &chat.model;
    let Kept { response, conversation, file } = kept;
    let respond = |field: &str, id: &str, stream: bool| {
        let mut ask =
            json!({ "model": model, "input": GO_ON, "stream": stream, "max_output_tokens": 96 });
        ask[field] = json!(id);
        ask
    };
    let part = json!([{ "type": "file", "file": { "file_id": file } }]);
    let talk = json!({ "model": model, "messages": [{ "role": "user", "content": part }] });
    let mut streamed = talk.clone();
    streamed["stream"] = json!(true);
    let batch = json!({ "input_file_id": file, "endpoint": "/v1/chat/completions",
        "completion_window": "24h" });
    let responses = "/v1/responses";
    vec![
        ("a response", responses, respond("previous_response_id", response, false), true),
        ("a response, streamed", responses, respond("previous_response_id", response, true), true),
        ("a conversation", responses, respond("conversation", conversation, false), true),
        ("a conversation, streamed", responses, respond("conversation", conversation, true), true),
        ("a file", "/v1/chat/completions", talk, false),
        ("a file, streamed", "/v1/chat/completions", streamed, false),
        ("a file of lines", "/v1/batches", batch, false),
    ]
}

async fn cite(lab: &Lab, by: &Caller, path: &str, body: &Value) -> Result<Exchange, Halt> {
    lab.patiently(by, Request::new(Method::POST, path).json(body)).await
}

async fn check(
    chat: &Chat,
    lab: &Lab,
    trial: &mut Trial,
    left: &mut Vec<String>,
) -> Result<(), Halt> {
    let never = lab.canaries.never_planted(Side::A);
    let canary = lab.canary(Side::A, "cited handles");
    let kept = keep(chat, lab, &canary, left).await?;
    let ways = ways(chat, &kept);
    for (what, path, body, repeats) in &ways {
        let taken = cite(lab, lab.caller(Side::B), path, body).await?;
        trial.negative(never.seen_in(&taken).is_none(), "what was never planted is not found");
        if let Some(seen) = canary.seen_in(&taken) {
            trial.attacked();
            trial.leaked(&format!("B cites {what} of A's"), &seen, &[&taken]);
        } else if taken.accepted() {
            trial.attacked();
            trial.leak(format!("B cites {what} of A's, and is answered"), &[&taken]);
        } else if taken.refused() {
            trial.attacked();
        } else {
            trial.doubt(format!("to cite {what} was answered {}", taken.status()));
        }
        let own = cite(lab, lab.caller(Side::A), path, body).await?;
        let holds = own.accepted() && (!repeats || canary.seen_in(&own).is_some());
        trial.positive(holds, format!("A cites {what} ({})", own.status()));
        if let Some(id) = own.json()["id"].as_str().filter(|id| id.starts_with("resp")) {
            left.push(format!("/v1/responses/{}", quote(id)));
        }
    }
    trial.summary(format!("{} ways to cite what is A's, all refused", ways.len()));
    Ok(())
}
