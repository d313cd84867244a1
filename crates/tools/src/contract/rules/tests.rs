use ids::json::Limits;

use super::*;
use crate::Enforcement;

fn json(text: &str) -> Json {
    Json::parse(text.as_bytes(), &Limits::default()).unwrap()
}

fn rule(text: &str) -> Rule {
    toml::from_str(text).unwrap()
}

fn held(text: &str, arguments: &str) -> Result<Chosen, Error> {
    let held = Held::compile(&rule(text)).unwrap();
    let accounts = ["acct_1".parse().unwrap(), "42".parse().unwrap()];
    let mut chosen = None;
    let mut verdict = Verdict::new(Enforcement::Enforce);
    held.hold(&json(arguments), &accounts, &mut chosen, &mut verdict).map(|()| chosen)
}

#[test]
fn each_rule_holds() {
    for (rule, arguments, good) in [
        ("argument = '/a'\nrequired = true", r#"{"a":0}"#, true),
        ("argument = '/a'\nrequired = true", r#"{"a":null}"#, false),
        ("argument = '/a'\nrequired = true", r#"{"b":1}"#, false),
        ("argument = '/l/*/a'\nrequired = true", r#"{"l":[{"a":1},{"a":2}]}"#, true),
        ("argument = '/l/*/a'\nrequired = true", r#"{"l":[{"a":1},{}]}"#, false),
        ("argument = '/l/*/a'\nrequired = true", r#"{"l":[]}"#, true),
        ("argument = '/l/*/a'\nrequired = true", r#"{}"#, false),
        ("argument = '/a'\none_of = ['x', 1, true]", r#"{"a":"x"}"#, true),
        ("argument = '/a'\none_of = ['x', 1, true]", r#"{"a":1}"#, true),
        ("argument = '/a'\none_of = ['x', 1, true]", r#"{"a":"1"}"#, false),
        ("argument = '/a'\none_of = ['x', 1, true]", r#"{"a":["x"]}"#, false),
        ("argument = '/a'\none_of = ['x']", r#"{"a":null}"#, false),
        ("argument = '/a'\none_of = ['x']", r"{}", true),
        ("argument = '/a'\nmax_length = 2", r#"{"a":"ab"}"#, true),
        ("argument = '/a'\nmax_length = 2", r#"{"a":"aé"}"#, false),
        ("argument = '/a'\nmax_length = 2", r#"{"a":[1,2,3]}"#, false),
        ("argument = '/a'\nmax_length = 2", r#"{"a":1}"#, false),
        ("argument = '/a'\nmax_length = 2", r#"{"a":{}}"#, false),
        ("argument = '/o/*'\nmax_length = 1", r#"{"o":{"x":"a","y":"bb"}}"#, false),
    ] {
        assert_eq!(held(rule, arguments).is_ok(), good, "{rule} {arguments}");
    }
}

#[test]
fn numbers_are_numbers_and_compared_as_they_are() {
    for (rule, value, good) in [
        ("max = 100.0", "100", true),
        ("max = 100.0", "100.5", false),
        ("max = 100.0", "1e2", true),
        ("max = 100.0", "\"1\"", false),
        ("max = 100.0", "[1]", false),
        ("max = 100.0", "null", false),
        ("max = 100.0", "true", false),
        ("min = 0.5", "0", false),
        ("min = 0.5", "1", true),
        ("min = -0.5", "-1", false),
        ("min = -0.5", "0", true),
        ("max = 0.5", "1", false),
        ("max = 0.5", "0", true),
        ("max = -0.5", "0", false),
        // One more than a float of this size can tell.
        ("max = 9007199254740992.0", "9007199254740992", true),
        ("max = 9007199254740992.0", "9007199254740993", false),
        ("max = 1e300", "18446744073709551615", true),
        ("min = 1e300", "18446744073709551615", false),
        ("min = -1e300", "-9223372036854775808", true),
    ] {
        let text = format!("argument = '/a'\n{rule}");
        assert_eq!(held(&text, &format!(r#"{{"a":{value}}}"#)).is_ok(), good, "{rule} {value}");
    }
}

#[test]
fn a_pattern_is_of_the_whole_text() {
    for (pattern, value, good) in [
        ("ORD-[0-9]+", "ORD-1", true),
        ("ORD-[0-9]+", "xORD-1", false),
        ("ORD-[0-9]+", "ORD-1/../x", false),
        ("ORD-[0-9]+", "ORD-1\\n", false),
        ("a|ab", "ab", true),
        ("a|b", "ax", false),
        ("^a$", "a", true),
        ("(?m)^a$", "a\\nb", false),
        ("(?m)^a$", "b\\na", false),
        ("(?s).*", "a\\nb", true),
        ("a", "\\u0061", true),
    ] {
        let text = format!("argument = '/a'\npattern = '{pattern}'");
        let arguments = format!(r#"{{"a":"{value}"}}"#);
        assert_eq!(held(&text, &arguments).is_ok(), good, "{pattern} {value}");
    }
    assert!(held("argument = '/a'\npattern = '.*'", r#"{"a":1}"#).is_err());
}

#[test]
fn an_account_is_one_of_the_tenants_to_the_letter() {
    let chooses = "argument = '/a'\naccount = true";
    for (value, account) in [("\"acct_1\"", "acct_1"), ("42", "42"), ("\"42\"", "42")] {
        let (chosen, by) = held(chooses, &format!(r#"{{"a":{value}}}"#)).unwrap().unwrap();
        assert_eq!((chosen.as_str(), by.as_str()), (account, "/a"));
    }
    for value in [
        "\"acct_2\"",
        "\"ACCT_1\"",
        "\" acct_1\"",
        "\"acct_1\\u0000\"",
        "\"acct_1,acct_2\"",
        "[\"acct_1\"]",
        "{\"$ne\":null}",
        "null",
        "42.0",
        "true",
        "\"\"",
        "\"*\"",
    ] {
        assert!(held(chooses, &format!(r#"{{"a":{value}}}"#)).is_err(), "{value}");
    }
    let each = "argument = '/l/*'\naccount = true";
    assert!(held(each, r#"{"l":["acct_1","acct_1"]}"#).is_ok());
    assert!(held(each, r#"{"l":["acct_1","42"]}"#).is_err(), "the call would be for two accounts");
    assert!(held(each, r#"{"l":["acct_1","acct_2"]}"#).is_err());
    assert_eq!(held(chooses, "{}").unwrap(), None);
}

#[test]
fn rules_that_make_no_sense() {
    let class = format!("[{}]", "ab".repeat(2_000));
    for (text, why) in [
        ("argument = 'a'\nrequired = true".to_owned(), "JSON Pointer"),
        ("argument = ''\nrequired = true".to_owned(), "all of the arguments"),
        ("argument = '/a'".to_owned(), "says nothing"),
        ("argument = '/a'\npattern = '('".to_owned(), "no regular expression"),
        ("argument = '/a'\npattern = 'a)|(b'".to_owned(), "no regular expression"),
        ("argument = '/a'\npattern = '((a{100}){100}){100}'".to_owned(), "no regular expression"),
        (format!("argument = '/a'\npattern = '{class}'"), "at most"),
        ("argument = '/a'\nmin = nan".to_owned(), "finite"),
        ("argument = '/a'\nmax = inf".to_owned(), "finite"),
        ("argument = '/a'\nmin = 2.0\nmax = 1.0".to_owned(), "greater"),
        ("argument = '/a'\nmin = 2.0\npattern = 'x'".to_owned(), "of numbers"),
        ("argument = '/a'\none_of = []".to_owned(), "names nothing"),
    ] {
        let error = Held::compile(&rule(&text)).unwrap_err();
        assert!(error.contains(why), "{text}: {error}");
    }
}
