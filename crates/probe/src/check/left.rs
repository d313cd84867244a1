//! What a check left at a place: it is taken away again however the check ends. Also where each
//! answer passes by, so that a look that sees what is not there is noticed.

use crate::{
    canary::{Canary, Side},
    catalog::SHARED_ENV,
    lab::{Caller, Lab},
    place::{Place, Planted, Twist},
    verdict::{Halt, Trial},
    wire::Exchange,
};

/// A text with the canary that it is.
#[derive(Clone)]
pub(super) struct Thing {
    pub(super) canary: Canary,
    pub(super) planted: Planted,
}

/// A place with what one check left there.
pub(super) struct Left<'a> {
    pub(super) place: &'a dyn Place,
    pub(super) lab: &'a Lab,
    things: Vec<(Side, Planted)>,
    never: [Canary; 2],
}

/// Carries out a check that leaves things. Afterwards they are gone.
pub(super) async fn at<'a>(
    place: &'a dyn Place,
    lab: &'a Lab,
    trial: &mut Trial,
    body: impl AsyncFnOnce(&mut Left<'a>, &mut Trial) -> Result<(), Halt>,
) -> Result<(), Halt> {
    let never = [lab.canaries.never_planted(Side::A), lab.canaries.never_planted(Side::B)];
    let mut left = Left { place, lab, things: Vec::new(), never };
    let ended = body(&mut left, trial).await;
    left.clear().await;
    ended
}

impl Left<'_> {
    /// Leaves a canary of this tenant's.
    pub(super) async fn plant(&mut self, side: Side) -> Result<Thing, Halt> {
        let canary = self.lab.canary(side, self.place.name());
        let planted = self.place.plant(self.lab, self.lab.caller(side), &canary.text).await?;
        self.things.push((side, planted.clone()));
        Ok(Thing { canary, planted })
    }

    /// Both tenants at the same moment.
    pub(super) async fn plant_both(&mut self) -> Result<(Thing, Thing), Halt> {
        let (place, lab) = (self.place, self.lab);
        let one = |side| async move {
            let canary = lab.canary(side, place.name());
            let planted = place.plant(lab, lab.caller(side), &canary.text).await;
            planted.map(|planted| Thing { canary, planted })
        };
        let (a, b) = tokio::join!(one(Side::A), one(Side::B));
        for (side, thing) in [(Side::A, &a), (Side::B, &b)] {
            self.things.extend(thing.as_ref().ok().map(|thing| (side, thing.planted.clone())));
        }
        Ok((a?, b?))
    }

    /// Asks for it. Whoever is told to wait, waits a little and asks again.
    pub(super) async fn read(
        &self,
        trial: &mut Trial,
        by: &Caller,
        planted: &Planted,
        twist: &Twist,
    ) -> Result<Exchange, Halt> {
        let mut tries = 0;
        loop {
            let exchange = self.place.read(self.lab, by, planted, twist).await?;
            self.pass(trial, &exchange);
            tries += 1;
            match exchange.later() {
                Some(pause) if tries < 3 => tokio::time::sleep(pause).await,
                _ => return Ok(exchange),
            }
        }
    }

    /// The owner finds it. If not, nothing that follows would mean anything.
    pub(super) async fn found(
        &self,
        trial: &mut Trial,
        side: Side,
        thing: &Thing,
    ) -> Result<Exchange, Halt> {
        let caller = self.lab.caller(side);
        let exchange = self.read(trial, caller, &thing.planted, &Twist::none()).await?;
        // Elsewhere it is another check's finding, and no answer to this one's question.
        let mixed_up = self.lab.foreign(side, &exchange).into_iter().next();
        if let (Some(seen), true) = (mixed_up, *trial.check == SHARED_ENV) {
            let what = format!("{} got the other's", side.name().to_uppercase());
            trial.leaked(&what, &seen, &[&exchange]);
        }
        let (held, name) = (self.own(&exchange, &thing.canary), side.name());
        trial.positive(held, format!("{name} reads its own ({})", outcome(&exchange)));
        match held || self.lab.options.dry_run {
            true => Ok(exchange),
            false => Err(Halt::Failed(format!("{name} does not find its own"))),
        }
    }

    /// Takes something away again before the end.
    pub(super) async fn remove(&mut self, side: Side, planted: &Planted) -> Result<(), Halt> {
        self.place.remove(self.lab, self.lab.caller(side), planted).await?;
        self.gone(planted);
        Ok(())
    }

    /// Every answer passes by here: none may hold what was never planted.
    pub(super) fn pass(&self, trial: &mut Trial, exchange: &Exchange) {
        let seen = self.never.iter().find_map(|never| never.seen_in(exchange));
        trial.negative(seen.is_none(), "what was never planted is not found");
        let revealed = exchange.answer().and_then(|answer| answer.revealed.first());
        if let Some(credential) = revealed {
            trial.leak(format!("an answer holds the credential {credential}"), &[exchange]);
        }
    }

    /// Whether it is the tenant's own text, and not because the request said it, unless nothing
    /// is remembered here.
    pub(super) fn own(&self, exchange: &Exchange, canary: &Canary) -> bool {
        let said = !self.place.remembers() && contains(exchange, &canary.text);
        exchange.accepted() && (said || canary.seen_in(exchange).is_some())
    }

    /// Counts an attack whose answer means something, and looks for what is the other tenant's.
    /// `true` if there was any.
    pub(super) fn attacked(
        &self,
        trial: &mut Trial,
        (side, what): (Side, &str),
        proof: &[&Exchange],
    ) -> bool {
        let Some(last) = proof.last() else { return false };
        if last.inconclusive() {
            trial.doubt(format!("an attack was {}", outcome(last)));
        } else {
            trial.attacked();
        }
        match self.lab.foreign(side, last).first() {
            Some(seen) => {
                trial.leaked(what, seen, proof);
                true
            }
            None => false,
        }
    }

    /// What is removed already.
    pub(super) fn gone(&mut self, planted: &Planted) {
        self.things.retain(|(_, known)| known.handles != planted.handles);
    }

    async fn clear(&mut self) {
        let _cleaning = self.lab.wire.cleaning();
        for (side, planted) in self.things.drain(..) {
            // A place that keeps nothing has nothing to remove; what fails here is told by the
            // lab's own ledger.
            let _ = self.place.remove(self.lab, self.lab.caller(side), &planted).await;
        }
    }
}

/// Whether the body holds the text, wherever it is from.
fn contains(exchange: &Exchange, text: &str) -> bool {
    let body = exchange.answer().map(|answer| &answer.body[..]).unwrap_or_default();
    body.windows(text.len().max(1)).any(|window| window == text.as_bytes())
}

/// What came, in a few words.
pub(super) fn outcome(exchange: &Exchange) -> String {
    match &exchange.outcome {
        Ok(answer) if answer.cut => format!("answered {}, cut off", answer.status),
        Ok(answer) => format!("answered {}", answer.status),
        Err(why) => format!("not answered: {why}"),
    }
}
