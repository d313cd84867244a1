//! What a crash, or an upstream that was out of reach, left open: looked up under the mandate that
//! was written down with it, and never sent again.

use std::{ops::AddAssign, time::Duration};

use futures_util::{StreamExt as _, future, stream};
use scope::{Entry, Mandate, Scope, SystemScope, Write};
use tokio::time::Instant;

use crate::{
    Error,
    hop::Inner,
    write::{
        RECONCILE,
        intent::{Key, State},
        ledger::{Opened, open_key},
        reconcile::Settled,
    },
};

/// Between the first look at an intent and the next; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
/// Doublings of it: at the most, half a day.
pub(crate) const DOUBLINGS: u32 = 10;
/// How many tenants' environments have their turn at once; each looks at one intent at a time.
pub(crate) const AT_ONCE: usize = 16;
/// How long a look takes at most, and how far into a turn one begins: whoever's upstream hangs holds
/// up what else is its own, and the next pass goes on with that.
pub(crate) const LONGEST: Duration = Duration::from_secs(15);

/// What became of intents that were open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resumed {
    /// Found to be done.
    pub confirmed: u64,
    /// Found not to be done, or never sent.
    pub failed: u64,
    /// Still not known: a person is asked, or a later look finds out.
    pub unknown: u64,
    /// Not looked at now: under way, not due, of a tenant that is suspended, or behind others of its
    /// own that took too long.
    pub left: u64,
    /// Of nobody any more: erased, revoked, or expired.
    pub dropped: u64,
}

impl AddAssign for Resumed {
    fn add_assign(&mut self, other: Self) {
        let Self { confirmed, failed, unknown, left, dropped } = other;
        self.confirmed += confirmed;
        self.failed += failed;
        self.unknown += unknown;
        self.left += left;
        self.dropped += dropped;
    }
}

enum Fate {
    Confirmed,
    Failed,
    Unknown,
    Left,
    Dropped,
}

impl Inner {
    /// Goes through all of them once. Nobody waits for another's upstream.
    pub(crate) async fn resume(&self, system: &SystemScope) -> Result<Resumed, Error> {
        let owing = self.owing(system).await?;
        let turns = stream::iter(owing).map(|whose| self.resume_of(system, whose));
        let turns = turns.buffer_unordered(AT_ONCE).fold(Ok(Resumed::default()), |all, turn| {
            // What cannot be read is said when all others had their turn.
            future::ready(match (all, turn) {
                (Ok(mut all), Ok(turn)) => {
                    all += turn;
                    Ok(all)
                }
                (Err(error), _) | (_, Err(error)) => Err(error),
            })
        });
        turns.await
    }

    /// The turn of one partition: its intents one after another.
    async fn resume_of(&self, system: &SystemScope, whose: Vec<u8>) -> Result<Resumed, Error> {
        let (mut all, mut after) = (Resumed::default(), None);
        let began = Instant::now();
        loop {
            let rows = self.opened(system, &whose, after).await?;
            let Some((last, _)) = rows.last() else { return Ok(all) };
            after = Some(last.clone());
            for (place, row) in &rows {
                if began.elapsed() >= LONGEST {
                    all.left += 1;
                    continue;
                }
                let fate = self.resume_one(system, place, row).await.unwrap_or_else(|error| {
                    tracing::error!(%error, "an open write could not be looked up");
                    Fate::Left
                });
                *match fate {
                    Fate::Confirmed => &mut all.confirmed,
                    Fate::Failed => &mut all.failed,
                    Fate::Unknown => &mut all.unknown,
                    Fate::Left => &mut all.left,
                    Fate::Dropped => &mut all.dropped,
                } += 1;
            }
        }
    }

    async fn resume_one(
        &self,
        system: &SystemScope,
        place: &[u8],
        row: &[u8],
    ) -> Result<Fate, Error> {
        let opened: Opened =
            serde_json::from_slice(row).map_err(|_| Error::Internal("an open write"))?;
        let key = ids::text::unhex(&opened.key).and_then(|key| key.try_into().ok());
        let Some(key) = key.map(Key) else { return Err(Error::Internal("an open write")) };
        let Some(_turn) = self.under_way.enter(key) else { return Ok(Fate::Left) };
        if self.parts.clock.now() < opened.next {
            return Ok(Fate::Left);
        }
        let Some(scope) = self.redeemed(system, place, &opened.mandate).await? else {
            let gone = self.parts.store.system(system).get(super::OPEN, place).await?.is_none();
            return Ok(if gone { Fate::Dropped } else { Fate::Left });
        };
        let found = self.row(&scope, key).await?;
        let Some(intent) = &found.intent else {
            return self.closed(system, place, Fate::Failed).await;
        };
        let id = intent.id;
        // The mandate says whose it is, and the row's place has to say the same.
        if open_key(&scope, &id) != place {
            return self.closed(system, place, Fate::Dropped).await;
        }
        match intent.state {
            State::Sent { .. } | State::Unknown { .. } => {}
            State::Confirmed { .. } => return self.closed(system, place, Fate::Confirmed).await,
            _ => return self.closed(system, place, Fate::Failed).await,
        }
        // At once: the mandate that was there is spent.
        let pause = FIRST_PAUSE * 2_u32.pow(opened.looks.min(DOUBLINGS));
        let next = self.parts.clock.now().plus(pause);
        self.note_open(&scope, &id, key, (opened.looks.saturating_add(1), next)).await?;
        Ok(match self.settle(&scope, found, Some(LONGEST)).await? {
            Settled::Confirmed { .. } => Fate::Confirmed,
            Settled::Failed => Fate::Failed,
            Settled::Unknown => Fate::Unknown,
        })
    }

    async fn closed(&self, system: &SystemScope, place: &[u8], fate: Fate) -> Result<Fate, Error> {
        self.parts.store.system(system).delete(super::OPEN, place).await?;
        Ok(fate)
    }

    /// The scope of a mandate; nothing where it is not to be had now, or, when the row is gone
    /// then, at no time.
    async fn redeemed(
        &self,
        system: &SystemScope,
        place: &[u8],
        mandate: &Mandate,
    ) -> Result<Option<Scope<Write>>, Error> {
        let error = match self.parts.doors.redeem(mandate, RECONCILE).await {
            Ok(scope) => return Ok(Some(scope)),
            Err(scope::Error::Suspended | scope::Error::Unavailable(_)) => return Ok(None),
            Err(error) => error,
        };
        tracing::warn!(%error, "nobody may look up an open write any more");
        let entry = Entry::denied("bulkhead", "tool.reconcile", "open writes", error.code())
            .because(error.to_string());
        if let Err(error) = self.parts.audit.record_deployment(system, entry).await {
            tracing::error!(%error, "an open write that was dropped is not in the audit log");
        }
        self.parts.store.system(system).delete(super::OPEN, place).await?;
        Ok(None)
    }

    /// When the next look is due at the latest, for whoever has them done.
    pub(crate) const fn pause() -> Duration {
        FIRST_PAUSE
    }
}

#[cfg(test)]
mod tests {
    use ids::Millis;

    use super::*;

    #[test]
    fn pauses_end_at_half_a_day() {
        let longest = FIRST_PAUSE * 2_u32.pow(DOUBLINGS);
        assert!(longest <= Duration::from_secs(12 * 3_600), "{longest:?}");
        assert!(Millis(0).plus(longest) > Millis(0));
    }
}
