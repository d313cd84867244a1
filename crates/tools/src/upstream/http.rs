//! A call of a plain HTTP API.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use ids::{
    RandomId,
    json::{Json, Limits},
};

use super::{
    Reply,
    client::{Bounds, Line, Target, Wanted, is_json},
    held,
};
use crate::{Content, Fault, FaultKind, credential::Authorized, owner::json_of, template::Filled};

/// What does not fit in a place that an operator gave it. It was found before anything was sent.
pub(super) const UNFIT: Fault = Fault::unsent(FaultKind::Malformed("the request cannot be formed"));

/// One request and its answer.
pub(super) async fn call(
    line: &Line,
    target: &Target,
    filled: Filled,
    by: &Authorized,
    intent: Option<(&str, RandomId)>,
    bounds: &Bounds,
) -> Result<Reply, Fault> {
    let Filled { method, path, query, headers: own, body } = filled;
    let url = target.behind(&path, query.as_deref()).ok_or(UNFIT)?;
    let mut headers = HeaderMap::with_capacity(own.len() + 6);
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json, */*;q=0.5"));
    if body.is_some() {
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
    }
    for (name, value) in own {
        headers.insert(name, value);
    }
    if let Some((name, intent)) = intent {
        let name = HeaderName::try_from(name).map_err(|_| UNFIT)?;
        let value = HeaderValue::try_from(intent.to_string()).map_err(|_| UNFIT)?;
        headers.insert(name, value);
    }
    let incoming = line.send(Wanted { method, url, headers, body }, by, bounds).await?;
    let status = incoming.status();
    let content_type = incoming.content_type().map(str::to_owned);
    let body = incoming.whole().await?;
    held(by, &body)?;
    held(by, content_type.as_deref().unwrap_or_default().as_bytes())?;
    let mut read = None;
    if content_type.as_deref().is_some_and(is_json) && !body.is_empty() {
        // The bytes are handed on, so that nothing is lost; that they mean one thing is held here.
        let value = ids::json::value(&body, &Limits::default()).map_err(unlike)?;
        // Escapes may hide it from a search of the bytes; without a backslash there is none.
        if body.contains(&b'\\') {
            held(by, &json_of(&value).to_vec())?;
        }
        read = Some(value);
    }
    Ok(Reply { content: Content::Http { status, content_type, body }, read })
}

/// Strict JSON, or a fault that says in which way it is none.
pub(super) fn strict(bytes: &[u8]) -> Result<Json, Fault> {
    Json::parse(bytes, &Limits::default()).map_err(unlike)
}

fn unlike(error: ids::json::Error) -> Fault {
    Fault::sent(FaultKind::Malformed(match error {
        ids::json::Error::Duplicate => "an object names the same key twice",
        ids::json::Error::Reserved => "an object has a key that is reserved",
        ids::json::Error::Depth => "it is nested too deeply",
        ids::json::Error::Nodes => "it holds too many values",
        ids::json::Error::Syntax { .. } => "it is not JSON",
    }))
}
