use proptest::prelude::*;

use super::*;
use crate::{HandleKind, MAX_HANDLE};

/// What came out of a stream.
struct Out {
    bytes: Vec<u8>,
    errors: Vec<Option<Value>>,
    failed: Vec<Value>,
    malformed: Vec<&'static str>,
    made: Vec<Made>,
    parser: Parser,
}

impl Out {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes).unwrap()
    }

    fn made(&self) -> Vec<(HandleKind, &str)> {
        self.made.iter().map(|made| (made.kind, made.id.as_str())).collect()
    }

    /// What does not depend on how the stream was cut.
    fn verdict(&self) -> impl PartialEq + std::fmt::Debug + use<> {
        let mut made = self.made.clone();
        made.sort();
        let Self { errors, failed, malformed, parser, .. } = self;
        let ends = (parser.done(), parser.whole(), parser.failed(), parser.usage());
        (errors.clone(), failed.clone(), malformed.clone(), made, ends)
    }
}

fn chat() -> Parser {
    Parser::new(Api::Chat, false).keeps(false)
}

/// Feeds pieces of the given sizes and collects what comes out.
fn run(mut parser: Parser, stream: &[u8], sizes: &[usize]) -> Out {
    let mut rest = stream;
    let mut sizes = sizes.iter().cycle();
    let (mut bytes, mut errors, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    let (mut malformed, mut all) = (Vec::new(), Vec::new());
    while !rest.is_empty() {
        let size = (*sizes.next().unwrap_or(&1)).clamp(1, rest.len());
        parser.push(&rest[..size]).unwrap();
        rest = &rest[size..];
        while let Some(piece) = parser.next_piece() {
            match piece {
                Piece::Events { bytes: events, made } => {
                    bytes.extend_from_slice(&events);
                    all.extend(made);
                }
                Piece::Error(says) => errors.push(says),
                Piece::Failed { says, made } => {
                    failed.push(says);
                    all.extend(made);
                }
                Piece::Malformed(why) => malformed.push(why),
            }
        }
    }
    Out { bytes, errors, failed, malformed, made: all, parser }
}

fn all(parser: Parser, stream: &str) -> Out {
    run(parser, stream.as_bytes(), &[usize::MAX])
}

/// One event as the newer protocols name them: by their type, twice.
fn event(kind: &str, rest: &str) -> String {
    format!("event: {kind}\ndata: {{\"type\":\"{kind}\"{rest}}}\n\n")
}

const MESSAGE_STOP: &str = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

fn completed() -> String {
    event("response.completed", r#","response":{"id":"resp_1","status":"completed","error":null}"#)
}

/// Relayed as it is, it would be a provider's error with whatever it quotes.
#[test]
fn an_error_that_cannot_be_read_is_one() {
    for bad in [
        &b"data: {\"error\":{\"m\":\"\xff\"}}\n\n"[..],
        b"data: {\"error\":1,\"error\":2}\n\n",
        b"data: {\"\\u0065rror\":1,\"error\":null}\n\n",
        b"data: {\"\\u0065rror\":{\"message\":\"m\"}}\n\n",
    ] {
        for parser in
            [chat(), Parser::new(Api::Responses, false), Parser::new(Api::Messages, false)]
        {
            let out = run(parser, bad, &[bad.len()]);
            let told = out.errors.len() + out.malformed.len();
            assert!(out.bytes.is_empty() && told == 1 && out.parser.failed(), "{bad:?}");
        }
    }
}

#[test]
fn knows_whole_streams() {
    for (stream, handed_on, done) in [
        ("data: {}\n\ndata: [DONE]\n\n", 24, true),
        ("data:{}\n\ndata:[DONE]\n\n", 22, true),
        ("data: {}\r\n\r\ndata: [DONE]\r\n\r\n", 28, true),
        ("data: {}\r\rdata: [DONE]\r\r", 24, true),
        ("\u{feff}data: [DONE]\n\n", 17, true),
        (": ping\n\ndata: [DONE]\n\n", 22, true),
        ("event: x\nid: 1\ndata: [DONE]\n\n", 29, true),
        ("data: {}\n\n", 10, false),
        ("data: {}\n\ndata: [DONE]", 10, false),
        ("data: {}\n\ndata: [DONE]\n", 10, false),
        ("data: {}", 0, false),
        ("data: x [DONE]\n\n", 16, false),
        ("", 0, false),
        // Nothing behind the end is handed on.
        ("data: [DONE]\n\ndata: {\"more\":1}\n\n", 14, true),
        // The ends of other endpoints are none here.
        ("data: {\"type\":\"message_stop\"}\n\n", 31, false),
    ] {
        for sizes in [vec![1], vec![1_000], vec![3, 1, 7]] {
            let out = run(chat(), stream.as_bytes(), &sizes);
            // A lone return at the end of a piece ends the event; its line feed follows.
            let expected = &stream.as_bytes()[..handed_on];
            assert!(
                expected.starts_with(&out.bytes) && expected.len() - out.bytes.len() <= 1,
                "{stream:?} {sizes:?}: {:?}",
                String::from_utf8_lossy(&out.bytes)
            );
            assert_eq!((out.parser.done(), out.errors.len()), (done, 0), "{stream:?} {sizes:?}");
            // An end alone is the end of no answer.
            assert_eq!(out.parser.whole(), done && stream.contains("{}"), "{stream:?} {sizes:?}");
        }
    }
}

/// Each endpoint has its own end, and [DONE] is none of the newer ones.
#[test]
fn each_endpoint_ends_in_its_own_way() {
    let incomplete =
        event("response.incomplete", r#","response":{"status":"incomplete","error":null}"#);
    let lying = event("response.completed", r#","response":{"status":"in_progress"}"#);
    let bare = event("response.completed", "");
    let only_named = "event: message_stop\ndata: {}\n\n";
    for (api, stream, done, whole) in [
        (Api::Responses, completed().as_str(), true, true),
        (Api::Responses, &incomplete, true, false),
        (Api::Responses, &lying, true, false),
        (Api::Responses, &bare, true, false),
        (Api::Responses, "event: response.completed\ndata: {\"type\":\"x\"}\n\n", false, false),
        (
            Api::Responses,
            "data: {\"type\":\"response.\\u0063ompleted\",\"response\":{\"status\":\"completed\"}}\n\n",
            true,
            true,
        ),
        (Api::Responses, MESSAGE_STOP, false, false),
        (Api::Messages, MESSAGE_STOP, true, false),
        (Api::Messages, &format!("data: {{}}\n\n{MESSAGE_STOP}"), true, true),
        (Api::Messages, only_named, false, false),
        (Api::Messages, "data: {\"delta\":{\"text\":\"message_stop\"}}\n\n", false, false),
        (Api::Messages, "event: ping\ndata: {\"type\": \"ping\"}\n\n", false, false),
    ] {
        for sizes in [vec![1], vec![1_000], vec![3, 1, 7]] {
            let out = run(Parser::new(api, false), stream.as_bytes(), &sizes);
            assert_eq!((out.parser.done(), out.parser.whole()), (done, whole), "{stream}");
            assert_eq!(out.text(), stream);
            // Behind the end nothing is handed on, and before it [DONE] is not.
            for (trailed, expected) in [
                (format!("{stream}data: [DONE]\n\n"), stream.to_owned()),
                (format!("data: [DONE]\n\n{stream}"), stream.to_owned()),
            ] {
                let out = run(Parser::new(api, false), trailed.as_bytes(), &sizes);
                assert_eq!(out.text(), expected);
                assert_eq!((out.parser.done(), out.parser.whole()), (done, whole), "{stream}");
            }
        }
    }
    let missing = |api| Parser::new(api, false).missing();
    assert!(missing(Api::Chat).contains("[DONE]"));
    assert!(missing(Api::Responses).contains("response.completed"));
    assert!(missing(Api::Messages).contains("message_stop"));
}

#[test]
fn what_may_trail_is_a_second_end() {
    for (api, pieces, may) in [
        (Api::Responses, &["data: [DONE]\n\n"][..], true),
        (Api::Responses, &["da", "ta: [DO", "NE]\r\n\r\n", "\n"], true),
        (Api::Responses, &["data: [DONE]\n\n", "data: [DONE]\n\n"], false),
        (Api::Responses, &["HTTP/1.1 200 OK"], false),
        (Api::Messages, &["data: [DONE]\n\n"], true),
        (Api::Chat, &["\n"], true),
        (Api::Chat, &["data: [DONE]\n\n"], false),
    ] {
        let mut parser = Parser::new(api, false);
        let all = pieces.iter().all(|piece| parser.may_trail(piece.as_bytes()));
        assert_eq!(all, may, "{pieces:?}");
    }
}

#[test]
fn finds_errors_and_nothing_else() {
    let both = [
        ("data: {\"error\":{\"message\":\"m\"}}", true),
        ("data: {\"error\":\"m\"}", true),
        ("event: error\ndata: overloaded", true),
        (
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}",
            true,
        ),
        ("data: {\"error\":\ndata: {\"message\":\"m\"}}", true),
        ("data: {\"error\":null,\"choices\":[]}", false),
        ("data: {\"choices\":[{\"delta\":{\"content\":\"an \\\"error\\\"\"}}]}", false),
        ("data: {\"choices\":[{\"error\":1}]}", false),
        ("data: {\"delta\":\"error\"}", false),
        ("event: ping\ndata: {\"type\":\"ping\"}", false),
    ];
    // In chat completions nothing has a type.
    let newer = [
        ("data: {\"type\":\"error\",\"message\":\"m\",\"code\":\"c\"}", true),
        ("data: {\"type\":\"err\\u006fr\",\"message\":\"m\"}", true),
    ];
    for api in [Api::Chat, Api::Responses, Api::Messages] {
        let newer = newer.iter().filter(|_| api != Api::Chat);
        for &(event, is_error) in both.iter().chain(newer) {
            let end = match api {
                Api::Responses => completed(),
                Api::Messages => MESSAGE_STOP.to_owned(),
                _ => "data: [DONE]\n\n".to_owned(),
            };
            let stream = format!("data: {{}}\n\n{event}\n\n{end}");
            for sizes in [vec![1], vec![1_000]] {
                let out = run(Parser::new(api, false), stream.as_bytes(), &sizes);
                assert_eq!(out.errors.len(), usize::from(is_error), "{api:?} {event}");
                assert_eq!(out.parser.failed(), is_error, "{event}");
                assert_eq!(out.parser.whole(), !is_error, "{event}");
                let expected = stream.replace(&format!("{event}\n\n"), "");
                if is_error {
                    assert_eq!(out.text(), expected, "{event}");
                } else {
                    assert_eq!(out.text(), stream, "{event}");
                }
            }
        }
    }
}

#[test]
fn an_error_says_what_stands_in_its_envelope() {
    for (data, message) in [
        (r#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#, "m"),
        (r#"{"type":"error","message":"m","error":null}"#, "m"),
        (r#"{"message":"m"}"#, "m"),
    ] {
        let out =
            all(Parser::new(Api::Messages, false), &format!("event: error\ndata: {data}\n\n"));
        assert_eq!(out.errors[0].as_ref().unwrap()["message"], message, "{data}");
    }
}

/// An answer with an error inside ends the stream, whatever the event calls itself.
#[test]
fn a_response_that_failed_is_none() {
    let error =
        r#","response":{"id":"resp_1","status":"failed","error":{"code":"c","message":"m"}}"#;
    let inside = r#","response":{"id":"resp_1","status":"completed","error":{"message":"m"}}"#;
    for failed in [
        event("response.failed", error),
        event("response.failed", r#","response":{"id":"resp_1"}"#),
        event("response.completed", inside),
        event("response.failed", &error.replace("\"id\"", "\"usage\":{\"input_tokens\":7},\"id\"")),
        event("response.completed", error),
        event("response.in_progress", inside),
        event("response.completed", r#","response":{"id":"resp_1","status":"failed"}"#),
    ] {
        for sizes in [vec![1], vec![1_000]] {
            let stream = format!("data: {{}}\n\n{failed}data: {{\"more\":1}}\n\n");
            let out = run(Parser::new(Api::Responses, false), stream.as_bytes(), &sizes);
            assert_eq!(out.text(), "data: {}\n\n", "{failed}");
            assert_eq!((out.failed.len(), out.errors.len()), (1, 0), "{failed}");
            assert_eq!(out.made(), [(HandleKind::Response, "resp_1")]);
            assert_eq!(
                out.parser.usage().is_some(),
                out.failed[0]["response"]["usage"].is_object()
            );
            let Parser { done, failed, .. } = out.parser;
            assert!(done && failed && !out.parser.whole());
        }
    }
    // Without a response there is nothing to hand on.
    let out = all(Parser::new(Api::Responses, false), &event("response.failed", ""));
    assert_eq!((out.failed.len(), out.errors.len()), (0, 1));
}

#[test]
fn reads_usage() {
    let usage = |input, output, cached| Some(Usage { input, output, cached });
    let stream = "data: {\"usage\":null}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\
        \"completion_tokens\":3,\"total_tokens\":10}}\n\ndata: [DONE]\n\n";
    assert_eq!(run(chat(), stream.as_bytes(), &[5]).parser.usage(), usage(7, 3, 0));

    let ended = event(
        "response.completed",
        r#","response":{"status":"completed","usage":{"input_tokens":9,"output_tokens":4,"input_tokens_details":{"cached_tokens":8}}}"#,
    );
    let out = all(Parser::new(Api::Responses, false), &ended);
    assert_eq!(out.parser.usage(), usage(9, 4, 8));

    let start = event(
        "message_start",
        r#","message":{"usage":{"input_tokens":5,"cache_read_input_tokens":20,"cache_creation_input_tokens":3,"output_tokens":1}}"#,
    );
    let first = event("message_delta", r#","usage":{"output_tokens":6}"#);
    let last = event("message_delta", r#","usage":{"output_tokens":11}"#);
    let stream = format!("{start}{first}{last}{MESSAGE_STOP}");
    for size in 1..40 {
        let out = run(Parser::new(Api::Messages, false), stream.as_bytes(), &[size]);
        assert_eq!(out.parser.usage(), usage(28, 11, 20));
        assert_eq!(out.text(), stream);
    }
    // A stream that broke off has used what it said so far.
    assert_eq!(all(Parser::new(Api::Messages, false), &start).parser.usage(), usage(28, 1, 20));
}

#[test]
fn a_hidden_chunk_is_read_and_nothing_else_is_touched() {
    let ordinary = [
        "data: {\"choices\":[{\"delta\":{}}],\"usage\":null}\n\n",
        // Azure's first one.
        "data: {\"choices\":[],\"prompt_filter_results\":[1]}\n\n",
        // It holds an answer besides.
        "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}],\"usage\":{\"prompt_tokens\":1}}\n\n",
        ": ping\n\n",
    ];
    let hidden = "data: {\"id\":\"c\",\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3}}\n\n";
    let stream = format!("{}{hidden}data: [DONE]\n\n", ordinary.concat());
    for sizes in [vec![1], vec![1_000], vec![50, 1], vec![3, 1, 7]] {
        let shown = run(Parser::new(Api::Chat, false), stream.as_bytes(), &sizes);
        assert_eq!(shown.text(), stream);
        let kept = run(Parser::new(Api::Chat, true), stream.as_bytes(), &sizes);
        assert_eq!(kept.text(), stream.replace(hidden, ""));
        for out in [shown, kept] {
            assert!(out.parser.whole());
            assert_eq!(out.parser.usage(), Some(Usage { input: 7, output: 3, cached: 0 }));
        }
    }
}

/// Every place at which a handle is made, once each.
#[test]
fn handles_are_told_by_the_first_event_that_names_them() {
    use HandleKind::{Audio, Container, Conversation, File, Item, Other, Response};
    let created = event(
        "response.created",
        r#","response":{"id":"resp_1","status":"in_progress","conversation":{"id":"conv_1"},"output":[]}"#,
    );
    let added = event(
        "response.output_item.added",
        r#","item":{"id":"ci_1","type":"code_interpreter_call","container_id":"cntr_1"}"#,
    );
    let shell = event(
        "response.output_item.done",
        r#","item":{"id":"sh_1","environment":{"type":"container_reference","container_id":"cntr_2"},"outputs":[{"files":[{"file_id":"cfile_3"}]},{"type":"image","file_id":"cfile_4"}]}"#,
    );
    let annotation = event(
        "response.output_text.annotation.added",
        r#","annotation":{"type":"container_file_citation","container_id":"cntr_1","file_id":"cfile_1"}"#,
    );
    let cites = event(
        "response.content_part.done",
        r#","part":{"annotations":[{"type":"file_citation","file_id":"file_cited"},{"type":"file_path","file_id":"cfile_2"}]}"#,
    );
    let text = event(
        "response.output_text.delta",
        r#","item_id":"msg_x","delta":"{\"container_id\":\"cntr_x\"}""#,
    );
    let start = event(
        "message_start",
        r#","message":{"id":"msg_1","container":{"id":"container_1"},"content":[]}"#,
    );
    let result = event(
        "content_block_start",
        r#","content_block":{"type":"bash_code_execution_tool_result","tool_use_id":"srvtoolu_1","content":{"type":"bash_code_execution_result","content":[{"type":"bash_code_execution_output","file_id":"file_1"}]}}"#,
    );
    let foreign = event(
        "content_block_start",
        r#","content_block":{"type":"mcp_tool_result","content":[{"type":"text","file_id":"file_x"}]}"#,
    );
    let delta = event("message_delta", r#","delta":{"container":{"id":"container_2"}}"#);
    let audio = "data: {\"id\":\"chatcmpl-1\",\"choices\":[{\"delta\":{\"audio\":{\"id\":\"audio_1\"}}}]}\n\n";
    let responses = [
        (Response, "resp_1"),
        (Conversation, "conv_1"),
        (Item, "ci_1"),
        (Container, "cntr_1"),
        (Item, "sh_1"),
        (Container, "cntr_2"),
        (File, "cfile_3"),
        (File, "cfile_4"),
        (File, "cfile_1"),
        (File, "cfile_2"),
    ];
    for (api, events, expected) in [
        (
            Api::Responses,
            vec![&created, &added, &shell, &annotation, &cites, &text, &completed()],
            responses.to_vec(),
        ),
        (
            Api::Messages,
            vec![&start, &result, &foreign, &delta],
            vec![(Container, "container_1"), (File, "file_1"), (Container, "container_2")],
        ),
        (Api::Chat, vec![&audio.to_owned()], vec![(Other, "chatcmpl-1"), (Audio, "audio_1")]),
    ] {
        let once: String = events.iter().map(|event| event.as_str()).collect();
        let stream = format!("{}{once}", once.replace(&completed(), ""));
        let mut expected = expected;
        expected.sort_unstable();
        for sizes in [vec![1], vec![usize::MAX], vec![97, 3]] {
            let out = run(Parser::new(api, false), stream.as_bytes(), &sizes);
            let mut made = out.made();
            made.sort_unstable();
            assert_eq!(made, expected);
            assert_eq!(out.text(), stream);
            // What tools made is kept even if the answer is not.
            let out = run(Parser::new(api, false).keeps(false), stream.as_bytes(), &sizes);
            let mut made = out.made();
            made.sort_unstable();
            let kept = |made: &&(HandleKind, &str)| !matches!(made.0, Response | Item | Other);
            assert_eq!(made, expected.iter().filter(kept).copied().collect::<Vec<_>>());
        }
    }
}

/// The handle is told with the very bytes that name it, never after them.
#[test]
fn a_handle_comes_with_the_bytes_that_name_it() {
    let stream = event("response.created", r#","response":{"id":"resp_1"}"#);
    let mut parser = Parser::new(Api::Responses, false);
    for byte in stream.as_bytes() {
        parser.push(&[*byte]).unwrap();
        while let Some(piece) = parser.next_piece() {
            let Piece::Events { bytes, made } = piece else { panic!("{piece:?}") };
            assert_eq!((bytes.len(), made.len()), (stream.len(), 1));
        }
    }
}

#[test]
fn handles_that_are_none_and_too_many_of_them() {
    // What is no text is no handle: nobody can name it.
    for id in ["{\"a\":1}", "[\"resp_1\"]", "7", "null", "\"\"", "true"] {
        let odd = event("response.created", &format!(",\"response\":{{\"id\":{id}}}"));
        let out = all(Parser::new(Api::Responses, false), &odd);
        assert!(out.made.is_empty() && out.text() == odd, "{id}");
    }
    let long = |bytes: usize| {
        event("response.created", &format!(",\"response\":{{\"id\":\"{}\"}}", "x".repeat(bytes)))
    };
    assert_eq!(all(Parser::new(Api::Responses, false), &long(MAX_HANDLE)).made.len(), 1);
    let out = all(Parser::new(Api::Responses, false), &long(MAX_HANDLE + 1));
    assert!(out.bytes.is_empty() && out.malformed.len() == 1);
    // Nobody claims what is not kept.
    let out = all(Parser::new(Api::Responses, false).keeps(false), &long(MAX_HANDLE + 1));
    assert!(out.malformed.is_empty() && out.made.is_empty());

    let item = |n: usize| format!("{{\"id\":\"item_{n}\"}}");
    let apart: String = (0..10_000)
        .map(|n| event("response.output_item.added", &format!(",\"item\":{}", item(n))))
        .collect();
    let list = (0..10_000).map(item).collect::<Vec<_>>().join(",");
    let once = event("response.completed", &format!(",\"response\":{{\"output\":[{list}]}}"));
    for (stream, most) in [(apart, 512), (once, 0)] {
        for size in [1_000, usize::MAX] {
            let out = run(Parser::new(Api::Responses, false), stream.as_bytes(), &[size]);
            assert!(!out.malformed.is_empty() && out.parser.failed());
            assert_eq!(out.made.len(), most);
        }
    }
}

/// What cannot be read one way only is not handed on.
#[test]
fn keys_named_twice_are_refused() {
    for (api, data) in [
        (
            Api::Responses,
            r#"{"type":"response.completed","type":"response.created","response":{}}"#,
        ),
        (Api::Responses, r#"{"response":{"id":"resp_1","id":"resp_2"}}"#),
        (Api::Responses, r#"{"response":{"error":null,"error":{"message":"m"}}}"#),
        (Api::Messages, r#"{"type":"message_stop","type":"ping"}"#),
        (Api::Messages, r#"{"message":{"container":{"id":"a","id":"b"}}}"#),
    ] {
        let out = all(Parser::new(api, false), &format!("data: {data}\n\n"));
        assert!(out.bytes.is_empty() && out.malformed.len() == 1, "{data}");
    }
}

#[test]
fn an_endless_event_is_refused() {
    for api in Api::ALL {
        let mut parser = Parser::new(api, true);
        let chunk = vec![b'x'; 1 << 20];
        let refused = (0..64).find(|_| parser.push(&chunk).is_err());
        assert!(refused.is_some_and(|at| at <= (MAX_EVENT >> 20) + 1));
    }
}

#[test]
fn a_large_event_passes_whole() {
    let large = "x".repeat(MAX_EVENT - 1_000);
    for (api, event) in [
        (
            Api::Chat,
            format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{large}\"}}}}]}}\n\n"),
        ),
        (
            Api::Responses,
            event(
                "response.output_item.done",
                &format!(",\"item\":{{\"id\":\"i\",\"result\":\"{large}\"}}"),
            ),
        ),
        (
            Api::Messages,
            event(
                "content_block_start",
                &format!(",\"content_block\":{{\"type\":\"text\",\"text\":\"{large}\"}}"),
            ),
        ),
    ] {
        let out = run(Parser::new(api, false), event.as_bytes(), &[1 << 16]);
        assert!(out.bytes == event.as_bytes());
    }
}

/// Parts that streams are made of; whole events, halves, and what is no JSON.
fn parts() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("data: {\"a\":1}\n\n".to_owned()),
        Just("data: x\r\n\r\n".to_owned()),
        Just(": c\n".to_owned()),
        Just("\n".to_owned()),
        Just("\r".to_owned()),
        Just("data: {\"error\":1}\n\n".to_owned()),
        Just("event: a\n".to_owned()),
        Just("event: error\n".to_owned()),
        Just("data: [DONE]".to_owned()),
        Just("data:\n".to_owned()),
        Just("retry: 1\n\n".to_owned()),
        Just("data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1}}\r\n\r\n".to_owned()),
        Just("data: {\"response\":{\"id\":\"resp_1\",\"output\":[{\"id\":\"i\"}]}}\r\r".to_owned()),
        Just("data: {\"item\":{\"id\":\"j\"}}\n\n".to_owned()),
        Just("data: {\"message\":{\"container\":{\"id\":\"c\"}}}\n\n".to_owned()),
        Just("data: {\"item\":{\n\n".to_owned()),
        Just(MESSAGE_STOP.to_owned()),
        Just(completed()),
        Just(event("response.failed", ",\"response\":{}")),
    ]
}

/// Without what depends on the cuts: whether the line feed of an event's last line's end
/// comes with it.
fn lines(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.split(|byte| matches!(byte, b'\n' | b'\r')).filter(|line| !line.is_empty()).collect()
}

proptest! {
    /// However a stream is cut into pieces, the same bytes and the same verdict come out.
    #[test]
    fn cuts_change_nothing(
        parts in proptest::collection::vec(parts(), 0..12),
        sizes in proptest::collection::vec(1..9_usize, 1..5),
        hide_usage: bool,
    ) {
        let stream = parts.concat();
        for api in Api::ALL {
            let a = run(Parser::new(api, hide_usage), stream.as_bytes(), &[usize::MAX]);
            let b = run(Parser::new(api, hide_usage), stream.as_bytes(), &sizes);
            prop_assert_eq!(lines(&a.bytes), lines(&b.bytes));
            prop_assert_eq!(a.verdict(), b.verdict());
        }
    }

    #[test]
    fn never_panics_and_never_invents(stream: Vec<u8>, sizes in proptest::collection::vec(1..9_usize, 1..5)) {
        for api in Api::ALL {
            let out = run(Parser::new(api, false), &stream, &sizes);
            prop_assert!(out.bytes.len() <= stream.len());
            if !out.parser.failed() && api == Api::Chat {
                prop_assert!(stream.starts_with(&out.bytes));
            }
        }
    }
}
