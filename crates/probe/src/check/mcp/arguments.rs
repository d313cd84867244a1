//! A tenant named among the arguments, where a schema has a place for it and where it has none.

use serde_json::json;

use super::bench::{Bench, Own};
use crate::{
    canary::Side,
    drive::{
        app::Words,
        mcp::{Message, Way},
    },
    run::Depth,
    verdict::{Halt, Trial},
};

/// What arguments that name a tenant are usually called.
const USUAL: [&str; 8] = [
    "tenant_id",
    "tenantId",
    "tenant",
    "org_id",
    "account_id",
    "customer_id",
    "workspace_id",
    "user_id",
];

/// B's calls that name A.
pub(super) async fn named(bench: &Bench<'_>, trial: &mut Trial) -> Result<(), Halt> {
    let known = bench.lab.target.known(Side::A).map(|tenant| tenant.names.clone());
    let mut names = known.unwrap_or_default();
    names.truncate(if bench.lab.options.depth == Depth::Quick { 2 } else { 6 });
    if names.is_empty() {
        return Err(Halt::Lacking("say what tenant a is called: names = [\"…\"]".into()));
    }
    let (a, b) = bench.both().await?;
    let way = bench.way()?;
    bench.each_its_own(trial, &way, (&a, &b)).await?;
    let mut plain = vec![bench.read(trial, &way, (Side::B, &a)).await?];
    if let Some(list) = &bench.mcp.server.list {
        let words = Words::of(bench.lab, bench.by(Side::B));
        plain.push(bench.call(bench.by(Side::B), list, &words).await?);
    }
    for exchange in &plain {
        if bench.foreign(trial, &a, exchange).is_some() || a.named_in(exchange) {
            return Err(Halt::Failed("B gets A's without naming A, too".into()));
        }
    }
    let arguments = arguments(bench);
    let mut tried = 0;
    for name in &names {
        for argument in &arguments {
            for (how, message) in messages(bench, &way, (&a, argument, name))? {
                let exchange = bench.say(bench.by(Side::B), &message).await?;
                tried += 1;
                let what = format!("B got A's by naming A {how} `{argument}`");
                let leaked = bench.attacked(trial, (&a, &what), &[&exchange]);
                if !leaked && a.named_in(&exchange) {
                    trial.leak(format!("{what}: its id"), &[&exchange]);
                }
            }
        }
    }
    bench.each_its_own(trial, &way, (&a, &b)).await?;
    trial.summary(format!("{tried} calls that name A: refused, or without effect"));
    Ok(())
}

fn arguments(bench: &Bench<'_>) -> Vec<String> {
    let mut all = bench.mcp.server.tenant_arguments.clone();
    let most = if bench.lab.options.depth == Depth::Quick { 4 } else { USUAL.len() };
    for usual in USUAL.iter().take(most) {
        if !all.iter().any(|own| own == usual) {
            all.push((*usual).to_owned());
        }
    }
    all
}

/// Every place where a call can name somebody: for A's record, and for everything.
fn messages(
    bench: &Bench<'_>,
    way: &Way,
    (a, argument, name): (&Own, &str, &str),
) -> Result<Vec<(&'static str, Message)>, Halt> {
    let mut calls = vec![bench.asking(way, (Side::B, a))?];
    if let Some(list) = &bench.mcp.server.list {
        calls.push(bench.mcp.calling(list, &Words::of(bench.lab, bench.by(Side::B)))?);
    }
    let naming = json!({ argument: name });
    let each = calls.into_iter().flat_map(|call| {
        [
            ("in the argument", call.clone().argument(argument, json!(name))),
            ("in a list, in the argument", call.clone().argument(argument, json!([name]))),
            ("in a context, in", call.clone().argument("context", naming.clone())),
            ("in the parameters, in", call.clone().param(argument, json!(name))),
            ("in _meta, in", call.param("_meta", naming.clone())),
        ]
    });
    Ok(each.collect())
}
