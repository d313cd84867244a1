//! Two credentials in one request, which disagree.
//!
//! The rule: whose a request is has to be beyond doubt. Where the target takes a credential at two
//! places (or one header twice), and each of two tenants' is at one of them, it has to refuse;
//! whichever it goes on with, the next part of the system may go on with the other one. That is
//! a leak, and a worse one if both tenants' things can be had by the same request. A place where
//! the target takes no credential is none: what stands there may be ignored, but must not change
//! whose request it is. And no live credential vouches for a forged one beside it.

use super::{Heard, Left, Thing, apart, ask, forged, nonsense, owner, random, secret, served};
use crate::{
    canary::Side,
    lab::Caller,
    place::Twist,
    target::Auth,
    verdict::{Halt, Trial},
    wire::Exchange,
};

/// Both tenants' things, and how each looks to its owner.
struct Pair {
    things: [Thing; 2],
    own: [Exchange; 2],
}

impl Pair {
    fn of(&self, side: Side) -> (&Thing, &Exchange) {
        (&self.things[side as usize], &self.own[side as usize])
    }
}

pub(super) async fn check(left: &mut Left<'_>, trial: &mut Trial) -> Result<(), Halt> {
    let things = [left.plant(Side::A).await?, left.plant(Side::B).await?];
    let Some(a) = owner(left, trial, Side::A, &things[0]).await? else { return Ok(()) };
    let Some(b) = owner(left, trial, Side::B, &things[1]).await? else { return Ok(()) };
    let sound = match left.place.remembers() {
        true => {
            apart(left, trial, Side::B, &things[0]).await?
                && apart(left, trial, Side::A, &things[1]).await?
        }
        false => nonsense(left, trial, &things[0]).await?,
    };
    if !sound {
        return Ok(());
    }
    let pair = Pair { things, own: [a, b] };
    twice(left, trial, &pair).await?;
    if left.place.remembers() {
        vouched(left, trial, &pair).await?;
    }
    let mut ignored = 0;
    let nobody = bare(left, "without a credential");
    let (heard, _) = ask(left, trial, &nobody, &pair.things[0], &Twist::none()).await?;
    if !trial.negative(heard != Heard::Served, "served without a credential, too") {
        return Ok(());
    }
    for (name, beside) in besides(left) {
        ignored += usize::from(!at(left, trial, &pair, (name, beside)).await?);
    }
    for side in [Side::A, Side::B] {
        owner(left, trial, side, pair.of(side).0).await?;
    }
    trial.summary(match ignored {
        0 => "refused wherever two were presented".to_owned(),
        _ => format!("refused; at {ignored} other places ignored"),
    });
    Ok(())
}

/// A credential put where the target may look besides.
type Beside = fn(&Left<'_>, &str) -> Twist;

/// The target's own header twice.
async fn twice(left: &Left<'_>, trial: &mut Trial, pair: &Pair) -> Result<(), Halt> {
    for side in [Side::B, Side::A] {
        // What is added stands before what the caller sends anyway.
        let first = side.other();
        let (name, value) = left.lab.target.auth.header(secret(left.lab, first));
        let twist = Twist::header(&name, &value);
        let by = labelled(left, side, &format!("{} and {}", first.name(), side.name()));
        both(left, trial, pair, (&by, &twist), "in one header").await?;
    }
    Ok(())
}

/// One request with two live credentials, both of which count where they are.
async fn both(
    left: &Left<'_>,
    trial: &mut Trial,
    pair: &Pair,
    (by, twist): (&Caller, &Twist),
    place: &str,
) -> Result<(), Halt> {
    let mut got: Vec<(Side, Exchange)> = Vec::new();
    let sides: &[Side] = match left.place.remembers() {
        true => &[Side::A, Side::B],
        false => &[Side::A],
    };
    for side in sides {
        let (heard, exchange) = ask(left, trial, by, pair.of(*side).0, twist).await?;
        if heard == Heard::Served {
            got.push((*side, exchange));
        }
    }
    match got.as_slice() {
        [] => {}
        [(_, exchange)] if !left.place.remembers() => {
            let what = format!("two credentials {place}, and it went on");
            trial.leak(what, &[&pair.own[0], &pair.own[1], exchange]);
        }
        [(side, exchange)] => {
            let what = format!("two credentials {place}, and it went on as {}", side.name());
            let (thing, own) = pair.of(*side);
            served(trial, &what, thing, &[own, exchange]);
        }
        [(_, first), (side, last), ..] => {
            let what = format!("two credentials {place} get both tenants' things");
            served(trial, &what, pair.of(*side).0, &[first, last]);
        }
    }
    Ok(())
}

/// A forged credential of A's beside B's live one: it may be that the one is proven and the other
/// one is read.
async fn vouched(left: &Left<'_>, trial: &mut Trial, pair: &Pair) -> Result<(), Halt> {
    let lab = left.lab;
    let whole = secret(lab, Side::A);
    let kept = whole.chars().count().saturating_sub(8);
    let head: String = whole.chars().take(kept).collect();
    let tail = random(lab, 8);
    let shown = format!("${{A_TOKEN:0:{kept}}}{tail}");
    let false_a = forged(lab, Side::A, "b and a forged a", &format!("{head}{tail}"), Some(&shown));
    let header = |secret: &str| {
        let (name, value) = lab.target.auth.header(secret);
        Twist::header(&name, &value)
    };
    let true_b = labelled(left, Side::B, "a forged a and b");
    let attempts =
        [(&false_a, header(secret(lab, Side::B))), (&true_b, header(&format!("{head}{tail}")))];
    let (thing, own) = pair.of(Side::A);
    for (by, twist) in attempts {
        let (heard, exchange) = ask(left, trial, by, thing, &twist).await?;
        if heard == Heard::Served {
            served(trial, "B's credential vouches for a forged one", thing, &[own, &exchange]);
        }
    }
    Ok(())
}

/// One other place for a credential. Answers whether the target takes one there.
async fn at(
    left: &Left<'_>,
    trial: &mut Trial,
    pair: &Pair,
    (name, beside): (&str, Beside),
) -> Result<bool, Halt> {
    let lab = left.lab;
    let (thing, own) = pair.of(Side::A);
    let put = |side| beside(left, secret(lab, side));
    let alone = bare(left, &format!("a by {name}"));
    let (heard, _) = ask(left, trial, &alone, thing, &put(Side::A)).await?;
    let place = format!("({name})");
    if heard == Heard::Served {
        for side in [Side::B, Side::A] {
            let label = format!("{}, and {} by {name}", side.name(), side.other().name());
            let by = labelled(left, side, &label);
            both(left, trial, pair, (&by, &put(side.other())), &place).await?;
        }
        return Ok(true);
    }
    if left.place.remembers() {
        let by = labelled(left, Side::B, &format!("b, and a by {name}"));
        let (heard, exchange) = ask(left, trial, &by, thing, &put(Side::A)).await?;
        if heard == Heard::Served {
            let what = format!("{name} makes B's request A's");
            served(trial, &what, thing, &[own, &exchange]);
        }
    }
    Ok(false)
}

/// The places besides its own where a target may look for a credential.
fn besides(left: &Left<'_>) -> Vec<(&'static str, Beside)> {
    let target = &left.lab.target;
    let own = match &target.auth {
        Auth::Header(name) => name.to_ascii_lowercase(),
        _ => "authorization".to_owned(),
    };
    let mut besides: Vec<(&'static str, Beside)> = vec![
        ("authorization", |_, secret| Twist::header("authorization", &format!("Bearer {secret}"))),
        ("x-api-key", |_, secret| Twist::header("x-api-key", secret)),
        ("api-key", |_, secret| Twist::header("api-key", secret)),
        ("cookie", |_, secret| {
            Twist::header("cookie", &format!("access_token={secret}; token={secret}"))
        }),
    ];
    if target.is_local() {
        // Addresses are logged: no credential is put into one of somebody else's machine.
        besides.push(("access_token", |_, secret| Twist {
            query: vec![("access_token".into(), secret.into())],
            ..Twist::none()
        }));
    }
    besides.retain(|(name, _)| *name != own);
    besides
}

/// Somebody with A's headers and nothing else.
fn bare(left: &Left<'_>, label: &str) -> Caller {
    let headers = left.lab.caller(Side::A).headers.clone();
    Caller { label: label.to_owned(), headers, ..left.lab.nobody() }
}

fn labelled(left: &Left<'_>, side: Side, label: &str) -> Caller {
    Caller { label: label.to_owned(), ..left.lab.caller(side).clone() }
}
