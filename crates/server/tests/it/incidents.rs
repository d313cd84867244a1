//! Real leaks of others, each as a test of its name.

mod points;
mod tools;

use bulkhead_server::routes::{Need, Plane, ROUTES};
use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};

use super::rig::{ALL, ENVIRONMENTS, Rig, TENANTS, chat_body, secret_of};

/// OpenAI, March 2023: a cancelled request left a shared connection out of step, and the next
/// user read its reply.
#[tokio::test]
async fn redis_desync() {
    let rig = Rig::start().await;
    let (a, b) = (rig.token("acme", "live", ALL).await, rig.token("globex", "live", ALL).await);
    for round in 0..200 {
        // A hangs up while the provider is at it, with what B asks for next under way.
        let model = if round % 2 == 0 { "plain" } else { "cached" };
        let asked = format!("[hold] A's secret {round}");
        {
            let mut cut = Box::pin(rig.chat(&a, model, &asked));
            tokio::select! {
                reply = &mut cut => panic!("{reply:?}"),
                () = rig.upstream.holding(1) => {}
            }
        }
        rig.upstream.release.add_permits(1);
        let prompt = format!("B's question {round}");
        let (whole, streamed) = tokio::join!(rig.chat(&b, model, &prompt), async {
            rig.stream(&b, model, &prompt).await.rest().await
        });
        let whole = whole.good().text();
        assert!(whole.contains("globex/live #") && whole.contains(&prompt), "{round}: {whole}");
        assert!(streamed.contains("globex/live") && streamed.ends_with("data: [DONE]\n\n"));
        for text in [whole, streamed] {
            assert!(!text.contains("acme") && !text.contains("A's secret"), "{round}: {text}");
        }
    }
}

/// GitHub, 2021: a request object shared across threads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shared_env() {
    let rig = Rig::start().await;
    let mut units = Vec::new();
    for tenant in TENANTS {
        for environment in ENVIRONMENTS {
            let token = rig.token(tenant, environment, ALL).await;
            units.push((format!("{tenant}/{environment}"), token));
        }
    }
    let (rig, units) = (&rig, &units);
    let asked = (0..200).map(|n| {
        let (unit, token) = &units[n % units.len()];
        async move {
            let nonce = format!("nonce {n} of {unit}");
            let text = match n % 3 {
                0 => rig.stream(token, "plain", &nonce).await.rest().await,
                1 => rig.chat(token, "cached", &nonce).await.good().text(),
                _ => rig.chat(token, "plain", &nonce).await.good().text(),
            };
            let words = ["nonce", &n.to_string(), unit.as_str()].map(|word| text.contains(word));
            assert_eq!(words, [true; 3], "{nonce}: {text}");
            for (other, _) in units.iter().filter(|(other, _)| other != unit) {
                assert!(!text.contains(other.as_str()), "{nonce}: {text}");
            }
        }
    });
    join_all(asked).await;
}

/// vLLM, CVE-2026-105755: a cache key from the caller's own request id.
#[tokio::test]
async fn caller_id() {
    let rig = Rig::start().await;
    let (a, b) = (rig.token("acme", "live", ALL).await, rig.token("globex", "live", ALL).await);
    let first = rig.chat(&a, "cached", "what do we owe?").await.good();
    let theirs = first.header("x-request-id").to_owned();
    let answer = first.json()["id"].as_str().unwrap().to_owned();
    let ids = [
        "x-request-id",
        "x-correlation-id",
        "idempotency-key",
        "traceparent",
        "x-session-id",
        "x-client-request-id",
        "x-bulkhead-cache-version",
    ];
    for name in ids {
        for id in [&theirs, &answer] {
            let headers = [(name, id.as_str())];
            let body = chat_body("cached", "what do we owe?", false);
            let reply = rig.chat_with(&b, &headers, body).await.good();
            assert!(reply.text().contains("globex/live #"), "{name}: {}", reply.text());
            assert_ne!(reply.header("x-request-id"), theirs, "{name}");
            let own = reply.header("x-request-id");
            assert!(own.starts_with("req_") && own.len() == 36, "{own}");
        }
    }
    // What A made at the provider answers to A alone, by whatever name B asks.
    let json = [("content-type", "application/json")];
    let body = json!({"model": "plain", "input": "what do we owe?"}).to_string();
    let made = rig.call(&a, Method::POST, "/v1/responses", &json, body).await.good().json();
    let id = made["id"].as_str().unwrap();
    rig.get(&a, &format!("/v1/responses/{id}")).await.good();
    rig.get(&b, &format!("/v1/responses/{id}")).await.refused(404, "model.handle");
    for name in ids {
        let headers = [json[0], (name, id)];
        let body = json!({"model": "plain", "input": "and?", "previous_response_id": id});
        let cited = rig.call(&b, Method::POST, "/v1/responses", &headers, body.to_string()).await;
        cited.refused(404, "model.handle");
    }
    // Nor does an id of A's own make two of its requests one.
    let headers = [("x-request-id", theirs.as_str())];
    let again = rig.chat_with(&a, &headers, chat_body("plain", "else?", false)).await.good();
    assert!(again.text().contains("else?"));
    assert_ne!(again.header("x-request-id"), theirs);
}

/// LiteLLM, CVE-2026-35030: the cache of proven tokens keyed on their first characters.
#[tokio::test]
async fn token_prefix() {
    let rig = Rig::start().await;
    let (a, b) = (rig.token("acme", "live", ALL).await, rig.token("globex", "live", ALL).await);
    assert_eq!(a[..40], b[..40], "the header of both");
    rig.get(&a, "/v1/models").await.good();
    let reply = rig.chat(&b, "plain", "who am I?").await.good();
    assert!(reply.text().contains("globex/live"), "{}", reply.text());
    // A's token with one character changed, wherever it is, is nobody's.
    for at in [25, a.len() / 2, a.len() - 30] {
        let mut other = a.clone().into_bytes();
        other[at] = if other[at] == b'A' { b'B' } else { b'A' };
        let reply = rig.get(&String::from_utf8(other).unwrap(), "/v1/models").await;
        assert_eq!(reply.status, 401, "{at}: {}", reply.text());
    }
    rig.get(&a[..a.len() - 1], "/v1/models").await.refused(401, "scope.signature");
    rig.get(&format!("{a}A"), "/v1/models").await.refused(401, "scope.signature");
}

/// LiteLLM #29955: the key of the exact cache omits the team.
#[tokio::test]
async fn exact_key() {
    let rig = Rig::start().await;
    let mut answers = Vec::new();
    for tenant in TENANTS {
        for environment in ENVIRONMENTS {
            let token = rig.token(tenant, environment, ALL).await;
            let unit = format!("{tenant}/{environment}");
            for stream in [false, true] {
                for cache in ["miss", "hit"] {
                    let body = chat_body("cached", "the same for everybody", stream);
                    let reply = rig.chat_with(&token, &[], body).await.good();
                    assert_eq!(reply.header("x-bulkhead-cache"), cache, "{unit} {stream}");
                    assert!(reply.text().contains(&unit), "{unit}: {}", reply.text());
                    answers.push(reply.text());
                }
            }
        }
    }
    assert_eq!(rig.upstream.seen().len(), 8, "each asked for itself, whole and as a stream");
    answers.dedup();
    assert_eq!(answers.len(), 8, "a hit has the same bytes as the answer it was");
    // Another workflow of the same tenant is another cache.
    let more = [("scope", ALL), ("workflow", "support")];
    let same = rig.minted("acme", "live", &more[..1]).await;
    let same = same["access_token"].as_str().unwrap();
    let body = chat_body("cached", "the same for everybody", false);
    let reply = rig.chat_with(same, &[], body.clone()).await.good();
    assert_eq!(reply.header("x-bulkhead-cache"), "hit");
    let path = "/admin/v1/tokens";
    let billing =
        json!({"tenant": "acme", "environment": "live", "workflow": "billing", "scope": ALL});
    let billing = rig.admin(Method::POST, path, billing).await.good().json();
    let reply = rig.chat_with(billing["token"].as_str().unwrap(), &[], body).await.good();
    assert_eq!(reply.header("x-bulkhead-cache"), "miss");
}

/// LiteLLM's `cache.namespace`: the caller names the partition.
#[tokio::test]
async fn caller_namespace() {
    let rig = Rig::start().await;
    let (a, b) = (rig.token("acme", "live", ALL).await, rig.token("globex", "live", ALL).await);
    rig.chat(&a, "cached", "our secret").await.good();
    // What SDKs and clients of gateways send is taken, and says nothing.
    for (field, value) in [
        ("cache", json!({"namespace": "acme"})),
        ("cache_key", json!("acme")),
        ("cache_salt", json!("acme")),
        ("prompt_cache_key", json!("acme")),
        ("user", json!("acme")),
        ("safety_identifier", json!("acme")),
        ("namespace", json!("acme")),
        ("Cache-Namespace", json!("acme")),
        ("extraKey", json!("acme")),
    ] {
        let mut body = chat_body("cached", "our secret", false);
        body[field] = value;
        let reply = rig.chat_with(&b, &[], body).await.good();
        assert!(reply.text().contains("globex/live #"), "{field}: {}", reply.text());
        let sent = rig.upstream.seen().pop().unwrap();
        assert!(!sent.body.to_string().contains("acme"), "{field}: {}", sent.body);
    }
    // What would choose more than that is refused by name.
    for field in ["session_id", "kv_transfer_params", "extra_headers", "api_base", "rid"] {
        let mut body = chat_body("cached", "our secret", false);
        body[field] = json!("acme");
        rig.chat_with(&b, &[], body).await.refused(400, "request.unsupported");
    }
    for name in ["x-cache-namespace", "helicone-cache-seed", "cf-aig-cache-key", "x-bf-cache-key"] {
        let body = chat_body("cached", "our secret", false);
        let reply = rig.chat_with(&b, &[(name, "acme")], body).await.good();
        assert!(reply.text().contains("globex/live #"), "{name}: {}", reply.text());
    }
    // A version that a caller gives tells its own answers apart, and reaches nobody's.
    for version in ["acme", "acme/live", "1"] {
        let headers = [("x-bulkhead-cache-version", version)];
        let body = chat_body("cached", "our secret", false);
        let reply = rig.chat_with(&b, &headers, body).await.good();
        assert_eq!(reply.header("x-bulkhead-cache"), "miss", "{version}");
    }
}

/// ServiceNow, CVE-2025-12420: a platform-wide secret plus a name as identity.
#[tokio::test]
async fn platform_secret() {
    let rig = Rig::start().await;
    // The company's own secrets plus a tenant's name open nothing on the data plane.
    for secret in [&rig.service, &rig.operator] {
        let bearer = format!("Bearer {secret}");
        for name in ["x-tenant-id", "x-bulkhead-tenant"] {
            let headers = [("authorization", bearer.as_str()), (name, "globex")];
            let reply = rig.send(Plane::Data, Method::GET, "/v1/models", &headers, "").await;
            reply.refused(401, "scope.malformed");
        }
    }
    // A's credential plus B's name neither.
    let a = rig.token("acme", "live", ALL).await;
    let body = chat_body("plain", "hello", false);
    for value in ["globex", "org_globex"] {
        let headers = [("x-tenant-id", value)];
        rig.chat_with(&a, &headers, body.clone()).await.refused(403, "scope.mismatch");
    }
    // And one secret for a provider is not quietly everybody's.
    let theirs = secret_of("acme", "live");
    rig.set_credential("globex", "live", &theirs).await.refused(409, "vault.duplicate");
    rig.set_credential("acme", "staging", &theirs).await.refused(409, "vault.duplicate");
    let seen = rig.chat(&rig.token("globex", "live", ALL).await, "plain", "hi").await.good();
    assert!(seen.text().contains("globex/live"));
}

/// Railway, March 2026: authenticated answers in a shared HTTP cache. Every answer of every
/// route says `no-store`, refusals too.
#[tokio::test]
async fn shared_http_cache() {
    let rig = Rig::start().await;
    let token = rig.token("acme", "live", ALL).await;
    let chat = rig.chat(&token, "cached", "hello").await.good();
    let hit = rig.chat(&token, "cached", "hello").await.good();
    let failed = rig.chat(&token, "plain", "[fail]").await;
    let mut replies = vec![chat, hit, failed];
    for route in ROUTES {
        let path = route.path.replace(['{', '}', '*'], "");
        let method: Method = route.method.parse().unwrap();
        // Not those that would do something: what they refuse is an answer as well.
        let secrets = [None, Some(&token), Some(&rig.operator)];
        let reads = method == Method::GET;
        for secret in secrets.into_iter().filter(|secret| reads || secret.is_none()) {
            let bearer = secret.map(|secret| format!("Bearer {secret}"));
            let headers: Vec<_> =
                bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect();
            replies.push(rig.send(route.plane, method.clone(), &path, &headers, "").await);
        }
    }
    for path in ["/", "/v1/nothing"] {
        replies.push(rig.send(Plane::Data, Method::GET, path, &[], "").await);
        replies.push(rig.send(Plane::Data, Method::GET, path, &[("host", "evil")], "").await);
    }
    for reply in replies {
        assert_eq!(reply.header("cache-control"), "no-store", "{reply:?}");
        assert_eq!(reply.header("x-content-type-options"), "nosniff", "{reply:?}");
        for name in ["etag", "expires", "last-modified", "age", "set-cookie"] {
            assert!(reply.header(name).is_empty(), "{reply:?}");
        }
    }
}

/// Langfuse, CVE-2025-59305: administrative routes that only asked for a login. To a tenant's
/// credential, of whichever kind, the control plane is not there.
#[tokio::test]
async fn admin_route() {
    let rig = Rig::start().await;
    let minted = rig.minted("acme", "live", &[("scope", ALL)]).await;
    let key = rig.key("acme", "live").await;
    let grant = ("requested_token_type", "urn:bulkhead:params:oauth:token-type:run-grant");
    let grant = rig.minted("acme", "live", &[("scope", ALL), grant]).await;
    let text = |json: &Value, name: &str| json[name].as_str().unwrap().to_owned();
    let secrets = [
        text(&minted, "access_token"),
        text(&key, "secret"),
        text(&grant, "access_token"),
        "nonsense".to_owned(),
    ];
    let before = rig.admin(Method::GET, "/admin/v1/tenants", Value::Null).await.good().text();
    for route in ROUTES.iter().filter(|route| route.plane == Plane::Control) {
        let path = route
            .path
            .replace("{tenant}", "acme")
            .replace("{environment}", "live")
            .replace("{provider}", "standin")
            .replace("{name}", "backend")
            .replace("{id}", key["id"].as_str().unwrap());
        for secret in &secrets {
            for header in ["authorization", "x-api-key", "api-key"] {
                let value = match header {
                    "authorization" => format!("Bearer {secret}"),
                    _ => secret.clone(),
                };
                let headers = [(header, value.as_str())];
                let method = route.method.parse().unwrap();
                let reply = rig.send(Plane::Control, method, &path, &headers, "").await;
                if route.need() == Need::Nothing {
                    reply.good();
                    continue;
                }
                let reply = reply.refused(404, "not_found");
                assert!(!reply.text().contains("acme"), "{route:?}: {}", reply.text());
            }
        }
    }
    let after = rig.admin(Method::GET, "/admin/v1/tenants", Value::Null).await.good().text();
    assert_eq!(before, after);
}
