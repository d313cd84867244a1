//! The control plane: every route of it, with tenants' credentials and with none.

use http::Method;
use serde_json::{Value, json};

use super::{
    Known,
    desk::{Desk, name},
};
use crate::{
    canary::Side,
    catalog,
    lab::{Caller, Lab},
    sheet::Sheet,
    verdict::{Halt, Trial},
    wire::{Exchange, Request},
};

/// Every route that no tenant may use, as version 1 of the API has them; what the deployment itself
/// lists is asked besides.
#[rustfmt::skip]
pub static ROUTES: &[(&str, &str)] = &[
    ("GET", "/metrics"),
    ("POST", "/oauth/token"),
    ("GET", "/admin/v1/openapi.json"),
    ("GET", "/admin/v1/status"),
    ("POST", "/admin/v1/backup"),
    ("GET", "/admin/v1/probe"),
    ("POST", "/admin/v1/probe"),
    ("GET", "/admin/v1/policy"),
    ("POST", "/admin/v1/policy/reload"),
    ("POST", "/admin/v1/keys/root/rotate"),
    ("POST", "/admin/v1/signing-keys/rotate"),
    ("GET", "/admin/v1/audit"),
    ("GET", "/admin/v1/audit/head"),
    ("GET", "/admin/v1/audit/export"),
    ("GET", "/admin/v1/audit/verify"),
    ("GET", "/admin/v1/tenants"),
    ("POST", "/admin/v1/tenants"),
    ("PUT", "/admin/v1/tenants"),
    ("GET", "/admin/v1/tenants/{tenant}"),
    ("PATCH", "/admin/v1/tenants/{tenant}"),
    ("DELETE", "/admin/v1/tenants/{tenant}"),
    ("POST", "/admin/v1/tenants/{tenant}/suspend"),
    ("POST", "/admin/v1/tenants/{tenant}/resume"),
    ("POST", "/admin/v1/tenants/{tenant}/revoke"),
    ("GET", "/admin/v1/tenants/{tenant}/run-grants"),
    ("GET", "/admin/v1/tenants/{tenant}/environments/{environment}/keys"),
    ("POST", "/admin/v1/tenants/{tenant}/environments/{environment}/keys"),
    ("POST", "/admin/v1/keys/{id}/rotate"),
    ("DELETE", "/admin/v1/keys/{id}"),
    ("POST", "/admin/v1/tokens"),
    ("POST", "/admin/v1/revocations"),
    ("GET", "/admin/v1/services"),
    ("POST", "/admin/v1/services"),
    ("DELETE", "/admin/v1/services/{name}"),
    ("GET", "/admin/v1/operators"),
    ("POST", "/admin/v1/operators"),
    ("DELETE", "/admin/v1/operators/{name}"),
    ("GET", "/admin/v1/tenants/{tenant}/environments/{environment}/credentials"),
    ("PUT", "/admin/v1/tenants/{tenant}/environments/{environment}/credentials/{provider}"),
    ("DELETE", "/admin/v1/tenants/{tenant}/environments/{environment}/credentials/{provider}"),
    ("GET", "/admin/v1/tenants/{tenant}/environments/{environment}/models"),
    ("POST", "/admin/v1/tenants/{tenant}/environments/{environment}/models/test"),
    ("POST", "/admin/v1/tenants/{tenant}/environments/{environment}/data-key/rotate"),
    ("GET", "/admin/v1/tenants/{tenant}/environments/{environment}/audit"),
    ("GET", "/admin/v1/tenants/{tenant}/environments/{environment}/audit/head"),
    ("GET", "/admin/v1/tenants/{tenant}/environments/{environment}/audit/export"),
    ("GET", "/admin/v1/tenants/{tenant}/environments/{environment}/audit/verify"),
    ("GET", "/admin/v1/tenants/{tenant}/environments/{environment}/events"),
    ("GET", "/admin/v1/tenants/{tenant}/environments/{environment}/collections"),
    ("GET", "/admin/v1/tenants/{tenant}/environments/{environment}/collections/{collection}"),
    ("PUT", "/admin/v1/tenants/{tenant}/environments/{environment}/collections/{collection}"),
    ("GET", "/admin/v1/tenants/{tenant}/environments/{environment}/collections/{collection}/verify"),
    ("POST", "/admin/v1/tenants/{tenant}/environments/{environment}/collections/{collection}/rebuild"),
    ("POST", "/admin/v1/tenants/{tenant}/environments/{environment}/collections/{collection}/erase"),
    ("PUT", "/admin/v1/tenants/{tenant}/environments/{environment}/collections/{collection}/index"),
    ("PUT", "/admin/v1/tenants/{tenant}/environments/{environment}/collections/{collection}/points"),
    ("GET", "/admin/v1/quarantine"),
    ("GET", "/admin/v1/quarantine/{id}"),
    ("POST", "/admin/v1/quarantine/{id}/settle"),
    ("GET", "/admin/v1/reviews"),
    ("GET", "/admin/v1/tenants/{tenant}/environments/{environment}/reviews"),
    ("GET", "/admin/v1/tenants/{tenant}/environments/{environment}/reviews/{id}"),
    ("POST", "/admin/v1/tenants/{tenant}/environments/{environment}/reviews/{id}/decide"),
    ("POST", "/admin/v1/tenants/{tenant}/environments/{environment}/reviews/{id}/settle"),
    ("POST", "/admin/v1/tenants/{tenant}/environments/{environment}/reviews/{id}/edit"),
    ("GET", "/admin/v1/tenants/{tenant}/environments/{environment}/tools/mode"),
    ("PUT", "/admin/v1/tenants/{tenant}/environments/{environment}/tools/mode"),
    ("POST", "/admin/v1/tenants/{tenant}/environments/{environment}/tools/{tool}/call"),
    ("POST", "/admin/v1/tenants/{tenant}/environments/{environment}/tools/{tool}/test"),
    ("GET", "/admin/v1/tools"),
    ("POST", "/admin/v1/tools/{tool}/pin"),
];

/// A path that no version has.
const DECOY: &str = "/admin/v1/bulkhead-probe-decoy";
/// Names nothing that is there: what changes things must change nothing, should it be let in.
const NOBODY: &str = "bulkhead-probe-nobody";

pub(super) async fn all(desk: &Desk<'_>, known: &Known<'_>, lab: &Lab, sheet: &mut Sheet<'_>) {
    if known.control.is_none() {
        return;
    }
    sheet
        .run(&catalog::ADMIN_ROUTE, "control plane", async |trial| {
            check(desk, known, lab, trial).await
        })
        .await;
}

/// A route as it is tried.
struct Try {
    method: Method,
    path: String,
}

impl Try {
    /// Reading is tried with A's own names; what changes things, with names that nothing has.
    fn of(method: &str, template: &str, (tenant, environment): (&str, &str)) -> Option<Self> {
        let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes()).ok()?;
        let reads = method == Method::GET;
        let fill = |name: &str| match name {
            "tenant" if reads => tenant.to_owned(),
            "environment" if reads => environment.to_owned(),
            "id" => "0".repeat(32),
            _ => NOBODY.to_owned(),
        };
        let mut path = String::new();
        for part in template.split('/').skip(1) {
            let name = part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
            path.push('/');
            path.push_str(&name.map_or_else(|| part.to_owned(), fill));
        }
        Some(Self { method, path })
    }

    fn request(&self, desk: &Desk<'_>) -> Result<Request, Halt> {
        let request = Request::new(self.method.clone(), desk.at(&self.path)?)
            .header("x-bulkhead-reason", super::desk::REASON);
        // No route takes such a field: who is let in is told so, and nothing is done.
        let nothing = json!({ "bulkhead_probe": true });
        Ok(if self.method == Method::GET { request } else { request.json(&nothing) })
    }
}

async fn check(
    desk: &Desk<'_>,
    known: &Known<'_>,
    lab: &Lab,
    trial: &mut Trial,
) -> Result<(), Halt> {
    let environment = known.more.environments.first().map_or("live", String::as_str);
    let whose = (name(lab, Side::A).unwrap_or(NOBODY), environment);
    let mut tries: Vec<Try> =
        ROUTES.iter().filter_map(|(method, path)| Try::of(method, path, whose)).collect();
    tries.extend(listed(desk, lab, trial, whose).await?);
    let nobody = lab.nobody();
    let decoy = Try { method: Method::GET, path: DECOY.into() };
    let mut there = 0;
    for one in &tries {
        for by in [lab.caller(Side::B), lab.caller(Side::A), &nobody] {
            let exchange = lab.patiently(by, one.request(desk)?).await?;
            there += usize::from(by.side.is_none() && exchange.status() == 401);
            judge(trial, by, one, &exchange);
        }
    }
    for by in [lab.caller(Side::B), &nobody] {
        let exchange = lab.patiently(by, decoy.request(desk)?).await?;
        trial.negative(exchange.status() == 404, "what is not there is not answered");
    }
    let note = format!("{there} of {} routes ask nobody for a credential", tries.len());
    trial.positive(there * 10 >= tries.len() * 9, note);
    trial.summary(format!("{} routes refused to tenants and to nobody", tries.len()));
    Ok(())
}

/// What the deployment itself says that there is, and this list does not know.
async fn listed(
    desk: &Desk<'_>,
    lab: &Lab,
    trial: &mut Trial,
    whose: (&str, &str),
) -> Result<Vec<Try>, Halt> {
    if desk.operator().is_err() {
        return Ok(Vec::new());
    }
    let document = desk.sees(lab, "/admin/v1/openapi.json").await?;
    trial.positive(document.accepted(), "an operator is let in");
    let document = document.json();
    let mut more = Vec::new();
    for (path, methods) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in methods.as_object().into_iter().flatten() {
            let control = operation["tags"]
                .as_array()
                .is_some_and(|tags| tags.iter().any(|tag| tag == "control"));
            let open = operation["security"].as_array().is_none_or(Vec::is_empty);
            let known =
                ROUTES.iter().any(|(m, p)| m.eq_ignore_ascii_case(method) && *p == path.as_str());
            if control && !open && !known {
                more.extend(Try::of(method, path, whose));
            }
        }
    }
    Ok(more)
}

/// A tenant's credential is turned away at the door, and nothing of what is behind shows.
fn judge(trial: &mut Trial, by: &Caller, one: &Try, exchange: &Exchange) {
    let Try { method, path } = one;
    let who = by.side.map_or("anybody".to_owned(), |side| side.name().to_uppercase());
    match (exchange.status(), code(exchange).as_str()) {
        (401, _) | (404, "not_found") => trial.attacked(),
        (403, code) if code.starts_with("scope.") => trial.attacked(),
        (200..300, _) => {
            trial.attacked();
            trial.leak(format!("{who} opened {method} {path}"), &[exchange]);
        }
        (400..500, code) if !matches!(exchange.status(), 408 | 429) => {
            trial.attacked();
            trial.leak(format!("{who} was let in at {method} {path} ({code})"), &[exchange]);
        }
        (status, _) => trial.doubt(format!("{method} {path} was answered {status}")),
    }
}

fn code(exchange: &Exchange) -> String {
    let json = exchange.json();
    json.get("code").and_then(Value::as_str).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_things_names_nothing_that_is_there() {
        let path = "/admin/v1/tenants/{tenant}/environments/{environment}/credentials/{provider}";
        let read = Try::of("get", path, ("acme", "live")).unwrap();
        assert_eq!(
            read.path,
            format!("/admin/v1/tenants/acme/environments/live/credentials/{NOBODY}")
        );
        for (method, path) in ROUTES.iter().filter(|(method, _)| *method != "GET") {
            let one = Try::of(method, path, ("acme", "live")).unwrap();
            assert!(!one.path.contains("acme") && !one.path.contains("live"), "{}", one.path);
        }
    }
}
