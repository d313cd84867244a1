use serde_json::json;

use super::{
    fill::{filled, names, path, uuid, value, wanted},
    pointer::{documents, example, pick, shape, until},
    *,
};
use crate::wire::{Answer, quote};

fn answered(headers: &[(&str, &str)], body: &str) -> Exchange {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let answer = Answer {
        status: 200,
        headers: headers.collect(),
        body: body.to_owned().into_bytes().into(),
        ..Answer::default()
    };
    Exchange {
        who: "a".into(),
        line: "GET http://127.0.0.1/docs".into(),
        headers: Vec::new(),
        body: None,
        outcome: Ok(answer),
    }
}

fn words(known: &[(&str, &str)]) -> Words {
    known.iter().fold(Words::default(), |words, (name, value)| words.with(name, value))
}

#[test]
fn a_path_is_encoded_and_filled_once() {
    let known = words(&[("id", "a/b?{job} ü"), ("job", "never")]);
    let path = filled("/docs/{id}/x", &known, quote).expect("a path");
    assert_eq!(path, "/docs/a%2Fb%3F%7Bjob%7D%20%C3%BC/x");
    let text = filled("{id}", &known, str::to_owned).expect("a text");
    assert_eq!(text, "a/b?{job} ü", "what is put in is not looked at again");
}

#[test]
fn an_id_that_climbs_is_refused() {
    for id in ["", ".", ".."] {
        let known = words(&[("id", id)]);
        assert!(matches!(path("/docs/{id}", &known), Err(Halt::Failed(_))), "{id}");
        assert_eq!(path("/docs?id={id}", &known).expect("a path"), format!("/docs?id={id}"));
    }
}

#[test]
fn braces_that_are_no_places_stay() {
    let known = words(&[("id", "1")]);
    for text in ["{", "}", "{}", "{ id }", "{Id}", "a { b", "{\"id\": 1}", "{{"] {
        assert_eq!(filled(text, &known, str::to_owned).expect("a text"), text);
    }
    assert_eq!(filled("{{id}}", &known, str::to_owned).expect("a text"), "{1}");
}

#[test]
fn what_is_not_known_is_told() {
    let unknown = filled("/docs/{id}", &words(&[]), quote).expect_err("nothing to put there");
    assert_eq!(unknown, Halt::Lacking("`/docs/{id}`: no {id} is known here".into()));
}

#[test]
fn a_first_question_has_no_conversation() {
    let body = json!({ "thread": "{thread}", "q": "{prompt}", "list": ["{thread}", 1] });
    let first = value(&body, &words(&[("prompt", "a \"question\"")])).expect("a body");
    assert_eq!(first, Some(json!({ "q": "a \"question\"", "list": [1] })));
    let next = value(&body, &words(&[("prompt", "q"), ("thread", "t")])).expect("a body");
    assert_eq!(next, Some(json!({ "thread": "t", "q": "q", "list": ["t", 1] })));
}

#[test]
fn the_id_of_json_rpc_is_a_number() {
    let known = words(&[("rpc_id", "17"), ("id", "17")]);
    let body = value(&json!({ "id": "{rpc_id}", "doc": "{id}", "x": "r{rpc_id}" }), &known);
    assert_eq!(body.expect("a body"), Some(json!({ "id": 17, "doc": "17", "x": "r17" })));
}

#[test]
fn names_are_found_wherever_they_stand() {
    assert_eq!(names("/a/{id}/{Id}/{thread}?x={}"), ["id", "thread"]);
    let template = Template {
        post: Some("/docs/{tenant}".into()),
        json: Some(json!({ "a": { "{name}": ["{canary}"] } })),
        headers: [("x-thread".to_owned(), "{thread}".to_owned())].into(),
        ..Template::default()
    };
    let mut wanted = wanted(&template);
    wanted.sort();
    assert_eq!(wanted, ["canary", "name", "tenant", "thread"]);
}

#[test]
fn ids_of_the_callers_choice_are_uuids() {
    let id = uuid();
    assert_eq!(id.len(), 36, "{id}");
    assert_eq!(id.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12], "{id}");
    assert_ne!(id, uuid());
}

#[test]
fn pointers_reach_into_bodies_streams_lines_and_headers() {
    let body = answered(&[], r#"{"a": {"id": 7, "none": null, "text": "x"}}"#);
    assert_eq!(pick(&body, "/a/id").as_deref(), Some("7"));
    assert_eq!(pick(&body, "/a/text").as_deref(), Some("x"));
    assert_eq!(pick(&body, "/a/none"), None);
    assert_eq!(pick(&body, "/b"), None);
    let stream =
        "event: message\r\ndata: {\"n\": 1}\r\n\r\ndata: {\"result\": {\"id\": \"r\"}}\r\n\r\n";
    assert_eq!(pick(&answered(&[], stream), "/result/id").as_deref(), Some("r"));
    let lines = "{\"id\": \"first\"}\n{\"id\": \"last\"}\n";
    assert_eq!(pick(&answered(&[], lines), "/id").as_deref(), Some("last"));
    assert_eq!(documents(&answered(&[], lines)).len(), 2);
    let long = format!("[{}1]", "1,".repeat(crate::wire::READABLE / 2));
    assert!(documents(&answered(&[], &long)).is_empty());
    let headers = [("Mcp-Session-Id", "s-1"), ("Location", "https://x.test/docs/d-2/")];
    let made = answered(&headers, "");
    assert_eq!(pick(&made, "header:mcp-session-id").as_deref(), Some("s-1"));
    assert_eq!(pick(&made, "header:location").as_deref(), Some("d-2"));
}

#[test]
fn a_job_is_done_when_the_file_says_so() {
    let poll = |until: Option<&str>, answer: Option<&str>| Template {
        until: until.map(str::to_owned),
        answer: answer.map(str::to_owned),
        ..Template::default()
    };
    let at = |poll: &Template, body: &str| until(&answered(&[], body), poll);
    let is_true = poll(Some("/done"), None);
    assert!(at(&is_true, r#"{"done": true}"#) && at(&is_true, r#"{"done": "yes"}"#));
    for not_yet in [r#"{"done": false}"#, r#"{"done": null}"#, r#"{"done": ""}"#, "{}", "later"] {
        assert!(!at(&is_true, not_yet), "{not_yet}");
    }
    let one_of = poll(Some("/status=done|failed"), None);
    assert!(at(&one_of, r#"{"status": "failed"}"#) && !at(&one_of, r#"{"status": "running"}"#));
    let by_answer = poll(None, Some("/text"));
    assert!(at(&by_answer, r#"{"text": "x"}"#) && !at(&by_answer, r#"{"text": ""}"#));
    assert!(at(&poll(None, None), "anything"));
}

#[test]
fn what_a_dry_run_takes_for_an_answer_has_what_templates_name() {
    let template = Template {
        id: Some("/data/items/0/id".into()),
        thread: Some("/thread".into()),
        until: Some("/status=done|failed".into()),
        ..Template::default()
    };
    let exchange = answered(&[], &example(&template).to_string());
    assert!(pick(&exchange, "/data/items/0/id").is_some());
    assert!(pick(&exchange, "/thread").is_some());
    assert!(until(&exchange, &template));
}

#[test]
fn what_came_is_told_without_what_it_says() {
    let body = r#"{"secret": "s3cr3t", "list": [1, 2], "deep": {"er": {"est": 1}}, "n": 5}"#;
    let shape = shape(&answered(&[], body));
    assert_eq!(shape, "{secret: text, list: [2], deep: {er: {…}}, n: a number}");
    let told = told(&answered(&[], "s3cr3t, not JSON"));
    assert_eq!(told, "GET /docs answered 200: 16 bytes, no JSON");
}

#[test]
fn a_route_may_name_its_method() {
    assert_eq!(route("/docs/{id}"), (Method::GET, "/docs/{id}"));
    assert_eq!(route("DELETE /docs/{id}"), (Method::DELETE, "/docs/{id}"));
}
