//! The lab: everything that a check works with at one target.

use std::sync::{Arc, Mutex};

use crate::{
    budget::Budget,
    canary::{Canaries, Canary, Side, Sighting},
    ledger::{Ledger, Tended},
    place::Place,
    run::Options,
    target::{Credential, Target},
    verdict::Halt,
    wire::{Exchange, Request, Wire},
};

/// Who asks: a tenant with its credential, or somebody with none, a dead or a forged one.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// `None` for nobody.
    pub(crate) side: Option<Side>,
    /// In the report: `a`, `b`, `nobody`, `a, token cut after 20`.
    pub(crate) label: String,
    /// What is presented, if anything is.
    pub(crate) credential: Option<Credential>,
    /// Headers that come with each request of this tenant.
    pub(crate) headers: Vec<(String, String)>,
}

/// What a check works with.
pub(crate) struct Lab {
    pub(crate) target: Arc<Target>,
    pub(crate) wire: Wire,
    pub(crate) canaries: Arc<Canaries>,
    pub(crate) options: Arc<Options>,
    pub(crate) rng: Mutex<fastrand::Rng>,
    /// What was left at the target.
    pub(crate) ledger: Ledger,
    a: Caller,
    b: Caller,
}

impl Lab {
    pub(crate) fn new(
        target: Arc<Target>,
        budget: Arc<Budget>,
        canaries: Arc<Canaries>,
        options: Arc<Options>,
        (a, b): (Caller, Caller),
    ) -> Self {
        let wire = Wire::new(Arc::clone(&target), budget, Arc::clone(&options));
        [&a, &b].into_iter().for_each(|caller| wire.knows(caller));
        let rng = Mutex::new(fastrand::Rng::with_seed(options.seed));
        let ledger = Ledger::default();
        Self { target, wire, canaries, options, rng, ledger, a, b }
    }

    /// A tenant with its own credential.
    pub(crate) fn caller(&self, side: Side) -> &Caller {
        match side {
            Side::A => &self.a,
            Side::B => &self.b,
        }
    }

    /// Somebody without a credential.
    pub(crate) fn nobody(&self) -> Caller {
        Caller { side: None, label: "nobody".into(), credential: None, headers: Vec::new() }
    }

    /// A canary of this tenant's, hunted from now on.
    pub(crate) fn canary(&self, side: Side, surface: &str) -> Canary {
        self.canaries.draw(side, surface)
    }

    /// Every canary in an answer that its request did not itself say.
    pub(crate) fn hunt(&self, exchange: &Exchange) -> Vec<Sighting> {
        self.canaries.hunt(exchange)
    }

    /// The canaries in an answer to `to` that are the other tenant's.
    pub(crate) fn foreign(&self, to: Side, exchange: &Exchange) -> Vec<Sighting> {
        self.hunt(exchange).into_iter().filter(|seen| seen.canary.side != to).collect()
    }

    /// Asks, and waits for the whole answer.
    pub(crate) async fn send(&self, by: &Caller, request: Request) -> Result<Exchange, Halt> {
        self.wire.send(by, request).await
    }

    /// The place, with a ledger of what is planted there. Whoever plants at a place of its own
    /// does so over this, and calls [`Tended::sweep`] at the end.
    pub(crate) fn tended<'p>(&self, place: &'p dyn Place) -> Tended<'p> {
        Tended::new(place)
    }

    /// Begins a check: its orders and shuffles depend on the run's seed and on the check alone, so
    /// that they are the same when it is run again by itself.
    pub(crate) fn begin(&self, check: &str, place: &str) {
        let name = [check.as_bytes(), &[0], place.as_bytes()].concat();
        // FNV-1a.
        let hash = name.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let seeded = fastrand::Rng::with_seed(self.options.seed ^ hash);
        *self.rng.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = seeded;
    }

    /// As [`Lab::send`], and again a little later if the target says so; not if it is to be cut
    /// off.
    pub(crate) async fn patiently(&self, by: &Caller, request: Request) -> Result<Exchange, Halt> {
        match request.hang_up {
            Some(_) => self.send(by, request).await,
            None => self.wire.send_patiently(by, request).await,
        }
    }

    /// A number below `most`, by the run's seed.
    pub(crate) fn below(&self, most: usize) -> usize {
        let mut rng = self.rng.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        rng.usize(..most.max(1))
    }
}
