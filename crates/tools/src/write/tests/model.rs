//! Random runs of calls, faults, crashes and restarts, held against what the upstream saw: no intent
//! is done twice, and every one that was sent is answered, known to fail, or with a person.

use std::time::Duration;

use super::ground::{Does, Ground, Process, ask, system};
use crate::Error;

/// SplitMix64 (Steele, Lea, Flood, 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.below(all.len() as u64)).unwrap()]
    }
}

const DOES: [Does; 9] = [
    Does::Answers,
    Does::Refuses,
    Does::Unreachable,
    Does::Breaks { done: true },
    Does::Breaks { done: false },
    Does::Fails { done: true },
    Does::Fails { done: false },
    Does::Mixes,
    Does::Hangs { done: true },
];

/// No intent is done twice, and none is sent again of which it was not known that it was not done.
fn check(process: &Process, seed: u64) {
    let (done, sent) = (process.crm.done.lock(), process.crm.sent.lock());
    for (nth, one) in done.iter().enumerate() {
        let twice = done[nth + 1..].iter().any(|other| other.intent == one.intent);
        assert!(!twice, "seed {seed}: {one:?} was done twice");
        let same = |other: &&super::ground::Done| {
            (&other.tenant, &other.tool, &other.arguments)
                == (&one.tenant, &one.tool, &one.arguments)
        };
        assert_eq!(done.iter().filter(same).count(), 1, "seed {seed}: {one:?}");
    }
    for (nth, (intent, _)) in sent.iter().enumerate() {
        let before = sent[..nth].iter().filter(|(other, _)| other == intent);
        for (_, does) in before {
            let undone = matches!(
                does,
                Does::Refuses
                    | Does::Unreachable
                    | Does::Breaks { done: false }
                    | Does::Fails { done: false }
                    | Does::Hangs { done: false }
            );
            assert!(undone, "seed {seed}: {intent} was sent again after {does:?}");
        }
    }
}

async fn one(seed: u64) {
    let mut random = Random(seed);
    let ground = Ground::new().await;
    let mut process = ground.start().await;
    let mut asked = Vec::new();
    for _ in 0..30 {
        let tenant = random.of(&["acme", "globex"]);
        let tool = random.of(&["refund", "refund", "note"]);
        let amount = random.below(3);
        let scope = process.run(tenant, "run-1").await;
        process.crm.script.lock().clear();
        let does = random.of(&DOES);
        process.crm.will([does]);
        *process.crm.blind.lock() = random.below(5) == 0;
        asked.push((tenant, tool, amount));
        let cut = {
            let call = process.call(&scope, ask(tool, amount));
            tokio::pin!(call);
            let under_way = tokio::select! {
                biased;
                _ = &mut call => false,
                () = process.crm.heard.notified() => true,
            };
            // It either hangs, or is cut off while its answer is on its way.
            let cut = under_way && (matches!(does, Does::Hangs { .. }) || random.below(4) == 0);
            if under_way && !cut {
                let _ = call.await;
            }
            cut
        };
        if cut {
            process = ground.cut(process).await;
        }
        check(&process, seed);
        ground.clock.advance(Duration::from_secs(random.below(20)));
        if random.below(4) == 0 {
            let sends = process.crm.sends();
            process.tools.resume(&system()).await.unwrap();
            assert_eq!(process.crm.sends(), sends, "seed {seed}: looking up sends nothing");
        }
    }
    // Whatever happened, each of them comes to an end.
    process = ground.cut(process).await;
    ground.clock.advance(Duration::from_secs(24 * 3_600));
    process.tools.resume(&system()).await.unwrap();
    for (tenant, tool, amount) in asked {
        let scope = process.run(tenant, "run-1").await;
        match process.call(&scope, ask(tool, amount)).await {
            Ok(answer) => {
                let id = answer.receipt.unwrap().intent;
                assert!(process.crm.done.lock().iter().any(|done| done.intent == id));
            }
            Err(Error::OutcomeUnknown { .. }) if tool == "note" => {}
            Err(error) => panic!("seed {seed}: {tenant} {tool} {amount}: {error:?}"),
        }
        check(&process, seed);
    }
}

#[tokio::test]
async fn whatever_happens_no_intent_is_done_twice_and_none_is_lost() {
    for seed in 0..8 {
        println!("seed {seed}");
        one(seed).await;
    }
}
