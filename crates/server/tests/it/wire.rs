//! What holds for every request, whatever its route.

use std::{fs, sync::Arc};

use bulkhead_server::{
    Tls,
    routes::{Need, Plane, ROUTES},
};
use bytes::Bytes;
use futures_util::stream;
use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, crypto::ring},
};

use super::rig::{ALL, Rig, chat_body};

#[tokio::test]
async fn what_is_not_there_is_said_in_the_form_of_its_protocol() {
    let rig = Rig::empty(|_| {}).await;
    for (plane, method, path, status, form) in [
        (Plane::Data, Method::GET, "/", 404, "title"),
        (Plane::Data, Method::POST, "/v1/images/generations", 404, "error"),
        (Plane::Data, Method::GET, "/v1/state/", 404, "title"),
        (Plane::Data, Method::POST, "/v1/completions", 404, "error"),
        (Plane::Data, Method::DELETE, "/v1/chat/completions", 405, "error"),
        (Plane::Data, Method::POST, "/v1/audit", 405, "title"),
        (Plane::Data, Method::GET, "/admin/v1/tenants", 404, "title"),
        (Plane::Data, Method::POST, "/oauth/token", 404, "error"),
        (Plane::Data, Method::GET, "/metrics", 404, "title"),
        (Plane::Control, Method::POST, "/v1/chat/completions", 404, "error"),
        (Plane::Control, Method::GET, "/v1/audit", 404, "title"),
        (Plane::Control, Method::GET, "/admin/v1/nothing", 404, "title"),
        (Plane::Control, Method::PATCH, "/oauth/token", 405, "error"),
        (Plane::Control, Method::POST, "/metrics", 405, "title"),
    ] {
        let reply = rig.send(plane, method.clone(), path, &[], "").await;
        assert_eq!(reply.status, status, "{method} {path}");
        let code = if status == 404 { "not_found" } else { "request.method" };
        assert_eq!(reply.code(), code, "{method} {path}: {}", reply.text());
        assert!(reply.json().get(form).is_some(), "{method} {path}: {}", reply.text());
        assert_eq!(reply.header("allow").is_empty(), status == 404, "{method} {path}");
    }
}

#[tokio::test]
async fn a_request_under_another_name_is_refused() {
    let rig = Rig::with(|settings| {
        settings.data.hosts = vec!["bulkhead.internal".into()];
    })
    .await;
    let token = rig.token("acme", "live", ALL).await;
    let bearer = format!("Bearer {token}");
    for (plane, host, good) in [
        (Plane::Data, "localhost:1", true),
        (Plane::Data, "bulkhead.internal", true),
        (Plane::Data, "rebound.example", false),
        (Plane::Control, "bulkhead.internal", false),
        (Plane::Control, "localhost", true),
    ] {
        let path = if plane == Plane::Data { "/v1/models" } else { "/admin/v1/status" };
        let secret = format!("Bearer {}", rig.operator);
        let credential = if plane == Plane::Data { &bearer } else { &secret };
        let headers = [("host", host), ("authorization", credential.as_str())];
        let reply = rig.send(plane, Method::GET, path, &headers, "").await;
        match good {
            true => drop(reply.good()),
            false => drop(reply.refused(421, "request.host")),
        }
        // An orchestrator's probe comes by address.
        let probe = rig.send(plane, Method::GET, "/health/ready", &[("host", host)], "").await;
        probe.good();
    }
}

#[tokio::test]
async fn bodies_are_bounded() {
    let rig = Rig::with(|settings| settings.limits.body_bytes = 2_000).await;
    let token = rig.token("acme", "live", ALL).await;
    let long = chat_body("plain", &"x".repeat(3_000), false);
    rig.chat_with(&token, &[], long.clone()).await.refused(413, "request.too_large");

    // The same, of a length that nobody announced.
    let pieces = long.to_string().into_bytes();
    let pieces: Vec<_> = pieces.chunks(500).map(Bytes::copy_from_slice).collect();
    let pieces =
        pieces.into_iter().map(|piece| Ok::<_, std::io::Error>(hyper::body::Frame::data(piece)));
    let body = StreamBody::new(stream::iter(pieces));
    let client = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
    let uri = format!("http://{}/v1/chat/completions", rig.address(Plane::Data));
    let request = Request::post(uri).header("authorization", format!("Bearer {token}"));
    let response = client.request(request.body(body).unwrap()).await.unwrap();
    assert_eq!(response.status(), 413);
    assert!(rig.upstream.seen().is_empty());
}

#[tokio::test]
async fn a_credential_is_the_same_in_every_header_and_nowhere_else() {
    let rig = Rig::start().await;
    let (token, key) = (rig.token("acme", "live", ALL).await, rig.key("acme", "live").await);
    let key = key["secret"].as_str().unwrap();
    let bearer = format!("Bearer {token}");
    for headers in [
        vec![("authorization", bearer.as_str())],
        vec![("x-api-key", token.as_str())],
        vec![("api-key", token.as_str())],
        vec![("authorization", bearer.as_str()), ("x-api-key", token.as_str())],
        vec![("x-api-key", key)],
    ] {
        rig.send(Plane::Data, Method::GET, "/v1/models", &headers, "").await.good();
    }
    let in_query = format!("/v1/models?api_key={token}");
    let reply = rig.send(Plane::Data, Method::GET, &in_query, &[], "").await;
    let reply = reply.refused(401, "scope.missing");
    let challenge = reply.header("www-authenticate").to_owned();
    let address = rig.address(Plane::Data);
    let metadata = format!("http://{address}/.well-known/oauth-protected-resource");
    assert_eq!(challenge, format!("Bearer resource_metadata=\"{metadata}\""));
    for (header, value) in [
        ("authorization", "Basic YTpi".to_owned()),
        ("authorization", token.clone()),
        ("authorization", "Bearer".to_owned()),
        ("x-api-key", String::new()),
    ] {
        let headers = [(header, value.as_str())];
        let reply = rig.send(Plane::Data, Method::GET, "/v1/models", &headers, "").await;
        reply.refused(401, "scope.malformed");
    }
}

#[tokio::test]
async fn the_admin_api_is_strict() {
    let rig = Rig::start().await;
    for (method, path, body, told) in [
        (
            Method::POST,
            "/admin/v1/tenants",
            r#"{"id":"x","environments":["live"],"evil":1}"#,
            "`evil`",
        ),
        (
            Method::POST,
            "/admin/v1/tenants",
            r#"{"id":"x","id":"y","environments":["live"]}"#,
            "twice",
        ),
        (Method::POST, "/admin/v1/tenants", r#"{"id":"X Y","environments":["live"]}"#, "tenant"),
        (Method::POST, "/admin/v1/tenants", r#"{"id":"x"}"#, "`environments`"),
        (Method::POST, "/admin/v1/tenants", "[", "JSON"),
        (Method::GET, "/admin/v1/tenants?limits=1", "", "`limits`"),
        (Method::GET, "/admin/v1/tenants?limit=1&limit=2", "", "`limit`"),
    ] {
        let bearer = format!("Bearer {}", rig.operator);
        let headers = [("authorization", bearer.as_str())];
        let reply = rig.send(Plane::Control, method, path, &headers, body).await;
        let reply = reply.refused(400, "request.malformed");
        assert!(reply.text().contains(told), "{path} {body}: {}", reply.text());
    }
    // A secret in the wrong place is not quoted.
    let secret = "sk-canary-in-the-wrong-place";
    let reply = rig
        .admin(Method::POST, "/admin/v1/tenants", json!({"id": secret, "environments": secret}))
        .await;
    assert!(!reply.refused(400, "request.malformed").text().contains("canary"));
}

#[tokio::test]
async fn what_anybody_may_see() {
    let rig = Rig::start().await;
    let get =
        async |path: &str| rig.send(Plane::Data, Method::GET, path, &[], "").await.good().json();
    let keys = get("/.well-known/jwks.json").await;
    // One of tokens, one of assertions, one of receipts.
    let all = keys["keys"].as_array().unwrap();
    assert_eq!(all.len(), 3);
    assert!(all.iter().all(|key| key.get("d").is_none()));
    let resource = get("/.well-known/oauth-protected-resource").await;
    // Our own issuer is a name, and no place to go to.
    assert_eq!(resource["authorization_servers"], json!([]));
    let grants = resource["scopes_supported"].as_array().unwrap();
    for grant in ["audit:read", "cache:write", "model:chat", "records:read", "state:read"] {
        assert!(grants.contains(&json!(grant)), "{grants:?}");
    }
    // The old key verifies what it signed, the new one signs.
    let before = rig.token("acme", "live", ALL).await;
    let path = "/admin/v1/signing-keys/rotate";
    rig.admin(Method::POST, path, Value::Null).await.good();
    assert_eq!(get("/.well-known/jwks.json").await["keys"].as_array().unwrap().len(), 4);
    rig.get(&before, "/v1/models").await.good();
    let after = rig.token("acme", "live", ALL).await;
    let kid = |token: &str| token.split('.').next().unwrap().to_owned();
    assert_ne!(kid(&before), kid(&after));
    rig.get(&after, "/v1/models").await.good();
}

#[tokio::test]
async fn figures_are_for_operators_and_services() {
    let rig = Rig::with(|settings| settings.metrics.tenants = 1).await;
    for tenant in ["acme", "globex", "acme"] {
        let token = rig.token(tenant, "live", ALL).await;
        rig.chat(&token, "cached", "hello").await.good();
    }
    rig.get("eyJhbGciOiJub25lIn0.e30.", "/v1/models").await;
    let bearer = format!("Bearer {}", rig.service);
    let headers = [("authorization", bearer.as_str())];
    let reply = rig.send(Plane::Control, Method::GET, "/metrics", &headers, "").await.good();
    // A service need not be for every tenant: it sees all of them together.
    let sum =
        "bulkhead_hops_total{surface=\"model\",action=\"chat\",decision=\"allowed\",code=\"\"} 3";
    assert!(reply.text().lines().any(|line| line == sum), "{}", reply.text());
    assert!(!reply.text().contains("tenant=") && !reply.text().contains("acme"));
    let reply = rig.admin(Method::GET, "/metrics", Value::Null).await.good();
    let text = reply.text();
    assert!(reply.header("content-type").starts_with("text/plain; version=0.0.4"));
    for line in [
        "bulkhead_hops_total{tenant=\"acme\",surface=\"model\",action=\"chat\",decision=\"allowed\",code=\"\"} 2",
        "bulkhead_hops_total{tenant=\"other\",surface=\"model\",action=\"chat\",decision=\"allowed\",code=\"\"} 1",
        "bulkhead_unproven_total{code=\"scope.malformed\"} 1",
        "bulkhead_cache_reads_total{result=\"hit\"} 1",
        "bulkhead_foreign_total{where=\"cache\"} 0",
        "bulkhead_ready 1",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
    assert!(text.contains("bulkhead_connections{plane=\"data\"} "), "{text}");
    assert!(!text.contains("globex"), "{text}");
    let status = rig.admin(Method::GET, "/admin/v1/status", Value::Null).await.good().json();
    assert_eq!((&status["tenants"], &status["cache"]["hits"]), (&json!(2), &json!(1)));
}

#[tokio::test]
async fn the_document_lists_every_route() {
    let rig = Rig::empty(|_| {}).await;
    let path = "/admin/v1/openapi.json";
    let document = rig.admin(Method::GET, path, Value::Null).await.good().json();
    assert_eq!(document["openapi"], "3.1.0");
    for route in ROUTES.iter().filter(|route| route.need() != Need::Nothing) {
        let path = route.path.replace("{*", "{");
        let method = route.method.to_ascii_lowercase();
        assert!(document["paths"][&path].get(&method).is_some(), "{route:?}");
    }
}

#[tokio::test]
async fn tls_by_certificate_and_key() {
    const CERTIFICATE: &str = include_str!("tls.crt");
    const KEY: &str = include_str!("tls.key");
    let rig = Rig::with(|settings| {
        let dir = settings.storage.keys.parent().unwrap().to_owned();
        let (certificate, key) = (dir.join("tls.crt"), dir.join("tls.key"));
        fs::write(&certificate, CERTIFICATE).unwrap();
        fs::write(&key, KEY).unwrap();
        settings.data.tls = Some(Tls { certificate, key });
    })
    .await;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(rig.address(Plane::Data)).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let token = rig.token("acme", "live", ALL).await;
    let request = Request::get("/v1/models")
        .header(header::HOST, "localhost")
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .body(Full::<Bytes>::default())
        .unwrap();
    let asked = async {
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), 200);
        response.into_body().collect().await.unwrap();
    };
    tokio::select! {
        () = asked => {}
        ended = connection => panic!("{ended:?}"),
    }
    // Plain HTTP gets no answer there.
    let mut plain = TcpStream::connect(rig.address(Plane::Data)).await.unwrap();
    plain.write_all(b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // A reset is an answer of sorts, too.
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}

#[tokio::test]
async fn an_upstream_error_keeps_its_shape_and_loses_its_secrets() {
    let rig = Rig::start().await;
    let token = rig.token("acme", "live", ALL).await;
    let reply = rig.chat(&token, "plain", "please [fail]").await;
    assert_eq!(reply.status, 500);
    assert!(reply.json()["error"]["message"].is_string(), "{}", reply.text());
    assert!(!reply.text().contains("sk-acme"), "{}", reply.text());
    let streamed = rig.stream(&token, "plain", "please [leak]").await.rest().await;
    assert!(streamed.contains("error") && !streamed.contains("sk-acme"), "{streamed}");
    rig.chat(&token, "unknown", "hello").await.refused(404, "model.unknown");
    rig.set_credential("acme", "live", "sk-acme-that-is-wrong").await.good();
    let reply = rig.chat(&token, "plain", "hello").await.refused(502, "upstream.credential");
    assert!(!reply.text().contains("sk-acme"), "{}", reply.text());
}
