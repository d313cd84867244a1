//! The same request of two tenants: has B's answer A's id?

use std::time::Duration;

use super::{Eye, Same, counted, unlike};
use crate::{
    canary::Side,
    drive::chat::{Chat, How, Said},
    lab::Lab,
    verdict::{Halt, Trial},
};

/// Longer than a second, which is what interfaces round the time of an answer to.
const A_SECOND: Duration = Duration::from_millis(1_100);

pub(super) async fn check(chat: &Chat, lab: &Lab, trial: &mut Trial) -> Result<(), Halt> {
    Eye::open(chat, lab, &How::plain(), trial).await?;
    let (a, b) = (lab.caller(Side::A), lab.caller(Side::B));
    let (mut eye, mut attacks, mut made) = (Eye::new(), 0, false);
    for (how, form) in [(How::plain(), "A's answer"), (How::streamed(), "A's streamed answer")] {
        // Some caches keep only what was asked twice.
        for _ in 0..2 {
            let prompt = unlike();
            let first = chat.ask(lab, a, &prompt, &how).await?;
            if how.stream && first.exchange.refused() {
                trial.summary(format!("{}; no streams", eye.told(attacks)));
                return Ok(());
            }
            if !first.exchange.accepted() {
                return Err(Halt::Failed(format!("A was answered {}", first.outcome())));
            }
            let again = chat.must(lab, a, &prompt, &how).await?;
            let taken = chat.ask(lab, b, &prompt, &how).await?;
            let proof = first.clone();
            eye.gave(first, false);
            eye.gave(again, true);
            attacks += 1;
            if !counted(&taken, trial) {
                continue;
            }
            let Some((same, _)) = eye.sees(&taken) else { continue };
            made = made || same == Same::Id && !kept(chat, lab, &how, &taken, trial).await?;
            if made && same == Same::Id {
                continue;
            }
            trial.strength(same.strength());
            let what = format!("B got {form}, {}", same.told());
            trial.leak(what, &[&proof.exchange, &taken.exchange]);
            return Ok(());
        }
    }
    trial.summary(eye.told(attacks));
    Ok(())
}

/// Whether equal ids come of a cache, and not of a server that makes ids out of questions: what a
/// cache gives a second later says that it was made a second before. Where answers do not say when
/// they were made, ids have to do; where they say always the same, nothing can be told.
async fn kept(
    chat: &Chat,
    lab: &Lab,
    how: &How,
    taken: &Said,
    trial: &mut Trial,
) -> Result<bool, Halt> {
    if taken.created.is_none() || taken.marked().is_some() {
        return Ok(true);
    }
    let prompt = unlike();
    let given = chat.must(lab, lab.caller(Side::A), &prompt, how).await?;
    tokio::time::sleep(A_SECOND).await;
    let taken = chat.must(lab, lab.caller(Side::B), &prompt, how).await?;
    if !taken.is(&given) {
        return Ok(false);
    }
    let new = chat.must(lab, lab.caller(Side::A), &unlike(), how).await?;
    let runs = new.created != given.created;
    if !runs {
        trial.doubt("ids may be made of the question, and times stand still");
    }
    Ok(runs)
}
