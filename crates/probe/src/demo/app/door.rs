//! Who asks.

use std::sync::PoisonError;

use axum::http::{HeaderMap, Uri};
use serde_json::Value;

use super::{Service, Tenant};

/// What customers are called.
const NAMES: [(&str, Tenant); 4] = [
    ("acme", Tenant::Acme),
    ("org_acme", Tenant::Acme),
    ("globex", Tenant::Globex),
    ("org_globex", Tenant::Globex),
];
const PEOPLE: [(&str, Tenant); 2] =
    [("ops@acme.test", Tenant::Acme), ("ops@globex.test", Tenant::Globex)];

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// 401.
    Unproven,
    /// 403: what it says of itself contradicts its credential.
    Contradicting,
}

impl Service {
    /// Whose request this is.
    pub(super) fn who(
        &self,
        headers: &HeaderMap,
        uri: &Uri,
        body: &Value,
    ) -> Result<Tenant, Refused> {
        let presented = presented(headers);
        let mut proven = Vec::new();
        for token in &presented {
            proven.push(self.prove(token));
            if self.wrong("app-first-credential-wins") {
                break;
            }
        }
        let tenant = match proven.as_slice() {
            [] if self.wrong("app-no-credential") && !uri.path().contains("/docs") => Tenant::Acme,
            [Some(first), others @ ..] if others.iter().all(|other| *other == Some(*first)) => {
                *first
            }
            _ => return Err(Refused::Unproven),
        };
        self.named(tenant, headers, uri, body)
    }

    /// Whoever has this token.
    fn prove(&self, token: &str) -> Option<Tenant> {
        let cut: String = match self.wrong("app-token-prefix") {
            true => token.chars().take(20).collect(),
            false => token.to_owned(),
        };
        let mut proven = self.proven.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = proven.get(&cut) {
            return Some(*known);
        }
        let found = match token {
            token if token == self.cast.a => Tenant::Acme,
            token if token == self.cast.b => Tenant::Globex,
            token if token == self.cast.expired && self.wrong("app-expired-accepted") => {
                Tenant::Acme
            }
            _ => return None,
        };
        proven.insert(cut, found);
        Some(found)
    }

    /// What a request says of whose it is, held against the credential, or believed.
    fn named(
        &self,
        tenant: Tenant,
        headers: &HeaderMap,
        uri: &Uri,
        body: &Value,
    ) -> Result<Tenant, Refused> {
        let in_headers = headers.iter().filter(|(name, _)| names_tenant(name.as_str()));
        let in_headers = in_headers.filter_map(|(_, value)| of(&NAMES, value.to_str().ok()?));
        let fields = body.as_object().into_iter().flatten();
        let fields =
            fields.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
        let arguments = fields.chain(query(uri)).filter(|(name, _)| names_tenant(name));
        let arguments = arguments.filter_map(|(_, value)| of(&NAMES, &value));
        let people = headers.iter().filter(|(name, _)| names_person(name.as_str()));
        let people = people.filter_map(|(_, value)| of(&PEOPLE, value.to_str().ok()?));
        let fields = body.as_object().into_iter().flatten();
        let people = people.chain(fields.filter_map(|(name, value)| {
            names_person(name).then(|| of(&PEOPLE, value.as_str()?)).flatten()
        }));
        for (named, believed) in in_headers
            .map(|named| (named, self.wrong("app-tenant-header")))
            .chain(arguments.map(|named| (named, self.wrong("app-tenant-argument"))))
            .chain(people.map(|named| (named, self.wrong("app-email-is-identity"))))
        {
            match (named == tenant, believed) {
                (true, _) => {}
                (false, true) => return Ok(named),
                (false, false) => return Err(Refused::Contradicting),
            }
        }
        Ok(tenant)
    }

    /// Whether an operator asks.
    pub(super) fn is_operator(&self, headers: &HeaderMap) -> bool {
        presented(headers).as_slice() == [self.operator.as_str()]
    }

    /// Whether a customer asks, whichever.
    pub(super) fn is_tenant(&self, headers: &HeaderMap) -> bool {
        presented(headers).iter().any(|token| self.prove(token).is_some())
    }
}

/// Every credential of a request.
fn presented(headers: &HeaderMap) -> Vec<&str> {
    let bearer = headers.get_all("authorization").iter().filter_map(|value| value.to_str().ok());
    let bearer = bearer.map(|value| value.split_once(' ').map_or(value, |(_, token)| token));
    let keys = headers.get_all("x-api-key").iter().filter_map(|value| value.to_str().ok());
    bearer.chain(keys).collect()
}

fn of(known: &[(&str, Tenant)], name: &str) -> Option<Tenant> {
    let found = known.iter().find(|(own, _)| own.eq_ignore_ascii_case(name.trim()));
    found.map(|(_, tenant)| *tenant)
}

fn names_tenant(field: &str) -> bool {
    let field = field.to_ascii_lowercase();
    ["tenant", "org", "workspace", "customer", "account", "team"]
        .iter()
        .any(|word| field.contains(word))
}

fn names_person(field: &str) -> bool {
    let field = field.to_ascii_lowercase();
    field != "user-agent" && (field.contains("email") || field.contains("user"))
}

fn query(uri: &Uri) -> impl Iterator<Item = (String, String)> {
    let pairs = uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.replace("%40", "@")))
}
