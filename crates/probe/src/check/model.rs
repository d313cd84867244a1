//! Model calls: caches of answers, namespaces, similar questions, errors, and what is kept.

mod errors;
mod exact;
mod namespace;
mod similar;
pub(super) mod words;

use super::{objects, prompt_cache};
use crate::{
    canary::Side,
    catalog,
    drive::chat::{
        Chat, How, Said,
        places::{self, Asking},
    },
    lab::Lab,
    sheet::Sheet,
    verdict::{Halt, Strength, Trial},
};

pub(super) async fn all(lab: &Lab, sheet: &mut Sheet<'_>) {
    if let Some(chat) = Chat::of(&lab.target) {
        of(&chat, lab, sheet).await;
    }
}

/// Everything that a model's interface is put to. The costliest comes last, in case that the
/// budget ends.
pub(super) async fn of(chat: &Chat, lab: &Lab, sheet: &mut Sheet<'_>) {
    answers(chat, lab, sheet).await;
    super::at(&Asking(chat), lab, sheet).await;
    // To find out what is kept takes requests: only for what will be asked about it.
    if objects::CHECKS.iter().any(|check| lab.options.wants(check)) {
        for place in places::kept(chat, lab).await {
            let place = lab.tended(&place);
            objects::all(&place, lab, sheet).await;
            place.sweep(lab).await;
        }
    }
    prompt_cache::all(chat, lab, sheet).await;
}

/// What its answers are put to.
pub(super) async fn answers(chat: &Chat, lab: &Lab, sheet: &mut Sheet<'_>) {
    let at = "chat";
    sheet.run(&catalog::EXACT_KEY, at, async |trial| exact::check(chat, lab, trial).await).await;
    sheet
        .run(&catalog::CALLER_NAMESPACE, at, async |trial| namespace::check(chat, lab, trial).await)
        .await;
    sheet.run(&catalog::SOFT_SCOPE, at, async |trial| similar::check(chat, lab, trial).await).await;
    sheet
        .run(&catalog::CACHED_ERRORS, at, async |trial| errors::check(chat, lab, trial).await)
        .await;
}

/// Whether B gets the answer to A's question.
pub(super) async fn exact(chat: &Chat, lab: &Lab, trial: &mut Trial) -> Result<(), Halt> {
    exact::check(chat, lab, trial).await
}

/// Whether B gets the answer to a question that is nearly A's.
pub(super) async fn similar(chat: &Chat, lab: &Lab, trial: &mut Trial) -> Result<(), Halt> {
    similar::check(chat, lab, trial).await
}

/// Something that no run before this one can have asked.
pub(super) fn nonce() -> String {
    ids::RandomId::draw(&ids::OsEntropy).to_string()
}

/// How one answer came to be another's.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Same {
    /// It has its id.
    Id,
    /// It is marked as a cache's.
    Marked(String),
}

impl Same {
    /// Whether `taken` is `given`, or at least came out of a cache although its own tenant asked
    /// for the first time.
    fn of(taken: &Said, given: &[&Said]) -> Option<Self> {
        if given.iter().any(|given| taken.is(given)) {
            return Some(Self::Id);
        }
        taken.marked().map(Self::Marked)
    }

    fn told(&self) -> String {
        match self {
            Self::Id => "id for id".to_owned(),
            Self::Marked(mark) => mark.clone(),
        }
    }

    fn strength(&self) -> Strength {
        match self {
            Self::Id => Strength::Exact,
            Self::Marked(_) => Strength::Metadata,
        }
    }
}

/// By what answers are told from one another, shown before anything is concluded from it.
struct Eye {
    /// A's answers so far.
    given: Vec<Said>,
    /// A's questions that A got an older answer to.
    hits: usize,
}

impl Eye {
    fn new() -> Self {
        Self { given: Vec::new(), hits: 0 }
    }

    /// Opens it: answers to different questions differ in their ids, to A and to B, and none of
    /// them is marked as a cache's. Nothing is worth looking at if not.
    async fn open(chat: &Chat, lab: &Lab, how: &How, trial: &mut Trial) -> Result<(), Halt> {
        let (a, b) = (lab.caller(Side::A), lab.caller(Side::B));
        let one = chat.must(lab, a, &unlike(), how).await?;
        let other = chat.must(lab, a, &unlike(), how).await?;
        let own = chat.must(lab, b, &unlike(), how).await?;
        let all = [&one, &other, &own];
        trial.positive(all.iter().all(|said| said.id.is_some()), "answers have ids");
        let apart = one.id != other.id && other.id != own.id && one.id != own.id;
        trial.negative(apart, "new questions have answers with new ids");
        let marked = all.iter().find_map(|said| said.marked());
        let note = marked.unwrap_or_else(|| "no answer to a new question is marked a hit".into());
        trial.negative(all.iter().all(|said| said.marked().is_none()), note);
        Ok(())
    }

    /// An answer of A's; `again` if A asked the same, or nearly, before.
    fn gave(&mut self, said: Said, again: bool) {
        let earlier: Vec<&Said> = self.given.iter().collect();
        self.hits += usize::from(again && Same::of(&said, &earlier).is_some());
        self.given.push(said);
    }

    /// Whether B's answer is one of A's.
    fn sees(&self, taken: &Said) -> Option<(Same, &Said)> {
        let given: Vec<&Said> = self.given.iter().collect();
        let same = Same::of(taken, &given)?;
        let from = given.into_iter().find(|given| taken.is(given)).or(self.given.last())?;
        Some((same, from))
    }

    /// Whether A got an older answer at all, in words.
    fn told(&self, attacks: usize) -> String {
        match self.hits {
            0 => format!("no cache seen, {attacks} questions"),
            hits => format!("{attacks} questions; {hits} hits of A's own"),
        }
    }
}

/// A question unlike any other, also to who compares meanings.
fn unlike() -> String {
    crate::drive::chat::repeat(&format!("{} {}", words::some(12), nonce()))
}

/// Whether what B said counts as an attack that was carried out; otherwise a doubt was noted.
fn counted(said: &Said, trial: &mut Trial) -> bool {
    let (done, refused) = (said.exchange.accepted(), said.exchange.refused());
    match (done || refused) && !said.exchange.inconclusive() {
        true => trial.attacked(),
        false => trial.doubt(format!("B was answered {}", said.outcome())),
    }
    done
}

#[cfg(test)]
mod tests;
