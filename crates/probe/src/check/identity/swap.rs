//! A run that one tenant began goes on under the other one's credential.

use super::{Heard, Left, Thing, ask, owner, served};
use crate::{
    canary::Side,
    lab::Caller,
    place::Twist,
    verdict::{Halt, Trial},
    wire::Exchange,
};

/// How often both take turns.
const TURNS: usize = 3;

pub(super) async fn check(left: &mut Left<'_>, trial: &mut Trial) -> Result<(), Halt> {
    let (a, b) = (left.plant(Side::A).await?, left.plant(Side::B).await?);
    if owner(left, trial, Side::B, &b).await?.is_none() {
        return Ok(());
    }
    let lab = left.lab;
    let other = lab.caller(Side::B).clone();
    // B's credential over A's connections: who asks is proven for a request, not for a connection.
    let moved =
        Caller { side: Some(Side::A), label: "b, on a's connection".to_owned(), ..other.clone() };
    let mut asked = 0;
    for _ in 0..TURNS {
        let Some(own) = owner(left, trial, Side::A, &a).await? else { return Ok(()) };
        let what = "A's run goes on under B's credential";
        go_on(left, trial, (&other, &Twist::none()), (&a, &own), what).await?;
        let Some(own) = owner(left, trial, Side::A, &a).await? else { return Ok(()) };
        let what = "A's connection makes B's request A's";
        go_on(left, trial, (&moved, &Twist::none()), (&a, &own), what).await?;
        asked += 2;
        if let Some(cookies) = cookies(&own) {
            let what = "A's session counts under B's credential";
            let twist = Twist::header("cookie", &cookies);
            go_on(left, trial, (&other, &twist), (&a, &own), what).await?;
            asked += 1;
        }
    }
    for (side, thing) in [(Side::A, &a), (Side::B, &b)] {
        owner(left, trial, side, thing).await?;
    }
    trial.summary(format!("{asked} of {asked} did not go on"));
    Ok(())
}

async fn go_on(
    left: &Left<'_>,
    trial: &mut Trial,
    (by, twist): (&Caller, &Twist),
    (thing, own): (&Thing, &Exchange),
    what: &str,
) -> Result<(), Halt> {
    let (heard, exchange) = ask(left, trial, by, thing, twist).await?;
    if heard == Heard::Served {
        served(trial, what, thing, &[&thing.planted.exchange, own, &exchange]);
    }
    Ok(())
}

/// What an answer asks its caller to send from now on.
fn cookies(exchange: &Exchange) -> Option<String> {
    let headers = exchange.answer()?.headers.iter();
    let set = headers.filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"));
    let pairs = set.filter_map(|(_, value)| value.split(';').next().map(str::trim));
    let cookies: Vec<&str> = pairs.filter(|pair| pair.contains('=')).collect();
    (!cookies.is_empty()).then(|| cookies.join("; "))
}
