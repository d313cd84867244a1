//! What makes two requests alike enough to share an answer: everything but the wording of the
//! last turn is the same to the byte, and that says the same numbers, names and denials.

use ids::{frame::Frame, json::Json, planted};

use super::{Request, guard};
use crate::Api;

/// The longest turn that is compared by meaning, in bytes: in a long one, a word more or less
/// hardly moves the measure.
const MOST_TEXT: usize = 4 << 10;

/// The last turn of a request, and what it must have in common with another.
pub(crate) struct Turn {
    /// Framed: the endpoint, the request without the turn's text, and the turn's guard.
    pub(crate) partition: Vec<u8>,
    /// What the user says in this turn.
    pub(crate) text: String,
}

pub(super) fn turn(request: &Request) -> Option<Turn> {
    let alone = request.cited.is_empty() && request.hosted.is_empty() && !request.keeps;
    let once = match request.json.get("n") {
        None | Some(Json::Null) => true,
        Some(n) => n.as_u64() == Some(1),
    };
    if !alone || !once {
        return None;
    }
    let mut json = request.json.clone();
    let text = match request.api {
        Api::Chat => last(&mut json, "messages", "text"),
        Api::Messages => last(&mut json, "messages", "text"),
        Api::Responses => input(&mut json),
        Api::Embeddings | Api::CountTokens => None,
    }?;
    if text.trim().is_empty() || text.len() > MOST_TEXT {
        return None;
    }
    if planted::is("semantic-partition-without-system") {
        forget_system(&mut json);
    }
    let frame = Frame::new("bulkhead.model.turn.1").field(request.api.path());
    let partition = guard::of(&text)?
        .into_iter()
        .fold(frame.field(json.to_vec()), |frame, word| frame.field(word))
        .finish();
    Some(Turn { partition, text })
}

fn input(json: &mut Json) -> Option<String> {
    match field(json, "input")? {
        whole @ Json::String(_) => take(whole),
        Json::Array(_) => last(json, "input", "input_text"),
        _ => None,
    }
}

/// Takes the text out of the last of these turns, if it is the user's and nothing but text.
fn last(json: &mut Json, turns: &str, part: &str) -> Option<String> {
    let Json::Array(turns) = field(json, turns)? else { return None };
    let turn = turns.last_mut()?;
    let says = |name: &str| turn.get(name).map(Json::as_str);
    let message = matches!(says("type"), None | Some(Some("message")));
    if says("role") != Some(Some("user")) || !message {
        return None;
    }
    let parts = match field(turn, "content")? {
        whole @ Json::String(_) => return take(whole),
        Json::Array(parts) => parts,
        _ => return None,
    };
    let mut text = String::new();
    for (at, each) in parts.iter_mut().enumerate() {
        if each.get("type").and_then(Json::as_str) != Some(part) {
            return None;
        }
        if at > 0 {
            text.push('\n');
        }
        text.push_str(&take(field(each, "text")?)?);
    }
    Some(text)
}

fn field<'a>(json: &'a mut Json, name: &str) -> Option<&'a mut Json> {
    match json {
        Json::Object(entries) => {
            entries.iter_mut().find(|(key, _)| key == name).map(|(_, value)| value)
        }
        _ => None,
    }
}

fn take(text: &mut Json) -> Option<String> {
    match std::mem::replace(text, Json::Null) {
        Json::String(text) => Some(text),
        _ => None,
    }
}

/// The planted bug: instructions make no difference.
fn forget_system(json: &mut Json) {
    let Json::Object(entries) = json else { return };
    entries.retain(|(name, _)| !matches!(name.as_str(), "system" | "instructions"));
    let turns =
        entries.iter_mut().filter(|(name, _)| matches!(name.as_str(), "messages" | "input"));
    for (_, turns) in turns {
        let Json::Array(turns) = turns else { continue };
        turns.retain(|turn| {
            !matches!(turn.get("role").and_then(Json::as_str), Some("system" | "developer"))
        });
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::Limits;

    fn turn_of(api: Api, body: &str) -> Option<Turn> {
        let body = Bytes::copy_from_slice(body.as_bytes());
        turn(&Request::parse(api, body, &Limits::default()).unwrap())
    }

    fn turned(api: Api, body: &str) -> Turn {
        turn_of(api, body).unwrap_or_else(|| panic!("no turn: {body}"))
    }

    const CHAT: &str = r#"{"model":"m","messages":[{"role":"system","content":"be brief"},
        {"role":"user","content":"hi"},{"role":"assistant","content":"hello"},
        {"role":"user","content":"how do I reset it"}]}"#;
    const RESPONSES: &str = r#"{"model":"m","store":false,"instructions":"be brief","input":[
        {"role":"developer","content":"x"},
        {"role":"user","content":[{"type":"input_text","text":"how do I reset it"}]}]}"#;
    const MESSAGES: &str = r#"{"model":"m","system":"be brief","max_tokens":9,"messages":[
        {"role":"user","content":[{"type":"text","text":"how do I reset it"}]}]}"#;

    #[test]
    fn only_the_wording_of_the_last_turn_may_differ() {
        for (api, body) in
            [(Api::Chat, CHAT), (Api::Responses, RESPONSES), (Api::Messages, MESSAGES)]
        {
            let own = turned(api, body);
            assert_eq!(own.text, "how do I reset it");
            let alike = turned(api, &body.replace("how do I reset it", "how can I reset it"));
            assert_eq!(alike.partition, own.partition, "{body}");
            assert_eq!(alike.text, "how can I reset it");
            for (from, to) in [
                ("be brief", "be long"),
                (r#""model":"m""#, r#""model":"n""#),
                (r#""model":"m""#, r#""model":"m","stream":true"#),
                (r#""model":"m""#, r#""model":"m","temperature":0.5,"x":1"#),
                (r#""model":"m""#, r#""model":"m","tools":[{"name":"f"}]"#),
                ("how do I reset it", "how do I not reset it"),
                ("how do I reset it", "how do I reset it 2"),
                (r#""role":"user","content""#, r#""role":"user","name":"x","content""#),
                ("hello", "good day"),
                (r#""content":"x""#, r#""content":"y""#),
            ] {
                let other = body.replace(from, to);
                if other != body {
                    assert_ne!(turned(api, &other).partition, own.partition, "{other}");
                }
            }
        }
    }

    #[test]
    fn each_endpoint_has_its_own_turns() {
        let body = r#"{"model":"m","messages":[{"role":"user","content":"x"}]}"#;
        assert_ne!(turned(Api::Chat, body).partition, turned(Api::Messages, body).partition);
    }

    #[test]
    fn text_does_not_move_between_parts() {
        let one = r#"{"model":"m","messages":[{"role":"user","content":[
            {"type":"text","text":"go"},{"type":"text","text":"on"}]}]}"#;
        let other = r#"{"model":"m","messages":[{"role":"user","content":"go\non"}]}"#;
        let (one, other) = (turned(Api::Chat, one), turned(Api::Chat, other));
        assert_eq!(one.text, other.text);
        assert_ne!(one.partition, other.partition);
    }

    #[test]
    fn a_turn_is_plain_text_of_the_users() {
        let long = format!(
            r#"{{"model":"m","messages":[{{"role":"user","content":"{}"}}]}}"#,
            "a ".repeat(MOST_TEXT)
        );
        for (api, body) in [
            (Api::Chat, r#"{"model":"m"}"#),
            (Api::Chat, r#"{"model":"m","messages":[]}"#),
            (Api::Chat, r#"{"model":"m","messages":[{"role":"assistant","content":"x"}]}"#),
            (Api::Chat, r#"{"model":"m","messages":[{"role":"tool","content":"x"}]}"#),
            (Api::Chat, r#"{"model":"m","messages":[{"role":"user","content":" "}]}"#),
            (Api::Chat, r#"{"model":"m","messages":[{"role":"user","content":null}]}"#),
            (Api::Chat, r#"{"model":"m","n":2,"messages":[{"role":"user","content":"x"}]}"#),
            (
                Api::Chat,
                r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"x"},
                    {"type":"image_url","image_url":{"url":"data:"}}]}]}"#,
            ),
            (
                Api::Chat,
                r#"{"model":"m","messages":[{"role":"user","content":[
                    {"type":"file","file":{"file_id":"f"}}]},{"role":"user","content":"x"}]}"#,
            ),
            (
                Api::Chat,
                r#"{"model":"m","web_search_options":{},"messages":[{"role":"user","content":"x"}]}"#,
            ),
            (Api::Chat, &long),
            (Api::Responses, r#"{"model":"m","input":"x"}"#),
            (
                Api::Responses,
                r#"{"model":"m","store":false,"previous_response_id":"r","input":"x"}"#,
            ),
            (
                Api::Responses,
                r#"{"model":"m","store":false,"input":[{"role":"user","content":"x"},
                    {"type":"function_call_output","call_id":"c","output":"x"}]}"#,
            ),
            (
                Api::Messages,
                r#"{"model":"m","messages":[{"role":"user","content":[
                    {"type":"tool_result","tool_use_id":"t","content":"x"}]}]}"#,
            ),
            (Api::Embeddings, r#"{"model":"m","input":"x"}"#),
            (Api::CountTokens, r#"{"model":"m","messages":[{"role":"user","content":"x"}]}"#),
        ] {
            assert!(turn_of(api, body).is_none(), "{body}");
        }
        assert_eq!(
            turned(Api::Responses, r#"{"model":"m","store":false,"input":"x y"}"#).text,
            "x y"
        );
    }
}
