//! The prompt cache of a provider: what it reports, and what time tells.
//!
//! A cached prefix makes an answer come sooner, and most providers say how much of it was cached.
//! Who sees that a text was cached which only another tenant sent has learnt that it was sent; and
//! whoever can ask so token by token can read it.

mod timing;

use serde_json::json;

use super::model::words;
use crate::{
    canary::Side,
    catalog,
    drive::chat::{Chat, How, Said},
    lab::{Caller, Lab},
    place::Twist,
    run::Depth,
    sheet::Sheet,
    verdict::{Halt, Strength, Trial},
};

/// By what it reports first, which is cheap and strong; then by time.
pub(super) async fn all(chat: &Chat, lab: &Lab, sheet: &mut Sheet<'_>) {
    sheet.run(&catalog::PROMPT_CACHE, "chat", async |trial| reported(chat, lab, trial).await).await;
    sheet
        .run(&catalog::PROMPT_TIMING, "chat", async |trial| timing::check(chat, lab, trial).await)
        .await;
}

/// Words of a prefix, each a token: providers keep nothing of less than 1,024, and whole blocks of
/// 128 only, which has to be less than a tenth of it.
const WORDS: usize = 1_600;

/// The part of the prefix that has to be reported as cached.
const SHARE: f64 = 0.9;

/// Prefixes that nobody sent before, of which no two near one another begin with the same word.
struct Prefixes {
    words: usize,
    next: usize,
}

impl Prefixes {
    fn new(lab: &Lab, words: usize) -> Self {
        Self { words, next: lab.below(1_000) }
    }

    fn draw(&mut self) -> String {
        self.next += 1;
        format!("{} {}", words::at(self.next), words::some(self.words - 1))
    }
}

/// What follows a prefix, never twice the same: a cache of whole answers has none for it.
fn question(lab: &Lab) -> String {
    format!("Question {}: is this a text? Say yes.", lab.below(1 << 40))
}

/// How much of the prefix was cached, by what is reported.
fn share(said: &Said, prefix: &str, question: &str) -> Option<f64> {
    let length = (prefix.len() + question.len()) as f64;
    let tokens = said.prompt_tokens? as f64 * prefix.len() as f64 / length;
    (tokens > 0.0).then_some(said.cached_tokens? as f64 / tokens)
}

/// The ways in which one caller asks for another's prefix.
struct Way {
    /// In words, if B names something of A's.
    named: Option<&'static str>,
    /// Rounds in which A's own repeat was a hit; and of these, in which B's was one.
    own: usize,
    taken: usize,
    rounds: usize,
}

/// How one round went.
struct Round {
    warm: Said,
    own: Option<f64>,
    theirs: Said,
    taken: Option<f64>,
    fresh: Option<f64>,
}

async fn reported(chat: &Chat, lab: &Lab, trial: &mut Trial) -> Result<(), Halt> {
    let rounds = match lab.options.depth {
        Depth::Quick => 6,
        Depth::Default => 10,
        Depth::Deep => 20,
    };
    let mut prefixes = Prefixes::new(lab, WORDS);
    let mut plain = Way { named: None, own: 0, taken: 0, rounds };
    let found = way(chat, lab, trial, &mut prefixes, &mut plain).await?;
    trial.strength(Strength::Metadata);
    trial.positive(
        plain.own * 2 > plain.rounds,
        match plain.own {
            0 => "no cached tokens reported for own repeats".to_owned(),
            own => format!("{own} of {} own repeats are reported as cached", plain.rounds),
        },
    );
    let mut summary = format!("0 of {} hits of A's were B's", plain.own);
    if !lab.options.dry_run && (found || plain.own == 0) {
        trial.summary(summary);
        return Ok(());
    }
    for named in ["cache_salt", "prompt_cache_key"] {
        let mut way_by = Way { named: Some(named), own: 0, taken: 0, rounds: rounds.min(4) };
        way(chat, lab, trial, &mut prefixes, &mut way_by).await?;
    }
    if plain.taken > 0 {
        summary = format!("{} of {} hits of A's were B's", plain.taken, plain.own);
        trial.doubt(summary.clone());
    }
    trial.summary(summary);
    Ok(())
}

/// Rounds of one way; whether it leaks.
async fn way(
    chat: &Chat,
    lab: &Lab,
    trial: &mut Trial,
    prefixes: &mut Prefixes,
    way: &mut Way,
) -> Result<bool, Halt> {
    let hit = |share: Option<f64>| share.is_some_and(|share| share >= SHARE);
    let mut proof = None;
    for round in 0..way.rounds {
        // Nothing is to be seen where one's own repeats are never hits.
        if round == 3 && way.own == 0 && !lab.options.dry_run {
            way.rounds = round;
            break;
        }
        let Some(seen) = once(chat, lab, trial, prefixes, way.named).await? else { continue };
        trial.attacked();
        trial.negative(!hit(seen.fresh), "no new text is reported as cached");
        if hit(seen.own) {
            way.own += 1;
            way.taken += usize::from(hit(seen.taken));
        }
        if hit(seen.taken) {
            proof = Some(seen);
        }
    }
    let leaks = way.taken * 2 > way.own;
    if let (true, Some(round)) = (leaks, proof) {
        let by = way.named.map_or_else(String::new, |named| format!(" by A's {named}"));
        let what = format!("B hit A's prefix{by}, {} of {} times", way.taken, way.own);
        trial.strength(Strength::Metadata);
        trial.leak(what, &[&round.warm.exchange, &round.theirs.exchange]);
    }
    Ok(leaks)
}

/// A sends a new text, twice; then B, which has another question about it; then B asks about a text
/// that nobody sent. `None` if it was refused, or answered by a cache of whole answers.
async fn once(
    chat: &Chat,
    lab: &Lab,
    trial: &mut Trial,
    prefixes: &mut Prefixes,
    named: Option<&str>,
) -> Result<Option<Round>, Halt> {
    let (a, b) = (lab.caller(Side::A), lab.caller(Side::B));
    let twist = match named {
        Some(name) => {
            Twist { fields: vec![(name.to_owned(), json!(super::model::nonce()))], ..Twist::none() }
        }
        None => Twist::none(),
    };
    let ask = async |by: &Caller, prefix: &str| -> Result<(Said, Option<f64>), Halt> {
        let question = question(lab);
        let how = How::briefly(prefix).twisted(twist.clone());
        let said = chat.ask(lab, by, &question, &how).await?;
        let share = share(&said, prefix, &question);
        Ok((said, share))
    };
    let (prefix, new) = (prefixes.draw(), prefixes.draw());
    let (warm, _) = ask(a, &prefix).await?;
    if named.is_some() && warm.exchange.refused() {
        trial.attacked();
        return Ok(None);
    }
    let (again, own) = ask(a, &prefix).await?;
    let (theirs, taken) = ask(b, &prefix).await?;
    let (last, fresh) = ask(b, &new).await?;
    for said in [&warm, &again, &theirs, &last] {
        if !said.exchange.accepted() {
            return Err(Halt::Failed(format!("a long prompt was answered {}", said.outcome())));
        }
    }
    if again.is(&warm) || theirs.is(&warm) || theirs.is(&again) {
        trial.doubt("a cache of whole answers stands before it");
        return Ok(None);
    }
    Ok(Some(Round { warm, own, theirs, taken, fresh }))
}
