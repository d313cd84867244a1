//! A credential that has expired or was revoked, from the start and in the middle of a run.

use super::{Heard, Left, nonsense, owner, refused, secret};
use crate::{
    canary::Side,
    lab::Caller,
    place::Twist,
    target::Credential,
    verdict::{Halt, Trial},
};

/// How often the live and the dead one take turns.
const TURNS: usize = 3;

pub(super) async fn check(left: &mut Left<'_>, trial: &mut Trial) -> Result<(), Halt> {
    let (side, dead) = dead(left)?;
    let thing = left.plant(side).await?;
    let Some(mut own) = owner(left, trial, side, &thing).await? else { return Ok(()) };
    if !nonsense(left, trial, &thing).await? {
        return Ok(());
    }
    // On the connections on which the live one was accepted, and right after it.
    for turn in 0..TURNS {
        let what = match turn {
            0 => "a dead credential is served",
            _ => "a dead credential is served in the middle of a run",
        };
        let sent = (&dead, &Twist::none());
        if refused(left, trial, sent, (&thing, &own), what).await? == Heard::Hollow {
            trial.doubt("a dead credential is answered, though with nothing of its tenant's");
        }
        let Some(again) = owner(left, trial, side, &thing).await? else { return Ok(()) };
        own = again;
    }
    trial.summary(format!("{TURNS} of {TURNS} refused, also mid-run"));
    Ok(())
}

/// Whoever's dead credential the file names.
fn dead(left: &Left<'_>) -> Result<(Side, Caller), Halt> {
    let lab = left.lab;
    for side in [Side::A, Side::B] {
        let named = lab.target.known(side).is_some_and(|tenant| tenant.expired.is_some());
        if named && lab.options.dry_run {
            // No secret is looked up for what is only listed.
            let credential = Some(Credential::new(String::new()));
            let label = format!("{}, dead credential", side.name());
            return Ok((side, Caller { label, credential, ..lab.caller(side).clone() }));
        }
        let Some(dead) = lab.target.dead(side)? else { continue };
        if dead.credential.as_ref().map(Credential::expose) == Some(secret(lab, side)) {
            return Err(Halt::Lacking("`expired` is the live credential".into()));
        }
        return Ok((side, dead));
    }
    Err(Halt::Lacking("name a dead credential: expired = \"env:NAME\"".into()))
}
