//! `/oauth/token`: what a service gets for what, and what it does not get.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bulkhead_server::routes::Plane;
use http::Method;
use serde_json::{Value, json};

use super::{
    issuer,
    rig::{ALL, NOON, Rig, encode},
};

const EXCHANGE: (&str, &str) = ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange");
const TENANT: &str = "urn:bulkhead:params:oauth:token-type:tenant";
const RUN_GRANT: &str = "urn:bulkhead:params:oauth:token-type:run-grant";
const TXN_TOKEN: &str = "urn:ietf:params:oauth:token-type:txn_token";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";

async fn rig() -> Rig {
    Rig::with(|settings| {
        let path = settings.storage.keys.with_file_name("jwks.json");
        issuer::publish(&path);
        let issuer = serde_json::from_value(issuer::settings(&path)).unwrap();
        settings.identity.issuers = vec![issuer];
    })
    .await
}

/// What a token says.
fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&ids::text::unbase64url(payload).unwrap()).unwrap()
}

fn text<'a>(json: &'a Value, name: &str) -> &'a str {
    json[name].as_str().unwrap()
}

#[tokio::test]
async fn a_named_tenant() {
    let rig = rig().await;
    let more = [
        ("scope", "model:chat"),
        ("agent", "a1"),
        ("sub", "ada"),
        ("run", "r-1"),
        ("ttl_seconds", "60"),
    ];
    let minted = rig.minted("org_acme", "live", &more).await;
    assert_eq!(text(&minted, "issued_token_type"), TXN_TOKEN);
    assert_eq!(text(&minted, "token_type"), "Bearer");
    assert_eq!((&minted["expires_in"], &minted["scope"]), (&json!(60), &json!("model:chat")));
    let said = claims(text(&minted, "access_token"));
    for (name, value) in [
        ("tenant", "acme"),
        ("env", "live"),
        ("workflow", "support"),
        ("agent", "a1"),
        ("sub", "ada"),
        ("txn", "r-1"),
        ("scope", "model:chat"),
        ("iss", "bulkhead"),
        ("aud", "bulkhead"),
    ] {
        assert_eq!(said[name], value, "{name} of {said}");
    }
    assert_eq!(said["exp"], NOON.secs() + 60);
}

#[tokio::test]
async fn what_is_malformed_or_not_allowed() {
    let rig = rig().await;
    let good = [
        EXCHANGE,
        ("subject_token_type", TENANT),
        ("subject_token", "acme"),
        ("environment", "live"),
        ("workflow", "support"),
        ("scope", "model:chat"),
    ];
    let small = rig
        .admin(
            Method::POST,
            "/admin/v1/services",
            json!({"name": "small", "tenants": ["acme"],
            "environments": ["live"], "workflows": ["support"], "scope": "model:chat"}),
        )
        .await
        .good()
        .json();
    rig.exchange(text(&small, "secret"), &good).await.good();
    let with = |name: &'static str, value: &'static str| {
        let mut form: Vec<_> = good.iter().filter(|(n, _)| *n != name).copied().collect();
        if !value.is_empty() {
            form.push((name, value));
        }
        form
    };
    for (form, status, code, error) in [
        (
            with("grant_type", "client_credentials"),
            400,
            "request.unsupported",
            "unsupported_grant_type",
        ),
        (with("subject_token_type", "urn:x"), 400, "request.malformed", "invalid_request"),
        (with("requested_token_type", "urn:x"), 400, "request.malformed", "invalid_request"),
        (with("client_secret", "x"), 400, "request.malformed", "invalid_request"),
        (with("workflow", ""), 400, "request.malformed", "invalid_request"),
        (with("scope", ""), 400, "request.malformed", "invalid_request"),
        (with("scope", "*"), 400, "request.malformed", "invalid_request"),
        (with("ttl_seconds", "901"), 400, "request.malformed", "invalid_request"),
        (with("ttl_seconds", "0"), 400, "request.malformed", "invalid_request"),
        (with("audience", "elsewhere"), 401, "scope.audience", "invalid_grant"),
        (with("subject_token", "globex"), 403, "scope.grant", "invalid_scope"),
        (with("environment", "staging"), 403, "scope.grant", "invalid_scope"),
        (with("workflow", "billing"), 403, "scope.grant", "invalid_scope"),
        (with("scope", "model:*"), 403, "scope.grant", "invalid_scope"),
        // Such a service cannot tell a tenant that is not its own from one that is not there.
        (with("subject_token", "nobody"), 403, "scope.grant", "invalid_scope"),
        (with("environment", "moon"), 403, "scope.grant", "invalid_scope"),
    ] {
        let reply = rig.exchange(text(&small, "secret"), &form).await;
        let told = reply.json();
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{form:?} {told}");
        assert_eq!(told["error"], error, "{form:?} {told}");
        assert!(told["error_description"].is_string());
    }
    let twice: Vec<_> = good.iter().copied().chain([("subject_token", "globex")]).collect();
    rig.exchange(&rig.service, &twice).await.refused(400, "request.malformed");
}

#[tokio::test]
async fn the_client_is_a_service_and_says_who_it_is_in_one_way() {
    let rig = rig().await;
    let form = encode(&[
        EXCHANGE,
        ("subject_token_type", TENANT),
        ("subject_token", "acme"),
        ("environment", "live"),
        ("workflow", "support"),
        ("scope", ALL),
    ]);
    let token = rig.token("acme", "live", ALL).await;
    let basic =
        |name: &str, secret: &str| format!("Basic {}", STANDARD.encode(format!("{name}:{secret}")));
    for (authorization, status) in [
        (basic("backend", &rig.service), 200),
        (format!("Bearer {}", rig.service), 200),
        (basic("other", &rig.service), 401),
        (basic("backend", "bs_00000000_nothing"), 401),
        (format!("Bearer {}", rig.operator), 401),
        (format!("Bearer {token}"), 404),
    ] {
        let headers = [
            ("authorization", authorization.as_str()),
            ("content-type", "application/x-www-form-urlencoded"),
        ];
        let reply =
            rig.send(Plane::Control, Method::POST, "/oauth/token", &headers, form.clone()).await;
        assert_eq!(reply.status, status, "{authorization} {}", reply.text());
    }
}

#[tokio::test]
async fn a_trusted_issuers_token_by_each_algorithm() {
    let rig = rig().await;
    for (alg, kid) in [("RS256", "rsa"), ("ES256", "ec"), ("EdDSA", "ed")] {
        let token = issuer::token(alg, kid, &issuer::claims());
        let form =
            [EXCHANGE, ("subject_token_type", ID_TOKEN), ("subject_token", &token), ("scope", ALL)];
        let minted = rig.exchange(&rig.service, &form).await.good().json();
        let said = claims(text(&minted, "access_token"));
        assert_eq!((&said["tenant"], &said["sub"]), (&json!("acme"), &json!("ada@acme.example")));
        rig.get(text(&minted, "access_token"), "/v1/models").await.good();
        // And directly, with the grants that the issuer has here.
        rig.get(&token, "/v1/models").await.good();
        rig.get(&token, "/v1/audit").await.refused(403, "scope.grant");
        // It names the tenant and the environment; nothing asked for can change that.
        for (name, other) in [("environment", "staging"), ("workflow", "billing"), ("sub", "eve")] {
            let mut form = form.to_vec();
            form.push((name, other));
            rig.exchange(&rig.service, &form).await.refused(403, "scope.mismatch");
        }
    }
}

/// Keys by URL: one deployment trusts another, which publishes its own.
#[tokio::test]
async fn an_issuers_keys_come_from_a_url() {
    let first = Rig::with(|settings| settings.identity.issuer = "https://first.test".into()).await;
    let address = first.address(Plane::Data);
    let second = Rig::with(|settings| {
        let issuer = json!({
            "name": "first", "issuer": "https://first.test", "audience": "bulkhead",
            "algorithms": ["EdDSA"], "tenant": {"claim": "tenant"},
            "environment": {"claim": "env"}, "workflow": {"claim": "workflow"},
            "grants": "model:models", "direct": true,
            "keys": {"url": format!("http://{address}/.well-known/jwks.json")},
        });
        settings.identity.issuers = vec![serde_json::from_value(issuer).unwrap()];
    })
    .await;
    let token = first.token("acme", "live", ALL).await;
    second.get(&token, "/v1/models").await.good();
    second.chat(&token, "plain", "hello").await.refused(403, "scope.grant");
    // A key that is not there yet is looked for again, but not at every asking.
    first.admin(Method::POST, "/admin/v1/signing-keys/rotate", Value::Null).await.good();
    let token = first.token("acme", "live", ALL).await;
    second.get(&token, "/v1/models").await.refused(401, "scope.unknown_key");
    second.clock.advance(std::time::Duration::from_secs(31));
    second.get(&token, "/v1/models").await.good();
    // Trust goes one way.
    let back = second.token("acme", "live", ALL).await;
    first.get(&back, "/v1/models").await.refused(401, "scope.issuer");
}

#[tokio::test]
async fn attacks_on_an_issuers_token() {
    let rig = rig().await;
    let changed = |name: &str, value: Value| {
        let mut claims = issuer::claims();
        claims[name] = value;
        issuer::token("EdDSA", "ed", &claims)
    };
    let good = issuer::token("EdDSA", "ed", &issuer::claims());
    let swapped = {
        let (head, _) = good.rsplit_once('.').unwrap();
        let other = issuer::token("EdDSA", "ed", &json!({}));
        format!("{head}.{}", other.rsplit_once('.').unwrap().1)
    };
    let now = NOON.secs();
    for (name, token, status, code) in [
        ("none", issuer::unsigned(), 401, "scope.algorithm"),
        ("HS256 with the public key", issuer::confused(), 401, "scope.algorithm"),
        (
            "an algorithm not listed",
            issuer::token("PS256", "rsa", &issuer::claims()),
            401,
            "scope.algorithm",
        ),
        (
            "a key of another kind",
            issuer::token("EdDSA", "rsa", &issuer::claims()),
            401,
            "scope.algorithm",
        ),
        (
            "an unknown key",
            issuer::token("EdDSA", "other", &issuer::claims()),
            401,
            "scope.unknown_key",
        ),
        ("another's signature", issuer::forged(), 401, "scope.signature"),
        ("a signature of something else", swapped, 401, "scope.signature"),
        ("another audience", changed("aud", json!("api://else")), 401, "scope.audience"),
        ("no audience", changed("aud", Value::Null), 401, "scope.audience"),
        ("another issuer", changed("iss", json!("https://evil.test")), 401, "scope.issuer"),
        ("expired", changed("exp", json!(now - 61)), 401, "scope.expired"),
        ("not yet", changed("iat", json!(now + 61)), 401, "scope.clock_skew"),
        ("nobody's tenant", changed("org", json!({"id": "org_nobody"})), 403, "scope.tenant"),
        ("no tenant", changed("org", json!({})), 403, "scope.tenant"),
        ("two tenants", changed("org", json!({"id": ["org_acme"]})), 403, "scope.tenant"),
        ("not a token", "eyJ.e30".to_owned(), 401, "scope.malformed"),
    ] {
        let form =
            [EXCHANGE, ("subject_token_type", ID_TOKEN), ("subject_token", &token), ("scope", ALL)];
        let reply = rig.exchange(&rig.service, &form).await;
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{name}");
        let reply = rig.get(&token, "/v1/models").await;
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{name}, directly");
    }
}

#[tokio::test]
async fn a_run_grant_becomes_tokens_and_nothing_else() {
    let rig = rig().await;
    let more = [
        ("scope", "model:*"),
        ("run", "r-9"),
        ("requested_token_type", RUN_GRANT),
        ("ttl_seconds", "86400"),
    ];
    let grant = rig.minted("acme", "live", &more).await;
    let secret = text(&grant, "access_token");
    assert_eq!((text(&grant, "token_type"), &grant["expires_in"]), ("N_A", &json!(86_400)));
    // Useless for a hop, and without a service credential.
    rig.get(secret, "/v1/models").await.refused(401, "scope.malformed");
    let form = [EXCHANGE, ("subject_token_type", RUN_GRANT), ("subject_token", secret)];
    rig.exchange(secret, &form).await.refused(404, "not_found");

    // Long after any token has expired it still gives fresh ones, of the same run.
    rig.clock.advance(std::time::Duration::from_secs(20 * 3_600));
    let minted = rig.exchange(&rig.service, &form).await.good().json();
    let said = claims(text(&minted, "access_token"));
    assert_eq!((&said["txn"], &said["tenant"]), (&json!("r-9"), &json!("acme")));
    assert_eq!(said["scope"], "model:*");
    rig.get(text(&minted, "access_token"), "/v1/models").await.good();
    let refused = |name, value| {
        let mut form = form.to_vec();
        form.push((name, value));
        form
    };
    for (name, value, code) in [
        ("scope", "model:* audit:read", "scope.grant"),
        ("run", "r-10", "scope.mismatch"),
        ("environment", "staging", "scope.mismatch"),
        ("workflow", "billing", "scope.mismatch"),
    ] {
        let reply = rig.exchange(&rig.service, &refused(name, value)).await;
        assert_eq!((reply.status, reply.code().as_str()), (403, code), "{name}={value}");
    }
    let listed = rig.admin(Method::GET, "/admin/v1/tenants/acme/run-grants", Value::Null).await;
    let listed = listed.good();
    assert_eq!(listed.json()["items"][0]["id"], grant["id"]);
    // Which runs there are is the tenant's own.
    assert!(!listed.text().contains(secret) && !listed.text().contains("r-9"));
    rig.clock.advance(std::time::Duration::from_secs(5 * 3_600));
    rig.exchange(&rig.service, &form).await.refused(401, "scope.expired");
}

#[tokio::test]
async fn narrowing_only_removes() {
    let rig = rig().await;
    let wide =
        rig.minted("acme", "live", &[("scope", ALL), ("run", "r-1"), ("ttl_seconds", "300")]).await;
    let wide = text(&wide, "access_token");
    let form = [EXCHANGE, ("subject_token_type", TXN_TOKEN), ("subject_token", wide)];
    let ask = |more: &[(&'static str, &'static str)]| {
        let mut form = form.to_vec();
        form.extend_from_slice(more);
        form
    };
    let narrow = rig
        .exchange(&rig.service, &ask(&[("scope", "model:models"), ("ttl_seconds", "900")]))
        .await;
    let narrow = narrow.good().json();
    assert_eq!(narrow["expires_in"], 300, "it ends no later than what it was made from");
    let narrow = text(&narrow, "access_token");
    let said = claims(narrow);
    assert_eq!((&said["scope"], &said["txn"]), (&json!("model:models"), &json!("r-1")));
    assert_eq!(said["parent"], claims(wide)["jti"]);
    rig.get(narrow, "/v1/models").await.good();
    rig.get(narrow, "/v1/audit").await.refused(403, "scope.grant");
    for (name, value, code) in [
        ("environment", "staging", "scope.mismatch"),
        ("workflow", "billing", "scope.mismatch"),
        ("run", "r-2", "scope.mismatch"),
        ("scope", "queue:*", "scope.grant"),
    ] {
        let reply = rig.exchange(&rig.service, &ask(&[(name, value)])).await;
        assert_eq!((reply.status, reply.code().as_str()), (403, code), "{name}={value}");
    }
    let again = [
        EXCHANGE,
        ("subject_token_type", TXN_TOKEN),
        ("subject_token", narrow),
        ("scope", "model:chat"),
    ];
    rig.exchange(&rig.service, &again).await.refused(403, "scope.grant");
}
