//! A hostile tenant on the others' provider key: what it is given to see, and what it may name.

use bulkhead_model::{
    Account, Api, Caller, Cited, Error, HandleKind, HandlePolicy, Kind, Made, ModelHop, Resource,
    Route, RouteTarget,
};
use scope::{Scope, Write};
use serde_json::{Value, json};

use super::{
    estate::{Estate, Sent},
    shapes::{response, response_events},
    standin::{Seen, StandIn, events, json as whole, status},
    world::{World, provider, settings, text},
};

const ALL: &str = "sk-everybodys-0123";

/// Every answer has the same ids, as servers give them that keep nothing.
fn alike(_: usize, seen: &Seen) -> super::standin::Reply {
    match seen.json()["stream"] == true {
        true => events(response_events("x", "resp_0", "msg_0")),
        false => whole(response("x", "resp_0", "msg_0")),
    }
}

async fn ask(
    world: &World,
    model: &ModelHop,
    scope: &Scope<Write>,
    body: &str,
) -> Result<String, Error> {
    Ok(text(world.call(model, scope, Api::Responses, body, Caller::default()).await?).await)
}

/// What each of these says, or the code of the refusal.
async fn code(world: &World, model: &ModelHop, scope: &Scope<Write>, body: &str) -> &'static str {
    match ask(world, model, scope, body).await {
        Ok(said) if said.contains("upstream.malformed") => "upstream.malformed",
        Ok(_) => "",
        Err(error) => error.code(),
    }
}

/// At accounts of their own two tenants may be given the same id, and each has its own.
#[tokio::test]
async fn two_accounts_may_give_the_same_id() {
    let world = World::new().await;
    let (acme, globex) = (world.acme().await, world.globex().await);
    let upstream = StandIn::new().await;
    upstream.answers(alike);
    let model = world.hop(settings(upstream.address));
    let next = r#"{"model":"plain","previous_response_id":"resp_0","input":[
        {"type":"item_reference","id":"msg_0"}]}"#;
    for scope in [&acme, &globex] {
        assert_eq!(code(&world, &model, scope, next).await, "model.handle");
        for stream in ["false", "true"] {
            let first = format!(r#"{{"model":"plain","stream":{stream},"input":"q"}}"#);
            assert_eq!(code(&world, &model, scope, &first).await, "");
        }
        assert_eq!(code(&world, &model, scope, next).await, "");
    }
    assert_eq!(world.handles.conflicts(), 0);
}

/// What an account of one's own gave opens nothing at the account that all share.
#[tokio::test]
async fn what_ones_own_account_gave_opens_no_shared_one() {
    let world = World::new().await;
    let (acme, globex) = (world.acme().await, world.globex().await);
    let upstream = StandIn::new().await;
    upstream.answers(alike);
    let model = world.hop(settings(upstream.address));
    let first = r#"{"model":"plain","input":"q"}"#;
    let next = r#"{"model":"plain","previous_response_id":"resp_0","input":"q"}"#;
    // Globex at its own account, which says what it likes.
    assert_eq!(code(&world, &model, &globex, first).await, "");
    world.set(&globex, "p", ALL, true).await;
    world.set(&acme, "p", ALL, true).await;
    assert_eq!(code(&world, &model, &globex, next).await, "model.handle");
    assert_eq!(code(&world, &model, &acme, first).await, "");
    assert_eq!(code(&world, &model, &globex, next).await, "model.handle");
    assert_eq!(world.handles.conflicts(), 0, "that is nothing to be alarmed at");
    assert_eq!(code(&world, &model, &acme, next).await, "");
    // Nor is it claimed anew there.
    assert_eq!(code(&world, &model, &globex, first).await, "upstream.malformed");
    assert_eq!(world.handles.conflicts(), 1);
    assert_eq!(code(&world, &model, &globex, next).await, "model.handle");
    // Back at its own it has what it had.
    world.set(&globex, "p", "sk-of-globex-0123", false).await;
    assert_eq!(code(&world, &model, &globex, next).await, "");
}

/// One that was claimed at an account of the tenant's own, and then first of all at the shared.
#[tokio::test]
async fn a_claim_grows_a_second_lock() {
    let estate = Estate::shared().await;
    let (acme, globex) = (estate.acme().await, estate.globex().await);
    let shared = estate.account();
    let own = Account { shared: false, ..shared };
    let made = [Made { kind: HandleKind::File, id: "file-1".into() }];
    let cited = Cited { kind: HandleKind::File, id: "file-1".into(), place: "test" };
    estate.handles.claim(&acme, own, &made).await.unwrap();
    assert!(!estate.handles.owns(&acme, shared, &cited).await.unwrap());
    estate.handles.claim(&acme, shared, &made).await.unwrap();
    assert!(estate.handles.owns(&acme, shared, &cited).await.unwrap());
    assert!(estate.handles.claim(&globex, shared, &made).await.is_err());
    estate.handles.claim(&globex, own, &made).await.unwrap();
    assert!(!estate.handles.owns(&globex, shared, &cited).await.unwrap());
    assert!(estate.handles.owns(&globex, own, &cited).await.unwrap());
}

/// A batch of one's own account is not looked for at the shared one, where its id is another's.
#[tokio::test]
async fn a_list_asks_for_nobody_elses_batch() {
    let estate = Estate::shared().await;
    let (acme, globex) = (estate.acme().await, estate.globex().await);
    let line = json!({"custom_id": "a", "method": "POST", "url": "/v1/responses",
        "body": {"model": "m", "input": "x"}});
    let lines = estate.upload(&acme, "batch", &line.to_string()).await.unwrap().id();
    let body = json!({"input_file_id": lines, "endpoint": "/v1/responses",
        "completion_window": "24h", "metadata": {"canary": "acme"}});
    let begun = estate.ask(&acme, Resource::CreateBatch, &[], &[], Sent::Json(body)).await;
    let id = begun.unwrap().id();
    let own = Account { shared: false, ..estate.account() };
    let made = [Made { kind: HandleKind::Batch, id }];
    estate.handles.claim(&globex, own, &made).await.unwrap();
    let asked = estate.depot.asked();
    let listed = estate.get(&globex, Resource::ListBatches, &[]).await.unwrap();
    assert!(!String::from_utf8_lossy(&listed.bytes).contains("canary"), "{listed:?}");
    assert_eq!(estate.depot.asked(), asked);
}

/// The same ids of items for everybody: answers are handed on, and the first alone can name
/// them. The same id of a response is withheld.
#[tokio::test]
async fn items_that_all_are_given_are_the_firsts() {
    let world = World::new().await;
    let (acme, globex) = (world.acme().await, world.globex().await);
    let upstream = StandIn::new().await;
    upstream.answers(|nth, seen| {
        let id = format!("resp_{nth}");
        match seen.json()["stream"] == true {
            true => events(response_events("x", &id, "msg_0")),
            false => whole(response("x", &id, "msg_0")),
        }
    });
    let model = world.hop(settings(upstream.address));
    for scope in [&acme, &globex] {
        world.set(scope, "p", ALL, true).await;
    }
    let named = r#"{"model":"plain","input":[{"type":"item_reference","id":"msg_0"}]}"#;
    for stream in ["false", "true"] {
        let first = format!(r#"{{"model":"plain","stream":{stream},"input":"q"}}"#);
        for scope in [&acme, &globex] {
            let nth = upstream.asked();
            assert_eq!(code(&world, &model, scope, &first).await, "");
            let next = format!(r#"{{"model":"plain","previous_response_id":"resp_{nth}"}}"#);
            assert_eq!(code(&world, &model, scope, &next).await, "");
        }
    }
    assert_eq!(world.handles.conflicts(), 0);
    assert_eq!(code(&world, &model, &acme, named).await, "");
    assert_eq!(code(&world, &model, &globex, named).await, "model.handle");
}

/// Whose key it is means nothing to a server of one's own: what it keeps, it keeps for all.
#[tokio::test]
async fn a_server_of_ones_own_is_a_shared_account() {
    for kind in [Kind::Vllm, Kind::Sglang] {
        let world = World::new().await;
        let (acme, globex) = (world.acme().await, world.globex().await);
        let upstream = StandIn::new().await;
        upstream.answers(alike);
        let mut settings = settings(upstream.address);
        settings.providers = vec![provider("p", kind, upstream.address)];
        settings.providers[0].handles = HandlePolicy::Account;
        let model = world.hop(settings);
        let first = r#"{"model":"plain","input":"q"}"#;
        let next = r#"{"model":"plain","previous_response_id":"resp_0","input":"q"}"#;
        assert_eq!(code(&world, &model, &acme, first).await, "");
        assert_eq!(code(&world, &model, &globex, next).await, "model.handle", "{kind:?}");
        assert_eq!(code(&world, &model, &globex, first).await, "upstream.malformed");
        assert_eq!(code(&world, &model, &acme, next).await, "");
    }
}

/// Clients of what is not kept send along what they were answered, ids and all. What says all
/// that it is goes without its id; what the provider ran, it looks up by it.
#[tokio::test]
async fn what_is_not_kept_can_be_sent_along() {
    let search = json!({"type": "web_search_call", "id": "ws_1", "status": "completed"});
    let output = json!([
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "sealed"},
        {"type": "reasoning", "id": "rs_2", "summary": [],
            "content": [{"type": "reasoning_text", "text": "x"}]},
        {"type": "message", "id": "msg_1", "role": "assistant", "content": []},
        {"type": "function_call", "id": "fc_1", "call_id": "c_1", "name": "f", "arguments": "{}"},
        search,
    ]);
    for shared in [false, true] {
        let world = World::new().await;
        let (acme, globex) = (world.acme().await, world.globex().await);
        let upstream = StandIn::new().await;
        let said = json!({"id": "resp_1", "object": "response", "status": "completed",
            "output": output});
        upstream.answers(move |_, _| whole(said.to_string()));
        let mut settings = settings(upstream.address);
        settings.routes[0].hosted_tools = vec!["web_search".into()];
        let model = world.hop(settings);
        if shared {
            world.set(&acme, "p", ALL, true).await;
            world.set(&globex, "p", ALL, true).await;
        }
        let first =
            r#"{"model":"plain","store":false,"tools":[{"type":"web_search"}],"input":"q"}"#;
        let along = json!({"model": "plain", "store": false, "input": output}).to_string();
        assert_eq!(code(&world, &model, &globex, &along).await, "model.handle");
        assert_eq!(code(&world, &model, &acme, first).await, "");
        upstream.forget();
        assert_eq!(code(&world, &model, &acme, &along).await, "", "shared: {shared}");
        let sent = upstream.seen().remove(0).json();
        let ids: Vec<_> = sent["input"].as_array().unwrap().iter().map(|i| i.get("id")).collect();
        assert_eq!(ids, [None, None, None, None, Some(&Value::from("ws_1"))]);
        // Another's are as if they were not there, and nothing is sent.
        let theirs = json!({"model": "plain", "store": false, "input": [search]}).to_string();
        assert_eq!(code(&world, &model, &globex, &theirs).await, "model.handle");
        assert_eq!(upstream.asked(), 1);
        // Without the hosted call there is nothing to look up, whoever says it.
        let said = json!({"model": "plain", "store": false, "input": [output[2]]}).to_string();
        assert_eq!(code(&world, &model, &globex, &said).await, "");
        assert_eq!(upstream.seen()[1].json()["input"][0].get("id"), None);
    }
}

/// Whoever may begin batches, and not ask a model, begins none that does.
#[tokio::test]
async fn a_batch_takes_the_grant_of_its_lines() {
    let estate = Estate::shared().await;
    let acme = estate.acme().await;
    let line = json!({"custom_id": "a", "method": "POST", "url": "/v1/embeddings",
        "body": {"model": "m", "input": "x"}});
    let lines = estate.upload(&acme, "batch", &line.to_string()).await.unwrap().id();
    let mut ask = testkit::Kit::ask("acme", "live", "support");
    ask.grants = Some(scope::Grants::parse("model:batches model:files").unwrap());
    let token = estate.kit.doors.exchange(&estate.kit.service().await, ask).await.unwrap();
    let narrow = estate.kit.authenticate(&token.secret).await.unwrap();
    let body = json!({"input_file_id": lines, "endpoint": "/v1/embeddings",
        "completion_window": "24h"});
    let begin =
        |scope| estate.ask(scope, Resource::CreateBatch, &[], &[], Sent::Json(body.clone()));
    let asked = estate.depot.asked();
    assert_eq!(begin(&narrow).await.unwrap_err().code(), "scope.grant");
    assert_eq!(estate.depot.asked(), asked);
    begin(&acme).await.unwrap();
}

/// A tenant that has no room is not let make what could not be recorded.
#[tokio::test]
async fn nothing_is_asked_for_that_has_no_room() {
    let bounds = bulkhead_model::HandleBounds { most: 3, ..Default::default() };
    let estate = Estate::new(true, bounds, |_| {}).await;
    let (acme, globex) = (estate.acme().await, estate.globex().await);
    let x = json!({"model": "m", "input": "x"});
    estate.respond(&globex, &x).await.unwrap();
    let asked = estate.depot.asked();
    assert_eq!(estate.respond(&globex, &x).await.unwrap_err().code(), "model.handles_full");
    assert_eq!(estate.depot.asked(), asked);
    // What leaves nothing behind goes on, and so does everybody else.
    estate.tell(&globex, Api::Embeddings, &x).await.unwrap();
    assert_eq!(estate.depot.asked(), asked + 1);
    estate.respond(&acme, &x).await.unwrap();
}

/// What a provider of the tenant's own would take does not go on to one that all share when the
/// first fails.
#[tokio::test]
async fn what_only_ones_own_account_takes_goes_to_no_shared_one() {
    let world = World::new().await;
    let acme = world.acme().await;
    let (p, q) = (StandIn::new().await, StandIn::new().await);
    p.answers(|_, _| status(503, "{}"));
    world.set(&acme, "q", ALL, true).await;
    let mut settings = settings(p.address);
    settings.providers.push(provider("q", Kind::OpenaiCompatible, q.address));
    let target = |id: &str| RouteTarget {
        provider: id.parse().unwrap(),
        upstream_model: None,
        weight: u32::from(id == "p"),
    };
    settings.routes.push(Route {
        provider: None,
        targets: vec![target("p"), target("q")],
        ..Route::new("m".parse().unwrap(), "p".parse().unwrap())
    });
    let model = world.hop(settings);
    for (field, both) in [
        (r#""chat_template":"x","#, false),
        (r#""store":true,"#, false),
        (
            r#""messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"file:///x"}}]}],"#,
            false,
        ),
        ("", true),
    ] {
        let messages = if field.contains("messages") { "" } else { r#""messages":[],"# };
        let body = format!(r#"{{{field}{messages}"model":"m"}}"#);
        let got = world.call(&model, &acme, Api::Chat, &body, Caller::default()).await.unwrap();
        assert_eq!(got.status, if both { 200 } else { 503 }, "{body}");
        assert_eq!(q.asked(), usize::from(both), "{body}");
    }
}

/// What a form can say in two ways is said anew in one, or refused.
#[tokio::test]
async fn forms_are_read_once() {
    let estate = Estate::shared().await;
    let acme = estate.acme().await;
    let inner = "--x\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--x--";
    let asked = estate.depot.asked();
    for (head, name) in [
        ("\"file\"; filename=\"a\\\"; name=\\\"purpose\"", "file"),
        ("\"file\"; filename=\"a.txt\"\r\nContent-Transfer-Encoding: base64", "file"),
        ("\"file\"; filename=\"a.txt\"; filename*=UTF-8''%2e%2e%2fb", "file"),
        ("\"file\"; filename=\"a.txt\"\r\nContent-Type: multipart/mixed; boundary=x", "file"),
    ] {
        let body = format!(
            "--b\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nuser_data\r\n\
             --b\r\ncontent-disposition: form-data; name={head}\r\n\r\n{inner}\r\n--b--\r\n"
        );
        let kind = "multipart/form-data; boundary=b";
        let sent = Sent::Raw(kind, body);
        let got = estate.ask(&acme, Resource::CreateFile, &[], &[], sent).await;
        let Ok(_) = got else { continue };
        let sent = estate.depot.last();
        assert_eq!(sent.fields(), ["purpose", name], "{head}");
        assert_eq!(sent.field("purpose").unwrap().1, "user_data", "{head}");
        let (file, bytes) = sent.field("file").unwrap();
        assert_eq!(bytes, inner, "as it came: {head}");
        let file = file.unwrap();
        assert!(!file.contains(['"', '/', '\\', '\r', '\n', '%']), "{file}");
        let text = String::from_utf8_lossy(&sent.body).to_ascii_lowercase();
        assert!(!text.contains("transfer-encoding") && !text.contains("filename*"), "{text}");
    }
    assert!(estate.depot.asked() > asked);
}
