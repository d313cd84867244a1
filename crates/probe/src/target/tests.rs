use super::*;

const TENANTS: &str = "[tenant.a]\ntoken = \"tok-a\"\nexpired = \"old-a\"\nnames = [\"acme\"]\n\n[tenant.b]\ntoken = \"tok-b\"\n\n";

fn parse(text: &str) -> Result<Plan, String> {
    Plan::parse("stack.toml", text).map_err(|error| error.to_string())
}

#[test]
fn a_whole_file_is_read() {
    let plan = parse(&format!(
        r#"{TENANTS}
[budget]
requests = 100
usd = 2
minutes = 5

[target.zebra]
kind = "openai"
url = "http://127.0.0.1:4000/v1"
model = "small"
price = {{ input = 0.15, output = 0.6 }}

[target.agent]
kind = "http"
url = "http://localhost:9000"
auth = {{ header = "x-api-key" }}
a = {{ token = "own-a", headers = {{ x-org = "acme" }} }}
plant = {{ post = "/docs", json = {{ text = "{{canary}}", n = [1, 2.5, true] }}, id = "/id" }}
ask = {{ post = "/chat", json = {{ thread = "{{thread}}", q = "{{prompt}}" }}, job = "/job" }}
poll = {{ get = "/jobs/{{job}}", until = "/done", answer = "/text", seconds = 60 }}
objects = ["/docs/{{id}}", "/threads/{{thread}}"]
cleanup = {{ delete = "/docs/{{id}}" }}

[target.cache]
kind = "redis"
url = "redis://127.0.0.1:6379"
a = {{ prefix = "a:" }}
b = {{ prefix = "b:" }}

[target.points]
kind = "qdrant"
url = "http://127.0.0.1:6333"

[target.claude]
kind = "anthropic"
url = "http://127.0.0.1:4000"
auth = "bearer"
model = "small"

[target.ours]
kind = "bulkhead"
url = "http://[::1]:8642"
control = "http://127.0.0.1:8643"
"#
    ))
    .unwrap();
    assert_eq!((plan.budget.requests, plan.budget.usd, plan.budget.minutes), (100, 2.0, 5.0));
    let names: Vec<&str> = plan.targets.iter().map(|target| target.name.as_str()).collect();
    assert_eq!(names, ["zebra", "agent", "cache", "points", "claude", "ours"]);
    let lines: Vec<usize> = plan.targets.iter().map(|target| target.line).collect();
    assert_eq!(lines, [15, 21, 32, 38, 42, 48]);
    let [zebra, agent, cache, points, claude, ours] = &plan.targets[..] else { panic!() };
    assert!(matches!(&zebra.kind, Kind::Openai { model } if model == "small"));
    assert_eq!(zebra.price.unwrap().output, 0.6);
    assert_eq!(agent.auth, Auth::Header("x-api-key".into()));
    let Kind::Http(app) = &agent.kind else { panic!() };
    let plant = app.plant.as_ref().unwrap();
    assert_eq!(asked(plant).unwrap(), (http::Method::POST, "/docs"));
    let body = serde_json::json!({ "text": "{canary}", "n": [1, 2.5, true] });
    assert_eq!(plant.json.as_ref().unwrap(), &body);
    assert_eq!(app.poll.as_ref().unwrap().seconds, Some(60.0));
    assert_eq!(agent.address("/docs").unwrap().as_str(), "http://localhost:9000/docs");
    for path in ["/docs/..", "/docs/./x", "/docs/%2E%2e/x", "/docs/..?x=1", "@127.0.0.1/docs"] {
        assert!(matches!(agent.address(path), Err(Halt::Failed(_))), "{path}");
    }
    assert!(zebra.address("/../admin").is_err() && zebra.address("/a..b?x=../..").is_ok());
    // What the target says of its own tenants is over what all have; credentials are not mixed.
    let tenant = |target: &Target, side| target.known(side).unwrap().clone();
    assert_eq!(tenant(agent, Side::A).token.as_deref(), Some("own-a"));
    assert_eq!(tenant(agent, Side::A).expired, None);
    assert_eq!(tenant(agent, Side::A).names, ["acme"]);
    assert_eq!(tenant(agent, Side::B).token.as_deref(), Some("tok-b"));
    assert_eq!(tenant(cache, Side::A).token, None);
    assert_eq!(points.auth, Auth::Header("api-key".into()));
    assert_eq!((&claude.auth, &ours.auth), (&Auth::Bearer, &Auth::Bearer));
}

#[test]
fn mistakes_are_told_with_file_line_and_column() {
    let good = "[target.t]\nkind = \"openai\"\nurl = \"http://127.0.0.1\"\nmodel = \"m\"\n";
    let app = "[target.t]\nkind = \"http\"\nurl = \"http://127.0.0.1\"\n";
    for (text, told) in [
        ("[tenants.a]\n", "stack.toml:1:2: unknown field `tenants`; did you mean `tenant`?"),
        ("[tenant.c]\n", "stack.toml:1:9: unknown field `c`; did you mean `a`?"),
        ("[tenant.a]\ntokn = \"x\"\n", "stack.toml:2:1: unknown field `tokn`"),
        ("[tenant.a]\ntokn = \"x\"\n", "did you mean `token`?"),
        ("[tenant.a]\ntoken = \"x\"\ntoken_cmd = [\"x\"]\n", "stack.toml:1:9: token or token_cmd"),
        ("[tenant.a]\ntoken = \"\"\n", "stack.toml:1:9: a credential"),
        ("[budget]\nminutes = -1\n", "stack.toml:1:2: minutes is between"),
        ("[budget]\nminutes = nan\n", "minutes is between"),
        ("[budget]\nrequests = 1.5\n", "stack.toml:2:12: invalid type: floating point"),
        ("[budget]\nusd = \"2\"\n", "stack.toml:2:7: invalid type: string"),
        ("a = ", "stack.toml:1:"),
        ("", "stack.toml: no target"),
        ("target = 1\n", "stack.toml:1:1: `target` is a table"),
        ("[target]\nt = 1\n", "stack.toml:2:1: `t` is a table"),
        ("[target.t]\nurl = \"http://x\"\n", "stack.toml:1:9: `kind` is missing"),
        ("[target.\"a b\"]\nkind = \"http\"\n", "stack.toml:1:9: a target's name"),
        (
            "[target.t]\nkind = \"qdrnt\"\n",
            "stack.toml:2:1: unknown kind `qdrnt`; did you mean `qdrant`?",
        ),
        ("[target.t]\nkind = \"zzzzzz\"\n", "known are bulkhead, openai"),
        ("[target.t]\nkind = \"openai\"\n", "stack.toml:1:9: `url` is missing"),
        (
            "[target.t]\nkind = \"openai\"\nurl = \"x\"\nmodl = \"m\"\n",
            "stack.toml:4:1: unknown field `modl`; did you mean `model`?",
        ),
        (
            "[target.t]\nkind = \"openai\"\nurl = \"x\"\nplant = 1\n",
            "stack.toml:4:1: unknown field `plant`",
        ),
        (
            "[target.t]\nkind = \"openai\"\nurl = \"http://x\"\n",
            "stack.toml:1:9: `model` is missing",
        ),
        (good, "stack.toml:1:9: target t has no tenant a; add [tenant.a]"),
        (
            &good.replace("http:", "ftp:"),
            "stack.toml:3:1: the address begins with http:// or https://",
        ),
        (
            &good.replace("//", "//u:p@"),
            "stack.toml:3:1: credentials do not belong into an address",
        ),
        (&good.replace("0.1", "0.1/?k=v"), "stack.toml:3:1: an address ends with its path"),
        (&format!("{good}auth = \"baerer\"\n"), "stack.toml:5:8: unknown variant `baerer`"),
        (&format!("{good}auth = \"baerer\"\n"), "did you mean `bearer`?"),
        (&format!("{good}auth = {{ header = \"a b\" }}\n"), "stack.toml:5:1: `a b` is no name"),
        (&format!("{good}price = {{ input = -1, output = 1 }}\n"), "stack.toml:5:1: a price"),
        (
            &format!("{good}a = {{}}\nb = {{}}\n"),
            "stack.toml:5:1: tenant a of target t has no token",
        ),
        (&format!("{app}plant = {{ json = {{}} }}\n"), "stack.toml:4:1: plant: say the path"),
        (
            &format!("{app}plant = {{ get = \"/\", post = \"/\" }}\n"),
            "plant: one request has one method",
        ),
        (&format!("{app}plant = {{ post = \"x\" }}\n"), "plant: `x` is no path"),
        (&format!("{app}plant = {{ pots = \"/\" }}\n"), "stack.toml:4:11: unknown field `pots`"),
        (&format!("{app}plant = {{ post = \"/\", id = \"id\" }}\n"), "`id` is no JSON pointer"),
        (&format!("{app}plant = {{ post = \"/{{canry}}\" }}\n"), "did you mean `{canary}`?"),
        (
            &format!("{app}plant = {{ post = \"/\", json = {{ a = [\"{{zzzzzz}}\"] }} }}\n"),
            "known are canary",
        ),
        (&format!("{app}poll = {{ get = \"/\", seconds = 0 }}\n"), "poll: seconds is between"),
        (&format!("{app}objects = [\"docs\"]\n"), "stack.toml:4:1: objects: `docs` is no path"),
        (&format!("{app}tools = [{{ }}]\n"), "stack.toml:4:1: tools: say the path"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains(told), "{text}\n{error}\n{told}");
    }
    let braces =
        format!("{TENANTS}{app}rpc = {{ post = \"/\", json = {{ q = \"{{ me {{ id }} }}\" }} }}\n");
    assert!(parse(&braces).is_ok(), "other braces are text");
    let many: String = (0..65).map(|n| good.replace(".t]", &format!(".t{n}]"))).collect();
    assert!(parse(&format!("{TENANTS}{many}")).unwrap_err().contains("more than 64 targets"));
    assert!(parse(&"#".repeat(300_000)).unwrap_err().contains("longer than"));
}

#[tokio::test]
async fn callers_have_their_credentials_and_errors_do_not() {
    let made = tempfile::tempdir().unwrap();
    std::fs::write(made.path().join("b.token"), "tok-of-file\n").unwrap();
    let file = made.path().join("stack.toml").display().to_string();
    let text = "[tenant.a]\ntoken_cmd = [\"echo\", \"tok-of-cmd\"]\nheaders = { x-second = \"env:PATH\", x-plain = \"p\" }\n\
        [tenant.b]\ntoken = \"file:b.token\"\nexpired = \"env:BULKHEAD_NO_SUCH\"\n\
        [target.t]\nkind = \"http\"\nurl = \"http://localhost\"\nauth = \"basic\"\n";
    let plan = Plan::parse(&file, text).unwrap();
    let target = &plan.targets[0];
    let a = plan.caller(target, Side::A).await.unwrap();
    let b = plan.caller(target, Side::B).await.unwrap();
    assert_eq!(a.credential.as_ref().unwrap().expose(), "tok-of-cmd");
    assert_eq!(b.credential.as_ref().unwrap().expose(), "tok-of-file");
    assert_eq!(b.credential.as_ref().unwrap().shown(), "$B");
    assert_eq!(target.presented(&b), [("authorization".into(), "Basic dG9rLW9mLWZpbGU=".into())]);
    assert_eq!(target.hidden(Side::A, "x-second"), Some("env:PATH"));
    assert_eq!(target.hidden(Side::A, "x-plain"), None);
    assert!(!format!("{a:?}{b:?}").contains("tok-of"));
    assert!(plan.callers(target).await.is_ok());
    let same = text.replace("file:b.token", "tok-of-cmd").replace("headers", "names = [] #");
    let same = Plan::parse(&file, &same).unwrap();
    let error = same.callers(&same.targets[0]).await.unwrap_err().to_string();
    assert!(error.contains("two different tenants"), "{error}");
    assert!(target.dead(Side::A).unwrap().is_none());
    let Err(Halt::Lacking(why)) = target.dead(Side::B) else { panic!() };
    assert!(why.contains("BULKHEAD_NO_SUCH"), "{why}");
    assert_eq!(plan.warnings(), Vec::<String>::new());
    let literal = text.replace("file:b.token", "tok-literal");
    std::fs::write(&file, &literal).unwrap();
    let plan = Plan::parse(&file, &literal).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |mode| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode));
        mode(0o644).unwrap();
        let warned = plan.warnings();
        assert!(warned[0].contains("chmod 600") && !warned[0].contains("tok-"), "{warned:?}");
        mode(0o600).unwrap();
        assert!(plan.warnings().is_empty());
    }
}

const MCP: &str = "[target.t]\nkind = \"mcp\"\nurl = \"http://127.0.0.1:8000/mcp\"\n";

#[test]
fn an_mcp_server_is_read_by_its_tools() {
    let more = r#"protocol = "2025-11-25"
plant = { tool = "create", arguments = { text = "{canary}" }, id = "/content/0/text/id" }
read = { tool = "get", arguments = { id = "{id}", deep = { n = 1 } } }
list = { tool = "list", arguments = { cursor = "{cursor}" }, cursor = "/structuredContent/next" }
resume = { tool = "ask", answers = { sure = { action = "accept" } } }
tools = [{ tool = "fetch", arguments = { id = "{id}" } }]
resource = "note://{id}"
tenant_arguments = ["org"]
known = { a = { id = "1", text = "the figures of Acme" } }
private = { b = ["globex_ledger"] }
"#;
    let plan = parse(&format!("{TENANTS}{MCP}{more}")).unwrap();
    let Kind::Mcp(server) = &plan.targets[0].kind else { panic!() };
    assert_eq!((server.protocol, server.discover), (Protocol::Sessions, false));
    let (plant, read) = (server.plant.as_ref().unwrap(), server.read.as_ref().unwrap());
    assert_eq!((plant.tool.as_str(), plant.id.as_deref()), ("create", Some("/content/0/text/id")));
    assert!(read.wants("id") && !read.wants("canary") && plant.wants("canary"));
    assert_eq!(read.arguments.as_ref().unwrap()["deep"]["n"], 1);
    assert_eq!(server.tools[0].tool, "fetch");
    assert_eq!(server.known[&Side::A].text, "the figures of Acme");
    assert_eq!(server.private[&Side::B], ["globex_ledger"]);
    assert!(server.readable() && server.gives_handles());
    assert_eq!(server.calls().count(), 5);

    let auto = parse(&format!("{TENANTS}{MCP}tools = \"auto\"\n")).unwrap();
    let Kind::Mcp(server) = &auto.targets[0].kind else { panic!() };
    assert!(server.discover && server.tools.is_empty() && !server.readable());

    let ours = "[target.t]\nkind = \"bulkhead\"\nurl = \"http://127.0.0.1:8642\"\n\
                tools = { read = { tool = \"get\", arguments = { id = \"{id}\" } } }\n";
    let plan = parse(&format!("{TENANTS}{ours}")).unwrap();
    let Kind::Bulkhead { more, .. } = &plan.targets[0].kind else { panic!() };
    assert_eq!(more.tools.as_ref().unwrap().read.as_ref().unwrap().tool, "get");
}

#[test]
fn mistakes_about_tools_are_told() {
    for (line, told) in [
        ("protocol = \"2024-11-05\"", "unknown variant `2024-11-05`"),
        ("raed = { tool = \"x\" }", "did you mean `read`?"),
        ("read = { tool = \"\" }", "stack.toml:4:1: read: say the tool's name"),
        ("read = { tol = \"x\" }", "did you mean `tool`?"),
        ("read = { tool = \"x\", arguments = [1] }", "read: arguments is a table"),
        ("read = { tool = \"x\", arguments = { a = \"{idd}\" } }", "did you mean `{id}`?"),
        ("plant = { tool = \"x\", id = \"id\" }", "plant: `id` is no JSON pointer"),
        ("tools = \"all\"", "say \"auto\", or list calls"),
        ("tools = [{ }]", "tools: say the tool's name"),
        ("resource = \"note\"", "resource: `note` is no URI with {id} in it"),
        (
            "known = { a = { id = \"1\", text = \"short\" } }",
            "known: an id, and a text of at least",
        ),
        ("known = { c = { id = \"1\", text = \"long enough\" } }", "unknown field `c`"),
        ("private = { a = \"x\" }", "invalid type: string"),
    ] {
        let error = parse(&format!("{MCP}{line}\n{TENANTS}")).unwrap_err();
        assert!(error.contains(told), "{line}\n{error}\n{told}");
    }
    let ours = "[target.t]\nkind = \"bulkhead\"\nurl = \"http://127.0.0.1\"\n";
    for (tools, told) in [
        ("tools = []", "`tools` is a table"),
        ("tools = { reed = { tool = \"x\" } }", "did you mean `read`?"),
    ] {
        let error = parse(&format!("{ours}{tools}\n{TENANTS}")).unwrap_err();
        assert!(error.contains(told), "{tools}\n{error}\n{told}");
    }
}
