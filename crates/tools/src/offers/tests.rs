use std::sync::Arc;

use ids::OsEntropy;
use serde_json::{Value, json};

use super::*;
use crate::{
    AssertionKeys,
    standin::{HttpStandIn, json_reply},
    world::{self, World, secret_of},
};

/// An MCP server without sessions that has resources, templates and prompts, and says whose
/// credential it was asked by.
async fn offering() -> HttpStandIn {
    let standin = HttpStandIn::new().await;
    standin.answers(|_, seen| {
        let asked = seen.json();
        let params = &asked["params"];
        let whose = seen.secret().unwrap_or("nobody").replace("0123456789", "…");
        let result = match seen.rpc().as_str() {
            "server/discover" => json!({"supportedVersions": ["2026-07-28"], "capabilities": {}}),
            "resources/list" if params["cursor"] == "two" => json!({"resources": [
                {"uri": "crm://note/2", "name": "second", "_meta": {"x": 1}, "icons": []}]}),
            "resources/list" => json!({"nextCursor": "two", "resources": [
                {"uri": "crm://note/1", "name": "first", "mimeType": "text/plain"}]}),
            "resources/templates/list" => json!({"resourceTemplates": [
                {"uriTemplate": "crm://{kind}/{id}", "name": "any"},
                {"uriTemplate": "crm://{+path}", "name": "too much"}]}),
            "resources/read" => json!({"contents": [{"uri": params["uri"], "_meta": {},
                "text": format!("{} by {whose}", params["uri"].as_str().unwrap())}]}),
            "prompts/list" => json!({"prompts": [{"name": "greet", "description": "d",
                "arguments": [{"name": "who"}]}]}),
            "prompts/get" => json!({"description": "d", "messages": [
                {"role": "user", "content": {"type": "text", "text": params["arguments"]["who"]}},
                {"role": "user", "content": {"type": "resource_link", "uri": "crm://note/1",
                    "name": "n"}}]}),
            "completion/complete" => json!({"completion": {"values": [params["ref"].to_string()],
                "total": 1, "hasMore": false, "x": 1}}),
            other => panic!("{other}"),
        };
        json_reply(&json!({"jsonrpc": "2.0", "id": asked["id"], "result": result}))
    });
    standin
}

struct Bench {
    world: World,
    settings: Settings,
    keys: Keys,
    upstreams: Upstreams,
    handles: Handles,
    standins: [HttpStandIn; 2],
}

impl Bench {
    async fn new() -> Self {
        let world = World::new().await;
        let standins = [offering().await, offering().await];
        let upstream = |at: usize, id: &str| Upstream {
            id: id.parse().unwrap(),
            resources: true,
            prompts: true,
            ..world::mcp(standins[at].address())
        };
        let hidden = Upstream { resources: false, prompts: false, ..upstream(0, "hidden") };
        let upstreams = vec![hidden, upstream(0, "crm"), upstream(1, "wiki"), upstream(1, "none")];
        let settings = Settings { upstreams, ..Settings::default() };
        for tenant in ["acme", "globex"] {
            let scope = world.kit.scope(tenant, "live").await;
            world.set_secret(&scope, "wiki", &format!("wiki-{tenant}-0123456789")).await;
            world.set_secret(&scope, "hidden", &format!("hidden-{tenant}-0123456789")).await;
        }
        let keys = Keys::open(
            &settings,
            world.credentials.clone(),
            AssertionKeys::from_seeds([&[5; 32]]),
            testkit::ISSUER.to_owned(),
            world.clock.clone(),
            Arc::new(OsEntropy),
        )
        .unwrap();
        let upstreams = Upstreams::open(&settings).unwrap();
        let handles = Handles::new(&world.vault, world.clock.clone());
        Self { world, settings, keys, upstreams, handles, standins }
    }

    fn offers(&self) -> Offers<'_> {
        let Self { settings, keys, upstreams, handles, .. } = self;
        Offers { settings, keys, upstreams, handles }
    }

    async fn all(&self, scope: &Scope<Write>, list: List) -> Vec<Value> {
        let (mut all, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let page = value(self.offers().list(scope, list, cursor.as_deref()).await.unwrap());
            all.extend(page[list.name()].as_array().unwrap().clone());
            match page.get("nextCursor") {
                None => return all,
                Some(next) => cursor = Some(next.as_str().unwrap().to_owned()),
            }
            assert!(cursor.as_ref().unwrap().starts_with("bulkhead:1_"));
        }
    }
}

fn value(json: Json) -> Value {
    serde_json::from_slice(&json.to_vec()).unwrap()
}

fn names(of: &[Value]) -> Vec<&str> {
    of.iter().map(|one| one["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn resources_of_all_upstreams_are_one_list_of_handles() {
    let bench = Bench::new().await;
    let (acme, globex) = (bench.world.acme().await, bench.world.globex().await);
    let resources = bench.all(&acme, List::Resources).await;
    assert_eq!(names(&resources), ["first", "second", "first", "second"]);
    assert!(!json!(resources).to_string().contains("crm://"));
    assert!(resources[1].get("_meta").is_none() && resources[1].get("icons").is_none());
    for (nth, expected) in
        [(0, "crm://note/1 by crm-acme-live-…"), (3, "crm://note/2 by wiki-acme-…")]
    {
        let uri = resources[nth]["uri"].as_str().unwrap();
        let read = value(bench.offers().read(&acme, uri).await.unwrap());
        assert_eq!(read["contents"][0]["text"], expected);
        assert!(read["contents"][0]["uri"].as_str().unwrap().starts_with("bulkhead:1_"));
        assert!(read["contents"][0].get("_meta").is_none());
        // Nobody else's, whatever it is used as.
        let error = bench.offers().read(&globex, uri).await.unwrap_err();
        let never = bench.offers().read(&globex, "bulkhead:1_AAAA").await.unwrap_err();
        assert_eq!(error.to_string(), never.to_string());
        assert_eq!(error.code(), "tool.handle");
        for list in [List::Resources, List::Prompts, List::Templates] {
            assert!(bench.offers().list(&acme, list, Some(uri)).await.is_err());
        }
    }
    assert!(bench.offers().read(&acme, "crm://note/1").await.is_err());
    let page = value(bench.offers().list(&acme, List::Resources, None).await.unwrap());
    let cursor = page["nextCursor"].as_str().unwrap();
    assert!(bench.offers().list(&globex, List::Resources, Some(cursor)).await.is_err());
    assert!(bench.offers().list(&acme, List::Prompts, Some(cursor)).await.is_err());
    assert!(bench.offers().read(&acme, cursor).await.is_err());
}

#[tokio::test]
async fn a_template_is_filled_within_its_segments() {
    let bench = Bench::new().await;
    let (acme, globex) = (bench.world.acme().await, bench.world.globex().await);
    let templates = bench.all(&acme, List::Templates).await;
    assert_eq!(names(&templates), ["any", "any"]);
    let shown = templates[0]["uriTemplate"].as_str().unwrap();
    let handle = shown.strip_suffix("{?kind,id}").unwrap();
    for (query, expected) in [
        ("?kind=note&id=7", Some("crm://note/7 by crm-acme-live-…")),
        ("?id=7&kind=a%2Fb", Some("crm://a%2Fb/7 by crm-acme-live-…")),
        ("?kind=note", None),
        ("?kind=note&id=7&x=1", None),
        ("?kind=..&id=7", None),
        ("?kind=%2e%2E&id=7", None),
        ("?kind=a/b&id=7", None),
        ("?kind={id}&id=7", None),
        ("", None),
        ("?", None),
    ] {
        let read = bench.offers().read(&acme, &format!("{handle}{query}")).await;
        let text = read.ok().map(|read| value(read)["contents"][0]["text"].clone());
        assert_eq!(text, expected.map(Value::from), "{query}");
        assert!(bench.offers().read(&globex, &format!("{handle}{query}")).await.is_err());
    }
    let of = Completes::Template(shown);
    let completion = value(bench.offers().complete(&acme, of, ("id", "7")).await.unwrap());
    let said = completion["completion"]["values"][0].as_str().unwrap();
    assert!(said.contains("crm://{kind}/{id}"), "{said}");
    assert!(completion["completion"].get("x").is_none());
    assert!(bench.offers().complete(&globex, of, ("id", "7")).await.is_err());
}

#[tokio::test]
async fn prompts_bear_the_names_of_their_upstreams() {
    let bench = Bench::new().await;
    let acme = bench.world.acme().await;
    let prompts = bench.all(&acme, List::Prompts).await;
    assert_eq!(names(&prompts), ["crm__greet", "wiki__greet"]);
    let arguments = Json::parse(br#"{"who":"you"}"#, &ids::json::Limits::default()).unwrap();
    let prompt = bench.offers().prompt(&acme, "wiki__greet", Some(arguments)).await.unwrap();
    let prompt = value(prompt);
    assert_eq!(prompt["messages"][0]["content"]["text"], "you");
    let link = prompt["messages"][1]["content"]["uri"].as_str().unwrap();
    let read = value(bench.offers().read(&acme, link).await.unwrap());
    assert_eq!(read["contents"][0]["text"], "crm://note/1 by wiki-acme-…");
    for name in ["greet", "hidden__greet", "none__greet", "other__greet", "wiki_greet"] {
        assert!(bench.offers().prompt(&acme, name, None).await.is_err(), "{name}");
    }
    let of = Completes::Prompt("crm__greet");
    let completion = value(bench.offers().complete(&acme, of, ("who", "y")).await.unwrap());
    let said = completion["completion"]["values"][0].as_str().unwrap();
    assert!(said.contains(r#""name":"greet""#), "{said}");
}

#[tokio::test]
async fn without_the_grant_nothing_is_read() {
    let bench = Bench::new().await;
    let acme = bench.world.acme().await;
    let uri = bench.all(&acme, List::Resources).await[0]["uri"].as_str().unwrap().to_owned();
    let mut ask = testkit::Kit::ask("acme", "live", "support");
    ask.grants = Some(scope::Grants::parse("tools:list").unwrap());
    let minted = bench.world.kit.doors.exchange(&bench.world.kit.service().await, ask).await;
    let narrow = bench.world.kit.authenticate(&minted.unwrap().secret).await.unwrap();
    assert_eq!(bench.offers().read(&narrow, &uri).await.unwrap_err().code(), "tool.handle");
    assert!(bench.offers().prompt(&narrow, "crm__greet", None).await.is_err());
    assert!(bench.offers().read(&acme, &uri).await.is_ok());
    let _ = secret_of("acme", "live");
}

/// What is logged, as text.
#[derive(Clone, Default)]
struct Lines(Arc<parking_lot::Mutex<String>>);

impl tracing::field::Visit for Lines {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        self.0.lock().push_str(&format!("{}={value:?};", field.name()));
    }
}

impl tracing::Subscriber for Lines {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test]
async fn an_upstreams_own_words_are_not_logged() {
    let bench = Bench::new().await;
    let acme = bench.world.acme().await;
    bench.standins[0].answers(|_, seen| {
        let asked = seen.json();
        let refused = json!({"code": -32000, "message": "no list for jane@acme.example"});
        let result = json!({"supportedVersions": ["2026-07-28"], "capabilities": {}});
        json_reply(&match seen.rpc().as_str() {
            "server/discover" => json!({"jsonrpc": "2.0", "id": asked["id"], "result": result}),
            _ => json!({"jsonrpc": "2.0", "id": asked["id"], "error": refused}),
        })
    });
    let lines = Lines::default();
    let page = {
        let _logged = tracing::subscriber::set_default(lines.clone());
        bench.offers().list(&acme, List::Prompts, None).await.unwrap()
    };
    assert_eq!(names(value(page)["prompts"].as_array().unwrap()), ["wiki__greet"]);
    let lines = lines.0.lock();
    assert!(!lines.contains("jane"), "{lines}");
    for part in ["tenant=acme;", "code=\"upstream.refused\";", "upstream=crm;"] {
        assert!(lines.contains(part), "{part}: {lines}");
    }
}
