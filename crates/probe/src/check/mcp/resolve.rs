//! Tools that take ids: those that the file names, and those that say that they only read.

use serde_json::{Map, Value, json};

use super::bench::{Bench, Own};
use crate::{
    canary::Side,
    drive::mcp::{Message, Way, result},
    target::Call,
    verdict::{Halt, Trial},
};

/// So many calls are made of what a server lists.
const MOST: usize = 48;
/// So many pages of a list are looked at.
const PAGES: usize = 5;

/// Each tool with one tenant's ids, as the other one.
pub(super) async fn resolved(bench: &Bench<'_>, trial: &mut Trial) -> Result<(), Halt> {
    let (a, b) = bench.both().await?;
    let ways = bench.ways();
    for way in &ways {
        // Both have to get their own: a tool that is shut to B refuses nothing of A's.
        bench.each_its_own(trial, way, (&a, &b)).await?;
        crossed(bench, trial, way, (&a, &b)).await?;
    }
    let found = match bench.mcp.server.discover {
        true => discovered(bench).await?,
        false => Vec::new(),
    };
    for way in &found {
        // What these are for nobody knows: they need not give anybody its own.
        crossed(bench, trial, way, (&a, &b)).await?;
    }
    let (ways, found) = (ways.len(), found.len());
    trial.summary(match found {
        0 => format!("{ways} tools, each with the other's ids"),
        _ => format!("{ways} tools and {found} listed ways, each with the other's ids"),
    });
    Ok(())
}

async fn crossed(
    bench: &Bench<'_>,
    trial: &mut Trial,
    way: &Way,
    (a, b): (&Own, &Own),
) -> Result<(), Halt> {
    for (side, other) in [(Side::B, a), (Side::A, b)] {
        let exchange = bench.read(trial, way, (side, other)).await?;
        let (who, whose) = (side.name().to_uppercase(), other.side.name().to_uppercase());
        let what = format!("{who} got {whose}'s record by its id, from {}", way.name());
        bench.attacked(trial, (other, &what), &[&other.planted.exchange, &exchange]);
    }
    Ok(())
}

/// The tools that a tenant is shown.
pub(super) async fn listed(bench: &Bench<'_>, side: Side) -> Result<Vec<Value>, Halt> {
    let (mut tools, mut cursor) = (Vec::new(), None::<Value>);
    for _ in 0..PAGES {
        let mut message = Message::new("tools/list", json!({}));
        if let Some(cursor) = cursor.take() {
            message = message.param("cursor", cursor);
        }
        let exchange = bench.say(bench.by(side), &message).await?;
        let Some(mut page) = result(&exchange) else { break };
        if let Some(Value::Array(more)) = page.get_mut("tools").map(Value::take) {
            tools.extend(more);
        }
        cursor = page.get("nextCursor").filter(|cursor| cursor.is_string()).cloned();
        if cursor.is_none() {
            break;
        }
    }
    Ok(tools)
}

/// Calls of tools that say that they change nothing, with an id in each of their arguments.
async fn discovered(bench: &Bench<'_>) -> Result<Vec<Way>, Halt> {
    let server = bench.mcp.server;
    let named = |tool: &str| server.calls().any(|call| call.tool == tool);
    let tools = listed(bench, Side::B).await?;
    let calls = tools.iter().filter(|tool| only_reads(tool)).flat_map(calls);
    Ok(calls.filter(|call| !named(&call.tool)).take(MOST).map(Way::Tool).collect())
}

/// Whether a tool says of itself that it changes nothing. It is not known to be true; but nobody
/// can call it by mistake more easily than a model does.
pub(super) fn only_reads(tool: &Value) -> bool {
    let hint = |name: &str| tool["annotations"][name].as_bool();
    hint("readOnlyHint") == Some(true) && hint("destructiveHint") != Some(true)
}

/// A call for each argument that an id could be in.
fn calls(tool: &Value) -> Vec<Call> {
    let empty = Map::new();
    let schema = &tool["inputSchema"];
    let properties = schema["properties"].as_object().unwrap_or(&empty);
    let required = schema["required"].as_array();
    let needed = |name: &str| required.is_some_and(|all| all.iter().any(|one| one == name));
    let takes = properties.iter().filter(|(_, schema)| {
        matches!(schema["type"].as_str(), None | Some("string" | "integer" | "number"))
    });
    let Some(name) = tool["name"].as_str() else { return Vec::new() };
    let call = |at: &String| {
        let mut arguments = Map::new();
        for (name, schema) in properties.iter().filter(|(name, _)| needed(name)) {
            arguments.insert(name.clone(), filler(schema));
        }
        arguments.insert(at.clone(), json!("{id}"));
        Call { tool: name.to_owned(), arguments: Some(Value::Object(arguments)), ..Call::default() }
    };
    takes.map(|(at, _)| call(at)).collect()
}

/// Something that a schema allows, and that means nothing.
fn filler(schema: &Value) -> Value {
    if let Some(first) = schema["enum"].as_array().and_then(|all| all.first()) {
        return first.clone();
    }
    match schema["type"].as_str() {
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or(json!(1)),
        Some("boolean") => json!(false),
        Some("array") => json!([]),
        Some("object") => json!({}),
        _ => json!("x"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_goes_into_each_argument_that_takes_one() {
        let tool = json!({
            "name": "find", "annotations": { "readOnlyHint": true },
            "inputSchema": {
                "type": "object", "required": ["in", "limit"],
                "properties": {
                    "in": { "type": "string", "enum": ["notes", "files"] },
                    "limit": { "type": "integer", "minimum": 2 },
                    "id": { "type": "string" }, "deep": { "type": "boolean" },
                },
            },
        });
        assert!(only_reads(&tool));
        let all: Vec<Value> = calls(&tool).into_iter().filter_map(|call| call.arguments).collect();
        assert!(all.contains(&json!({ "in": "notes", "limit": 2, "id": "{id}" })), "{all:?}");
        assert!(all.contains(&json!({ "in": "{id}", "limit": 2 })), "{all:?}");
        assert_eq!(all.len(), 3, "a boolean takes no id");
    }

    #[test]
    fn what_does_not_say_that_it_reads_is_not_called() {
        for annotations in [
            json!(null),
            json!({}),
            json!({ "readOnlyHint": false }),
            json!({ "readOnlyHint": true, "destructiveHint": true }),
        ] {
            assert!(!only_reads(&json!({ "name": "x", "annotations": annotations })));
        }
    }
}
