//! An orderly end: what is in flight finishes, and what was acknowledged is there.

use bulkhead_server::routes::Plane;
use http::Method;
use serde_json::Value;
use tokio::net::TcpStream;

use super::rig::{ALL, Rig};

#[tokio::test]
async fn a_stream_in_flight_finishes() {
    let mut rig = Rig::start().await;
    let token = rig.token("acme", "live", ALL).await;
    let mut stream = rig.stream(&token, "plain", "tell me [hold] all").await;
    assert!(stream.next().await.unwrap().contains("acme/live"));
    rig.upstream.holding(1).await;
    let shut = rig.handle.take().unwrap().shutdown();
    let watched = async {
        // The listener is closed while the stream goes on.
        while TcpStream::connect(rig.address(Plane::Data)).await.is_ok() {
            tokio::task::yield_now().await;
        }
        rig.upstream.release.add_permits(1);
        stream.rest().await
    };
    let (ended, rest) = tokio::join!(shut, watched);
    ended.unwrap();
    assert!(rest.ends_with("data: [DONE]\n\n"), "{rest}");

    // Its event was written before the files were closed.
    rig.serve_again().await;
    let path = format!("/v1/runs/{}/events", run_of(&token));
    let events = rig.get(&token, &path).await.good().json();
    assert_eq!(events["items"][0]["end"], "complete", "{events}");
}

fn run_of(token: &str) -> String {
    let payload = token.split('.').nth(1).unwrap();
    let claims: Value = serde_json::from_slice(&ids::text::unbase64url(payload).unwrap()).unwrap();
    claims["txn"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_does_not_finish_in_time_is_cut_off() {
    let mut rig = Rig::with(|settings| settings.limits.drain_seconds = 0).await;
    let token = rig.token("acme", "live", ALL).await;
    let mut stream = rig.stream(&token, "plain", "tell me [hold] all").await;
    assert!(stream.next().await.is_some());
    rig.upstream.holding(1).await;
    rig.stop().await;
    assert!(stream.cut_off().await);
}

#[tokio::test]
async fn it_says_that_it_is_not_ready_before_it_closes() {
    let mut rig = Rig::with(|settings| settings.limits.drain_notice_seconds = 3_600).await;
    let token = rig.token("acme", "live", ALL).await;
    let probe =
        async |rig: &Rig| rig.send(Plane::Data, Method::GET, "/health/ready", &[], "").await.status;
    assert_eq!(probe(&rig).await, 200);
    let shut = rig.handle.take().unwrap().shutdown();
    let watched = async {
        while probe(&rig).await != 503 {
            tokio::task::yield_now().await;
        }
        // Those who have not heard of it yet are served, and it is alive.
        rig.get(&token, "/v1/models").await.good();
        rig.send(Plane::Control, Method::GET, "/health/live", &[], "").await.good();
    };
    tokio::select! {
        ended = shut => panic!("{ended:?}"),
        () = watched => {}
    }
}
