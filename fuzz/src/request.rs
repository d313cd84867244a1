//! Bodies of requests, on their way to a provider: nothing that a caller says about whose it is, where it goes or what
//! it shares goes on, and everything else goes on as it is.

use bytes::Bytes;
use ids::json::{Json, Limits};
use model::{Api, Mark, Request, fuzzing};
use serde_json::{Map, Value};

use crate::folded;

/// What bodies are made of.
pub const WORDS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    "\\u0075ser",
    "\"Model\":\"m\",",
    "\"input\":\"hi\",",
    "\"input\":[{\"type\":\"message\",\"id\":\"msg_1\",\"content\":\"hi\"}],",
    "\"stream\":true,",
    "\"store\":false,",
    "\"stream_options\":{\"include_usage\":false,\"x\":1},",
    "\"stream_options\":null,",
    "\"user\":\"u\",",
    "\"U-S-E-R\":\"u\",",
    "\"u\u{17f}er\":\"u\",",
    "\"r\u{131}d\":\"u\",",
    "\"cache_\u{212a}ey\":\"u\",",
    "\"safetyIdentifier\":\"u\",",
    "\"prompt_cache_key\":\"u\",",
    "\"cache_salt\":\"u\",",
    "\"Extra-Key\":\"u\",",
    "\"cache\":{\"namespace\":\"u\"},",
    "\"caching\":true,",
    "\"cacheKey\":\"u\",",
    "\"cache-namespace\":\"u\",",
    "\"namespace\":\"u\",",
    "\"metadata\":{\"user_id\":\"u\",\"k\":\"v\"},",
    "\"METADATA\":{\"user-id\":\"u\"},",
    "\"metadata\":null,",
    "\"rid\":\"u\",",
    "\"R-i-d\":\"u\",",
    "\"api_base\":\"u\",",
    "\"bootstrap_host\":\"u\",",
    "\"BootstrapRoom\":1,",
    "\"vllm_xargs\":{\"session_id\":\"u\"},",
    "\"extra_args\":{\"cache_salt\":\"u\"},",
    "\"tools\":[{\"type\":\"web_search\"}],",
    "\"unheard_of\":1,",
    "\"previous_response_id\":\"resp_1\",",
    "\"container\":\"c_1\",",
];

/// Never sent on, as docs/models.md has them, folded.
const REFUSED: [&str; 17] = [
    "nvext",
    "kvtransferparams",
    "ectransferparams",
    "sessionid",
    "sessionparams",
    "requestid",
    "rid",
    "apibase",
    "baseurl",
    "apikey",
    "extraheaders",
    "extrabody",
    "userconfig",
    "datasources",
    "models",
    "lorapath",
    "fallbacks",
];
const STRIPPED: [&str; 10] = [
    "user",
    "safetyidentifier",
    "promptcachekey",
    "cachesalt",
    "extrakey",
    "cache",
    "caching",
    "cachekey",
    "cachenamespace",
    "namespace",
];

const APIS: [Api; 5] =
    [Api::Chat, Api::Responses, Api::Embeddings, Api::Messages, Api::CountTokens];
const MODEL: &str = "provider's own";

/// The first byte says for which endpoint, what is put in, and whether the rest is a body or chooses the members of one.
pub fn run(input: &[u8]) {
    let Some((choice, body)) = input.split_first() else {
        return;
    };
    let composed = (choice & 0x80 != 0).then(|| composed(body));
    let body = composed.as_deref().unwrap_or(body);
    let api = APIS[usize::from(choice % 5)];
    let marked = choice & 0x20 != 0;
    let ask_usage = choice & 0x40 != 0;
    let body = Bytes::copy_from_slice(body);
    let Ok(request) = Request::parse(api, body.clone(), &model::Limits::default()) else {
        return;
    };
    let Ok(Value::Object(given)) = serde_json::from_slice::<Value>(&body) else {
        panic!("accepted what is no object");
    };
    let marks: Vec<_> = Mark::ALL
        .into_iter()
        .filter(|mark| marked && mark.fits(api) && mark.body_field().is_some())
        .map(|mark| (mark, mark.name()))
        .collect();
    let Ok(sent) = fuzzing::upstream_body(&request, MODEL, &marks, ask_usage) else {
        panic!("a request that was accepted cannot be written");
    };
    let sent = once(&sent);
    says_nothing(api, &sent, &marks);
    keeps_the_rest(api, &given, &sent, &marks);
    let anthropic = matches!(api, Api::Messages | Api::CountTokens);
    let marks = marks.iter().filter(|(mark, _)| *mark != Mark::UserId);
    for (mark, value) in marks {
        let field = mark.body_field().unwrap_or_default();
        assert_eq!(sent.get(field), Some(&Value::from(*value)), "{field} is not ours");
    }
    if marked && api == Api::Messages {
        assert_eq!(sent["metadata"]["user_id"], Mark::UserId.name());
    }
    let streams = api == Api::Chat && given.get("stream") == Some(&Value::Bool(true));
    assert!(
        anthropic || !(streams && ask_usage) || sent["stream_options"]["include_usage"] == true
    );
    shared(&request, &given);
}

/// A body of words that are members, each byte one: mutated text hardly ever is one with several.
fn composed(choices: &[u8]) -> Vec<u8> {
    let members: Vec<_> = WORDS.iter().filter(|word| word.starts_with('"')).collect();
    let mut body = String::from("{");
    for choice in choices.iter().take(12) {
        body.push_str(members[usize::from(*choice) % members.len()]);
    }
    body.push_str("\"messages\":[],\"model\":\"m\"}");
    body.into_bytes()
}

/// What goes out names no key twice: a provider would take the one or the other.
fn once(sent: &[u8]) -> Map<String, Value> {
    let bounds = Limits { depth: 256, nodes: 1_000_000 };
    assert!(Json::parse(sent, &bounds).is_ok(), "what goes out can be read in two ways");
    match serde_json::from_slice(sent) {
        Ok(Value::Object(sent)) => sent,
        _ => panic!("what goes out is no object"),
    }
}

/// No refused name, and no stripped one but where a mark stands.
fn says_nothing(api: Api, sent: &Map<String, Value>, marks: &[(Mark, &str)]) {
    for (name, value) in sent {
        let word = folded(name);
        let mark = marks.iter().any(|(mark, _)| mark.body_field() == Some(name));
        assert!(!refused(&word), "{name} went out");
        assert!(mark || !STRIPPED.contains(&word.as_str()), "{name} went out");
        if ["vllmxargs", "extraargs"].contains(&word.as_str()) {
            let inside =
                |name: &String| refused(&folded(name)) || STRIPPED.contains(&folded(name).as_str());
            assert!(!value.as_object().is_some_and(|map| map.keys().any(inside)));
        }
        if word == "metadata" && matches!(api, Api::Messages | Api::CountTokens) {
            let ours = marks.iter().any(|(mark, _)| *mark == Mark::UserId) && name == "metadata";
            for (name, value) in value.as_object().into_iter().flatten() {
                let mark = ours && name == "user_id" && value == Mark::UserId.name();
                assert!(mark || folded(name) != "userid", "metadata.{name} went out");
            }
        }
    }
    assert_eq!(sent.get("model"), Some(&Value::from(MODEL)));
}

/// Everything that has no reason to change is what it was, and nothing was made up.
fn keeps_the_rest(
    api: Api,
    given: &Map<String, Value>,
    sent: &Map<String, Value>,
    marks: &[(Mark, &str)],
) {
    let written = |name: &str| {
        let metadata = matches!(api, Api::Messages | Api::CountTokens);
        name == "model"
            || (name == "stream_options" && api == Api::Chat)
            || (name == "input" && api == Api::Responses)
            || (metadata && folded(name) == "metadata")
    };
    for (name, value) in given.iter().filter(|(name, _)| !written(name)) {
        let stays = STRIPPED.contains(&folded(name).as_str());
        assert!(stays || sent.get(name) == Some(value), "{name} changed on its way");
    }
    for name in sent.keys().filter(|name| !given.contains_key(*name)) {
        let ours = |field: &str| field.split('.').next() == Some(name);
        let mark = marks.iter().any(|(mark, _)| mark.body_field().is_some_and(ours));
        let usage = name == "stream_options" && api == Api::Chat;
        assert!(mark || usage, "{name} was made up");
    }
    if let (Some(Value::Array(given)), Some(Value::Array(sent))) =
        (given.get("input"), sent.get("input"))
    {
        assert_eq!(given.len(), sent.len(), "items of the input were lost");
        for (given, sent) in given.iter().zip(sent) {
            let shed = |item: &Value| match item.clone() {
                Value::Object(mut item) => {
                    item.retain(|name, _| folded(name) != "id");
                    Value::Object(item)
                }
                other => other,
            };
            assert!(given == sent || shed(given) == *sent, "an item changed on its way");
        }
    }
}

/// On a shared credential nothing goes out that was never heard of, and nothing is kept.
fn shared(request: &Request, given: &Map<String, Value>) {
    if fuzzing::judge_shared(request).is_ok() {
        assert!(!given.contains_key("unheard_of"));
        assert!(request.api() != Api::Chat || given.get("store") != Some(&Value::Bool(true)));
    }
}

fn refused(word: &str) -> bool {
    word.starts_with("bootstrap") || word == "customlogitprocessor" || REFUSED.contains(&word)
}
