//! One tenant's flood, and whether another one feels it. Only where the user allows it.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use futures_util::future::join_all;

use super::left::{self, Left, Thing};
use crate::{
    canary::Side,
    catalog::NOISY_NEIGHBOUR,
    lab::Lab,
    place::{Place, Twist},
    run::Depth,
    sheet::Sheet,
    verdict::{Halt, Strength, Trial},
    wire::Exchange,
};

/// Alternating rounds; their median is what counts, so that one hiccup of the machine does not.
const ROUNDS: usize = 3;
/// One of B's phases ends after so long, however few answers it had.
const PHASE: Duration = Duration::from_secs(8);
/// B is no flood itself: it rests between two requests.
const REST: Duration = Duration::from_millis(3);
/// After a flood, until what waits is done and a window of a limit is over.
const SETTLE: Duration = Duration::from_millis(150);
/// A phase with fewer answers says nothing.
const FEWEST: usize = 8;

/// B's requests in a phase, and A's that are on their way at the same time.
const fn size(depth: Depth) -> (usize, usize) {
    match depth {
        Depth::Quick => (12, 8),
        Depth::Default => (20, 8),
        Depth::Deep => (50, 16),
    }
}

pub(super) async fn all(place: &dyn Place, lab: &Lab, sheet: &mut Sheet<'_>) {
    sheet
        .run(&NOISY_NEIGHBOUR, place.name(), async |trial| {
            if !lab.options.allow_flood {
                return Err(Halt::Lacking("--allow-flood".into()));
            }
            left::at(place, lab, trial, felt).await
        })
        .await;
}

/// What B saw in a phase.
#[derive(Clone, Debug, Default)]
struct Phase {
    /// In milliseconds, ascending.
    took: Vec<f64>,
    /// Refused, overloaded, unanswered, or no longer there.
    failed: usize,
    /// Answered, and with something else.
    strange: usize,
    /// How late this process was itself, in milliseconds: nine times of ten not more.
    late: f64,
}

impl Phase {
    fn samples(&self) -> usize {
        self.took.len() + self.failed + self.strange
    }

    fn quantile(&self, of: f64) -> f64 {
        let last = self.took.len().saturating_sub(1);
        let at = (of * last as f64).ceil() as usize;
        self.took.get(at).copied().unwrap_or(f64::INFINITY)
    }
}

/// The middle one of a few.
fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of.get(of.len() / 2).copied().unwrap_or(f64::INFINITY)
}

/// Later than this, and it is this process that has too much to do: A holds back.
const LATE: Duration = Duration::from_millis(8);
/// An answer passes through the hands of this machine about as often: what it takes longer by no
/// more than that is not the target's doing.
const HANDS: f64 = 6.0;

/// What another's load may do to an answer: three times as long, or 50 ms more.
fn bar(alone: f64) -> f64 {
    (alone * 3.0).max(alone + 50.0)
}

/// The same quantile of each round, and its median.
fn over(rounds: &[Phase], of: f64) -> f64 {
    median(rounds.iter().map(|phase| phase.quantile(of)).collect())
}

/// In how many rounds B was refused.
fn failing(rounds: &[Phase]) -> usize {
    rounds.iter().filter(|phase| phase.failed > 0).count()
}

/// How many requests of A's meet one of B's: as many as half of the budget allows.
fn share(left: &Left<'_>, before: u64) -> Result<usize, Halt> {
    let (samples, lanes) = size(left.lab.options.depth);
    // What one reading takes: both have been read once.
    let each = (left.lab.wire.sent() - before).div_ceil(2).max(1);
    let readings = usize::try_from(left.lab.wire.left() / 2 / each).unwrap_or(usize::MAX);
    let floods = (readings / ROUNDS).saturating_sub(samples * 3);
    match floods / samples {
        share if share >= lanes => Ok(share.min(lanes * 3)),
        _ => {
            let needed = each * 2 * (ROUNDS * samples * (lanes + 3)) as u64;
            Err(Halt::Lacking(format!("a flood needs {needed} requests of the budget")))
        }
    }
}

async fn felt(left: &mut Left<'_>, trial: &mut Trial) -> Result<(), Halt> {
    let (a, b) = left.plant_both().await?;
    let before = left.lab.wire.sent();
    for (side, own) in [(Side::A, &a), (Side::B, &b)] {
        left.found(trial, side, own).await?;
    }
    let (mut alone, mut again, mut loud) = (Vec::new(), Vec::new(), Vec::new());
    let share = share(left, before)?;
    let (mut flood, mut last) = (Flood { share, ..Flood::default() }, None);
    for _ in 0..ROUNDS {
        alone.push(quiet(left, &b, &mut last).await?);
        again.push(quiet(left, &b, &mut last).await?);
        loud.push(flood.over(left, (&a, &b), &mut last).await?);
        tokio::time::sleep(if left.lab.options.dry_run { REST } else { SETTLE }).await;
        // Waits until B is no longer told to.
        left.read(trial, left.lab.caller(Side::B), &b.planted, &Twist::none()).await?;
    }
    if left.lab.options.dry_run {
        return Ok(());
    }
    let Some(last) = last else { return Err(Halt::Failed("b had no answer".into())) };
    left.pass(trial, &last);
    judge(trial, [&alone, &again, &loud], &flood, &last);
    Ok(())
}

/// Three times three phases, and what follows.
fn judge(trial: &mut Trial, [alone, again, loud]: [&[Phase]; 3], flood: &Flood, last: &Exchange) {
    // The same thing measured twice: if that differs, so would anything.
    let (first, second) = (over(alone, 0.99), over(again, 0.99));
    let steady = second <= bar(first) && first <= bar(second);
    let whole = failing(alone) + failing(again) == 0;
    let shortest = alone.iter().chain(again).map(|phase| phase.took.len()).min().unwrap_or(0);
    trial.positive(
        steady && whole && shortest >= FEWEST,
        format!("b alone twice: p99 {first:.0} and {second:.0} ms, steady"),
    );
    trial.positive(flood.was_one(), format!("a's flood was one: {}", flood.told()));
    let (base, under) = (first.max(second), over(loud, 0.99));
    let (middle, pressed) = (over(alone, 0.5).max(over(again, 0.5)), over(loud, 0.5));
    let refused = failing(loud);
    let answered = loud.iter().filter(|phase| phase.took.len() >= FEWEST).count();
    if flood.was_one() {
        trial.attacked();
    }
    trial.strength(Strength::Statistical);
    if steady && whole && refused * 2 > ROUNDS {
        let most = loud.iter().map(|phase| phase.failed).sum::<usize>();
        trial.leak(format!("b was refused {most} times while a flooded"), &[last]);
    } else if refused > 0 {
        trial.doubt(format!("b was refused in {refused} of {ROUNDS} rounds"));
    }
    if alone.iter().chain(again).chain(loud).any(|phase| phase.strange > 0) {
        trial.doubt("b got answers that were not its own");
    }
    if answered * 2 <= ROUNDS {
        trial.doubt("too few of b's answers fell into the flood");
    } else if steady && whole && flood.was_one() && under > bar(base) {
        let late = median(loud.iter().map(|phase| phase.late).collect());
        let grew = format!("b's p99 {base:.0} ms became {under:.0} ms");
        if pressed <= (middle * 2.0).max(middle + 25.0) {
            trial.doubt(format!("{grew}, its median did not grow"));
        } else if under - base <= late * HANDS {
            trial.doubt(format!("{grew}; this machine was {late:.0} ms late itself"));
        } else {
            trial.leak(grew, &[last]);
        }
    }
    trial.summary(format!("p99 {base:.0} ms alone, {under:.0} ms under {}", flood.told()));
}

/// One request of B's, into the phase.
async fn sample(
    left: &Left<'_>,
    own: &Thing,
    phase: &mut Phase,
    last: &mut Option<Exchange>,
) -> Result<(), Halt> {
    let begun = Instant::now();
    let caller = left.lab.caller(Side::B);
    let exchange = left.place.read(left.lab, caller, &own.planted, &Twist::none()).await?;
    if left.own(&exchange, &own.canary) {
        phase.took.push(begun.elapsed().as_secs_f64() * 1e3);
    } else if exchange.accepted() {
        phase.strange += 1;
    } else {
        phase.failed += 1;
    }
    *last = Some(exchange);
    tokio::time::sleep(REST).await;
    Ok(())
}

async fn quiet(left: &Left<'_>, own: &Thing, last: &mut Option<Exchange>) -> Result<Phase, Halt> {
    let (mut phase, begun) = (Phase::default(), Instant::now());
    let (samples, _) = size(left.lab.options.depth);
    while phase.samples() < samples && begun.elapsed() < PHASE {
        sample(left, own, &mut phase, last).await?;
    }
    phase.took.sort_by(f64::total_cmp);
    Ok(phase)
}

/// What A sent at once.
#[derive(Default)]
struct Flood {
    /// For each request of B's.
    share: usize,
    sent: usize,
    throttled: usize,
    seconds: f64,
    /// A flood is at least half as much for each lane as B asked.
    fewest: usize,
}

impl Flood {
    /// B asks while A floods, until B has asked enough.
    async fn over(
        &mut self,
        left: &Left<'_>,
        (a, b): (&Thing, &Thing),
        last: &mut Option<Exchange>,
    ) -> Result<Phase, Halt> {
        let (samples, lanes) = size(left.lab.options.depth);
        let (begun, over) = (Instant::now(), Cell::new(false));
        let (sent, throttled, asked) = (Cell::new(0), Cell::new(0), Cell::new(0));
        let (share, late) = (self.share, Cell::new(Duration::ZERO));
        let pulse = async {
            let mut each = Vec::new();
            while !over.get() {
                let (beat, began) = (Duration::from_millis(2), Instant::now());
                tokio::time::sleep(beat).await;
                late.set(began.elapsed().saturating_sub(beat));
                each.push(late.get().as_secs_f64() * 1e3);
            }
            each.sort_by(f64::total_cmp);
            each.get(each.len() * 9 / 10).copied().unwrap_or_default()
        };
        let lane = || async {
            while !over.get() && begun.elapsed() < PHASE {
                if sent.get() >= asked.get() * share || late.get() > LATE {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    continue;
                }
                sent.set(sent.get() + 1);
                let caller = left.lab.caller(Side::A);
                let read = left.place.read(left.lab, caller, &a.planted, &Twist::none()).await?;
                throttled.set(throttled.get() + usize::from(read.inconclusive()));
            }
            Ok::<_, Halt>(())
        };
        let asking = async {
            let mut phase = Phase::default();
            while phase.samples() < samples && begun.elapsed() < PHASE {
                // Each of B's requests meets a part of the flood, however fast that is answered.
                asked.set(asked.get() + 1);
                if let Err(halt) = sample(left, b, &mut phase, last).await {
                    over.set(true);
                    return Err(halt);
                }
            }
            over.set(true);
            Ok::<_, Halt>(phase)
        };
        let (each, phase, late) = tokio::join!(join_all((0..lanes).map(|_| lane())), asking, pulse);
        each.into_iter().collect::<Result<Vec<_>, _>>()?;
        let mut phase = Phase { late, ..phase? };
        phase.took.sort_by(f64::total_cmp);
        self.sent += sent.get();
        self.throttled += throttled.get();
        self.seconds += begun.elapsed().as_secs_f64();
        self.fewest += phase.samples() * lanes / 2;
        Ok(phase)
    }

    /// It is a flood if it was many, or so many that it was turned away.
    fn was_one(&self) -> bool {
        self.throttled * 10 >= self.sent.max(1) || self.sent >= self.fewest
    }

    fn told(&self) -> String {
        let rate = self.sent as f64 / self.seconds.max(1e-3);
        match self.throttled {
            0 => format!("{rate:.0}/s"),
            throttled => format!("{rate:.0}/s, {throttled} turned away"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Verdict;

    fn phase(ms: f64, failed: usize) -> Phase {
        Phase { took: vec![ms; 20], failed, ..Phase::default() }
    }

    fn silence() -> Exchange {
        Exchange {
            who: "b".into(),
            line: String::new(),
            headers: Vec::new(),
            body: None,
            outcome: Err(String::new()),
        }
    }

    fn verdict(alone: [f64; 3], again: [f64; 3], loud: [(f64, usize); 3]) -> Verdict {
        let mut trial = Trial::new(&NOISY_NEIGHBOUR, false);
        trial.negative(true, "");
        let alone = alone.map(|ms| phase(ms, 0));
        let again = again.map(|ms| phase(ms, 0));
        let loud = loud.map(|(ms, failed)| phase(ms, failed));
        let flood = Flood { sent: 900, seconds: 1.0, fewest: 300, ..Flood::default() };
        judge(&mut trial, [&alone, &again, &loud], &flood, &silence());
        trial.conclude(None).verdict
    }

    #[test]
    fn one_hiccup_of_the_machine_is_no_leak() {
        let calm = [5.0; 3];
        assert_eq!(verdict(calm, calm, [(6.0, 0), (900.0, 0), (6.0, 0)]), Verdict::Isolated);
        assert_eq!(verdict(calm, calm, [(800.0, 0), (900.0, 0), (6.0, 0)]), Verdict::Leak);
        assert_eq!(verdict(calm, calm, [(40.0, 0); 3]), Verdict::Isolated);
    }

    #[test]
    fn what_this_machine_is_late_by_is_not_the_targets_doing() {
        let (calm, mut slow) = ([5.0; 3].map(|ms| phase(ms, 0)), [90.0; 3].map(|ms| phase(ms, 0)));
        let judged = |loud: &[Phase]| {
            let mut trial = Trial::new(&NOISY_NEIGHBOUR, false);
            trial.negative(true, "");
            let flood = Flood { sent: 900, seconds: 1.0, fewest: 300, ..Flood::default() };
            judge(&mut trial, [&calm, &calm, loud], &flood, &silence());
            trial.conclude(None).verdict
        };
        assert_eq!(judged(&slow), Verdict::Leak);
        slow.iter_mut().for_each(|phase| phase.late = 20.0);
        assert_eq!(judged(&slow), Verdict::NotProven);
        // One answer of many that is late is a tail, and no neighbour.
        let mut tail = [5.0; 3].map(|ms| phase(ms, 0));
        tail.iter_mut().for_each(|phase| phase.took[19] = 90.0);
        assert_eq!(judged(&tail), Verdict::NotProven);
    }

    #[test]
    fn what_differs_from_itself_shows_nothing() {
        assert_eq!(verdict([5.0; 3], [300.0; 3], [(900.0, 0); 3]), Verdict::NotProven);
    }

    #[test]
    fn refusing_the_one_for_the_other_is_a_leak() {
        let calm = [5.0; 3];
        assert_eq!(verdict(calm, calm, [(5.0, 3), (5.0, 2), (5.0, 0)]), Verdict::Leak);
        assert_eq!(verdict(calm, calm, [(5.0, 1), (5.0, 0), (5.0, 0)]), Verdict::NotProven);
    }

    #[test]
    fn a_trickle_is_no_flood() {
        let flood = Flood { sent: 20, seconds: 1.0, fewest: 300, ..Flood::default() };
        assert!(!flood.was_one());
        let turned_away = Flood { throttled: 15, ..flood };
        assert!(turned_away.was_one());
    }
}
