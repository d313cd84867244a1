//! What people decide: by the tenant's own approvers, and by operators.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bulkhead_server::{Settings, routes::Plane};
use http::Method;
use serde_json::{Value, json};

use super::rig::{ALL, Reply, Rig, account_of, log};

const NEVER: &str = "00000000000000000000000000000007";

async fn rig_with(change: impl FnOnce(&mut Settings)) -> Rig {
    let rig = Rig::with(change).await;
    for tenant in ["acme", "globex"] {
        rig.tooled(tenant).await;
    }
    rig
}

async fn rig() -> Rig {
    rig_with(|_| {}).await
}

/// A person's credential, of a workflow that no agent works in.
async fn approver(rig: &Rig, tenant: &str, scope: &str) -> String {
    let body = json!({"tenant": tenant, "environment": "live", "workflow": "approvals",
        "scope": scope});
    let minted = rig.admin(Method::POST, "/admin/v1/tokens", body).await.good().json();
    minted["token"].as_str().unwrap().to_owned()
}

async fn refund(rig: &Rig, token: &str, text: &str, review: Option<&str>) -> Reply {
    let mut headers = vec![("content-type", "application/json")];
    headers.extend(review.map(|review| ("x-bulkhead-review", review)));
    let body = json!({"text": text}).to_string();
    rig.call(token, Method::POST, "/tools/crm/refunds", &headers, body).await
}

/// A refund that waits; its review, as its tenant reads it.
async fn waits(rig: &Rig, token: &str, text: &str) -> Value {
    let reply = refund(rig, token, text, None).await;
    assert_eq!((reply.status, &*reply.code()), (202, "approval.required"), "{}", reply.text());
    let id = reply.header("x-bulkhead-review").to_owned();
    rig.get(token, &format!("/v1/reviews/{id}")).await.good().json()
}

fn id(review: &Value) -> &str {
    review["id"].as_str().unwrap()
}

async fn decide(rig: &Rig, token: &str, review: &Value, approve: bool) -> Reply {
    let body = json!({"approve": approve, "digest": review["digest"], "reason": "it is right"});
    rig.ask(token, "POST", &format!("/v1/reviews/{}/decide", id(review)), body).await
}

fn of_operator(review: &Value) -> String {
    format!("/admin/v1/tenants/acme/environments/live/reviews/{}", id(review))
}

#[tokio::test]
async fn a_write_waits_until_a_person_allows_it_and_is_done_once() {
    let rig = rig().await;
    let (agent, person) =
        (rig.token("acme", "live", ALL).await, approver(&rig, "acme", "reviews:*").await);
    let review = waits(&rig, &agent, "canary five").await;
    assert_eq!((&review["kind"], &review["state"]), (&json!("approval"), &json!("open")));
    // All of it, to the last digit, is what is decided on.
    assert_eq!(review["arguments"]["text"], "canary five", "{review}");
    let canonical: Value = serde_json::from_str(review["canonical"].as_str().unwrap()).unwrap();
    assert_eq!(canonical, review["arguments"]);
    let listed = rig.get(&person, "/v1/reviews").await.good();
    assert_eq!(id(&listed.json()["items"][0]), id(&review));
    assert!(!listed.text().contains("canary"), "a list has no arguments");

    let too_early = refund(&rig, &agent, "canary five", Some(id(&review))).await;
    assert!(!(200..300).contains(&too_early.status) || too_early.status == 202);
    let decided = decide(&rig, &person, &review, true).await.good().json();
    assert_eq!(decided["state"], "approved");
    assert_eq!(decided["decisions"][0]["reason"], "it is right");
    decide(&rig, &person, &review, true).await.refused(409, "review.settled");
    assert!(rig.crm.writes().is_empty());

    let other = refund(&rig, &agent, "fifty", Some(id(&review))).await;
    assert!(other.status >= 400, "not for other arguments: {}", other.text());
    refund(&rig, &agent, "canary five", Some(id(&review))).await.good();
    assert_eq!(rig.crm.writes().len(), 1);
    refund(&rig, &agent, "canary five", Some(id(&review))).await;
    assert_eq!(rig.crm.writes().len(), 1);
    let used = rig.get(&person, &format!("/v1/reviews/{}", id(&review))).await.good().json();
    assert_eq!(
        (&used["used_for"], &used["account"]),
        (&used["intent"], &json!(account_of("acme")))
    );
    assert!(used["used_for"].is_string(), "{used}");
    let log = json!(rig.audit("acme", "live").await).to_string();
    assert!(log.contains("review.approve") && !log.contains("canary five"), "{log}");
}

#[tokio::test]
async fn who_asked_and_who_may_not_decide_nothing() {
    let rig = rig().await;
    let agent = rig.token("acme", "live", ALL).await;
    let review = waits(&rig, &agent, "five").await;
    decide(&rig, &agent, &review, true).await.refused(403, "review.same_person");
    let again = rig.token("acme", "live", ALL).await;
    decide(&rig, &again, &review, true).await.refused(403, "review.same_person");
    let reader = approver(&rig, "acme", "reviews:read tools:write").await;
    decide(&rig, &reader, &review, true).await.refused(403, "scope.grant");
    let blind = approver(&rig, "acme", "tools:*").await;
    rig.get(&blind, "/v1/reviews").await.refused(403, "scope.grant");
    // It may take back what it asked for.
    let withdrawn = decide(&rig, &agent, &review, false).await.good().json();
    assert_eq!(withdrawn["state"], "denied");
    let refused = refund(&rig, &agent, "five", Some(id(&review))).await;
    refused.refused(403, "approval.refused");
}

#[tokio::test]
async fn anothers_review_is_one_that_never_was() {
    let rig = rig().await;
    let agent = rig.token("acme", "live", ALL).await;
    let review = waits(&rig, &agent, "canary").await;
    let others = [
        rig.token("globex", "live", ALL).await,
        rig.token("acme", "staging", ALL).await,
        approver(&rig, "globex", "reviews:*").await,
    ];
    for other in &others {
        for at in ["", "?wait=1"] {
            let path = |id: &str| format!("/v1/reviews/{id}{at}");
            let reply = rig.get(other, &path(id(&review))).await.refused(404, "review.missing");
            assert_eq!(reply.body, rig.get(other, &path(NEVER)).await.body);
        }
        decide(&rig, other, &review, true).await.refused(404, "review.missing");
        let listed = rig.get(other, "/v1/reviews").await.good().json();
        assert_eq!(listed["items"], json!([]));
        let behind = rig.get(other, &format!("/v1/reviews?after={}", id(&review))).await;
        behind.refused(404, "review.missing");
    }
    // An operator who entered another tenant does not find it there either.
    let there = of_operator(&review).replace("acme", "globex");
    rig.admin(Method::GET, &there, Value::Null).await.refused(404, "review.missing");
}

#[tokio::test]
async fn a_decision_is_on_what_was_seen_and_said_strictly() {
    let rig = rig().await;
    let agent = rig.token("acme", "live", ALL).await;
    let person = approver(&rig, "acme", "reviews:*").await;
    let review = waits(&rig, &agent, "five").await;
    let path = format!("/v1/reviews/{}/decide", id(&review));
    let digest = review["digest"].as_str().unwrap();
    let other = "0".repeat(64);
    for (body, status, code) in [
        (json!({"approve": true, "digest": other}).to_string(), 409, "review.other"),
        (json!({"approve": true, "digest": "00"}).to_string(), 400, "request.malformed"),
        (json!({"approve": true}).to_string(), 400, "request.malformed"),
        (json!({"digest": digest}).to_string(), 400, "request.malformed"),
        (json!({"approve": 1, "digest": digest}).to_string(), 400, "request.malformed"),
        (
            json!({"approve": true, "digest": digest, "by": "operator:ada"}).to_string(),
            400,
            "request.malformed",
        ),
        (
            json!({"approve": true, "digest": digest, "reason": "a\nb"}).to_string(),
            400,
            "request.malformed",
        ),
        (
            format!("{{\"approve\":false,\"approve\":true,\"digest\":\"{digest}\"}}"),
            400,
            "request.malformed",
        ),
    ] {
        let headers = [("content-type", "application/json")];
        let reply = rig.call(&person, Method::POST, &path, &headers, body.clone()).await;
        assert_eq!((reply.status, &*reply.code()), (status, code), "{body} {}", reply.text());
    }
    let still = rig.get(&person, &format!("/v1/reviews/{}", id(&review))).await.good().json();
    assert_eq!(still["state"], "open");
}

#[tokio::test]
async fn whoever_waits_hears_of_the_decision() {
    let rig = rig().await;
    let agent = rig.token("acme", "live", ALL).await;
    let person = approver(&rig, "acme", "reviews:*").await;
    let review = waits(&rig, &agent, "five").await;
    let path = format!("/v1/reviews/{}?wait=60", id(&review));
    let waiting = rig.get(&agent, &path);
    let deciding = decide(&rig, &person, &review, true);
    let (heard, decided) = futures_util::future::join(waiting, deciding).await;
    decided.good();
    assert_eq!(heard.good().json()["state"], "approved");
    // A decision that was there already is waited for by nobody.
    assert_eq!(rig.get(&agent, &path).await.good().json()["state"], "approved");
}

#[tokio::test]
async fn waiting_is_bounded_and_holds_no_place() {
    let rig = rig_with(|settings| {
        settings.tools.limits.approval_wait_seconds = 0;
        settings.limits.hops_per_tenant = 1;
    })
    .await;
    let agent = rig.token("acme", "live", ALL).await;
    let review = waits(&rig, &agent, "five").await;
    let path = format!("/v1/reviews/{}?wait=3600", id(&review));
    assert_eq!(rig.get(&agent, &path).await.good().json()["state"], "open");

    let rig = rig_with(|settings| settings.limits.hops_per_tenant = 1).await;
    let agent = rig.token("acme", "live", ALL).await;
    let person = approver(&rig, "acme", "reviews:*").await;
    let review = waits(&rig, &agent, "five").await;
    let path = format!("/v1/reviews/{}?wait=60", id(&review));
    let waiting = rig.get(&agent, &path);
    let others = async {
        // The tenant's one place is free while somebody waits.
        loop {
            let reply = rig.get(&person, "/v1/reviews").await;
            if reply.status == 200 {
                break;
            }
            reply.refused(429, "limit.concurrency");
        }
        loop {
            let reply = decide(&rig, &person, &review, true).await;
            if reply.status == 200 {
                break;
            }
            reply.refused(429, "limit.concurrency");
        }
    };
    let (heard, ()) = futures_util::future::join(waiting, others).await;
    let heard = heard.json();
    // Its own way back in may meet somebody who is there.
    assert!(heard["state"] == "approved" || heard["code"] == "limit.concurrency", "{heard}");
}

#[tokio::test]
async fn an_operator_decides_with_a_reason_and_on_record() {
    let rig = rig().await;
    let agent = rig.token("acme", "live", ALL).await;
    let review = waits(&rig, &agent, "canary").await;
    waits(&rig, &rig.token("globex", "live", ALL).await, "canary").await;
    let index = rig.admin(Method::GET, "/admin/v1/reviews", Value::Null).await.good();
    assert!(!index.text().contains("canary"), "the index has nothing of what is in them");
    let of_acme: Vec<_> = index.json()["items"].as_array().unwrap().clone();
    assert_eq!(of_acme.len(), 2);
    assert!(of_acme.iter().any(|one| one["tenant"] == "acme" && id(one) == id(&review)));
    let first =
        rig.admin(Method::GET, "/admin/v1/reviews?limit=1", Value::Null).await.good().json();
    let next = format!("/admin/v1/reviews?limit=1&after={}", first["next"].as_str().unwrap());
    let second = rig.admin(Method::GET, &next, Value::Null).await.good().json();
    assert_ne!(id(&first["items"][0]), id(&second["items"][0]));

    let path = of_operator(&review);
    let bearer = format!("Bearer {}", rig.operator);
    let silent = [("authorization", bearer.as_str())];
    rig.send(Plane::Control, Method::GET, &path, &silent, "")
        .await
        .refused(400, "request.malformed");
    let whole = rig.admin(Method::GET, &path, Value::Null).await.good().json();
    assert_eq!(whole["arguments"]["text"], "canary");
    let listed = path.rsplit_once('/').unwrap().0;
    let listed = rig.admin(Method::GET, listed, Value::Null).await.good().json();
    assert_eq!(id(&listed["items"][0]), id(&review));

    let body = json!({"approve": true, "digest": review["digest"], "reason": "ticket 4711"});
    let decided = rig.admin(Method::POST, &format!("{path}/decide"), body).await.good().json();
    assert_eq!(decided["state"], "approved");
    assert_eq!(decided["decisions"][0]["by"], "operator:ada");
    refund(&rig, &agent, "canary", Some(id(&review))).await.good();
    assert_eq!(rig.crm.writes().len(), 1);
    let log = rig.audit("acme", "live").await;
    for (action, target) in [("operator.enter", "acme"), ("review.approve", id(&review))] {
        let found = log.iter().any(|one| one["action"] == action && one["target"] == target);
        assert!(found, "{action}: {log:?}");
    }
}

#[tokio::test]
async fn what_is_in_quarantine_is_for_operators_and_each_look_is_on_record() {
    let rig = rig().await;
    let agent = rig.token("acme", "live", ALL).await;
    rig.crm.keep("globex-1", &account_of("globex"), "live", "canary of globex");
    let withheld = rig.get(&agent, "/tools/crm/notes/globex-1").await;
    withheld.refused(404, "tool.no_record");
    let listed = rig.quarantined().await;
    assert!(!listed.text().contains("canary"));
    let one = listed.json()["items"][0].clone();
    assert_eq!((&one["kind"], &one["found_on"]["tenant"]), (&json!("quarantine"), &json!("acme")));
    // Whoever's hop it was sees nothing of it.
    let own = rig.get(&agent, &format!("/v1/reviews/{}", id(&one))).await;
    own.refused(404, "review.missing");

    let path = format!("/admin/v1/quarantine/{}", id(&one));
    let whole = rig.admin(Method::GET, &path, Value::Null).await.good().json();
    let thing: Value = serde_json::from_str(whole["payload"].as_str().unwrap()).unwrap();
    let body = URL_SAFE_NO_PAD.decode(thing["body"].as_str().unwrap()).unwrap();
    assert!(String::from_utf8(body).unwrap().contains("canary of globex"), "{whole}");
    let settle = format!("{path}/settle");
    let settled =
        rig.admin(Method::POST, &settle, json!({"reason": "told globex"})).await.good().json();
    assert_eq!(settled["state"], "closed");
    rig.admin(Method::POST, &settle, json!({})).await.refused(409, "review.settled");
    let whole = rig.admin(Method::GET, &path, Value::Null).await.good().json();
    assert!(whole.get("payload").is_none(), "{whole}");
    let never = format!("/admin/v1/quarantine/{NEVER}");
    rig.admin(Method::GET, &never, Value::Null).await.refused(404, "review.missing");

    let log = rig.admin(Method::GET, "/admin/v1/audit?limit=1000", Value::Null).await.good();
    assert!(!log.text().contains("canary"));
    let log = log.json();
    for action in ["quarantine.list", "quarantine.read", "quarantine.settle"] {
        let looked = log["items"].as_array().unwrap().iter().any(|one| one["action"] == action);
        assert!(looked, "{action}");
    }
}

/// A person changes what is to be done; what was allowed before is void, and what is done is what was
/// allowed then.
#[tokio::test]
async fn what_a_person_edited_is_what_is_done() {
    let rig = rig().await;
    let agent = rig.token("acme", "live", ALL).await;
    let person = approver(&rig, "acme", "reviews:*").await;
    let review = waits(&rig, &agent, "five hundred").await;
    decide(&rig, &person, &review, true).await.good();
    let path = format!("/v1/reviews/{}", id(&review));
    let edit = async |token: &str, body: Value| {
        rig.ask(token, "POST", &format!("{path}/edit"), body).await
    };
    let fifty = json!({"arguments": {"text": "fifty"}, "reason": "too much"});
    edit(&agent, fifty.clone()).await.refused(403, "review.same_person");
    edit(&person, json!({"arguments": "fifty"})).await;
    let edited = edit(&person, fifty).await.good().json();
    assert_eq!(edited["state"], "open");
    assert_ne!(edited["digest"], review["digest"]);
    let whole = rig.get(&person, &path).await.good().json();
    assert_eq!(whole["arguments"]["text"], "fifty", "{whole}");
    assert_eq!(whole["arguments"]["account_id"], account_of("acme"), "what is bound stays");
    decide(&rig, &person, &review, true).await.refused(409, "review.other");

    let body = json!({"arguments": {"text": "forty"}, "reason": "less"});
    let at = format!("{}/edit", of_operator(&review));
    let edited = rig.admin(Method::POST, &at, body).await.good().json();
    decide(&rig, &person, &edited, true).await.good();
    let before = refund(&rig, &agent, "five hundred", Some(id(&review))).await;
    assert!(before.status >= 400, "{}", before.text());
    refund(&rig, &agent, "forty", Some(id(&review))).await.good();
    let writes = rig.crm.writes();
    assert_eq!((writes.len(), &writes[0]["text"]), (1, &json!("forty")));
    let log = json!(rig.audit("acme", "live").await).to_string();
    assert!(log.contains("review.edit"), "{log}");
}

/// Where a contract says so, nobody has to come back: what was allowed is done under the scope that
/// asked for it, once.
#[tokio::test]
async fn bulkhead_itself_does_what_was_allowed_whatever_became_of_the_token() {
    let rig = rig_with(|settings| {
        let refund = settings.tools.contracts.iter_mut().find(|tool| tool.name == "refund");
        let approval = &mut refund.unwrap().approval;
        (approval.execute, approval.expires_seconds) = (true, 7_200);
    })
    .await;
    let agent = rig.token("acme", "live", ALL).await;
    let review = waits(&rig, &agent, "five").await;
    rig.clock.advance(Duration::from_secs(1_800));
    rig.get(&agent, "/v1/reviews").await.refused(401, "scope.expired");
    let person = approver(&rig, "acme", "reviews:*").await;
    decide(&rig, &person, &review, true).await.good();
    let done = async {
        let path = format!("/v1/reviews/{}", id(&review));
        loop {
            let state = rig.get(&person, &path).await.good().json()["state"].clone();
            if state == "used" && !rig.crm.writes().is_empty() {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), done).await.unwrap();
    assert_eq!(rig.crm.writes().len(), 1);
    assert_eq!(rig.crm.writes()[0]["account_id"], account_of("acme"));
}

/// What was allowed and could not be done then, the next start takes up: exactly that, once.
#[tokio::test]
async fn what_was_allowed_is_taken_up_at_the_next_start() {
    let mut rig = rig_with(|settings| {
        let refund = settings.tools.contracts.iter_mut().find(|tool| tool.name == "refund");
        refund.unwrap().approval.execute = true;
        settings.limits.hops_per_tenant = 1;
    })
    .await;
    rig.crm.keep("acme-live", &account_of("acme"), "live", "canary");
    let agent = rig.token("acme", "live", ALL).await;
    let review = waits(&rig, &agent, "five").await;
    let mut slow = Box::pin(rig.get(&agent, "/tools/crm/slow/acme-live"));
    tokio::select! {
        reply = &mut slow => panic!("{}", reply.text()),
        () = rig.crm.holding() => {}
    }
    // The tenant's one place is taken.
    let body = json!({"approve": true, "digest": review["digest"], "reason": "ticket 4711"});
    let path = format!("{}/decide", of_operator(&review));
    rig.admin(Method::POST, &path, body).await.good();
    let is_told =
        |line: &str| line.contains("could not be carried out") && line.contains(id(&review));
    let told = async {
        while !log().text().lines().any(is_told) {
            rig.admin(Method::GET, "/admin/v1/status", Value::Null).await.good();
        }
    };
    tokio::time::timeout(Duration::from_secs(30), told).await.unwrap();
    assert!(rig.crm.writes().is_empty());
    rig.crm.release();
    slow.await.good();

    rig.stop().await;
    assert!(rig.crm.writes().is_empty());
    rig.clock.advance(Duration::from_secs(61));
    rig.serve_again().await;
    let done = async {
        let path = of_operator(&review);
        while rig.admin(Method::GET, &path, Value::Null).await.good().json()["state"] != "used"
            || rig.crm.writes().is_empty()
        {}
    };
    tokio::time::timeout(Duration::from_secs(30), done).await.unwrap();
    rig.stop().await;
    rig.clock.advance(Duration::from_secs(1_000));
    rig.serve_again().await;
    rig.stop().await;
    let writes = rig.crm.writes();
    assert_eq!((writes.len(), &writes[0]["text"]), (1, &json!("five")));
    assert_eq!(writes[0]["account_id"], account_of("acme"));
}

#[tokio::test]
async fn a_person_says_how_a_write_went_that_nothing_else_knows() {
    let rig = rig_with(|settings| {
        let refund = settings.tools.contracts.iter().find(|tool| tool.name == "refund");
        let mut losing = serde_json::to_value(refund.unwrap()).unwrap();
        (losing["name"], losing["mode"]) = (json!("lose"), json!("execute"));
        losing["request"]["path"] = json!("/lost");
        settings.tools.contracts.push(serde_json::from_value(losing).unwrap());
    })
    .await;
    let agent = rig.token("acme", "live", ALL).await;
    let person = approver(&rig, "acme", "reviews:*").await;
    let lose = async |text: &str| {
        let headers = [("content-type", "application/json")];
        let body = json!({"text": text}).to_string();
        rig.call(&agent, Method::POST, "/tools/crm/lost", &headers, body).await
    };
    let asks = async || {
        let listed = rig.get(&person, "/v1/reviews").await.good().json();
        let mut items = listed["items"].as_array().unwrap().iter();
        let open = items.find(|review| review["state"] == "open").unwrap();
        rig.get(&person, &format!("/v1/reviews/{}", id(open))).await.good().json()
    };
    let settle = async |token: &str, review: &Value, done: bool| {
        let body = json!({"done": done, "digest": review["digest"], "reason": "in the ledger"});
        rig.ask(token, "POST", &format!("/v1/reviews/{}/settle", id(review)), body).await
    };
    lose("canary one").await.refused(409, "tool.outcome_unknown");
    let review = asks().await;
    assert_eq!((&review["kind"], &review["state"]), (&json!("unknown"), &json!("open")));
    assert_eq!(review["account"], account_of("acme"));
    for approve in [true, false] {
        decide(&rig, &person, &review, approve).await.refused(409, "review.kind");
    }
    settle(&agent, &review, false).await.refused(403, "review.same_person");
    let theirs = approver(&rig, "globex", "reviews:*").await;
    settle(&theirs, &review, false).await.refused(404, "review.missing");
    let unseen = json!({"id": review["id"], "digest": "0".repeat(64)});
    settle(&person, &unseen, false).await.refused(409, "review.other");
    // Nobody stands in the log with what it may not say.
    let log = json!(rig.audit("acme", "live").await).to_string();
    assert!(!log.contains("review.not_done"), "{log}");
    let settled = settle(&person, &review, true).await.good().json();
    assert_eq!(
        (&settled["state"], &settled["decisions"][0]["done"]),
        (&json!("closed"), &json!(true))
    );
    settle(&person, &review, false).await.refused(409, "review.settled");
    // It is not done again.
    lose("canary one").await.good();
    assert_eq!(rig.crm.writes().len(), 1);
    let receipts = rig.get(&agent, "/v1/receipts").await.good().json();
    assert_eq!(receipts["items"].as_array().unwrap().len(), 1, "{receipts}");

    lose("two").await.refused(409, "tool.outcome_unknown");
    let review = asks().await;
    let path = format!("{}/settle", of_operator(&review));
    let body =
        |reason: Option<&str>| json!({"done": false, "digest": review["digest"], "reason": reason});
    rig.admin(Method::POST, &path.replace("acme", "globex"), body(Some("x")))
        .await
        .refused(404, "review.missing");
    rig.admin(Method::POST, &path, body(Some("not in the ledger"))).await.good();
    lose("two").await.refused(409, "tool.outcome_unknown");
    assert_eq!(rig.crm.writes().len(), 3, "what was not done is sent again");
    let log = json!(rig.audit("acme", "live").await).to_string();
    for action in ["review.done", "review.not_done", "tool.reconciled"] {
        assert!(log.contains(action), "{action}");
    }
    assert!(!log.contains("canary one"), "{log}");
}
