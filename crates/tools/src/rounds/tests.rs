use std::sync::Arc;

use ids::json::Limits;

use super::*;
use crate::{
    Settings,
    contract::table,
    world::{self, World},
};

fn strict(text: &str) -> Json {
    Json::parse(text.as_bytes(), &Limits::default()).unwrap()
}

struct Bench {
    handles: Handles,
    scope: Scope<Write>,
}

impl Bench {
    async fn new() -> Self {
        let world = World::new().await;
        let handles = Handles::new(&world.vault, world.clock.clone());
        Self { handles, scope: world.acme().await }
    }

    fn call(&self, tool: &Tool) -> Final {
        tool.finalize(&self.scope, b"{}", &crate::Limits::default()).unwrap()
    }

    async fn open(&self, round: &Round, tool: &Tool) -> Result<Option<Opened>, Error> {
        round.open(&self.handles, &self.scope, &Asker::tool(tool, &self.call(tool))).await
    }

    async fn state(&self, tool: &Tool, state: Option<&str>) -> String {
        let asks = Asks { requests: None, state: state.map(str::to_owned) };
        let asker = Asker::tool(tool, &self.call(tool));
        let shown = shown(&self.handles, &self.scope, &asker, asks).await;
        shown.unwrap().get("requestState").unwrap().as_str().unwrap().to_owned()
    }
}

fn tool(lines: &str) -> Arc<Tool> {
    let contract = world::contract_of(&format!(
        "name = 'who'\nupstream = 'crm'\neffect = 'read'\nunverifiable = true\n{lines}"
    ));
    let settings = Settings {
        upstreams: vec![world::mcp(([127, 0, 0, 1], 9).into())],
        contracts: vec![contract],
        ..Settings::default()
    };
    Arc::clone(&table(&settings).unwrap()["who"])
}

fn round(responses: bool, state: Option<String>) -> Round {
    Round {
        capabilities: Some(strict(r#"{"elicitation":{}}"#)),
        responses: responses.then(|| strict(r#"{"a":{"account":"acct_globex"}}"#)),
        state,
    }
}

#[tokio::test]
async fn nobody_answers_what_was_not_asked() {
    let (bench, tool) = (Bench::new().await, tool(""));
    for state in ["raw", "bulkhead:1_AAAA"] {
        let error = bench.open(&round(true, Some(state.to_owned())), &tool).await.unwrap_err();
        assert_eq!(error.code(), "tool.handle");
    }
    for responses in [false, true] {
        let first = bench.open(&round(responses, None), &tool).await.unwrap().unwrap();
        assert_eq!((first.responses, first.state), (None, None));
    }
    // An upstream that wants to be reminded of nothing has asked all the same.
    for state in [None, Some(""), Some("raw"), Some("=")] {
        let handle = bench.state(&tool, state).await;
        let opened = bench.open(&round(true, Some(handle)), &tool).await.unwrap().unwrap();
        assert_eq!(opened.state.as_deref(), state);
        assert!(opened.responses.is_some());
    }
}

#[tokio::test]
async fn a_tool_that_binds_anything_has_no_rounds() {
    let bench = Bench::new().await;
    for lines in ["bind = { '/account' = 'account' }", "bind = { '/in/tenant' = 'tenant' }"] {
        let tool = tool(lines);
        assert_eq!(bench.open(&round(false, None), &tool).await.unwrap(), None);
        assert_eq!(bench.open(&round(true, None), &tool).await.unwrap(), None);
        // Nor with one from a time when its contract bound nothing.
        let handle = bench.state(&tool, Some("raw")).await;
        assert_eq!(bench.open(&round(true, Some(handle)), &tool).await.unwrap(), None);
    }
}
