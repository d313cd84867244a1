use super::*;
use crate::upstream::Reply;

/// What an owner may be that is not `acct_42`, though some of it looks so.
fn not_ours() -> Vec<Value> {
    vec![
        json!("acct_7"),
        json!("\u{430}cct_42"),
        json!("ACCT_42"),
        json!("acct_42 "),
        json!(" acct_42"),
        json!("acct_42\u{0}"),
        json!("acct_42\u{200b}"),
        json!("acct\u{ff3f}42"),
        json!("acct_042"),
        json!(""),
        json!(42),
        json!(42.0),
        json!(true),
        json!(null),
        json!({}),
        json!({"id": "acct_42"}),
        json!([]),
        json!(["acct_42", "acct_7"]),
        json!(["acct_7", "acct_42"]),
        json!([["acct_42"]]),
        json!(["acct_42", null]),
    ]
}

#[test]
fn an_owner_is_ours_to_the_letter() {
    for owner in [json!("acct_42"), json!(["acct_42"]), json!(["acct_42", "acct_43"])] {
        hold(&of_one(), &structured(&json!({"account_id": owner}))).unwrap();
    }
    for owner in not_ours() {
        let answer = json!({"account_id": owner, "name": CANARY});
        for content in
            [structured(&answer), texts(&[&answer.to_string()]), http(200, &answer.to_string())]
        {
            assert!(hold(&of_one(), &content).is_err(), "{answer}");
        }
        if let Ok(held) = hold(&of_one(), &failed(structured(&answer))) {
            assert!(!handed(&held).contains(CANARY), "{answer}");
        }
    }
}

#[test]
fn numbers_are_held_by_their_digits() {
    let facts = Facts { accounts: vec!["42".to_owned()], ..facts() };
    let hold = |owner: &str| {
        let content = http(200, &format!("{{\"account_id\":{owner}}}"));
        of_one().hold(&facts, &call(&json!({})), &content, 10).is_ok()
    };
    assert!(hold("42") && hold("\"42\""));
    for bad in
        ["42.0", "4.2e1", "42e0", "43", "\"042\"", "\"42.0\"", "-42", "4200000000000000000042"]
    {
        assert!(!hold(bad), "{bad}");
    }
}

#[test]
fn a_record_is_of_the_account_that_the_call_was_for() {
    let mut call = call(&json!({}));
    let answer = |account: &str| structured(&json!({"account_id": account}));
    assert!(hold_for(&of_one(), &call, &answer("acct_43")).is_ok());
    call.account = Some(ids::AccountId::parse("acct_42").unwrap());
    assert!(hold_for(&of_one(), &call, &answer("acct_42")).is_ok());
    assert!(hold_for(&of_one(), &call, &answer("acct_43")).is_err());
    let any = owners(&json!([{"owner": "/account_id", "equals": "accounts"}]));
    assert!(hold_for(&any, &call, &answer("acct_43")).is_ok());
    assert!(hold_for(&any, &call, &answer("acct_7")).is_err());
}

#[test]
fn an_owner_may_be_the_tenant_the_environment_or_the_end_user() {
    for (source, good) in [("tenant", "acme"), ("environment", "live"), ("subject", "ada")] {
        let owners = owners(&json!([{"owner": "/of", "equals": source}]));
        assert!(hold(&owners, &structured(&json!({"of": good}))).is_ok());
        assert!(hold(&owners, &structured(&json!({"of": "globex"}))).is_err());
    }
    // Who has no workflow owns nothing by it.
    let owners = owners(&json!([{"owner": "/of", "equals": "workflow"}]));
    for of in [json!(""), json!(null), json!("support")] {
        assert!(hold(&owners, &structured(&json!({"of": of}))).is_err());
    }
}

#[test]
fn every_record_is_looked_at() {
    let own = json!({"account_id": "acct_42"});
    for at in 0..5 {
        let mut items = vec![own.clone(); 5];
        items[at] = json!({"account_id": null, "name": CANARY});
        assert!(hold(&of_items(), &structured(&json!({"items": items}))).is_err(), "{at}");
    }
    // Told by a key that every object has, nothing but the record itself gives it away.
    let accounts = owners(&json!([{"records": "$.items[*]", "owner": "/id"}]));
    let items = json!([{"id": "acct_42", "plan": {"id": "gold"}}, {"id": "acct_7"}]);
    assert!(hold(&accounts, &structured(&json!({"items": items}))).is_err());
    assert!(hold(&accounts, &structured(&json!({"items": [items[0]]}))).is_ok());
}

#[test]
fn a_record_without_an_owner_is_nobodys() {
    let owners = of_items();
    for record in [json!({"name": CANARY}), json!({"account_id": null}), json!(CANARY), json!([])] {
        let answer = json!({"items": [{"account_id": "acct_42"}, record]});
        assert!(hold(&owners, &structured(&answer)).is_err(), "{answer}");
        assert!(hold(&owners, &http(200, &answer.to_string())).is_err(), "{answer}");
    }
}

#[test]
fn no_record_is_fine_where_the_list_of_them_is_empty() {
    for good in [json!({"items": []}), json!({"items": null}), json!({"items": [], "total": 0})] {
        hold(&of_items(), &structured(&good)).unwrap();
        hold(&of_items(), &http(200, &good.to_string())).unwrap();
    }
    for bad in [
        json!({}),
        json!({"error": CANARY}),
        json!({"item": []}),
        json!({"items": CANARY}),
        json!({"items": 0}),
        json!({"items": {"0": CANARY}}),
        json!({"data": {"items": []}}),
        json!([]),
    ] {
        assert!(hold(&of_items(), &structured(&bad)).is_err(), "{bad}");
    }
    let deep = owners(&json!([{"records": "$.groups[*].items[*]", "owner": "/account_id"}]));
    hold(&deep, &structured(&json!({"groups": []}))).unwrap();
    hold(&deep, &structured(&json!({"groups": [{"items": []}, {"items": []}]}))).unwrap();
    for bad in [json!({"groups": [{"items": []}, {"name": CANARY}]}), json!({"groups": [{}]})] {
        assert!(hold(&deep, &structured(&bad)).is_err(), "{bad}");
    }
    // One record is not a list.
    assert!(hold(&of_one(), &structured(&json!({}))).is_err());
}

#[test]
fn what_no_path_leads_to_is_not_handed_on() {
    let own = json!([{"account_id": "acct_42"}]);
    for (around, fine) in [
        (json!({"total": 1, "next": "c2VjcmV0", "page": {"size": 10}, "ok": true}), true),
        (json!({"columns": ["name", "mail"]}), true),
        (json!({"included": [{"name": CANARY}]}), false),
        (json!({"more": {"included": [[{"name": CANARY}]]}}), false),
        (json!({"rows": [[1, CANARY]]}), false),
        (json!({"rows": [], "more": [{}, []]}), true),
        (json!({"owner": {"account_id": "acct_7"}}), false),
        (json!({"owner": {"accountId": "acct_7"}}), false),
        (json!({"message": "did you mean acct_7?"}), false),
        (json!({"next": "/contacts?account=acct_7"}), false),
        (json!({"self": "/contacts?account=acct_42"}), true),
    ] {
        let mut answer = around.clone();
        answer["items"] = own.clone();
        assert_eq!(hold(&of_items(), &structured(&answer)).is_ok(), fine, "{answer}");
    }
}

#[test]
fn a_text_is_held_like_everything_else() {
    let own = json!({"account_id": "acct_42", "name": "Ada", "tags": [{"n": 1}]});
    let foreign = json!({"account_id": "acct_7", "name": CANARY});
    let with = |blocks: Vec<String>| {
        let blocks: Vec<_> =
            blocks.into_iter().map(|text| json!({"type": "text", "text": text})).collect();
        mcp(&json!({"content": blocks, "structuredContent": own}))
    };
    // It repeats what is ours, whole or in part, or is a record of its own.
    for text in [
        own.to_string(),
        r#"{"name": "Ada", "tags":[{"n":1}], "account_id":"acct_42"}"#.to_owned(),
        own["tags"].to_string(),
        json!({"account_id": "acct_42", "name": "Bob"}).to_string(),
        "Ada".to_owned(),
        "1 record found".to_owned(),
    ] {
        let held = hold(&of_one(), &with(vec![text.clone()])).unwrap();
        assert!(handed(&held).contains(&json!(text).to_string()), "{text}");
    }
    // Another's, or JSON that nobody can place.
    let nested = json!({"account_id": "acct_42", "raw": foreign.to_string()}).to_string();
    for text in [
        foreign.to_string(),
        format!("  {foreign}\n"),
        format!("\u{feff}{foreign}"),
        json!([foreign]).to_string(),
        nested,
        json!({"name": CANARY}).to_string(),
        r#"{"account_id":"acct_7","account_id":"acct_42"}"#.to_owned(),
        r#"{"account_id":"acct_7","\u0061ccount_id":"acct_42"}"#.to_owned(),
        format!("{}1{}", "[".repeat(100), "]".repeat(100)),
    ] {
        assert!(hold(&of_one(), &with(vec![own.to_string(), text.clone()])).is_err(), "{text}");
        assert!(hold(&of_one(), &texts(&[&text])).is_err(), "{text}");
    }
    // Free text is left out beside what is ours, and is no answer by itself.
    for text in [
        format!("The customer is {CANARY}"),
        format!("{foreign} and more"),
        format!("{foreign}\n{foreign}"),
        format!("```json\n{foreign}\n```"),
        format!("\"{CANARY}\""),
        "acct_7".to_owned(),
    ] {
        let held = handed(&hold(&of_one(), &with(vec![text.clone()])).unwrap());
        assert!(!held.contains(CANARY) && !held.contains("acct_7"), "{held}");
        assert!(held.contains(r#""type":"text""#) && held.contains("Ada"), "{held}");
        assert!(hold(&of_one(), &texts(&[&text])).is_err(), "{text}");
    }
    for nothing in ["done", "3 records found"] {
        assert!(hold(&of_one(), &texts(&[nothing])).is_err(), "{nothing}");
    }
    // What says nothing says nothing of anybody.
    hold(&of_one(), &texts(&[])).unwrap();
    hold(&of_one(), &texts(&[" \n"])).unwrap();
}

#[test]
fn an_error_is_held_like_everything_else() {
    let foreign = json!({"account_id": "acct_7", "name": CANARY});
    let wrapped = json!({"error": {"message": "conflict", "current": foreign}});
    for bad in [foreign, wrapped.clone()] {
        let text = bad.to_string();
        for content in [
            failed(structured(&bad)),
            failed(texts(&[&text])),
            failed(texts(&["not found", &text])),
            http(404, &text),
            http(500, &text),
        ] {
            assert!(hold(&of_one(), &content).is_err(), "{text}");
        }
    }
    // Without an owner, or in words, it is not handed on; nor is it another's for certain.
    for quote in [
        format!("contact of {CANARY} exists already"),
        format!("{{'name': '{CANARY}'}}"),
        json!({"name": CANARY}).to_string(),
        json!({"message": format!("owned by {CANARY}"), "code": CANARY}).to_string(),
        json!({"error": {"message": "ask acct_7"}}).to_string(),
        json!({"account_id": "acct_42", "next": {"items": []}}).to_string(),
    ] {
        for content in [failed(texts(&[&quote])), http(409, &quote), http(500, &quote)] {
            let held = handed(&hold(&of_one(), &content).unwrap());
            assert!(!held.contains(CANARY) && !held.contains("acct_7"), "{held}");
        }
    }
    // Around a record that is ours, an error says nothing in words.
    let around = json!({"items": [{"account_id": "acct_42"}], "message": format!("not {CANARY}")});
    for content in [failed(structured(&around)), http(409, &around.to_string())] {
        assert!(!handed(&hold(&of_items(), &content).unwrap()).contains(CANARY));
    }
}

#[test]
fn an_error_says_what_it_may() {
    let said = call(&json!({"amount": 5, "id": "c-1"}));
    for (body, kept) in [
        (r#"{"error":"not found"}"#, "not found"),
        (r#"{"error":{"code":"invalid_argument"}}"#, "invalid_argument"),
        (r#"{"message":"`amount` must be positive"}"#, "`amount` must be positive"),
        (r#"{"detail":"record c-1 does not exist"}"#, "record c-1 does not exist"),
        ("not found", "not found"),
    ] {
        let content = http(404, body);
        let held = handed(&hold_for(&of_one(), &said, &content).unwrap());
        assert!(held.contains("the upstream refused (404)") && held.contains(kept), "{held}");
        let held = handed(&hold_for(&of_one(), &said, &failed(texts(&[body]))).unwrap());
        assert!(held.contains(kept) && held.contains(r#""isError":true"#), "{held}");
    }
    let own = json!({"items": [{"account_id": "acct_42", "name": "Ada"}]});
    let held = hold(&of_items(), &http(409, &own.to_string())).unwrap();
    assert!(handed(&held).contains("Ada"));
    let held = handed(&hold(&of_one(), &http(502, "<html>acct_7</html>")).unwrap());
    assert_eq!(held, r#"Some("application/json") {"message":"the upstream refused (502)"}"#);
    let held = handed(&hold(&of_one(), &failed(texts(&["boom"]))).unwrap());
    assert!(held.contains("the upstream refused this call"), "{held}");
}

#[test]
fn a_link_says_that_it_is_ours_or_is_not_handed_on() {
    let link = |uri: &str| {
        let link = json!({"type": "resource_link", "uri": uri, "name": CANARY, "title": CANARY,
            "description": CANARY, "mimeType": "text/plain", "size": 3, "icons": [{"src": CANARY}]});
        mcp(
            &json!({"content": [link], "structuredContent": {"account_id": "acct_42", "file": "crm://f/9"}}),
        )
    };
    for uri in
        ["crm://acct_42/contacts/7", "crm://f/9", "https://crm.example/a?account=acct_42&page=2"]
    {
        let held = handed(&hold(&of_one(), &link(uri)).unwrap());
        assert!(held.contains(uri) && !held.contains(CANARY), "{held}");
    }
    for uri in [
        "crm://acct_7/contacts/7",
        "crm://contacts/7",
        "crm://acct_42/../acct_7/contacts",
        "crm://acct_42/%2e%2e/x",
        "crm://acct_42/%2e%2e%2fx",
        "crm://acct_42/%252e%252e/x",
        "crm://acct_42/a%5Cb",
        "crm://acct_42/acct%5F7",
        "crm://acct_42%00/x",
        "crm://acct_42@acct_7/x",
        "crm://acct_421/x",
        "crm://xacct_42/x",
        "crm://live/x",
        "crm://acct_42@globex/x",
        "acct_42/x",
        "/acct_42",
        "",
    ] {
        assert!(hold(&of_one(), &link(uri)).is_err(), "{uri}");
        assert!(hold(&of_one(), &failed(link(uri))).is_err(), "{uri}");
    }
    let lone =
        |uri: &str| mcp(&json!({"content": [{"type": "resource_link", "uri": uri, "name": "n"}]}));
    assert!(hold(&of_one(), &lone("crm://acct_42/1")).is_ok());
    assert!(hold(&of_one(), &lone("crm://f/9")).is_err());
}

#[test]
fn what_cannot_be_looked_into_is_refused() {
    let own = json!({"account_id": "acct_42"});
    let encoded = "Y2FuYXJ5";
    for block in [
        json!({"type": "image", "data": encoded, "mimeType": "image/png"}),
        json!({"type": "audio", "data": encoded, "mimeType": "audio/wav"}),
        json!({"type": "resource", "resource": {"uri": "crm://acct_42/1", "blob": encoded}}),
    ] {
        let content = mcp(&json!({"content": [block], "structuredContent": own}));
        assert!(hold(&of_one(), &content).is_err(), "{block}");
        assert!(hold(&of_one(), &failed(content.clone())).is_err(), "{block}");
        assert!(hold(&owners(&json!(true)), &content).is_ok());
        assert!(hold(&owners(&json!(false)), &content).is_err());
    }
    for block in [
        json!({"type": "video", "data": encoded}),
        json!({"type": "text"}),
        json!({"type": "text", "text": 7}),
        json!({"type": "resource", "resource": {"uri": "u", "text": "a", "blob": "b"}}),
        json!({"text": "a"}),
        json!("a"),
    ] {
        let content = mcp(&json!({"content": [block], "structuredContent": own}));
        assert!(hold(&of_one(), &content).is_err(), "{block}");
        assert!(hold(&owners(&json!(true)), &content).is_err(), "{block}");
    }
    for body in ["plain text", "<html/>", "{\"account_id\":\"acct_42\"", "\"acct_42\"", "a,b\n1,2"]
    {
        assert!(hold(&of_one(), &http(200, body)).is_err(), "{body}");
        assert!(hold(&owners(&json!(true)), &http(200, body)).is_ok());
    }
}

#[test]
fn an_embedded_resource_is_held_by_its_text() {
    let own = json!({"account_id": "acct_42", "name": "Ada"}).to_string();
    let foreign = json!({"account_id": "acct_7", "name": CANARY}).to_string();
    let resource = |uri: &str, text: &str| {
        let resource =
            json!({"uri": uri, "mimeType": "application/json", "text": text, "_meta": CANARY});
        mcp(&json!({"content": [{"type": "resource", "resource": resource}]}))
    };
    let held = handed(&hold(&of_one(), &resource("crm://acct_42/1", &own)).unwrap());
    assert!(held.contains("crm://acct_42/1") && !held.contains(CANARY), "{held}");
    let held = handed(&hold(&of_one(), &resource(&format!("crm://{CANARY}"), &own)).unwrap());
    assert!(held.contains("Ada") && !held.contains(CANARY), "{held}");
    for (uri, text) in [
        ("crm://acct_42/1", foreign.as_str()),
        ("crm://acct_7/1", own.as_str()),
        ("crm://acct_42/1", CANARY),
    ] {
        assert!(hold(&of_one(), &resource(uri, text)).is_err(), "{uri} {text}");
    }
}

#[test]
fn what_is_handed_on_is_rebuilt() {
    let content = mcp(&json!({
        "content": [{"type": "text", "text": "{\"account_id\":\"acct_42\"}", "annotations": {"x": CANARY},
            "_meta": {"x": CANARY}, "extra": CANARY}],
        "_meta": {"x": CANARY}, "extra": CANARY, "resultType": "complete",
    }));
    for owners in [of_one(), owners(&json!(true))] {
        let held = hold(&owners, &content).unwrap();
        let block = json!({"type": "text", "text": "{\"account_id\":\"acct_42\"}"});
        let Content::Mcp(held) = held else { unreachable!() };
        assert_eq!(value(&held), json!({"content": [block], "isError": false}));
    }
    for bad in [
        json!([]),
        json!({}),
        json!({"content": []  , "isError": "yes"}),
        json!({"content": {}}),
        json!({"content": [], "resultType": "input_required"}),
    ] {
        assert!(clean(&mcp(&bad)).is_err(), "{bad}");
    }
}

#[test]
fn rows_are_records() {
    let owners = owners(&json!([{"records": "$[*]", "owner": "/account_id"}]));
    let rows = |rows: Value| hold(&owners, &Content::Rows(parsed(&rows)));
    assert!(rows(json!([])).is_ok());
    assert!(rows(json!([{"account_id": "acct_42"}])).is_ok());
    for bad in [
        json!([{"account_id": "acct_42"}, {"account_id": "acct_7"}]),
        json!([{"n": 1}]),
        json!([1]),
        json!({"account_id": "acct_42"}),
    ] {
        assert!(rows(bad.clone()).is_err(), "{bad}");
    }
}

#[test]
fn records_are_counted() {
    let many = |count: usize| json!({"items": vec![json!({"account_id": "acct_42"}); count]});
    assert!(hold(&of_items(), &structured(&many(100))).is_ok());
    assert!(hold(&of_items(), &structured(&many(101))).is_err());
    // Over all forms of an answer.
    let text = json!({"items": vec![json!({"account_id": "acct_42", "n": 1}); 60]}).to_string();
    assert!(hold(&of_items(), &texts(&[&text])).is_ok());
    assert!(hold(&of_items(), &texts(&[&text, &text])).is_err());
}

#[test]
fn without_owners_nothing_passes_unless_that_is_said() {
    let own = structured(&json!({"account_id": "acct_42"}));
    assert!(hold(&owners(&json!(false)), &own).is_err());
    assert!(hold(&owners(&json!(true)), &own).is_ok());
    // What can be held is held all the same.
    let mut contract = contract(&json!([{"owner": "/account_id"}]));
    contract.unverifiable = true;
    let owners = Owners::compile(&contract, "crm").unwrap();
    for (answer, fine) in [
        (json!({"anything": 1}), true),
        (json!({"account_id": "acct_42"}), true),
        (json!({"account_id": "acct_7"}), false),
    ] {
        for content in [
            structured(&answer),
            texts(&[&answer.to_string()]),
            http(200, &answer.to_string()),
            http(404, &answer.to_string()),
        ] {
            assert_eq!(hold(&owners, &content).is_ok(), fine, "{answer}");
        }
    }
    let words = "Globex owes 400";
    assert_eq!(
        handed(&hold(&owners, &http(500, words)).unwrap()),
        format!("Some(\"application/json\") {words}")
    );
}

#[test]
fn a_note_goes_on_without_words_about_others() {
    let heard = std::sync::Arc::new(parking_lot::Mutex::new(Vec::new()));
    let sink = std::sync::Arc::clone(&heard);
    let progress = crate::Progress::to(move |note| sink.lock().push(note));
    let notes = of_one().notes(&call(&json!({"id": "c-1"})), &progress);
    let said = ["reading c-1", "3 of 10 items", "contacts of acct_7", CANARY];
    for (at, text) in (0_u8..).zip(said) {
        let (progress, message) = (f64::from(at), Some(text.to_owned()));
        notes.say(crate::Note { progress, total: None, message });
    }
    let heard: Vec<_> = heard.lock().iter().map(|n| (n.progress, n.message.clone())).collect();
    let second = Some("3 of 10 items".to_owned());
    assert_eq!(heard, [(0.0, None), (1.0, second), (2.0, None), (3.0, None)]);
}

#[test]
fn an_answer_that_repeats_the_credential_is_a_fault() {
    let secret = vault::Forms::of("Bearer hunter2-hunter2/\"x");
    let quoted = "hunter2-hunter2/\"x";
    for content in [
        texts(&[quoted]),
        texts(&[&json!({"a": [quoted]}).to_string()]),
        structured(&json!({"a": {quoted: 1}})),
        http(401, quoted),
        http(200, "{\"a\":\"\\u0068unter2-hunter2/\\u0022x\"}"),
        Content::Rows(parsed(&json!([{"a": quoted}]))),
        mcp(&json!({"content": [], "_meta": {"sent": quoted}})),
    ] {
        if let Content::Http { body, .. } = &content
            && let Ok(read) = json::value(body, &json::Limits::default())
        {
            let reply = Reply { content: content.clone(), read: Some(read) };
            assert!(silent(&reply, &secret).is_err(), "{content:?}");
        }
        assert!(silent(&Reply::of(content.clone()), &secret).is_err(), "{content:?}");
    }
    assert!(silent(&Reply::of(texts(&["hunter2"])), &secret).is_ok());
}
