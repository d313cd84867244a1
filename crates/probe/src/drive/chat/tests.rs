//! What is read out of answers, whole and as events.

use super::*;
use crate::wire::Answer;
use crate::wire::Exchange;

fn exchange(headers: &[(&str, &str)], body: &str) -> Exchange {
    let headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into()));
    let answer = Answer {
        status: 200,
        headers: headers.collect(),
        body: body.to_owned().into(),
        ..Answer::default()
    };
    Exchange {
        who: "b".into(),
        line: "POST http://127.0.0.1/v1/chat/completions".into(),
        headers: Vec::new(),
        body: None,
        outcome: Ok(answer),
    }
}

fn read(dialect: Dialect, body: &str) -> Said {
    Said::read(dialect, exchange(&[], body))
}

#[test]
fn a_whole_answer_of_openai() {
    let said = read(
        Dialect::Openai,
        r#"{"id":"chatcmpl-1","created":7,"choices":[{"message":{"content":"hello"}}],
            "usage":{"prompt_tokens":1300,"prompt_tokens_details":{"cached_tokens":1280}}}"#,
    );
    assert_eq!((said.text.as_str(), said.id.as_deref()), ("hello", Some("chatcmpl-1")));
    assert_eq!((said.created, said.prompt_tokens), (Some(7), Some(1300)));
    assert_eq!(said.cached_tokens, Some(1280));
}

#[test]
fn a_streamed_answer_of_openai() {
    let said = read(
        Dialect::Openai,
        "data: {\"id\":\"chatcmpl-1\",\"created\":7,\"choices\":[{\"delta\":{\"content\":\"hel\"}}]}\n\n\
         : a comment\n\n\
         data: {\"id\":\"chatcmpl-1\",\"choices\":[{\"delta\":{\"content\":\"lo\"}}]}\n\n\
         data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3}}\n\ndata: [DONE]\n\n",
    );
    assert_eq!((said.text.as_str(), said.id.as_deref()), ("hello", Some("chatcmpl-1")));
    assert_eq!((said.prompt_tokens, said.cached_tokens), (Some(3), None));
}

#[test]
fn anthropic_counts_cached_tokens_apart() {
    let whole = read(
        Dialect::Anthropic,
        r#"{"id":"msg_1","content":[{"type":"text","text":"hel"},{"type":"text","text":"lo"}],
            "usage":{"input_tokens":20,"cache_read_input_tokens":1280,"cache_creation_input_tokens":0}}"#,
    );
    let streamed = read(
        Dialect::Anthropic,
        "event: message_start\ndata: {\"message\":{\"id\":\"msg_1\",\"usage\":{\"input_tokens\":20,\
         \"cache_read_input_tokens\":1280}}}\n\n\
         event: content_block_delta\ndata: {\"delta\":{\"type\":\"text_delta\",\"text\":\"hello\"}}\n\n\
         event: message_delta\ndata: {\"usage\":{\"output_tokens\":2}}\n\n",
    );
    for said in [whole, streamed] {
        assert_eq!((said.text.as_str(), said.id.as_deref()), ("hello", Some("msg_1")));
        assert_eq!((said.prompt_tokens, said.cached_tokens), (Some(1300), Some(1280)));
    }
}

#[test]
fn an_answer_is_known_again_by_its_id_and_time() {
    let of = |id: &str, created: u32| {
        read(Dialect::Openai, &format!(r#"{{"id":"{id}","created":{created},"choices":[]}}"#))
    };
    assert!(of("x", 1).is(&of("x", 1)));
    assert!(!of("x", 1).is(&of("y", 1)));
    assert!(!of("x", 1).is(&of("x", 2)), "an id made of the question");
    let nameless = read(Dialect::Openai, r#"{"choices":[]}"#);
    assert!(!nameless.is(&nameless), "without an id nothing is known again");
}

#[test]
fn marks_of_a_cache() {
    let marked =
        |name, value| Said::read(Dialect::Openai, exchange(&[(name, value)], "{}")).marked();
    for (name, value) in [
        ("x-cache", "HIT"),
        ("x-cache", "Hit from cloudfront"),
        ("cf-cache-status", "HIT"),
        ("x-portkey-cache-status", "SEMANTIC HIT"),
        ("x-litellm-cache-key", "ab12"),
        ("age", "3"),
    ] {
        assert!(marked(name, value).is_some(), "{name}: {value}");
    }
    for (name, value) in [
        ("x-cache", "MISS"),
        ("x-portkey-cache-status", "DISABLED"),
        ("cache-control", "no-store"),
        ("age", "0"),
        ("x-note", "hit"),
    ] {
        assert_eq!(marked(name, value), None, "{name}: {value}");
    }
}

#[test]
fn paths_begin_where_the_address_ends() {
    let target = |url: &str| Target {
        name: "model".into(),
        line: 1,
        url: url.into(),
        auth: crate::target::Auth::Bearer,
        ca: None,
        connect: None,
        price: None,
        kind: Kind::Openai { model: "m".into() },
        tenants: std::collections::BTreeMap::new(),
    };
    for (url, path) in [
        ("http://127.0.0.1:1", "/v1/files"),
        ("http://127.0.0.1:1/v1", "/files"),
        ("http://127.0.0.1:1/openai/v1/", "/files"),
        ("http://127.0.0.1:1/vault", "/v1/files"),
    ] {
        assert_eq!(Chat::new(Dialect::Openai, "m", &target(url)).path("/files"), path, "{url}");
    }
    let cost = |url: &str| Chat::new(Dialect::Openai, "m", &target(url)).cost(4_000, 100);
    assert_eq!(cost("http://localhost:9/v1"), 0.0);
    assert_eq!(cost("http://[::1]:9/v1"), 0.0);
    assert!((cost("https://api.example/v1") - 0.004_692).abs() < 1e-9);
}
