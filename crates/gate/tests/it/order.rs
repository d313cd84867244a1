use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bulkhead_gate::{Hop, Policies, Reading};
use ids::{BoxFuture, OsEntropy, RequestId};
use records::End;
use scope::{AuditSink, Decision, Entry, Scope, SystemScope, Unavailable, Write};
use tokio::sync::Semaphore;

use super::world::{Counting, Failed, World, chat, done, says};

/// A hop at which everything is wrong is refused for the first thing; with that put right,
/// for the next.
#[tokio::test]
async fn questions_are_asked_in_order() {
    let world = World::new().await;
    let path = world.file("forbid (principal, action, resource);");
    let counting = Arc::new(Counting::default());
    let gate = world.gate(Policies::load(&path).unwrap(), vec![counting.clone()]);
    let reached = AtomicUsize::new(0);
    let ask = async |scope: &Scope<Write>| {
        let surface = async |pass| {
            reached.fetch_add(1, Ordering::SeqCst);
            done(pass).await
        };
        gate.pass(scope, chat(), surface).await
    };
    let code = async |scope: &Scope<Write>| match ask(scope).await {
        Err(Failed::Gate(error)) => error.code(),
        other => panic!("{other:?}"),
    };

    let revoked = world.granted("acme", "model:models").await;
    let narrow = world.granted("globex", "model:models").await;
    let good = world.granted("globex", "model:chat").await;
    world.kit.bump_epoch("acme").await;
    assert_eq!(code(&revoked).await, "scope.revoked");
    assert_eq!(code(&narrow).await, "scope.grant");
    assert_eq!(code(&good).await, "policy.denied");
    assert_eq!(counting.asked(), 0, "nothing is admitted that may not happen");
    world.file("permit (principal, action, resource);");
    gate.policies().reload().unwrap();
    assert_eq!(code(&good).await, "limit.test");
    assert_eq!(counting.asked(), 1);
    assert_eq!(reached.load(Ordering::SeqCst), 0, "the surface is behind all of them");

    world.clock.advance(Duration::from_secs(16 * 60));
    assert_eq!(code(&good).await, "scope.expired");
    world.kit.change("globex", |record| record.status = scope::Status::Suspended).await;
    let live = world.kit.scope("acme", "live").await;
    assert_eq!(code(&live).await, "limit.test");
}

#[tokio::test]
async fn a_grant_is_needed_and_a_surface_of_it_is_enough() {
    let world = World::new().await;
    let gate = world.gate(Policies::built_in(), Vec::new());
    let request = RequestId::draw(&OsEntropy);
    let model = |action| Hop::model(action, "gpt-5", request);
    use bulkhead_gate::{
        Action::{Chat, Embeddings, Messages, Models, Responses},
        Kept, Touch, Use,
    };
    let kept = |kept| Hop::resource(kept, Touch::Write, request);
    for (grants, hop, expected) in [
        ("model:chat", model(Chat), "ok"),
        ("model:*", model(Chat), "ok"),
        ("model:chat", model(Models), "scope.grant"),
        ("records:* audit:read cache:*", model(Chat), "scope.grant"),
        ("audit:read", Hop::records(Reading::Audit, request), "ok"),
        ("records:*", Hop::records(Reading::Audit, request), "scope.grant"),
        ("records:read", Hop::records(Reading::Runs, request), "ok"),
        ("model:*", Hop::records(Reading::Runs, request), "scope.grant"),
        ("model:responses", model(Responses), "ok"),
        ("model:responses", kept(Kept::Conversations), "ok"),
        ("model:chat", model(Responses), "scope.grant"),
        ("model:embeddings", model(Embeddings), "ok"),
        ("model:chat model:responses", model(Embeddings), "scope.grant"),
        ("model:messages", model(Messages), "ok"),
        ("model:chat", model(Messages), "scope.grant"),
        ("model:files", kept(Kept::Files), "ok"),
        ("model:files", kept(Kept::Batches), "scope.grant"),
        ("model:batches", kept(Kept::Batches), "ok"),
        ("cache:read", Hop::cache(Touch::Read, "e", request), "ok"),
        ("cache:read", Hop::cache(Touch::Write, "e", request), "scope.grant"),
        ("cache:write", Hop::cache(Touch::Read, "e", request), "scope.grant"),
        ("state:*", Hop::state(Touch::Write, "r", request), "ok"),
        ("state:read", Hop::state(Touch::Write, "r", request), "scope.grant"),
        ("state:write cache:*", Hop::state(Touch::Read, "r", request), "scope.grant"),
        ("memory:read", Hop::memory(Use::Read, "docs", request), "ok"),
        ("memory:read", Hop::memory(Use::Write, "docs", request), "scope.grant"),
        ("memory:read memory:write", Hop::memory(Use::Collections, "docs", request), "scope.grant"),
        ("memory:collections", Hop::memory(Use::Collections, "docs", request), "ok"),
        ("memory:collections", Hop::memory(Use::Read, "docs", request), "scope.grant"),
        ("memory:subjects", Hop::memory(Use::Read, "docs", request), "scope.grant"),
    ] {
        let scope = world.granted("acme", grants).await;
        assert_eq!(says(&gate, &scope, hop.clone()).await, expected, "{grants} for {hop:?}");
    }
}

#[tokio::test]
async fn a_denial_is_in_the_tenants_log_and_says_why() {
    let world = World::new().await;
    let gate = world.ruled(
        r#"permit (principal, action, resource);
           @id("no-gpt") forbid (principal, action, resource) when { resource.name == "gpt-5" };"#,
    );
    let scope = world.kit.scope("acme", "live").await;
    let hop = chat();
    let request = hop.request();
    assert_eq!(says(&gate, &scope, hop).await, "policy.denied");
    let log = world.kit.audit.of("acme/live");
    assert_eq!(log.len(), 1);
    let entry = &log[0];
    assert_eq!((entry.action.as_str(), entry.target.as_str()), ("hop.denied", "gpt-5"));
    assert_eq!((entry.decision, entry.code.as_deref()), (Decision::Denied, Some("policy.denied")));
    assert_eq!(entry.actor, scope.actor().to_string());
    assert_eq!(entry.detail["policies"], "no-gpt");
    assert_eq!(entry.detail["hop"], "model:chat");
    assert_eq!(entry.detail["request"], request.to_string());
    assert_eq!(entry.detail["workflow"], "support");
    assert_eq!(entry.detail["run"], scope.run().unwrap().as_str());
    assert!(world.kit.audit.of("globex/live").is_empty());
    assert!(world.kit.audit.of("acme/staging").is_empty());
}

#[tokio::test]
async fn a_denial_found_before_the_gate_is_recorded_like_one_of_its_own() {
    let world = World::new().await;
    let gate = world.gate(Policies::built_in(), Vec::new());
    let scope = world.kit.scope("acme", "live").await;
    gate.refuse(&scope, &chat(), "scope.mismatch", "body metadata.tenant_id").await;
    let event = world.event(&scope).await;
    assert_eq!((event.decision, event.end), (Decision::Denied, End::Failed));
    assert_eq!(event.code.as_deref(), Some("scope.mismatch"));
    let log = world.kit.audit.of("acme/live");
    assert_eq!(log.len(), 1);
    assert_eq!(log[0].code.as_deref(), Some("scope.mismatch"));
    assert_eq!(log[0].reason.as_deref(), Some("body metadata.tenant_id"));
}

/// A surface can tell a pass that was mixed up on the way from its own.
#[tokio::test]
async fn a_pass_is_for_one_scope_and_one_surface() {
    let world = World::new().await;
    let gate = world.gate(Policies::built_in(), Vec::new());
    let acme = world.kit.scope("acme", "live").await;
    let others = [
        world.kit.scope("globex", "live").await,
        world.kit.scope("acme", "staging").await,
        world.kit.scope("acme", "live").await,
    ];
    let pass = gate.pass(&acme, chat(), async |pass| Ok::<_, Failed>(pass)).await.unwrap();
    pass.admits(&acme, "model:chat").unwrap();
    pass.admits(&acme.read_only(), "model:chat").unwrap();
    let mixed_up = others.iter().map(|other| pass.admits(other, "model:chat"));
    for refused in mixed_up.chain([pass.admits(&acme, "model:models")]) {
        assert_eq!(refused.unwrap_err().code(), "scope.mismatch");
    }
    pass.complete();
}

#[tokio::test]
async fn a_denial_stands_though_it_cannot_be_written() {
    let world = World::new().await;
    let gate = world.ruled("");
    let scope = world.kit.scope("acme", "live").await;
    world.kit.audit.full.store(true, Ordering::SeqCst);
    assert_eq!(says(&gate, &scope, chat()).await, "policy.denied");
    assert_eq!(world.event(&scope).await.code.as_deref(), Some("policy.denied"));
}

/// A log that takes its time.
struct Slow {
    go: Semaphore,
    heard: Arc<testkit::Heard>,
}

impl AuditSink for Slow {
    fn record<'a>(
        &'a self,
        scope: &'a Scope<Write>,
        entry: Entry,
    ) -> BoxFuture<'a, Result<(), Unavailable>> {
        Box::pin(async move {
            let _turn = self.go.acquire().await.unwrap();
            self.heard.record(scope, entry).await
        })
    }

    fn record_deployment<'a>(
        &'a self,
        system: &'a SystemScope,
        entry: Entry,
    ) -> BoxFuture<'a, Result<(), Unavailable>> {
        self.heard.record_deployment(system, entry)
    }
}

#[tokio::test]
async fn whoever_hangs_up_does_not_erase_the_trace() {
    let world = World::new().await;
    let slow = Arc::new(Slow { go: Semaphore::new(0), heard: world.kit.audit.clone() });
    let policies = Policies::load(&world.file("")).unwrap();
    let gate = bulkhead_gate::Gate::new(
        policies,
        Vec::new(),
        world.recorder.clone(),
        slow.clone(),
        world.clock.clone(),
    );
    let scope = world.kit.scope("acme", "live").await;
    {
        let mut asking = Box::pin(gate.pass(&scope, chat(), done));
        assert!(futures_util::poll!(&mut asking).is_pending());
    }
    assert!(world.kit.audit.of("acme/live").is_empty());
    slow.go.add_permits(1);
    world.kit.doors.drained().await;
    assert_eq!(world.kit.audit.of("acme/live").len(), 1);
    assert_eq!(world.event(&scope).await.decision, Decision::Denied);
}
