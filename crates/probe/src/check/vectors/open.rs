//! Without a credential nothing is answered: also where the one credential is the application's.

use super::{direction, rng};
use crate::{
    canary::Side,
    drive::vectors::{MARK, Point, Store, send},
    lab::{Caller, Lab},
    target::Credential,
    verdict::{Halt, Trial},
};

pub(super) async fn check(lab: &Lab, store: &Store, trial: &mut Trial) -> Result<(), Halt> {
    let (mark, never) = (lab.canary(Side::A, "points"), lab.canaries.never_planted(Side::A));
    let query = direction(&mut rng(lab), store.size);
    let point = Point::new(query.clone()).with(MARK, mark.text.as_str());
    store.put(lab, Side::A, &[point]).await?;
    let body = store.nearest(Side::A, &query, 10, None);
    let request = store.post(Side::A, "/points/query", &body);
    let own = send(lab, lab.caller(Side::A), request.clone()).await?;
    trial.positive(mark.seen_in(&own).is_some(), "the application finds its own point");
    trial.negative(never.seen_in(&own).is_none(), "what was never planted is not found");
    let nonsense = Credential::shown_as("nonsense-nonsense-nonsense".to_owned(), "nonsense");
    let nonsense = Caller { label: "nonsense".into(), credential: Some(nonsense), ..lab.nobody() };
    for by in [lab.nobody(), nonsense] {
        let exchange = send(lab, &by, request.clone()).await?;
        if let Some(seen) = mark.seen_in(&exchange) {
            trial.leaked(&format!("{} is served", by.label), &seen, &[&own, &exchange]);
        }
        match exchange.inconclusive() {
            true => trial.doubt(format!("{} was answered with {}", by.label, exchange.status())),
            false => trial.attacked(),
        }
    }
    trial.summary("refused without the application's credential");
    Ok(())
}
