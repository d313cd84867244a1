//! A request as a handler sees it: bounded, and strict about what it does not know.

use axum::{
    body::{Body, Bytes},
    extract::RawPathParams,
    response::Response,
};
use http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};
use http_body_util::BodyExt as _;
use ids::{
    RequestId,
    json::{self, Json},
};
use parking_lot::Mutex;
use scope::{Scope, Write};
use serde::{Serialize, de::DeserializeOwned};

use crate::{App, fault::Fault, load::Charge, pairs};

/// What is set aside for a body at first.
const FIRST: usize = 64 * 1024;

/// A request behind its route.
pub(crate) struct Ask {
    pub(crate) request: RequestId,
    pub(crate) parts: Parts,
    pub(crate) query: Vec<(String, String)>,
    params: Vec<(String, String)>,
    /// Never locked, only had by `&mut`: a body is not `Sync`, and handlers share the rest.
    body: Mutex<Body>,
    /// What an operator's or a service's body counts.
    charge: Option<Charge>,
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
        Ok(Self { request, parts, query, params, body: Mutex::new(body), charge: None })
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

    /// The body of an operator's or a service's request, bounded in size and time, for whoever
    /// reads it strictly.
    pub(crate) async fn bytes(&mut self, app: &App) -> Result<Bytes, Fault> {
        let mut charge = app.load.body_of_staff();
        let body = self.read(app, app.settings.limits.body_bytes, &mut charge).await?;
        self.charge = Some(charge);
        Ok(body)
    }

    /// The body of a tenant's request, bounded in size and time, and by what the tenant has in
    /// memory already; the charge is for as long as the body is there.
    pub(crate) async fn body_of(
        &mut self,
        app: &App,
        scope: &Scope<Write>,
        most: usize,
    ) -> Result<(Bytes, Charge), Fault> {
        let mut charge = app.load.body_of(scope);
        let most = most.min(app.settings.limits.body_bytes);
        let body = self.read(app, most, &mut charge).await?;
        Ok((body, charge))
    }

    async fn read(&mut self, app: &App, most: usize, charge: &mut Charge) -> Result<Bytes, Fault> {
        let too_large =
            || Fault::new("request.too_large", format!("a body is {most} bytes at most"));
        let declared = self.headers().get(header::CONTENT_LENGTH);
        let declared = declared.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if declared.is_some_and(|length| length > most) {
            return Err(too_large());
        }
        let expected = declared.unwrap_or(most);
        let mut body = std::mem::take(self.body.get_mut());
        // Into one buffer: however small the pieces are in which it comes, it takes no more
        // memory than it is charged for.
        let mut whole = Vec::new();
        let reading = async {
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|_| Fault::malformed("the body broke off"))?;
                let Ok(piece) = frame.into_data() else { continue };
                if piece.len() > most - whole.len() {
                    return Err(too_large());
                }
                make_room(&mut whole, piece.len(), expected, charge)?;
                whole.extend_from_slice(&piece);
            }
            Ok(())
        };
        match tokio::time::timeout(app.settings.limits.body_time(), reading).await {
            Ok(read) => read?,
            Err(_) => return Err(Fault::new("request.timeout", "the body took too long")),
        }
        Ok(whole.into())
    }

    /// The body as JSON, typed; a field that the route does not know is refused by name, and
    /// so is one that is there twice.
    pub(crate) async fn json<T: DeserializeOwned>(&mut self, app: &App) -> Result<T, Fault> {
        let body = self.bytes(app).await?;
        let body = if body.is_empty() { Bytes::from_static(b"{}") } else { body };
        Json::parse(&body, &json::Limits::default())
            .map_err(|error| Fault::malformed(error.to_string()))?;
        serde_json::from_slice(&body)
            .map_err(|error| Fault::malformed(pairs::told(&error.to_string())))
    }

    /// The body as a form (`application/x-www-form-urlencoded`), typed and strict likewise.
    pub(crate) async fn form<T: DeserializeOwned>(&mut self, app: &App) -> Result<T, Fault> {
        let body = self.bytes(app).await?;
        let kind = self.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if !kind.is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded")) {
            return Err(Fault::malformed("the body has to be application/x-www-form-urlencoded"));
        }
        pairs::typed(pairs::decode(&body)?.iter())
    }
}

/// Room for `more` bytes. It doubles, so that what was only announced takes nothing.
fn make_room(
    whole: &mut Vec<u8>,
    more: usize,
    expected: usize,
    charge: &mut Charge,
) -> Result<(), Fault> {
    let needed = whole.len() + more;
    if needed > whole.capacity() {
        let room = (whole.capacity() * 2).max(FIRST).min(expected).max(needed);
        charge.grow_to(room)?;
        whole.reserve_exact(room - whole.len());
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{load::Load, settings::Limits};

    #[test]
    fn a_body_takes_what_it_is_charged_for_however_it_comes() {
        const MOST: usize = 3 << 20;
        for (expected, sent) in [(MOST, 1 << 20), (1 << 20, 1 << 20), (MOST, 100), (100, 100)] {
            let load = Load::new(&Limits::default());
            let (mut whole, mut charge) = (Vec::new(), load.body_of_staff());
            for _ in 0..sent {
                make_room(&mut whole, 1, expected, &mut charge).unwrap();
                whole.push(b'x');
            }
            assert_eq!(charge.bytes(), whole.capacity(), "{expected} {sent}");
            assert!(whole.capacity() <= expected.min((2 * sent).max(FIRST)), "{expected} {sent}");
        }
    }
}
