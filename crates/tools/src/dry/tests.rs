use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::{Contract, HttpRequest, Settings, Upstream, owner::json_of, template::Template};

fn facts() -> Facts {
    let accounts = vec!["acct_42".to_owned()];
    Facts { tenant: "acme".to_owned(), accounts, ..Facts::default() }
}

fn tool() -> Tool {
    let upstream: Upstream = serde_json::from_value(
        json!({"id": "crm", "kind": "mcp", "url": "https://crm.example/mcp"}),
    )
    .unwrap();
    let contract: Contract = serde_json::from_value(json!({
        "name": "get_contact", "upstream": "crm", "effect": "read",
        "bind": {"/account_id": "account"}, "owner": [{"owner": "/account_id"}],
    }))
    .unwrap();
    Tool::compile(&Settings::default(), &contract, &Arc::new(upstream), None).unwrap()
}

fn made(arguments: Value) -> Final {
    Final {
        arguments: json_of(&arguments),
        account: Some(ids::AccountId::parse("acct_42").unwrap()),
        digest: [0; 32],
        facts: Vec::new(),
        amount: None,
        observed: vec!["`/x` would have been refused".to_owned()],
    }
}

fn answer(account: &str, text: &str) -> Content {
    Content::Mcp(json_of(&json!({
        "content": [{"type": "text", "text": text}],
        "structuredContent": {"account_id": account, "name": "Ada"},
    })))
}

#[test]
fn a_report_says_what_would_come_of_a_call() {
    let call = made(json!({"account_id": "acct_42", "id": "7"}));
    let answer = answer("acct_42", "Ada of Globex");
    let report = report(&tool(), &facts(), Ok(call), Some(&answer), 10);
    assert_eq!(
        serde_json::to_value(&report).unwrap(),
        json!({
            "tool": "get_contact",
            "bound": {"/account_id": "acct_42"},
            "observed": ["`/x` would have been refused"],
            "sent": {"line": "tools/call get_contact", "body": {"account_id": "acct_42", "id": "7"}},
            "answer": {"verdict": "own", "changed": ["content[0]"], "unverifiable": false},
        })
    );
}

#[test]
fn a_report_says_what_would_be_refused_and_withheld() {
    let refused = Err(Error::Bound("/account_id".to_owned()));
    let report = |call, answer: Option<&Content>| report(&tool(), &facts(), call, answer, 10);
    let said = report(refused, Some(&answer("acct_42", "")));
    assert_eq!(said.refused.unwrap().code, "tool.argument_bound");
    assert_eq!((said.sent, said.answer), (None, None));

    let said = report(Ok(made(json!({}))), Some(&answer("acct_7", "")));
    let text = serde_json::to_string(&said.answer).unwrap();
    assert!(text.contains("foreign") && text.contains("/account_id"), "{text}");
    assert!(!text.contains("acct_7") && !text.contains("Ada"), "{text}");
}

#[test]
fn a_report_of_a_request_has_its_line() {
    let request: HttpRequest =
        serde_json::from_value(json!({"method": "POST", "path": "/c/{id}", "query": {"q": "q"}}))
            .unwrap();
    let mut tool = tool();
    tool.form = Form::Http(Template::compile(&request).unwrap());
    let call = made(json!({"id": "a b", "q": "x", "n": 1}));
    let said = report(&tool, &facts(), Ok(call), None, 10);
    let sent = said.sent.unwrap();
    assert_eq!((sent.line.as_str(), sent.body), ("POST /c/a%20b?q=x", json!({"n": 1})));
    let said = report(&tool, &facts(), Ok(made(json!({"id": "../x"}))), None, 10);
    assert_eq!(said.refused.unwrap().code, "tool.argument_refused");
}
