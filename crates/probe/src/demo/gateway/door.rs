//! Who asks.

use axum::{
    http::{HeaderMap, StatusCode, Uri},
    response::Response,
};
use serde_json::Value;

use super::{Gateway, Tenant, refusal};

const ACME: [&str; 3] = ["acme", "org_acme", "ops@acme.test"];
const GLOBEX: [&str; 3] = ["globex", "org_globex", "ops@globex.test"];

/// Fields that hold what people say, and not who they are.
const CONTENT: [&str; 5] = ["messages", "input", "items", "content", "system"];

impl Gateway {
    /// Whose request this is. Every credential has to prove the same customer, and nothing in it
    /// may name another.
    #[expect(clippy::result_large_err, reason = "a refusal is an answer, and is sent at once")]
    pub(super) fn who(
        &self,
        headers: &HeaderMap,
        uri: &Uri,
        body: &Value,
    ) -> Result<Tenant, Response> {
        let unproven = || refusal(StatusCode::UNAUTHORIZED, "no valid credential");
        let mut presented = presented(headers, uri);
        if self.wrong("gateway-first-credential-wins") {
            presented.truncate(1);
        }
        let mut proven = presented.iter().map(|token| self.prove(token));
        let tenant = proven.next().flatten().ok_or_else(unproven)?;
        if proven.any(|other| other != Some(tenant)) {
            return Err(unproven());
        }
        drop(proven);
        let (own, others) = match tenant {
            Tenant::Acme => (ACME, GLOBEX),
            Tenant::Globex => (GLOBEX, ACME),
        };
        let named = said(headers, uri, body);
        let contradicts = named.iter().any(|(name, value)| {
            let is = |known: &&str| known.eq_ignore_ascii_case(value.trim());
            others.iter().any(is) || names_tenant(name) && !own.iter().any(is)
        });
        if contradicts {
            return Err(refusal(StatusCode::FORBIDDEN, "the request names another customer"));
        }
        Ok(tenant)
    }

    /// Whoever has this token.
    fn prove(&self, token: &str) -> Option<Tenant> {
        let key: String = match self.wrong("gateway-token-prefix") {
            true => token.chars().take(20).collect(),
            false => token.to_owned(),
        };
        let mut store = self.store();
        if let Some(known) = store.proven.get(&key) {
            return Some(*known);
        }
        let tenant = match token {
            token if token == self.cast.a => Tenant::Acme,
            token if token == self.cast.b => Tenant::Globex,
            _ => return None,
        };
        store.proven.insert(key, tenant);
        Some(tenant)
    }
}

/// Every credential, wherever it stands.
fn presented(headers: &HeaderMap, uri: &Uri) -> Vec<String> {
    let mut all = Vec::new();
    for name in ["authorization", "proxy-authorization", "x-api-key", "api-key"] {
        for value in headers.get_all(name) {
            // What is not text proves nobody.
            let value = value.to_str().unwrap_or_default().trim();
            all.push(value.strip_prefix("Bearer ").unwrap_or(value).to_owned());
        }
    }
    let tokens = ["access_token", "api_key", "key", "token"];
    all.extend(query(uri).filter(|(name, _)| tokens.contains(&name.as_str())).map(|(_, v)| v));
    all
}

/// Everything in a request, apart from what people say in it, by the name that it stands under.
fn said(headers: &HeaderMap, uri: &Uri, body: &Value) -> Vec<(String, String)> {
    let in_headers = headers.iter().filter_map(|(name, value)| {
        Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
    });
    let mut all: Vec<_> = in_headers.chain(query(uri)).collect();
    fields("", body, &mut all);
    all
}

fn fields(name: &str, value: &Value, all: &mut Vec<(String, String)>) {
    match value {
        Value::String(text) => all.push((name.to_owned(), text.clone())),
        Value::Array(values) => values.iter().for_each(|value| fields(name, value, all)),
        Value::Object(object) => {
            let object = object.iter().filter(|(name, _)| !CONTENT.contains(&name.as_str()));
            object.for_each(|(name, value)| fields(name, value, all));
        }
        _ => {}
    }
}

/// Whether this can only be who somebody is.
fn names_tenant(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace(['-', '_'], "");
    ["tenant", "organization", "orgid", "workspace", "customer", "accountid", "teamid"]
        .iter()
        .any(|word| name.contains(word))
}

fn query(uri: &Uri) -> impl Iterator<Item = (String, String)> {
    let query = uri.query().unwrap_or_default().to_owned();
    let pairs: Vec<_> = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.replace("%40", "@")))
        .collect();
    pairs.into_iter()
}
