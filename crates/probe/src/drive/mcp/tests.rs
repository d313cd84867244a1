use serde_json::json;

use super::*;
use crate::{drive::mcp::answer::answers, wire::Answer};

fn answered(status: u16, body: &str) -> Exchange {
    let body = body.to_owned().into_bytes().into();
    Exchange {
        who: "a".into(),
        line: "POST http://127.0.0.1/mcp".into(),
        headers: Vec::new(),
        body: None,
        outcome: Ok(Answer { status, body, ..Answer::default() }),
    }
}

#[test]
fn a_result_says_yes_and_everything_else_no() {
    let yes = answered(200, r#"{"jsonrpc":"2.0","id":7,"result":{"content":[]}}"#);
    assert_eq!(result(&yes), Some(json!({ "content": [] })));
    assert!(!denied(&yes));
    assert_eq!(answers(&yes), Some(json!(7)));
    let stream = "event: message\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\"}\n\n\
                  data: {\"jsonrpc\":\"2.0\",\"id\":\"r\",\"result\":{\"x\":1}}\n\n";
    assert_eq!(result(&answered(200, stream)), Some(json!({ "x": 1 })));
    for (status, body) in [
        (200, r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"no"}}"#),
        (200, r#"{"jsonrpc":"2.0","id":1,"result":{"isError":true,"content":[]}}"#),
        (200, "not JSON"),
        (404, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#),
        (401, ""),
    ] {
        assert!(denied(&answered(status, body)), "{status} {body}");
    }
    for status in [429, 503] {
        assert!(!denied(&answered(status, "")), "{status} is neither yes nor no");
    }
}

#[test]
fn a_pointer_goes_on_into_a_text_that_is_json() {
    let result = json!({
        "structuredContent": { "id": 17, "none": "" },
        "content": [{ "type": "text", "text": "{\"note\":{\"id\":\"n-1\"}}" }],
    });
    assert_eq!(pick(&result, "/structuredContent/id"), Some(json!(17)));
    assert_eq!(pick(&result, "/content/0/text/note/id"), Some(json!("n-1")));
    for at in ["/structuredContent/none", "/content/1/text", "/content/0/type/x", "/nothing"] {
        assert_eq!(pick(&result, at), None, "{at}");
    }
}

#[test]
fn a_number_stays_one_where_it_is_the_whole_of_an_argument() {
    let arguments = json!({ "id": "17", "text": "17 of them", "list": ["17"] });
    let same = json!({ "id": 17, "text": "17 of them", "list": ["17"] });
    assert_eq!(numbered(arguments.clone(), Some("17")), same);
    assert_eq!(numbered(arguments.clone(), Some("18")), arguments);
}

#[test]
fn a_name_that_is_no_header_comes_in_base64() {
    assert_eq!(mirrored("get_note"), "get_note");
    assert_eq!(mirrored("näme"), "=?base64?bsOkbWU=?=");
    assert_eq!(mirrored(" a"), "=?base64?IGE=?=");
}
