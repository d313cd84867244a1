use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

use super::*;
use crate::{
    Options, Plan,
    budget::Budget,
    canary::{Canaries, Side},
    target::Limits,
    wire::{Answer, Planned},
};

/// What the place does when it is asked to remove.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    Removes,
    /// Says so, and keeps it.
    Lies,
    /// An error.
    Fails,
    /// Has no way.
    Cannot,
    /// No answer at all.
    Silent,
}

struct Shelf {
    manner: Manner,
    things: Mutex<HashMap<String, String>>,
}

impl Shelf {
    fn new(manner: Manner) -> Self {
        Self { manner, things: Mutex::default() }
    }

    fn exchange(
        lab: &Lab,
        by: &Caller,
        line: &str,
        status: u16,
        body: &str,
    ) -> Result<Exchange, Halt> {
        let planned = Planned { who: by.label.clone(), line: line.into(), body: None };
        lab.wire.charge(planned, 0.0)?;
        let answer = Answer { status, body: body.to_owned().into(), ..Answer::default() };
        let outcome = if status == 0 { Err("no answer".into()) } else { Ok(answer) };
        Ok(Exchange {
            who: by.label.clone(),
            line: line.into(),
            headers: Vec::new(),
            body: None,
            outcome,
        })
    }
}

impl Place for Shelf {
    fn name(&self) -> &str {
        "shelf"
    }

    fn surface(&self) -> Surface {
        Surface::Objects
    }

    fn remembers(&self) -> bool {
        true
    }

    fn plant<'a>(
        &'a self,
        lab: &'a Lab,
        by: &'a Caller,
        text: &'a str,
    ) -> BoxFuture<'a, Result<Planted, Halt>> {
        Box::pin(async move {
            let exchange = Self::exchange(lab, by, "POST /", 201, "")?;
            let mut things = self.things.lock().unwrap();
            let id = format!("{}", things.len());
            things.insert(id.clone(), text.to_owned());
            Ok(Planted { text: text.into(), handles: vec![("id".into(), id)], exchange })
        })
    }

    fn read<'a>(
        &'a self,
        lab: &'a Lab,
        by: &'a Caller,
        planted: &'a Planted,
        _: &'a Twist,
    ) -> BoxFuture<'a, Result<Exchange, Halt>> {
        Box::pin(async move {
            let thing = self.things.lock().unwrap().get(&planted.handles[0].1).cloned();
            let status = match (self.manner, &thing) {
                (Manner::Silent, _) => 0,
                (_, Some(_)) => 200,
                (_, None) => 404,
            };
            Self::exchange(lab, by, "GET /", status, &thing.unwrap_or_default())
        })
    }

    fn remove<'a>(
        &'a self,
        lab: &'a Lab,
        by: &'a Caller,
        planted: &'a Planted,
    ) -> BoxFuture<'a, Result<Option<Exchange>, Halt>> {
        Box::pin(async move {
            let status = match self.manner {
                Manner::Cannot => return Ok(None),
                Manner::Removes => {
                    self.things.lock().unwrap().remove(&planted.handles[0].1);
                    204
                }
                Manner::Lies => 204,
                Manner::Fails => 500,
                Manner::Silent => 0,
            };
            Self::exchange(lab, by, "DELETE /", status, "").map(Some)
        })
    }
}

fn lab(requests: u64) -> Lab {
    let plan = Plan::parse(
        "t.toml",
        "[tenant.a]\ntoken = \"a\"\n[tenant.b]\ntoken = \"b\"\n\
         [target.t]\nkind = \"http\"\nurl = \"http://127.0.0.1\"\n",
    )
    .unwrap();
    let caller = |side: Side| Caller {
        side: Some(side),
        label: side.name().into(),
        credential: None,
        headers: Vec::new(),
    };
    let budget = Budget::new(Limits { requests, ..Limits::default() });
    Lab::new(
        Arc::clone(&plan.targets[0]),
        Arc::new(budget),
        Arc::new(Canaries::new("run".into())),
        Arc::new(Options::default()),
        (caller(Side::A), caller(Side::B)),
    )
}

async fn left(lab: &Lab, shelf: &Shelf, things: usize) -> Vec<Planted> {
    let tended = lab.tended(shelf);
    let mut left = Vec::new();
    for number in 0..things {
        let text = format!("thing {number}.");
        left.push(tended.plant(lab, lab.caller(Side::A), &text).await.unwrap());
    }
    left
}

fn counts(sum: &Planting) -> (usize, usize, usize, usize) {
    (sum.planted, sum.removed, sum.verified, sum.failed())
}

#[tokio::test]
async fn what_is_planted_is_removed_and_looked_for() {
    let (lab, shelf) = (lab(100), Shelf::new(Manner::Removes));
    let things = left(&lab, &shelf, 3).await;
    let tended = lab.tended(&shelf);
    tended.remove(&lab, lab.caller(Side::A), &things[1]).await.unwrap();
    assert_eq!(counts(&lab.ledger.sum("t")), (3, 1, 1, 2));
    tended.sweep(&lab).await;
    let sum = lab.ledger.sum("t");
    assert_eq!((counts(&sum), sum.left.len()), ((3, 3, 3, 0), 0));
    assert!(shelf.things.lock().unwrap().is_empty());
}

#[tokio::test]
async fn neither_budget_nor_the_users_end_keeps_it_from_being_removed() {
    let (lab, shelf) = (lab(2), Shelf::new(Manner::Removes));
    left(&lab, &shelf, 2).await;
    let tended = lab.tended(&shelf);
    assert!(matches!(tended.plant(&lab, lab.caller(Side::A), "more").await, Err(Halt::Budget(_))));
    lab.options.stop.store(true, Ordering::Relaxed);
    assert!(matches!(tended.plant(&lab, lab.caller(Side::A), "more").await, Err(Halt::Ended)));
    tended.sweep(&lab).await;
    assert_eq!(counts(&lab.ledger.sum("t")), (2, 2, 2, 0));
    assert!(tended.plant(&lab, lab.caller(Side::A), "more").await.is_err(), "and nothing else is");
}

#[tokio::test]
async fn what_is_not_gone_is_told_with_how_to_remove_it() {
    for (manner, why) in [
        (Manner::Lies, "its owner finds it still"),
        (Manner::Fails, "DELETE / answered 500"),
        (Manner::Silent, "no answer"),
    ] {
        let (lab, shelf) = (lab(100), Shelf::new(manner));
        left(&lab, &shelf, 1).await;
        lab.tended(&shelf).sweep(&lab).await;
        let sum = lab.ledger.sum("t");
        assert_eq!((sum.verified, sum.failed()), (0, 1), "{why}");
        let told = sum.left[0].to_string();
        assert!(told.contains(why) && told.contains("id 0") && told.contains("as a"), "{told}");
    }
}

#[tokio::test]
async fn what_has_no_way_to_be_removed_stays_and_is_told() {
    let (lab, shelf) = (lab(100), Shelf::new(Manner::Cannot));
    left(&lab, &shelf, 2).await;
    lab.tended(&shelf).sweep(&lab).await;
    let sum = lab.ledger.sum("t");
    assert_eq!((counts(&sum), sum.left.len()), ((2, 0, 0, 0), 2));
}

#[tokio::test]
async fn a_target_that_is_gone_is_not_asked_for_ever() {
    let (lab, shelf) = (lab(100), Shelf::new(Manner::Silent));
    left(&lab, &shelf, 10).await;
    lab.tended(&shelf).sweep(&lab).await;
    assert_eq!(lab.ledger.sum("t").failed(), 10);
    // Ten to plant; then three removals, each with the look for what was to be removed.
    assert_eq!(lab.wire.sent(), 10 + 2 * 3);
}

#[tokio::test]
async fn a_foreign_removal_is_an_attack_and_no_clean_up() {
    let (lab, shelf) = (lab(100), Shelf::new(Manner::Fails));
    let things = left(&lab, &shelf, 1).await;
    let tended = lab.tended(&shelf);
    tended.remove(&lab, lab.caller(Side::B), &things[0]).await.unwrap();
    assert_eq!(lab.wire.sent(), 2, "the owner does not look");
    assert!(lab.ledger.sum("t").left[0].to_string().contains("it was not removed"));
}

#[tokio::test]
async fn what_was_being_left_when_it_ended_is_told() {
    let (lab, shelf) = (lab(100), Shelf::new(Manner::Removes));
    lab.ledger.intends(&shelf, lab.caller(Side::A), "bhca0");
    let sum = lab.ledger.sum("t");
    assert_eq!(sum.failed(), 1);
    assert!(sum.left[0].what.contains("bhca0"), "{:?}", sum.left);
}

#[test]
fn what_others_make_is_in_the_ledger_too() {
    let lab = lab(100);
    let [a, b, c, d] =
        ["a", "b", "c", "d"].map(|name| lab.ledger.made("collections", name, "drop"));
    lab.ledger.removed(a, true);
    lab.ledger.removed(b, false);
    lab.ledger.taken(c);
    lab.ledger.failed(d, "500");
    assert_eq!(counts(&lab.ledger.sum("t")), (4, 2, 1, 2));
}
