//! Every route of the table, held against every wrong credential. A route without a row here
//! fails; the list of public routes may only shrink.

mod rows;

use std::{collections::BTreeSet, time::Duration};

use bulkhead_server::routes::{Need, ROUTES, Route};
use http::Method;
use scope::Right;
use serde_json::{Value, json};

use self::rows::{Row, TESTED};
use super::{
    rig::{ALL, Headers, Reply, Rig, encode},
    upstream::{FORM, form},
};

/// Routes that need nothing. More than these would be a decision; fewer is progress.
const PUBLIC: usize = 7;

/// Paths of what somebody made, and nobody else has.
const OBJECTS: [&str; 3] =
    ["/v1/runs/{run}/events", "/v1/cache/{entity}/{*key}", "/v1/state/{run}/{*key}"];

/// Whether a path is of something that is kept at a provider.
fn at_provider(path: &str) -> bool {
    ["/v1/responses/", "/v1/conversations/", "/v1/files/", "/v1/batches/"]
        .iter()
        .any(|prefix| path.starts_with(prefix))
}

/// Whether a path is about collections.
fn of_collections(path: &str) -> bool {
    path.starts_with("/qdrant") || path.starts_with("/v1/memory/")
}

/// An answer about a collection, without what differs for no reason: its name, and how long the
/// answer took.
fn without_name(reply: &Reply, name: &str) -> (u16, String) {
    let mut json: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    if let Some(answer) = json.as_object_mut() {
        answer.remove("time");
    }
    (reply.status, json.to_string().replace(name, "it"))
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
        if self.route.path == "/mcp" {
            headers.push(("content-type", "application/json"));
            headers.push(("accept", "application/json, text/event-stream"));
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
    /// What the victim remembers.
    memory: String,
    /// What the victim's people have to decide, each with its digest: by themselves, and by operators.
    reviews: [(String, String); 2],
    /// What proves a write of the victim's.
    receipt: String,
    /// What turned up on the victim's hop, and is another's.
    quarantined: String,
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
        for tenant in ["victim", "acme"] {
            rig.tooled(tenant).await;
        }
        rig.crm.keep("canary-note", "acct-victim", "live", "canary");
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
        rig.collection(&victim, "canary-docs").await;
        let payload = json!({"topic": "canary"});
        rig.point(&victim, "canary-docs", json!(1), payload).await.good();
        let memory = post("/v1/memory/canary-notes", json!({"text": "the canary sings"})).await;
        let asked = async |words: &str| {
            let headers = [("content-type", "application/json")];
            let body = json!({"text": words}).to_string();
            let reply = rig.call(&victim, Method::POST, "/tools/crm/refunds", &headers, body).await;
            let id = reply.header("x-bulkhead-review").to_owned();
            let review = rig.get(&victim, &format!("/v1/reviews/{id}")).await.good().json();
            (id, text(&review, "digest"))
        };
        let reviews = [asked("canary one").await, asked("canary two").await];
        let headers = [("content-type", "application/json")];
        let body = json!({"text": "canary"}).to_string();
        rig.call(&victim, Method::POST, "/tools/crm/notes", &headers, body).await.good();
        let receipts = rig.get(&victim, "/v1/receipts").await.good().json();
        let receipt = text(&receipts["items"][0], "intent");
        rig.crm.keep("acme-note", "acct-acme", "live", "canary");
        rig.get(&victim, "/tools/crm/notes/acme-note").await;
        let quarantined = text(&rig.quarantined().await.json()["items"][0], "id");
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
            memory,
            reviews,
            receipt,
            quarantined,
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
        let memory = pattern.starts_with("/v1/memory/");
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
            .replace("{collection}", if memory { "canary-notes" } else { "canary-docs" })
            .replace("{field}", "topic")
            .replace("{tool}", if pattern.ends_with("/pin") { "mcp_note" } else { "get_note" })
            .replace("{upstream}", "crm")
            .replace(
                "{*rest}",
                if pattern.starts_with("/tools/") { "notes/canary-note" } else { "aliases" },
            )
    }

    /// What `{id}` is in a path.
    fn id(&self, pattern: &str) -> &str {
        if pattern.contains("/quarantine/") {
            return &self.quarantined;
        }
        if pattern.contains("/reviews/") {
            let [own, operators] = &self.reviews;
            return if pattern.starts_with("/admin/") { &operators.0 } else { &own.0 };
        }
        match pattern.split('/').nth(2) {
            Some("receipts") => &self.receipt,
            Some("responses") => &self.response,
            Some("conversations") => &self.conversation,
            Some("files") => &self.file,
            Some("batches") => &self.batch,
            Some("memory") => &self.memory,
            Some("collections") => "1",
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
        body.replace("$dir", rig.dir.path().to_str().unwrap())
            .replace("$lines", &self.lines)
            .replace("$digest", &self.reviews[0].1)
            .replace("$other", &self.reviews[1].1)
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
    let mut at = world.path(path);
    if path.starts_with("/tools/") && method != "GET" {
        // Not that of the reading row: the upstream lets everybody change everything.
        at = format!("/tools/crm/notes{}", if method == "POST" { "" } else { "/canary-put" });
    }
    Try { rig, route: route.unwrap(), path: at, body: world.body(rig, body) }
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
        if attempt.route.path.starts_with("/v1/reviews/") {
            let reply = attempt.with(Some(secret), &[]).await;
            attempt.refused(what, &reply, 404, "review.missing");
            let nobodys = attempt.path.replace(&world.reviews[0].0, &"0".repeat(32));
            let none = attempt.at(&nobodys, Some(secret), &[]).await;
            assert_eq!((reply.status, reply.body), (none.status, none.body));
            continue;
        }
        if attempt.route.path.starts_with("/v1/receipts/") {
            let reply = attempt.with(Some(secret), &[]).await;
            attempt.refused(what, &reply, 404, "not_found");
            continue;
        }
        if of_collections(attempt.route.path) {
            foreign_collection(attempt, world, secret).await;
            continue;
        }
        if attempt.route.method == "POST" {
            continue;
        }
        if attempt.route.path == "/mcp" {
            let reply = attempt.with(Some(secret), &[]).await;
            attempt.refused(what, &reply, 405, "request.method");
            continue;
        }
        if attempt.route.path.starts_with("/tools/") {
            // The upstream shows it to everybody; whose it is stands in it.
            let reply = attempt.with(Some(secret), &[]).await;
            let told = reply.text();
            if attempt.route.method == "GET" {
                assert!(reply.status >= 400, "{:?} {told}", attempt.route);
            }
            // The account is the tenant's, in each of its environments.
            let own = *secret == world.staging;
            assert!(own || !told.contains("acct-victim"), "{:?} {told}", attempt.route);
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

/// Another's collection, and what is in it, are not there: the answer is that to a name which
/// nobody has.
async fn foreign_collection(attempt: &Try<'_>, world: &World, secret: &str) {
    let path = attempt.route.path;
    let makes = (attempt.route.method == "PUT" && path.ends_with("{collection}"))
        || (attempt.route.method == "POST" && path == "/v1/memory/{collection}");
    if makes {
        // One of its own.
        return;
    }
    let nobodys = world.path(&path.replace("{collection}", "never").replace("{id}", "77"));
    let reply = attempt.with(Some(secret), &[]).await;
    let none = attempt.at(&nobodys, Some(secret), &[]).await;
    let name = if path.starts_with("/v1/") { "canary-notes" } else { "canary-docs" };
    let (told, expected) = (without_name(&reply, name), without_name(&none, "never"));
    assert_eq!(told, expected, "{:?}", attempt.route);
    assert!(!told.1.contains("canary"), "{:?} {told:?}", attempt.route);
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
