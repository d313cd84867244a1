//! What requests and answers of each endpoint look like.

use bulkhead_model::Api;

use super::standin::{Reply, Seen, chunks, completion, events, json};

/// The endpoints that a provider of OpenAI's kind has.
pub(crate) const OPENAI: [Api; 3] = [Api::Chat, Api::Responses, Api::Embeddings];

/// A request at an endpoint that leaves nothing with the provider; `more` stands first in it.
pub(crate) fn body(api: Api, model: &str, text: &str, more: &str) -> String {
    let turn = format!(r#"[{{"role":"user","content":"{text}"}}]"#);
    let rest = match api {
        Api::Chat => format!(r#""messages":{turn}"#),
        Api::Responses => format!(r#""store":false,"input":{turn}"#),
        Api::Embeddings => format!(r#""input":"{text}""#),
        Api::Messages => format!(r#""max_tokens":9,"messages":{turn}"#),
        Api::CountTokens => format!(r#""messages":{turn}"#),
    };
    let comma = if more.is_empty() { "" } else { "," };
    format!(r#"{{{more}{comma}"model":"{model}",{rest}}}"#)
}

/// The same for a stream.
pub(crate) fn streamed(api: Api, model: &str, text: &str) -> String {
    body(api, model, text, r#""stream":true"#)
}

/// A whole answer of an endpoint. Each takes 11 tokens and, but for counts and vectors, 7.
pub(crate) fn whole(api: Api, text: &str) -> String {
    match api {
        Api::Chat => completion(text),
        Api::Responses => response(text, "resp_1", "msg_1"),
        Api::Embeddings => {
            r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.5,-0.25]}],"usage":{"prompt_tokens":11,"total_tokens":11}}"#
                .to_owned()
        }
        Api::Messages => format!(
            r#"{{"id":"msg_a","type":"message","role":"assistant","content":[{{"type":"text","text":"{text}"}}],"stop_reason":"end_turn","usage":{{"input_tokens":11,"output_tokens":7}}}}"#
        ),
        Api::CountTokens => r#"{"input_tokens":11}"#.to_owned(),
    }
}

/// A response with these ids.
pub(crate) fn response(text: &str, id: &str, item: &str) -> String {
    format!(
        r#"{{"id":"{id}","object":"response","status":"completed","error":null,"output":[{{"id":"{item}","type":"message","role":"assistant","content":[{{"type":"output_text","text":"{text}","annotations":[]}}]}}],"usage":{{"input_tokens":11,"output_tokens":7}}}}"#
    )
}

/// A whole stream of an endpoint.
pub(crate) fn stream(api: Api, text: &str) -> String {
    match api {
        Api::Chat | Api::Embeddings | Api::CountTokens => chunks(text),
        Api::Responses => response_events(text, "resp_1", "msg_1"),
        Api::Messages => format!(
            "event: message_start\ndata: {{\"type\":\"message_start\",\"message\":{{\"id\":\"msg_a\",\
             \"type\":\"message\",\"usage\":{{\"input_tokens\":11,\"output_tokens\":1}}}}}}\n\n\
             event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\
             \"delta\":{{\"type\":\"text_delta\",\"text\":\"{text}\"}}}}\n\n\
             event: message_delta\ndata: {{\"type\":\"message_delta\",\"delta\":{{\"stop_reason\":\
             \"end_turn\"}},\"usage\":{{\"output_tokens\":7}}}}\n\n\
             event: message_stop\ndata: {{\"type\":\"message_stop\"}}\n\n"
        ),
    }
}

/// A stream of a response with these ids.
pub(crate) fn response_events(text: &str, id: &str, item: &str) -> String {
    let whole = response(text, id, item);
    format!(
        "event: response.created\ndata: {{\"type\":\"response.created\",\"response\":{{\"id\":\
         \"{id}\",\"object\":\"response\",\"status\":\"in_progress\",\"output\":[]}}}}\n\n\
         event: response.output_text.delta\ndata: {{\"type\":\"response.output_text.delta\",\
         \"item_id\":\"{item}\",\"delta\":\"{text}\"}}\n\n\
         event: response.completed\ndata: {{\"type\":\"response.completed\",\"response\":{whole}}}\n\n"
    )
}

/// The endpoint of a path.
pub(crate) fn api_of(path: &str) -> Api {
    // The longest first: one path ends as another one does.
    let mut all = Api::ALL;
    all.sort_by_key(|api| std::cmp::Reverse(api.path().len()));
    all.into_iter().find(|api| path.ends_with(api.path())).unwrap()
}

/// A stand-in's answer at whichever endpoint it is asked.
pub(crate) fn reply(seen: &Seen, text: &str) -> Reply {
    let api = api_of(&seen.path);
    match seen.json()["stream"] == true {
        true => events(stream(api, text)),
        false => json(whole(api, text)),
    }
}
