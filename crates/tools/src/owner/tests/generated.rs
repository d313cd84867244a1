//! Wherever another's record stands, and in whatever form, it does not come out.

use proptest::prelude::*;

use super::*;

/// Owners that are not ours and say so wherever they stand.
fn telling() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!("acct_7")),
        Just(json!("\u{430}cct_42")),
        Just(json!("Acct_42")),
        Just(json!("acct_42 ")),
        Just(json!(["acct_42", "acct_7"])),
        Just(json!(7)),
        Just(json!(42.0)),
        "[a-z_]{1,8}[0-9]{1,4}"
            .prop_filter("ours", |t| !facts().accounts.contains(t))
            .prop_map(Value::from),
    ]
}

/// Owners that say nothing.
fn silent() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!(null)),
        Just(json!({})),
        Just(json!([])),
        Just(json!(true)),
        Just(json!([["acct_42"]]))
    ]
}

fn own() -> impl Strategy<Value = Value> {
    let extra = prop_oneof![
        Just(json!({"child": {"n": 1}})),
        Just(json!({"list": [{"n": 1}, {"n": 2}]})),
        Just(json!({"note": "see [1] {x}"})),
        Just(json!({})),
    ];
    ("[a-z ]{0,8}", extra).prop_map(|(name, extra)| {
        let mut record = json!({"account_id": "acct_42", "name": name});
        for (key, value) in extra.as_object().unwrap() {
            record[key] = value.clone();
        }
        record
    })
}

/// Where in an answer another's record stands.
#[derive(Clone, Copy, Debug)]
enum Where {
    Listed,
    Alone,
    Within,
    WithinListed,
    Quoted,
    QuotedTwice,
    Beside,
    BesideListed,
}

/// In which form it is said, beside what is clean.
#[derive(Clone, Copy, Debug)]
enum Form {
    Structured,
    Text,
    TextBesideStructured,
    ResourceBesideStructured,
    Http,
    McpError,
    McpErrorText,
    HttpError,
}

fn place(answer: &mut Value, foreign: &Value, place: Where, at: usize) {
    let items = answer["items"].as_array_mut().unwrap();
    let at = at % (items.len() + 1);
    match place {
        Where::Listed => items.insert(at, foreign.clone()),
        Where::Alone => *items = vec![foreign.clone()],
        Where::Beside => answer["related"] = foreign.clone(),
        Where::BesideListed => answer["included"] = json!([[{"n": 1}], foreign]),
        within => {
            if items.is_empty() {
                items.push(json!({"account_id": "acct_42"}));
            }
            let at = at % items.len();
            let hidden = match within {
                Where::Within => json!({"deep": {"er": foreign}}),
                Where::WithinListed => json!([[foreign]]),
                Where::Quoted => json!(foreign.to_string()),
                _ => json!(json!({"raw": json!([foreign]).to_string()}).to_string()),
            };
            items[at]["more"] = hidden;
        }
    }
}

fn content(form: Form, dirty: &Value, clean: &Value) -> Content {
    let text = dirty.to_string();
    match form {
        Form::Structured => structured(dirty),
        Form::Text => texts(&[&text]),
        Form::TextBesideStructured => mcp(&json!({
            "content": [{"type": "text", "text": clean.to_string()}, {"type": "text", "text": text}],
            "structuredContent": clean,
        })),
        Form::ResourceBesideStructured => mcp(&json!({
            "content": [{"type": "resource", "resource": {"uri": "crm://acct_42/1", "text": text}}],
            "structuredContent": clean,
        })),
        Form::Http => http(200, &text),
        Form::McpError => failed(structured(dirty)),
        Form::McpErrorText => failed(texts(&[&text])),
        Form::HttpError => http(409, &text),
    }
}

fn wheres() -> impl Strategy<Value = Where> {
    use Where::*;
    prop::sample::select(vec![
        Listed,
        Alone,
        Within,
        WithinListed,
        Quoted,
        QuotedTwice,
        Beside,
        BesideListed,
    ])
}

fn forms() -> impl Strategy<Value = Form> {
    use Form::*;
    prop::sample::select(vec![
        Structured,
        Text,
        TextBesideStructured,
        ResourceBesideStructured,
        Http,
        McpError,
        McpErrorText,
        HttpError,
    ])
}

proptest! {
    // A planted bug must fail here and leave no file behind.
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn another_s_record_never_comes_out(
        items in prop::collection::vec(own(), 0..5),
        owner in telling(),
        key in prop::sample::select(vec!["account_id", "accountId", "Account-Id", "ACCOUNT_ID"]),
        where_ in wheres(),
        form in forms(),
        at in 0_usize..8,
    ) {
        let clean = json!({"items": items, "total": items.len()});
        let mut dirty = clean.clone();
        place(&mut dirty, &json!({key: owner, "name": CANARY}), where_, at);
        if let Ok(held) = hold(&of_items(), &content(form, &dirty, &clean)) {
            prop_assert!(!handed(&held).contains(CANARY), "{form:?} {dirty}");
        }
    }

    #[test]
    fn nobody_s_record_never_comes_out(
        items in prop::collection::vec(own(), 0..5),
        owner in prop::option::of(silent()),
        listed in any::<bool>(),
        form in forms(),
        at in 0_usize..8,
    ) {
        let clean = json!({"items": items});
        let mut dirty = clean.clone();
        let mut nobodys = json!({"name": CANARY});
        if let Some(owner) = owner {
            nobodys["account_id"] = owner;
        }
        let where_ = if listed { Where::Listed } else { Where::BesideListed };
        place(&mut dirty, &nobodys, where_, at);
        if let Ok(held) = hold(&of_items(), &content(form, &dirty, &clean)) {
            prop_assert!(!handed(&held).contains(CANARY), "{form:?} {dirty}");
        }
    }

    #[test]
    fn what_is_ours_comes_through(items in prop::collection::vec(own(), 0..5), form in forms()) {
        let clean = json!({"items": items, "total": items.len()});
        let held = hold(&of_items(), &content(form, &clean, &clean));
        prop_assert!(held.is_ok(), "{:?}", held);
    }

    #[test]
    fn whatever_an_upstream_says_is_survived(text in "\\PC{0,200}", status in 200_u16..600) {
        let _ = hold(&of_items(), &http(status, &text));
        let _ = hold(&of_items(), &texts(&[&text]));
        let _ = hold(&of_items(), &failed(texts(&[&text])));
        let link = json!({"type": "resource_link", "uri": text, "name": text});
        let _ = hold(&of_items(), &mcp(&json!({"content": [link]})));
    }
}
