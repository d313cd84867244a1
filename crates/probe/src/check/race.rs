//! Concurrency, cancelling and load.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream::FuturesUnordered};

use super::{
    left::{self, Left, Thing},
    noise,
};
use crate::{
    canary::Side,
    catalog::{DESYNC, SHARED_ENV, Surface},
    lab::Lab,
    place::{Place, Twist, moment},
    run::Depth,
    sheet::Sheet,
    verdict::{Halt, Trial},
    wire::Exchange,
};

/// Longer than any answer is waited for.
const LONG: Duration = Duration::from_secs(60);
/// Requests of each tenant that are on their way at the same time.
const LANES: usize = 4;

pub(super) async fn all(place: &dyn Place, lab: &Lab, sheet: &mut Sheet<'_>) {
    let name = place.name();
    sheet.run(&SHARED_ENV, name, async |trial| left::at(place, lab, trial, shared_env).await).await;
    sheet.run(&DESYNC, name, async |trial| left::at(place, lab, trial, desync).await).await;
    noise::all(place, lab, sheet).await;
}

/// How often, and how long at most: a model's answer costs money and seconds.
fn bounds(left: &Left<'_>) -> (usize, Duration) {
    let depth = left.lab.options.depth;
    let seconds = match depth {
        Depth::Quick => 6,
        Depth::Default => 15,
        Depth::Deep => 120,
    };
    let dear = !left.place.remembers() || left.place.surface() == Surface::Model;
    let rounds = if dear { (depth.races() / 5).max(8) } else { depth.races() };
    // A dry run lists what one round is made of, not a thousand times the same.
    let rounds = if left.lab.options.dry_run { LANES } else { rounds };
    (rounds, Duration::from_secs(seconds))
}

/// What each tenant asks for, over and over: left by both at the same moments.
async fn pairs(left: &mut Left<'_>, trial: &mut Trial) -> Result<Vec<(Thing, Thing)>, Halt> {
    let mut pairs = Vec::new();
    for _ in 0..LANES {
        pairs.push(left.plant_both().await?);
    }
    for (a, b) in &pairs {
        for (side, own) in [(Side::A, a), (Side::B, b)] {
            left.found(trial, side, own).await?;
        }
    }
    Ok(pairs)
}

/// How answers of a race came out.
#[derive(Default)]
struct Tally {
    own: usize,
    /// Answered, but with something else.
    other: usize,
    /// Not answered: overload, errors.
    none: usize,
    leaks: usize,
}

impl Tally {
    /// Looks at one answer to `side`, who asked for `own`; `others` are things that are not it.
    fn judge<'a>(
        &mut self,
        left: &Left<'_>,
        trial: &mut Trial,
        (side, own, what): (Side, &Thing, &str),
        others: impl Iterator<Item = &'a Thing>,
        proof: &[&Exchange],
    ) {
        let Some(last) = proof.last() else { return };
        left.pass(trial, last);
        let foreign = others.filter(|other| other.canary != own.canary);
        let seen = foreign.filter_map(|other| other.canary.seen_in(last)).next();
        if let Some(seen) = seen {
            self.leaks += 1;
            let whose = match seen.canary.side == side {
                true => "an answer to another question",
                false => "the other's answer",
            };
            trial.leaked(
                &format!("{} got {whose} {what}", side.name().to_uppercase()),
                &seen,
                proof,
            );
        } else if left.own(last, &own.canary) {
            self.own += 1;
        } else if last.inconclusive() {
            self.none += 1;
        } else {
            self.other += 1;
        }
    }

    /// What the race is worth.
    fn tell(&self, trial: &mut Trial, what: &str) {
        let all = self.own + self.other + self.none + self.leaks;
        if self.own * 10 < all * 9 {
            let (other, none) = (self.other, self.none);
            trial.doubt(format!("of {all}, {other} not its own and {none} not answered"));
        }
        trial.summary(format!("{all} {what}, each its own"));
    }
}

/// The other things of these pairs: of the other tenant first.
fn others(pairs: &[(Thing, Thing)], side: Side) -> impl Iterator<Item = &Thing> {
    let of = move |side: Side| pairs.iter().map(move |(a, b)| if side == Side::A { a } else { b });
    of(side.other()).chain(of(side))
}

async fn shared_env(left: &mut Left<'_>, trial: &mut Trial) -> Result<(), Halt> {
    let pairs = pairs(left, trial).await?;
    let (rounds, most) = bounds(left);
    let (begun, mut tally, mut done) = (Instant::now(), Tally::default(), 0);
    let (lab, place, plain) = (left.lab, left.place, Twist::none());
    while !pairs.is_empty() && done < rounds && begun.elapsed() < most && tally.leaks < 3 {
        let mut flying = FuturesUnordered::new();
        for pair in &pairs {
            // Who goes first is left to chance.
            let first = if lab.below(2) == 0 { Side::A } else { Side::B };
            for side in [first, first.other()] {
                let own = if side == Side::A { &pair.0 } else { &pair.1 };
                let read = place.read(lab, lab.caller(side), &own.planted, &plain);
                flying.push(async move { (side, own, read.await) });
            }
        }
        while let Some((side, own, read)) = flying.next().await {
            let exchange = read?;
            let asked = (side, own, "at the same time");
            tally.judge(left, trial, asked, others(&pairs, side), &[&exchange]);
            if !exchange.inconclusive() {
                trial.attacked();
            }
        }
        done += pairs.len();
    }
    tally.tell(trial, "at the same time");
    Ok(())
}

async fn desync(left: &mut Left<'_>, trial: &mut Trial) -> Result<(), Halt> {
    let pairs = pairs(left, trial).await?;
    let Some((thing, _)) = pairs.first() else { return Ok(()) };
    let (lab, plain) = (left.lab, Twist::none());
    unhurried(left, &pairs).await?;
    // How long A's answer takes, so that hanging up falls into all of it.
    let mut takes = Vec::new();
    let mut whole = None;
    for _ in 0..5 {
        let begun = Instant::now();
        whole = Some(left.read(trial, lab.caller(Side::A), &thing.planted, &plain).await?);
        takes.push(begun.elapsed());
    }
    takes.sort_unstable();
    let Some(whole) = whole else { return Ok(()) };
    let (rounds, most) = bounds(left);
    let (begun, mut tally) = (Instant::now(), Tally::default());
    // Moves to where about half of them are cut off: what is too early was never sent.
    let (mut done, mut cut, mut reach) = (0, 0, 1.0_f64);
    let enough = |done: usize, cut: usize| match cut * 4 < done {
        true => done >= rounds * 4,
        false => done >= rounds,
    };
    while !enough(done, cut) && begun.elapsed() < most && tally.leaks < 3 {
        let after = takes[2].mul_f64(reach * lab.below(1_000) as f64 / 1_000.0);
        let off = round(left, trial, &pairs, (after, &whole), &mut tally).await?;
        reach = if off { (reach * 1.15).min(1.5) } else { (reach * 0.8).max(0.01) };
        cut += usize::from(off);
        done += 1;
    }
    trial
        .positive(cut > 0 && cut * 4 >= done, format!("{cut} of {done} were cut off on their way"));
    tally.tell(trial, "after a hang-up");
    trial.summary(format!("{cut} cut off, {} answers in step", tally.own));
    Ok(())
}

/// Nobody hangs up yet: what gets mixed up already now is not for hanging up.
async fn unhurried(left: &Left<'_>, pairs: &[(Thing, Thing)]) -> Result<(), Halt> {
    let (lab, place, plain) = (left.lab, left.place, Twist::none());
    for (a, b) in pairs {
        let (of_a, of_b) = tokio::join!(
            place.read(lab, lab.caller(Side::A), &a.planted, &plain),
            place.read(lab, lab.caller(Side::B), &b.planted, &plain),
        );
        for (side, read) in [(Side::A, of_a?), (Side::B, of_b?)] {
            if !lab.foreign(side, &read).is_empty() {
                return Err(Halt::Failed("answers get mixed up without a hang-up, too".into()));
            }
        }
    }
    Ok(())
}

/// A asks and hangs up, while B asks, and asks again as soon as A is gone; then A. Whether A's
/// request was cut off on its way.
async fn round(
    left: &Left<'_>,
    trial: &mut Trial,
    pairs: &[(Thing, Thing)],
    (after, whole): (Duration, &Exchange),
    tally: &mut Tally,
) -> Result<bool, Halt> {
    let (lab, place, plain) = (left.lab, left.place, Twist::none());
    let pick = |side| {
        let (a, b) = &pairs[lab.below(pairs.len())];
        if side == Side::A { a } else { b }
    };
    let (cut_off, beside, next) = (pick(Side::A), pick(Side::B), pick(Side::B));
    let in_body = place.takes_headers() && lab.below(4) == 0;
    // A driver with connections of its own leaves the reply unread: it may be there at once.
    let hang_up = (!place.takes_headers()).then_some(after);
    let twist = Twist { hang_up, hang_up_in_body: in_body, ..Twist::none() };
    let most = if in_body || hang_up.is_some() { LONG } else { after };
    // Before anything is sent: the fastest answers are there when the timer is first looked at.
    let begun = Instant::now();
    let asking = place.read(lab, lab.caller(Side::A), &cut_off.planted, &twist);
    let cutting = async {
        // Dropped: the connection is closed with the answer still on its way.
        tokio::select! {
            biased;
            answer = asking => answer.map(|exchange| match &exchange.outcome {
                Ok(answer) => answer.cut,
                Err(why) => why == "hung up",
            }),
            () = moment(begun, most) => Ok(true),
        }
    };
    let reading = place.read(lab, lab.caller(Side::B), &beside.planted, &plain);
    let (cut, read) = tokio::join!(cutting, reading);
    let (cut, read) = (cut?, read?);
    let how = match in_body {
        true => "hung up in the body".to_owned(),
        false => format!("hung up after {after:.1?}"),
    };
    let hung_up = Exchange { outcome: Err(how), ..whole.clone() };
    let after_it = "after a hang-up";
    let mut look = |side, own: &Thing, exchange: &Exchange| {
        let asked = (side, own, after_it);
        tally.judge(left, trial, asked, others(pairs, side), &[&hung_up, exchange]);
        if cut && !exchange.inconclusive() {
            trial.attacked();
        }
    };
    look(Side::B, beside, &read);
    let read = place.read(lab, lab.caller(Side::B), &next.planted, &plain).await?;
    look(Side::B, next, &read);
    // A reply that was left over may come to A itself, too, or B's to A.
    if lab.below(4) == 0 {
        let read = place.read(lab, lab.caller(Side::A), &cut_off.planted, &plain).await?;
        look(Side::A, cut_off, &read);
    }
    Ok(cut)
}
