//! What a request presents: its credentials, and what it says of tenant and environment.
//!
//! Nothing is chosen here. Every header that may hold a credential is read, every value of it;
//! whether they agree is for the doors to say.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use scope::{Claim, Error, Names, Presented};
use zeroize::Zeroizing;

use model::ClaimPath;

use crate::settings::Identity;

/// Headers besides `Authorization` in which SDKs send their key.
const KEY_HEADERS: [&str; 2] = ["x-api-key", "api-key"];

/// Where requests may name a tenant or an environment.
#[derive(Debug)]
pub(crate) struct Extract {
    headers: Vec<(HeaderName, String, Names)>,
    fields: Vec<(String, String, Names)>,
}

impl Extract {
    pub(crate) fn new(identity: &Identity, claims: &[ClaimPath]) -> Self {
        let of = |names: &[String], what| {
            names
                .iter()
                .filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok())
                .map(move |name| (name.clone(), format!("header {name}"), what))
                .collect::<Vec<_>>()
        };
        let mut headers = of(&identity.tenant_headers, Names::Tenant);
        headers.extend(of(&identity.environment_headers, Names::Environment));
        // What may stand at the top of a body may stand in a query, too.
        let fields = claims
            .iter()
            .filter(|claim| !claim.path.contains('.'))
            .map(|ClaimPath { path, names }| {
                (path.clone(), format!("query {path}"), Names::from(*names))
            })
            .collect();
        Self { headers, fields }
    }

    /// What a request to the data plane presents.
    pub(crate) fn presented<'a>(
        &'a self,
        headers: &'a HeaderMap,
        query: &'a [(String, String)],
    ) -> Result<Presented<'a>, Error> {
        let mut presented = Presented { credentials: bearers(headers)?, claims: Vec::new() };
        if !ids::planted::is("server-ignores-tenant-header") {
            presented.claims = self.claims(headers, query);
        }
        Ok(presented)
    }

    /// What headers and query say of tenant and environment.
    pub(crate) fn claims<'a>(
        &'a self,
        headers: &'a HeaderMap,
        query: &'a [(String, String)],
    ) -> Vec<Claim<'a>> {
        let mut claims = Vec::new();
        for (name, place, names) in &self.headers {
            for value in headers.get_all(name) {
                // What is not even text names nobody, so it disagrees.
                let value = value.to_str().unwrap_or("\u{fffd}");
                claims.push(Claim { place, names: *names, value });
            }
        }
        for (name, value) in query {
            for (_, place, names) in self.fields.iter().filter(|(field, ..)| same(field, name)) {
                claims.push(Claim { place, names: *names, value });
            }
        }
        claims
    }

    /// Whether a query parameter is a claim, and not one of the route's own.
    pub(crate) fn is_claim(&self, parameter: &str) -> bool {
        self.fields.iter().any(|(field, ..)| same(field, parameter))
    }
}

/// Whether two names are the same word, whatever the case, `-` and `_`: as fields of a body are
/// compared.
pub(crate) fn same(a: &str, b: &str) -> bool {
    fn folded(text: &str) -> impl Iterator<Item = u8> {
        text.bytes().filter(|b| !matches!(b, b'-' | b'_')).map(|b| b.to_ascii_lowercase())
    }
    folded(a).eq(folded(b))
}

/// Every bearer credential of a request.
fn bearers(headers: &HeaderMap) -> Result<Vec<&str>, Error> {
    let mut found = Vec::with_capacity(1);
    for value in headers.get_all(header::AUTHORIZATION) {
        let (scheme, secret) = scheme(value)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Error::Malformed("`Authorization` has to be `Bearer` and a token"));
        }
        found.push(secret);
    }
    for name in KEY_HEADERS {
        for value in headers.get_all(name) {
            found.push(text(value)?.trim());
        }
    }
    if found.iter().any(|secret| secret.is_empty()) {
        return Err(Error::Malformed("it is empty"));
    }
    Ok(found)
}

/// The one credential of a request to the control plane.
pub(crate) fn one_bearer(headers: &HeaderMap) -> Result<&str, Error> {
    let found = bearers(headers)?;
    let (first, others) = found.split_first().ok_or(Error::Missing)?;
    if others.iter().any(|other| other != first) {
        return Err(Error::Mismatch("two different credentials in one request".into()));
    }
    Ok(first)
}

/// The client's credential at the token endpoint: `Bearer`, or `client_secret_basic` (RFC
/// 6749, section 2.3.1) with the service's name.
pub(crate) struct Client<'a> {
    pub(crate) name: Option<String>,
    pub(crate) secret: Cow<'a, str>,
}

pub(crate) fn client(headers: &HeaderMap) -> Result<Client<'_>, Error> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let basic = all.next().map(scheme).transpose()?;
    let Some((_, encoded)) = basic.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
    else {
        return Ok(Client { name: None, secret: one_bearer(headers)?.into() });
    };
    if all.next().is_some() || KEY_HEADERS.iter().any(|name| headers.contains_key(*name)) {
        return Err(Error::Mismatch("two credentials in one request".into()));
    }
    let malformed = || Error::Malformed("`Basic` and base64 of `name:secret`");
    let decoded = Zeroizing::new(STANDARD.decode(encoded).map_err(|_| malformed())?);
    let pair = std::str::from_utf8(&decoded).map_err(|_| malformed())?;
    let (name, secret) = pair.split_once(':').ok_or_else(malformed)?;
    Ok(Client { name: Some(name.to_owned()), secret: secret.to_owned().into() })
}

fn scheme(value: &HeaderValue) -> Result<(&str, &str), Error> {
    let value = text(value)?.trim();
    let (scheme, secret) =
        value.split_once(' ').ok_or(Error::Malformed("`Authorization` has no scheme"))?;
    Ok((scheme, secret.trim()))
}

fn text(value: &HeaderValue) -> Result<&str, Error> {
    value.to_str().map_err(|_| Error::Malformed("a header that is not text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v)))
            .collect()
    }

    #[test]
    fn every_credential_of_every_header_is_presented() {
        let all = headers(&[
            ("authorization", "Bearer a"),
            ("authorization", "bearer  b"),
            ("x-api-key", "c"),
            ("api-key", "d"),
        ]);
        assert_eq!(bearers(&all).unwrap(), ["a", "b", "c", "d"]);
        assert_eq!(one_bearer(&all).unwrap_err().code(), "scope.mismatch");
        for bad in ["Basic YTpi", "Bearer", "Bearer ", "token"] {
            let refused = bearers(&headers(&[("authorization", bad)])).unwrap_err();
            assert_eq!(refused.code(), "scope.malformed", "{bad}");
        }
    }

    #[test]
    fn the_token_endpoint_takes_basic_too() {
        let given = headers(&[("authorization", "Basic YmFja2VuZDpic18x")]);
        let client = client(&given).unwrap();
        assert_eq!((client.name.as_deref(), &*client.secret), (Some("backend"), "bs_1"));
        let two = headers(&[("authorization", "Basic YmFja2VuZDpic18x"), ("api-key", "x")]);
        assert_eq!(super::client(&two).err().map(|e| e.code()), Some("scope.mismatch"));
    }

    #[test]
    fn every_claim_is_read_and_none_is_chosen() {
        let extract = Extract::new(&Identity::default(), &model::Limits::default().claims);
        let headers = headers(&[
            ("x-tenant-id", "acme"),
            ("x-tenant-id", "globex"),
            ("x-environment", "live"),
            ("x-other", "globex"),
        ]);
        let query = ["tenant_id", "tenantId", "Tenant-ID", "tenants"]
            .map(|name| (name.to_owned(), "initech".to_owned()));
        let claims = extract.claims(&headers, &query);
        let said: Vec<_> = claims.iter().map(|c| (c.place, c.value)).collect();
        assert_eq!(
            said,
            [
                ("header x-tenant-id", "acme"),
                ("header x-tenant-id", "globex"),
                ("header x-environment", "live"),
                ("query tenant_id", "initech"),
                ("query tenant_id", "initech"),
                ("query tenant_id", "initech"),
            ]
        );
        assert!(extract.is_claim("tenantId") && !extract.is_claim("tenants"));
    }
}
