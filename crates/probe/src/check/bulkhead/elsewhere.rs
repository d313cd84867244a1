//! A's own credentials for another environment, workflow or run: what A left is not there for them.

use super::{
    desk::{Desk, Wanted},
    places::{Spot, What},
};
use crate::{
    canary::Side,
    catalog,
    lab::{Caller, Lab},
    place::{Place, Planted, Twist},
    sheet::Sheet,
    target::Kind,
    verdict::{Halt, Trial},
};

/// The workflow of tokens that are made for this.
const WORKFLOW: &str = "bulkhead-probe";
/// Another one, and another run.
const OTHER: &str = "bulkhead-probe-other";

/// In what a credential differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Differs {
    Nothing,
    Environment,
    Workflow,
    Run,
}

impl Differs {
    const fn label(self) -> &'static str {
        match self {
            Self::Nothing => "a, of the operator",
            Self::Environment => "a, another environment",
            Self::Workflow => "a, another workflow",
            Self::Run => "a, another run",
        }
    }
}

/// What a place is apart by, besides tenants.
const fn apart(what: What) -> &'static [Differs] {
    match what {
        What::State => &[Differs::Environment, Differs::Workflow, Differs::Run],
        What::Cache => &[Differs::Environment, Differs::Workflow],
        _ => &[Differs::Environment],
    }
}

pub(super) async fn all(spot: &Spot, desk: &Desk<'_>, lab: &Lab, sheet: &mut Sheet<'_>) {
    let place = lab.tended(spot);
    sheet
        .run(&catalog::SWAP, &format!("{}, elsewhere", spot.name()), async |trial| {
            let ended = check(spot, &place, desk, lab, trial).await;
            place.sweep(lab).await;
            ended
        })
        .await;
}

async fn minted(desk: &Desk<'_>, lab: &Lab, differs: Differs) -> Result<Caller, Halt> {
    let Kind::Bulkhead { more, .. } = &lab.target.kind else {
        return Err(Halt::Lacking("it is no deployment".into()));
    };
    let (Some(own), Some(other)) = (more.environments.first(), more.environments.get(1)) else {
        let advice = "name two environments: environments = [\"live\", \"staging\"]";
        return Err(Halt::Lacking(advice.into()));
    };
    let run = more.run.as_deref().unwrap_or("bulkhead-probe");
    let wanted = Wanted {
        side: Side::A,
        environment: if differs == Differs::Environment { other } else { own },
        workflow: if differs == Differs::Workflow { OTHER } else { WORKFLOW },
        run: if differs == Differs::Run { OTHER } else { run },
        label: differs.label(),
    };
    desk.token(lab, &wanted).await
}

async fn check(
    spot: &Spot,
    place: &dyn Place,
    desk: &Desk<'_>,
    lab: &Lab,
    trial: &mut Trial,
) -> Result<(), Halt> {
    let never = lab.canaries.never_planted(Side::A);
    let owner = minted(desk, lab, Differs::Nothing).await?;
    let canary = lab.canary(Side::A, place.name());
    let planted = place.plant(lab, &owner, &canary.text).await?;
    let own = place.read(lab, &owner, &planted, &Twist::none()).await?;
    trial.positive(canary.seen_in(&own).is_some(), "its owner finds it");
    for differs in apart(spot.what) {
        let other = minted(desk, lab, *differs).await?;
        works(place, lab, trial, (&other, *differs, &planted)).await?;
        let read = place.read(lab, &other, &planted, &Twist::none()).await?;
        trial.negative(never.seen_in(&read).is_none(), "what was never planted is not found");
        match read.accepted() || read.refused() {
            true => trial.attacked(),
            false => trial.doubt(format!("{} was answered {}", other.label, read.status())),
        }
        if let Some(seen) = canary.seen_in(&read) {
            let what = format!("{} reads it", other.label);
            trial.leaked(&what, &seen, &[&planted.exchange, &read]);
        }
    }
    let after = place.read(lab, &owner, &planted, &Twist::none()).await?;
    trial.positive(canary.seen_in(&after).is_some(), "its owner finds it still");
    trial.summary(format!("not there for {} other credentials of its own", apart(spot.what).len()));
    Ok(())
}

/// A credential that can do nothing at all would be refused, too: it has to do this at its own place.
async fn works(
    place: &dyn Place,
    lab: &Lab,
    trial: &mut Trial,
    (by, differs, _): (&Caller, Differs, &Planted),
) -> Result<(), Halt> {
    // The state of the run of the path is what another run's credential must not reach.
    if differs == Differs::Run {
        return Ok(());
    }
    let canary = lab.canary(Side::A, place.name());
    let planted = place.plant(lab, by, &canary.text).await?;
    let read = place.read(lab, by, &planted, &Twist::none()).await?;
    trial.positive(canary.seen_in(&read).is_some(), format!("{} finds its own", by.label));
    place.remove(lab, by, &planted).await?;
    Ok(())
}
