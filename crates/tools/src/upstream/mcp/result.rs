//! What an MCP server gives as the result of a call, reduced to what is handed on.

use ids::json::Json;

use super::{Failed, wire::text};
use crate::{Content, Fault, FaultKind};

/// Most things that one answer asks for.
const ASKS: usize = 16;
/// Longest state that it wants to be reminded of, in bytes.
const STATE: usize = 12 << 10;

/// What a call gave.
#[derive(Debug)]
pub(in crate::upstream) enum Given {
    /// Its answer.
    Content(Content),
    /// Questions to whoever calls.
    Asks(Asks),
}

/// What an upstream asks whoever calls for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Asks {
    /// Requests by the names that the server gave them.
    pub(crate) requests: Option<Json>,
    /// What it wants to be reminded of.
    pub(crate) state: Option<String>,
}

/// The answer to `tools/call`: `content`, `structuredContent` and `isError`, each of its kind. A
/// refusal becomes an error that a model can read, held against its owner like everything else.
pub(in crate::upstream) fn from_call(
    answered: Result<Json, Failed>,
    declared: Option<&Json>,
) -> Result<Given, Fault> {
    let bad = |why| Err(Fault::sent(FaultKind::Malformed(why)));
    let result = match answered {
        Ok(result) => result,
        Err(Failed::Refused(code, said)) => return Ok(Given::Content(refusal(code, &said))),
        Err(Failed::Needs(what)) => return Err(undeclared(what, declared)),
        Err(failed) => return Err(failed.fault()),
    };
    match result.get("resultType").map(Json::as_str) {
        None | Some(Some("complete")) => {}
        Some(Some("input_required")) => return asks(result, declared).map(Given::Asks),
        Some(_) => return bad("a result of a kind that is not known here"),
    }
    let Json::Object(entries) = result else { return bad("a result that is no object") };
    let (mut content, mut structured, mut failed) = (Vec::new(), None, false);
    for (key, value) in entries {
        match (key.as_str(), value) {
            ("content", Json::Array(items)) => content = items,
            ("content", _) => return bad("content that is no list"),
            ("structuredContent", value) => structured = Some(value),
            ("isError", Json::Bool(value)) => failed = value,
            ("isError", _) => return bad("isError that is neither true nor false"),
            _ => {}
        }
    }
    let content = content.into_iter().map(block).collect::<Result<_, _>>()?;
    let mut kept = vec![("content".to_owned(), Json::Array(content))];
    kept.extend(structured.map(|structured| ("structuredContent".to_owned(), structured)));
    kept.push(("isError".to_owned(), Json::Bool(failed)));
    Ok(Given::Content(Content::Mcp(Json::Object(kept))))
}

/// It needs this of whoever calls. Of who may not be asked, or declared it, that makes no sense.
fn undeclared(what: &'static str, declared: Option<&Json>) -> Fault {
    Fault::sent(match declared {
        None => FaultKind::Malformed("it asks for more, and nobody may answer"),
        Some(declared) if declared.get(what).is_some() => {
            FaultKind::Malformed("it asks for what was declared")
        }
        Some(_) => FaultKind::Undeclared(what),
    })
}

/// What it asks for, if whoever calls declared that it can be asked for that.
pub(in crate::upstream) fn asks(result: Json, declared: Option<&Json>) -> Result<Asks, Fault> {
    let bad = |why| Err(Fault::sent(FaultKind::Malformed(why)));
    let Some(declared) = declared else { return bad("it asks for more, and nobody may answer") };
    let Json::Object(entries) = result else { return bad("a result that is no object") };
    let (mut requests, mut state) = (None, None);
    for (key, value) in entries {
        match (key.as_str(), value) {
            ("inputRequests", Json::Object(asked)) if asked.len() <= ASKS => {
                let mut shown = Vec::with_capacity(asked.len());
                for (name, request) in asked {
                    shown.push((name, question(request, declared)?));
                }
                requests = Some(Json::Object(shown));
            }
            ("requestState", Json::String(text)) if text.len() <= STATE => state = Some(text),
            ("inputRequests" | "requestState", _) => {
                return bad("it asks for nothing that is known");
            }
            _ => {}
        }
    }
    match (&requests, &state) {
        (None, None) => bad("it asks for nothing"),
        _ => Ok(Asks { requests, state }),
    }
}

/// One request, reduced to its method and its parameters.
fn question(request: Json, declared: &Json) -> Result<Json, Fault> {
    let bad = || Err(Fault::sent(FaultKind::Malformed("it asks for what is not known here")));
    let needs = match request.get("method").and_then(Json::as_str) {
        Some("elicitation/create") => "elicitation",
        Some("sampling/createMessage") => "sampling",
        Some("roots/list") => "roots",
        _ => return bad(),
    };
    if declared.get(needs).is_none() {
        return Err(undeclared(needs, Some(declared)));
    }
    let Json::Object(mut entries) = request else { return bad() };
    entries.retain(|(key, _)| matches!(key.as_str(), "method" | "params"));
    for (key, value) in &mut entries {
        if let ("params", Json::Object(params)) = (key.as_str(), value) {
            params.retain(|(key, _)| key != "_meta");
        }
    }
    Ok(Json::Object(entries))
}

/// One piece of content, without what is between client and server alone.
pub(in crate::upstream) fn block(block: Json) -> Result<Json, Fault> {
    let Json::Object(mut entries) = block else {
        return Err(Fault::sent(FaultKind::Malformed("content that is no object")));
    };
    entries.retain(|(key, _)| key != "_meta");
    let kind = entries.iter().find(|(key, _)| key == "type").map(|(_, kind)| kind.as_str());
    let Some(Some(kind)) = kind else {
        return Err(Fault::sent(FaultKind::Malformed("content without a type")));
    };
    if kind == "resource" {
        for (key, value) in &mut entries {
            if let ("resource", Json::Object(resource)) = (key.as_str(), value) {
                resource.retain(|(key, _)| key != "_meta");
            }
        }
    }
    Ok(Json::Object(entries))
}

fn refusal(code: i64, said: &str) -> Content {
    let said = format!("the upstream refused ({code}): {said}");
    let block = super::wire::object([("type", text("text")), ("text", Json::String(said))]);
    Content::Mcp(super::wire::object([
        ("content", Json::Array(vec![block])),
        ("isError", Json::Bool(true)),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Json {
        Json::parse(text.as_bytes(), &ids::json::Limits::default()).unwrap()
    }

    #[test]
    fn results_are_what_they_have_to_be_and_nothing_more() {
        for (result, expected) in [
            ("{}", Some(r#"{"content":[],"isError":false}"#)),
            (
                r#"{"content":[{"type":"text","text":"a","_meta":{"x":1}}],"_meta":{},"ttlMs":1,
                "resultType":"complete","structuredContent":[1],"isError":true}"#,
                Some(
                    r#"{"content":[{"text":"a","type":"text"}],"isError":true,"structuredContent":[1]}"#,
                ),
            ),
            (
                r#"{"content":[{"type":"resource","resource":{"uri":"x:y","_meta":{}}}]}"#,
                Some(
                    r#"{"content":[{"resource":{"uri":"x:y"},"type":"resource"}],"isError":false}"#,
                ),
            ),
            (r#"{"content":"a"}"#, None),
            (r#"{"content":["a"]}"#, None),
            (r#"{"content":[{"text":"a"}]}"#, None),
            (r#"{"isError":"no"}"#, None),
            (r#"{"resultType":"task","taskId":"1"}"#, None),
            (r#"{"resultType":"input_required","requestState":"s"}"#, None),
            (r#"{"resultType":1}"#, None),
        ] {
            let got = from_call(Ok(json(result)), None).ok().map(|given| match given {
                Given::Content(Content::Mcp(json)) => String::from_utf8(json.to_vec()).unwrap(),
                other => panic!("{other:?}"),
            });
            assert_eq!(got.as_deref(), expected, "{result}");
        }
        let refused = from_call(Err(Failed::Refused(-32_602, "no such id".into())), None).unwrap();
        assert!(matches!(refused, Given::Content(content) if content.is_error()));
    }

    #[test]
    fn only_what_was_declared_is_asked_for() {
        let declared = json(r#"{"elicitation":{}}"#);
        let asks = |fields: &str| json(&format!(r#"{{"resultType":"input_required",{fields}}}"#));
        let asked = r#""inputRequests":{"name":{"method":"elicitation/create","id":7,"jsonrpc":"2.0",
            "params":{"message":"who?","_meta":{}}}},"requestState":"s","x":1"#;
        let given = from_call(Ok(asks(asked)), Some(&declared)).unwrap();
        let Given::Asks(got) = given else { panic!("{given:?}") };
        let requests = r#"{"name":{"method":"elicitation/create","params":{"message":"who?"}}}"#;
        assert_eq!(got.requests, Some(json(requests)));
        assert_eq!(got.state.as_deref(), Some("s"));
        assert!(from_call(Ok(asks(r#""requestState":"s""#)), Some(&declared)).is_ok());
        assert!(from_call(Ok(asks(asked)), None).is_err());
        for bad in [
            r#""inputRequests":{"a":{"method":"sampling/createMessage"}}"#,
            r#""inputRequests":{"a":{"method":"tools/call"}}"#,
            r#""inputRequests":{"a":{}}"#,
            r#""inputRequests":[]"#,
            r#""requestState":1"#,
            r#""x":1"#,
        ] {
            assert!(from_call(Ok(asks(bad)), Some(&declared)).is_err(), "{bad}");
        }
        // Whoever calls learns what it would have to declare, and of nothing else.
        let sampling = || Err(Failed::Needs("sampling"));
        for (given, declared, code) in [
            (sampling(), Some(&declared), "tool.undeclared"),
            (sampling(), Some(&json(r#"{"sampling":{}}"#)), "upstream.malformed"),
            (sampling(), None, "upstream.malformed"),
            (
                Ok(asks(r#""inputRequests":{"a":{"method":"sampling/createMessage"}}"#)),
                Some(&declared),
                "tool.undeclared",
            ),
        ] {
            assert_eq!(from_call(given, declared).unwrap_err().code(), code);
        }
    }
}
