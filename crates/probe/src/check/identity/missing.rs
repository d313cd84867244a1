//! Without a credential, and with what is none.

use super::{Heard, Left, forged, owner, random, refused};
use crate::{
    canary::Side,
    lab::Caller,
    place::Twist,
    target::Auth,
    verdict::{Halt, Trial},
};

pub(super) async fn check(left: &mut Left<'_>, trial: &mut Trial) -> Result<(), Halt> {
    let thing = left.plant(Side::A).await?;
    let Some(own) = owner(left, trial, Side::A, &thing).await? else { return Ok(()) };
    let (mut hollow, mut asked) = (0, 0);
    for (by, twist) in attempts(left) {
        let what = format!("served {}", by.label);
        let heard = refused(left, trial, (&by, &twist), (&thing, &own), &what).await?;
        hollow += usize::from(heard == Heard::Hollow);
        asked += 1;
    }
    if hollow > 0 {
        trial.doubt(format!("{hollow} of {asked} answered, though with nothing of A's"));
    }
    owner(left, trial, Side::A, &thing).await?;
    trial.summary(format!("{asked} of {asked} refused"));
    Ok(())
}

/// Everybody who has no credential, and how.
fn attempts(left: &Left<'_>) -> Vec<(Caller, Twist)> {
    let lab = left.lab;
    let nobody = |label: &str| Caller { label: label.to_owned(), ..lab.nobody() };
    let mut attempts = vec![(nobody("without a credential"), Twist::none())];
    let headers = lab.caller(Side::A).headers.clone();
    if !headers.is_empty() {
        let named = Caller { headers, ..nobody("with A's headers, without a credential") };
        attempts.push((named, Twist::none()));
    }
    let nonsense = random(lab, 40);
    for (label, secret) in
        [("an empty credential", ""), ("the credential `null`", "null"), ("nonsense", &nonsense)]
    {
        attempts.push((forged(lab, Side::A, label, secret, None), Twist::none()));
    }
    if left.place.takes_headers() {
        // Schemes that the target may know besides, each with nothing in it.
        let schemes: &[(&str, &str)] = match &lab.target.auth {
            Auth::Basic => &[("Bearer ", "null")],
            _ => &[("Basic ", "Og=="), ("", "anonymous")],
        };
        for (scheme, rest) in schemes {
            let twist = Twist::header("authorization", &format!("{scheme}{rest}"));
            attempts.push((nobody("another scheme, with nothing in it"), twist));
        }
    }
    attempts
}
