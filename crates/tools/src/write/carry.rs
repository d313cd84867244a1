//! What a person allowed and Bulkhead itself does, where a contract says so: under the scope of whoever asked,
//! whatever became of its token. It is due from the decision on until its outcome is on record. Whatever
//! dies in between, the next look takes it up; that it is done once is the approval's own matter.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use gate::Gate;
use ids::{Millis, RandomId, planted};
use reviews::{Due, State};
use scope::{Entry, Mandate, Scope, SystemScope, Write};
use tokio::time::Instant;

use crate::{
    Error, Progress, Tools,
    hop::Inner,
    write::{
        APPROVED, intent,
        ledger::Row,
        resume::{AT_ONCE, DOUBLINGS, LONGEST},
    },
};

/// Between one attempt and the next, of what could not be done at that moment; it doubles with each.
const PAUSE: Duration = Duration::from_secs(60);
/// Mandates that lie ready: one may be redeemed, and the process die, before another is written.
const MANDATES: usize = 2;
/// Between attempts to note that it is begun, where too much waits for the store: the mandate is spent.
const BUSY: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(500), Duration::from_secs(2)];

/// What can come of an approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stands {
    /// It is on its way, or somebody edited what it was of.
    Waits,
    /// What it allows can be done, or is under way.
    Allows,
    /// Nothing more.
    Over,
}

impl Inner {
    /// Mandates to carry out what is approved, as many as there are to be.
    pub(crate) fn mandates(
        &self,
        asker: &Scope<Write>,
        mut left: Vec<Mandate>,
        life: Duration,
    ) -> Result<Vec<Mandate>, Error> {
        let most = if planted::is("tools-approved-one-mandate") { 1 } else { MANDATES };
        while left.len() < most {
            left.push(self.parts.doors.mandate(asker, APPROVED, life)?);
        }
        Ok(left)
    }

    /// The scope of whoever asked, and the mandates that are left; nothing where it is not to be had
    /// now, or at no time: then it is due no more.
    async fn asker(
        &self,
        system: &SystemScope,
        due: &Due,
    ) -> Result<Option<(Scope<Write>, Vec<Mandate>)>, Error> {
        let mut why = scope::Error::Revoked;
        for (nth, mandate) in due.mandates.iter().enumerate() {
            match self.parts.doors.redeem(mandate, APPROVED).await {
                Ok(asker) if due.is_of(&asker) => {
                    return Ok(Some((asker, due.mandates[nth + 1..].to_vec())));
                }
                Ok(_) => why = scope::Error::Tenant,
                Err(scope::Error::Suspended | scope::Error::Unavailable(_)) => return Ok(None),
                Err(error) => why = error,
            }
        }
        let entry = Entry::denied("bulkhead", "tool.approved", due.id, why.code())
            .because("nobody may carry out any more what was approved");
        if let Err(error) = self.parts.audit.record_deployment(system, entry).await {
            tracing::error!(%error, "that an approval was not carried out is not in the audit log");
        }
        self.parts.reviews.over(system, due).await?;
        Ok(None)
    }

    /// Notes that it is begun, and by what it is begun the next time.
    async fn begun(
        &self,
        system: &SystemScope,
        due: &Due,
        mandates: Vec<Mandate>,
        next: Millis,
    ) -> Result<Option<Due>, Error> {
        let reviews = &self.parts.reviews;
        for pause in BUSY {
            match reviews.begun(system, due, mandates.clone(), next).await {
                Err(reviews::Error::Store(store::Error::Busy)) => tokio::time::sleep(pause).await,
                noted => return Ok(noted?),
            }
        }
        Ok(reviews.begun(system, due, mandates, next).await?)
    }

    /// As it is on record, whatever an attempt answered: a disk that is full for a minute ends nothing.
    async fn stands(&self, asker: &Scope<Write>, id: RandomId) -> Result<Stands, Error> {
        let review = match self.parts.reviews.of(asker).record(id).await {
            Ok(review) => review,
            Err(reviews::Error::Missing) => return Ok(Stands::Over),
            Err(error) => return Err(error.into()),
        };
        let used_for = match (review.state, &review.used_for) {
            (State::Open, _) => return Ok(Stands::Waits),
            (State::Approved, _) => return Ok(Stands::Allows),
            (State::Used, Some(intent)) => self.row_of(asker, intent).await?,
            _ => None,
        };
        Ok(match used_for.as_ref().and_then(Row::state) {
            Some(intent::State::Pending { .. } | intent::State::Sent { .. }) => Stands::Allows,
            _ => Stands::Over,
        })
    }
}

impl Tools {
    /// Carries out what is due: what a person allowed, and a crash cut off, or could not be done when it
    /// was allowed. At start, and now and then. Nobody waits for another's upstream.
    ///
    /// # Errors
    /// Rows cannot be read.
    pub async fn carry_out_due(&self, gate: &Gate, system: &SystemScope) -> Result<(), Error> {
        let owing = self.0.parts.reviews.owing(system).await?;
        let turns = stream::iter(owing).map(|whose| self.carry_out_of(gate, system, whose));
        turns
            .buffer_unordered(AT_ONCE)
            .for_each(|turn| {
                if let Err(error) = turn {
                    tracing::error!(code = error.code(), %error, "what is due could not be looked up");
                }
                std::future::ready(())
            })
            .await;
        Ok(())
    }

    /// The turn of one tenant's environment.
    async fn carry_out_of(
        &self,
        gate: &Gate,
        system: &SystemScope,
        whose: Vec<u8>,
    ) -> Result<(), Error> {
        let (began, mut after) = (Instant::now(), None);
        loop {
            let (all, last) = self.0.parts.reviews.due_of(system, &whose, after).await?;
            if last.is_none() {
                return Ok(());
            }
            after = last;
            for due in all {
                if began.elapsed() >= LONGEST {
                    return Ok(());
                }
                if due.next <= self.0.parts.clock.now() {
                    let id = due.id;
                    if let Err(error) = self.carry(gate, system, due).await {
                        told(id, &error);
                    }
                }
            }
        }
    }

    /// Carries out what this review of the scope's tenant allows, if that is due: nobody has to come back
    /// for it.
    ///
    /// # Errors
    /// Rows cannot be read or written.
    pub async fn carry_out(
        &self,
        gate: &Gate,
        system: &SystemScope,
        scope: &Scope<Write>,
        review: RandomId,
    ) -> Result<(), Error> {
        match self.0.parts.reviews.due(system, scope, review).await? {
            Some(due) => self.carry(gate, system, due).await,
            None => Ok(()),
        }
    }

    async fn carry(&self, gate: &Gate, system: &SystemScope, due: Due) -> Result<(), Error> {
        let (inner, id) = (&self.0, due.id);
        let reviews = &inner.parts.reviews;
        let Some((asker, left)) = inner.asker(system, &due).await? else { return Ok(()) };
        let now = inner.parts.clock.now();
        // At once: the mandate that was there is spent.
        let mandates = inner.mandates(&asker, left, due.expires.since(now))?;
        let next = now.plus(PAUSE * 2_u32.pow(due.looks.min(DOUBLINGS)));
        let Some(due) = inner.begun(system, &due, mandates, next).await? else { return Ok(()) };
        if planted::is("tools-approved-forgotten-early") {
            reviews.over(system, &due).await?;
        }
        if inner.stands(&asker, id).await? == Stands::Allows {
            // What was sent by then goes on, and the next look finds what it came to.
            let done = tokio::time::timeout(LONGEST, self.as_approved(gate, &asker, id));
            if let Ok(Err(error)) = done.await {
                told(id, &error);
                if planted::is("tools-approved-tried-once") {
                    return Ok(reviews.over(system, &due).await?);
                }
            }
        }
        // Until its outcome is on record, or it is allowed no more.
        if inner.stands(&asker, id).await? == Stands::Over {
            reviews.over(system, &due).await?;
        }
        Ok(())
    }

    async fn as_approved(
        &self,
        gate: &Gate,
        asker: &Scope<Write>,
        review: RandomId,
    ) -> Result<(), Error> {
        let prepared = self.prepare_approved(asker, review).await?;
        let hop = prepared.hop(asker);
        let call = |pass| self.call(asker, pass, prepared, Progress::none());
        gate.pass(asker, hop, call).await.map(drop)
    }
}

fn told(review: RandomId, error: &Error) {
    tracing::warn!(%review, code = error.code(), "what was approved could not be carried out");
}
