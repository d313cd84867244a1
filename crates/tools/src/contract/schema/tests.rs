use ids::json::Limits;
use proptest::prelude::*;

use super::*;

fn json(text: &str) -> Json {
    Json::parse(text.as_bytes(), &Limits::default()).unwrap()
}

fn hidden(schema: &str, pointers: &[&str]) -> Result<(String, Vec<bool>), String> {
    let pointers: Vec<_> = pointers.iter().map(|text| Pointer::parse(text).unwrap()).collect();
    let (shown, declared) = without(&json(schema), &pointers.iter().collect::<Vec<_>>())?;
    Ok((String::from_utf8(shown.to_vec()).unwrap(), declared))
}

/// The canonical text.
fn same(text: &str) -> String {
    String::from_utf8(json(text).to_vec()).unwrap()
}

#[test]
fn what_is_bound_is_taken_out() {
    for (schema, pointer, expected) in [
        // Where it is declared, and required.
        (
            r#"{"type":"object","description":"of account","properties":{"account":{"type":"string","description":"whose"},"q":{}},"required":["account","q"]}"#,
            "/account",
            r#"{"type":"object","description":"of account","properties":{"q":{}},"required":["q"]}"#,
        ),
        (
            r#"{"properties":{"account":{}},"required":["account"]}"#,
            "/account",
            r#"{"properties":{}}"#,
        ),
        // A name is not what it is like, nor what stands elsewhere.
        (
            r#"{"properties":{"accounts":{},"x":{"properties":{"account":{}},"required":["account"]}},"required":["accounts"]}"#,
            "/account",
            r#"{"properties":{"accounts":{},"x":{"properties":{"account":{}},"required":["account"]}},"required":["accounts"]}"#,
        ),
        // Values that have it.
        (
            r#"{"default":{"account":"acct_1","q":1},"examples":[{"account":"acct_1"},{"q":2}],"enum":[{"account":1,"q":1},{"account":2,"q":1}],"const":{"account":1},"example":{"account":1}}"#,
            "/account",
            r#"{"default":{"q":1},"examples":[{},{"q":2}],"enum":[{"q":1}],"const":{},"example":{}}"#,
        ),
        (
            r#"{"examples":{"one":{"value":{"account":1,"q":2}}}}"#,
            "/account",
            r#"{"examples":{"one":{"value":{"q":2}}}}"#,
        ),
        (
            r#"{"default":{"filter":{"owner":"x","s":1}},"properties":{"filter":{"default":{"owner":"x"},"properties":{"owner":{},"s":{}},"required":["owner"]}},"required":["filter"]}"#,
            "/filter/owner",
            r#"{"default":{"filter":{"s":1}},"properties":{"filter":{"default":{},"properties":{"s":{}}}},"required":["filter"]}"#,
        ),
        // Lists.
        (
            r#"{"properties":{"l":{"items":{"properties":{"a":{},"b":{}},"required":["a"]},"default":[{"a":1,"b":2}],"prefixItems":[{"required":["a"]}],"contains":{"required":["a"]}}}}"#,
            "/l/*/a",
            r#"{"properties":{"l":{"items":{"properties":{"b":{}}},"default":[{"b":2}],"prefixItems":[{}],"contains":{}}}}"#,
        ),
        (
            r#"{"properties":{"l":{"items":[{"required":["a"]}],"additionalItems":{"required":["a"]}}}}"#,
            "/l/*/a",
            r#"{"properties":{"l":{"items":[{}],"additionalItems":{}}}}"#,
        ),
        (
            r#"{"additionalProperties":{"properties":{"a":{}},"required":["a","b"]}}"#,
            "/*/a",
            r#"{"additionalProperties":{"properties":{},"required":["b"]}}"#,
        ),
        // Dependencies.
        (
            r#"{"dependentRequired":{"account":["q"],"q":["account","r"]},"dependentSchemas":{"account":{"required":["q"]},"q":{"required":["account"]}},"dependencies":{"account":["q"],"q":["account"],"r":{"required":["account"]}}}"#,
            "/account",
            r#"{"dependentRequired":{"q":["r"]},"dependentSchemas":{"q":{}},"dependencies":{"q":[],"r":{}}}"#,
        ),
        // Branches and conditions.
        (
            r#"{"allOf":[{"required":["account"]},{"properties":{"account":{},"q":{}}}],"anyOf":[{"required":["account"]},{"required":["q"]}]}"#,
            "/account",
            r#"{"allOf":[{},{"properties":{"q":{}}}],"anyOf":[{},{"required":["q"]}]}"#,
        ),
        (
            r#"{"oneOf":[{"required":["account"]},{"required":["q"]}]}"#,
            "/account",
            r#"{"anyOf":[{},{"required":["q"]}]}"#,
        ),
        (
            r#"{"oneOf":[{"required":["account"]}],"anyOf":[{"required":["q"]}]}"#,
            "/account",
            r#"{"anyOf":[{"required":["q"]}],"allOf":[{"anyOf":[{}]}]}"#,
        ),
        (r#"{"not":{"required":["account"]}}"#, "/account", "{}"),
        (r#"{"not":{"required":["q"]}}"#, "/account", r#"{"not":{"required":["q"]}}"#),
        (
            r#"{"if":{"properties":{"account":{"const":"x"}}},"then":{"required":["q"]},"else":false}"#,
            "/account",
            "{}",
        ),
        (
            r#"{"if":{"required":["q"]},"then":{"required":["account"]},"else":{"required":["account","r"]}}"#,
            "/account",
            r#"{"if":{"required":["q"]},"then":{},"else":{"required":["r"]}}"#,
        ),
        // Names as values of keywords.
        (
            r#"{"propertyNames":{"enum":["account","q"]},"patternProperties":{"^account$":{},"^q":{}},"discriminator":{"propertyName":"account"},"minProperties":2,"maxProperties":2,"properties":{"account":{},"q":{}}}"#,
            "/account",
            r#"{"patternProperties":{"^q":{}},"minProperties":1,"maxProperties":1,"properties":{"q":{}}}"#,
        ),
        // Schemas that are no objects.
        (r#"{"properties":{"filter":true}}"#, "/filter/owner", r#"{"properties":{"filter":true}}"#),
        ("true", "/account", "true"),
    ] {
        let (shown, _) = hidden(schema, &[pointer]).unwrap();
        assert_eq!(shown, same(expected), "{schema}");
        assert_eq!(hidden(&shown, &[pointer]).unwrap().0, shown, "nothing is left to be taken out");
    }
}

#[test]
fn definitions_are_followed() {
    for (schema, pointer, expected) in [
        (
            r##"{"properties":{"filter":{"$ref":"#/$defs/F"}},"$defs":{"F":{"properties":{"owner":{},"s":{}},"required":["owner"]}}}"##,
            "/filter/owner",
            r##"{"properties":{"filter":{"$ref":"#/$defs/shown1"}},"$defs":{"shown1":{"properties":{"s":{}}}}}"##,
        ),
        // Used elsewhere, it stays as it is there.
        (
            r##"{"properties":{"a":{"$ref":"#/definitions/P"},"b":{"$ref":"#/definitions/P"}},"definitions":{"P":{"properties":{"owner":{}}}}}"##,
            "/a/owner",
            r##"{"properties":{"a":{"$ref":"#/$defs/shown1"},"b":{"$ref":"#/definitions/P"}},"definitions":{"P":{"properties":{"owner":{}}}},"$defs":{"shown1":{"properties":{}}}}"##,
        ),
        // Recursive ones end.
        (
            r##"{"$ref":"#/$defs/N","$defs":{"N":{"properties":{"owner":{},"child":{"$ref":"#/$defs/N"}},"anyOf":[{"$ref":"#/$defs/N"}]}}}"##,
            "/owner",
            r##"{"$ref":"#/$defs/shown1","$defs":{"N":{"properties":{"owner":{},"child":{"$ref":"#/$defs/N"}},"anyOf":[{"$ref":"#/$defs/N"}]},"shown1":{"properties":{"child":{"$ref":"#/$defs/N"}},"anyOf":[{"$ref":"#/$defs/shown1"}]}}}"##,
        ),
        // All of it, within itself.
        (
            r##"{"properties":{"child":{"$ref":"#"},"owner":{}},"required":["owner"]}"##,
            "/child/owner",
            r##"{"properties":{"child":{"$ref":"#/$defs/shown1"},"owner":{}},"required":["owner"],"$defs":{"shown1":{"properties":{"child":{"$ref":"#"}}}}}"##,
        ),
        // What was about something else, too, and is taken out.
        (
            r##"{"properties":{"account":{"type":"string"},"other":{"$ref":"#/properties/account"}}}"##,
            "/account",
            r##"{"properties":{"other":{"$ref":"#/$defs/kept0"}},"$defs":{"kept0":{"type":"string"}}}"##,
        ),
        // A name that is taken, and one that has to be escaped.
        (
            r##"{"properties":{"a":{"$ref":"#/$defs/x~1y%20z"},"b":{"$ref":"#/$defs/shown1"}},"$defs":{"x/y z":{"required":["o"]},"shown1":{}}}"##,
            "/a/o",
            r##"{"properties":{"a":{"$ref":"#/$defs/shown2"},"b":{"$ref":"#/$defs/shown1"}},"$defs":{"shown1":{},"shown2":{}}}"##,
        ),
        // Arguments that are called like keywords.
        (
            r##"{"properties":{"$ref":{"type":"string"},"definitions":{"properties":{"a":{}}},"required":{}},"required":["required"]}"##,
            "/definitions/a",
            r##"{"properties":{"$ref":{"type":"string"},"definitions":{"properties":{}},"required":{}},"required":["required"]}"##,
        ),
    ] {
        let (shown, _) = hidden(schema, &[pointer]).unwrap();
        assert_eq!(shown, same(expected), "{schema}");
    }
}

#[test]
fn what_cannot_be_followed_is_an_error() {
    for (schema, pointer) in [
        (r#"{"$ref":"https://x.example/schema"}"#, "/account"),
        (r##"{"$ref":"#anchor"}"##, "/account"),
        (r##"{"$ref":"#/$defs/none"}"##, "/account"),
        (r##"{"$ref":"other.json#/a"}"##, "/account"),
        (r##"{"properties":{"f":{"allOf":[{"$ref":"https://x.example/s"}]}}}"##, "/f/owner"),
        (r##"{"$dynamicRef":"#x"}"##, "/account"),
        (r##"{"$recursiveRef":"#"}"##, "/account"),
        (r##"{"properties":{"f":{"$id":"https://x.example/f","$ref":"#/$defs/F"}}}"##, "/f/owner"),
    ] {
        assert!(hidden(schema, &[pointer]).is_err(), "{schema}");
    }
    // Elsewhere it is nothing to us.
    for schema in [
        r#"{"$id":"https://x.example/s","properties":{"account":{"$ref":"https://x.example/a"}}}"#,
        r#"{"properties":{"f":{"$ref":"https://x.example/s"},"account":{}}}"#,
    ] {
        assert!(hidden(schema, &["/account"]).is_ok(), "{schema}");
    }
    // Definitions that multiply end too.
    let mut many = r##"{"$ref":"#/$defs/d0","$defs":{"##.to_owned();
    for i in 0..24 {
        let next = format!(r##"{{"$ref":"#/$defs/d{}"}}"##, i + 1);
        many.push_str(&format!(r#""d{i}":{{"allOf":[{next},{next}]}},"#));
    }
    many.push_str(r#""d24":{"required":["account"]}}}"#);
    assert!(!hidden(&many, &["/account"]).unwrap().0.contains("account"));
}

#[test]
fn it_says_what_was_declared() {
    let schema = r#"{"properties":{"a":{},"f":{"properties":{"o":{}}}},"required":["z"]}"#;
    let (_, declared) = hidden(schema, &["/a", "/f/o", "/z", "/f/p"]).unwrap();
    assert_eq!(declared, [true, true, false, false]);
}

/// Schemas in which what is bound is spoken of in every way, at any depth of branches.
fn schemas() -> impl Strategy<Value = Json> {
    let object = |entries: Vec<(&str, Json)>| {
        Json::Object(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    };
    let names = || Json::Array(["owner", "s"].map(|name| Json::String(name.to_owned())).into());
    let leaf = prop_oneof![
        Just(object(vec![("required", names())])),
        Just(object(vec![(
            "properties",
            object(vec![("owner", Json::Bool(true)), ("s", Json::Bool(true))])
        )])),
        Just(object(vec![("dependentRequired", object(vec![("owner", names()), ("s", names())]))])),
        Just(object(vec![("default", object(vec![("owner", Json::Null)]))])),
        Just(object(vec![("$ref", Json::String("#/$defs/A".to_owned()))])),
        Just(object(vec![("$ref", Json::String("#/$defs/B".to_owned()))])),
        Just(Json::Bool(true)),
    ];
    let node = leaf.prop_recursive(4, 24, 3, move |inner| {
        let key = prop_oneof![Just("allOf"), Just("anyOf"), Just("oneOf")];
        let one = prop_oneof![Just("if"), Just("then"), Just("else"), Just("not")];
        prop_oneof![
            (key, proptest::collection::vec(inner.clone(), 1..3))
                .prop_map(|(key, items)| Json::Object(vec![(key.to_owned(), Json::Array(items))])),
            (one, inner.clone()).prop_map(|(key, item)| Json::Object(vec![(key.to_owned(), item)])),
            (inner.clone(), inner).prop_map(|(a, b)| Json::Object(vec![
                ("allOf".to_owned(), Json::Array(vec![a])),
                ("dependentSchemas".to_owned(), Json::Object(vec![("s".to_owned(), b)])),
            ])),
        ]
    });
    (node.clone(), node.clone(), node).prop_map(|(top, a, b)| {
        let field = Json::Object(vec![("f".to_owned(), top)]);
        let definitions = Json::Object(vec![("A".to_owned(), a), ("B".to_owned(), b)]);
        Json::Object(vec![("properties".to_owned(), field), ("$defs".to_owned(), definitions)])
    })
}

/// Whether the name stands anywhere as a property: written apart from what is tested.
fn names(json: &Json, name: &str) -> bool {
    match json {
        Json::Object(entries) => entries.iter().any(|(key, value)| {
            key == name || (key == "required" && says(value, name)) || names(value, name)
        }),
        Json::Array(items) => items.iter().any(|item| names(item, name)),
        Json::String(text) => text == name,
        _ => false,
    }
}

proptest! {
    /// Everything that leads to it leads to it alone here, so nothing may speak of it.
    #[test]
    fn nothing_speaks_of_what_is_bound(schema in schemas()) {
        let pointer = Pointer::parse("/f/owner").unwrap();
        let (shown, _) = without(&schema, &[&pointer]).unwrap();
        prop_assert!(!names(&shown, "owner"), "{}", String::from_utf8(shown.to_vec()).unwrap());
        for reference in references(&shown) {
            prop_assert!(resolve(&shown, &reference).is_some(), "{} leads nowhere", reference);
        }
        let (again, _) = without(&shown, &[&pointer]).unwrap();
        prop_assert!(!names(&again, "owner"));
    }
}
