//! What time tells: B asks about texts that are new, texts that B sent before, and texts that A
//! sent before. If the last come sooner than the first, B sees what A sent.
//!
//! All three arms are B's, over one connection, in blocks; in each block their order is drawn. The
//! control of the test's sight is B's own repeat; that of its blindness is the arm of new texts
//! held against itself. Only sooner is a detection, never later.

use super::{Prefixes, question};
use crate::{
    canary::Side,
    drive::chat::{Chat, How, Said},
    lab::{Caller, Lab},
    run::Depth,
    stats,
    verdict::{Halt, Statistic, Trial},
};

/// Words of a prefix: providers keep nothing of less than 1,024 tokens.
const WORDS: usize = 1_200;

/// Fewer samples of an arm are not tested.
const FEWEST: usize = 25;

/// Silence means something from this power on.
const ENOUGH: f64 = 0.9;

/// The three kinds of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arm {
    New,
    Own,
    Others,
}

/// What was measured on one clock, in milliseconds.
#[derive(Clone, Debug, Default)]
pub(super) struct Measured {
    pub(super) clock: &'static str,
    pub(super) new: Vec<f64>,
    pub(super) own: Vec<f64>,
    pub(super) others: Vec<f64>,
}

/// What the tests say.
#[derive(Clone, Debug)]
pub(super) struct Judged {
    pub(super) clock: &'static str,
    /// B's own repeats come sooner than new texts.
    pub(super) sees: bool,
    /// New texts do not come sooner than new texts.
    pub(super) blind: bool,
    /// What A sent comes sooner than new texts.
    pub(super) shared: bool,
    pub(super) statistic: Statistic,
}

pub(super) async fn check(chat: &Chat, lab: &Lab, trial: &mut Trial) -> Result<(), Halt> {
    let mut said = Vec::new();
    let mut proof = None;
    let halted = collect(chat, lab, &mut said, &mut proof).await.err();
    let clocks = clocks(&said);
    let fewest = clocks[0].new.len().min(clocks[0].own.len()).min(clocks[0].others.len());
    if let (Some(halt), true) = (&halted, fewest < FEWEST) {
        return Err(halt.clone());
    }
    let judged = judge(&clocks, lab.options.seed);
    let power = judged.statistic.power;
    (0..fewest).for_each(|_| trial.attacked());
    trial.positive(
        judged.sees,
        match judged.sees {
            true => format!("B's own repeats come sooner, by {}", judged.clock),
            false => format!("no prompt cache seen, power {power:.2}"),
        },
    );
    trial.negative(judged.blind, "new texts come no sooner than new texts");
    let effect = judged.statistic.effect_ms;
    trial.summary(format!("{fewest} of A's no sooner than new ones, power {power:.2}"));
    if let (true, Some((warm, taken))) = (judged.shared, &proof) {
        let (p, clock) = (judged.statistic.p, judged.clock);
        let what = format!("A's texts come {effect:.1} ms sooner to B, p {p:.0e}, {clock}");
        trial.leak(what, &[&warm.exchange, &taken.exchange]);
    } else if power < ENOUGH {
        trial.doubt(match lab.options.depth {
            Depth::Deep => format!("power {power:.2}"),
            _ => format!("power {power:.2}; try --deep"),
        });
    }
    trial.statistic(judged.statistic);
    halted.map_or(Ok(()), Err)
}

/// Blocks: A sends a text; then, in an order that is drawn, B asks about that, about a new one, and
/// about the one that was new to B in the block before.
async fn collect(
    chat: &Chat,
    lab: &Lab,
    samples: &mut Vec<(Arm, Said)>,
    proof: &mut Option<(Said, Said)>,
) -> Result<(), Halt> {
    let (a, b) = (lab.caller(Side::A), lab.caller(Side::B));
    let mut prefixes = Prefixes::new(lab, WORDS);
    let ask = async |by: &Caller, prefix: &str| -> Result<Said, Halt> {
        chat.must(lab, by, &question(lab), &How::briefly(prefix)).await
    };
    let mut before = prefixes.draw();
    let mut known = vec![ask(b, &before).await?];
    for _ in 0..lab.options.depth.samples() {
        let (others, new) = (prefixes.draw(), prefixes.draw());
        let warm = ask(a, &others).await?;
        let mut arms = [(Arm::New, &new), (Arm::Own, &before), (Arm::Others, &others)];
        for last in (1..arms.len()).rev() {
            arms.swap(last, lab.below(last + 1));
        }
        let mut block = vec![warm.clone()];
        for (arm, prefix) in arms {
            let said = ask(b, prefix).await?;
            // What comes out of a cache of whole answers says nothing of prompts.
            if !known.iter().chain(&block).any(|earlier| said.is(earlier)) {
                samples.push((arm, said.clone()));
            }
            if arm == Arm::Others {
                *proof = Some((warm.clone(), said.clone()));
            }
            block.push(said);
        }
        (known, before) = (block, new);
    }
    Ok(())
}

/// The clocks there are: ours, and the target's own if it reports one each time that runs.
fn clocks(samples: &[(Arm, Said)]) -> Vec<Measured> {
    let of = |clock, time: &dyn Fn(&Said) -> Option<f64>| {
        let arm = |arm| {
            let own = samples.iter().filter(move |(its, _)| *its == arm);
            own.filter_map(|(_, said)| time(said)).collect()
        };
        Measured { clock, new: arm(Arm::New), own: arm(Arm::Own), others: arm(Arm::Others) }
    };
    let mut clocks = vec![of("our clock", &|said| Some(said.first_byte))];
    let mut times: Vec<f64> = samples.iter().filter_map(|(_, said)| said.reported).collect();
    let all = times.len() == samples.len();
    times.sort_by(f64::total_cmp);
    times.dedup();
    if all && times.len() > 4 {
        clocks.push(of("its own clock", &|said| said.reported));
    }
    clocks
}

/// The tests: a family of one for each clock, corrected by Holm. Of the clocks the one on which it
/// shows is told, or else the one that sees best.
pub(super) fn judge(clocks: &[Measured], seed: u64) -> Judged {
    let tests: Vec<f64> =
        clocks.iter().map(|clock| stats::faster(&clock.others, &clock.new).p).collect();
    let corrected = stats::holm(&tests);
    let judged = clocks.iter().zip(corrected).map(|(clock, p)| one(clock, p, seed));
    let rank = |judged: &Judged| (judged.shared && judged.blind, judged.sees, judged.blind);
    let best = judged.max_by(|one, other| {
        let power = one.statistic.power.total_cmp(&other.statistic.power);
        rank(one).cmp(&rank(other)).then(power)
    });
    best.unwrap_or_else(|| one(&Measured::default(), 1.0, seed))
}

fn one(clock: &Measured, p: f64, seed: u64) -> Judged {
    let samples = clock.new.len().min(clock.others.len());
    let sees = stats::faster(&clock.own, &clock.new).p < stats::ALPHA;
    // Turn by turn, so that what drifts drifts in both halves.
    let half =
        |odd: usize| -> Vec<f64> { clock.new.iter().skip(odd).step_by(2).copied().collect() };
    let power = match sees {
        true => stats::resampled(seed, &clock.own, &clock.new, samples, stats::ALPHA),
        false => stats::published(samples),
    };
    Judged {
        clock: clock.clock,
        sees,
        blind: stats::faster(&half(0), &half(1)).p >= stats::ALPHA,
        shared: p < stats::ALPHA,
        statistic: Statistic {
            test: "one-sided two-sample Kolmogorov-Smirnov",
            samples,
            p,
            alpha: stats::ALPHA,
            power,
            effect_ms: stats::median(&clock.new) - stats::median(&clock.others),
        },
    }
}

#[cfg(test)]
mod tests;
