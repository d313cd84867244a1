//! Responses and conversations on a shared account.

use bulkhead_model::{Cited, HandleKind, Resource};
use serde_json::{Value, json};

use super::{
    depot::says,
    estate::{Estate, SHARED, Sent},
};

#[tokio::test]
async fn a_response_is_looked_at_and_deleted() {
    let estate = Estate::shared().await;
    let acme = estate.acme().await;
    let response = estate.respond(&acme, &json!({"model": "m", "input": "x"})).await.unwrap();
    let id = response.id();
    let query = [("include", "reasoning.encrypted_content"), ("stream", "false")];
    let got = estate.ask(&acme, Resource::Response, &[&id], &query, Sent::Nothing).await.unwrap();
    assert_eq!(got.bytes, response.bytes);
    let asked = estate.depot.last();
    assert_eq!((asked.method.as_str(), &*asked.path), ("GET", &*format!("responses/{id}")));
    assert_eq!(asked.query, "include[]=reasoning.encrypted_content");

    let resource = Resource::ResponseItems;
    let items = estate.get(&acme, resource, &[&id]).await.unwrap().ids();
    assert_eq!(items.len(), 1);
    let query = [("after", &*items[0]), ("limit", "5"), ("order", "asc")];
    estate.ask(&acme, resource, &[&id], &query, Sent::Nothing).await.unwrap();
    let asked = estate.depot.last();
    assert_eq!(asked.query, format!("after={}&limit=5&order=asc", items[0]));

    // What it brought with it is the scope's: its items, its conversation.
    let output = response.json()["output"][0]["id"].as_str().unwrap().to_owned();
    let conversation = response.json()["conversation"]["id"].as_str().unwrap().to_owned();
    for (kind, id) in [
        (HandleKind::Item, &items[0]),
        (HandleKind::Item, &output),
        (HandleKind::Conversation, &conversation),
    ] {
        let cited = Cited { kind, id: id.clone(), place: "test" };
        for (scope, owns) in [(&acme, true), (&estate.globex().await, false)] {
            let owned = estate.handles.owns(scope, estate.account(), &cited).await.unwrap();
            assert_eq!(owned, owns, "{id}");
        }
    }
    let got = estate.get(&acme, Resource::CancelResponse, &[&id]).await.unwrap();
    assert_eq!(got.json()["status"], "cancelled");
    let got = estate.get(&acme, Resource::DeleteResponse, &[&id]).await.unwrap();
    assert_eq!(got.json()["deleted"], true);
    let error = estate.get(&acme, Resource::Response, &[&id]).await.unwrap_err();
    assert_eq!(error.code(), "model.handle");
}

/// What went wrong with a response is told without what it quotes of the credential.
#[tokio::test]
async fn the_error_of_a_response_is_told_again_without_the_credential() {
    let estate = Estate::shared().await;
    let acme = estate.acme().await;
    let id = estate.respond(&acme, &json!({"model": "m", "input": "x"})).await.unwrap().id();
    let quoted = &SHARED[..SHARED.len() - 2];
    let failed = json!({"id": id, "object": "response", "status": "failed", "output": [],
        "error": {"code": "invalid_api_key", "message": format!("bad key {quoted}** here")}});
    estate.depot.says(move |_| Some(says(&failed)));
    for resource in [Resource::Response, Resource::CancelResponse] {
        let got = estate.get(&acme, resource, &[&id]).await.unwrap();
        let text = String::from_utf8_lossy(&got.bytes).into_owned();
        assert!(text.contains("bad key") && !text.contains(&quoted[..12]), "{text}");
        assert_eq!(got.json()["status"], "failed");
    }
}

/// A response that is told to go on with another's keeps it: what an answer names is claimed.
#[tokio::test]
async fn what_a_looked_at_response_names_is_anothers_or_ones_own() {
    let estate = Estate::shared().await;
    let (acme, globex) = (estate.acme().await, estate.globex().await);
    let x = json!({"model": "m", "input": "x"});
    let theirs = estate.respond(&globex, &x).await.unwrap();
    let own = estate.respond(&acme, &x).await.unwrap();
    let mut lie = own.json();
    lie["conversation"] = theirs.json()["conversation"].clone();
    estate.depot.says(move |_| Some(says(&lie)));
    let error = estate.get(&acme, Resource::Response, &[&own.id()]).await.unwrap_err();
    assert_eq!(error.code(), "upstream.malformed");
    let other = theirs.json();
    estate.depot.says(move |_| Some(says(&other)));
    let error = estate.get(&acme, Resource::Response, &[&own.id()]).await.unwrap_err();
    assert_eq!(error.code(), "upstream.malformed");
}

fn message(text: &str) -> Value {
    json!({"type": "message", "role": "user", "content": text})
}

#[tokio::test]
async fn a_conversation_from_its_beginning_to_its_end() {
    let estate = Estate::shared().await;
    let acme = estate.acme().await;
    let body = json!({"items": [message("x")], "metadata": {"topic": "t", "tenant": "acme"}});
    let begun = estate.ask(&acme, Resource::CreateConversation, &[], &[], Sent::Json(body.clone()));
    let id = begun.await.unwrap().id();
    assert_eq!(estate.depot.last().json(), body);
    estate.get(&acme, Resource::Conversation, &[&id]).await.unwrap();

    let body = json!({"metadata": {"topic": "u"}});
    let sent = Sent::Json(body.clone());
    let noted = estate.ask(&acme, Resource::UpdateConversation, &[&id], &[], sent).await;
    assert_eq!(noted.unwrap().id(), id);
    assert_eq!(estate.depot.last().json(), body);

    let query = [("include[]", "message.output_text.logprobs")];
    let body = Sent::Json(json!({"items": [message("y"), message("z")]}));
    let added = estate.ask(&acme, Resource::AddItems, &[&id], &query, body).await.unwrap().ids();
    assert_eq!(added.len(), 2);
    let asked = estate.depot.last();
    assert_eq!(
        (&*asked.path, &*asked.query),
        (&*format!("conversations/{id}/items"), "include[]=message.output_text.logprobs")
    );
    let listed = estate.get(&acme, Resource::ConversationItems, &[&id]).await.unwrap().ids();
    assert_eq!(listed, added);
    let item = estate.get(&acme, Resource::Item, &[&id, &added[0]]).await.unwrap();
    assert_eq!(item.json()["content"], "y");
    estate.get(&acme, Resource::DeleteItem, &[&id, &added[1]]).await.unwrap();
    let error = estate.get(&acme, Resource::Item, &[&id, &added[1]]).await.unwrap_err();
    assert_eq!(error.code(), "model.handle");
    estate.get(&acme, Resource::DeleteConversation, &[&id]).await.unwrap();
    let error = estate.get(&acme, Resource::Conversation, &[&id]).await.unwrap_err();
    assert_eq!(error.code(), "model.handle");
}

/// What may stand in a conversation is what may stand in a request.
#[tokio::test]
async fn items_are_held_to_what_holds_for_requests() {
    let estate = Estate::shared().await;
    let (acme, globex) = (estate.acme().await, estate.globex().await);
    let theirs = estate.upload(&globex, "user_data", "x").await.unwrap().id();
    let own = estate.upload(&acme, "user_data", "x").await.unwrap().id();
    let begun = estate.get(&acme, Resource::CreateConversation, &[]).await.unwrap().id();
    let asked = estate.depot.asked();
    let file = |id: &str| {
        let part = json!({"type": "input_file", "file_id": id});
        json!([{"type": "message", "role": "user", "content": [part]}])
    };
    let many: Vec<_> = (0..21).map(|_| message("x")).collect();
    for (items, code) in [
        (file(&theirs), "model.handle"),
        (file("file-never"), "model.handle"),
        (json!([{"type": "item_reference", "id": "msg_never"}]), "model.handle"),
        (json!([{"type": "what_is_this"}]), "request.unsupported"),
        (json!(many), "request.malformed"),
        (json!("x"), "request.malformed"),
    ] {
        let body = json!({"items": items});
        for (resource, ids) in
            [(Resource::CreateConversation, vec![]), (Resource::AddItems, vec![&*begun])]
        {
            let sent = Sent::Json(body.clone());
            let error = estate.ask(&acme, resource, &ids, &[], sent).await.unwrap_err();
            assert_eq!(error.code(), code, "{body}");
        }
    }
    assert_eq!(estate.depot.asked(), asked);
    let sent = Sent::Json(json!({"items": file(&own)}));
    estate.ask(&acme, Resource::AddItems, &[&begun], &[], sent).await.unwrap();
}

/// Every other field and parameter is refused by name, before anything is looked up.
#[tokio::test]
async fn what_is_not_known_is_refused_by_name() {
    let estate = Estate::shared().await;
    let acme = estate.acme().await;
    let asked = estate.depot.asked();
    for resource in Resource::ALL {
        let path = resource.path();
        let ids = ["id", "item"];
        let ids = &ids[..path.matches('{').count()];
        for parameter in ["api-version", "organization", "before", "user"] {
            let query = [(parameter, "x")];
            let error = estate.ask(&acme, resource, ids, &query, Sent::Nothing).await.unwrap_err();
            assert_eq!(error.code(), "request.unsupported", "{resource:?}");
            assert!(error.to_string().contains(parameter), "{error}");
        }
        if resource == Resource::CreateFile {
            continue;
        }
        for field in ["user", "model", "organization"] {
            let sent = Sent::Json(json!({ field: "x" }));
            let error = estate.ask(&acme, resource, ids, &[], sent).await.unwrap_err();
            assert_eq!(error.code(), "request.unsupported", "{resource:?}");
            assert!(error.to_string().contains(field), "{error}");
        }
        let sent = Sent::Json(json!({"tenant": "globex", "metadata": {"a": "b"}}));
        let error = estate.ask(&acme, resource, ids, &[], sent).await.unwrap_err();
        let code = error.code();
        assert!(["scope.mismatch", "request.unsupported", "request.malformed"].contains(&code));
    }
    let stream = [("stream", "true")];
    let error = estate.ask(&acme, Resource::Response, &["id"], &stream, Sent::Nothing).await;
    assert!(error.unwrap_err().to_string().contains("stream=true"));
    assert_eq!(estate.depot.asked(), asked);
}

/// A tenant that names itself may; whoever names another may not.
#[tokio::test]
async fn claims_agree_with_the_scope() {
    let estate = Estate::shared().await;
    let acme = estate.acme().await;
    for (body, code) in [
        (json!({"tenant": "acme"}), None),
        (json!({"metadata": {"tenant_id": "acme", "environment": "live"}}), None),
        (json!({"tenant": "globex"}), Some("scope.mismatch")),
        (json!({"metadata": {"tenantId": "globex"}}), Some("scope.mismatch")),
        (json!({"metadata": {"env": "staging"}}), Some("scope.mismatch")),
    ] {
        let sent = Sent::Json(body.clone());
        let got = estate.ask(&acme, Resource::CreateConversation, &[], &[], sent).await;
        assert_eq!(got.err().map(|error| error.code()), code, "{body}");
    }
}

/// An id is a segment of a path, whatever stands in it.
#[tokio::test]
async fn ids_stay_in_their_segment() {
    let estate = Estate::shared().await;
    let acme = estate.acme().await;
    for id in ["a..b", "a/..b", "a?b=c", "a#b", "a%2Fb", "files/x"] {
        let made = bulkhead_model::Made { kind: HandleKind::File, id: id.into() };
        estate.handles.claim(&acme, estate.account(), &[made]).await.unwrap();
        estate.get(&acme, Resource::File, &[id]).await.unwrap();
        let asked = estate.depot.last();
        assert!(asked.query.is_empty());
        assert_eq!(asked.path.split('/').count(), 2, "{id}: {}", asked.path);
    }
    // Encoded or not, a server might go there.
    for id in ["..", ".", "a/../b", "../b", "a/.", "a\\..\\b"] {
        let made = bulkhead_model::Made { kind: HandleKind::File, id: id.into() };
        assert!(estate.handles.claim(&acme, estate.account(), &[made]).await.is_err(), "{id}");
        let error = estate.get(&acme, Resource::File, &[id]).await.unwrap_err();
        assert_eq!(error.code(), "model.handle", "{id}");
    }
}
