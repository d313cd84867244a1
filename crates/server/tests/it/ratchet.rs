//! Every route of the table, held against every wrong credential. A route without a row here
//! fails; the list of public routes may only shrink.

use std::{collections::BTreeSet, time::Duration};

use bulkhead_server::routes::{Need, Plane, ROUTES, Route};
use http::Method;
use scope::Right;
use serde_json::{Value, json};

use super::{
    rig::{ALL, Headers, Reply, Rig, encode},
    upstream::{FORM, form},
};

/// Routes that need nothing. More than these would be a decision; fewer is progress.
const PUBLIC: usize = 6;

/// A route as it is tried: its method and path in the table, a body that is good, and the
/// status that the right credential gets. In the order in which they can all succeed.
type Row = (Plane, &'static str, &'static str, &'static str, u16);

use Plane::{Control, Data};

#[rustfmt::skip]
const TESTED: &[Row] = &[
    (Data, "POST", "/v1/chat/completions", r#"{"model":"plain","messages":[{"role":"user","content":"canary"}]}"#, 200),
    (Data, "POST", "/v1/responses", r#"{"model":"plain","input":"canary"}"#, 200),
    (Data, "GET", "/v1/responses/{id}", "", 200),
    (Data, "POST", "/v1/responses/{id}/cancel", "", 200),
    (Data, "GET", "/v1/responses/{id}/input_items", "", 200),
    (Data, "DELETE", "/v1/responses/{id}", "", 200),
    (Data, "POST", "/v1/conversations", r#"{"items":[{"type":"message","role":"user","content":"canary"}]}"#, 200),
    (Data, "GET", "/v1/conversations/{id}", "", 200),
    (Data, "POST", "/v1/conversations/{id}", r#"{"metadata":{"k":"v"}}"#, 200),
    (Data, "GET", "/v1/conversations/{id}/items", "", 200),
    (Data, "POST", "/v1/conversations/{id}/items", r#"{"items":[{"type":"message","role":"user","content":"canary"}]}"#, 200),
    (Data, "GET", "/v1/conversations/{id}/items/{item}", "", 200),
    (Data, "DELETE", "/v1/conversations/{id}/items/{item}", "", 200),
    (Data, "DELETE", "/v1/conversations/{id}", "", 200),
    (Data, "POST", "/v1/embeddings", r#"{"model":"plain","input":"canary"}"#, 200),
    (Data, "POST", "/v1/messages", r#"{"model":"claude","max_tokens":9,"messages":[{"role":"user","content":"canary"}]}"#, 200),
    (Data, "POST", "/v1/messages/count_tokens", r#"{"model":"claude","messages":[{"role":"user","content":"canary"}]}"#, 200),
    (Data, "POST", "/v1/files", "upload", 200),
    (Data, "GET", "/v1/files", "", 200),
    (Data, "GET", "/v1/files/{id}", "", 200),
    (Data, "GET", "/v1/files/{id}/content", "", 200),
    (Data, "POST", "/v1/batches", r#"{"input_file_id":"$lines","endpoint":"/v1/chat/completions","completion_window":"24h"}"#, 200),
    (Data, "GET", "/v1/batches", "", 200),
    (Data, "GET", "/v1/batches/{id}", "", 200),
    (Data, "POST", "/v1/batches/{id}/cancel", "", 200),
    (Data, "DELETE", "/v1/files/{id}", "", 200),
    (Data, "GET", "/v1/models", "", 200),
    (Data, "GET", "/v1/models/{*model}", "", 200),
    (Data, "GET", "/v1/cache/{entity}/{*key}", "", 200),
    (Data, "PUT", "/v1/cache/{entity}/{*key}", "a value", 204),
    (Data, "DELETE", "/v1/cache/{entity}/{*key}", "", 204),
    (Data, "GET", "/v1/state/{run}", "", 200),
    (Data, "GET", "/v1/state/{run}/{*key}", "", 200),
    (Data, "PUT", "/v1/state/{run}/{*key}", "a value", 200),
    (Data, "DELETE", "/v1/state/{run}/{*key}", "", 204),
    (Data, "DELETE", "/v1/state/{run}", "", 200),
    (Data, "GET", "/v1/audit", "", 200),
    (Data, "GET", "/v1/audit/head", "", 200),
    (Data, "GET", "/v1/audit/export", "", 200),
    (Data, "GET", "/v1/runs/{run}/events", "", 200),
    (Data, "GET", "/.well-known/jwks.json", "", 200),
    (Data, "GET", "/.well-known/oauth-protected-resource", "", 200),
    (Data, "GET", "/health/live", "", 200),
    (Data, "GET", "/health/ready", "", 200),
    (Control, "GET", "/health/live", "", 200),
    (Control, "GET", "/health/ready", "", 200),
    (Control, "GET", "/metrics", "", 200),
    (Control, "POST", "/oauth/token", "form", 200),
    (Control, "GET", "/admin/v1/openapi.json", "", 200),
    (Control, "GET", "/admin/v1/status", "", 200),
    (Control, "POST", "/admin/v1/backup", r#"{"path":"$dir/backup"}"#, 200),
    (Control, "GET", "/admin/v1/policy", "", 200),
    (Control, "POST", "/admin/v1/policy/reload", "", 200),
    (Control, "POST", "/admin/v1/keys/root/rotate", r#"{"renew":true}"#, 200),
    (Control, "POST", "/admin/v1/signing-keys/rotate", "", 200),
    (Control, "GET", "/admin/v1/audit", "", 200),
    (Control, "GET", "/admin/v1/audit/head", "", 200),
    (Control, "GET", "/admin/v1/audit/export", "", 200),
    (Control, "GET", "/admin/v1/audit/verify", "", 200),
    (Control, "GET", "/admin/v1/tenants", "", 200),
    (Control, "POST", "/admin/v1/tenants", r#"{"id":"new","environments":["live"]}"#, 201),
    (Control, "PUT", "/admin/v1/tenants", r#"{"tenants":[{"id":"newer","environments":["live"]}]}"#, 200),
    (Control, "GET", "/admin/v1/tenants/{tenant}", "", 200),
    (Control, "PATCH", "/admin/v1/tenants/{tenant}", r#"{"aliases":["canary-alias"]}"#, 200),
    (Control, "POST", "/admin/v1/tenants/{tenant}/suspend", "", 200),
    (Control, "POST", "/admin/v1/tenants/{tenant}/resume", "", 200),
    (Control, "GET", "/admin/v1/tenants/{tenant}/run-grants", "", 200),
    (Control, "GET", "/admin/v1/tenants/{tenant}/environments/{environment}/keys", "", 200),
    (Control, "POST", "/admin/v1/tenants/{tenant}/environments/{environment}/keys", r#"{"workflow":"w","scope":"model:chat"}"#, 201),
    (Control, "POST", "/admin/v1/keys/{id}/rotate", r#"{"overlap_seconds":60}"#, 201),
    (Control, "DELETE", "/admin/v1/keys/{id}", "", 200),
    (Control, "POST", "/admin/v1/tokens", r#"{"tenant":"victim","environment":"live","workflow":"w","scope":"model:chat"}"#, 201),
    (Control, "POST", "/admin/v1/revocations", r#"{"tenant":"victim","jti":"00000000000000000000000000000000"}"#, 200),
    (Control, "GET", "/admin/v1/services", "", 200),
    (Control, "POST", "/admin/v1/services", r#"{"name":"s2","tenants":["victim"],"environments":["*"],"workflows":["*"],"scope":"model:chat"}"#, 201),
    (Control, "DELETE", "/admin/v1/services/{name}", "", 200),
    (Control, "GET", "/admin/v1/operators", "", 200),
    (Control, "POST", "/admin/v1/operators", r#"{"name":"op2","rights":["read"]}"#, 201),
    (Control, "DELETE", "/admin/v1/operators/{name}", "", 200),
    (Control, "GET", "/admin/v1/tenants/{tenant}/environments/{environment}/credentials", "", 200),
    (Control, "PUT", "/admin/v1/tenants/{tenant}/environments/{environment}/credentials/{provider}", r#"{"secret":"sk-canary-2"}"#, 200),
    (Control, "DELETE", "/admin/v1/tenants/{tenant}/environments/{environment}/credentials/{provider}", "", 200),
    (Control, "GET", "/admin/v1/tenants/{tenant}/environments/{environment}/models", "", 200),
    (Control, "POST", "/admin/v1/tenants/{tenant}/environments/{environment}/models/test", "", 200),
    (Control, "POST", "/admin/v1/tenants/{tenant}/environments/{environment}/data-key/rotate", "", 200),
    (Control, "GET", "/admin/v1/tenants/{tenant}/environments/{environment}/audit", "", 200),
    (Control, "GET", "/admin/v1/tenants/{tenant}/environments/{environment}/audit/head", "", 200),
    (Control, "GET", "/admin/v1/tenants/{tenant}/environments/{environment}/audit/export", "", 200),
    (Control, "GET", "/admin/v1/tenants/{tenant}/environments/{environment}/audit/verify", "", 200),
    (Control, "GET", "/admin/v1/tenants/{tenant}/environments/{environment}/events", "", 200),
    (Control, "POST", "/admin/v1/tenants/{tenant}/revoke", "", 200),
    (Control, "DELETE", "/admin/v1/tenants/{tenant}", "", 200),
];

/// Paths of what somebody made, and nobody else has.
const OBJECTS: [&str; 3] =
    ["/v1/runs/{run}/events", "/v1/cache/{entity}/{*key}", "/v1/state/{run}/{*key}"];

/// Whether a path is of something that is kept at a provider.
fn at_provider(path: &str) -> bool {
    ["/v1/responses/", "/v1/conversations/", "/v1/files/", "/v1/batches/"]
        .iter()
        .any(|prefix| path.starts_with(prefix))
}

/// A row that is about to be tried.
struct Try<'a> {
    rig: &'a Rig,
    route: &'static Route,
    path: String,
    body: String,
}

impl Try<'_> {
    async fn with(&self, secret: Option<&str>, more: Headers<'_>) -> Reply {
        self.at(&self.path, secret, more).await
    }

    async fn at(&self, path: &str, secret: Option<&str>, more: Headers<'_>) -> Reply {
        let bearer = secret.map(|secret| format!("Bearer {secret}"));
        let mut headers = vec![("x-bulkhead-reason", "a test")];
        headers.extend(bearer.iter().map(|bearer| ("authorization", bearer.as_str())));
        if self.route.need() == Need::Service {
            headers.push(("content-type", "application/x-www-form-urlencoded"));
        }
        if self.route.path == "/v1/files" && self.route.method == "POST" {
            headers.push(FORM);
        }
        headers.extend_from_slice(more);
        let method: Method = self.route.method.parse().unwrap();
        self.rig.send(self.route.plane, method, path, &headers, self.body.clone()).await
    }

    /// Refused, with nothing of the victim's in the answer.
    #[track_caller]
    fn refused(&self, what: &str, reply: &Reply, status: u16, code: &str) {
        let got = (reply.status, reply.code());
        assert_eq!(got, (status, code.to_owned()), "{what}: {:?} {}", self.route, reply.text());
        let told = format!("{} {:?}", reply.text(), reply.headers);
        assert!(!told.contains("canary"), "{what}: {:?} {told}", self.route);
    }
}

/// Credentials of every wrong kind.
struct World {
    run: String,
    /// What the victim has at the provider.
    response: String,
    conversation: String,
    item: String,
    file: String,
    lines: String,
    batch: String,
    key: String,
    victim: String,
    /// The same tenant, in another environment.
    staging: String,
    /// Another tenant.
    foreign: String,
    expired: String,
    revoked: String,
    foreign_key: String,
    grant: String,
    /// A service for another tenant alone, one that expired, and one that was removed.
    services: [String; 3],
    /// An operator who expired, and one who was removed.
    operators: [String; 2],
}

fn text(json: &Value, name: &str) -> String {
    json[name].as_str().unwrap().to_owned()
}

impl World {
    async fn new(rig: &Rig) -> Self {
        rig.add_tenant("victim").await;
        let aliases = json!({"aliases": ["org_victim", "canary-alias"]});
        rig.admin(Method::PATCH, "/admin/v1/tenants/victim", aliases).await.good();
        rig.set_credential("victim", "live", "sk-canary").await.good();
        rig.upstream.mark("sk-canary", "canary");
        let body = json!({"secret": "sk-canary"});
        rig.set_credential_of("claude", "victim", "live", body).await.good();
        let run = "canary-run".to_owned();
        let minted = rig.minted("victim", "live", &[("scope", ALL), ("run", &run)]).await;
        let victim = text(&minted, "access_token");
        rig.chat(&victim, "plain", "canary").await.good();
        for path in [format!("/v1/state/{run}/canary/key"), "/v1/cache/canary/key".to_owned()] {
            rig.call(&victim, Method::PUT, &path, &[], "canary").await.good();
        }
        let post = async |path: &str, body: Value| {
            let headers = [("content-type", "application/json")];
            let reply = rig.call(&victim, Method::POST, path, &headers, body.to_string()).await;
            text(&reply.good().json(), "id")
        };
        let upload = async |purpose: &str, content: &str| {
            let body = form(purpose, content);
            let reply = rig.call(&victim, Method::POST, "/v1/files", &[FORM], body).await;
            text(&reply.good().json(), "id")
        };
        let response = post("/v1/responses", json!({"model": "plain", "input": "canary"})).await;
        let said = json!({"type": "message", "role": "user", "content": "canary"});
        let conversation = post("/v1/conversations", json!({"items": [said]})).await;
        let items = rig.get(&victim, &format!("/v1/conversations/{conversation}/items")).await;
        let item = text(&items.good().json()["data"][0], "id");
        let file = upload("assistants", "canary").await;
        let body = json!({"model": "plain", "messages": [{"role": "user", "content": "canary"}]});
        let line = json!({"custom_id": "1", "method": "POST", "url": "/v1/chat/completions",
            "body": body});
        let lines = upload("batch", &line.to_string()).await;
        let batch = json!({"input_file_id": lines, "endpoint": "/v1/chat/completions",
            "completion_window": "24h"});
        let batch = post("/v1/batches", batch).await;
        let events = format!("/v1/runs/{run}/events");
        // Events are written behind the answer.
        while rig.get(&victim, &events).await.status != 200 {}

        let short = rig.minted("victim", "live", &[("scope", ALL), ("ttl_seconds", "1")]).await;
        let revoked = rig.minted("victim", "live", &[("scope", ALL)]).await;
        let body = json!({"tenant": "victim", "jti": revoked["id"]});
        rig.admin(Method::POST, "/admin/v1/revocations", body).await.good();
        let grant = ("requested_token_type", "urn:bulkhead:params:oauth:token-type:run-grant");
        let grant = rig.minted("acme", "live", &[("scope", ALL), grant]).await;
        let made = async |path: &str, body: Value| {
            text(&rig.admin(Method::POST, path, body).await.good().json(), "secret")
        };
        let service = async |name: &str, ttl: Option<u64>| {
            let body = json!({"name": name, "tenants": ["acme"], "environments": ["live"],
                "workflows": ["*"], "scope": ALL, "ttl_seconds": ttl});
            made("/admin/v1/services", body).await
        };
        let operator = async |name: &str, ttl: Option<u64>| {
            let body = json!({"name": name, "rights": ["read", "write", "enter"],
                "ttl_seconds": ttl});
            made("/admin/v1/operators", body).await
        };
        let world = Self {
            key: text(&rig.key("victim", "live").await, "id"),
            staging: rig.token("victim", "staging", ALL).await,
            foreign: rig.token("acme", "live", ALL).await,
            foreign_key: text(&rig.key("acme", "live").await, "secret"),
            expired: text(&short, "access_token"),
            revoked: text(&revoked, "access_token"),
            grant: text(&grant, "access_token"),
            services: [
                service("bounded", None).await,
                service("short", Some(1)).await,
                service("gone", None).await,
            ],
            operators: [operator("brief", Some(1)).await, operator("gone", None).await],
            run,
            victim,
            response,
            conversation,
            item,
            file,
            lines,
            batch,
        };
        service("small", None).await;
        operator("small", None).await;
        for path in ["/admin/v1/services/gone", "/admin/v1/operators/gone"] {
            rig.admin(Method::DELETE, path, Value::Null).await.good();
        }
        rig.clock.advance(Duration::from_secs(2));
        world
    }

    fn path(&self, pattern: &str) -> String {
        pattern
            .replace("{tenant}", "victim")
            .replace("{environment}", "live")
            .replace("{provider}", "standin")
            .replace("{run}", &self.run)
            .replace("{*model}", "plain")
            .replace("{entity}", "canary")
            .replace("{*key}", if pattern.contains("/cache/") { "key" } else { "canary/key" })
            .replace("{id}", self.id(pattern))
            .replace("{item}", &self.item)
            .replace("{name}", "small")
    }

    /// What `{id}` is in a path.
    fn id(&self, pattern: &str) -> &str {
        match pattern.split('/').nth(2) {
            Some("responses") => &self.response,
            Some("conversations") => &self.conversation,
            Some("files") => &self.file,
            Some("batches") => &self.batch,
            _ => &self.key,
        }
    }

    fn body(&self, rig: &Rig, body: &str) -> String {
        if body == "upload" {
            return form("assistants", "canary");
        }
        if body == "form" {
            return encode(&[
                ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
                ("subject_token_type", "urn:bulkhead:params:oauth:token-type:tenant"),
                ("subject_token", "victim"),
                ("environment", "live"),
                ("workflow", "support"),
                ("scope", "model:chat"),
            ]);
        }
        body.replace("$dir", rig.dir.path().to_str().unwrap()).replace("$lines", &self.lines)
    }
}

#[tokio::test]
async fn every_route_against_every_wrong_credential() {
    for route in ROUTES {
        let row = TESTED
            .iter()
            .filter(|row| (row.0, row.1, row.2) == (route.plane, route.method, route.path));
        assert_eq!(row.count(), 1, "{route:?} needs its row here");
    }
    assert_eq!(TESTED.len(), ROUTES.len(), "a row without a route");
    let public = ROUTES.iter().filter(|route| route.need() == Need::Nothing).count();
    assert_eq!(public, PUBLIC, "the list of public routes may only shrink");

    let rig = Rig::start().await;
    let world = World::new(&rig).await;
    for tested in TESTED {
        let attempt = attempt(&rig, &world, tested);
        match attempt.route.need() {
            Need::Nothing => {}
            Need::Tenant(grant) => wrong_tenants(&attempt, &world, grant).await,
            Need::Service => wrong_services(&attempt, &world).await,
            Need::Operator(right) => wrong_operators(&attempt, &world, Some(right)).await,
            Need::Watcher => wrong_operators(&attempt, &world, None).await,
        }
    }
    // And the right one passes: what was refused was refused for the credential.
    for tested in TESTED {
        let attempt = attempt(&rig, &world, tested);
        let secret = match attempt.route.need() {
            Need::Nothing => None,
            Need::Tenant(_) => Some(&world.victim),
            Need::Service => Some(&rig.service),
            Need::Operator(_) | Need::Watcher => Some(&rig.operator),
        };
        let reply = attempt.with(secret.map(String::as_str), &[]).await;
        assert_eq!(reply.status, tested.4, "{:?} {}", attempt.route, reply.text());
        // What others did to theirs did nothing to this.
        if attempt.route.method == "GET" && OBJECTS.contains(&attempt.route.path) {
            let own = reply.text().contains("canary");
            assert!(own, "{:?} {}", attempt.route, reply.text());
        }
    }
}

fn attempt<'a>(rig: &'a Rig, world: &World, tested: &Row) -> Try<'a> {
    let (plane, method, path, body, _) = *tested;
    let route = ROUTES.iter().find(|r| (r.plane, r.method, r.path) == (plane, method, path));
    Try { rig, route: route.unwrap(), path: world.path(path), body: world.body(rig, body) }
}

async fn wrong_tenants(attempt: &Try<'_>, world: &World, grant: &str) {
    let rig = attempt.rig;
    let (staging, foreign) = (Some(world.staging.as_str()), Some(world.foreign.as_str()));
    for (what, secret, headers, status, code) in [
        ("no token", None, vec![], 401, "scope.missing"),
        ("expired", Some(world.expired.as_str()), vec![], 401, "scope.expired"),
        ("revoked", Some(world.revoked.as_str()), vec![], 401, "scope.revoked"),
        ("a run grant", Some(world.grant.as_str()), vec![], 401, "scope.malformed"),
        ("a service", Some(rig.service.as_str()), vec![], 401, "scope.malformed"),
        ("an operator", Some(rig.operator.as_str()), vec![], 401, "scope.malformed"),
        (
            "another environment's, naming this",
            staging,
            vec![("x-environment", "live")],
            403,
            "scope.mismatch",
        ),
        (
            "another tenant's, naming this",
            foreign,
            vec![("x-tenant-id", "victim")],
            403,
            "scope.mismatch",
        ),
        (
            "another tenant's, by alias",
            foreign,
            vec![("x-tenant-id", "canary-alias")],
            403,
            "scope.mismatch",
        ),
        (
            "another tenant's beside it",
            foreign,
            vec![("x-api-key", world.victim.as_str())],
            403,
            "scope.mismatch",
        ),
    ] {
        let reply = attempt.with(secret, &headers).await;
        attempt.refused(what, &reply, status, code);
    }
    let every = ROUTES.iter().filter_map(|route| match route.need() {
        Need::Tenant(grant) => Some(grant),
        _ => None,
    });
    let others: BTreeSet<_> = every.filter(|other| *other != grant).collect();
    let others: Vec<_> = others.into_iter().collect();
    // Such a service could not mint it, so an operator does.
    let body = json!({"tenant": "victim", "environment": "live", "workflow": "support",
        "scope": others.join(" ")});
    let narrow = rig.admin(Method::POST, "/admin/v1/tokens", body).await.good().json();
    let reply = attempt.with(Some(&text(&narrow, "token")), &[]).await;
    attempt.refused("too narrow", &reply, 403, "scope.grant");
    // Another's object, and another environment's, are not there.
    let never = attempt.route.path.replace("{run}", "never").replace("{entity}", "never");
    let never = world.path(&never.replace("{*key}", "never"));
    for secret in [&world.staging, &world.foreign, &world.foreign_key] {
        let what = "an object of another";
        if at_provider(attempt.route.path) || attempt.body.contains(&world.lines) {
            let reply = attempt.with(Some(secret), &[]).await;
            attempt.refused(what, &reply, 404, "model.handle");
            let nobodys = attempt.path.replace(world.id(attempt.route.path), "never_1");
            let none = attempt.at(&nobodys, Some(secret), &[]).await;
            assert_eq!((reply.status, reply.body), (none.status, none.body));
            continue;
        }
        if attempt.route.method == "POST" {
            continue;
        }
        // A token is for its own run, which is not the victim's.
        if attempt.route.path.starts_with("/v1/state") && *secret != world.foreign_key {
            attempt.refused(what, &attempt.with(Some(secret), &[]).await, 403, "scope.mismatch");
            continue;
        }
        let (reply, none) =
            (attempt.with(Some(secret), &[]).await, attempt.at(&never, Some(secret), &[]).await);
        if attempt.route.method != "GET" {
            // Its own now, or nothing at all.
            reply.good();
            continue;
        }
        // That they asked for this run is in their own log.
        let told = format!("{} {:?}", reply.text(), reply.headers).replace(&world.run, "");
        assert!(!told.contains("canary"), "{:?} {told}", attempt.route);
        if attempt.route.path.contains('{') {
            let same = (reply.status, &reply.body) == (none.status, &none.body);
            assert!(same, "{:?} {told}", attempt.route);
        }
        if OBJECTS.contains(&attempt.route.path) {
            attempt.refused(what, &reply, 404, "not_found");
        } else {
            reply.good();
        }
    }
}

async fn wrong_services(attempt: &Try<'_>, world: &World) {
    let [bounded, expired, removed] = &world.services;
    for (what, secret, status, code) in [
        ("no credential", None, 401, "scope.missing"),
        ("a tenant's token", Some(&world.victim), 404, "not_found"),
        ("a tenant's key", Some(&world.foreign_key), 404, "not_found"),
        ("a run grant", Some(&world.grant), 404, "not_found"),
        ("an operator", Some(&attempt.rig.operator), 401, "scope.unknown"),
        ("for another tenant", Some(bounded), 403, "scope.grant"),
        ("expired", Some(expired), 401, "scope.expired"),
        ("removed", Some(removed), 401, "scope.revoked"),
        ("unknown", Some(&format!("{bounded}x")), 401, "scope.unknown"),
    ] {
        let reply = attempt.with(secret.map(String::as_str), &[]).await;
        attempt.refused(what, &reply, status, code);
    }
}

/// `right` is what the route needs; a watcher's needs reading.
async fn wrong_operators(attempt: &Try<'_>, world: &World, right: Option<Right>) {
    let rig = attempt.rig;
    let [expired, removed] = &world.operators;
    let needed = right.unwrap_or(Right::Read);
    let others: Vec<_> = [Right::Read, Right::Write, Right::Enter]
        .into_iter()
        .filter(|other| *other != needed)
        .collect();
    let name = format!("without-{needed:?}").to_lowercase();
    let body = json!({"name": name, "rights": others});
    let lacking = rig.admin(Method::POST, "/admin/v1/operators", body).await.good().json();
    let lacking = text(&lacking, "secret");
    for (what, secret, status, code) in [
        ("no credential", None, 401, "scope.missing"),
        ("the tenant's own token", Some(&world.victim), 404, "not_found"),
        ("another tenant's token", Some(&world.foreign), 404, "not_found"),
        ("another environment's token", Some(&world.staging), 404, "not_found"),
        ("a tenant's key", Some(&world.foreign_key), 404, "not_found"),
        ("a run grant", Some(&world.grant), 404, "not_found"),
        ("too few rights", Some(&lacking), 403, "scope.grant"),
        ("expired", Some(expired), 401, "scope.expired"),
        ("removed", Some(removed), 401, "scope.revoked"),
        ("unknown", Some(&format!("{removed}x")), 401, "scope.unknown"),
    ] {
        let reply = attempt.with(secret.map(String::as_str), &[]).await;
        attempt.refused(what, &reply, status, code);
    }
    let path = format!("/admin/v1/operators/{name}");
    rig.admin(Method::DELETE, &path, Value::Null).await.good();
    if right.is_some() {
        let reply = attempt.with(Some(&rig.service), &[]).await;
        attempt.refused("a service", &reply, 401, "scope.unknown");
    }
    // A tenant or an environment that is not there.
    for (name, other) in [("{tenant}", "nobody"), ("{environment}", "moon")] {
        if attempt.route.path.contains(name) && !attempt.route.path.contains("/keys") {
            let path = world.path(&attempt.route.path.replace(name, other));
            let reply = attempt.at(&path, Some(&rig.operator), &[]).await;
            attempt.refused(other, &reply, 404, "directory.missing");
        }
    }
}
