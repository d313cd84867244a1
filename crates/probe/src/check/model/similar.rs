//! Questions that are nearly A's: does B get A's answer to one?

use super::{Eye, counted, nonce};
use crate::{
    canary::Side,
    drive::chat::{Chat, How},
    lab::Lab,
    verdict::{Halt, Trial},
};

/// A question and one that is more or less like it. `{}` is a name that nobody asked about before,
/// `{ref}` something that only its tenant knows, `{tenant}` who asks.
struct Grade {
    name: &'static str,
    asked: &'static str,
    similar: &'static str,
}

const GRADES: &[Grade] = &[
    Grade {
        name: "letters' case",
        asked: "How do I renew the parking permit for {}, and what does it cost?",
        similar: "how do i renew the PARKING PERMIT for {}, and what does it cost?",
    },
    Grade {
        name: "white space",
        asked: "Which documents do I need to register a bicycle bought in {} this year?",
        similar: "Which documents do I need to register a  bicycle bought in {} this year? ",
    },
    Grade {
        name: "punctuation",
        asked: "Please list three ways to save heating costs in a flat near {}.",
        similar: "Please list three ways to save heating costs in a flat near {}",
    },
    Grade {
        name: "a synonym",
        asked: "What is the quickest way to travel from the airport to {} at night?",
        similar: "What is the fastest way to travel from the airport to {} at night?",
    },
    Grade {
        name: "one word",
        asked: "Explain in one sentence how the water of the river at {} is cleaned.",
        similar: "Explain in one sentence how the water of the lake at {} is cleaned.",
    },
    Grade {
        name: "the order of words",
        asked: "Tell me the opening hours of the town library in {} on Saturday.",
        similar: "On Saturday, tell me the opening hours of the town library in {}.",
    },
    Grade {
        name: "the tenant's name",
        asked: "For {tenant}: summarise what we owe the landlord of the office in {}.",
        similar: "For {tenant}: summarise what we owe the landlord of the office in {}.",
    },
    Grade {
        name: "a reference",
        asked: "Repeat this reminder about the rent in {}, with its reference: {ref}",
        similar: "Repeat this reminder about the rent in {}, with its reference: {ref}",
    },
];

pub(super) async fn check(chat: &Chat, lab: &Lab, trial: &mut Trial) -> Result<(), Halt> {
    let how = How::plain();
    Eye::open(chat, lab, &how, trial).await?;
    let (mut eye, mut attacks) = (Eye::new(), 0);
    let never = lab.canaries.never_planted(Side::A);
    for grade in GRADES {
        let (place, secret) = (super::words::some(2), lab.canary(Side::A, "question"));
        let fill = |text: &str, side: Side, secret: &str| {
            let text = text.replace("{tenant}", tenant(side)).replace("{ref}", secret);
            text.replace("{}", &place)
        };
        let (a, b) = (lab.caller(Side::A), lab.caller(Side::B));
        let first = chat.must(lab, a, &fill(grade.asked, Side::A, &secret.text), &how).await?;
        // B knows nothing of A's: where there is a reference, it has its own.
        let own = nonce();
        let taken = chat.ask(lab, b, &fill(grade.similar, Side::B, &own), &how).await?;
        let again = chat.must(lab, a, &fill(grade.similar, Side::A, &nonce()), &how).await?;
        let proof = first.clone();
        eye.gave(first, false);
        attacks += 1;
        if counted(&taken, trial) {
            let seen = lab.foreign(Side::B, &taken.exchange);
            trial.negative(
                seen.iter().all(|seen| seen.canary != never),
                "what was never planted is not found",
            );
            if let Some(seen) = seen.first() {
                let what = format!("B got A's answer: {} differs", grade.name);
                trial.leaked(&what, seen, &[&proof.exchange, &taken.exchange]);
            // What is only marked a hit may be like a question of B's own.
            } else if eye.given.iter().any(|given| taken.is(given)) {
                let what = format!("B got A's answer: {} differs", grade.name);
                trial.leak(what, &[&proof.exchange, &taken.exchange]);
            }
        }
        eye.gave(again, true);
    }
    trial.summary(eye.told(attacks));
    Ok(())
}

/// Names in questions, none of anybody's.
fn tenant(side: Side) -> &'static str {
    match side {
        Side::A => "Northwind",
        Side::B => "Southgate",
    }
}
