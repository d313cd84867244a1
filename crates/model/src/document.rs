//! A whole answer: whether it is what was asked for, what it took, and what the provider made
//! for it.

use bytes::Bytes;
use http::StatusCode;
use ids::planted;
use serde::Deserialize;

use crate::{
    Api, Fault, Made, Usage,
    answer::JSON,
    shapes::{Chat, Message, Response, kept},
    upstream::Exchange,
};

/// What a whole answer says of itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Document {
    /// It is an answer, all of it, and fit to be kept in the cache.
    pub(crate) whole: bool,
    /// It holds an error. It goes out rebuilt, by `scrub::answer`.
    pub(crate) error: bool,
    pub(crate) usage: Option<Usage>,
    /// To be claimed before the answer goes out.
    pub(crate) made: Vec<Made>,
}

/// Reads an answer to its end, and looks at what it is.
///
/// # Errors
/// It is not JSON, not of the endpoint, too large, repeats the credential, or breaks off.
pub(crate) async fn collect(
    api: Api,
    exchange: Box<Exchange>,
    keeps: bool,
) -> Result<(StatusCode, Bytes, Document), Fault> {
    if !exchange.is(JSON) {
        return Err(Fault::Malformed("it is not JSON"));
    }
    let (status, secret) = (exchange.status, exchange.secret());
    let body = exchange.collect().await?;
    if secret.found_in(&body) {
        return Err(Fault::REPEATS);
    }
    // Where nothing here looks, too: clients would each make something else of it.
    if std::str::from_utf8(&body).is_err() {
        return Err(Fault::Malformed("it is not UTF-8"));
    }
    let document = read(api, status, &body, keeps)?;
    Ok((status, body, document))
}

/// Looks at a body. `keeps`: whether the provider keeps the answer, as it does unless it was
/// told not to.
///
/// # Errors
/// It is no JSON object, names a key twice that matters, or names too many handles or too
/// long ones.
pub(crate) fn read(
    api: Api,
    status: StatusCode,
    body: &Bytes,
    keeps: bool,
) -> Result<Document, Fault> {
    let (right, error, usage, made) = match api {
        Api::Chat | Api::Embeddings => {
            let chat: Chat = parse(body)?;
            let (there, empty) = match api {
                Api::Chat => (chat.choices.there, chat.choices.empty),
                _ => (chat.data.there, chat.data.empty),
            };
            let right = there && (!empty || planted::is("empty-answer-kept"));
            let usage = chat.usage.0.as_ref().and_then(|usage| usage.usage());
            (right, chat.error.is_some(), usage, chat.made())
        }
        Api::Responses => {
            let response: Response<'_> = parse(body)?;
            let right = response.object.is("response") && response.status.is("completed");
            let usage = response.usage.0.as_ref().and_then(|usage| usage.usage());
            (right, response.failed(), usage, response.made())
        }
        Api::Messages | Api::CountTokens => {
            let message: Message<'_> = parse(body)?;
            let right = match api {
                Api::Messages => message.kind.is("message"),
                _ => message.input_tokens.is_some(),
            };
            let error = message.error.is_some() || message.kind.is("error");
            // A count that was asked for is not what asking took.
            let usage = message.usage.0.filter(|_| api == Api::Messages);
            (right, error, usage.and_then(|usage| usage.usage()), message.made())
        }
    };
    let whole = match status {
        StatusCode::OK if planted::is("error-stored-in-cache") => right || error,
        StatusCode::OK => right && !error,
        _ => false,
    };
    let made = match api {
        Api::Embeddings | Api::CountTokens => Vec::new(),
        _ => kept(made, keeps)?,
    };
    Ok(Document { whole, error, usage, made })
}

fn parse<'a, T: Deserialize<'a>>(body: &'a Bytes) -> Result<T, Fault> {
    serde_json::from_slice::<crate::lax::Object<T>>(body)
        .ok()
        .and_then(|object| object.0)
        .ok_or(Fault::Malformed("it is not a JSON object that can be read"))
}

#[cfg(test)]
mod tests {
    use HandleKind::{Audio, Container, Conversation, File, Item, Other, Response};

    use super::*;
    use crate::HandleKind;

    fn of(api: Api, body: &str) -> Result<Document, Fault> {
        read(api, StatusCode::OK, &Bytes::copy_from_slice(body.as_bytes()), true)
    }

    #[test]
    fn only_whole_answers_are_fit_to_be_kept() {
        let response = r#"{"object":"response","status":"completed","error":null}"#;
        for (api, body, whole, error) in [
            (Api::Chat, r#"{"choices":[{}]}"#, true, false),
            (Api::Chat, r#"{"choices":[{}],"error":null}"#, true, false),
            (Api::Chat, r#"{"choices":[]}"#, false, false),
            (Api::Chat, r#"{"choices":"none"}"#, false, false),
            (Api::Embeddings, r#"{"data":[]}"#, false, false),
            (Api::Embeddings, r#"{"data":null}"#, false, false),
            (Api::Chat, r#"{"choices":null}"#, false, false),
            (Api::Chat, r#"{"choices":[],"error":{"message":"m"}}"#, false, true),
            (Api::Chat, r#"{"choices":[],"\u0065rror":"m"}"#, false, true),
            (Api::Chat, r#"{"data":[]}"#, false, false),
            (Api::Embeddings, r#"{"data":[{"embedding":[0.5]}]}"#, true, false),
            (Api::Embeddings, r#"{"data":[],"error":{"message":"m"}}"#, false, true),
            (Api::Embeddings, r#"{"choices":[]}"#, false, false),
            (Api::Responses, response, true, false),
            (Api::Responses, r#"{"object":"response","status":"queued"}"#, false, false),
            (Api::Responses, r#"{"object":"response","status":"incomplete"}"#, false, false),
            (Api::Responses, r#"{"object":"response","status":"failed"}"#, false, true),
            (
                Api::Responses,
                r#"{"object":"response","status":"completed","error":{"code":"c"}}"#,
                false,
                true,
            ),
            (Api::Responses, r#"{"status":"completed"}"#, false, false),
            (Api::Messages, r#"{"type":"message","content":[]}"#, true, false),
            (Api::Messages, r#"{"type":"error","error":{"type":"api_error"}}"#, false, true),
            (Api::Messages, r#"{"type":"error"}"#, false, true),
            (Api::Messages, r#"{"type":"message","error":{}}"#, false, true),
            (Api::Messages, r#"{"content":[]}"#, false, false),
            (Api::CountTokens, r#"{"input_tokens":7}"#, true, false),
            (Api::CountTokens, r#"{"type":"error","input_tokens":7}"#, false, true),
            (Api::CountTokens, "{}", false, false),
        ] {
            let read = of(api, body).unwrap();
            assert_eq!((read.whole, read.error), (whole, error), "{body}");
            let other = StatusCode::ACCEPTED;
            let body = Bytes::copy_from_slice(body.as_bytes());
            assert!(!super::read(api, other, &body, true).unwrap().whole);
        }
    }

    #[test]
    fn what_cannot_be_read_is_no_answer() {
        for body in [
            "",
            "[]",
            "7",
            "null",
            "\"choices\"",
            "{\"choices\":[]",
            "{\"choices\":[]}{}",
            r#"{"error":null,"error":{"message":"m"},"choices":[],"choices":[]}"#,
            r#"{"usage":1,"usage":2}"#,
        ] {
            for api in [Api::Chat, Api::Embeddings] {
                assert!(matches!(of(api, body), Err(Fault::Malformed(_))), "{body}");
            }
        }
        for (api, body) in [
            (Api::Responses, r#"{"id":"resp_1","id":"resp_2"}"#),
            (Api::Responses, r#"{"output":[{"id":"a","id":"b"}]}"#),
            (Api::Messages, r#"{"container":{"id":"a"},"container":{"id":"b"}}"#),
        ] {
            assert!(matches!(of(api, body), Err(Fault::Malformed(_))), "{body}");
        }
        let broken = Bytes::from_static(b"{\"id\":\"\xff\",\"object\":\"response\"}");
        let read = read(Api::Responses, StatusCode::OK, &broken, true);
        assert!(matches!(read, Err(Fault::Malformed(_))));
        let deep = format!("{{\"output\":{}{}}}", "[{\"content\":".repeat(200), "}]".repeat(200));
        assert!(of(Api::Responses, &deep).is_err());
    }

    #[test]
    fn usage_of_every_endpoint() {
        let some = |input, output, cached| Some(Usage { input, output, cached });
        for (api, body, expected) in [
            (
                Api::Chat,
                r#"{"usage":{"prompt_tokens":7,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":2}}}"#,
                some(7, 3, 2),
            ),
            (Api::Embeddings, r#"{"usage":{"prompt_tokens":7,"total_tokens":7}}"#, some(7, 0, 0)),
            (
                Api::Responses,
                r#"{"usage":{"input_tokens":7,"output_tokens":3,"input_tokens_details":{"cached_tokens":2}}}"#,
                some(7, 3, 2),
            ),
            (
                Api::Messages,
                r#"{"usage":{"input_tokens":7,"cache_read_input_tokens":2,"cache_creation_input_tokens":1,"output_tokens":3}}"#,
                some(10, 3, 2),
            ),
            (Api::CountTokens, r#"{"input_tokens":7,"usage":{"input_tokens":7}}"#, None),
            (Api::Chat, r#"{"usage":null}"#, None),
            (Api::Chat, r#"{"usage":"7"}"#, None),
            (Api::Responses, r#"{"usage":[7]}"#, None),
            (Api::Messages, "{}", None),
        ] {
            assert_eq!(of(api, body).unwrap().usage, expected, "{body}");
        }
    }

    /// A response with a handle at every place that is looked at, and at many that are not.
    const RESPONSE: &str = r#"{"id":"resp_1","object":"response","status":"completed",
        "previous_response_id":"resp_0","conversation":{"id":"conv_1"},"prompt":{"id":"pmpt_1"},
        "tools":[{"type":"file_search","vector_store_ids":["vs_1"]},
            {"type":"code_interpreter","container":"cntr_0"}],
        "metadata":{"id":"resp_x","container_id":"cntr_x","file_id":"file_x"},
        "output":[
            {"type":"reasoning","id":"rs_1","summary":[]},
            {"type":"code_interpreter_call","id":"ci_1","container_id":"cntr_1",
                "code":"{\"file_id\":\"file_x\"}",
                "outputs":[{"type":"logs","logs":"x"},{"type":"files","files":[{"file_id":"cfile_2"}]}]},
            {"type":"image_generation_call","id":"ig_1","result":"aGk="},
            {"type":"message","id":"msg_1","content":[{"type":"output_text",
                "text":"{\"container_id\":\"cntr_x\"}","annotations":[
                    {"type":"file_citation","file_id":"file_cited"},
                    {"type":"url_citation","url":"file_x"},
                    {"type":"container_file_citation","container_id":"cntr_1","file_id":"cfile_1"}]}]},
            {"type":"function_call","id":"fc_1","call_id":"call_1","arguments":"{\"id\":\"x\"}"},
            {"id":{"id":{"id":"x"}}}, {"id":7}, {"id":null}, "msg_x", ["msg_x"], null]}"#;

    #[test]
    fn handles_stand_at_known_places_only() {
        let message = r#"{"type":"message","id":"msg_1","container":{"id":"container_1"},"content":[
            {"type":"text","text":"{\"file_id\":\"file_x\"}","citations":[{"file_id":"file_x"}]},
            {"type":"server_tool_use","id":"srvtoolu_1","input":{"file_id":"file_x"}},
            {"type":"code_execution_tool_result","content":{"type":"code_execution_result",
                "content":[{"type":"code_execution_output","file_id":"file_1"}]}},
            {"type":"bash_code_execution_tool_result","content":{"content":[{"file_id":"file_2"}]}},
            {"type":"mcp_tool_result","content":[{"type":"text","file_id":"file_x"}]},
            {"type":"web_search_tool_result","content":[{"file_id":"file_x"}]}]}"#;
        let chat = r#"{"id":"chatcmpl-1","choices":[
            {"message":{"audio":{"id":"audio_1"},"content":"x"}},
            {"message":{"audio":null}}, {"message":"audio_x"}, "x"]}"#;
        let items = ["rs_1", "ci_1", "ig_1", "msg_1", "fc_1"].map(|id| (Item, id));
        // `{"id":{"id":"x"}}` is no id: what it holds is an object again.
        let mut response = vec![
            (Response, "resp_1"),
            (Conversation, "conv_1"),
            (Container, "cntr_1"),
            (File, "cfile_1"),
            (File, "cfile_2"),
        ];
        response.extend(items);
        for (api, body, mut expected) in [
            (Api::Responses, RESPONSE, response),
            (
                Api::Messages,
                message,
                vec![(Container, "container_1"), (File, "file_1"), (File, "file_2")],
            ),
            (Api::Chat, chat, vec![(Other, "chatcmpl-1"), (Audio, "audio_1")]),
            (Api::Embeddings, r#"{"id":"embd_1","data":[]}"#, vec![]),
            (Api::CountTokens, r#"{"container":{"id":"c"},"input_tokens":1}"#, vec![]),
        ] {
            expected.sort_unstable();
            for keeps in [true, false] {
                let body = Bytes::copy_from_slice(body.as_bytes());
                let read = read(api, StatusCode::OK, &body, keeps).unwrap();
                let made: Vec<_> = read.made.iter().map(|m| (m.kind, m.id.as_str())).collect();
                if !keeps {
                    expected.retain(|made| !matches!(made.0, Response | Item | Other));
                }
                assert_eq!(made, expected, "{api:?} {keeps}");
            }
        }
    }

    #[test]
    fn handles_are_bounded_in_number_and_length() {
        let of = |ids: usize, bytes: usize, keeps| {
            let item = |n| format!("{{\"id\":\"{n:0>bytes$}\"}}");
            let items = (0..ids).map(item).collect::<Vec<_>>().join(",");
            let body = Bytes::from(format!("{{\"output\":[{items}]}}"));
            read(Api::Responses, StatusCode::OK, &body, keeps).map(|read| read.made.len())
        };
        assert_eq!(of(512, 8, true), Ok(512));
        assert!(matches!(of(513, 8, true), Err(Fault::Malformed(_))));
        assert!(matches!(of(10_000, 8, true), Err(Fault::Malformed(_))));
        assert_eq!(of(1, crate::MAX_HANDLE, true), Ok(1));
        assert!(matches!(of(1, crate::MAX_HANDLE + 1, true), Err(Fault::Malformed(_))));
        assert_eq!(of(1, crate::MAX_HANDLE + 1, false), Ok(0));
        // The same one over and over is one.
        let cites = r#"{"type":"container_file_citation","container_id":"c","file_id":"f"},"#;
        let body = format!(
            "{{\"output\":[{{\"content\":[{{\"annotations\":[{}null]}}]}}]}}",
            cites.repeat(5_000)
        );
        let read = super::read(Api::Responses, StatusCode::OK, &Bytes::from(body), true).unwrap();
        assert_eq!(read.made.len(), 2);
    }
}
