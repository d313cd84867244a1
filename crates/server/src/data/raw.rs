//! Values of agents as they are: bytes with a type, in and out, under conditions (RFC 9110,
//! section 13). Nothing of it is ours to understand, and no browser is to understand it either.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    response::Response,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::fault::Fault;

/// How many seconds a value is kept.
const TTL: HeaderName = HeaderName::from_static("x-bulkhead-ttl");
/// What a value is if its writer does not say.
const BYTES: &str = "application/octet-stream";
/// `ETag`s in one condition, at most.
const MOST_TAGS: usize = 16;

/// One header's value, as text; nothing if it is not there.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Fault> {
    let mut all = headers.get_all(name).iter();
    let Some(value) = all.next() else { return Ok(None) };
    let malformed = || Fault::malformed(format!("{name} has to be text, and there once"));
    if all.next().is_some() {
        return Err(malformed());
    }
    Ok(Some(value.to_str().map_err(|_| malformed())?.trim()))
}

/// The type that a body is said to have.
pub(crate) fn content_type(headers: &HeaderMap) -> Result<&str, Fault> {
    Ok(one(headers, &header::CONTENT_TYPE)?.filter(|kind| !kind.is_empty()).unwrap_or(BYTES))
}

/// How long a value is to be kept, if that is said.
pub(crate) fn ttl(headers: &HeaderMap) -> Result<Option<Duration>, Fault> {
    let Some(seconds) = one(headers, &TTL)? else { return Ok(None) };
    match seconds.parse() {
        Ok(seconds) if seconds > 0 => Ok(Some(Duration::from_secs(seconds))),
        _ => Err(Fault::malformed(format!("{TTL} is a number of seconds, 1 or more"))),
    }
}

/// What a condition names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Tags<'a> {
    /// `*`: whatever there is.
    Any,
    These(Vec<&'a str>),
}

/// Under which conditions something is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Conditions<'a> {
    pub(crate) matches: Option<Tags<'a>>,
    pub(crate) none_match: Option<Tags<'a>>,
}

/// Under which condition something is changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change<'a> {
    Always,
    /// There is nothing yet.
    Create,
    /// There is something.
    Replace,
    /// It is as this `ETag` says.
    If(&'a str),
}

impl<'a> Conditions<'a> {
    pub(crate) fn of(headers: &'a HeaderMap) -> Result<Self, Fault> {
        for name in [header::IF_MODIFIED_SINCE, header::IF_UNMODIFIED_SINCE, header::IF_RANGE] {
            if headers.contains_key(&name) {
                return Err(Fault::new(
                    "request.unsupported",
                    format!("{name} is not for here; use If-Match or If-None-Match"),
                ));
            }
        }
        let matches = one(headers, &header::IF_MATCH)?.map(tags).transpose()?;
        let none_match = one(headers, &header::IF_NONE_MATCH)?.map(tags).transpose()?;
        Ok(Self { matches, none_match })
    }

    /// What is asked of a change.
    pub(crate) fn change(&self) -> Result<Change<'a>, Fault> {
        match (&self.matches, &self.none_match) {
            (None, None) => Ok(Change::Always),
            (None, Some(Tags::Any)) => Ok(Change::Create),
            (Some(Tags::Any), None) => Ok(Change::Replace),
            (Some(Tags::These(tags)), None) if tags.len() == 1 => Ok(Change::If(tags[0])),
            _ => Err(Fault::malformed(
                "a change takes `If-Match` with one ETag or `*`, or `If-None-Match: *`",
            )),
        }
    }

    /// Whether what is there, of this `ETag`, is to be shown.
    pub(crate) fn shown(&self, etag: &str) -> Shown {
        let strong = |tag: &&str| **tag == *etag;
        let weak = |tag: &&str| tag.strip_prefix("W/").unwrap_or(tag) == etag;
        match &self.matches {
            Some(Tags::These(tags)) if !tags.iter().any(strong) => return Shown::Conflict,
            _ => {}
        }
        match &self.none_match {
            Some(Tags::Any) => Shown::NotModified,
            Some(Tags::These(tags)) if tags.iter().any(weak) => Shown::NotModified,
            _ => Shown::Whole,
        }
    }
}

/// How a reading goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    Whole,
    NotModified,
    Conflict,
}

/// `*`, or a list of `ETag`s.
fn tags(text: &str) -> Result<Tags<'_>, Fault> {
    if text == "*" {
        return Ok(Tags::Any);
    }
    let tags: Vec<_> = text.split(',').map(str::trim).collect();
    let quoted = |tag: &&str| {
        let tag = tag.strip_prefix("W/").unwrap_or(tag);
        tag.len() >= 2 && tag.starts_with('"') && tag.ends_with('"')
    };
    if tags.len() > MOST_TAGS || !tags.iter().all(quoted) {
        return Err(Fault::malformed(format!(
            "a condition is `*` or up to {MOST_TAGS} ETags, each in its quotes"
        )));
    }
    Ok(Tags::These(tags))
}

/// A reading under its conditions: the value, or that it is known already.
pub(crate) fn reading(
    conditions: &Conditions<'_>,
    content_type: &str,
    etag: &str,
    bytes: Bytes,
) -> Result<Response, Fault> {
    match conditions.shown(etag) {
        Shown::Whole => Ok(value(content_type, etag, bytes)),
        Shown::NotModified => Ok(empty(StatusCode::NOT_MODIFIED, Some(etag))),
        Shown::Conflict => Err(cache::Error::Conflict.into()),
    }
}

/// An answer without a body, of this `ETag`.
pub(crate) fn empty(status: StatusCode, etag: Option<&str>) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    tag(&mut response, etag);
    response
}

/// A value as it was put.
pub(crate) fn value(content_type: &str, etag: &str, bytes: Bytes) -> Response {
    let mut response = inert(Some(content_type), bytes);
    tag(&mut response, Some(etag));
    response
}

/// Somebody else's bytes: no browser does anything with them.
pub(crate) fn inert(content_type: Option<&str>, bytes: Bytes) -> Response {
    let mut response = Response::new(Body::from(bytes));
    let headers = response.headers_mut();
    let content_type = content_type.unwrap_or(BYTES);
    let kind = HeaderValue::from_str(content_type);
    headers.insert(header::CONTENT_TYPE, kind.unwrap_or(HeaderValue::from_static(BYTES)));
    if !is_plain(content_type) {
        headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    }
    // Whoever brings a browser to open it anyway has it run nothing.
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    response
}

pub(crate) fn tag(response: &mut Response, etag: Option<&str>) {
    if let Some(Ok(etag)) = etag.map(HeaderValue::from_str) {
        response.headers_mut().insert(header::ETAG, etag);
    }
}

/// Whether a browser only shows it: data or text, and no page.
fn is_plain(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    ["application/json", "text/plain", BYTES].iter().any(|kind| essence.eq_ignore_ascii_case(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn a_change_has_one_condition() {
        for (pairs, expected) in [
            (&[][..], Some(Change::Always)),
            (&[("if-none-match", "*")], Some(Change::Create)),
            (&[("if-match", "*")], Some(Change::Replace)),
            (&[("if-match", " \"v1\" ")], Some(Change::If("\"v1\""))),
            (&[("if-match", "W/\"v1\"")], Some(Change::If("W/\"v1\""))),
            (&[("if-match", "\"v1\", \"v2\"")], None),
            (&[("if-none-match", "\"v1\"")], None),
            (&[("if-match", "*"), ("if-none-match", "*")], None),
            (&[("if-match", "v1")], None),
            (&[("if-match", "")], None),
            (&[("if-match", "\"")], None),
            (&[("if-match", "*"), ("if-match", "*")], None),
            (&[("if-unmodified-since", "yesterday")], None),
        ] {
            let headers = headers(pairs);
            let change = Conditions::of(&headers).and_then(|conditions| conditions.change());
            assert_eq!(change.ok(), expected, "{pairs:?}");
        }
    }

    #[test]
    fn a_reading_is_shown_or_not() {
        for (pairs, expected) in [
            (&[][..], Shown::Whole),
            (&[("if-none-match", "*")], Shown::NotModified),
            (&[("if-none-match", "\"a\", \"b\"")], Shown::NotModified),
            (&[("if-none-match", "W/\"b\"")], Shown::NotModified),
            (&[("if-none-match", "\"a\"")], Shown::Whole),
            (&[("if-match", "\"b\"")], Shown::Whole),
            (&[("if-match", "*")], Shown::Whole),
            (&[("if-match", "W/\"b\"")], Shown::Conflict),
            (&[("if-match", "\"a\""), ("if-none-match", "\"b\"")], Shown::Conflict),
        ] {
            let headers = headers(pairs);
            assert_eq!(Conditions::of(&headers).unwrap().shown("\"b\""), expected, "{pairs:?}");
        }
    }

    #[test]
    fn a_time_to_live_is_a_number_of_seconds() {
        for (text, expected) in
            [("60", Some(60)), ("0", None), ("-1", None), ("1.5", None), ("", None)]
        {
            let headers = headers(&[("x-bulkhead-ttl", text)]);
            let ttl = ttl(&headers).ok().flatten().map(|ttl| ttl.as_secs());
            assert_eq!(ttl, expected, "{text}");
        }
        assert_eq!(ttl(&HeaderMap::new()).unwrap(), None);
    }

    #[test]
    fn nothing_opens_in_a_browser() {
        for (kind, inline) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("text/plain", true),
            ("application/octet-stream", true),
            ("text/html", false),
            ("image/svg+xml", false),
            ("application/javascript", false),
            ("", false),
        ] {
            let headers = value(kind, "\"v1\"", Bytes::new()).headers().clone();
            assert_eq!(!headers.contains_key("content-disposition"), inline, "{kind}");
            assert_eq!(headers["content-security-policy"], "sandbox");
            assert_eq!(headers["etag"], "\"v1\"");
        }
    }
}
