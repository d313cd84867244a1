//! Files on a shared account.

use bulkhead_model::Resource;
use serde_json::json;

use super::{
    depot::says,
    estate::{Estate, SHARED, Sent},
};

#[tokio::test]
async fn a_file_goes_up_and_comes_down() {
    let estate = Estate::shared().await;
    let acme = estate.acme().await;
    let form = Sent::Form(&[
        ("purpose", "user_data"),
        ("expires_after[anchor]", "created_at"),
        ("expires_after[seconds]", "3600"),
        ("file", "hello\r\nworld"),
    ]);
    let got = estate.ask(&acme, Resource::CreateFile, &[], &[], form).await.unwrap();
    assert_eq!((got.status, got.content_type.to_str().unwrap()), (200, "application/json"));
    let sent = estate.depot.last();
    assert_eq!(
        sent.fields(),
        ["purpose", "expires_after[anchor]", "expires_after[seconds]", "file"]
    );
    let (name, content) = sent.field("file").unwrap();
    assert_eq!((name.as_deref(), &content[..]), (Some("input.jsonl"), &b"hello\r\nworld"[..]));
    assert_eq!(sent.headers["authorization"], format!("Bearer {SHARED}"));

    let id = got.id();
    let file = estate.get(&acme, Resource::File, &[&id]).await.unwrap();
    assert_eq!(file.json()["filename"], "input.jsonl");
    // Whatever the provider calls it, nothing that a browser would run.
    let content = estate.get(&acme, Resource::FileContent, &[&id]).await.unwrap();
    assert_eq!(content.bytes, "hello\r\nworld");
    assert_eq!(content.content_type, "application/octet-stream");
    assert_eq!(estate.depot.last().headers["accept"], "*/*");
    assert!(Resource::FileContent.is_download() && !Resource::File.is_download());

    let gone = estate.get(&acme, Resource::DeleteFile, &[&id]).await.unwrap();
    assert_eq!(gone.json(), json!({"id": id, "deleted": true}));
    assert!(estate.get(&acme, Resource::ListFiles, &[]).await.unwrap().ids().is_empty());
    assert!(estate.codes(&acme).await.iter().all(Option::is_none));
}

/// A list is of what is the scope's own, and the provider is not asked for it.
#[tokio::test]
async fn lists_are_ones_own() {
    let estate = Estate::shared().await;
    let (acme, globex) = (estate.acme().await, estate.globex().await);
    let mut own = Vec::new();
    for n in 0..7 {
        let purpose = if n % 2 == 0 { "user_data" } else { "vision" };
        own.push(estate.upload(&acme, purpose, &n.to_string()).await.unwrap().id());
        estate.upload(&globex, purpose, &n.to_string()).await.unwrap();
        estate.clock.advance(std::time::Duration::from_secs(1));
    }
    let newest: Vec<_> = own.iter().rev().cloned().collect();
    let asked = estate.depot.asked();
    let list = async |query: &[(&str, &str)]| {
        estate.ask(&acme, Resource::ListFiles, &[], query, Sent::Nothing).await.unwrap()
    };
    let whole = list(&[]).await;
    assert_eq!(whole.ids(), newest);
    let body = whole.json();
    assert_eq!(body["object"], "list");
    assert_eq!(body["has_more"], false);
    assert_eq!(body["first_id"], *newest[0]);
    assert_eq!(body["last_id"], *newest[6]);
    assert_eq!(body["data"][0]["object"], "file");
    assert_eq!(body["data"][0]["purpose"], "user_data");

    assert_eq!(list(&[("order", "asc")]).await.ids(), own);
    assert_eq!(
        list(&[("purpose", "vision"), ("order", "asc")]).await.ids(),
        [&*own[1], &own[3], &own[5]]
    );
    let page = list(&[("limit", "3")]).await;
    assert_eq!(page.ids(), newest[..3]);
    assert_eq!(page.json()["has_more"], true);
    let page = list(&[("limit", "4"), ("after", &newest[2])]).await;
    assert_eq!(page.ids(), newest[3..]);
    assert_eq!(page.json()["has_more"], false);
    let page = list(&[("limit", "2"), ("order", "asc"), ("after", &own[1])]).await;
    assert_eq!(page.ids(), own[2..4]);
    assert_eq!(estate.depot.asked(), asked);

    // Nobody goes on from another's.
    let query = [("after", &*own[0])];
    let error = estate.ask(&globex, Resource::ListFiles, &[], &query, Sent::Nothing).await;
    assert_eq!(error.unwrap_err().code(), "model.handle");
    for query in [("limit", "10001"), ("tenant", "acme"), ("user", "x"), ("order", "random")] {
        let error = estate.ask(&acme, Resource::ListFiles, &[], &[query], Sent::Nothing).await;
        let code = error.unwrap_err().code();
        let known = matches!(query.0, "limit" | "order");
        assert_eq!(code, if known { "request.malformed" } else { "request.unsupported" });
    }
}

/// A list of many is whole, page after page.
#[tokio::test]
async fn long_lists_have_pages() {
    let estate = Estate::shared().await;
    let acme = estate.acme().await;
    let all: Vec<_> = (0..600)
        .map(|n| bulkhead_model::Made {
            kind: bulkhead_model::HandleKind::File,
            id: format!("file-{n}"),
        })
        .collect();
    estate.handles.claim(&acme, estate.account(), &all).await.unwrap();
    let (mut seen, mut after) = (Vec::new(), None::<String>);
    loop {
        let mut query = vec![("limit", "250")];
        if let Some(after) = &after {
            query.push(("after", after));
        }
        let page = estate.ask(&acme, Resource::ListFiles, &[], &query, Sent::Nothing);
        let page = page.await.unwrap();
        seen.extend(page.ids());
        after = seen.last().cloned();
        if page.json()["has_more"] == false {
            break;
        }
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 600);
}

/// What a provider says of its file is passed on; where that is another's, nothing is.
#[tokio::test]
async fn an_answer_is_about_what_was_asked_for() {
    let estate = Estate::shared().await;
    let acme = estate.acme().await;
    let id = estate.upload(&acme, "user_data", "x").await.unwrap().id();
    estate.depot.says(|_| Some(says(&json!({"id": "file-else", "object": "file"}))));
    let error = estate.get(&acme, Resource::File, &[&id]).await.unwrap_err();
    assert_eq!(error.code(), "upstream.malformed");
    estate.depot.says(|_| Some((200, "text/html", "<html>".into())));
    let error = estate.get(&acme, Resource::File, &[&id]).await.unwrap_err();
    assert_eq!(error.code(), "upstream.malformed");
}

/// No answer and no content repeats the credential, whole or in pieces.
#[tokio::test]
async fn a_credential_does_not_come_back() {
    let estate = Estate::shared().await;
    let acme = estate.acme().await;
    let id = estate.upload(&acme, "user_data", "x").await.unwrap().id();
    let leak = format!("{}{SHARED}{}", "x".repeat(9_000), "y".repeat(9_000));
    let said = leak.clone();
    estate.depot.says(move |_| Some((200, "text/plain", said.clone().into())));
    let error = estate.get(&acme, Resource::FileContent, &[&id]).await.unwrap_err();
    assert_eq!(error.code(), "upstream.malformed");
    let answer = json!({"id": id, "object": "file", "note": SHARED});
    estate.depot.says(move |_| Some(says(&answer)));
    let error = estate.get(&acme, Resource::File, &[&id]).await.unwrap_err();
    assert_eq!(error.code(), "upstream.malformed");
    let refusal = json!({"error": {"message": format!("bad key {SHARED}"), "code": "no"}});
    estate.depot.says(move |_| Some((400, "application/json", refusal.to_string().into())));
    for resource in [Resource::File, Resource::FileContent, Resource::DeleteFile] {
        let got = estate.get(&acme, resource, &[&id]).await.unwrap();
        assert_eq!((got.status, got.content_type.to_str().unwrap()), (400, "application/json"));
        assert_eq!(got.json()["error"]["message"], "bad key [redacted]");
    }
    estate.depot.says(|_| Some((401, "application/json", "{}".into())));
    let error = estate.get(&acme, Resource::File, &[&id]).await.unwrap_err();
    assert_eq!(error.code(), "upstream.credential");
}

/// What an answer holds is bounded, and so is what comes up.
#[tokio::test]
async fn sizes_are_bounded() {
    let small = |settings: &mut bulkhead_model::Settings| {
        settings.limits.body_bytes = 2_000;
        settings.providers[0].max_response_bytes = 3_000;
    };
    let estate = Estate::new(true, bulkhead_model::HandleBounds::default(), small).await;
    let acme = estate.acme().await;
    let error = estate.upload(&acme, "user_data", &"x".repeat(2_000)).await.unwrap_err();
    assert_eq!(error.code(), "request.too_large");
    let id = estate.upload(&acme, "user_data", &"x".repeat(1_000)).await.unwrap().id();
    estate.depot.says(|_| Some((200, "text/plain", "x".repeat(4_000).into())));
    let error = estate.get(&acme, Resource::FileContent, &[&id]).await.unwrap_err();
    assert_eq!(error.code(), "upstream.too_large");
}

/// Gone at the provider, it is gone here.
#[tokio::test]
async fn what_the_provider_does_not_have_is_forgotten_when_deleted() {
    let estate = Estate::shared().await;
    let acme = estate.acme().await;
    let id = estate.upload(&acme, "user_data", "x").await.unwrap().id();
    estate.depot.says(|_| Some((404, "application/json", r#"{"error":{"message":"m"}}"#.into())));
    let got = estate.get(&acme, Resource::DeleteFile, &[&id]).await.unwrap();
    assert_eq!(got.status, 404);
    assert!(estate.get(&acme, Resource::ListFiles, &[]).await.unwrap().ids().is_empty());
}

/// A file that expires at the provider is no longer listed.
#[tokio::test]
async fn files_expire() {
    let estate = Estate::shared().await;
    let acme = estate.acme().await;
    let soon = 1_795_000_000 + 3_600;
    estate
        .depot
        .says(move |_| Some(says(&json!({"id": "file-1", "object": "file", "expires_at": soon}))));
    estate.upload(&acme, "user_data", "x").await.unwrap();
    assert_eq!(estate.get(&acme, Resource::ListFiles, &[]).await.unwrap().ids(), ["file-1"]);
    estate.clock.advance(std::time::Duration::from_secs(3_600));
    let acme = estate.acme().await;
    assert!(estate.get(&acme, Resource::ListFiles, &[]).await.unwrap().ids().is_empty());
}

/// Without a provider that keeps files, or with two, nothing is kept by chance.
#[tokio::test]
async fn the_keeper_is_chosen() {
    let two = |settings: &mut bulkhead_model::Settings| {
        settings.providers[1].kind = bulkhead_model::Kind::OpenaiCompatible;
    };
    let named = |settings: &mut bulkhead_model::Settings| {
        two(settings);
        settings.resources = Some("p".parse().unwrap());
    };
    let bounds = bulkhead_model::HandleBounds::default();
    let estate = Estate::new(true, bounds, two).await;
    let error = estate.upload(&estate.acme().await, "user_data", "x").await.unwrap_err();
    assert_eq!(error.code(), "request.unsupported");
    let estate = Estate::new(true, bounds, named).await;
    estate.upload(&estate.acme().await, "user_data", "x").await.unwrap();
}
