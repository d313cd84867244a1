//! Who owns what at a provider whose one credential everybody has.

use std::time::Duration;

use bulkhead_model::{
    Account, Api, Cited, Dialect, Error, HandleBounds, HandleKind, HandlePolicy, Made, Resource,
};
use scope::{Scope, Write};
use serde_json::{Value, json};

use super::{
    depot::says,
    estate::{Estate, Got, SHARED, Sent},
};

const DAY: Duration = Duration::from_secs(86_400);

fn made(kind: HandleKind, id: &str) -> Made {
    Made { kind, id: id.into() }
}

impl Estate {
    async fn owns(&self, scope: &Scope<Write>, kind: HandleKind, id: &str) -> bool {
        let cited = Cited { kind, id: id.into(), place: "test" };
        self.handles.owns(scope, self.account(), &cited).await.unwrap()
    }

    async fn claim(&self, scope: &Scope<Write>, made: &[Made]) -> Result<(), Error> {
        self.handles.claim(scope, self.account(), made).await
    }
}

/// One of each kind, all the scope's.
struct Things {
    file: String,
    lines: String,
    batch: String,
    response: String,
    conversation: String,
    item: String,
    audio: String,
    container: String,
}

async fn things(estate: &Estate, scope: &Scope<Write>) -> Things {
    let line = json!({"custom_id": "a", "method": "POST", "url": "/v1/responses",
        "body": {"model": "m", "input": "x"}});
    let file = estate.upload(scope, "user_data", "hello").await.unwrap().id();
    let lines = estate.upload(scope, "batch", &line.to_string()).await.unwrap().id();
    let batch = begin(estate, scope, &lines).await.unwrap().id();
    let response = estate.respond(scope, &json!({"model": "m", "input": "x"})).await.unwrap().id();
    let nothing = Sent::Json(json!({}));
    let conversation = estate.ask(scope, Resource::CreateConversation, &[], &[], nothing).await;
    let conversation = conversation.unwrap().id();
    let items = Sent::Json(json!({"items": [{"type": "message", "role": "user", "content": "x"}]}));
    let added = estate.ask(scope, Resource::AddItems, &[&conversation], &[], items).await.unwrap();
    let item = added.ids()[0].clone();
    let said = json!({"model": "m", "messages": []});
    let said = estate.tell(scope, Api::Chat, &said).await.unwrap().json();
    let audio = said["choices"][0]["message"]["audio"]["id"].as_str().unwrap().to_owned();
    let said = json!({"model": "claude", "max_tokens": 1, "messages": []});
    let said = estate.tell(scope, Api::Messages, &said).await.unwrap().json();
    let container = said["container"]["id"].as_str().unwrap().to_owned();
    Things { file, lines, batch, response, conversation, item, audio, container }
}

async fn begin(estate: &Estate, scope: &Scope<Write>, file: &str) -> Result<Got, Error> {
    let body = json!({"input_file_id": file, "endpoint": "/v1/responses",
        "completion_window": "24h"});
    estate.ask(scope, Resource::CreateBatch, &[], &[], Sent::Json(body)).await
}

/// Every use of every thing: what it is, and how it is asked for.
fn uses(things: &Things) -> Vec<(Resource, Vec<&str>, Value)> {
    let Things { file, batch, response, conversation, item, .. } = things;
    let message = json!([{"type": "message", "role": "user", "content": "x"}]);
    vec![
        (Resource::File, vec![file], json!({})),
        (Resource::FileContent, vec![file], json!({})),
        (Resource::Batch, vec![batch], json!({})),
        (Resource::CancelBatch, vec![batch], json!({})),
        (Resource::Response, vec![response], json!({})),
        (Resource::CancelResponse, vec![response], json!({})),
        (Resource::ResponseItems, vec![response], json!({})),
        (Resource::Conversation, vec![conversation], json!({})),
        (Resource::UpdateConversation, vec![conversation], json!({"metadata": {"a": "b"}})),
        (Resource::ConversationItems, vec![conversation], json!({})),
        (Resource::AddItems, vec![conversation], json!({"items": message})),
        (Resource::Item, vec![conversation, item], json!({})),
        (Resource::DeleteItem, vec![conversation, item], json!({})),
        (Resource::DeleteConversation, vec![conversation], json!({})),
        (Resource::DeleteResponse, vec![response], json!({})),
        (Resource::DeleteFile, vec![file], json!({})),
    ]
}

/// What requests name, in whatever field of whatever endpoint.
fn citing(things: &Things) -> Vec<(Api, Value)> {
    let Things { file, response, conversation, item, audio, container, .. } = things;
    let input = |part: Value| json!({"input": [{"role": "user", "content": [part]}]});
    let said = |message: Value| json!({"messages": [message]});
    let user = |part: Value| said(json!({"role": "user", "content": [part]}));
    let source = json!({"type": "file", "file_id": file});
    let document = user(json!({"type": "document", "source": source}));
    let upload = user(json!({"type": "container_upload", "file_id": file}));
    let auto = json!({"type": "auto", "file_ids": [file]});
    let interpreter = json!({"type": "code_interpreter", "container": auto});
    let all = [
        (Api::Responses, json!({"previous_response_id": response})),
        (Api::Responses, json!({"conversation": conversation})),
        (Api::Responses, json!({"conversation": {"id": conversation}})),
        (Api::Responses, json!({"input": [{"type": "item_reference", "id": item}]})),
        (Api::Responses, json!({"input": [{"type": "message", "id": item, "content": []}]})),
        (Api::Responses, input(json!({"type": "input_file", "file_id": file}))),
        (Api::Responses, input(json!({"type": "input_file", "fileId": file}))),
        (Api::Responses, input(json!({"type": "input_image", "file_id": file}))),
        (Api::Responses, json!({"model": "tools", "tools": [interpreter]})),
        (Api::Chat, user(json!({"type": "file", "file": {"file_id": file}}))),
        (Api::Chat, said(json!({"role": "assistant", "audio": {"id": audio}}))),
        (Api::Messages, document.clone()),
        (Api::Messages, upload.clone()),
        (Api::CountTokens, document),
        (Api::CountTokens, upload),
        (Api::Messages, json!({"container": container})),
        (Api::Messages, json!({"container": {"id": container}})),
    ];
    // With what has to be there besides.
    let rest = |api: Api| match api {
        Api::Responses => json!({"model": "m", "input": "x"}),
        Api::Chat | Api::Embeddings => json!({"model": "m", "messages": []}),
        Api::Messages => json!({"model": "claude", "max_tokens": 1, "messages": []}),
        Api::CountTokens => json!({"model": "claude", "messages": []}),
    };
    all.into_iter()
        .map(|(api, more)| {
            let mut body = rest(api);
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            (api, body)
        })
        .collect()
}

/// All that one tenant has, tried by another tenant and by another environment of its own, in
/// every place: it is as if it were not there, and the provider hears nothing of it.
#[tokio::test]
async fn nobody_names_what_is_anothers() {
    let estate = Estate::shared().await;
    let acme = estate.acme().await;
    let things = things(&estate, &acme).await;
    let never = Things {
        file: "file-never".into(),
        lines: "file-never".into(),
        batch: "batch_never".into(),
        response: "resp_never".into(),
        conversation: "conv_never".into(),
        item: "msg_never".into(),
        audio: "audio-never".into(),
        container: "container_never".into(),
    };
    let others = [estate.globex().await, estate.kit.scope("acme", "staging").await];
    for other in &others {
        let asked = estate.depot.asked();
        for ((resource, ids, body), (_, none, _)) in uses(&things).into_iter().zip(uses(&never)) {
            let mut told = Vec::new();
            for ids in [ids, none] {
                let sent = if body == json!({}) { Sent::Nothing } else { Sent::Json(body.clone()) };
                let error = estate.ask(other, resource, &ids, &[], sent).await.unwrap_err();
                assert_eq!(error.code(), "model.handle", "{resource:?}");
                told.push(error.to_string());
            }
            assert_eq!(told[0], told[1], "{resource:?}");
        }
        for (theirs, none) in citing(&things).iter().zip(citing(&never)) {
            let mut told = Vec::new();
            for body in [theirs, &none] {
                let (api, body) = body;
                let error = estate.tell(other, *api, body).await.unwrap_err();
                assert_eq!(error.code(), "model.handle", "{body}");
                told.push(error.to_string());
            }
            assert_eq!(told[0], told[1], "{theirs:?}");
        }
        for file in [&things.lines, &never.lines] {
            assert_eq!(begin(&estate, other, file).await.unwrap_err().code(), "model.handle");
        }
        for id in [&things.item, &never.item] {
            let own = estate.ask(other, Resource::CreateConversation, &[], &[], Sent::Nothing);
            let own = own.await.unwrap().id();
            let resource = Resource::ConversationItems;
            for (ids, query) in [(vec![&*own], vec![("after", &**id)]), (vec![&own, id], vec![])] {
                let resource = if ids.len() == 2 { Resource::Item } else { resource };
                let error = estate.ask(other, resource, &ids, &query, Sent::Nothing).await;
                assert_eq!(error.unwrap_err().code(), "model.handle");
            }
        }
        // Two conversations of its own, and nothing else.
        assert_eq!(estate.depot.asked(), asked + 2);
        assert!(estate.get(other, Resource::ListFiles, &[]).await.unwrap().ids().is_empty());
        assert!(estate.get(other, Resource::ListBatches, &[]).await.unwrap().ids().is_empty());
    }
    for (api, body) in citing(&things) {
        let cited = body.to_string();
        // No file was made at the other provider.
        if api.dialect() == Dialect::Anthropic && cited.contains("file-") {
            continue;
        }
        assert_eq!(estate.tell(&acme, api, &body).await.unwrap().status, 200, "{body}");
    }
    for (resource, ids, body) in uses(&things) {
        let sent = if body == json!({}) { Sent::Nothing } else { Sent::Json(body) };
        let got = estate.ask(&acme, resource, &ids, &[], sent).await.unwrap();
        assert_eq!(got.status, 200, "{resource:?}");
    }
    // What is deleted is not there for its owner either.
    for (resource, ids) in [
        (Resource::File, vec![&*things.file]),
        (Resource::Response, vec![&things.response]),
        (Resource::Conversation, vec![&things.conversation]),
    ] {
        let asked = estate.depot.asked();
        let error = estate.get(&acme, resource, &ids).await.unwrap_err();
        assert_eq!(error.code(), "model.handle", "{resource:?}");
        assert_eq!(estate.depot.asked(), asked);
    }
}

#[tokio::test]
async fn a_credential_of_ones_own_is_no_exception() {
    let estate = Estate::new(false, HandleBounds::default(), |_| {}).await;
    let (acme, globex) = (estate.acme().await, estate.globex().await);
    let things = things(&estate, &acme).await;
    for (resource, ids, _) in uses(&things) {
        let error = estate.ask(&globex, resource, &ids, &[], Sent::Nothing).await.unwrap_err();
        let expected = match resource {
            Resource::UpdateConversation | Resource::AddItems => "request.malformed",
            _ => "model.handle",
        };
        assert_eq!(error.code(), expected, "{resource:?}");
    }
}

/// `handles = "account"`: on a credential of one's own, all that the account has. On a shared
/// one it says nothing.
#[tokio::test]
async fn an_account_of_ones_own_can_be_opened() {
    for (shared, code) in [(false, None), (true, Some("model.handle"))] {
        let account = |settings: &mut bulkhead_model::Settings| {
            settings.providers[0].handles = HandlePolicy::Account;
        };
        let estate = Estate::new(shared, HandleBounds::default(), account).await;
        estate.depot.put("files/file-else", json!({"id": "file-else", "object": "file"}));
        estate.depot.put("conversations/conv_else", json!({"id": "conv_else"}));
        let acme = estate.acme().await;
        for (resource, id) in [(Resource::File, "file-else"), (Resource::Conversation, "conv_else")]
        {
            let got = estate.get(&acme, resource, &[id]).await;
            assert_eq!(got.err().map(|error| error.code()), code, "{resource:?}");
        }
        // It is not the scope's for that.
        assert!(!estate.owns(&acme, HandleKind::File, "file-else").await);
        // Whose lines were judged by nobody is not worked off.
        let error = begin(&estate, &acme, "file-else").await.unwrap_err();
        assert_eq!(error.code(), code.unwrap_or("request.malformed"));
    }
}

#[tokio::test]
async fn the_first_claim_wins() {
    let estate = Estate::shared().await;
    let (acme, globex) = (estate.acme().await, estate.globex().await);
    let staging = estate.kit.scope("acme", "staging").await;
    let response = made(HandleKind::Response, "resp_1");
    let item = made(HandleKind::Item, "msg_1");
    estate.claim(&acme, std::slice::from_ref(&response)).await.unwrap();
    estate.claim(&acme, std::slice::from_ref(&response)).await.unwrap();
    for other in [&globex, &staging] {
        let error = estate.claim(other, &[item.clone(), response.clone()]).await.unwrap_err();
        assert_eq!(error.code(), "upstream.malformed");
        // All or nothing.
        assert!(!estate.owns(other, HandleKind::Item, "msg_1").await);
        assert!(!estate.owns(other, HandleKind::Response, "resp_1").await);
    }
    assert!(estate.owns(&acme, HandleKind::Response, "resp_1").await);
    // An id is of its kind and of its provider.
    assert!(!estate.owns(&acme, HandleKind::Conversation, "resp_1").await);
    let other = "other".parse().unwrap();
    let elsewhere = Account { provider: &other, shared: true };
    let cited = Cited { kind: HandleKind::Response, id: "resp_1".into(), place: "test" };
    assert!(!estate.handles.owns(&acme, elsewhere, &cited).await.unwrap());
    estate.handles.claim(&globex, elsewhere, &[response]).await.unwrap();
}

/// A handle is owned if the owner's own row and the deployment's both say so.
#[tokio::test]
async fn two_rows_have_to_agree() {
    let estate = Estate::shared().await;
    let (acme, globex) = (estate.acme().await, estate.globex().await);
    let file = [made(HandleKind::File, "file-1")];
    estate.claim(&acme, &file).await.unwrap();
    let [owned, _, claims] = *bulkhead_model::TABLES else { panic!("three tables") };
    let system = super::estate::system();
    let claimed = estate.store.system(&system);
    assert_eq!(estate.handles.conflicts(), 0);
    let (key, by) = claimed.scan(claims, store::Range::all()).await.unwrap().remove(0);
    assert_eq!(by, acme.partition_bytes()[..]);
    claimed.put(claims, &key, globex.partition_bytes()).await.unwrap();
    for scope in [&acme, &globex] {
        assert!(!estate.owns(scope, HandleKind::File, "file-1").await);
    }
    assert_eq!(estate.handles.conflicts(), 1);
    claimed.delete(claims, &key).await.unwrap();
    assert!(!estate.owns(&acme, HandleKind::File, "file-1").await);
    estate.claim(&acme, &file).await.unwrap();
    assert!(estate.owns(&acme, HandleKind::File, "file-1").await);
    // Another's row in one's own place does not open.
    let (key, sealed) =
        estate.store.of(&acme).scan(owned, store::Range::all()).await.unwrap().remove(0);
    claimed.put(claims, &key, globex.partition_bytes()).await.unwrap();
    estate.store.of(&globex).put(owned, &key, &sealed).await.unwrap();
    let cited = Cited { kind: HandleKind::File, id: "file-1".into(), place: "test" };
    assert!(estate.handles.owns(&globex, estate.account(), &cited).await.is_err());
}

/// However many claim at once, one has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_hundred_claims_at_once_one_tenants_hold() {
    let estate = std::sync::Arc::new(Estate::shared().await);
    let scopes = [
        estate.acme().await,
        estate.globex().await,
        estate.kit.scope("acme", "staging").await,
        estate.kit.scope("globex", "staging").await,
    ];
    let mut tasks = tokio::task::JoinSet::new();
    for nth in 0..100 {
        let (estate, scope) = (estate.clone(), scopes[nth % 4].clone());
        tasks.spawn(async move {
            estate.claim(&scope, &[made(HandleKind::File, "file-1")]).await.is_ok()
        });
    }
    let won = tasks.join_all().await.into_iter().filter(|won| *won).count();
    assert_eq!(won, 25);
    let mut owners = 0;
    for scope in &scopes {
        owners += usize::from(estate.owns(scope, HandleKind::File, "file-1").await);
    }
    assert_eq!(owners, 1);
}

/// A provider that answers one tenant with the id of another's: the answer is withheld.
#[tokio::test]
async fn what_was_there_before_is_not_made_again() {
    let estate = Estate::shared().await;
    let (acme, globex) = (estate.acme().await, estate.globex().await);
    let Things { file, response, conversation, batch, .. } = things(&estate, &acme).await;
    let line = r#"{"custom_id":"a","method":"POST","url":"/v1/responses","body":{"model":"m"}}"#;
    let lines = estate.upload(&globex, "batch", line).await.unwrap().id();
    let lied = [file, response, conversation, batch];
    estate.depot.says(move |asked| {
        let id = match asked.path.as_str() {
            "files" => &lied[0],
            "responses" => &lied[1],
            "conversations" => &lied[2],
            _ => &lied[3],
        };
        Some(says(&json!({"id": id, "object": "response", "status": "completed", "output": []})))
    });
    let x = json!({"model": "m", "input": "x"});
    let errors = [
        estate.upload(&globex, "user_data", "x").await.unwrap_err(),
        estate.respond(&globex, &x).await.unwrap_err(),
        estate.get(&globex, Resource::CreateConversation, &[]).await.unwrap_err(),
        begin(&estate, &globex, &lines).await.unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.code(), "upstream.malformed");
        assert!(!error.to_string().contains("_1") && !error.to_string().contains("-1"));
    }
    assert_eq!(estate.get(&globex, Resource::ListFiles, &[]).await.unwrap().ids(), [lines]);
    assert!(estate.get(&globex, Resource::ListBatches, &[]).await.unwrap().ids().is_empty());
    let codes = estate.codes(&globex).await;
    assert_eq!(codes.iter().flatten().filter(|code| *code == "upstream.malformed").count(), 4);
}

/// Deleted, forgotten or erased: nobody else gets it.
#[tokio::test]
async fn what_was_ones_never_is_anothers() {
    let estate = Estate::shared().await;
    let (acme, globex) = (estate.acme().await, estate.globex().await);
    let all = [
        made(HandleKind::File, "file-1"),
        made(HandleKind::Conversation, "conv_1"),
        made(HandleKind::Response, "resp_1"),
    ];
    estate.claim(&acme, &all).await.unwrap();
    let released = estate.handles.release(&acme, &estate.provider, HandleKind::File, "file-1");
    assert!(released.await.unwrap());
    assert!(!estate.owns(&acme, HandleKind::File, "file-1").await);
    estate.clock.advance(31 * DAY);
    assert!(!estate.owns(&acme, HandleKind::Response, "resp_1").await);
    assert!(estate.owns(&acme, HandleKind::Conversation, "conv_1").await);
    estate.store.of(&acme).erase_all().await.unwrap();
    assert!(!estate.owns(&acme, HandleKind::Conversation, "conv_1").await);
    for one in &all {
        let error = estate.claim(&globex, std::slice::from_ref(one)).await.unwrap_err();
        assert_eq!(error.code(), "upstream.malformed", "{one:?}");
    }
    let released = estate.handles.release(&globex, &estate.provider, HandleKind::File, "file-1");
    assert!(!released.await.unwrap());
}

/// What is seen again is remembered for longer.
#[tokio::test]
async fn responses_are_remembered_for_as_long_as_they_are_seen() {
    let estate = Estate::shared().await;
    let acme = estate.acme().await;
    let response = estate.respond(&acme, &json!({"model": "m", "input": "x"})).await.unwrap().id();
    estate.clock.advance(20 * DAY);
    let acme = estate.acme().await;
    estate.get(&acme, Resource::Response, &[&response]).await.unwrap();
    estate.clock.advance(20 * DAY);
    let acme = estate.acme().await;
    assert!(estate.owns(&acme, HandleKind::Response, &response).await);
    estate.clock.advance(11 * DAY);
    let acme = estate.acme().await;
    let error = estate.get(&acme, Resource::Response, &[&response]).await.unwrap_err();
    assert_eq!(error.code(), "model.handle");
}

/// Whoever owns as much as it may makes nothing more, and nothing more of others' is in its
/// way.
#[tokio::test]
async fn handles_are_bounded() {
    let bounds = HandleBounds { most: 3, ..HandleBounds::default() };
    let estate = Estate::new(true, bounds, |_| {}).await;
    let acme = estate.acme().await;
    for content in ["a", "b", "c"] {
        estate.upload(&acme, "user_data", content).await.unwrap();
    }
    let asked = estate.depot.asked();
    let error = estate.upload(&acme, "user_data", "d").await.unwrap_err();
    assert_eq!(error.code(), "model.handles_full");
    let begun = estate.get(&acme, Resource::CreateConversation, &[]).await.unwrap_err();
    assert_eq!(begun.code(), "model.handles_full");
    assert_eq!(estate.depot.asked(), asked);
    // What is owned can be used, and makes room when it is deleted.
    let files = estate.get(&acme, Resource::ListFiles, &[]).await.unwrap().ids();
    estate.get(&acme, Resource::File, &[&files[0]]).await.unwrap();
    estate.get(&acme, Resource::DeleteFile, &[&files[0]]).await.unwrap();
    estate.upload(&acme, "user_data", "d").await.unwrap();
    estate.upload(&estate.globex().await, "user_data", "e").await.unwrap();
}

/// What can be no id is none, and no answer with one goes out.
#[tokio::test]
async fn ids_are_short_and_visible() {
    let estate = Estate::shared().await;
    let acme = estate.acme().await;
    let (longest, long) =
        ("x".repeat(bulkhead_model::MAX_HANDLE), "x".repeat(bulkhead_model::MAX_HANDLE + 1));
    estate.claim(&acme, &[made(HandleKind::File, &longest)]).await.unwrap();
    assert!(estate.owns(&acme, HandleKind::File, &longest).await);
    for bad in ["", "a b", "a\nb", "gr\u{f6}\u{df}e", &long] {
        let error = estate.claim(&acme, &[made(HandleKind::File, bad)]).await.unwrap_err();
        assert_eq!(error.code(), "upstream.malformed", "{bad}");
        assert!(!estate.owns(&acme, HandleKind::File, bad).await);
        let error = estate.get(&acme, Resource::File, &[bad]).await.unwrap_err();
        assert_eq!(error.code(), "model.handle", "{bad}");
    }
    let many: Vec<_> = (0..2_000).map(|n| made(HandleKind::Item, &format!("msg_{n}"))).collect();
    assert!(estate.claim(&acme, &many).await.is_err());
    estate.claim(&acme, &many[..1_000]).await.unwrap();
}

/// The record holds no id that can be read without the owner's key, and no credential at all.
#[tokio::test]
async fn the_record_is_sealed() {
    let estate = Estate::shared().await;
    let acme = estate.acme().await;
    let id = estate.upload(&acme, "user_data", "x").await.unwrap().id();
    for table in bulkhead_model::TABLES {
        for (key, value) in estate.store.of(&acme).scan(*table, store::Range::all()).await.unwrap()
        {
            for bytes in [key, value] {
                let text = String::from_utf8_lossy(&bytes);
                assert!(!text.contains(&id) && !text.contains(SHARED));
            }
        }
    }
    estate.store.check_integrity(&super::estate::system(), store::Depth::Quick).await.unwrap();
}
