use std::{panic::AssertUnwindSafe, sync::Arc};

use bulkhead_gate::{Gate, InFlight, Pass, Policies};
use futures_util::FutureExt as _;
use scope::{Scope, Write};

use super::world::{Counting, Failed, World, chat, says};

async fn world(most: u32) -> (World, Gate, InFlight, Scope<Write>) {
    let world = World::new().await;
    let limit = InFlight::new(most);
    let gate = world.gate(Policies::built_in(), vec![Arc::new(limit.clone())]);
    let scope = world.kit.scope("acme", "live").await;
    (world, gate, limit, scope)
}

async fn keep(pass: Pass) -> Result<Pass, Failed> {
    Ok(pass)
}

#[tokio::test]
async fn a_tenant_is_held_to_its_own_share() {
    let (world, gate, limit, acme) = world(2).await;
    let held: Vec<Pass> = [
        gate.pass(&acme, chat(), keep).await.unwrap(),
        gate.pass(&acme, chat(), keep).await.unwrap(),
    ]
    .into();
    assert_eq!(limit.running(&acme.read_only()), 2);
    let same = world.kit.scope_for("acme", "live", "billing").await;
    assert_eq!(says(&gate, &acme, chat()).await, "limit.concurrency");
    assert_eq!(says(&gate, &same, chat()).await, "limit.concurrency", "another token of it");
    for (tenant, environment) in [("globex", "live"), ("acme", "staging")] {
        let other = world.kit.scope(tenant, environment).await;
        assert_eq!(says(&gate, &other, chat()).await, "ok");
        assert_eq!(limit.running(&other.read_only()), 0);
    }
    assert_eq!(limit.busy(), 1, "nobody is remembered who has nothing in flight");
    drop(held);
    assert_eq!(says(&gate, &acme, chat()).await, "ok");
    assert_eq!(limit.busy(), 0);
}

#[tokio::test]
async fn a_permit_goes_back_however_the_hop_ends() {
    let (_world, gate, limit, scope) = world(1).await;
    let running = || limit.running(&scope.read_only());
    for round in 0..3 {
        // A stream, ended or dropped half-way.
        let pass = gate.pass(&scope, chat(), keep).await.unwrap();
        assert_eq!(running(), 1, "a stream holds it, round {round}");
        pass.complete();
        assert_eq!(running(), 0);
        drop(gate.pass(&scope, chat(), keep).await.unwrap());
        assert_eq!(running(), 0);
        // An error.
        let failing = async |_pass: Pass| Err::<(), _>(Failed::Surface("x"));
        gate.pass(&scope, chat(), failing).await.unwrap_err();
        assert_eq!(running(), 0);
        // A caller that goes away.
        {
            let hanging = async |_pass: Pass| std::future::pending::<Result<(), Failed>>().await;
            let mut hop = Box::pin(gate.pass(&scope, chat(), hanging));
            assert!(futures_util::poll!(&mut hop).is_pending());
            assert_eq!(running(), 1);
        }
        assert_eq!(running(), 0);
        // A panic.
        let panicking = async |_pass: Pass| -> Result<(), Failed> {
            std::panic::resume_unwind(Box::new("on purpose"))
        };
        let hop = gate.pass(&scope, chat(), panicking);
        AssertUnwindSafe(hop).catch_unwind().await.unwrap_err();
        assert_eq!(running(), 0);
    }
}

/// What an earlier admission gave goes back when a later one refuses.
#[tokio::test]
async fn a_refusal_holds_nothing() {
    let world = World::new().await;
    let limit = InFlight::new(1);
    let later = Arc::new(Counting::default());
    let gate = world.gate(Policies::built_in(), vec![Arc::new(limit.clone()), later.clone()]);
    let scope = world.kit.scope("acme", "live").await;
    for asked in 1..4 {
        assert_eq!(says(&gate, &scope, chat()).await, "limit.test");
        assert_eq!((later.asked(), limit.busy()), (asked, 0));
    }
}

#[tokio::test]
async fn a_limit_of_nothing_lets_nothing_through() {
    let (_world, gate, limit, scope) = world(0).await;
    assert_eq!(says(&gate, &scope, chat()).await, "limit.concurrency");
    assert_eq!(limit.busy(), 0);
}
