//! What a check of an application works with: what it left, to be taken away again, and an eye on
//! every answer.

use crate::{
    canary::{Canary, Side, Sighting},
    drive::app::{Documents, Done, Words, carry_out, forget, told},
    lab::{Caller, Lab},
    ledger::Mark,
    place::{Place as _, Planted, Twist},
    target::{App, Template},
    verdict::{Halt, Trial},
    wire::Exchange,
};

/// A check's own bench.
pub(super) struct Bench<'a> {
    pub(super) lab: &'a Lab,
    pub(super) app: &'a App,
    never: [Canary; 2],
    left: Vec<(Side, Remains)>,
}

/// What is to be taken away again.
enum Remains {
    /// A document, which the lab's ledger has.
    Document(Box<Planted>),
    /// What else a request made, by its ids.
    Other(Mark, Vec<(String, String)>),
}

/// A document with the canary in it.
#[derive(Clone, Debug)]
pub(super) struct Left {
    pub(super) canary: Canary,
    pub(super) planted: Planted,
}

impl<'a> Bench<'a> {
    pub(super) fn new(lab: &'a Lab, app: &'a App) -> Self {
        let never = [lab.canaries.never_planted(Side::A), lab.canaries.never_planted(Side::B)];
        Self { lab, app, never, left: Vec::new() }
    }

    pub(super) fn by(&self, side: Side) -> &'a Caller {
        self.lab.caller(side)
    }

    /// Leaves a document; `text` is made of the canary.
    pub(super) async fn plant(
        &mut self,
        side: Side,
        text: impl FnOnce(&str) -> String,
    ) -> Result<Left, Halt> {
        let Some(documents) = Documents::of(self.app) else {
            let advice = "say how a document is left: plant = { post = … }";
            return Err(Halt::Lacking(advice.into()));
        };
        let canary = self.lab.canary(side, "documents");
        let text = text(&canary.text);
        let tended = self.lab.tended(&documents);
        let planted = tended.plant(self.lab, self.by(side), &text).await?;
        self.left.push((side, Remains::Document(Box::new(planted.clone()))));
        Ok(Left { canary, planted })
    }

    /// Carries out a template. Whatever comes back has to be looked at.
    pub(super) async fn ask(
        &mut self,
        side: Side,
        template: &Template,
        words: &Words,
    ) -> Result<Done, Halt> {
        let by = self.by(side);
        let done = carry_out(self.lab, self.app, by, (template, words), &Twist::none()).await?;
        self.made(side, done.given.handles());
        Ok(done)
    }

    /// Both tenants at the same moment.
    pub(super) async fn both(
        &mut self,
        template: &Template,
        (of_a, of_b): (&Words, &Words),
    ) -> Result<(Done, Done), Halt> {
        let (lab, app, calm) = (self.lab, self.app, Twist::none());
        let (to_a, to_b) = tokio::join!(
            carry_out(lab, app, self.by(Side::A), (template, of_a), &calm),
            carry_out(lab, app, self.by(Side::B), (template, of_b), &calm),
        );
        for (side, done) in [(Side::A, &to_a), (Side::B, &to_b)] {
            self.made(side, done.as_ref().map(|done| done.given.handles()).unwrap_or_default());
        }
        Ok((to_a?, to_b?))
    }

    /// A request made something that has ids.
    fn made(&mut self, side: Side, handles: Vec<(String, String)>) {
        if handles.is_empty() {
            return;
        }
        let ids: Vec<_> = handles.iter().map(|(name, id)| format!("{name} {id}")).collect();
        let by_hand = format!("remove it as {}", self.by(side).label);
        let mark = self.lab.ledger.made("ask", &ids.join(", "), &by_hand);
        self.left.push((side, Remains::Other(mark, handles)));
    }

    /// Asks a question, in a conversation of its own.
    pub(super) async fn question(&mut self, side: Side, prompt: &str) -> Result<Done, Halt> {
        let Some(ask) = &self.app.ask else {
            return Err(Halt::Lacking("say how a question is asked: ask = { post = … }".into()));
        };
        let words = self.asking(side, ask, prompt);
        self.ask(side, ask, &words).await
    }

    /// What a question is asked with, in a conversation of its own.
    pub(super) fn asking(&self, side: Side, ask: &Template, prompt: &str) -> Words {
        let words = self.words(side).with("prompt", prompt);
        if ask.thread.is_some() {
            return words;
        }
        let own = words.get("name").unwrap_or_default().to_owned();
        words.with("thread", &own)
    }

    pub(super) fn words(&self, side: Side) -> Words {
        Words::of(self.lab, self.by(side))
    }

    /// Removes what was left, and says whether it could.
    pub(super) async fn remove(&mut self, side: Side, left: &Left) -> Result<bool, Halt> {
        let same = |remains: &Remains| matches!(remains, Remains::Document(known) if known.handles == left.planted.handles);
        self.left.retain(|(_, remains)| !same(remains));
        Ok(self.take_away(side, &left.planted).await?.is_some_and(|exchange| exchange.accepted()))
    }

    async fn take_away(&self, side: Side, planted: &Planted) -> Result<Option<Exchange>, Halt> {
        let Some(documents) = Documents::of(self.app) else { return Ok(None) };
        self.lab.tended(&documents).remove(self.lab, self.by(side), planted).await
    }

    /// Every answer passes by here: what was never planted is in none of them.
    pub(super) fn pass(&self, trial: &mut Trial, exchange: &Exchange) {
        let seen = self.never.iter().find_map(|never| never.seen_in(exchange));
        trial.negative(seen.is_none(), "what was never planted is not found");
    }

    /// Looks at what `side` got. What is the other tenant's in it, with the exchange that has it.
    pub(super) fn foreign<'e>(
        &self,
        trial: &mut Trial,
        side: Side,
        exchanges: impl IntoIterator<Item = &'e Exchange>,
    ) -> Option<(Sighting, &'e Exchange)> {
        let mut found = None;
        for exchange in exchanges {
            self.pass(trial, exchange);
            let mut foreign = self.lab.foreign(side, exchange).into_iter();
            let seen = foreign.find(|seen| !self.never.contains(&seen.canary));
            found = found.or(seen.map(|seen| (seen, exchange)));
        }
        found
    }

    /// An attack whose answer means something: not one that says "later", or half of something.
    pub(super) fn attacked(&self, trial: &mut Trial, exchange: &Exchange) {
        match exchange.inconclusive() {
            true => trial.doubt(told(exchange)),
            false => trial.attacked(),
        }
    }

    /// An application that says of nothing how it is removed has nothing removed; the ledger tells.
    pub(super) async fn clear(&mut self) {
        let _cleaning = self.lab.wire.cleaning();
        for (side, remains) in std::mem::take(&mut self.left) {
            match remains {
                Remains::Document(planted) => {
                    let _ = self.take_away(side, &planted).await;
                }
                Remains::Other(mark, handles) => self.forgotten(side, mark, &handles).await,
            }
        }
    }

    async fn forgotten(&self, side: Side, mark: Mark, handles: &[(String, String)]) {
        let ledger = &self.lab.ledger;
        match forget(self.lab, self.app, self.by(side), handles).await {
            // Of what a question made nobody knows how its owner would look for it.
            Ok(Some(exchange)) if exchange.accepted() => ledger.taken(mark),
            Ok(Some(exchange)) if exchange.status() == 404 => ledger.removed(mark, true),
            Ok(Some(exchange)) => ledger.failed(mark, told(&exchange)),
            Ok(None) => ledger.stays(mark),
            Err(halt) => ledger.failed(mark, halt.to_string()),
        }
    }
}

/// Whether an answer has this in it, wherever from: also where the request said it.
pub(super) fn holds(exchange: &Exchange, canary: &Canary) -> bool {
    let answered =
        Exchange { line: String::new(), headers: Vec::new(), body: None, ..exchange.clone() };
    canary.seen_in(&answered).is_some()
}

/// Whether any of them has.
pub(super) fn any_holds<'e>(
    exchanges: impl IntoIterator<Item = &'e Exchange>,
    canary: &Canary,
) -> bool {
    exchanges.into_iter().any(|exchange| holds(exchange, canary))
}
