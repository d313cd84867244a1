use super::*;

const SCHEMA: &str = "parameters = { type = 'object' }";

/// A contract of its own whole.
fn whole(lines: &str) -> String {
    format!("[[contracts]]\n{lines}")
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let long = format!("name = '{}'", "x".repeat(65));
    for (lines, part) in [
        ("name = ''", "name: "),
        ("name = 'a b'", "name: "),
        ("name = 'ä'", "name: "),
        (long.as_str(), "name: "),
        ("name = 't'\nupstream = 'none'", "there is no upstream `none`"),
        ("name = 't'\nrequest = { method = 'GET', path = '/x' }", "request: "),
        ("name = 't'\noperation = 'x'", "operation: "),
        ("name = 't'\nquery = { sql = 'select 1' }", "query: "),
        ("name = 't'\ntool = ''", "tool: "),
        ("name = 't'\nupstream = 'api'\ntool = 'x'", "tool: "),
        ("name = 't'\nupstream = 'api'", "exactly one"),
        ("name = 't'\nupstream = 'api'\noperation = 'x'", "no `openapi` document"),
        ("name = 't'\nupstream = 'db'", "a `query`"),
        ("name = 't'\nupstream = 'db'\nquery = { sql = 'select 1' }", "parameters: nothing says"),
        ("name = 't'\nupstream = 'db'\nquery = { sql = ' ' }", "query: sql"),
        (
            "name = 't'\nupstream = 'db'\nquery = { sql = 'x', parameters = ['a'] }",
            "query: parameters",
        ),
        ("name = 't'\nupstream = 'db'\nquery = { sql = 'x', setting = 'role' }", "query: setting"),
        (
            "name = 't'\nupstream = 'db'\nquery = { sql = 'x', setting = 'a.b; drop' }",
            "query: setting",
        ),
        (
            "name = 't'\nupstream = 'db'\nquery = { sql = 'x', setting = 'a.b', setting_from = 'accounts' }",
            "setting_from",
        ),
        ("name = 't'\nparameters = { type = 'array' }", "parameters: "),
        ("name = 't'\nparameters = true", "parameters: "),
        ("name = 't'\nparameters = { type = 'object', properties = 1 }", "parameters: "),
        (
            "name = 't'\nparameters = { type = 'object', '$ref' = 'https://x.example/s' }\nbind = { '/a' = 'tenant' }",
            "cannot be followed",
        ),
        ("name = 't'\nworkflows = []", "workflows: "),
        ("name = 't'\nworkflows = ['a', 'a']", "workflows: "),
        ("name = 't'\ntimeout_ms = 0", "timeout_ms: "),
        ("name = 't'\nmax_response_bytes = 0", "max_response_bytes: "),
        ("name = 't'\npin = 'b3:00'", "pin: "),
        ("name = 't'\npin = 'b3:0123456789ABCDEF0123456789ABCDEF'", "pin: "),
        ("name = 't'\nmode = 'approve'", "mode: "),
        ("name = 't'\nbind = { 'a' = 'tenant' }", "bind: "),
        ("name = 't'\nbind = { '' = 'tenant' }", "bind: "),
        ("name = 't'\nbind = { '/' = 'tenant' }", "bind: "),
        ("name = 't'\nbind = { '/l/*' = 'tenant' }", "bind: "),
        ("name = 't'\nbind = { '/l/0/a' = 'tenant' }", "bind: "),
        ("name = 't'\nbind = { '/l/-/a' = 'tenant' }", "bind: "),
        ("name = 't'\nbind = { '/a' = 'tenant', '/a/b' = 'tenant' }", "in each other's way"),
        ("name = 't'\nbind = { '/a/b' = 'tenant', '/*/b' = 'tenant' }", "in each other's way"),
        (
            "name = 't'\nbind = { '/a_b' = 'tenant' }\nrules = [{ argument = '/aB', required = true }]",
            "taken for it",
        ),
        (
            "name = 't'\nbind = { '/a' = 'tenant' }\nrules = [{ argument = '/a', required = true }]",
            "rules: ",
        ),
        (
            "name = 't'\nbind = { '/a' = 'tenant' }\nrules = [{ argument = '/a/b', required = true }]",
            "rules: ",
        ),
        (
            "name = 't'\nbind = { '/a' = 'tenant' }\nrules = [{ argument = '/*', required = true }]",
            "rules: ",
        ),
        (
            "name = 't'\nbind = { '/a' = 'accounts' }\nrules = [{ argument = '/b', account = true }]",
            "rules: ",
        ),
        ("name = 't'\nrules = [{ argument = '/a', pattern = '(' }]", "rules: "),
        (
            "name = 't'\nrules = [{ argument = '/a', min = 1.0 }, { argument = '/a', max = 1.0 }]",
            "make them one",
        ),
        ("name = 't'\nunverifiable = false", "owner: "),
        ("name = 't'\nowner = [{ owner = '/id' }]", "unverifiable: "),
        ("name = 't'\napproval = { expires_seconds = 59 }", "approval: expires_seconds"),
        ("name = 't'\napproval = { expires_seconds = 2592001 }", "approval: expires_seconds"),
        ("name = 't'\napproval = { four_eyes = true }", "approval: nobody"),
        ("name = 't'\napproval = { amount = '/a/*' }", "approval: amount"),
        ("name = 't'\neffect = 'write'\napproval = { above = 1.0 }", "approval: above"),
        (
            "name = 't'\neffect = 'write'\napproval = { amount = '/a', above = -1.0 }",
            "approval: above",
        ),
        (
            "name = 't'\neffect = 'write'\napproval = { amount = '/a', above = 1.005 }",
            "approval: above",
        ),
        (
            "name = 't'\neffect = 'write'\napproval = { amount = '/a', above = inf }",
            "approval: above",
        ),
        (
            "name = 't'\neffect = 'write'\nbind = { '/a' = 'tenant' }\napproval = { amount = '/a' }",
            "approval: amount",
        ),
        ("name = 't'\nidempotency = { argument = '/k' }", "idempotency: "),
        (
            "name = 't'\neffect = 'write'\nidempotency = { header = 'idempotency-key' }",
            "idempotency.header",
        ),
        (
            "name = 't'\neffect = 'write'\nidempotency = { argument = '/*/k' }",
            "idempotency.argument",
        ),
        (
            "name = 't'\neffect = 'write'\nidempotency = { argument = '/k' }\nbind = { '/k' = 'run' }",
            "bound already",
        ),
        (
            "name = 't'\nreconcile = { tool = 'r', holds = [{ path = '$', equals = 1 }] }",
            "reconcile: ",
        ),
        (
            "name = 't'\neffect = 'write'\nreconcile = { tool = 'none', holds = [{ path = '$', equals = 1 }] }",
            "reconcile: tool: there is no",
        ),
        (
            "name = 't'\neffect = 'write'\nreconcile = { tool = 't', holds = [{ path = '$', equals = 1 }] }",
            "is no read",
        ),
        ("name = 't'\neffect = 'write'\nreconcile = { tool = 'r', holds = [] }", "holds"),
        (
            "name = 't'\neffect = 'write'\nreconcile = { tool = 'r', holds = [{ path = '$[', equals = 1 }] }",
            "no JSONPath",
        ),
        (
            "name = 't'\neffect = 'write'\nreconcile = { tool = 'r', holds = [{ path = '$', equals = { from = 'x' } }] }",
            "neither",
        ),
        (
            "name = 't'\neffect = 'write'\nreconcile = { tool = 'r', holds = [{ path = '$', equals = { from = 1 } }] }",
            "`equals`",
        ),
        (
            "name = 't'\neffect = 'write'\nreconcile = { tool = 'r', arguments = { 'a' = 'intent' }, holds = [{ path = '$', equals = 1 }] }",
            "reconcile: arguments",
        ),
        (
            "name = 't'\neffect = 'write'\nreconcile = { tool = 'r', arguments = { '/a' = 'argument:a' }, holds = [{ path = '$', equals = 1 }] }",
            "reconcile: arguments",
        ),
        (
            "name = 't'\neffect = 'write'\nreconcile = { tool = 'r', arguments = { '/tenant' = 'intent' }, holds = [{ path = '$', equals = 1 }] }",
            "is bound",
        ),
    ] {
        let mut lines = lines.to_owned();
        for (field, value) in
            [("upstream", "'crm'"), ("effect", "'read'"), ("unverifiable", "true")]
        {
            if !lines.contains(&format!("{field} =")) {
                lines.push_str(&format!("\n{field} = {value}"));
            }
        }
        let read = "name = 'r'\nupstream = 'crm'\neffect = 'read'\nunverifiable = true\nbind = { '/tenant' = 'tenant' }";
        let settings = settings(&format!("{}\n{}", whole(&lines), whole(read)));
        let error = settings.check().expect_err(&lines);
        assert_eq!(error.code(), "config.invalid");
        let said = error.to_string();
        assert!(said.contains(part) && said.contains("contract `"), "{lines}\n{said}");
    }
}

#[test]
fn names_are_unique() {
    let twice = format!("{}\n{}", contract(""), contract(""));
    assert!(compiled(&twice).unwrap_err().contains("unique"));
}

#[test]
fn headers_say_nothing_of_whose_a_request_is() {
    for (name, good) in [
        ("x-api-version", true),
        ("accept", true),
        ("Authorization", false),
        ("host", false),
        ("cookie", false),
        ("transfer-encoding", false),
        ("proxy-anything", false),
        ("X-Forwarded-For", false),
        ("mcp-session-id", false),
        ("a b", false),
        ("a\\r\\nb", false),
        ("", false),
    ] {
        let lines = format!(
            "upstream = 'api'\n{SCHEMA}\nrequest = {{ method = 'GET', path = '/x', headers = {{ \"{name}\" = 'v' }} }}"
        );
        let said = compiled(&contract(&lines).replace("upstream = 'crm'\n", "")).err();
        let refused = said.as_ref().is_some_and(|said| said.contains("request.headers"));
        assert_eq!(refused, !good, "{name}: {said:?}");
    }
}

#[test]
fn what_is_left_out_is_as_it_is_said() {
    let read = tool("");
    assert_eq!(read.mode, Mode::Execute);
    assert!(matches!(&read.form, Form::Mcp(name) if name == "t"));
    assert_eq!(read.upstream.kind, UpstreamKind::Mcp);
    let write =
        compiled(&contract("tool = 'theirs'\ndescription = 'ours'").replace("'read'", "'write'"))
            .unwrap();
    assert_eq!(write.mode, Mode::Suggest);
    assert!(matches!(&write.form, Form::Mcp(name) if name == "theirs"));
    assert_eq!(write.description.as_deref(), Some("ours"));
    let sql = format!("query = {{ sql = 'select 1', setting = 'app.tenant' }}\n{SCHEMA}");
    let db = compiled(&contract(&sql).replace("'crm'", "'db'")).unwrap();
    assert!(matches!(db.form, Form::Sql(_)));
    assert!(db.schema.is_some());
}

#[test]
fn what_the_upstream_does_not_know_cannot_be_bound_there() {
    let tool = tool("bind = { '/account' = 'account' }");
    let schema = |of: &str| tool.shown(&parsed(of)).map(|shown| text(&shown));
    assert_eq!(schema(r#"{"type":"object"}"#).unwrap(), r#"{"type":"object"}"#);
    let shown =
        schema(r#"{"type":"object","properties":{"account":{},"q":{}},"required":["account"]}"#);
    assert_eq!(shown.unwrap(), r#"{"properties":{"q":{}},"type":"object"}"#);
    let error = schema(r#"{"type":"object","properties":{"acount":{},"q":{}}}"#).unwrap_err();
    assert!(error.contains("no argument `/account`"), "{error}");
}

/// What is said of contracts `one` and `two` at `api`, with these paths and lines, in either order.
fn pair(one: (&str, &str), two: (&str, &str)) -> Result<(), String> {
    let contract = |name: &str, (path, lines): (&str, &str)| {
        whole(&format!(
            "name = '{name}'\nupstream = 'api'\neffect = 'write'\nunverifiable = true\n{SCHEMA}\n\
             request = {{ method = 'POST', path = '{path}' }}\n{lines}\n"
        ))
    };
    let (one, two) = (contract("one", one), contract("two", two));
    let [got, other] = [format!("{one}{two}"), format!("{two}{one}")].map(|all| compiled(&all));
    assert_eq!(got.is_ok(), other.is_ok(), "{one}{two}");
    for why in [&got, &other].into_iter().filter_map(|got| got.as_ref().err()) {
        let named = why.contains("`one`") && why.contains("`two`");
        assert!(named && why.contains("add a rule") != why.contains("no rule"), "{why}");
    }
    got.map(drop)
}

#[test]
fn no_argument_makes_a_request_another_contracts() {
    for (one, two, apart) in [
        ("/refunds/{id}", "/refunds/batch", false),
        ("/refunds/{id}", "/refunds/batch/", false),
        ("/refunds/{id}", "/Refunds/BATCH", false),
        ("/refunds/{id}/void", "/refunds/batch/{what}", false),
        ("/r-{id}", "/r-batch", false),
        ("/{id}", "/{id}.json", false),
        ("/a{x}", "/{y}b", false),
        ("/r-{id}", "/q-batch", true),
        ("/r-{id}", "/r-", true),
        ("/{id}.xml", "/{id}.json", true),
        ("/refunds/{id}", "/refunds", true),
        ("/refunds/{id}", "/refunds/", true),
        ("/refunds/{id}", "/orders/batch", true),
        ("/refunds/{id}", "/refunds/{key}", true),
        ("/refunds/{id}/void", "/refunds/batch/all", true),
    ] {
        assert_eq!(pair((one, ""), (two, "")).is_ok(), apart, "{one} {two}");
    }
    // What is said to help does.
    for (one, two, helps) in [
        ("/refunds/{id}", "/refunds/batch", true),
        ("/{id}/x-{b}", "/a/{c}-y", true),
        ("/{id}", "/{id}.json", false),
        ("/a{x}", "/{y}b", false),
    ] {
        let why = pair((one, ""), (two, "")).unwrap_err();
        assert_eq!(why.contains("add a rule"), helps, "{one} {two}: {why}");
    }
    // Another method is another request.
    let get = whole(&format!(
        "name = 'g'\nupstream = 'api'\neffect = 'read'\nunverifiable = true\n{SCHEMA}\n\
         request = {{ method = 'GET', path = '/refunds/{{id}}' }}\n"
    ));
    let post = get.replace("'g'", "'p'").replace("GET", "POST").replace("{id}", "batch");
    assert!(compiled(&format!("{get}{post}")).is_ok());
}

#[test]
fn a_rule_keeps_an_argument_out_of_anothers_place() {
    for (rule, apart) in [
        ("{ argument = '/id', pattern = 're_[0-9]+' }", true),
        ("{ argument = '/id', pattern = '[a-z]+' }", false),
        // The upstream may take `BATCH` for `batch`.
        ("{ argument = '/id', pattern = '[A-Z]+' }", false),
        ("{ argument = '/id', pattern = '(?-i:[A-Z]+)' }", false),
        ("{ argument = '/id', one_of = ['a', 7] }", true),
        ("{ argument = '/id', one_of = ['a', 'Batch'] }", false),
        ("{ argument = '/id', max_length = 4 }", false),
        ("{ argument = '/other', pattern = '[0-9]+' }", false),
        ("{ argument = '/id/id', pattern = '[0-9]+' }", false),
    ] {
        let lines = format!("rules = [{rule}]");
        let got = pair(("/refunds/{id}", lines.as_str()), ("/refunds/batch", ""));
        assert_eq!(got.is_ok(), apart, "{rule}: {got:?}");
        // One that is only observed keeps nothing away.
        let observed = format!("{lines}\nenforcement = 'observe'");
        assert!(pair(("/refunds/{id}", observed.as_str()), ("/refunds/batch", "")).is_err());
    }
}
