//! What a check of an MCP server works with: a record of each tenant's, and an eye on every answer.

use crate::{
    canary::{Canary, Side, Sighting, views},
    drive::{
        app::{Words, told},
        mcp::{Mcp, Message, Records, Way},
    },
    lab::{Caller, Lab},
    place::{Place as _, Planted, Twist},
    target::Call,
    verdict::{Halt, Trial},
    wire::Exchange,
};

/// A check's own bench.
pub(super) struct Bench<'a> {
    pub(super) lab: &'a Lab,
    pub(super) mcp: &'a Mcp<'a>,
    never: [Canary; 2],
}

/// By what a record is told.
#[derive(Clone, Debug)]
enum Mark {
    /// It was left by us.
    Canary(Canary),
    /// It was there already, with this text in it.
    Known(String),
}

/// A record of a tenant's.
#[derive(Clone, Debug)]
pub(super) struct Own {
    pub(super) side: Side,
    pub(super) planted: Planted,
    mark: Mark,
}

impl Own {
    /// The id that leads to it.
    pub(super) fn id(&self) -> &str {
        let found = self.planted.handles.iter().find(|(name, _)| name == "id");
        found.map_or("", |(_, id)| id.as_str())
    }

    /// Where it is in an answer, if the request did not say it.
    pub(super) fn seen_in(&self, exchange: &Exchange) -> Option<Sighting> {
        let text = match &self.mark {
            Mark::Canary(canary) => return canary.seen_in(exchange),
            Mark::Known(text) => text,
        };
        let body = &exchange.answer()?.body;
        if !views::holds(body, text) || exchange.said(text) {
            return None;
        }
        let whose = format!("the text of known.{}", self.side.name());
        let canary = Canary { side: self.side, surface: "known".into(), text: whose.clone() };
        // What is somebody's own is not shown.
        Some(Sighting { canary, place: "in the body".into(), excerpt: whose })
    }

    /// Whether an answer names it, by text or by id, and the request did not.
    pub(super) fn named_in(&self, exchange: &Exchange) -> bool {
        let body = exchange.answer().map(|answer| &answer.body[..]).unwrap_or_default();
        let id = self.id();
        let by_id = id.len() >= 6 && !exchange.said(id) && views::holds(body, id);
        by_id || self.seen_in(exchange).is_some()
    }
}

impl<'a> Bench<'a> {
    pub(super) fn new(lab: &'a Lab, mcp: &'a Mcp<'a>) -> Self {
        let never = [lab.canaries.never_planted(Side::A), lab.canaries.never_planted(Side::B)];
        Self { lab, mcp, never }
    }

    pub(super) fn by(&self, side: Side) -> &'a Caller {
        self.lab.caller(side)
    }

    /// What is known of itself to whoever asks for this record.
    pub(super) fn words(&self, side: Side, own: &Own) -> Words {
        Words::of(self.lab, self.by(side)).with_all(&own.planted.handles)
    }

    /// A record of this tenant's: a new one, or the one that is there.
    pub(super) async fn own(&self, side: Side) -> Result<Own, Halt> {
        self.left(self.by(side), None).await
    }

    /// One of each.
    pub(super) async fn both(&self) -> Result<(Own, Own), Halt> {
        Ok((self.own(Side::A).await?, self.own(Side::B).await?))
    }

    /// A record of this caller's, left by a message of this id.
    pub(super) async fn left(
        &self,
        by: &Caller,
        rpc: Option<serde_json::Value>,
    ) -> Result<Own, Halt> {
        let side = by.side.unwrap_or(Side::A);
        if let Some(records) = Records::of(self.mcp) {
            let records = match rpc {
                Some(id) => records.by(id),
                None => records,
            };
            let canary = self.lab.canary(side, "records");
            let planted = self.lab.tended(&records).plant(self.lab, by, &canary.text).await?;
            return Ok(Own { side, planted, mark: Mark::Canary(canary) });
        }
        let known = self.mcp.server.known.get(&side).filter(|_| !self.ways().is_empty());
        let Some(known) = known else {
            let advice =
                "say how a record is left and read: plant = { tool = … }, read = { tool = … }";
            return Err(Halt::Lacking(advice.into()));
        };
        let exchange = Exchange {
            who: by.label.clone(),
            line: format!("known.{} of the target file", side.name()),
            headers: Vec::new(),
            body: None,
            outcome: Err("not asked".into()),
        };
        let handles = vec![("id".to_owned(), known.id.clone())];
        let planted = Planted { text: known.text.clone(), handles, exchange };
        Ok(Own { side, planted, mark: Mark::Known(known.text.clone()) })
    }

    /// The ways that the file names to read a record.
    pub(super) fn ways(&self) -> Vec<Way> {
        self.mcp.ways()
    }

    /// The one that everything is tried by.
    pub(super) fn way(&self) -> Result<Way, Halt> {
        let lacking = || Halt::Lacking("say how a record is read: read = { tool = … }".into());
        self.ways().into_iter().next().ok_or_else(lacking)
    }

    /// What asks for a record, in the name of `side`.
    pub(super) fn asking(&self, way: &Way, (side, own): (Side, &Own)) -> Result<Message, Halt> {
        self.mcp.asking(way, &self.words(side, own))
    }

    pub(super) async fn say(&self, by: &Caller, message: &Message) -> Result<Exchange, Halt> {
        self.mcp.send(self.lab, by, message, &Twist::none()).await
    }

    /// Asks for a record in the name of `side`, whoever's it is.
    pub(super) async fn read(
        &self,
        trial: &mut Trial,
        way: &Way,
        (side, own): (Side, &Own),
    ) -> Result<Exchange, Halt> {
        let exchange = self.say(self.by(side), &self.asking(way, (side, own))?).await?;
        self.pass(trial, &exchange);
        Ok(exchange)
    }

    pub(super) async fn call(
        &self,
        by: &Caller,
        call: &Call,
        words: &Words,
    ) -> Result<Exchange, Halt> {
        self.mcp.call(self.lab, by, (call, words), &Twist::none()).await
    }

    /// Both tenants read their own: the look works. Answers whether they did.
    pub(super) async fn each_its_own(
        &self,
        trial: &mut Trial,
        way: &Way,
        (a, b): (&Own, &Own),
    ) -> Result<bool, Halt> {
        let mut all = true;
        for own in [a, b] {
            let exchange = self.read(trial, way, (own.side, own)).await?;
            let (name, side) = (way.name(), own.side.name());
            let found = own.seen_in(&exchange).is_some();
            let note = match found {
                true => format!("{name}: {side} gets its own by its id"),
                false => format!("{name} of {side}'s own: {}", told(&exchange)),
            };
            all &= trial.positive(found, note);
            let other = if own.side == Side::A { b } else { a };
            if let Some(seen) = self.foreign(trial, other, &exchange) {
                trial.leaked(&format!("{name}: more than one's own"), &seen, &[&exchange]);
            }
        }
        Ok(all)
    }

    /// Every answer passes by here: what was never planted is in none of them, and no credential.
    pub(super) fn pass(&self, trial: &mut Trial, exchange: &Exchange) {
        let seen = self.never.iter().find_map(|never| never.seen_in(exchange));
        trial.negative(seen.is_none(), "what was never planted is not found");
        if let Some(credential) = exchange.answer().and_then(|answer| answer.revealed.first()) {
            trial.leak(format!("an answer holds the credential {credential}"), &[exchange]);
        }
    }

    /// What is of `other`'s owner in an answer to the other tenant.
    pub(super) fn foreign(
        &self,
        trial: &mut Trial,
        other: &Own,
        exchange: &Exchange,
    ) -> Option<Sighting> {
        self.pass(trial, exchange);
        let found = self.lab.foreign(other.side.other(), exchange).into_iter();
        let mut found = found.filter(|seen| !self.never.contains(&seen.canary));
        found.next().or_else(|| other.seen_in(exchange))
    }

    /// An attack on `other`, of which the last exchange is what it came to. Whether it leaked.
    pub(super) fn attacked(
        &self,
        trial: &mut Trial,
        (other, what): (&Own, &str),
        proof: &[&Exchange],
    ) -> bool {
        let Some(last) = proof.last() else { return false };
        match last.inconclusive() {
            true => trial.doubt(format!("an attack: {}", told(last))),
            false => trial.attacked(),
        }
        match self.foreign(trial, other, last) {
            Some(seen) => {
                trial.leaked(what, &seen, proof);
                true
            }
            None => false,
        }
    }

    /// Takes away what was left.
    pub(super) async fn clear(&self) {
        if let Some(records) = Records::of(self.mcp) {
            self.lab.tended(&records).sweep(self.lab).await;
        }
    }
}
