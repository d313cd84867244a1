//! Retrieval: two tenants with a collection of one name, points of the same ids, and one of them
//! with hundreds that are nearer to what the other one asks.

use anyhow::Result;
use serde_json::{Value, json};

use super::{
    asks,
    caller::{Ask, Heard},
    refusals,
    stage::Stage,
    surfaces::Rows,
};

const COLLECTION: &str = "/qdrant/collections/invoices";
/// Points of globex, all of them nearer to the question than any of acme's.
const NEARER: u64 = 500;
/// Points of acme.
const OWN: u64 = 3;
/// One of acme's alone.
const ACMES: u64 = 7_001;

/// Fills both collections, asks, and tries what must be refused.
pub(super) async fn run(stage: &mut Stage) -> Result<Rows> {
    let mut rows = Rows::default();
    fill(stage, &mut rows).await?;
    let cast = stage.cast.clone();
    let question = json!({ "query": [1.0, 0.0, 0.0], "limit": 10, "with_payload": true });
    for (who, credential, expected, note) in [
        ("acme", &cast.acme, OWN, "all of its own, with 500 of globex's nearer"),
        ("globex", &cast.globex, 10, "its own"),
    ] {
        let what = "the 10 nearest in its collection \"invoices\"";
        let to = stage.data(&format!("{COLLECTION}/points/query"))?;
        let ask = Ask::post(to, question.to_string()).header("api-key", credential);
        let heard = stage.caller.ask(who, what, ask).await?;
        let got = points(&heard);
        rows.asks.push(row(&heard, &format!("{got} points · {note}"), got == expected));
    }
    for (who, place, credential, path, code) in [
        ("globex", "", &cast.globex, format!("{COLLECTION}/points/{ACMES}"), "memory.no_point"),
        ("acme", " in staging", &cast.staging, COLLECTION.to_owned(), "memory.no_collection"),
    ] {
        let thing =
            if code == "memory.no_point" { "point by its id" } else { "collection by its name" };
        let what = format!("{who}{place} reads acme's {thing}");
        let ask = Ask::get(stage.data(&path)?).header("api-key", credential);
        let heard = stage.caller.ask(who, &what, ask).await?;
        rows.refusals.push(refusals::judge(what, &heard, 404, code));
    }
    let what = "a filter on what stands sealed";
    let sealed = json!({ "key": "page_content", "match": { "value": "open" } });
    let ask = json!({ "query": [1.0, 0.0, 0.0], "filter": { "must": [sealed] } });
    let to = stage.data(&format!("{COLLECTION}/points/query"))?;
    let ask = Ask::post(to, ask.to_string()).header("api-key", &cast.acme);
    let heard = stage.caller.ask("acme", what, ask).await?;
    rows.refusals.push(refusals::judge(what.to_owned(), &heard, 400, "memory.content_field"));
    Ok(rows)
}

/// The same names and ids for both; what is in the points is each one's alone.
async fn fill(stage: &mut Stage, rows: &mut Rows) -> Result<()> {
    let shape = json!({ "vectors": { "size": 3, "distance": "Cosine" } });
    let cast = stage.cast.clone();
    for (who, credential) in [("acme", &cast.acme), ("globex", &cast.globex)] {
        let word = format!("{who} keeps {}", ids::RandomId::draw(&ids::OsEntropy));
        stage.canaries.add(who, "text of a point", &word);
        let own = (1..=OWN - 1).chain([ACMES]).map(|id| point(id, [0.2, 0.9, 0.1], &word));
        let nearer = (1..=NEARER).map(|id| point(id, [1.0, 0.0, 0.01], &word));
        let points: Vec<Value> = if who == "acme" { own.collect() } else { nearer.collect() };
        let points = json!({ "points": points });
        let made = [(COLLECTION.to_owned(), &shape), (format!("{COLLECTION}/points"), &points)];
        for (path, body) in made {
            let ask = Ask::put(stage.data(&path)?, body.to_string()).header("api-key", credential);
            let heard = stage.caller.ask(who, "fills its collection", ask).await?;
            if heard.status != 200 {
                rows.asks.push(row(&heard, "", false));
            }
        }
    }
    Ok(())
}

fn point(id: u64, near: [f64; 3], word: &str) -> Value {
    json!({ "id": id, "vector": near, "payload": { "page_content": word } })
}

/// How many points came back.
fn points(heard: &Heard) -> u64 {
    let body = heard.everything.rsplit('\n').next().unwrap_or_default();
    let answer: Value = serde_json::from_str(body).unwrap_or_default();
    answer.pointer("/result/points").and_then(Value::as_array).map_or(0, |all| all.len() as u64)
}

fn row(heard: &Heard, note: &str, good: bool) -> asks::Row {
    let took = heard.took.as_secs_f64() * 1_000.0;
    let wrong = (!good || heard.status != 200).then(|| format!("{} {}", heard.status, heard.code));
    asks::Row {
        who: heard.who.clone(),
        what: heard.what.clone(),
        answered: "retrieval",
        cache: String::new(),
        note: format!("{took:.1} ms · {note}"),
        wrong,
    }
}
