//! What there is not and what is another's are one answer, to the letter.

use bulkhead_tools::{Error, Settings, Tools};
use http::HeaderValue;
use serde_json::{Value, json};

use super::{
    standin::{HttpStandIn, Seen, json_reply, whole},
    world::{self, World, ask, contract_of},
};

const GET: &str = r#"
    name = "get"
    upstream = "crm"
    effect = "read"
    parameters = { type = "object", properties = { id = { type = "string" } } }
    rules = [{ argument = "/id", required = true }]
    owner = [{ owner = "/account" }]
"#;

fn record(account: &str) -> Value {
    json!({"id": 1, "account": account, "note": "canary"})
}

/// What a caller learns of an answer.
fn told(answered: Result<bulkhead_tools::Answer, Error>) -> String {
    let error = answered.unwrap_err();
    format!("{} {error} {error:?}", error.code())
}

async fn asked(world: &World, tools: &Tools, id: &str) -> String {
    let acme = world.acme().await;
    told(world.call(tools, &acme, ask("get", &format!(r#"{{"id":"{id}"}}"#))).await)
}

fn tools(world: &World, upstream: bulkhead_tools::Upstream, more: &str) -> Tools {
    let contracts = vec![contract_of(&format!("{GET}\n{more}"))];
    world.tools(Settings { upstreams: vec![upstream], contracts, ..Settings::default() })
}

#[tokio::test]
async fn of_an_api() {
    let standin = HttpStandIn::new().await;
    standin.answers(|_, seen: &Seen| match seen.path.rsplit('/').next().unwrap() {
        "own" => json_reply(&record("acct_acme")),
        "foreign" => json_reply(&record("acct_globex")),
        "nobodys" => json_reply(&json!({"id": 1})),
        "told" => whole(404, "application/json", record("acct_globex").to_string()),
        "forbidden" => whole(403, "text/plain", "this is globex's"),
        "gone" => whole(410, "text/plain", ""),
        "challenged" => {
            let mut answer = whole(403, "application/json", record("acct_globex").to_string());
            let scope = HeaderValue::from_static(r#"Bearer error="insufficient_scope""#);
            answer.headers_mut().insert("www-authenticate", scope);
            answer
        }
        "large" => whole(200, "text/plain", "x".repeat(2_000)),
        _ => whole(404, "application/json", r#"{"message":"not found","id":"never"}"#),
    });
    let world = World::new().await;
    let more = r#"request = { method = "GET", path = "/notes/{id}" }
        max_response_bytes = 1000"#;
    let tools = tools(&world, world::http(standin.address()), more);
    let acme = world.acme().await;
    assert!(world.call(&tools, &acme, ask("get", r#"{"id":"own"}"#)).await.is_ok());
    let never = asked(&world, &tools, "never").await;
    assert!(never.starts_with("tool.no_record "), "{never}");
    assert_eq!(world.withheld(0).await, 0);
    for id in ["foreign", "nobodys", "told", "forbidden", "gone", "challenged", "large"] {
        assert_eq!(asked(&world, &tools, id).await, never, "{id}");
    }
    // The tenant's own log has what was withheld, and not what was not there.
    assert_eq!(world.withheld(3).await, 3);
}

#[tokio::test]
async fn of_an_mcp_server() {
    let standin = HttpStandIn::new().await;
    standin.answers(|_, seen: &Seen| {
        let asked = seen.json();
        let reply = |what: &str, is: Value| {
            json_reply(&json!({"jsonrpc": "2.0", "id": asked["id"], what: is}))
        };
        let result = match seen.rpc().as_str() {
            "server/discover" => json!({"supportedVersions": ["2026-07-28"], "capabilities": {}}),
            "tools/list" => json!({"tools": [{"name": "get", "inputSchema": {"type": "object"}}]}),
            _ => match asked["params"]["arguments"]["id"].as_str().unwrap() {
                "own" => json!({"content": [], "structuredContent": record("acct_acme")}),
                "foreign" => json!({"content": [], "structuredContent": record("acct_globex")}),
                "status" => return whole(403, "text/plain", "this is globex's"),
                "text" => json!({"content": [{"type": "text",
                    "text": record("acct_globex").to_string()}]}),
                "refused" => {
                    return reply("error", json!({"code": -32002, "message": "not found"}));
                }
                _ => json!({"isError": true, "content": [{"type": "text", "text": "not found"}]}),
            },
        };
        reply("result", result)
    });
    let world = World::new().await;
    let tools = tools(&world, world::mcp(standin.address()), "");
    let acme = world.acme().await;
    assert!(world.call(&tools, &acme, ask("get", r#"{"id":"own"}"#)).await.is_ok());
    let never = asked(&world, &tools, "never").await;
    assert!(never.starts_with("tool.no_record "), "{never}");
    for id in ["foreign", "text", "refused", "status"] {
        assert_eq!(asked(&world, &tools, id).await, never, "{id}");
    }
    assert_eq!(world.withheld(2).await, 2);
}
