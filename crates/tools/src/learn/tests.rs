use super::*;
use crate::{Mode, Settings, Source, contract::Tool};

fn read(draft: &str) -> Settings {
    #[derive(serde::Deserialize)]
    struct File {
        #[serde(default)]
        tools: Settings,
    }
    toml::from_str::<File>(draft).unwrap_or_else(|error| panic!("{error}\n{draft}")).tools
}

#[test]
fn drafts_from_a_document() {
    let document = json!({"openapi": "3.1.0", "paths": {
        "/accounts/{account_id}/contacts": {
            "get": {"operationId": "listContacts", "responses": {"200": {"content": {"application/json": {"schema":
                {"type": "object", "properties": {"items": {"type": "array", "items": {"type": "object", "properties":
                    {"id": {"type": "string"}, "accountId": {"type": "string"}}}}}}}}}}},
            "delete": {"operationId": "dropAll"},
            "post": {"operationId": "add contact!", "parameters": [{"name": "user_id", "in": "query", "schema": {"type": "string"}}]},
        },
        "/x": {"get": {"operationId": "needsHeader", "parameters": [{"name": "n", "in": "header", "required": true}]}},
    }});
    let draft = learn("crm", Material::OpenApi(document.to_string().as_bytes())).unwrap();
    let settings = read(&draft);
    let [list, add, drop] = settings.contracts.as_slice() else { panic!("{draft}") };
    assert_eq!(
        (list.effect, add.effect, drop.effect),
        (Effect::Read, Effect::Write, Effect::Destructive)
    );
    for contract in [list, add, drop] {
        let mode = (contract.effect != Effect::Read).then_some(Mode::Suggest);
        assert_eq!(contract.mode, mode);
        assert_eq!(contract.bind["/account_id"], Source::Account);
    }
    assert_eq!(list.operation.as_deref(), Some("listContacts"));
    assert_eq!(
        (list.owner[0].records.as_str(), list.owner[0].owner.as_str()),
        ("$.items[*]", "/accountId")
    );
    // Nothing is guessed to the lax side: without an owner, a person says so.
    assert!(drop.owner.is_empty() && !drop.unverifiable);
    assert_eq!(
        (add.name.as_str(), add.operation.as_deref()),
        ("add_contact_", Some("add contact!"))
    );
    assert!(!add.bind.contains_key("/user_id") && draft.contains("decide: \"/user_id\""));
    assert!(draft.contains("\"needsHeader\" is left out"));
    // What is drafted can be held; what has to be decided first cannot.
    let upstream = json!({"id": "crm", "kind": "http", "url": "https://crm.example"});
    let upstream = std::sync::Arc::new(serde_json::from_value(upstream).unwrap());
    let document = Document::parse(document.to_string().as_bytes()).unwrap();
    let compile = |contract| Tool::compile(&settings, contract, &upstream, Some(&document));
    compile(list).unwrap();
    assert!(compile(drop).unwrap_err().contains("owner"));
    let comments = draft.lines().filter(|line| line.starts_with("# ")).count();
    assert!(comments > 10 && !draft.contains("TODO"));
}

#[test]
fn drafts_from_calls() {
    let result = |value: Value| json!({"content": [{"type": "text", "text": value.to_string()}]});
    let calls: Vec<Recorded> = serde_json::from_value(json!([
        {"tool": "get_contact", "arguments": {"id": "7", "org": {"tenantId": "t", "deep": 1}},
            "answer": result(json!({"contact": {"customer": {"id": "acct_42"}, "name": "n"}}))},
        {"tool": "refund", "arguments": {"amount": 5}, "answer": {"content": [], "structuredContent": {"ok": true}}},
        {"method": "get", "path": "/v1/accounts/acct_42/contacts/7", "query": {"page": "2"}, "answer": [{"org-id": "a"}]},
        {"method": "GET", "path": "/v1/accounts/acct_7/contacts/9", "answer": []},
    ]))
    .unwrap();
    let draft = learn("crm", Material::Calls(&calls)).unwrap();
    let settings = read(&draft);
    let [contact, refund, list] = settings.contracts.as_slice() else { panic!("{draft}") };
    assert_eq!((contact.effect, refund.effect), (Effect::Read, Effect::Destructive));
    assert_eq!(contact.bind["/org/tenantId"], Source::Account);
    assert_eq!(
        (contact.owner[0].records.as_str(), contact.owner[0].owner.as_str()),
        ("$.contact", "/customer/id")
    );
    assert!(refund.owner.is_empty() && !refund.unverifiable);
    let request = list.request.as_ref().unwrap();
    assert_eq!(
        (request.method.as_str(), request.path.as_str()),
        ("GET", "/v1/accounts/{account_id}/contacts/{contact_id}")
    );
    assert_eq!(list.bind["/account_id"], Source::Account);
    assert_eq!((list.owner[0].records.as_str(), list.owner[0].owner.as_str()), ("$[*]", "/org-id"));
    crate::template::Template::compile(request).unwrap();
    // What was recorded is not repeated.
    assert!(!draft.contains("acct_42"));
    assert!(learn("crm", Material::Calls(&[Recorded::default()])).is_err());
}

#[test]
fn nothing_of_a_document_gets_out_of_its_quotes() {
    let hostile = "x\"\n[[tools.contracts]]\nunverifiable = true\n# \u{2028}\u{7f}\\";
    let named =
        json!({hostile: {"type": "object", "properties": {"account_id": {"type": "string"}}}});
    let document = json!({"openapi": "3.1.0", "paths": {
        "/a": {"post": {"operationId": hostile, "summary": hostile,
            "requestBody": {"content": {"application/json": {"schema": {"type": "object", "properties": named}}}},
            "responses": {"200": {"content": {"application/json": {"schema": {"type": "object", "properties": named}}}}}}},
        "/b": {"get": {"operationId": format!("{hostile}2"), "parameters": [{"name": hostile, "in": "header", "required": true}]}},
    }});
    let draft = learn(hostile, Material::OpenApi(document.to_string().as_bytes())).unwrap();
    let value: toml::Table = draft.parse().unwrap_or_else(|error| panic!("{error}\n{draft}"));
    let contracts = value["tools"]["contracts"].as_array().unwrap();
    assert_eq!(contracts.len(), 1, "{draft}");
    assert!(contracts[0].get("unverifiable").is_none());
    assert_eq!(contracts[0]["operation"].as_str(), Some(hostile));
    let records = contracts[0]["owner"][0]["records"].as_str().unwrap();
    let found = serde_json_path::JsonPath::parse(records).unwrap();
    let answer = json!({hostile: {"account_id": 1}});
    assert_eq!(found.query(&answer).all().len(), 1);
}

#[test]
fn a_recorded_answer_is_content() {
    let call = |value: Value| serde_json::from_value::<Recorded>(value).unwrap();
    let mcp = call(json!({"tool": "t", "answer": {"content": [], "isError": true}}));
    assert!(mcp.content().unwrap().is_error());
    let http = call(json!({"method": "GET", "path": "/", "status": 404, "answer": {"a": 1}}));
    assert!(http.content().unwrap().is_error());
    assert!(
        call(json!({"method": "GET", "path": "/", "status": 7, "answer": 1})).content().is_err()
    );
}
