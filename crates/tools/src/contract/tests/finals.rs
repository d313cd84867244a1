use proptest::prelude::*;

use super::*;

#[tokio::test]
async fn arguments_are_read_strictly() {
    let scope = World::new().await.acme().await;
    let tool = tool("");
    let few = Limits { arguments_bytes: 64, depth: 3, nodes: 8, values: 2, ..Limits::default() };
    let codes = [
        (r#"{"a":1,"a":2}"#, "scope.mismatch"),
        (r#"{"x":{"a":1,"\u0061":2}}"#, "scope.mismatch"),
        ("", "request.malformed"),
        ("{", "request.malformed"),
        ("{} {}", "request.malformed"),
        ("{'a':1}", "request.malformed"),
        (r#"{"a":"\ud800"}"#, "request.malformed"),
        (r#"{"a":NaN}"#, "request.malformed"),
        (r#"{"a":1e999}"#, "request.malformed"),
        (r#"{"a":{"b":{"c":{}}}}"#, "request.malformed"),
        (r#"{"a":[1,1,1,1,1,1,1,1]}"#, "request.malformed"),
        (
            r#"{"a":"0123456789012345678901234567890123456789012345678901234567890"}"#,
            "request.too_large",
        ),
        ("[]", "tool.argument_refused"),
        ("null", "tool.argument_refused"),
        ("\"x\"", "tool.argument_refused"),
        (r#"{"a":1,"b":2,"c":3}"#, "tool.argument_refused"),
        // What a float does not hold would go on as another number.
        (r#"{"a":18446744073709551616}"#, "tool.argument_refused"),
        (r#"{"a":1e20}"#, "tool.argument_refused"),
        (r#"{"a":-9223372036854775809}"#, "tool.argument_refused"),
    ];
    for (arguments, code) in codes {
        let error = tool.finalize(&scope, arguments.as_bytes(), &few).unwrap_err();
        assert_eq!(error.code(), code, "{arguments}: {error}");
    }
    for arguments in ["{}", r#"{"a":1,"b":1}"#, r#"{"a":18446744073709551615}"#, r#"{"a":0.1}"#] {
        assert!(tool.finalize(&scope, arguments.as_bytes(), &few).is_ok(), "{arguments}");
    }
    assert!(tool.finalize(&scope, b"{\"a\":\"\xff\"}", &few).is_err());
}

#[tokio::test]
async fn keys_that_are_there_twice_are_refused_whatever_they_say() {
    let scope = World::new().await.acme().await;
    let tool = tool("bind = { '/account' = 'account' }\nrules = [{ argument = '/n', max = 1.0 }]");
    for arguments in [
        r#"{"n":1,"n":1000}"#,
        r#"{"n":1000,"n":1}"#,
        r#"{"x":1,"x":1}"#,
        r#"{"l":[{"x":1,"x":2}]}"#,
        r#"{"x":1,"\u0078":2}"#,
    ] {
        let got = tool.of(&scope, arguments);
        assert!(matches!(got, Err(Error::Duplicate)), "{arguments}: {got:?}");
    }
}

#[tokio::test]
async fn a_closed_schema_has_no_other_arguments() {
    let scope = World::new().await.acme().await;
    let closed = r#"
        bind = { '/account' = 'account' }
        [contracts.parameters]
        type = "object"
        additionalProperties = false
        [contracts.parameters.properties]
        q = {}
        account = {}
    "#;
    let held = tool(closed);
    assert!(held.of(&scope, r#"{"q":1}"#).is_ok());
    for arguments in [r#"{"r":1}"#, r#"{"q":1,"Q":1}"#, r#"{"":1}"#] {
        let error = held.of(&scope, arguments).unwrap_err();
        assert_eq!(error.code(), "tool.argument_refused", "{arguments}");
    }
    let observing = tool(&closed.replacen("bind", "enforcement = 'observe'\nbind", 1));
    assert_eq!(observing.of(&scope, r#"{"r":1}"#).unwrap().observed.len(), 1);
    let open = tool(&closed.replace("false", "true"));
    assert!(open.of(&scope, r#"{"r":1}"#).is_ok());
}

#[tokio::test]
async fn an_amount_is_what_it_says() {
    let scope = World::new().await.acme().await;
    let tool = tool("approval = { amount = '/sum/value' }");
    let amount = |value: &str| {
        tool.of(&scope, &format!(r#"{{"sum":{{"value":{value}}}}}"#)).map(|call| call.amount)
    };
    for (value, hundredths) in
        [("1.15", 115), ("4.35", 435), ("1000", 100_000), ("0", 0), ("-2.5", -250)]
    {
        assert_eq!(amount(value).unwrap(), Some(hundredths), "{value}");
    }
    for value in ["\"1\"", "null", "1.155", "1e-9", "[1]", "{}", "true", "92233720368547759"] {
        assert!(matches!(amount(value), Err(Error::Rule { .. })), "{value}");
    }
    assert_eq!(tool.of(&scope, "{}").unwrap().amount, None);
    assert!(tool.of(&scope, r#"{"sum":{"Value":1}}"#).is_err(), "spelled otherwise");
}

#[tokio::test]
async fn policies_see_the_final_arguments() {
    let scope = World::new().await.acme().await;
    let call =
        tool("bind = { '/account' = 'account' }").of(&scope, r#"{"n":2,"to":{"x":"y"}}"#).unwrap();
    assert_eq!(call.facts, ["/account=acct_acme", "/n=2", "/to/x=y"]);
}

#[tokio::test]
async fn the_digest_is_of_what_goes_out() {
    let world = World::new().await;
    let (acme, globex) = (world.acme().await, world.globex().await);
    let bound = tool("bind = { '/t' = 'tenant' }");
    let digest = |scope, arguments| bound.of(scope, arguments).unwrap().digest;
    assert_eq!(digest(&acme, r#"{"a":1,"b":2}"#), digest(&acme, r#" { "b" : 2, "\u0061": 1 }"#));
    assert_ne!(digest(&acme, r#"{"a":1}"#), digest(&acme, r#"{"a":2}"#));
    assert_ne!(digest(&acme, r#"{"a":1}"#), digest(&acme, r#"{"a":"1"}"#));
    assert_ne!(digest(&acme, "{}"), digest(&globex, "{}"));
    let (seed, mut runner) = seeded();
    let values = proptest::collection::btree_map("[ab]{1,2}", 0_u8..3, 0..3);
    let open = tool("");
    let outcome = runner.run(&(values.clone(), values), |(a, b)| {
        let call = |of: &BTreeMap<String, u8>| {
            open.of(&acme, &serde_json::to_string(of).unwrap()).unwrap()
        };
        let (x, y) = (call(&a), call(&b));
        prop_assert_eq!(x.digest == y.digest, x.arguments.to_vec() == y.arguments.to_vec());
        prop_assert_eq!(x.digest == y.digest, a == b);
        Ok(())
    });
    assert!(outcome.is_ok(), "seed {seed}: {outcome:?}");
}
