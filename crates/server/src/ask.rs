//! A request as a handler sees it: bounded, and strict about what it does not know.

use axum::{
    body::{Body, Bytes},
    extract::RawPathParams,
    response::Response,
};
use http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use ids::{
    RequestId,
    json::{self, Json},
};
use parking_lot::Mutex;
use serde::{Serialize, de::DeserializeOwned};

use crate::{App, fault::Fault, pairs};

/// A request behind its route.
pub(crate) struct Ask {
    pub(crate) request: RequestId,
    pub(crate) parts: Parts,
    pub(crate) query: Vec<(String, String)>,
    params: Vec<(String, String)>,
    /// Never locked, only had by `&mut`: a body is not `Sync`, and handlers share the rest.
    body: Mutex<Body>,
}

impl Ask {
    pub(crate) fn new(
        request: RequestId,
        parts: Parts,
        body: Body,
        params: &RawPathParams,
    ) -> Result<Self, Fault> {
        let params = params.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        let query = pairs::decode(parts.uri.query().unwrap_or_default().as_bytes())?;
        Ok(Self { request, parts, query, params, body: Mutex::new(body) })
    }

    pub(crate) const fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// A part of the path, as text.
    pub(crate) fn param(&self, name: &str) -> &str {
        self.params.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    /// A part of the path, as an id. What does not parse names nothing.
    pub(crate) fn id<T: std::str::FromStr>(&self, name: &str) -> Result<T, Fault> {
        self.param(name).parse().map_err(|_| Fault::not_found())
    }

    /// The query, typed; a parameter that the route does not know is refused by name.
    pub(crate) fn query<T: DeserializeOwned>(&self, app: &App) -> Result<T, Fault> {
        let own = self.query.iter().filter(|(name, _)| !app.extract.is_claim(name));
        pairs::typed(own)
    }

    /// The body, bounded in size and time.
    pub(crate) async fn body(&mut self, app: &App) -> Result<Bytes, Fault> {
        let limits = &app.settings.limits;
        let most = limits.body_bytes;
        let too_large =
            || Fault::new("request.too_large", format!("a body is {most} bytes at most"));
        let declared = self.headers().get(header::CONTENT_LENGTH);
        let declared = declared.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if declared.is_some_and(|length| length > most) {
            return Err(too_large());
        }
        let body = Limited::new(std::mem::take(self.body.get_mut()), most);
        match tokio::time::timeout(limits.body_time(), body.collect()).await {
            Ok(Ok(whole)) => Ok(whole.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
            Ok(Err(_)) => Err(Fault::malformed("the body broke off")),
            Err(_) => Err(Fault::new("request.timeout", "the body took too long")),
        }
    }

    /// The body as JSON, typed; a field that the route does not know is refused by name, and
    /// so is one that is there twice.
    pub(crate) async fn json<T: DeserializeOwned>(&mut self, app: &App) -> Result<T, Fault> {
        let body = self.body(app).await?;
        let body = if body.is_empty() { Bytes::from_static(b"{}") } else { body };
        Json::parse(&body, &json::Limits::default())
            .map_err(|error| Fault::malformed(error.to_string()))?;
        serde_json::from_slice(&body)
            .map_err(|error| Fault::malformed(pairs::told(&error.to_string())))
    }

    /// The body as a form (`application/x-www-form-urlencoded`), typed and strict likewise.
    pub(crate) async fn form<T: DeserializeOwned>(&mut self, app: &App) -> Result<T, Fault> {
        let body = self.body(app).await?;
        let kind = self.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if !kind.is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded")) {
            return Err(Fault::malformed("the body has to be application/x-www-form-urlencoded"));
        }
        pairs::typed(pairs::decode(&body)?.iter())
    }
}

/// An answer in JSON.
pub(crate) fn json_answer(status: StatusCode, value: &impl Serialize) -> Result<Response, Fault> {
    let body = serde_json::to_vec(value).map_err(|error| Fault::internal(&error))?;
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

/// `200` with JSON.
pub(crate) fn ok(value: &impl Serialize) -> Result<Response, Fault> {
    json_answer(StatusCode::OK, value)
}

/// `201` with JSON.
pub(crate) fn created(value: &impl Serialize) -> Result<Response, Fault> {
    json_answer(StatusCode::CREATED, value)
}
