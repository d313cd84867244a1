//! Answers that are there already hold what was admitted until they are read.

use std::sync::Arc;

use bulkhead_model::{Answer, Api, Body, Caller, Error, ModelHop, Request};
use bytes::Bytes;
use futures_util::StreamExt;
use gate::{Action, Gate, Hop, InFlight, Policies};
use ids::{OsEntropy, RequestId};
use records::End;
use scope::{Scope, Write};

use super::{
    standin::{StandIn, chunks, completion, events, json},
    world::{World, prompt, settings, stream_prompt, text},
};

/// A gate with room for one hop of a tenant.
fn narrow(world: &World) -> Gate {
    let (audit, clock) = (world.kit.audit.clone(), world.clock.clone());
    let one = Arc::new(InFlight::new(1));
    Gate::new(Policies::built_in(), vec![one], world.recorder.clone(), audit, clock)
}

async fn ask(
    gate: &Gate,
    model: &ModelHop,
    scope: &Scope<Write>,
    body: &str,
) -> Result<Answer, Error> {
    let ask = Request::parse(Api::Chat, Bytes::copy_from_slice(body.as_bytes()), model.limits())?;
    let hop = Hop::model(Action::Chat, ask.model(), RequestId::draw(&OsEntropy));
    let caller = Caller::default();
    gate.pass(scope, hop, |pass| model.ask(scope, pass, ask, caller)).await
}

#[tokio::test]
async fn a_large_answer_holds_its_place_until_it_is_read() {
    let (world, upstream) = (World::new().await, StandIn::new().await);
    let model = world.hop(settings(upstream.address));
    let (acme, globex) = (world.acme().await, world.globex().await);
    let gate = narrow(&world);
    let big = "x".repeat(300_000);
    upstream.answers(move |_, seen| match seen.body.starts_with(br#"{"stream":true"#) {
        true => events(chunks(&big)),
        false => json(completion(&big)),
    });
    // From the provider and from the cache, as a document and, kept, as events.
    text(ask(&gate, &model, &acme, &stream_prompt("kept", "x")).await.unwrap()).await;
    text(ask(&gate, &model, &acme, &prompt("kept", "x")).await.unwrap()).await;
    for body in [prompt("plain", "x"), prompt("kept", "x"), stream_prompt("kept", "x")] {
        let answer = ask(&gate, &model, &acme, &body).await.unwrap();
        let error = ask(&gate, &model, &acme, &prompt("plain", "y")).await.unwrap_err();
        assert_eq!(error.code(), "limit.concurrency", "{body}");
        drop(ask(&gate, &model, &globex, &prompt("plain", "y")).await.unwrap());
        assert!(text(answer).await.len() > 300_000);
        // Dropped unread, it gives its place back as well.
        drop(ask(&gate, &model, &acme, &body).await.unwrap());
    }
    let recorded = world.events(&acme).await;
    let ends = |end| recorded.iter().filter(|e| e.event.end == end).count();
    assert_eq!((ends(End::Complete), ends(End::Cancelled), ends(End::Failed)), (5, 3, 3));
    let whole = recorded.iter().filter(|e| e.event.end == End::Complete);
    assert!(whole.into_iter().all(|e| e.event.bytes_out > 300_000));
}

#[tokio::test]
async fn a_revocation_ends_an_answer_that_is_being_read() {
    let (world, upstream) = (World::new().await, StandIn::new().await);
    let model = world.hop(settings(upstream.address));
    let big = "x".repeat(300_000);
    upstream.answers(move |_, seen| match seen.body.starts_with(br#"{"stream":true"#) {
        true => events(chunks(&big)),
        false => json(completion(&big)),
    });
    text(world.ask(&model, &world.acme().await, &stream_prompt("kept", "x")).await.unwrap()).await;
    for (body, is_events) in [(prompt("plain", "x"), false), (stream_prompt("kept", "x"), true)] {
        let acme = world.acme().await;
        let answer = world.ask(&model, &acme, &body).await.unwrap();
        let Body::Stream(mut stream) = answer.body else { panic!("it is not carried") };
        assert!(stream.next().await.unwrap().is_ok());
        world.kit.revoke("acme", *acme.jti()).await;
        match stream.next().await.unwrap() {
            Ok(says) => assert!(is_events && says.starts_with(b"data: {\"error\"")),
            Err(error) => assert!(!is_events && error.code() == "scope.revoked", "{error}"),
        }
        assert!(stream.next().await.is_none());
    }
    let recorded = world.events(&world.acme().await).await;
    let ended: Vec<_> = recorded.iter().filter_map(|e| e.event.code.as_deref()).collect();
    assert_eq!(ended, ["scope.revoked", "scope.revoked"]);
}
