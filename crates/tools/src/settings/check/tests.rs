use super::*;

fn check(text: &str) -> Result<(), String> {
    let settings: Settings = toml::from_str(text).map_err(|error| error.to_string())?;
    settings.check().map_err(|error| error.to_string())
}

fn upstream(lines: &str) -> String {
    format!("[[upstreams]]\nid = 'u'\n{lines}")
}

#[test]
fn addresses() {
    for (kind, url, good) in [
        ("mcp", "https://h.example/mcp", true),
        ("http", "https://h.example:8443", true),
        ("mcp", "http://127.0.0.1:9/mcp", true),
        ("mcp", "http://[::1]:9/mcp", true),
        ("mcp", "http://localhost/mcp", true),
        ("mcp", "http://h.example/mcp", false),
        ("mcp", "http://127.0.0.1.evil.example/", false),
        ("mcp", "https://user:pw@h.example/", false),
        ("mcp", "https://h.example/?key=1", false),
        ("mcp", "https://h.example/#x", false),
        ("mcp", "ftp://h.example/", false),
        ("mcp", "file:///etc/passwd", false),
        ("mcp", "h.example", false),
        ("mcp", "/mcp", false),
        ("mcp", "", false),
        ("postgres", "postgres://h.example:5432/app", true),
        ("postgres", "postgres://user@h.example/app", false),
        ("postgres", "postgres://user:pw@h.example/app", false),
        ("postgres", "postgres://h.example", false),
        ("postgres", "postgres://h.example/app?options=-c", false),
        ("postgres", "https://h.example/app", false),
    ] {
        let auth = if kind == "postgres" { "auth = { kind = 'basic' }" } else { "" };
        let got = check(&upstream(&format!("kind = '{kind}'\nurl = '{url}'\n{auth}")));
        assert_eq!(got.is_ok(), good, "{kind} {url}: {got:?}");
        assert!(got.is_ok() || got.as_ref().unwrap_err().contains("upstream `u`: url"), "{got:?}");
    }
    assert!(
        check(&upstream("kind = 'mcp'\nurl = 'http://h.example'\nallow_plain_http = true")).is_ok()
    );
    let none =
        "kind = 'postgres'\nurl = 'postgres://reader@h.example/app'\nauth = { kind = 'none' }";
    assert!(check(&upstream(none)).is_ok());
    assert!(check(&upstream(&none.replace("reader", "reader:pw"))).is_err());
}

#[test]
fn what_is_wrong_with_an_upstream() {
    let good = "kind = 'mcp'\nurl = 'https://h.example'";
    for (lines, part) in [
        ("auth = { kind = 'header', name = 'host' }", "auth: name"),
        ("auth = { kind = 'header', name = 'a b' }", "auth: name"),
        ("auth = { kind = 'oauth-client', token_url = 'http://h.example/t' }", "auth: token_url"),
        (
            "auth = { kind = 'oauth-refresh', token_url = 'https://u@h.example/t' }",
            "auth: token_url",
        ),
        ("auth = { kind = 'assertion', audience = '' }", "auth: audience"),
        ("auth = { kind = 'assertion', audience = 'a', seconds = 0 }", "auth: seconds"),
        ("auth = { kind = 'assertion', audience = 'a', seconds = 901 }", "auth: seconds"),
        ("timeouts = { total_ms = 0 }", "timeouts.total_ms"),
        ("timeouts = { connect_ms = 3600001 }", "timeouts.connect_ms"),
        ("max_response_bytes = 0", "max_response_bytes"),
        ("openapi = 'x.json'", "openapi"),
        ("uris = 'unverifiable'", "uris"),
        ("resources = true\nuris = 'raw'", "uris"),
        ("prompt_prefix = ''", "prompt_prefix"),
        ("prompts = true\nprompt_prefix = 'a b'", "prompt_prefix"),
        ("prompts = true\nprompt_prefix = 'å'", "prompt_prefix"),
    ] {
        let error = check(&upstream(&format!("{good}\n{lines}"))).unwrap_err();
        assert!(error.contains(part), "{lines}: {error}");
    }
    for lines in [
        "auth = { kind = 'header', name = 'Authorization' }",
        "auth = { kind = 'header', name = 'x-api-key' }",
        "auth = { kind = 'mtls' }",
        "resources = true\nprompts = true",
        "resources = true\nuris = 'unverifiable'\nprompts = true\nprompt_prefix = ''",
    ] {
        assert_eq!(check(&upstream(&format!("{good}\n{lines}"))), Ok(()), "{lines}");
    }
    let local = "kind = 'http'\nurl = 'http://localhost'";
    for (lines, part) in [
        ("auth = { kind = 'mtls' }", "https"),
        ("resources = true", "mcp"),
        ("prompts = true", "mcp"),
    ] {
        let error = check(&upstream(&format!("{local}\n{lines}"))).unwrap_err();
        assert!(error.contains(part), "{lines}: {error}");
    }
    let database = "kind = 'postgres'\nurl = 'postgres://h.example/app'";
    for auth in ["kind = 'header', name = 'x'", "kind = 'assertion', audience = 'a'"] {
        assert!(check(&upstream(&format!("{database}\nauth = {{ {auth} }}"))).is_err(), "{auth}");
    }
    let twice = format!("{}\n{}", upstream(good), upstream(good));
    assert!(check(&twice).unwrap_err().contains("unique"));
}

#[test]
fn what_agents_name_is_of_one_upstream() {
    let two = |one: &str, other: &str| {
        let good = "kind = 'mcp'\nurl = 'https://h.example'\nresources = true\nprompts = true";
        check(&format!(
            "[[upstreams]]\nid = 'crm'\n{good}\n{one}\n[[upstreams]]\nid = 'wiki'\n{good}\n{other}"
        ))
    };
    for (one, other, part) in [
        ("prompt_prefix = ''", "prompt_prefix = ''", "prompt_prefix"),
        ("prompt_prefix = 'x.'", "prompt_prefix = 'x.'", "prompt_prefix"),
        ("", "prompt_prefix = 'crm__'", "prompt_prefix"),
        ("uris = 'unverifiable'", "uris = 'unverifiable'", "uris"),
    ] {
        let error = two(one, other).unwrap_err();
        assert!(error.contains(part) && error.contains("`crm`"), "{one} {other}: {error}");
    }
    for (one, other) in [
        ("", ""),
        ("prompt_prefix = ''", ""),
        ("prompt_prefix = ''", "prompt_prefix = 'crm__'"),
        ("uris = 'unverifiable'", "uris = 'handles'"),
    ] {
        assert_eq!(two(one, other), Ok(()), "{one} {other}");
    }
}

#[test]
fn origins_limits_and_workflows() {
    for (origin, good) in [
        ("https://app.example.com", true),
        ("https://app.example.com:8443", true),
        ("http://localhost:3000", true),
        ("https://app.example.com/", false),
        ("https://app.example.com/x", false),
        ("https://app.example.com:443", false),
        ("http://localhost:80", false),
        ("https://App.example.com", false),
        ("https://*.example.com", false),
        ("https://u@app.example.com", false),
        ("app.example.com", false),
        ("null", false),
        ("*", false),
        ("", false),
    ] {
        assert_eq!(check(&format!("origins = ['{origin}']")).is_ok(), good, "{origin}");
    }
    for limit in [
        "arguments_bytes = 0",
        "arguments_bytes = 16777217",
        "depth = 0",
        "depth = 121",
        "nodes = 0",
        "values = 0",
        "values = 4097",
        "records = 0",
        "catalog_seconds = 0",
        "intents = 0",
        "intent_days = 0",
        "clients = 0",
        "approval_wait_seconds = 3601",
    ] {
        let error = check(&format!("[limits]\n{limit}")).unwrap_err();
        let name = limit.split(' ').next().unwrap();
        assert!(error.contains(&format!("limits: {name}")), "{limit}: {error}");
    }
    assert_eq!(check(""), Ok(()));
    let twice =
        "workflows = [{ workflow = 'w', mode = 'approve' }, { workflow = 'w', mode = 'execute' }]";
    assert!(check(twice).unwrap_err().contains("twice"));
}
