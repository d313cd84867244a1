//! What is accepted, refused, and found.

use proptest::prelude::*;

use super::*;
use crate::{HandleKind, MAX_HANDLE, REFUSED_FIELDS, STRIPPED_FIELDS};

fn parse_at(api: Api, body: &str) -> Result<Request, Error> {
    Request::parse(api, Bytes::copy_from_slice(body.as_bytes()), &Limits::default())
}

fn parse(body: &str) -> Result<Request, Error> {
    parse_at(Api::Chat, body)
}

fn judge(request: &Request, shared: bool, extra: &[&str], hosted: &[&str]) -> Result<(), Error> {
    let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    request.judge(&Terms {
        shared,
        extra_fields: &own(extra),
        hosted_tools: &own(hosted),
        kind: Kind::Openai,
    })
}

/// Texts as LangChain sends them: numbers of tokens.
#[test]
fn as_many_tokens_may_be_embedded_as_a_provider_takes() {
    let tokens = vec!["1"; 300_000].join(",");
    let body = format!(r#"{{"model":"m","input":[[{tokens}]]}}"#);
    let parsed = Request::parse(Api::Embeddings, body.into(), &Limits::default());
    assert!(parsed.is_ok(), "{parsed:?}");
}

#[test]
fn refuses() {
    for (api, body, code) in [
        (Api::Chat, "", "request.malformed"),
        (Api::Chat, "[]", "request.malformed"),
        (Api::Chat, "{}", "request.malformed"),
        (Api::Chat, r#"{"model":5}"#, "request.malformed"),
        (Api::Chat, r#"{"model":""}"#, "request.malformed"),
        (Api::Chat, r#"{"model":"m"} x"#, "request.malformed"),
        (Api::Chat, r#"{"model":"m","stream":1}"#, "request.malformed"),
        (Api::Chat, r#"{"model":"m","stream":"true"}"#, "request.malformed"),
        (Api::Chat, r#"{"model":"m","stream_options":"x"}"#, "request.malformed"),
        (Api::Embeddings, r#"{"model":"m","stream":true}"#, "request.malformed"),
        (Api::CountTokens, r#"{"model":"m","stream":true}"#, "request.malformed"),
        (Api::Messages, r#"{"model":"m","metadata":"x"}"#, "request.malformed"),
        (Api::Chat, r#"{"model":"m","tools":{}}"#, "request.malformed"),
        (Api::Chat, r#"{"model":"m","tools":["web_search"]}"#, "request.malformed"),
        (Api::Chat, r#"{"model":"m","model":"m"}"#, "scope.mismatch"),
        (
            Api::Chat,
            r#"{"model":"m","metadata":{"tenant_id":"a","tenant_id":"b"}}"#,
            "scope.mismatch",
        ),
        (Api::Chat, r#"{"model":"m","tenant_id":{"is":"a"}}"#, "scope.mismatch"),
        (Api::Responses, r#"{"model":"m","metadata":{"tenant":["a"]}}"#, "scope.mismatch"),
        (Api::Chat, r#"{"model":"m","apiKey":"sk-1"}"#, "request.unsupported"),
        (Api::Messages, r#"{"model":"m","fallbacks":"default"}"#, "request.unsupported"),
        (Api::Chat, r#"{"model":"m","Bootstrap-Anything":1}"#, "request.unsupported"),
        (
            Api::Chat,
            r#"{"model":"m","vllm_xargs":{"kv_transfer_params":"x"}}"#,
            "request.unsupported",
        ),
        (Api::Chat, r#"{"model":"m","extra-args":{"cacheSalt":"x"}}"#, "request.unsupported"),
        // A server that does not look at case would take the last one.
        (Api::Chat, r#"{"model":"m","Model":"other"}"#, "request.unsupported"),
        (Api::Responses, r#"{"model":"m","m_odel":null}"#, "request.unsupported"),
        (Api::Embeddings, r#"{"model":"m","lora_path":"other"}"#, "request.unsupported"),
        (Api::Chat, r#"{"model":"m","modelſ":["other"]}"#, "request.unsupported"),
        (Api::Chat, "{\"model\":\"m\",\"api\u{212a}ey\":\"sk-1\"}", "request.unsupported"),
        (Api::Chat, r#"{"model":"m","fallbac\u212as":[]}"#, "request.unsupported"),
        (Api::Chat, r#"{"model":"m","rıd":"x"}"#, "request.unsupported"),
    ] {
        assert_eq!(parse_at(api, body).unwrap_err().code(), code, "{body}");
    }
    let limits = Limits { body_bytes: 12, ..Limits::default() };
    let body = Bytes::from_static(br#"{"model":"m"}"#);
    assert!(Request::parse(Api::Chat, body, &limits).is_err());
}

/// As the SDKs of OpenAI (3.54.0) and Anthropic (2.12.0) define them, with a value of each.
const FIELDS: &[(Api, &str)] = &[
    (
        Api::Chat,
        r#""messages":[],"stream":true,"stream_options":{},"store":false,"temperature":1,"top_p":1,
        "max_tokens":1,"max_completion_tokens":1,"tools":[],"tool_choice":"auto",
        "parallel_tool_calls":true,"response_format":{},"reasoning_effort":"low","stop":"x",
        "seed":1,"n":1,"metadata":{},"frequency_penalty":1,"presence_penalty":1,"logit_bias":{},
        "logprobs":true,"top_logprobs":1,"modalities":["text"],"moderation":{},
        "audio":{"voice":"alloy"},"prediction":{},"prompt_cache_options":{},
        "prompt_cache_retention":"24h","service_tier":"auto","verbosity":"low","functions":[],
        "function_call":"none","web_search_options":null"#,
    ),
    (
        Api::Responses,
        r#""input":"x","instructions":"x","stream":true,"stream_options":{},"store":true,
        "background":true,"background_options":{"continuation_id":"mine"},"context_management":[],
        "conversation":null,"image":{},"include":[],"max_output_tokens":1,"max_tool_calls":1,
        "metadata":{},"moderation":{},"parallel_tool_calls":true,"previous_response_id":null,
        "prompt":null,"prompt_cache_options":{},"prompt_cache_retention":"24h","reasoning":{},
        "service_tier":"auto","temperature":1,"text":{},"tool_choice":"auto","tools":[],
        "top_logprobs":1,"top_p":1,"truncation":"auto""#,
    ),
    (Api::Embeddings, r#""input":["x"],"dimensions":1,"encoding_format":"float""#),
    (
        Api::Messages,
        r#""messages":[],"system":"x","max_tokens":1,"metadata":{},"stop_sequences":[],
        "stream":true,"temperature":1,"top_k":1,"top_p":1,"thinking":{},"tools":[],
        "tool_choice":{"type":"auto"},"service_tier":"auto","container":null,"output_config":{},
        "output_format":{},"cache_control":{},"context_management":{},"compaction":{},
        "diagnostics":{},"inference_geo":"eu","speed":"fast","mcp_servers":[]"#,
    ),
    (
        Api::CountTokens,
        r#""messages":[],"system":"x","thinking":{},"tools":[],"tool_choice":{"type":"none"},
        "cache_control":{},"output_config":{},"output_format":{},"context_management":{},
        "compaction":{},"speed":"fast","mcp_servers":[]"#,
    ),
];

#[test]
fn every_known_field_passes_as_it_is() {
    for (api, fields) in FIELDS {
        let body = format!(r#"{{"model":"m",{fields}}}"#);
        let request = parse_at(*api, &body).unwrap();
        assert_eq!(request.unknown, [""; 0], "{api:?}");
        judge(&request, true, &[], &[]).unwrap();
        assert_eq!(request.upstream_body(&Dress::default()).unwrap(), body, "{api:?}");
        // Spelled in another way it is not known.
        let Json::Object(entries) = &request.json else { panic!() };
        for (name, _) in entries.iter().filter(|(name, _)| name != "model") {
            let odd = format!(r#"{{"model":"m","X{name}":null}}"#);
            assert!(judge(&parse_at(*api, &odd).unwrap(), true, &[], &[]).is_err(), "{name}");
        }
    }
}

#[test]
fn every_refused_field_is_refused_by_name_at_every_endpoint() {
    for (field, why) in REFUSED_FIELDS {
        for api in Api::ALL {
            for name in [(*field).to_owned(), field.to_uppercase(), field.replace('_', "-")] {
                let error = parse_at(api, &format!(r#"{{"model":"m","{name}":"x"}}"#)).unwrap_err();
                assert_eq!(error.code(), "request.unsupported", "{name}");
                let text = error.to_string();
                assert!(text.contains(field) && text.contains(why), "{text}");
            }
        }
    }
    for field in STRIPPED_FIELDS.iter().chain(REFUSED_FIELDS.iter().map(|(field, _)| field)) {
        assert_eq!(fields::refused(field), Some(*field), "no configuration allows it");
        assert!(!fields::why_refused(field).is_empty());
    }
}

#[test]
fn a_field_has_to_be_known_or_allowed_where_the_credential_is_shared() {
    for (body, extra, refused) in [
        (r#"{"model":"m","temperature":1,"tools":[],"verbosity":"low"}"#, "", None),
        (r#"{"model":"m","store":false}"#, "", None),
        (r#"{"model":"m","store":true}"#, "", Some("store")),
        (r#"{"model":"m","store":"true"}"#, "store", Some("store")),
        (r#"{"model":"m","Store":true}"#, "Store", Some("store")),
        (r#"{"model":"m","tenant":"a","Environment":"b"}"#, "", None),
        (r#"{"model":"m","top_k":1}"#, "", Some("top_k")),
        (r#"{"model":"m","top_k":1}"#, "top_k", None),
        (r#"{"model":"m","top_k":1,"min_p":1}"#, "top_k", Some("min_p")),
        (r#"{"model":"m","Temperature":1}"#, "", Some("Temperature")),
        (r#"{"model":"m","chat_template":"x"}"#, "", Some("chat_template")),
        (r#"{"model":"m","priority":1}"#, "", Some("priority")),
        (r#"{"model":"m","messages":[{"content":[{"type":"odd"}]}]}"#, "", Some("odd")),
        (r#"{"model":"m","messages":[{"content":[{"type":"odd"}]}]}"#, "odd", None),
    ] {
        let request = parse(body).unwrap();
        assert!(judge(&request, false, &[], &[]).is_ok(), "on its own credential: {body}");
        let error = judge(&request, true, &[extra], &[]).err();
        assert_eq!(error.as_ref().map(Error::code), refused.map(|_| "request.unsupported"));
        let text = error.map(|error| error.to_string()).unwrap_or_default();
        assert!(text.contains(refused.unwrap_or_default()), "{body}: {text}");
    }
    let long = parse(&format!(r#"{{"model":"m","{}":1}}"#, "é".repeat(500))).unwrap();
    assert!(judge(&long, true, &[], &[]).unwrap_err().to_string().len() < 400);
    let account = [(Api::Messages, "workspace_id"), (Api::Messages, "user_profile_id")];
    for (api, field) in account.into_iter().chain([(Api::Responses, "access_programs")]) {
        let request = parse_at(api, &format!(r#"{{"model":"m","{field}":"x"}}"#)).unwrap();
        assert!(
            judge(&request, true, &[], &[]).is_err() && judge(&request, false, &[], &[]).is_ok()
        );
    }
}

/// What is to be looked at is in the request or on the web: not among the files of a server that
/// many use, nor among what a shared account has.
#[test]
fn nothing_is_fetched_from_a_shared_place() {
    let chat = |url: &str| {
        let part = format!(r#"{{"type":"image_url","image_url":{{"url":"{url}"}}}}"#);
        (Api::Chat, format!(r#"{{"model":"m","messages":[{{"content":[{part}]}}]}}"#))
    };
    let input = |field: &str, url: &str| {
        let part = format!(r#"{{"type":"input_image","{field}":"{url}"}}"#);
        (Api::Responses, format!(r#"{{"model":"m","input":[{{"content":[{part}]}}]}}"#))
    };
    let source = r#"{"type":"url","url":"file:///srv/acme.pdf"}"#;
    let document = format!(r#"{{"type":"document","source":{source}}}"#);
    let messages = format!(r#"{{"model":"m","messages":[{{"content":[{document}]}}]}}"#);
    for ((api, body), passes) in [
        (chat("https://example.com/a.png"), true),
        (chat("HTTP://example.com/a.png"), true),
        (chat("data:image/png;base64,AAAA"), true),
        (chat(""), true),
        (chat("/srv/media/acme.png"), false),
        (chat("acme.png"), false),
        (chat("file:///srv/media/acme.png"), false),
        (chat("gs://bucket/acme.png"), false),
        (input("image_url", "file-of-acme"), false),
        (input("imageUrl", "\\u002fsrv/acme.png"), false),
        (input("fıle_url", "s3://x"), false),
        ((Api::Messages, messages), false),
    ] {
        let request = parse_at(api, &body).unwrap();
        assert!(judge(&request, false, &[], &[]).is_ok(), "at an account of one's own: {body}");
        let code = judge(&request, true, &[], &[]).err().map(|error| error.code());
        assert_eq!(code, (!passes).then_some("request.malformed"), "{body}");
        // A server of one's own is everybody's, whoever's the key is.
        let kind = Kind::Sglang;
        let terms = Terms { shared: false, extra_fields: &[], hosted_tools: &[], kind };
        assert_eq!(request.judge(&terms).is_ok(), passes, "{body}");
    }
}

#[test]
fn types_of_content_are_known_at_each_endpoint() {
    let messages = |block: &str| format!(r#"{{"model":"m","messages":[{{"content":[{block}]}}]}}"#);
    let input = |item: &str| format!(r#"{{"model":"m","input":[{item}]}}"#);
    for (api, body, unknown) in [
        (Api::Chat, messages(r#"{"type":"text"},{"type":"refusal"}"#), ""),
        (Api::Chat, messages(r#"{"type":"image_url"},{"type":"input_audio"}"#), ""),
        (Api::Chat, messages(r#"{"type":"video_url"}"#), "video_url"),
        (Api::Chat, messages(r#"{"type":"input_text"}"#), "input_text"),
        (Api::Responses, input(r#"{"content":[{"type":"input_text"}]},{"type":"reasoning"}"#), ""),
        (Api::Responses, input(r#"{"content":[{"type":"odd"}]}"#), "odd"),
        (Api::Responses, input(r#"{"type":"odd"}"#), "odd"),
        (Api::Messages, messages(r#"{"type":"document"},{"type":"thinking"}"#), ""),
        (Api::Messages, messages(r#"{"type":"odd"}"#), "odd"),
        (Api::CountTokens, messages(r#"{"type":"odd"}"#), "odd"),
        (
            Api::Messages,
            messages(r#"{"type":"tool_result","content":[{"type":"image"},{"type":"odd"}]}"#),
            "odd",
        ),
        (Api::Messages, r#"{"model":"m","system":[{"type":"odd"}]}"#.to_owned(), "odd"),
    ] {
        assert_eq!(parse_at(api, &body).unwrap().unknown.concat(), unknown, "{body}");
    }
    let request = parse(&messages(r#"{"type":"video_url"}"#)).unwrap();
    for (kind, known) in [(Kind::Vllm, true), (Kind::Sglang, true), (Kind::OpenaiCompatible, false)]
    {
        let terms = Terms { shared: true, extra_fields: &[], hosted_tools: &[], kind };
        assert_eq!(request.judge(&terms).is_ok(), known, "{kind:?}");
    }
}

#[test]
fn hosted_tools_are_for_the_route_to_allow() {
    for (api, field, family) in [
        (Api::Chat, r#""tools":[{"type":"function","function":{"name":"mcp"}}]"#, None),
        (Api::Chat, r#""tools":null,"tool_choice":"required""#, None),
        (Api::Chat, r#""tools":[{"type":"web_search"}]"#, Some("web_search")),
        (Api::Chat, r#""Tools":[{"type":"mcp"}]"#, Some("mcp")),
        (Api::Chat, r#""web_search_options":{}"#, Some("web_search")),
        (Api::Chat, r#""plugins":[{"id":"web"}]"#, Some("plugins")),
        (
            Api::Chat,
            r#""tool_choice":{"type":"allowed_tools","allowed_tools":{"tools":[{"type":"mcp"}]}}"#,
            Some("mcp"),
        ),
        (Api::Responses, r#""tools":[{"type":"custom","name":"f"}]"#, None),
        (Api::Responses, r#""tools":[{"type":"image_generation"}]"#, Some("image_generation")),
        (Api::Responses, r#""tools":[{"type":"file_search"}]"#, Some("file_search")),
        (Api::Responses, r#""tools":[{"type":"code_interpreter"}]"#, Some("code_interpreter")),
        (Api::Responses, r#""tools":[{"type":"computer_use_preview"}]"#, Some("computer_use")),
        (Api::Responses, r#""tool_choice":{"type":"web_search_preview"}"#, Some("web_search")),
        (
            Api::Responses,
            r#""tool_choice":{"type":"allowed_tools","mode":"auto","tools":[{"type":"mcp"}]}"#,
            Some("mcp"),
        ),
        (
            Api::Responses,
            r#""tools":[{"type":"namespace","tools":[{"type":"function"},{"type":"mcp"}]}]"#,
            Some("mcp"),
        ),
        (
            Api::Responses,
            r#""input":[{"type":"additional_tools","tools":[{"type":"shell"}]}]"#,
            Some("shell"),
        ),
        (
            Api::Responses,
            r#""input":[{"type":"mcp_list_tools","tools":[{"name":"x","annotations":{}}]}]"#,
            None,
        ),
        (Api::Messages, r#""tools":[{"name":"f","input_schema":{}}]"#, None),
        (Api::Messages, r#""tools":[{"type":"bash_20250124","name":"bash"}]"#, None),
        (Api::Messages, r#""tools":[{"type":"web_fetch_20250910"}]"#, Some("web_fetch")),
        (Api::Messages, r#""mcp_servers":[{"type":"url","url":"https://x"}]"#, Some("mcp")),
        (
            Api::Messages,
            r#""messages":[{"content":[{"type":"tool_addition","tool":{"type":"tool_definition",
               "definition":{"type":"code_execution_20250825"}}}]}]"#,
            Some("code_interpreter"),
        ),
        (
            Api::CountTokens,
            r#""tools":[{"type":"web_search_20250305","name":"w"}]"#,
            Some("web_search"),
        ),
    ] {
        let request = parse_at(api, &format!(r#"{{"model":"m",{field}}}"#)).unwrap();
        assert_eq!(request.hosted.first().map(String::as_str), family, "{field}");
        let Some(family) = family else {
            judge(&request, true, &["Tools"], &[]).unwrap();
            continue;
        };
        for shared in [false, true] {
            let error = judge(&request, shared, &["Tools"], &["another"]).unwrap_err();
            assert_eq!(error.code(), "model.tool", "{field}");
            assert!(error.to_string().contains(&format!("tool `{family}` runs at the provider")));
            judge(&request, shared, &["Tools"], &[family]).unwrap();
        }
    }
    // A route may name one version of a tool and means them all.
    let request = parse(r#"{"model":"m","tools":[{"type":"web_search_2025_08_26"}]}"#).unwrap();
    judge(&request, true, &[], &["web_search_preview"]).unwrap();
}

#[test]
fn whether_something_is_kept() {
    for (api, fields, keeps) in [
        (Api::Chat, r#""store":null"#, false),
        (Api::Chat, r#""store":false"#, false),
        (Api::Chat, r#""store":true"#, true),
        (Api::Chat, r#""store":"no""#, true),
        (Api::Chat, r#""audio":{"voice":"alloy"}"#, true),
        (Api::Chat, r#""web_search_options":{}"#, false),
        (Api::Responses, r#""input":"x""#, true),
        (Api::Responses, r#""store":null"#, true),
        (Api::Responses, r#""store":false"#, false),
        (Api::Responses, r#""Store":false"#, true),
        (Api::Responses, r#""store":false,"background":true"#, true),
        (Api::Responses, r#""store":false,"conversation":"c""#, true),
        (Api::Responses, r#""store":false,"tools":[{"type":"web_search"}]"#, false),
        (Api::Responses, r#""store":false,"tools":[{"type":"code_interpreter"}]"#, true),
        (Api::Messages, r#""messages":[]"#, false),
        (Api::Messages, r#""container":{"skills":[]}"#, true),
        (Api::Messages, r#""thread":{"type":"create"}"#, true),
        (Api::Messages, r#""tools":[{"type":"code_execution_20250825"}]"#, true),
        (Api::Embeddings, r#""input":"x""#, false),
        (Api::CountTokens, r#""messages":[]"#, false),
    ] {
        let request = parse_at(api, &format!(r#"{{"model":"m",{fields}}}"#)).unwrap();
        assert_eq!(request.keeps(), keeps, "{fields}");
    }
}

#[test]
fn claims_are_found_in_any_spelling() {
    for (body, places) in [
        (r#"{"model":"m"}"#, vec![]),
        (r#"{"model":"m","metadata":{"tenant_id":null}}"#, vec![]),
        (r#"{"model":"m","metadata":"tenant_id"}"#, vec![]),
        (r#"{"model":"m","metadata":{"tenant_id":"a"}}"#, vec![("body metadata.tenant_id", "a")]),
        (
            r#"{"model":"m","metadata":{"tenantId":"a","TENANT-ID":"b"},"tenant":7}"#,
            vec![
                ("body tenant", "7"),
                ("body metadata.tenant_id", "a"),
                ("body metadata.tenant_id", "b"),
            ],
        ),
        (r#"{"model":"m","metadata":{"env":"live"}}"#, vec![("body metadata.env", "live")]),
    ] {
        for api in [Api::Chat, Api::Responses, Api::Embeddings] {
            let request = parse_at(api, body).unwrap();
            let found: Vec<_> = request.claims().map(|c| (c.place, c.value)).collect();
            assert_eq!(found, places, "{body}");
        }
    }
}

#[test]
fn debug_shows_the_size_alone() {
    let request = parse(r#"{"model":"m","user":"canary","tenant":"canary"}"#).unwrap();
    assert_eq!(format!("{request:?}"), "Request(Chat, 47 bytes)");
}

#[test]
fn order_and_spacing_make_no_other_request() {
    let a = parse(r#"{"model":"m","messages":[{"role":"user","content":"x"}]}"#).unwrap();
    let b = parse(r#"{ "messages":[{"content":"x","role":"user"}], "model":"m" }"#).unwrap();
    let c = parse(r#"{"model":"m","messages":[{"role":"user","content":"y"}]}"#).unwrap();
    assert_eq!(a.canonical(), b.canonical());
    assert_ne!(a.canonical(), c.canonical());
}

#[test]
fn usage_is_asked_for_by_name() {
    for (options, asks) in [("null", false), ("{}", false), (r#"{"include_usage":true}"#, true)] {
        let body = format!(r#"{{"model":"m","stream":true,"stream_options":{options}}}"#);
        assert_eq!(parse(&body).unwrap().asks_usage(), asks, "{options}");
    }
}

#[test]
fn a_handle_is_short_text_and_there_are_not_too_many() {
    let file = |id: &str| format!(r#"{{"model":"m","messages":[{{"file_id":{id}}}]}}"#);
    let fits = format!("\"{}\"", "f".repeat(MAX_HANDLE));
    assert_eq!(parse(&file(&fits)).unwrap().cited().len(), 1);
    let long = format!("\"{}\"", "f".repeat(MAX_HANDLE + 1));
    for id in [long.as_str(), "\"\"", "1", "true", "{}", "[[]]", "[null]", r#"["a",1]"#] {
        assert_eq!(parse(&file(id)).unwrap_err().code(), "request.malformed", "{id}");
    }
    let ids = |n: usize| {
        let ids: Vec<_> = (0..n).map(|i| format!("\"f{i}\"")).collect();
        format!(r#"{{"model":"m","x":{{"file_ids":[{}]}}}}"#, ids.join(","))
    };
    assert_eq!(parse(&ids(512)).unwrap().cited().len(), 512);
    assert_eq!(parse(&ids(513)).unwrap_err().code(), "request.malformed");
    let same = format!(r#"{{"model":"m","x":{{"file_ids":[{}"f"]}}}}"#, "\"f\",".repeat(2000));
    assert_eq!(parse(&same).unwrap().cited().len(), 1, "each is cited once");
}

proptest! {
    #[test]
    fn never_panics(body: Vec<u8>) {
        for api in Api::ALL {
            let _ = Request::parse(api, body.clone().into(), &Limits::default());
        }
    }

    /// A file is found wherever it stands, however its key is spelled.
    #[test]
    fn a_file_is_found_at_any_depth(
        path in prop::collection::vec("[a-e]{1,3}", 0..6), key in "[fF][iI][lL][eE][-_]?[iI][dD]",
    ) {
        let mut value = serde_json::json!({ key: "file-1" });
        for name in path {
            value = serde_json::json!({ name: [value] });
        }
        let body = serde_json::json!({"model": "m", "messages": value}).to_string();
        for api in Api::ALL {
            let request = parse_at(api, &body).unwrap();
            let file = Cited { kind: HandleKind::File, id: "file-1".into(), place: "file_id" };
            prop_assert_eq!(request.cited(), [file]);
        }
    }
}
