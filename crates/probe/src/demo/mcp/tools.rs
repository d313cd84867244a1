//! The tools of the server, its resources, and what it lists.

use serde_json::{Map, Value, json};

use super::{Asked, Note, Outcome, STATELESS, Service, Store, Tenant, WORK, draw};

/// A tool: what it takes, what it needs of that, and whether it only reads.
struct Tool {
    name: &'static str,
    takes: &'static [(&'static str, &'static str)],
    needs: &'static [&'static str],
    reads: bool,
}

const fn tool(
    name: &'static str,
    takes: &'static [(&'static str, &'static str)],
    needs: &'static [&'static str],
    reads: bool,
) -> Tool {
    Tool { name, takes, needs, reads }
}

const TOOLS: [Tool; 8] = [
    tool("create_note", &[("text", "string")], &["text"], false),
    tool(
        "get_note",
        &[("id", "string"), ("format", "string"), ("version", "integer")],
        &["id"],
        true,
    ),
    tool("fetch_note", &[("id", "string")], &["id"], true),
    tool("list_notes", &[("limit", "integer"), ("cursor", "string")], &[], true),
    tool("delete_note", &[("id", "string")], &["id"], false),
    tool("export_note", &[("id", "string")], &["id"], false),
    tool("publish_note", &[("id", "string")], &["id"], false),
    tool("ledger", &[], &[], true),
];

/// Whatever is asked for and is not there.
const NONE: &str = "no such note";

pub(super) async fn answered(service: &Service, asked: &Asked) -> Outcome {
    match asked.method.as_str() {
        "server/discover" => Ok(json!({
            "resultType": "complete", "supportedVersions": [STATELESS, "2025-11-25"],
            "capabilities": { "tools": {}, "resources": {} }, "ttlMs": 0, "cacheScope": "private",
        })),
        "tools/list" => Ok(listed(service, asked.by)),
        "resources/read" => resource(service, asked),
        "resources/list" => {
            let store = service.store();
            let own = store.notes.iter().filter(|(_, note)| note.owner == asked.by).take(8);
            let own = own.map(|(id, _)| json!({ "name": id, "uri": format!("note://{id}") }));
            Ok(json!({ "resources": own.collect::<Vec<_>>() }))
        }
        "tools/call" => {
            let result = called(service, asked)?;
            let key = asked.id.to_string();
            if !service.wrong("mcp-rpc-map") {
                tokio::time::sleep(WORK).await;
                return Ok(result);
            }
            service.store().pending.insert(key.clone(), result);
            tokio::time::sleep(WORK).await;
            Ok(service.store().pending.get(&key).cloned().unwrap_or_default())
        }
        _ => Err((-32601, "no such method".to_owned())),
    }
}

fn listed(service: &Service, by: Tenant) -> Value {
    let own = |name: &str| match (name, by) {
        ("ledger", Tenant::Acme) => "acme_ledger".to_owned(),
        ("ledger", Tenant::Globex) => "globex_ledger".to_owned(),
        (name, _) => name.to_owned(),
    };
    let tools = TOOLS.iter().map(|Tool { name, takes, needs, reads }| {
        let properties: Map<String, Value> = takes
            .iter()
            .map(|(name, kind)| ((*name).to_owned(), json!({ "type": kind })))
            .collect();
        json!({
            "name": own(name), "annotations": { "readOnlyHint": reads },
            "inputSchema": { "type": "object", "properties": properties, "required": needs },
        })
    });
    let list = json!({
        "tools": tools.collect::<Vec<_>>(), "ttlMs": 0, "cacheScope": "private",
    });
    match service.wrong("mcp-tools-cached") {
        true => service.store().lists.entry("tools".into()).or_insert(list).clone(),
        false => list,
    }
}

fn done(content: &Value) -> Outcome {
    let text = json!([{ "type": "text", "text": content.to_string() }]);
    Ok(json!({ "resultType": "complete", "content": text, "structuredContent": content }))
}

fn failed(why: &str) -> Outcome {
    Ok(json!({
        "resultType": "complete", "content": [{ "type": "text", "text": why }], "isError": true,
    }))
}

/// What a schema says of the arguments; nothing else is among them.
fn schooled(name: &str, arguments: &Map<String, Value>) -> Result<(), (i32, String)> {
    let Some(Tool { takes, needs, .. }) = TOOLS.iter().find(|tool| tool.name == name) else {
        return Err((-32602, "no such tool".to_owned()));
    };
    for (name, value) in arguments {
        let is = |kind: &str| match kind {
            "integer" => value.is_u64(),
            _ => value.is_string(),
        };
        if !takes.iter().any(|(own, kind)| own == name && is(kind)) {
            return Err((-32602, "an argument that the schema does not have".to_owned()));
        }
    }
    match needs.iter().all(|name| arguments.contains_key(*name)) {
        true => Ok(()),
        false => Err((-32602, "an argument is missing".to_owned())),
    }
}

fn called(service: &Service, asked: &Asked) -> Outcome {
    let mut by = asked.by;
    let name = asked.params["name"].as_str().unwrap_or_default();
    let name = match (name, by) {
        ("acme_ledger", Tenant::Acme) | ("globex_ledger", Tenant::Globex) => "ledger",
        ("ledger" | "acme_ledger" | "globex_ledger", _) => "none",
        (name, _) => name,
    };
    let mut arguments = asked.params["arguments"].as_object().cloned().unwrap_or_default();
    if service.wrong("mcp-tenant-argument")
        && let Some(named) = arguments.remove("tenant_id")
    {
        by = match named.as_str() {
            Some("acme" | "org_acme") => Tenant::Acme,
            Some("globex" | "org_globex") => Tenant::Globex,
            _ => by,
        };
    }
    if let Some(told) = quoted(service, name, &mut arguments) {
        return failed(&told);
    }
    schooled(name, &arguments)?;
    let text = |name: &str| arguments.get(name).and_then(Value::as_str).unwrap_or_default();
    match name {
        "create_note" => created(service, asked, by, text("text")),
        "get_note" => got(service, asked, by, text("id")),
        "fetch_note" => {
            let store = service.store();
            let anybodys = service.wrong("mcp-tool-unowned");
            let note = store.notes.get(text("id")).filter(|note| note.owner == by || anybodys);
            note.map_or_else(|| failed(NONE), |note| done(&json!({ "text": note.text })))
        }
        "list_notes" => page(service, by, &arguments),
        "delete_note" => {
            let mut store = service.store();
            match store.notes.get(text("id")).is_some_and(|note| note.owner == by) {
                true => {
                    store.notes.remove(text("id"));
                    done(&json!({ "deleted": true }))
                }
                false => failed(NONE),
            }
        }
        "export_note" => exported(service, by, text("id")),
        "publish_note" => published(service, asked, by, text("id")),
        _ => done(&json!({ "balance": 0 })),
    }
}

fn created(service: &Service, asked: &Asked, by: Tenant, text: &str) -> Outcome {
    let mut store = service.store();
    let key = asked.id.to_string();
    if service.wrong("mcp-rpc-idempotent")
        && let Some(known) = store.written.get(&key)
    {
        return Ok(known.clone());
    }
    let id = draw("note");
    store.notes.insert(id.clone(), Note { owner: by, text: text.to_owned() });
    let result = done(&json!({ "id": id }))?;
    store.written.insert(key, result.clone());
    Ok(result)
}

/// A wrong format is told late, with what it was asked for.
fn quoted(service: &Service, name: &str, arguments: &mut Map<String, Value>) -> Option<String> {
    if name != "get_note" || !service.wrong("mcp-error-quotes") {
        return None;
    }
    let format = arguments.remove("format").filter(|format| !format.is_string())?;
    let id = arguments.get("id")?.as_str()?;
    let store = service.store();
    Some(format!("{:?} has no format {format}", store.notes.get(id)?.text))
}

fn got(service: &Service, asked: &Asked, by: Tenant, id: &str) -> Outcome {
    let store = service.store();
    let owned = |id: &str| store.notes.get(id).is_some_and(|note| note.owner == by);
    let known = |id: &str| store.notes.get(id);
    // What may be had, by whichever reading of the id.
    let (allowed, id) = if service.wrong("mcp-id-normalized") {
        let same = id.trim().to_lowercase();
        (owned(id) || known(id).is_none(), same)
    } else if service.wrong("mcp-equal-names") {
        (first_id(&asked.raw).is_some_and(|first| owned(&first)), id.to_owned())
    } else {
        (owned(id), id.to_owned())
    };
    match known(&id) {
        Some(note) if allowed => done(&json!({ "id": id, "text": note.text })),
        Some(_) if service.wrong("mcp-existence") => failed("that note is not yours"),
        _ => failed(NONE),
    }
}

/// The first id among the arguments, as a guard finds it that looks for it in the text.
fn first_id(raw: &str) -> Option<String> {
    let after = raw.split_once("\"arguments\"")?.1;
    let after = after.split_once("\"id\":\"")?.1;
    Some(after.split_once('"')?.0.to_owned())
}

/// A note after which a list goes on.
fn page(service: &Service, by: Tenant, arguments: &Map<String, Value>) -> Outcome {
    let mut store = service.store();
    let kept = format!("notes {}", Value::Object(arguments.clone()));
    if service.wrong("mcp-notes-cached")
        && !arguments.contains_key("cursor")
        && let Some(known) = store.lists.get(&kept)
    {
        return done(known);
    }
    let limit = arguments.get("limit").and_then(Value::as_u64).unwrap_or(10);
    let (mut owner, mut after) = (by, String::new());
    if let Some(cursor) = arguments.get("cursor").and_then(Value::as_str) {
        let Some((whose, from)) = store.cursors.get(cursor).cloned() else {
            return failed("no such cursor");
        };
        if whose != by && !service.wrong("mcp-cursor") {
            return failed("no such cursor");
        }
        (owner, after) = (whose, from);
    }
    let list = listed_after(&mut store, (owner, &after), usize::try_from(limit).unwrap_or(10));
    if service.wrong("mcp-notes-cached") && !list["notes"].as_array().is_none_or(Vec::is_empty) {
        store.lists.insert(kept, list.clone());
    }
    done(&list)
}

fn listed_after(store: &mut Store, (owner, after): (Tenant, &str), limit: usize) -> Value {
    let own = store.notes.iter().filter(|(id, note)| note.owner == owner && id.as_str() > after);
    let own: Vec<_> =
        own.take(limit + 1).map(|(id, note)| (id.clone(), note.text.clone())).collect();
    let notes: Vec<Value> =
        own.iter().take(limit).map(|(id, text)| json!({ "id": id, "text": text })).collect();
    let mut list = json!({ "notes": notes });
    if own.len() > limit
        && let Some((last, _)) = own.get(limit.saturating_sub(1))
    {
        let cursor = draw("cursor");
        store.cursors.insert(cursor.clone(), (owner, last.clone()));
        list["nextCursor"] = json!(cursor);
    }
    list
}

/// Hands a note to another system, which does not want it: the error says what it was about.
fn exported(service: &Service, by: Tenant, id: &str) -> Outcome {
    let mut store = service.store();
    let Some(note) = store.notes.get(id).filter(|note| note.owner == by) else {
        return failed(NONE);
    };
    let told = json!(format!("the archive refused: {}", note.text));
    let key = match service.wrong("mcp-cached-errors") {
        true => "export_note".to_owned(),
        false => draw("error"),
    };
    let told = store.errors.entry(key).or_insert(told).clone();
    failed(told.as_str().unwrap_or_default())
}

/// Asks whether one is sure, and goes on then.
fn published(service: &Service, asked: &Asked, by: Tenant, id: &str) -> Outcome {
    let mut store = service.store();
    let Some(state) = asked.params.get("requestState") else {
        if store.notes.get(id).is_none_or(|note| note.owner != by) {
            return failed(NONE);
        }
        let state = draw("state");
        store.states.insert(state.clone(), (by, id.to_owned()));
        let schema = json!({ "type": "object", "properties": { "sure": { "type": "boolean" } } });
        let ask = json!({ "message": "Are you sure?", "requestedSchema": schema });
        return Ok(json!({
            "resultType": "input_required", "requestState": state,
            "inputRequests": { "sure": { "method": "elicitation/create", "params": ask } },
        }));
    };
    let known = store.states.get(state.as_str().unwrap_or_default());
    let Some((owner, about)) = known.filter(|(owner, about)| {
        service.wrong("mcp-request-state") || (*owner == by && about == id)
    }) else {
        return Err((-32602, "no such state".to_owned()));
    };
    let note = store.notes.get(about).filter(|note| note.owner == *owner);
    note.map_or_else(|| failed(NONE), |note| done(&json!({ "published": note.text })))
}

fn resource(service: &Service, asked: &Asked) -> Outcome {
    let uri = asked.params["uri"].as_str().unwrap_or_default();
    let store = service.store();
    let anybodys = service.wrong("mcp-resource-unowned");
    let note = uri.strip_prefix("note://").and_then(|id| store.notes.get(id));
    match note.filter(|note| note.owner == asked.by || anybodys) {
        Some(note) => {
            let content = json!({ "uri": uri, "mimeType": "text/plain", "text": note.text });
            Ok(json!({
                "resultType": "complete", "contents": [content], "cacheScope": "private", "ttlMs": 0,
            }))
        }
        None => Err((-32602, NONE.to_owned())),
    }
}
