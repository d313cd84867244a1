//! Partitions of caches that a caller names: B names A's.

use serde_json::json;

use super::{Eye, counted, nonce, unlike};
use crate::{
    canary::Side,
    drive::chat::{Chat, How},
    lab::Lab,
    place::Twist,
    verdict::{Halt, Trial},
};

/// A way to name a partition, and who takes it.
type Naming = (&'static str, fn(&str) -> Twist);

const NAMINGS: &[Naming] = &[
    ("cache.namespace", |name| field("cache", json!({"namespace": name}))),
    ("cache_key", |name| field("cache_key", json!(name))),
    ("prompt_cache_key", |name| field("prompt_cache_key", json!(name))),
    ("cache_salt", |name| field("cache_salt", json!(name))),
    ("user", |name| field("user", json!(name))),
    // Bifrost keeps nothing without it.
    ("x-bf-cache-key", |name| Twist::header("x-bf-cache-key", name)),
    ("x-portkey-cache-namespace", |name| {
        let config = ("x-portkey-config".to_owned(), r#"{"cache":{"mode":"simple"}}"#.to_owned());
        let mut twist = Twist::header("x-portkey-cache-namespace", name);
        twist.headers.push(config);
        twist
    }),
    ("helicone-cache-seed", |name| {
        let mut twist = Twist::header("helicone-cache-seed", name);
        twist.headers.push(("helicone-cache-enabled".to_owned(), "true".to_owned()));
        twist
    }),
    ("cf-aig-cache-key", |name| Twist::header("cf-aig-cache-key", name)),
    ("x-cache-namespace", |name| Twist::header("x-cache-namespace", name)),
];

fn field(name: &str, value: serde_json::Value) -> Twist {
    Twist { fields: vec![(name.to_owned(), value)], ..Twist::none() }
}

pub(super) async fn check(chat: &Chat, lab: &Lab, trial: &mut Trial) -> Result<(), Halt> {
    Eye::open(chat, lab, &How::plain(), trial).await?;
    let (a, b) = (lab.caller(Side::A), lab.caller(Side::B));
    let (mut eye, mut attacks, mut refused) = (Eye::new(), 0, 0);
    for (naming, twist) in NAMINGS {
        let (prompt, how) = (unlike(), How::plain().twisted(twist(&nonce())));
        let first = chat.ask(lab, a, &prompt, &how).await?;
        if !first.exchange.accepted() {
            // Who may not name a partition of its own cannot name another's.
            counted(&first, trial);
            refused += 1;
            continue;
        }
        let again = chat.must(lab, a, &prompt, &how).await?;
        let proof = first.clone();
        eye.gave(first, false);
        eye.gave(again, true);
        let taken = chat.ask(lab, b, &prompt, &how).await?;
        attacks += 1;
        if !counted(&taken, trial) {
            continue;
        }
        if let Some((same, _)) = eye.sees(&taken) {
            trial.strength(same.strength());
            let what = format!("B named A's {naming}, got A's answer");
            trial.leak(what, &[&proof.exchange, &taken.exchange]);
        }
    }
    trial.summary(match refused {
        0 => eye.told(attacks),
        _ => format!("{}; {refused} refused", eye.told(attacks)),
    });
    Ok(())
}
