//! `/tools/{upstream}/…`: an HTTP API's own requests. What a request asks for is a contract of that
//! upstream, found by method and path, and goes the way of every call; and what every call of a
//! tool has in common.

use std::sync::Arc;

use axum::{body::Bytes, response::Response};
use gate::{Effect, Hop, ToolCall};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use ids::{
    ProviderId, RandomId, RequestId, StepId,
    json::{Json, Limits},
};
use scope::{Scope, Write};
use serde_json::json;
use tools::{Answer, Content, Error, Progress, Round};

use super::{
    STEP,
    body::{self, Body},
    claims, mcp, raw,
};
use crate::{
    App,
    ask::{Ask, json_answer},
    fault::{Coded, Fault, status_of},
};

/// By which a caller tells writes apart that are alike.
pub(super) const IDEMPOTENCY: &str = "idempotency-key";
/// The review by which a write was approved, or under which it waits.
pub(super) const REVIEW: HeaderName = HeaderName::from_static("x-bulkhead-review");
/// What proves a write.
const RECEIPT: HeaderName = HeaderName::from_static("x-bulkhead-receipt");
/// That a write had been done before.
const DUPLICATE: HeaderName = HeaderName::from_static("x-bulkhead-duplicate");
/// How a caller says that it waits (RFC 7240).
const PREFER: HeaderName = HeaderName::from_static("prefer");
/// The longest `Idempotency-Key`, in bytes.
const LONGEST_KEY: usize = 255;

/// What a caller says of a call besides its arguments.
pub(super) struct Said<'a> {
    pub(super) step: Option<&'a str>,
    pub(super) key: Option<&'a str>,
    pub(super) review: Option<&'a str>,
}

/// A call, as it is asked for.
pub(super) fn asked(
    name: &str,
    arguments: Bytes,
    request: RequestId,
    said: Said<'_>,
) -> Result<tools::Ask, Fault> {
    let Said { step, key, review } = said;
    let visible = |key: &&str| {
        (1..=LONGEST_KEY).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic())
    };
    if key.is_some_and(|key| !visible(&key)) {
        let why = format!("an Idempotency-Key is 1 to {LONGEST_KEY} visible characters");
        return Err(Fault::malformed(why));
    }
    let review = review.map(RandomId::parse).transpose();
    Ok(tools::Ask {
        name: name.to_owned(),
        arguments,
        request,
        step: step.map(StepId::parse).transpose()?,
        key: key.map(str::to_owned),
        // What is no id names nothing.
        review: review.map_err(|_| Fault::from(reviews::Error::Missing))?,
    })
}

/// The way of every call: final arguments, the gate, the tool. What is refused is on record.
pub(crate) async fn call(
    app: &App,
    scope: &Scope<Write>,
    ask: tools::Ask,
    progress: Progress,
) -> Result<Answer, Error> {
    call_in(app, scope, ask, InMcp::default(), progress).await
}

/// What a call says in MCP besides.
#[derive(Default)]
pub(super) struct InMcp<'a> {
    /// Of which of several rounds it is.
    pub(super) round: Round,
    /// The headers that repeat its arguments.
    pub(super) mirrored: Option<&'a mcp::Mirrored>,
}

/// The same, as it is said in MCP.
pub(super) async fn call_in(
    app: &App,
    scope: &Scope<Write>,
    ask: tools::Ask,
    InMcp { round, mirrored }: InMcp<'_>,
    progress: Progress,
) -> Result<Answer, Error> {
    let name = ask.name.clone();
    let unprepared = app.tools.unprepared(&ask.name, ask.request);
    let prepared = match app.tools.prepare(scope, ask) {
        Ok(prepared) => prepared.in_round(round),
        Err(error) => {
            // Without the grant it is the gate that says no, whatever the arguments are.
            if !scope.may(unprepared.grant()) && !matches!(error, Error::Unknown) {
                let refused = |_| async { Err(error) };
                return app.gate.pass(scope, unprepared, refused).await;
            }
            app.gate.refuse(scope, &unprepared, error.code(), &error.to_string()).await;
            return Err(error);
        }
    };
    let hop = prepared.hop(scope);
    let call = |pass| async {
        // What the tool declares is looked up for whoever may call it.
        if let Some(mirrored) = mirrored {
            mirrored.held(app, scope, &name).await?;
        }
        app.tools.call(scope, pass, prepared, progress).await
    };
    app.gate.pass(scope, hop, call).await
}

pub(crate) async fn get(app: Arc<App>, scope: Scope<Write>, ask: Ask) -> Result<Response, Fault> {
    routed(app, scope, ask).await
}

pub(crate) async fn change(
    app: Arc<App>,
    scope: Scope<Write>,
    ask: Ask,
) -> Result<Response, Fault> {
    routed(app, scope, ask).await
}

/// Before it is known what is asked for: a call whose body is not read yet, for whoever may call
/// anything of that kind.
fn unread(scope: &Scope<Write>, ask: &Ask, upstream: &ProviderId) -> Hop {
    let effect = match ask.parts.method {
        Method::GET => Effect::Read,
        // A search may well be a POST.
        _ if scope.may("tools:write") => Effect::Write,
        _ if scope.may("tools:destructive") => Effect::Destructive,
        _ if scope.may("tools:read") => Effect::Read,
        _ => Effect::Write,
    };
    let call = ToolCall {
        effect,
        tool: "*".to_owned(),
        upstream: upstream.clone(),
        account: None,
        arguments: Vec::new(),
        amount: None,
    };
    Hop::tool(call, ask.request)
}

async fn routed(app: Arc<App>, scope: Scope<Write>, mut ask: Ask) -> Result<Response, Fault> {
    let upstream: ProviderId = ask.id("upstream")?;
    let unread = unread(&scope, &ask, &upstream);
    let limits = &app.settings.tools.limits;
    let read = body::read(&app, &scope, &mut ask, &unread, limits.arguments_bytes).await?;
    let Body { bytes, charge, entered } = read;
    let body = match parsed(&app, &scope, bytes) {
        Ok(body) => body,
        Err(fault) => {
            app.gate.refuse(&scope, &unread, fault.code, &fault.message).await;
            return Err(fault);
        }
    };
    let (path, query) = (path(&ask, &upstream), own_query(&app, &ask));
    let found = app.tools.route(&scope, &upstream, &ask.parts.method, path, &query, body);
    let (name, arguments) = match found {
        Ok(Some(found)) => found,
        Ok(None) => return Err(unknown(&app, &scope, &unread).await),
        Err(error) => {
            app.gate.refuse(&scope, &unread, error.code(), &error.to_string()).await;
            return Err(error.into());
        }
    };
    let arguments = Bytes::from(arguments.to_vec());
    let headers = ask.headers();
    let said = Said {
        step: one(headers, STEP)?,
        key: one(headers, IDEMPOTENCY)?,
        review: one(headers, REVIEW.as_str())?,
    };
    let wait = wait(headers)?;
    let asked = asked(&name, arguments, ask.request, said)?;
    let mut outcome = call(&app, &scope, asked.clone(), Progress::none()).await;
    let mut entered = Some(entered);
    if let (Err(Error::ApprovalRequired { review, .. }), Some(wait)) = (&outcome, wait) {
        let review = *review;
        // Whoever waits for a person takes no place.
        drop(entered.take());
        if mcp::decided(&app, &scope, review, wait).await {
            let again = tools::Ask { review: Some(review), ..asked };
            outcome = call(&app, &scope, again, Progress::none()).await;
        }
    }
    drop(charge);
    match outcome {
        Ok(answer) => Ok(mcp::leaving(answered(answer)?, &scope, entered)),
        Err(error) => failed(error),
    }
}

/// What no contract has is not there, like what never was.
async fn unknown(app: &App, scope: &Scope<Write>, hop: &Hop) -> Fault {
    let error = Error::Unknown;
    app.gate.refuse(scope, hop, error.code(), &error.to_string()).await;
    error.into()
}

/// The body, if there is one, read strictly; what names somebody there has to agree.
fn parsed(app: &App, scope: &Scope<Write>, bytes: Bytes) -> Result<Option<Json>, Fault> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let limits = &app.settings.tools.limits;
    let json = Json::parse(&bytes, &Limits { depth: limits.depth, nodes: limits.nodes });
    let json = json.map_err(|error| Fault::from(Error::from(error)))?;
    claims::concur(scope, &app.settings.model.limits.claims, "body", &json)?;
    Ok(Some(json))
}

/// The path behind the upstream's name, as it came: what is encoded in it stays so.
fn path<'a>(ask: &'a Ask, upstream: &ProviderId) -> &'a str {
    let path = ask.parts.uri.path();
    let behind = path.strip_prefix("/tools/").and_then(|rest| rest.strip_prefix(upstream.as_str()));
    behind.filter(|rest| rest.starts_with('/')).unwrap_or("/")
}

/// The query without what names a tenant, which the door has held against the credential.
fn own_query(app: &App, ask: &Ask) -> Vec<(String, String)> {
    ask.query.iter().filter(|(name, _)| !app.extract.is_claim(name)).cloned().collect()
}

/// The one value of a header.
fn one<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Fault> {
    let mut all = headers.get_all(name).iter();
    let Some(value) = all.next() else { return Ok(None) };
    let bad = || Fault::malformed(format!("{name} has to be text, and there once"));
    if all.next().is_some() {
        return Err(bad());
    }
    Ok(Some(value.to_str().map_err(|_| bad())?.trim()))
}

/// `Prefer: wait=10`: so many seconds.
fn wait(headers: &HeaderMap) -> Result<Option<u64>, Fault> {
    let Some(prefer) = one(headers, PREFER.as_str())? else { return Ok(None) };
    let wait = prefer.split([',', ';']).find_map(|part| part.trim().strip_prefix("wait="));
    let bad = |_| Fault::malformed("`Prefer: wait=…` is a number of seconds");
    wait.map(|seconds| seconds.trim_matches('"').parse().map_err(bad)).transpose()
}

/// The upstream's answer, under headers of ours alone.
fn answered(answer: Answer) -> Result<Response, Fault> {
    let Answer { content, receipt, duplicate, .. } = answer;
    let mut response = match content {
        Content::Http { status, content_type, body } => {
            let mut response = raw::inert(content_type.as_deref(), body);
            *response.status_mut() = status;
            response
        }
        Content::Mcp(json) | Content::Rows(json) => {
            raw::inert(Some("application/json"), json.to_vec().into())
        }
    };
    let headers = response.headers_mut();
    if let Some(receipt) = receipt {
        let signed = HeaderValue::from_str(&receipt.signed);
        headers.insert(RECEIPT, signed.map_err(|error| Fault::internal(&error))?);
    }
    if duplicate {
        headers.insert(DUPLICATE, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// A refusal; one that waits for a person says under which review.
fn failed(error: Error) -> Result<Response, Fault> {
    let (review, expires) = match &error {
        Error::ApprovalRequired { review, expires } => (*review, Some(*expires)),
        Error::Suggested { review } => (*review, None),
        _ => return Err(error.into()),
    };
    let fault = Fault::from(error);
    let status = status_of(fault.code);
    let mut response = json_answer(
        status,
        &json!({
            "type": format!("urn:bulkhead:error:{}", fault.code),
            "title": fault.message,
            "status": status.as_u16(),
            "code": fault.code,
            "review": review.to_string(),
            "expires": expires.map(|at| at.to_string()),
        }),
    )?;
    response.extensions_mut().insert(Coded(fault.code));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if let Ok(review) = HeaderValue::from_str(&review.to_string()) {
        headers.insert(REVIEW, review);
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[test]
    fn how_long_a_caller_waits() {
        for (text, expected) in [
            ("wait=10", Some(Some(10))),
            ("respond-async, wait=3", Some(Some(3))),
            ("respond-async", Some(None)),
            ("wait=-1", None),
            ("wait=soon", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(PREFER, HeaderValue::from_str(text).unwrap());
            assert_eq!(wait(&headers).ok(), expected, "{text}");
        }
        assert_eq!(wait(&HeaderMap::new()).unwrap(), None);
    }

    #[test]
    fn an_answer_says_its_status_and_nothing_of_its_headers() {
        let content = Content::Http {
            status: StatusCode::NOT_FOUND,
            content_type: Some("text/html".to_owned()),
            body: Bytes::from_static(b"<script>"),
        };
        let answer = Answer { content, receipt: None, duplicate: true, observed: Vec::new() };
        let response = answered(answer).unwrap();
        assert_eq!(response.status(), 404);
        let headers = response.headers();
        assert_eq!(headers["x-bulkhead-duplicate"], "true");
        assert_eq!(headers["content-disposition"], "attachment");
        assert_eq!(headers["content-security-policy"], "sandbox");
    }
}
