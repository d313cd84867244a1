//! Where handles stand, place by place.

use HandleKind::{
    Audio, Batch, Container, Conversation, File, Item, Other, Prompt, Response, VectorStore,
};
use bytes::Bytes;

use super::*;
use crate::{Limits, Request};

fn cited(api: Api, fields: &str) -> Vec<(HandleKind, String, &'static str)> {
    let body = format!(r#"{{"model":"m",{fields}}}"#);
    let request = Request::parse(api, Bytes::from(body), &Limits::default()).unwrap();
    request.cited().iter().map(|c| (c.kind, c.id.clone(), c.place)).collect()
}

/// Where, the fields of a body, and what they cite.
type Row<'a> = (Api, &'a str, &'a [(HandleKind, &'a str, &'a str)]);

fn holds(rows: &[Row<'_>]) {
    for (api, fields, expected) in rows {
        let got = cited(*api, fields);
        let got: Vec<_> = got.iter().map(|(kind, id, place)| (*kind, &**id, *place)).collect();
        assert_eq!(got, *expected, "{api:?} {fields}");
    }
}

#[test]
fn in_chat_completions() {
    let chat = Api::Chat;
    holds(&[
        (chat, r#""messages":[{"role":"user","content":"file_id: file-1"}]"#, &[]),
        (
            chat,
            r#""messages":[{"content":[{"type":"file","file":{"file_id":null,"file_data":"x"}}]}]"#,
            &[],
        ),
        (
            chat,
            r#""messages":[{"content":[{"type":"file","file":{"file_id":"file-1"}}]}]"#,
            &[(File, "file-1", "file_id")],
        ),
        (
            chat,
            r#""messages":[{"content":[{"file":{"fileId":"file-1"}}]}]"#,
            &[(File, "file-1", "file_id")],
        ),
        (
            chat,
            r#""messages":[{"content":[{"type":"image_url","image_url":null,"uuid":"image-1"}]}]"#,
            &[(Other, "image-1", "uuid")],
        ),
        (
            chat,
            r#""messages":[{"role":"assistant","audio":{"id":"audio_1"}}]"#,
            &[(Audio, "audio_1", "audio.id")],
        ),
        (
            chat,
            r#""messages":[{"role":"assistant","Audio":{"ID":"audio_1"}}]"#,
            &[(Audio, "audio_1", "audio.id")],
        ),
        (chat, r#""messages":[{"content":[{"input_audio":{"data":"x"}}]}]"#, &[]),
        (chat, r#""audio":{"voice":"alloy"}"#, &[]),
        (chat, r#""audio":{"voice":{"id":"voice_1"}}"#, &[(Other, "voice_1", "audio.voice.id")]),
        (
            chat,
            r#""prediction":{"content":[{"type":"file","file":{"file_id":"file-1"}}]}"#,
            &[(File, "file-1", "file_id")],
        ),
        (
            chat,
            r#""prompt_cache_options":{"comparison_response_id":"resp_1"}"#,
            &[(Response, "resp_1", "comparison_response_id")],
        ),
        // Nothing is looked up by the caller's own labels and schemas.
        (chat, r#""metadata":{"thread_id":"t","file_id":"f"}"#, &[]),
        (
            chat,
            r#""tools":[{"type":"function","function":{"name":"f","parameters":
               {"properties":{"file_id":{"type":"string"}}}}}]"#,
            &[],
        ),
        (
            chat,
            r#""messages":[{"tool_calls":[{"id":"call_1","function":{"arguments":"{\"file_id\":1}"}}]}]"#,
            &[],
        ),
        (
            chat,
            r#""response_format":{"json_schema":{"schema":{"properties":{"batch_id":{}}}}}"#,
            &[],
        ),
        // Fields that stay here name nothing to anybody.
        (chat, r#""cache":{"file_id":1}"#, &[]),
        // Metadata under another name is no metadata.
        (chat, r#""Metadata":{"thread_id":"t"}"#, &[(Other, "t", "thread_id")]),
        (
            chat,
            r#""x":{"assistant_id":"a","batch_id":"b","prompt_id":"p","vectorStoreIds":["v"],
               "response_id":"r","conversation_id":"c"}"#,
            &[
                (Other, "a", "assistant_id"),
                (Batch, "b", "batch_id"),
                (Prompt, "p", "prompt_id"),
                (VectorStore, "v", "vector_store_ids"),
                (Response, "r", "response_id"),
                (Conversation, "c", "conversation_id"),
            ],
        ),
    ]);
}

#[test]
fn in_responses() {
    let responses = Api::Responses;
    holds(&[
        (
            responses,
            r#""previous_response_id":"resp_1""#,
            &[(Response, "resp_1", "previous_response_id")],
        ),
        (
            responses,
            r#""previousResponseId":"resp_1""#,
            &[(Response, "resp_1", "previous_response_id")],
        ),
        (responses, r#""conversation":"conv_1""#, &[(Conversation, "conv_1", "conversation")]),
        (
            responses,
            r#""conversation":{"id":"conv_1"}"#,
            &[(Conversation, "conv_1", "conversation")],
        ),
        (
            responses,
            r#""prompt":{"id":"pmpt_1","variables":{"file_id":"a text",
               "f":{"type":"input_file","file_id":"file-1"}}}"#,
            &[(Prompt, "pmpt_1", "prompt.id"), (File, "file-1", "file_id")],
        ),
        (responses, r#""input":"previous_response_id""#, &[]),
        (responses, r#""input":[{"role":"user","content":"x"}]"#, &[]),
        (
            responses,
            r#""input":[{"type":"item_reference","id":"msg_1"},{"id":"rs_1","type":"reasoning"},
               {"type":"function_call","id":null,"call_id":"call_1"},{"ID":"fc_1"}]"#,
            &[
                (Item, "msg_1", "input[].id"),
                (Item, "rs_1", "input[].id"),
                (Item, "fc_1", "input[].id"),
            ],
        ),
        (
            responses,
            r#""input":[{"role":"user","content":[{"type":"input_file","file_id":"file-1"},
               {"type":"input_image","file_id":"file-2"}]}]"#,
            &[(File, "file-1", "file_id"), (File, "file-2", "file_id")],
        ),
        (
            responses,
            r#""input":[{"type":"computer_call_output","output":{"file_id":"file-1"},
               "acknowledged_safety_checks":[{"id":"sc_1"}]}]"#,
            &[(File, "file-1", "file_id")],
        ),
        (
            responses,
            r#""input":[{"type":"function_call_output","output":[{"type":"input_file","file_id":"file-1"}]}]"#,
            &[(File, "file-1", "file_id")],
        ),
        (
            responses,
            r#""input":[{"type":"code_interpreter_call","container_id":"cntr_1"},
               {"type":"mcp_approval_response","approval_request_id":"mcpr_1"}]"#,
            &[(Container, "cntr_1", "container_id"), (Item, "mcpr_1", "approval_request_id")],
        ),
        (
            responses,
            r#""input":[{"content":[{"type":"output_text","annotations":[
               {"file_id":"file-1","container_id":"cntr_1"}]}]}]"#,
            &[(File, "file-1", "file_id"), (Container, "cntr_1", "container_id")],
        ),
        (
            responses,
            r#""tools":[{"type":"file_search","vector_store_ids":["vs_1","vs_2"]}]"#,
            &[(VectorStore, "vs_1", "vector_store_ids"), (VectorStore, "vs_2", "vector_store_ids")],
        ),
        (
            responses,
            r#""tools":[{"type":"code_interpreter","container":"cntr_1"}]"#,
            &[(Container, "cntr_1", "container")],
        ),
        (
            responses,
            r#""tools":[{"type":"code_interpreter","container":{"type":"auto","file_ids":["file-1"]}}]"#,
            &[(File, "file-1", "file_ids")],
        ),
        (
            responses,
            r#""tools":[{"type":"shell","environment":{"type":"container_reference",
               "container_id":"cntr_1","skills":[{"type":"skill_reference","skill_id":"skill_1"}]}}]"#,
            &[(Container, "cntr_1", "container_id"), (Other, "skill_1", "skill_id")],
        ),
        (
            responses,
            r#""tools":[{"type":"image_generation","input_image_mask":{"file_id":"file-1"}}]"#,
            &[(File, "file-1", "file_id")],
        ),
        (
            responses,
            r#""tools":[{"type":"mcp","connector_id":"connector_1","tunnel_id":"tunnel_1",
               "headers":{"thread-id":"mine"}}]"#,
            &[(Other, "connector_1", "connector_id"), (Other, "tunnel_1", "tunnel_id")],
        ),
        (
            responses,
            r#""tool_resources":{"file_search":{"vector_store_ids":["vs_1"]}},
               "attachments":[{"file_id":"file-1"}]"#,
            &[(VectorStore, "vs_1", "vector_store_ids"), (File, "file-1", "file_id")],
        ),
        (
            responses,
            r#""text":{"format":{"type":"json_schema","schema":{"properties":{"file_id":{}}}}}"#,
            &[],
        ),
        (
            responses,
            r#""input":[{"type":"tool_search_call","arguments":{"file_id":"file-1"}}]"#,
            &[],
        ),
    ]);
}

#[test]
fn in_responses_that_nobody_keeps() {
    let item = |item: &str, expected: &[(HandleKind, &str, &str)]| {
        let kept = [
            (r#""store":false"#, true),
            (r#""store":false,"background":null"#, true),
            (r#""store":false,"conversation":"conv_1""#, false),
            (r#""store":null"#, false),
            (r#""store":true"#, false),
        ];
        for (fields, stateless) in kept {
            // The order of fields makes no difference.
            let item = format!(r#""input":[{item}]"#);
            for body in [format!("{fields},{item}"), format!("{item},{fields}")] {
                let got = cited(Api::Responses, &body);
                let got: Vec<_> = got.iter().filter(|one| one.0 == Item).collect();
                let expected = if stateless { expected } else { &[(Item, "x_1", "input[].id")] };
                let expected: Vec<_> = expected
                    .iter()
                    .map(|(kind, id, place)| (*kind, (*id).to_owned(), *place))
                    .collect();
                assert_eq!(got, expected.iter().collect::<Vec<_>>(), "{body}");
            }
        }
    };
    // Nothing of these is looked up: they go without their ids.
    item(r#"{"id":"x_1","type":"message","role":"assistant","content":[]}"#, &[]);
    item(r#"{"ID":"x_1","role":"user","content":"hello"}"#, &[]);
    item(r#"{"id":"x_1","type":"reasoning","summary":[],"encrypted_content":"s"}"#, &[]);
    item(r#"{"id":"x_1","type":"function_call","call_id":"c","arguments":"{}"}"#, &[]);
    item(r#"{"id":"x_1","type":"function_call_output","call_id":"c","output":"x"}"#, &[]);
    // These are.
    let there: &[_] = &[(Item, "x_1", "input[].id")];
    item(r#"{"id":"x_1"}"#, there);
    item(r#"{"id":"x_1","type":null}"#, there);
    item(r#"{"id":"x_1","type":"item_reference","role":"user","content":"x"}"#, there);
    item(r#"{"id":"x_1","type":"message"}"#, there);
    item(r#"{"id":"x_1","type":"reasoning","summary":[]}"#, there);
    item(r#"{"id":"x_1","type":"reasoning","encrypted_content":null}"#, there);
    item(r#"{"id":"x_1","type":"web_search_call","content":"x"}"#, there);
}

#[test]
fn in_messages() {
    for messages in [Api::Messages, Api::CountTokens] {
        holds(&[
            (messages, r#""container":"container_1""#, &[(Container, "container_1", "container")]),
            (
                messages,
                r#""container":{"id":"container_1","skills":[{"type":"anthropic","skill_id":"pptx"},
                   {"type":"custom","skill_id":"skill_1"}]}"#,
                &[(Container, "container_1", "container"), (Other, "skill_1", "skill_id")],
            ),
            (
                messages,
                r#""messages":[{"content":[{"type":"document","source":{"type":"file","file_id":"file_1"}},
                   {"type":"image","source":{"type":"base64","data":"x"}},
                   {"type":"container_upload","file_id":"file_2"}]}]"#,
                &[(File, "file_1", "file_id"), (File, "file_2", "file_id")],
            ),
            (
                messages,
                r#""messages":[{"content":[{"type":"tool_result","tool_use_id":"t","content":[
                   {"type":"image","source":{"type":"file","file_id":"file_1"}}]}]}]"#,
                &[(File, "file_1", "file_id")],
            ),
            (
                messages,
                r#""messages":[{"content":[{"type":"code_execution_tool_result","content":
                   {"content":[{"type":"code_execution_output","file_id":"file_1"}]}}]}]"#,
                &[(File, "file_1", "file_id")],
            ),
            (
                messages,
                r#""messages":[{"content":[{"type":"text","text":"x","citations":[{"file_id":"file_1"}]}]}]"#,
                &[(File, "file_1", "file_id")],
            ),
            // What the model gave the caller's own tool.
            (
                messages,
                r#""messages":[{"content":[{"type":"tool_use","id":"t","input":{"file_id":1}}]}]"#,
                &[],
            ),
            (
                messages,
                r#""tools":[{"name":"f","input_schema":{"properties":{"file_id":{}}},
                   "input_examples":[{"file_id":1}]}]"#,
                &[],
            ),
            (
                messages,
                r#""thread":{"type":"continue","previous_message_id":"msg_1"}"#,
                &[(Other, "msg_1", "previous_message_id")],
            ),
            (messages, r#""system":[{"file_id":"file_1"}]"#, &[(File, "file_1", "file_id")]),
        ]);
    }
}

#[test]
fn in_embeddings() {
    holds(&[
        (Api::Embeddings, r#""input":[[1,2],[3]],"user":"u""#, &[]),
        (
            Api::Embeddings,
            r#""input":"x","input_file_id":"file-1""#,
            &[(File, "file-1", "input_file_id")],
        ),
    ]);
}

/// Letters that are one of ASCII's to servers which do not look at case, and lists where there
/// should be none.
#[test]
fn in_every_disguise() {
    let (chat, responses) = (Api::Chat, Api::Responses);
    holds(&[
        (
            responses,
            r#""previouſ_reſponse_id":"resp_1""#,
            &[(Response, "resp_1", "previous_response_id")],
        ),
        (responses, r#""x":{"fıle_ıd":"file-1"}"#, &[(File, "file-1", "file_id")]),
        (responses, r#""x":{"fileİds":["file-1"]}"#, &[(File, "file-1", "file_ids")]),
        (
            responses,
            r#""tools":[{"type":"function","file_idſ":["file-1"]}]"#,
            &[(File, "file-1", "file_ids")],
        ),
        (responses, "\"x\":{\"s\u{212a}ill_id\":\"skill_1\"}", &[(Other, "skill_1", "skill_id")]),
        (chat, r#""x":{"f\u0069le_\u0131d":"file-1"}"#, &[(File, "file-1", "file_id")]),
        (chat, r#""x":[[{"container":{"iD":"c_1"}}]]"#, &[(Container, "c_1", "container")]),
        (
            chat,
            r#""tools":[{"type":"function","library_ids":["l_1"]}]"#,
            &[(VectorStore, "l_1", "library_ids")],
        ),
        // A reference is one wherever it stands, and an input is one item without a list.
        (
            responses,
            r#""store":false,"input":{"type":"item_reference","id":"x_1"}"#,
            &[(Item, "x_1", "input[].id")],
        ),
        (
            responses,
            r#""input":[[{"type":"item_reference","id":"x_1"}]]"#,
            &[(Item, "x_1", "input[].id")],
        ),
        (
            responses,
            r#""store":false,"input":{"type":"message","id":"x_1","content":"x"}"#,
            &[(Item, "x_1", "input[].id")],
        ),
        (
            responses,
            r#""store":false,"Input":[{"type":"message","id":"x_1","content":"x"}]"#,
            &[(Item, "x_1", "input[].id")],
        ),
    ]);
    for fields in [
        r#""previous_response_id":7"#,
        r#""previous_response_id":{"id":"resp_1"}"#,
        r#""conversation":["conv_1"]"#,
        r#""x":{"file_id":true}"#,
        r#""x":{"file_id":""}"#,
        r#""x":{"file_ids":[["file-1"]]}"#,
        r#""x":{"container":1}"#,
    ] {
        let body = Bytes::from(format!(r#"{{"model":"m",{fields}}}"#));
        let error = Request::parse(responses, body, &Limits::default()).unwrap_err();
        assert_eq!(error.code(), "request.malformed", "{fields}");
    }
}
