//! Redis: keys, listings, commands.

mod channels;
mod escape;
mod hunt;
mod server;

use super::left::{self, Left, Thing, outcome};
use crate::{
    canary::Side,
    catalog::{KEY_ESCAPE, KEY_HUNT, SERVER_COMMANDS},
    drive::redis::{Keys, Redis, Session},
    lab::{Caller, Lab},
    sheet::Sheet,
    verdict::{Halt, Strength, Trial},
    wire::Exchange,
};

pub(super) async fn all(lab: &Lab, sheet: &mut Sheet<'_>) {
    let redis = match Redis::open(lab) {
        Ok(redis) => redis,
        Err(halt) => return sheet.run(&KEY_ESCAPE, "keys", async |_| Err(halt)).await,
    };
    let keys = Keys(&redis);
    // What is left here is told by the ledger; what is there still is swept after the last check.
    let tended = lab.tended(&keys);
    sheet
        .run(&KEY_ESCAPE, "keys", async |trial| {
            left::at(&tended, lab, trial, async |left, trial| {
                escape::reach(&mut Hand { redis: &redis, left, leaks: 0 }, trial).await
            })
            .await
        })
        .await;
    sheet
        .run(&KEY_HUNT, "listings", async |trial| {
            left::at(&tended, lab, trial, async |left, trial| {
                hunt::hunt(&mut Hand { redis: &redis, left, leaks: 0 }, trial).await
            })
            .await
        })
        .await;
    sheet
        .run(&SERVER_COMMANDS, "commands", async |trial| {
            left::at(&tended, lab, trial, async |left, trial| {
                server::watch(&mut Hand { redis: &redis, left, leaks: 0 }, trial).await
            })
            .await
        })
        .await;
    tended.sweep(lab).await;
    super::at(&keys, lab, sheet).await;
}

/// B's hand at a Redis: what it tries is looked at as it comes back.
struct Hand<'l, 'a> {
    redis: &'a Redis,
    left: &'l mut Left<'a>,
    /// Byte for byte; what only metadata shows is not counted here.
    leaks: usize,
}

impl<'a> Hand<'_, 'a> {
    fn lab(&self) -> &'a Lab {
        self.left.lab
    }

    fn caller(&self, side: Side) -> &'a Caller {
        self.lab().caller(side)
    }

    /// Leaves a key of each tenant's, and each finds its own.
    async fn both(&mut self, trial: &mut Trial) -> Result<(Thing, Thing), Halt> {
        let (a, b) = self.left.plant_both().await?;
        for (side, own) in [(Side::A, &a), (Side::B, &b)] {
            self.left.found(trial, side, own).await?;
        }
        Ok((a, b))
    }

    /// A connection of this tenant's own.
    async fn session(&self, side: Side) -> Result<Session, Halt> {
        let opened = self.redis.session(self.lab(), self.caller(side)).await?;
        opened.map_err(|refused| {
            Halt::Failed(format!("{} has no connection ({})", side.name(), outcome(&refused)))
        })
    }

    /// Looks at what B got by one command. Whether something of A's was in it.
    fn look(&mut self, trial: &mut Trial, what: &str, proof: &[&Exchange]) -> bool {
        let Some(last) = proof.last() else { return false };
        self.left.pass(trial, last);
        let leaked = self.left.attacked(trial, (Side::B, what), proof);
        self.leaks += usize::from(leaked);
        leaked
    }

    /// Shown by what the server says of itself, not by bytes of A's.
    fn metadata(&self, trial: &mut Trial, what: impl Into<String>, proof: &[&Exchange]) {
        if self.leaks == 0 {
            trial.strength(Strength::Metadata);
        }
        trial.leak(what, proof);
    }

    /// Byte for byte, though no canary shows it: something of A's changed.
    fn exact(&mut self, trial: &mut Trial, what: impl Into<String>, proof: &[&Exchange]) {
        self.leaks += 1;
        trial.strength(Strength::Exact);
        trial.leak(what, proof);
    }
}

/// What keys of any run of the prober's match, and nothing else does.
const OURS: &str = "*bulkhead-probe:*";
