use ids::json::{self, Json};
use serde_json::{Value, json};

use super::*;

mod answers;
mod empty;
mod generated;
mod work;

/// What of another's must never come out.
const CANARY: &str = "canary-of-globex";

fn facts() -> Facts {
    Facts {
        tenant: "acme".to_owned(),
        environment: "live".to_owned(),
        subject: Some("ada".to_owned()),
        accounts: vec!["acct_42".to_owned(), "acct_43".to_owned()],
        ..Facts::default()
    }
}

fn parsed(value: &Value) -> Json {
    Json::parse(value.to_string().as_bytes(), &json::Limits::default()).unwrap()
}

/// A call with these arguments, for no account in particular.
fn call(arguments: &Value) -> Final {
    Final {
        arguments: parsed(arguments),
        account: None,
        digest: [0; 32],
        facts: Vec::new(),
        amount: None,
        observed: Vec::new(),
    }
}

fn contract(owner: &Value) -> Contract {
    let mut contract = json!({"name": "t", "upstream": "crm", "effect": "read"});
    match owner {
        Value::Bool(unverifiable) => contract["unverifiable"] = Value::Bool(*unverifiable),
        owner => contract["owner"] = owner.clone(),
    }
    serde_json::from_value(contract).unwrap()
}

fn owners(owner: &Value) -> Owners {
    Owners::compile(&contract(owner), "crm").unwrap()
}

/// Of a list in `items`.
fn of_items() -> Owners {
    owners(&json!([{"records": "$.items[*]", "owner": "/account_id"}]))
}

/// Of an answer that is one record.
fn of_one() -> Owners {
    owners(&json!([{"owner": "/account_id"}]))
}

fn mcp(result: &Value) -> Content {
    Content::Mcp(parsed(result))
}

fn structured(value: &Value) -> Content {
    mcp(&json!({"content": [], "structuredContent": value}))
}

fn texts(texts: &[&str]) -> Content {
    let blocks: Vec<_> = texts.iter().map(|text| json!({"type": "text", "text": text})).collect();
    mcp(&json!({"content": blocks}))
}

fn failed(content: Content) -> Content {
    match content {
        Content::Mcp(result) => {
            let mut result = value(&result);
            result["isError"] = json!(true);
            mcp(&result)
        }
        Content::Http { content_type, body, .. } => {
            Content::Http { status: http::StatusCode::CONFLICT, content_type, body }
        }
        rows @ Content::Rows(_) => rows,
    }
}

fn http(status: u16, body: &str) -> Content {
    Content::Http {
        status: http::StatusCode::from_u16(status).unwrap(),
        content_type: Some("application/json".to_owned()),
        body: body.to_owned().into(),
    }
}

fn hold(owners: &Owners, content: &Content) -> Result<Content, String> {
    hold_for(owners, &call(&json!({"query": "contacts"})), content)
}

fn hold_for(owners: &Owners, call: &Final, content: &Content) -> Result<Content, String> {
    let held = owners.hold(&facts(), call, content, 100).map_err(|foreign| {
        assert!(!foreign.why.contains(CANARY) && !foreign.why.contains("acct_"), "{}", foreign.why);
        foreign.why
    });
    // Whether a body is read here or was read before makes no difference.
    if let Content::Http { body, .. } = content
        && let Ok(read) = json::value(body, &json::Limits::default())
    {
        let again = owners.held(&facts(), call, (content, Some(read)), 100);
        assert_eq!(again.map_err(|foreign| foreign.why), held, "{content:?}");
    }
    held
}

/// What is handed on, as text.
fn handed(content: &Content) -> String {
    match content {
        Content::Mcp(json) | Content::Rows(json) => String::from_utf8(json.to_vec()).unwrap(),
        Content::Http { content_type, body, .. } => {
            format!("{content_type:?} {}", String::from_utf8_lossy(body))
        }
    }
}

#[tokio::test]
async fn holds_against_the_scope_itself() {
    let kit = testkit::Kit::new(std::sync::Arc::new(ids::SystemClock)).await;
    for (tenant, account) in [("acme", "acct_42"), ("globex", "acct_7")] {
        let account = ids::AccountId::parse(account).unwrap();
        let system = ids::System::parse("crm").unwrap();
        kit.change(tenant, |record| {
            record.accounts.insert(system, vec![account]);
        })
        .await;
    }
    let record = |account: &str| structured(&json!({"account_id": account}));
    let own = call(&json!({}));
    for (tenant, good, bad) in [("acme", "acct_42", "acct_7"), ("globex", "acct_7", "acct_42")] {
        let scope = kit.scope(tenant, "live").await;
        assert!(of_one().check(&scope, &own, (&record(good), None), 10).is_ok());
        assert!(of_one().check(&scope, &own, (&record(bad), None), 10).is_err());
        // In another system, nobody has an account.
        let elsewhere =
            Owners::compile(&contract(&json!([{"owner": "/account_id"}])), "erp").unwrap();
        assert!(elsewhere.check(&scope, &own, (&record(good), None), 10).is_err());
    }
}
