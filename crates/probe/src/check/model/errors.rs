//! Errors: does one of A's say to B what A sent, and does one stand in the way of what is good?

use serde_json::{Value, json};

use super::{nonce, unlike};
use crate::{
    canary::Side,
    drive::chat::{Chat, How, Said, body_of},
    lab::{Caller, Lab},
    place::Twist,
    verdict::{Halt, Trial},
};

/// A request that no model can answer: what is wrong, and the field for it, made of a text that stands
/// there and of the question.
type Fault = (&'static str, fn(&str, &str) -> (&'static str, Value));

const FAULTS: &[Fault] = &[
    ("a role", |text, prompt| ("messages", json!([{"role": text, "content": prompt}]))),
    ("a temperature", |text, _| ("temperature", json!(text))),
    ("a tool choice", |text, _| ("tool_choice", json!({"type": text}))),
    ("messages", |text, _| ("messages", json!(text))),
    ("a model", |text, _| ("model", json!(format!("no-such-model-{text}")))),
];

pub(super) async fn check(chat: &Chat, lab: &Lab, trial: &mut Trial) -> Result<(), Halt> {
    let (a, b) = (lab.caller(Side::A), lab.caller(Side::B));
    let never = lab.canaries.never_planted(Side::A);
    // Whoever answers nothing keeps no errors.
    for by in [a, b] {
        chat.must(lab, by, &unlike(), &How::plain()).await?;
    }
    let (mut refusals, mut telling) = (0, 0);
    for (name, fault) in FAULTS {
        let (prompt, secret) = (unlike(), lab.canary(Side::A, "error"));
        let ask = async |by: &Caller, text: &str| -> Result<Said, Halt> {
            let (name, value) = fault(text, &prompt);
            let twist = Twist { fields: vec![(name.to_owned(), value)], ..Twist::none() };
            chat.ask(lab, by, &prompt, &How::plain().twisted(twist)).await
        };
        let mine = ask(a, &secret.text).await?;
        if mine.exchange.accepted() && !lab.options.dry_run {
            continue;
        }
        if later(&mine) {
            trial.doubt(format!("A was answered {}", mine.outcome()));
            continue;
        }
        refusals += 1;
        let tells = body_of(&mine.exchange).contains(&secret.text);
        telling += usize::from(tells);
        for side in [Side::B, Side::A] {
            recovered(chat, lab, trial, side, &prompt, &mine).await?;
        }
        let theirs = ask(b, &nonce()).await?;
        let seen = lab.foreign(Side::B, &theirs.exchange);
        if later(&theirs) {
            trial.doubt(format!("B was answered {}", theirs.outcome()));
        } else if tells {
            // Of an error that tells nothing, none could be seen in B's.
            trial.attacked();
        }
        trial.negative(
            seen.iter().all(|seen| seen.canary != never),
            "what was never planted is not found",
        );
        if let Some(seen) = seen.first() {
            let what = format!("B's error of {name} tells A's");
            trial.leaked(&what, seen, &[&mine.exchange, &theirs.exchange]);
        }
    }
    trial.negative(true, "what was never planted is not found");
    let note = match refusals {
        0 => "no request was refused".to_owned(),
        _ => format!("{refusals} of A's requests were refused, {telling} tell what was sent"),
    };
    trial.positive(refusals > 0, note);
    trial.summary(match telling {
        0 => format!("{refusals} errors, none stands in the way; none tells what was sent"),
        _ => format!("{refusals} errors, {telling} tell what was sent; none kept"),
    });
    Ok(())
}

/// No error of what was asked: overload, or silence. It says nothing of what is kept.
fn later(said: &Said) -> bool {
    matches!(said.exchange.status(), 0 | 408 | 425 | 429 | 502..=504 | 529)
}

/// The same question, this time without a fault: whoever asks it gets an answer. If not, but to
/// another question, then the error stands in the way.
async fn recovered(
    chat: &Chat,
    lab: &Lab,
    trial: &mut Trial,
    side: Side,
    prompt: &str,
    failed: &Said,
) -> Result<(), Halt> {
    let (by, how) = (lab.caller(side), How::plain());
    let good = chat.ask(lab, by, prompt, &how).await?;
    if good.exchange.accepted() {
        trial.attacked();
        return Ok(());
    }
    let again = chat.ask(lab, by, prompt, &how).await?;
    let other = chat.ask(lab, by, &unlike(), &how).await?;
    if other.exchange.accepted() && !again.exchange.accepted() {
        let who = side.name().to_uppercase();
        let what = format!("A's error was kept, and answers {who}'s good request");
        trial.leak(what, &[&failed.exchange, &again.exchange]);
    } else {
        trial.doubt(format!("a good request was answered {}", good.outcome()));
    }
    Ok(())
}
