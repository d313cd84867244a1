use std::cell::Cell;

use proptest::prelude::*;

use super::*;

const BOUND: &str = "bind = { '/account_id' = 'account', '/filter/owner' = 'tenant' }";

#[tokio::test]
async fn what_is_bound_comes_from_the_scope() {
    let world = World::new().await;
    let (acme, globex) = (world.acme().await, world.globex().await);
    let all = tool(
        "bind = { '/e' = 'environment', '/w' = 'workflow', '/t' = 'tenant', '/l' = 'accounts', '/n/x/y' = 'tenant' }",
    );
    assert_eq!(
        text(&all.of(&acme, r#"{"q":1}"#).unwrap().arguments),
        r#"{"e":"live","l":["acct_acme"],"n":{"x":{"y":"acme"}},"q":1,"t":"acme","w":"support"}"#
    );
    assert_eq!(
        text(&all.of(&globex, r#"{"n":{"z":2}}"#).unwrap().arguments),
        r#"{"e":"live","l":["acct_globex","acct_globex_2"],"n":{"x":{"y":"globex"},"z":2},"t":"globex","w":"support"}"#
    );
    let one = tool(BOUND);
    let call = one.of(&acme, "{}").unwrap();
    assert_eq!(text(&call.arguments), r#"{"account_id":"acct_acme","filter":{"owner":"acme"}}"#);
    assert_eq!(call.account.unwrap().as_str(), "acct_acme");
    // Which of two is not guessed.
    assert!(matches!(one.of(&globex, "{}"), Err(Error::Unbound(_))));
    let run = acme.run().unwrap().as_str().to_owned();
    let bound = tool("bind = { '/x' = 'run' }").of(&acme, "{}").unwrap();
    assert_eq!(bound.arguments.get("x").and_then(Json::as_str), Some(run.as_str()));
    assert!(matches!(tool("bind = { '/x' = 'subject' }").of(&acme, "{}"), Err(Error::Unbound(_))));
    world.accounts("acme", &[]).await;
    assert!(matches!(one.of(&acme, "{}"), Err(Error::Unbound(_))));
    assert!(matches!(all.of(&acme, "{}"), Err(Error::Unbound(_))));
}

#[tokio::test]
async fn every_item_of_a_list_is_bound() {
    let scope = World::new().await.acme().await;
    let each = tool("bind = { '/items/*/account' = 'account' }");
    for (arguments, expected) in [
        ("{}", "{}"),
        (r#"{"items":[]}"#, r#"{"items":[]}"#),
        (r#"{"items":null}"#, r#"{"items":null}"#),
        (
            r#"{"items":[{"n":1},{}]}"#,
            r#"{"items":[{"account":"acct_acme","n":1},{"account":"acct_acme"}]}"#,
        ),
        (r#"{"items":{"a":{}}}"#, r#"{"items":{"a":{"account":"acct_acme"}}}"#),
    ] {
        assert_eq!(text(&each.of(&scope, arguments).unwrap().arguments), expected, "{arguments}");
    }
    for arguments in [
        r#"{"items":[{"account":"acct_acme"}]}"#,
        r#"{"items":[{},{"Account":"x"}]}"#,
        r#"{"items":["x"]}"#,
        r#"{"items":[null]}"#,
        r#"{"items":[[{}]]}"#,
        r#"{"items":"x"}"#,
        r#"{"Items":[{}]}"#,
        r#"{"items[0].account":"x"}"#,
        r#"{"items[0][account]":"x"}"#,
        r#"{"items.0.account":"x"}"#,
    ] {
        assert!(matches!(each.of(&scope, arguments), Err(Error::Bound(_))), "{arguments}");
    }
}

#[tokio::test]
async fn a_caller_supplies_nothing_that_is_bound() {
    let scope = World::new().await.acme().await;
    let tool = tool(BOUND);
    for arguments in [
        r#"{"account_id":"acct_globex"}"#,
        r#"{"account_id":"acct_acme"}"#,
        r#"{"account_id":null}"#,
        r#"{"account_id":{"$ne":null}}"#,
        r#"{"account_id":[]}"#,
        r#"{"\u0061ccount_id":"x"}"#,
        r#"{"filter":{"owner":"globex"}}"#,
        r#"{"filter":{"owner":{}}}"#,
        r#"{"filter":"x"}"#,
        r#"{"filter":null}"#,
        r#"{"filter":[{"owner":"globex"}]}"#,
        r#"{"filter":7}"#,
        r#"{"filter":{"x":{}},"filter.owner":"globex"}"#,
    ] {
        let error = tool.of(&scope, arguments).unwrap_err();
        assert!(matches!(error, Error::Bound(_)), "{arguments}: {error}");
        assert_eq!(error.code(), "tool.argument_bound");
        assert!(!error.to_string().contains("globex"), "{error}");
    }
    let fine = tool.of(&scope, r#"{"filter":{"status":"open"},"account":1,"id":"x"}"#).unwrap();
    assert_eq!(
        text(&fine.arguments),
        r#"{"account":1,"account_id":"acct_acme","filter":{"owner":"acme","status":"open"},"id":"x"}"#
    );
}

#[tokio::test]
async fn no_key_that_looks_like_a_bound_one_gets_through() {
    let scope = World::new().await.acme().await;
    let tool = tool(BOUND);
    for key in [
        "Account_ID",
        "accountId",
        "account-id",
        "account id",
        "account.id",
        "account[id]",
        " account_id",
        "account_id ",
        "account_id\\u0000",
        "account_id\\u0000[]",
        "account_id\\u200b",
        "\\ufeffaccount_id",
        "ａccount_id",
        "аccount_id",
        "ÁCCOUNT_ID",
        "account%5fid",
        "account_id[]",
        "filter.owner",
        "filter[owner]",
        "filter__owner",
        "Filter",
        "FILTER.Owner",
        "filterOwner",
        "filter/owner",
    ] {
        let arguments = format!(r#"{{"{key}":{{"owner":"globex"}}}}"#);
        let error = tool.of(&scope, &arguments).unwrap_err();
        assert!(matches!(error, Error::Bound(_)), "{key}: {error}");
    }
    for key in ["Owner", "OWNER", "own\\u0435r", "_owner", "o-wner"] {
        let arguments = format!(r#"{{"filter":{{"{key}":"globex"}}}}"#);
        let error = tool.of(&scope, &arguments).unwrap_err();
        assert!(matches!(error, Error::Bound(_)), "{key}: {error}");
    }
    // Elsewhere it is a name like any other.
    assert!(tool.of(&scope, r#"{"note":{"account_id":1,"Owner":2},"owner":3}"#).is_ok());
}

#[tokio::test]
async fn what_the_schema_has_is_not_taken_for_what_it_looks_like() {
    let scope = World::new().await.acme().await;
    let schema = r#"
        [contracts.bind]
        "/account_id" = "account"
        [contracts.parameters]
        type = "object"
        [contracts.parameters.properties]
        account_id = { type = "string" }
        accountId = { type = "string" }
    "#;
    let tool = tool(schema);
    assert!(tool.of(&scope, r#"{"accountId":"x"}"#).is_ok());
    assert!(matches!(tool.of(&scope, r#"{"AccountId":"x"}"#), Err(Error::Bound(_))));
    assert!(matches!(tool.of(&scope, r#"{"account_id":"x"}"#), Err(Error::Bound(_))));
}

#[tokio::test]
async fn a_name_with_a_rule_is_spelled_as_the_rule_has_it() {
    let scope = World::new().await.acme().await;
    let tool = tool(
        "rules = [{ argument = '/amount', max = 10.0 }, { argument = '/to/iban', required = false, max_length = 9 }]",
    );
    for (arguments, good) in [
        (r#"{"amount":1}"#, true),
        (r#"{"amount":1,"Amount":1000}"#, false),
        (r#"{"Amount":1000}"#, false),
        (r#"{"amount ":1000}"#, false),
        (r#"{"to":{"iban":"x"},"to.iban":"a text that is longer"}"#, false),
        (r#"{"to":{"IBAN":"a text that is longer"}}"#, false),
        (r#"{"to":"x"}"#, true),
    ] {
        let got = tool.of(&scope, arguments);
        assert_eq!(got.is_ok(), good, "{arguments}");
        assert!(!matches!(got, Err(Error::Bound(_))), "{arguments}");
    }
}

#[tokio::test]
async fn what_looks_up_a_write_is_spelled_once() {
    let scope = World::new().await.acme().await;
    let contracts = "
        [[contracts]]
        name = 'a'
        upstream = 'crm'
        effect = 'write'
        unverifiable = true
        reconcile = { tool = 'b', arguments = { '/id' = 'argument:/order' }, holds = [{ path = '$.sum', equals = { from = 'argument:/sum' } }] }

        [[contracts]]
        name = 'b'
        upstream = 'crm'
        effect = 'read'
        unverifiable = true
    ";
    let tool = compiled(contracts).unwrap();
    assert!(tool.of(&scope, r#"{"order":1,"sum":2}"#).is_ok());
    assert!(tool.of(&scope, r#"{"order":1,"Order":2}"#).is_err());
    assert!(tool.of(&scope, r#"{"sum":1,"SUM":2}"#).is_err());
}

#[tokio::test]
async fn where_it_is_observed_nothing_bound_gets_through_either() {
    let scope = World::new().await.acme().await;
    let tool = tool(&format!(
        "enforcement = 'observe'\n{BOUND}\nrules = [{{ argument = '/n', max = 1.0 }}]"
    ));
    let bound = r#""account_id":"acct_acme","filter":{"owner":"acme"}"#;
    for (arguments, rest, reports) in [
        ("{}", "", 0),
        (r#"{"account_id":"acct_globex"}"#, "", 1),
        (r#"{"Account-Id":"acct_globex"}"#, "", 1),
        (r#"{"filter":"x"}"#, "", 1),
        (r#"{"filter":[{"owner":"globex"}]}"#, "", 1),
        (r#"{"filter":{"Owner":"globex"}}"#, "", 1),
        (r#"{"n":2}"#, r#","n":2"#, 1),
        (r#"{"account_id":1,"n":"2"}"#, r#","n":"2""#, 2),
    ] {
        let call = tool.of(&scope, arguments).unwrap();
        assert_eq!(text(&call.arguments), format!("{{{bound}{rest}}}"), "{arguments}");
        assert_eq!(call.observed.len(), reports, "{arguments}: {:?}", call.observed);
    }
    assert!(matches!(tool.of(&scope, r#"{"n":1,"n":2}"#), Err(Error::Duplicate)));
    assert!(tool.of(&scope, "[]").is_err());
    assert!(tool.of(&scope, "{").is_err());
}

#[tokio::test]
async fn the_caller_may_choose_among_the_tenants_own_accounts() {
    let world = World::new().await;
    let scope = world.globex().await;
    let chooses = "rules = [{ argument = '/from', account = true }]\nbind = { '/as' = 'account' }";
    let tool = tool(chooses);
    let call = tool.of(&scope, r#"{"from":"acct_globex_2"}"#).unwrap();
    assert_eq!(text(&call.arguments), r#"{"as":"acct_globex_2","from":"acct_globex_2"}"#);
    assert_eq!(call.account.unwrap().as_str(), "acct_globex_2");
    for account in ["acct_acme", "ACCT_GLOBEX", "acct_globex ", "", "acct_globex,acct_acme"] {
        let error = tool.of(&scope, &format!(r#"{{"from":"{account}"}}"#)).unwrap_err();
        assert!(matches!(error, Error::Rule { .. }), "{account}: {error}");
        assert!(account.is_empty() || !error.to_string().contains(account), "{error}");
    }
    assert!(matches!(tool.of(&scope, "{}"), Err(Error::Unbound(_))), "it has two");
    let acme = world.acme().await;
    assert_eq!(tool.of(&acme, "{}").unwrap().account.unwrap().as_str(), "acct_acme");
}

#[tokio::test]
async fn an_argument_that_is_filled_in_later_is_nobodys_to_supply() {
    let scope = World::new().await.acme().await;
    let write = contract("idempotency = { argument = '/meta/key' }").replace("'read'", "'write'");
    let tool = compiled(&write).unwrap();
    assert_eq!(
        text(&tool.of(&scope, r#"{"meta":{"a":1}}"#).unwrap().arguments),
        r#"{"meta":{"a":1}}"#
    );
    assert_eq!(text(&tool.of(&scope, "{}").unwrap().arguments), "{}");
    for arguments in [
        r#"{"meta":{"key":"x"}}"#,
        r#"{"meta":{"KEY":"x"}}"#,
        r#"{"meta":"x"}"#,
        r#"{"meta.key":"x"}"#,
    ] {
        assert!(matches!(tool.of(&scope, arguments), Err(Error::Bound(_))), "{arguments}");
    }
}

#[tokio::test]
async fn what_a_person_edits_keeps_what_is_bound() {
    let scope = World::new().await.acme().await;
    let tool = tool("bind = { '/items/*/account' = 'account', '/filter/owner' = 'tenant' }");
    let before = tool.of(&scope, r#"{"items":[{"n":1}]}"#).unwrap().arguments;
    let edited = |text: &str| {
        let mut after = parsed(text);
        tool.rebind(&before, &mut after).map(|()| after)
    };
    let after =
        edited(r#"{"items":[{"n":2,"account":"acct_globex"},{}],"filter":{"owner":"globex"}}"#);
    let mut after = after.unwrap();
    assert_eq!(
        text(&after),
        r#"{"filter":{"owner":"acme"},"items":[{"account":"acct_acme","n":2},{"account":"acct_acme"}]}"#
    );
    for wrong in [r#"{"items":["x"]}"#, r#"{"filter":"x"}"#, r#"{"filter":{"Owner":"globex"}}"#] {
        assert!(matches!(edited(wrong), Err(Error::Bound(_))), "{wrong}");
    }
    let whole = text(&after);
    tool.unbind(&mut after);
    assert_eq!(text(&tool.of(&scope, &text(&after)).unwrap().arguments), whole);
}

/// Any JSON, made of names that come near what is bound.
fn any_json() -> impl Strategy<Value = Json> {
    let name = prop_oneof![
        Just("account_id".to_owned()),
        Just("filter".to_owned()),
        Just("owner".to_owned()),
        "[aA][cC]{2}ount[_ .-]?[iI]d",
        "[fF]ilter[.\\[_]?[oO]?wner\\]?",
        "\\PC{0,6}",
    ];
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::Bool),
        any::<i32>().prop_map(|n| Json::Number(n.into())),
        Just(Json::String("acct_globex".to_owned())),
        "\\PC{0,8}".prop_map(Json::String),
    ];
    let node = leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Json::Array),
            proptest::collection::vec((name.clone(), inner), 0..4).prop_map(|mut entries| {
                entries.sort_by(|a, b| a.0.cmp(&b.0));
                entries.dedup_by(|a, b| a.0 == b.0);
                Json::Object(entries)
            }),
        ]
    });
    node.prop_map(|node| match node {
        object @ Json::Object(_) => object,
        other => Json::Object(vec![("filter".to_owned(), other)]),
    })
}

/// What a sloppy reader makes of a key: written apart from what is tested.
fn sloppy(key: &str) -> String {
    key.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase()
}

#[tokio::test]
async fn whatever_comes_the_scopes_value_stands_where_it_is_bound() {
    let scope = World::new().await.acme().await;
    let held = tool(BOUND);
    let observed = tool(&format!("enforcement = 'observe'\n{BOUND}"));
    let (seed, mut runner) = seeded();
    let (passed, refused) = (Cell::new(0), Cell::new(0));
    let outcome = runner.run(&any_json(), |arguments| {
        let given = text(&arguments);
        for tool in [&held, &observed] {
            let Ok(call) = tool.of(&scope, &given) else {
                refused.set(refused.get() + 1);
                continue;
            };
            passed.set(passed.get() + 1);
            let of = &call.arguments;
            prop_assert_eq!(of.get("account_id").and_then(Json::as_str), Some("acct_acme"));
            let filter = of.get("filter").unwrap();
            prop_assert_eq!(filter.get("owner").and_then(Json::as_str), Some("acme"));
            let alike = |of: &Json, names: &[&str]| match of {
                Json::Object(entries) => {
                    entries.iter().filter(|(key, _)| names.contains(&&*sloppy(key))).count()
                }
                _ => 0,
            };
            prop_assert_eq!(alike(of, &["accountid"]), 1, "{}", text(of));
            prop_assert_eq!(alike(of, &["filter", "filterowner"]), 1, "{}", text(of));
            prop_assert_eq!(alike(filter, &["owner"]), 1, "{}", text(of));
            if call.observed.is_empty() {
                let mut without = of.clone();
                let Json::Object(entries) = &mut without else { unreachable!() };
                entries.retain(|(key, _)| key != "account_id");
                for (key, value) in entries.iter_mut() {
                    if let (true, Json::Object(entries)) = (key == "filter", value) {
                        entries.retain(|(key, _)| key != "owner");
                    }
                }
                let mut before = parsed(&given);
                if before.get("filter").is_none()
                    && let Json::Object(entries) = &mut before
                {
                    entries.push(("filter".to_owned(), Json::Object(Vec::new())));
                }
                prop_assert_eq!(text(&without), text(&before), "nothing else changed");
            }
        }
        Ok(())
    });
    assert!(outcome.is_ok(), "seed {seed}: {outcome:?}");
    let (passed, refused) = (passed.get(), refused.get());
    assert!(passed > 50 && refused > 50, "seed {seed}: {passed} passed, {refused} were refused");
}

/// Spellings of a name, by everything that a reader may look through.
fn spelled(name: &'static str) -> impl Strategy<Value = String> {
    let letters = proptest::collection::vec((0_u8..7, any::<bool>()), name.len());
    (letters, 0_u8..4).prop_map(move |(how, around)| {
        let letter = |(c, (how, upper)): (char, (u8, bool))| {
            let c = if upper { c.to_ascii_uppercase() } else { c };
            match (how, c) {
                (1, '_') => "-".to_owned(),
                (2, '_') => String::new(),
                (3, '_') => " ".to_owned(),
                (1, c) => char::from_u32(u32::from(c) + 0xfee0).unwrap().to_string(),
                (2, c) => format!("{c}\u{301}"),
                (3, c) => format!("\u{200d}{c}"),
                (4, 'a') => "а".to_owned(),
                (4, 'o') => "ο".to_owned(),
                (4, 'c') => "с".to_owned(),
                (5, c) => format!("{c}_"),
                (6, c) => format!("%{:02x}", u32::from(c)),
                (_, c) => c.to_string(),
            }
        };
        let spelled: String = name.chars().zip(how).map(letter).collect();
        match around {
            1 => format!(" {spelled}"),
            2 => format!("{spelled}\u{0}rest"),
            3 => format!("{spelled}[]"),
            _ => spelled,
        }
    })
}

#[tokio::test]
async fn no_spelling_of_a_bound_name_gets_through() {
    let scope = World::new().await.acme().await;
    let tool = tool(BOUND);
    let (seed, mut runner) = seeded();
    let outcome = runner.run(&(spelled("account_id"), spelled("owner")), |(top, nested)| {
        let at = |key: String, value| Json::Object(vec![(key, value)]);
        for arguments in [at(top, Json::Null), at("filter".to_owned(), at(nested, Json::Null))] {
            let got = tool.of(&scope, &text(&arguments));
            prop_assert!(matches!(got, Err(Error::Bound(_))), "{}", text(&arguments));
        }
        Ok(())
    });
    assert!(outcome.is_ok(), "seed {seed}: {outcome:?}");
}
