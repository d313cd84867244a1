//! The course of reviews against a simple model of it, in many random orders.

use std::time::Duration;

use bulkhead_reviews::{Decision, Error, New, State, Wanted};
use ids::{Clock as _, RandomId};
use proptest::prelude::*;
use scope::{Scope, Write};

use super::world::{DIGEST, WANTED, World, asked};

#[derive(Clone, Debug)]
enum Step {
    Ask { four_eyes: bool, minutes: u64 },
    Decide { who: usize, which: usize, approve: bool, stale: bool },
    Redeem { who: usize, which: usize, stale: bool },
    Edit { who: usize, which: usize },
    Close { which: usize },
    Wait(u64),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let which = 0..6_usize;
    prop_oneof![
        3 => (any::<bool>(), 1..30_u64)
            .prop_map(|(four_eyes, minutes)| Step::Ask { four_eyes, minutes }),
        6 => (0..WHO, which.clone(), prop::bool::weighted(0.8), prop::bool::weighted(0.1))
            .prop_map(|(who, which, approve, stale)| Step::Decide { who, which, approve, stale }),
        4 => (0..WHO, which.clone(), prop::bool::weighted(0.1))
            .prop_map(|(who, which, stale)| Step::Redeem { who, which, stale }),
        1 => (0..WHO, which.clone()).prop_map(|(who, which)| Step::Edit { who, which }),
        1 => which.prop_map(|which| Step::Close { which }),
        2 => (1..10_u64).prop_map(Step::Wait),
        1 => Just(Step::Restart),
    ]
}

/// The agent, its other token, a person of the tenant's, two operators, another tenant.
const WHO: usize = 6;
const AGENT: usize = 0;
const ITS_OTHER_TOKEN: usize = 1;
const STRANGER: usize = 5;

/// What has to be true of a review. Shares nothing with the crate but its words.
struct Known {
    id: RandomId,
    state: &'static str,
    four_eyes: bool,
    expires: u64,
    digest: u8,
    /// Who has allowed what it says now.
    allowed: Vec<usize>,
    uses: usize,
}

impl Known {
    fn state(&self, now: u64) -> &'static str {
        match self.state {
            "open" | "approved" if now >= self.expires => "expired",
            state => state,
        }
    }

    fn decide(&mut self, who: usize, approve: bool, stale: bool, now: u64) -> &'static str {
        let state = self.state(now);
        if who == STRANGER {
            return "missing";
        }
        if !(state == "open" || state == "approved" && !approve) {
            return "settled";
        }
        if stale {
            return "other";
        }
        let asked = who == AGENT || who == ITS_OTHER_TOKEN;
        if approve && (asked || self.allowed.contains(&who)) {
            return "same";
        }
        if approve {
            self.allowed.push(who);
            let needed = if self.four_eyes { 2 } else { 1 };
            self.state = if self.allowed.len() >= needed { "approved" } else { "open" };
        } else {
            self.state = "denied";
        }
        "done"
    }

    fn redeem(&mut self, who: usize, stale: bool, now: u64) -> &'static str {
        if who == STRANGER {
            return "missing";
        }
        // What the agent asked for is done by nobody else.
        if stale || !(who == AGENT || who == ITS_OTHER_TOKEN) {
            return "other";
        }
        if self.state(now) != "approved" {
            return "settled";
        }
        self.state = "used";
        self.uses += 1;
        "done"
    }

    fn edit(&mut self, who: usize, now: u64) -> &'static str {
        if who == STRANGER {
            return "missing";
        }
        if !["open", "approved"].contains(&self.state(now)) {
            return "settled";
        }
        if who == AGENT || who == ITS_OTHER_TOKEN {
            return "same";
        }
        self.state = "open";
        self.allowed.clear();
        self.digest += 1;
        "done"
    }
}

fn word<T: std::fmt::Debug>(answer: &Result<T, Error>) -> &'static str {
    match answer {
        Ok(_) => "done",
        Err(Error::Missing) => "missing",
        Err(Error::Settled(_)) => "settled",
        Err(Error::Other(_)) => "other",
        Err(Error::SamePerson) => "same",
        Err(error) => panic!("{error:?}"),
    }
}

fn digest(known: &Known, stale: bool) -> [u8; 32] {
    let mut digest = DIGEST;
    digest[31] = if stale { 255 } else { known.digest };
    digest
}

async fn people(world: &World) -> [Scope<Write>; WHO] {
    [
        world.acme().await,
        world.acme().await,
        world.approver().await,
        world.ada().await,
        world.bob().await,
        world.globex().await,
    ]
}

async fn run(world: &mut World, steps: Vec<Step>) {
    let mut known: Vec<Known> = Vec::new();
    for step in steps {
        // Credentials last for minutes.
        let people = people(world).await;
        let now = world.clock.now();
        match step {
            Step::Ask { four_eyes, minutes } => {
                let expires = now.plus(Duration::from_secs(60 * minutes));
                let new = New { digest: first(), four_eyes, ..asked(expires) };
                let review = world.reviews.of(&people[AGENT]).ask(new).await.unwrap();
                known.push(Known {
                    id: review.id,
                    state: "open",
                    four_eyes,
                    expires: expires.0,
                    digest: 0,
                    allowed: Vec::new(),
                    uses: 0,
                });
            }
            Step::Decide { who, which, approve, stale } => {
                let Some(of) = pick(&mut known, which) else { continue };
                let by = people[who].actor().to_string();
                let decision = Decision { by, approve, reason: None, digest: digest(of, stale) };
                let answer = world.reviews.of(&people[who]).decide(of.id, decision).await;
                assert_eq!(word(&answer), of.decide(who, approve, stale, now.0));
            }
            Step::Redeem { who, which, stale } => {
                let Some(of) = pick(&mut known, which) else { continue };
                let digest = digest(of, stale);
                let wanted = Wanted { digest, ..WANTED };
                let answer = world.reviews.of(&people[who]).redeem(of.id, wanted).await;
                assert_eq!(word(&answer), of.redeem(who, stale, now.0));
                assert!(of.uses <= 1);
            }
            Step::Edit { who, which } => {
                let Some(of) = pick(&mut known, which) else { continue };
                let by = people[who].actor().to_string();
                let mut next = digest(of, false);
                next[31] += 1;
                let inbox = world.reviews.of(&people[who]);
                let answer = inbox.edit(of.id, vec![next[31]], next, &by).await;
                assert_eq!(word(&answer), of.edit(who, now.0));
            }
            Step::Close { which } => {
                let Some(of) = pick(&mut known, which) else { continue };
                let answer = world.reviews.of(&people[AGENT]).close(of.id, "bulkhead", "x").await;
                let live = ["open", "approved"].contains(&of.state(now.0));
                assert_eq!(word(&answer), if live { "done" } else { "settled" });
                if live {
                    of.state = "closed";
                }
            }
            Step::Wait(minutes) => world.clock.advance(Duration::from_secs(60 * minutes)),
            Step::Restart => world.restart().await,
        }
        check(world, &known).await;
    }
}

async fn check(world: &World, known: &[Known]) {
    let acme = world.acme().await;
    let now = world.clock.now().0;
    for of in known {
        let (review, payload) = world.reviews.of(&acme).get(of.id).await.unwrap();
        assert_eq!(review.state.as_str(), of.state(now));
        assert_eq!(review.digest, ids::text::hex(&digest(of, false)));
        if of.digest > 0 {
            assert_eq!(payload, [of.digest]);
        }
        assert_ne!((review.state, of.allowed.is_empty()), (State::Approved, true));
    }
    let pending = world.reviews.pending(&super::world::system(), None, 1_000).await.unwrap();
    let mut pending: Vec<RandomId> = pending.iter().map(|one| one.id).collect();
    pending.retain(|id| known.iter().any(|of| of.id == *id));
    pending.sort_unstable();
    let open = known.iter().filter(|of| of.state(now) == "open");
    let mut open: Vec<RandomId> = open.map(|of| of.id).collect();
    open.sort_unstable();
    assert_eq!(pending, open, "the index has those that wait, and no others");
}

const fn first() -> [u8; 32] {
    let mut digest = DIGEST;
    digest[31] = 0;
    digest
}

fn pick(known: &mut [Known], which: usize) -> Option<&mut Known> {
    // Of the latest, so that a long run does not spread over many.
    let from = known.len().saturating_sub(6);
    let latest = known.get_mut(from..)?;
    let count = latest.len();
    if count == 0 { None } else { latest.get_mut(which % count) }
}

#[test]
fn reviews_go_as_the_model_says() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut world = runtime.block_on(World::new());
    // A planted bug must fail here and leave no file behind.
    let config =
        ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let world = std::cell::RefCell::new(&mut world);
    let outcome = runner.run(&prop::collection::vec(step(), 1..40), |steps| {
        runtime.block_on(run(&mut world.borrow_mut(), steps));
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}
