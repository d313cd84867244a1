//! Exactly one event per hop, however it ends.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use bulkhead_gate::{Coded, Gate, InFlight, Pass, Policies};
use futures_util::FutureExt as _;
use ids::{OsEntropy, RequestId};
use proptest::prelude::*;
use records::{End, Event};
use scope::{Decision, Scope, Write};

use super::world::{Failed, World, chat, done, says};

/// An answer that goes on after the surface has returned.
struct Stream(Option<Pass>);

impl Stream {
    fn send(&mut self, bytes: u64) {
        self.0.as_mut().unwrap().tally().bytes_out(bytes);
    }

    fn end(mut self) {
        self.0.take().unwrap().complete();
    }
}

async fn streaming(pass: Pass) -> Result<Stream, Failed> {
    Ok(Stream(Some(pass)))
}

/// Decision, end and code.
fn shape(event: &Event) -> (Decision, End, Option<&str>) {
    (event.decision, event.end, event.code.as_deref())
}

async fn world() -> (World, Gate, Scope<Write>) {
    let world = World::new().await;
    let gate = world.gate(Policies::built_in(), Vec::new());
    let scope = world.kit.scope("acme", "live").await;
    (world, gate, scope)
}

#[tokio::test]
async fn an_answer() {
    let (world, gate, scope) = world().await;
    let hop =
        chat().bytes_in(1_234).step("plan".parse().unwrap()).provider("openai".parse().unwrap());
    let request = hop.request();
    let answered: Result<(), Failed> = gate
        .pass(&scope, hop, async |mut pass: Pass| {
            assert_eq!(pass.policy(), gate.policies().version());
            pass.tally().cache("miss").bytes_out(100).bytes_out(23).tokens(7, 9);
            pass.complete();
            Ok(())
        })
        .await;
    answered.unwrap();
    let event = world.event(&scope).await;
    assert_eq!(shape(&event), (Decision::Allowed, End::Complete, None));
    assert_eq!((event.at, event.request), (world.now(), request));
    assert_eq!((event.bytes_in, event.bytes_out), (1_234, 123));
    assert_eq!((event.tokens_in, event.tokens_out, event.cost), (Some(7), Some(9), None));
    assert_eq!(event.cache.as_deref(), Some("miss"));
    assert_eq!((&*event.surface, &*event.action), ("model", "chat"));
    assert_eq!(event.route.unwrap().as_str(), "gpt-5");
    assert_eq!(event.provider.unwrap().as_str(), "openai");
    assert_eq!(event.workflow.as_ref(), scope.workflow());
    assert_eq!(event.run.as_ref(), scope.run());
    assert_eq!(event.step.unwrap().as_str(), "plan");
}

/// What a surface says stands; where it says nothing, what it returns does.
#[tokio::test]
async fn what_the_surface_says_and_returns() {
    for (say, give, expected) in [
        (Some(None), Ok(()), (End::Complete, None)),
        (None, Ok(()), (End::Complete, None)),
        (None, Err("upstream.timeout"), (End::Failed, Some("upstream.timeout"))),
        (Some(Some("upstream.error")), Ok(()), (End::Failed, Some("upstream.error"))),
        (Some(Some("upstream.error")), Err("other"), (End::Failed, Some("upstream.error"))),
        (Some(None), Err("other"), (End::Complete, None)),
    ] {
        let (world, gate, scope) = world().await;
        let answered = gate
            .pass(&scope, chat(), async |mut pass: Pass| {
                pass.tally().bytes_out(5);
                match say {
                    Some(None) => pass.complete(),
                    Some(Some(code)) => pass.failed(code),
                    None => drop(pass),
                }
                give.map_err(Failed::Surface)
            })
            .await;
        assert_eq!(answered.map_err(|failed| failed.code()), give);
        let event = world.event(&scope).await;
        let expected = (Decision::Allowed, expected.0, expected.1);
        assert_eq!(shape(&event), expected, "{say:?} {give:?}");
        assert_eq!(event.bytes_out, 5, "counted, whoever judges");
    }
}

#[tokio::test]
async fn a_hop_that_is_cut_off() {
    for holds in [true, false] {
        let (world, gate, scope) = world().await;
        {
            let mut hop = Box::pin(gate.pass(&scope, chat(), async |pass: Pass| {
                // Whether the surface still has it when the caller goes away.
                let _pass = holds.then_some(pass);
                std::future::pending::<Result<(), Failed>>().await
            }));
            assert!(futures_util::poll!(&mut hop).is_pending());
            assert!(world.events(&scope).await.is_empty(), "not over yet");
        }
        assert_eq!(shape(&world.event(&scope).await), (Decision::Allowed, End::Cancelled, None));
    }
}

#[tokio::test]
async fn a_surface_that_panics() {
    let (world, gate, scope) = world().await;
    let hop = gate.pass(&scope, chat(), async |pass: Pass| -> Result<(), Failed> {
        let _pass = pass;
        panic!("on purpose")
    });
    assert!(AssertUnwindSafe(hop).catch_unwind().await.is_err());
    let event = world.event(&scope).await;
    assert_eq!(shape(&event), (Decision::Allowed, End::Failed, Some("internal")));
}

#[tokio::test]
async fn a_stream_has_its_event_at_its_end() {
    let (world, gate, scope) = world().await;
    let mut stream = gate.pass(&scope, chat(), streaming).await.unwrap();
    stream.send(10);
    assert!(world.events(&scope).await.is_empty(), "not over yet");
    stream.send(10);
    stream.end();
    let event = world.event(&scope).await;
    assert_eq!(shape(&event), (Decision::Allowed, End::Complete, None));
    assert_eq!(event.bytes_out, 20);
}

#[tokio::test]
async fn a_stream_that_is_dropped_half_way() {
    let (world, gate, scope) = world().await;
    let mut stream = gate.pass(&scope, chat(), streaming).await.unwrap();
    stream.send(10);
    drop(stream);
    let event = world.event(&scope).await;
    assert_eq!(shape(&event), (Decision::Allowed, End::Cancelled, None));
    assert_eq!(event.bytes_out, 10);
}

#[tokio::test]
async fn a_denial() {
    let world = World::new().await;
    let gate = world.ruled("");
    let scope = world.kit.scope("acme", "live").await;
    assert_eq!(says(&gate, &scope, chat().bytes_in(9)).await, "policy.denied");
    let event = world.event(&scope).await;
    assert_eq!(shape(&event), (Decision::Denied, End::Failed, Some("policy.denied")));
    assert_eq!((event.bytes_in, event.bytes_out), (9, 0));
}

/// It was not admitted: an event, and no audit entry, since load is no question of rights.
#[tokio::test]
async fn a_hop_that_is_not_admitted() {
    let world = World::new().await;
    let gate = world.gate(Policies::built_in(), vec![Arc::new(InFlight::new(0))]);
    let scope = world.kit.scope("acme", "live").await;
    let refused = gate.pass(&scope, chat(), done).await.unwrap_err();
    let Failed::Gate(error) = refused else { panic!("{refused:?}") };
    assert_eq!(error.code(), "limit.concurrency");
    assert_eq!(error.retry_after(), Some(Duration::from_secs(1)));
    let event = world.event(&scope).await;
    assert_eq!(shape(&event), (Decision::Denied, End::Failed, Some("limit.concurrency")));
    assert!(world.kit.audit.of("acme/live").is_empty());
}

/// Events are the tenant's own.
#[tokio::test]
async fn nobody_has_the_event_of_another() {
    let (world, gate, scope) = world().await;
    gate.pass(&scope, chat(), done).await.unwrap();
    for (tenant, environment) in [("globex", "live"), ("acme", "staging")] {
        let other = world.kit.scope(tenant, environment).await;
        assert!(world.events(&other).await.is_empty());
    }
    world.event(&scope).await;
}

#[derive(Clone, Copy, Debug)]
enum Ending {
    Answer,
    Silent,
    Error,
    CutOff,
    Panic,
    Stream,
    HalfStream,
    Denied,
}

fn endings() -> impl Strategy<Value = Vec<(Ending, bool)>> {
    use Ending::*;
    let ending = prop::sample::select(vec![
        Answer, Silent, Error, CutOff, Panic, Stream, HalfStream, Denied,
    ]);
    prop::collection::vec((ending, any::<bool>()), 1..40)
}

async fn hop(gate: &Gate, scope: &Scope<Write>, narrow: &Scope<Write>, id: RequestId, how: Ending) {
    let ask = || bulkhead_gate::Hop::model(bulkhead_gate::Action::Chat, "m", id);
    match how {
        Ending::Answer => gate.pass(scope, ask(), done).await.unwrap(),
        Ending::Silent => {
            let silent = async |_pass| Ok::<_, Failed>(());
            gate.pass(scope, ask(), silent).await.unwrap();
        }
        Ending::Error => {
            let failing = async |_pass| Err::<(), _>(Failed::Surface("x"));
            gate.pass(scope, ask(), failing).await.unwrap_err();
        }
        Ending::CutOff => {
            let hanging = async |_pass: Pass| std::future::pending::<Result<(), Failed>>().await;
            let mut hop = Box::pin(gate.pass(scope, ask(), hanging));
            assert!(futures_util::poll!(&mut hop).is_pending());
        }
        Ending::Panic => {
            let panicking = async |_pass: Pass| -> Result<(), Failed> {
                // Without the hook that prints.
                std::panic::resume_unwind(Box::new("on purpose"))
            };
            let hop = gate.pass(scope, ask(), panicking);
            AssertUnwindSafe(hop).catch_unwind().await.unwrap_err();
        }
        Ending::Stream => gate.pass(scope, ask(), streaming).await.unwrap().end(),
        Ending::HalfStream => drop(gate.pass(scope, ask(), streaming).await.unwrap()),
        Ending::Denied => drop(gate.pass(narrow, ask(), done).await.unwrap_err()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    /// Whatever two tenants' hops do, in whatever order: one event each, and nothing held.
    #[test]
    fn one_event_for_each_hop(endings in endings()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = World::new().await;
            let limit = InFlight::new(3);
            let gate = world.gate(Policies::built_in(), vec![Arc::new(limit.clone())]);
            let mut scopes = Vec::new();
            for tenant in ["acme", "globex"] {
                let narrow = world.granted(tenant, "audit:read").await;
                scopes.push((world.kit.scope(tenant, "live").await, narrow, Vec::new()));
            }
            for (ending, which) in endings {
                let (scope, narrow, asked) = &mut scopes[usize::from(which)];
                let id = RequestId::draw(&OsEntropy);
                hop(&gate, scope, narrow, id, ending).await;
                asked.push(id);
            }
            prop_assert_eq!(limit.busy(), 0);
            for (scope, _, asked) in &mut scopes {
                let mut seen: Vec<_> =
                    world.events(scope).await.iter().map(|event| event.request).collect();
                seen.sort_unstable();
                asked.sort_unstable();
                prop_assert_eq!(&seen, asked);
            }
            Ok(())
        })?;
    }
}

/// What is under way when its tenant is erased leaves no entry in a log that is gone.
#[tokio::test]
async fn a_denial_of_an_erased_tenant_is_not_written() {
    let world = World::new().await;
    let gate = world.gate(bulkhead_gate::Policies::built_in(), Vec::new());
    let scope = world.kit.scope("acme", "live").await;
    gate.refuse(&scope, &chat(), "scope.mismatch", "it names globex").await;
    let written = || world.kit.audit.of("acme/live").len();
    assert_eq!(written(), 1);
    world.kit.change("acme", |record| record.status = scope::Status::Erased).await;
    gate.refuse(&scope, &chat(), "scope.mismatch", "it names globex").await;
    assert_eq!(written(), 1);
}

/// A meter that keeps what it is shown.
#[derive(Debug, Default)]
struct Shown(parking_lot::Mutex<Vec<(String, End)>>);

impl bulkhead_gate::Meter for Shown {
    fn ended(&self, tenant: &ids::TenantId, event: &Event) {
        assert_eq!(tenant.as_str(), "acme");
        self.0.lock().push((event.action.to_string(), event.end));
    }
}

#[tokio::test]
async fn a_meter_sees_every_hop_once() {
    let world = World::new().await;
    let shown = Arc::new(Shown::default());
    let gate = world.gate(Policies::built_in(), Vec::new()).metered(shown.clone());
    let scope = world.granted("acme", "model:chat").await;
    assert_eq!(says(&gate, &scope, chat()).await, "ok");
    let list = bulkhead_gate::Hop::model(bulkhead_gate::Action::Models, "*", chat().request());
    assert_eq!(says(&gate, &scope, list.clone()).await, "scope.grant");
    gate.refuse(&scope, &list, "scope.mismatch", "why").await;
    let seen = std::mem::take(&mut *shown.0.lock());
    let expected = [("chat", End::Complete), ("models", End::Failed), ("models", End::Failed)];
    assert_eq!(seen, expected.map(|(action, end)| (action.to_owned(), end)));
    assert_eq!(world.events(&scope).await.len(), 3);
}
