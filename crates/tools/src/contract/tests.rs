//! Contracts as operators write them, and calls against them.

use std::sync::Arc;

use ids::{ManualClock, Millis, System, json};
use proptest::test_runner::TestRng;
use testkit::Kit;

use super::*;
use crate::{Limits, UpstreamKind};

mod binding;
mod compiling;
mod finals;
mod modes;

/// Two tenants with accounts at `crm`.
struct World {
    kit: Kit,
}

impl World {
    async fn new() -> Self {
        let clock = Arc::new(ManualClock::at(Millis::from_secs(1_795_000_000)));
        let world = Self { kit: Kit::new(clock).await };
        world.accounts("acme", &["acct_acme"]).await;
        world.accounts("globex", &["acct_globex", "acct_globex_2"]).await;
        world
    }

    async fn accounts(&self, tenant: &str, accounts: &[&str]) {
        let accounts: Vec<_> = accounts.iter().map(|id| id.parse().unwrap()).collect();
        let system = System::parse("crm").unwrap();
        self.kit.change(tenant, |record| drop(record.accounts.insert(system, accounts))).await;
    }

    async fn acme(&self) -> scope::Scope<scope::Write> {
        self.kit.scope("acme", "live").await
    }

    async fn globex(&self) -> scope::Scope<scope::Write> {
        self.kit.scope("globex", "live").await
    }
}

/// Settings with an `mcp` upstream `crm`, an `http` upstream `api`, a `postgres` upstream `db`, and
/// these contracts.
fn settings(contracts: &str) -> Settings {
    let upstreams = r#"
        [[upstreams]]
        id = "crm"
        kind = "mcp"
        url = "https://crm.example/mcp"

        [[upstreams]]
        id = "api"
        kind = "http"
        url = "https://api.example"
        system = "crm"

        [[upstreams]]
        id = "db"
        kind = "postgres"
        url = "postgres://db.example:5432/app"
        auth = { kind = "basic" }
    "#;
    toml::from_str(&format!("{upstreams}\n{contracts}")).unwrap()
}

/// A contract `t` at `crm`, with these lines.
fn contract(lines: &str) -> String {
    format!(
        "[[contracts]]\nname = 't'\nupstream = 'crm'\neffect = 'read'\nunverifiable = true\n{lines}"
    )
}

fn compiled(contracts: &str) -> Result<Arc<Tool>, String> {
    let tools = table(&settings(contracts)).map_err(|error| error.to_string())?;
    Ok(Arc::clone(tools.values().next().unwrap()))
}

fn tool(lines: &str) -> Arc<Tool> {
    compiled(&contract(lines)).unwrap()
}

fn parsed(text: &str) -> Json {
    Json::parse(text.as_bytes(), &json::Limits::default()).unwrap()
}

fn text(json: &Json) -> String {
    String::from_utf8(json.to_vec()).unwrap()
}

impl Tool {
    fn of(&self, scope: &scope::Scope<scope::Write>, arguments: &str) -> Result<Final, Error> {
        self.finalize(scope, arguments.as_bytes(), &Limits::default())
    }
}

/// A seed that is printed where a test fails.
fn seeded() -> (u64, proptest::test_runner::TestRunner) {
    let seed = std::env::var("BULKHEAD_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or(20_261_122);
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(proptest::test_runner::RngAlgorithm::ChaCha, &bytes);
    let config = proptest::test_runner::Config { cases: 512, ..Default::default() };
    (seed, proptest::test_runner::TestRunner::new_with_rng(config, rng))
}
