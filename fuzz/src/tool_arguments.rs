//! Arguments of tools: whatever comes, what is bound comes from the scope, in one spelling, and the rest is as it came.

use std::{cell::OnceCell, sync::Arc};

use ids::{ManualClock, Millis};
use scope::{Scope, Write};
use serde_json::{Map, Value, json};
use testkit::Kit;
use tokio::runtime::Builder;
use tools::fuzzing::{Held, Made, held};

use crate::folded;

/// What arguments are made of.
pub const WORDS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "\\u0000",
    "null",
    "true",
    "\"account_id\":\"acct_globex\"",
    "\"\\u0061ccount_id\":\"acct_globex\"",
    "\"accountId\":1",
    "\"ACCOUNT-ID\":1",
    "\"\\u0430ccount_id\":1",
    "\"filter\":{\"owner\":\"globex\"}",
    "\"filter\":{",
    "\"filter.owner\":\"globex\"",
    "\"filter[owner]\":\"globex\"",
    "\"Filter\":",
    "\"owner\":",
    "\"items\":[{\"account\":1},{}]",
    "\"items[0].account\":1",
    "\"amount\":",
    "\"Amount\":",
    "99.99",
    "100.01",
    "1e2",
    "1e-3",
    "\"100\"",
    "18446744073709551616",
    "\"from\":\"acct_globex\"",
    "\"from\":\"acct_acme\"",
    "\"note\":\"x\"",
];

struct Bench {
    held: Held,
    observed: Held,
    scope: Scope<Write>,
}

thread_local! {
    static BENCH: OnceCell<Bench> = const { OnceCell::new() };
}

/// Takes the arguments of a call.
pub fn run(input: &[u8]) {
    BENCH.with(|bench| bench.get_or_init(open).check(input));
}

fn open() -> Bench {
    let Ok(runtime) = Builder::new_current_thread().build() else {
        panic!("no runtime");
    };
    let clock = Arc::new(ManualClock::at(Millis::from_secs(1_800_000_000)));
    let scope = runtime.block_on(async {
        let kit = Kit::new(clock).await;
        let (Ok(system), Ok(account)) = ("crm".parse(), "acct_acme".parse()) else {
            panic!("no account");
        };
        kit.change("acme", |record| drop(record.accounts.insert(system, vec![account]))).await;
        kit.scope("acme", "live").await
    });
    Bench { held: contract("enforce"), observed: contract("observe"), scope }
}

fn contract(enforcement: &str) -> Held {
    let settings = json!({
        "upstreams": [{"id": "crm", "kind": "mcp", "url": "https://crm.example/mcp"}],
        "contracts": [{
            "name": "t",
            "upstream": "crm",
            "effect": "read",
            "unverifiable": true,
            "enforcement": enforcement,
            "bind": {"/account_id": "account", "/filter/owner": "tenant", "/items/*/account": "account"},
            "rules": [{"argument": "/amount", "min": 0.0, "max": 100.0}, {"argument": "/from", "account": true}],
            "approval": {"amount": "/amount"},
        }],
    });
    let Ok(settings) = serde_json::from_value(settings) else {
        panic!("no settings");
    };
    match held(&settings, "t") {
        Ok(held) => held,
        Err(error) => panic!("{error}"),
    }
}

impl Bench {
    fn check(&self, input: &[u8]) {
        let held = self.held.finalize(&self.scope, input);
        let observed = self.observed.finalize(&self.scope, input);
        let Ok(observed) = observed else {
            assert!(held.is_err(), "what is held is not looser than what is observed");
            return;
        };
        bound(&observed);
        assert_eq!(held.is_ok(), observed.observed == 0, "it is refused exactly if it is reported");
        let Ok(made) = held else { return };
        let arguments = bound(&made);
        assert_eq!(made.digest, observed.digest);
        assert_eq!(made.account.as_deref(), Some("acct_acme"));
        if let Some(amount) = arguments.get("amount") {
            let Some(number) = amount.as_f64().filter(|_| amount.is_number()) else {
                panic!("an amount that is no number");
            };
            assert!((0.0..=100.0).contains(&number), "an amount out of bounds");
            let Some(hundredths) = made.amount else { panic!("an amount that no policy sees") };
            assert!((hundredths as f64 / 100.0 - number).abs() < 1e-9, "another amount than it is");
        }
        let Ok(Value::Object(given)) = serde_json::from_slice(input) else {
            panic!("accepted what is no object");
        };
        assert_eq!(without_bound(arguments), without_bound(given), "the rest is as it came");
    }
}

/// What goes out has what is bound, from the scope, and nothing that is spelled like it.
fn bound(made: &Made) -> Map<String, Value> {
    let Ok(Value::Object(arguments)) = serde_json::from_slice(&made.arguments) else {
        panic!("what goes out is no object");
    };
    assert_eq!(arguments.get("account_id"), Some(&json!("acct_acme")));
    assert_eq!(
        arguments.get("filter").and_then(|filter| filter.get("owner")),
        Some(&json!("acme"))
    );
    alone(&arguments, &["account_id", "filter", "filter.owner", "items", "items.account"], 3);
    if let Some(Value::Object(filter)) = arguments.get("filter") {
        alone(filter, &["owner"], 1);
    }
    let items: Vec<_> = match arguments.get("items") {
        Some(Value::Array(items)) => items.iter().collect(),
        Some(Value::Object(items)) => items.values().collect(),
        _ => Vec::new(),
    };
    for item in items {
        assert_eq!(item.get("account"), Some(&json!("acct_acme")));
        if let Value::Object(item) = item {
            alone(item, &["account"], 1);
        }
    }
    for fact in ["/account_id=acct_acme", "/filter/owner=acme"] {
        assert!(made.facts.iter().any(|seen| seen == fact), "policies do not see {fact}");
    }
    arguments
}

/// Of keys that a sloppy reader takes for one of these, there are no more than there have to be.
fn alone(object: &Map<String, Value>, names: &[&str], most: usize) {
    let sloppy = |name: &str| folded(&name.replace(['.', '[', ']', ' '], ""));
    let names: Vec<_> = names.iter().map(|name| sloppy(name)).collect();
    let found: Vec<_> = object.keys().filter(|key| names.contains(&sloppy(key))).collect();
    assert!(found.len() <= most, "keys that look alike: {found:?}");
}

fn without_bound(mut arguments: Map<String, Value>) -> Map<String, Value> {
    arguments.remove("account_id");
    let filter = arguments.get_mut("filter").and_then(Value::as_object_mut);
    let empty = filter.is_none_or(|filter| {
        filter.remove("owner");
        filter.is_empty()
    });
    if empty {
        arguments.remove("filter");
    }
    match arguments.get_mut("items") {
        Some(Value::Array(items)) => items.iter_mut().for_each(without_account),
        Some(Value::Object(items)) => items.values_mut().for_each(without_account),
        _ => {}
    }
    arguments
}

fn without_account(item: &mut Value) {
    if let Some(item) = item.as_object_mut() {
        item.remove("account");
    }
}
