//! Where intents lie: sealed under the tenant's key, in its partition; those under way in the
//! deployment's, too, each with the mandate by which it is looked up after a crash.
//!
//! A row is its version (8 bytes, big-endian) and the sealed intent. It is changed by comparing
//! and setting, in one transaction: of two that want to go first, one does.

use std::{sync::OnceLock, time::Duration};

use bytes::Bytes;
use ids::{Millis, RandomId, planted};
use scope::{Mandate, Scope, SystemScope, Write};
use serde::{Deserialize, Serialize};
use store::{File, Range};
use vault::Place;
use zeroize::Zeroizing;

use crate::{
    Error,
    hop::Inner,
    write::{
        BY_ID, INTENTS, OPEN, PINS, RECEIPTS, RECONCILE,
        intent::{Intent, Key, State},
    },
};

/// What intents of one tenant's environment take at most, in bytes.
const MOST_BYTES: u64 = 1 << 30;
/// A day.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest that a mandate may wait, in days.
const MANDATE_DAYS: u32 = 90;
/// What a row takes besides the intent, for the store's cap on a commit.
const BESIDES: usize = 1_024;

/// A row as it was read.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) key: Key,
    raw: Option<Bytes>,
    version: u64,
    pub(crate) intent: Option<Intent>,
}

impl Row {
    /// How it stands.
    pub(crate) fn state(&self) -> Option<&State> {
        self.intent.as_ref().map(|intent| &intent.state)
    }
}

/// An intent that is under way, in the deployment's partition.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Opened {
    /// Of the intent, in hexadecimal digits.
    pub(crate) key: String,
    pub(crate) mandate: Mandate,
    /// How often it was looked up.
    pub(crate) looks: u32,
    /// When it is looked up next.
    pub(crate) next: Millis,
}

/// What keys in [`OPEN`] begin with: the partition of whose they are.
pub(crate) const WHOSE: usize = 32;
/// The rest of such a key, at its greatest.
const LAST: [u8; 16] = [0xff; 16];

/// The key of a row in [`OPEN`]: whose it is, and which.
pub(crate) fn open_key(scope: &Scope<Write>, id: &RandomId) -> Vec<u8> {
    [&scope.partition_bytes()[..], id.as_bytes()].concat()
}

const fn place(key: &Key, version: u64) -> Place<'_> {
    Place { surface: "tool-intent", key: &key.0, version }
}

/// The scope whose rows these are.
fn owner(scope: &Scope<Write>) -> Scope<Write> {
    if planted::is("tools-intent-across-tenants") {
        static FIRST: OnceLock<Scope<Write>> = OnceLock::new();
        return FIRST.get_or_init(|| scope.clone()).clone();
    }
    scope.clone()
}

impl Inner {
    /// What is known of a write.
    pub(crate) async fn row(&self, scope: &Scope<Write>, key: Key) -> Result<Row, Error> {
        let scope = &owner(scope);
        let found = self.parts.store.of(scope).get(INTENTS, &key.0).await?;
        let Some(raw) = found else { return Ok(Row { key, raw: None, version: 0, intent: None }) };
        let (version, sealed) = raw.split_first_chunk().ok_or(vault::Error::Foreign)?;
        let version = u64::from_be_bytes(*version);
        let plain = self.parts.vault.of(scope).open(&place(&key, version), sealed).await?;
        let intent = serde_json::from_slice(&plain)
            .map_err(|_| vault::Error::Malformed("not an intent of this version"))?;
        Ok(Row { key, version, intent: Some(intent), raw: Some(raw) })
    }

    /// The row of the intent with this id.
    pub(crate) async fn row_of(
        &self,
        scope: &Scope<Write>,
        id: &RandomId,
    ) -> Result<Option<Row>, Error> {
        let key = self.parts.store.of(&owner(scope)).get(BY_ID, id.as_bytes()).await?;
        let Some(key) = key.and_then(|key| key.as_ref().try_into().ok()) else { return Ok(None) };
        let row = self.row(scope, Key(key)).await?;
        Ok(row.intent.as_ref().is_some_and(|intent| intent.id == *id).then_some(row))
    }

    /// Puts an intent in place of what was read, durably; what stands there then. Nothing is
    /// changed and nothing returned if somebody else changed it meanwhile.
    pub(crate) async fn replace(
        &self,
        scope: &Scope<Write>,
        row: &Row,
        intent: Intent,
    ) -> Result<Option<Row>, Error> {
        let scope = &owner(scope);
        let (key, version) = (row.key, row.version + 1);
        let plain =
            Zeroizing::new(serde_json::to_vec(&intent).map_err(|_| Error::Internal("an intent"))?);
        let sealed = self.parts.vault.of(scope).seal(&place(&key, version), &plain).await?;
        let raw = Bytes::from([&version.to_be_bytes()[..], &sealed].concat());
        let receipt = self.sealed_receipt(scope, &intent).await?;
        let (before, after, id) = (row.raw.clone(), raw.clone(), intent.id);
        let expires = self.parts.clock.now().plus(DAY * self.settings.limits.intent_days);
        let most = self.settings.limits.intents;
        // What goes out next must not go out for whoever was revoked while it waited.
        let must_live = matches!(intent.state, State::Sent { .. }).then(|| scope.clone());
        let cost = after.len() + BESIDES;
        let won = self.parts.store.of(scope).write(File::State, cost, move |txn| {
            if let Some(scope) = must_live {
                scope.live()?;
            }
            if txn.get(INTENTS, &key.0)? != before {
                return Ok::<_, Error>(false);
            }
            if before.is_none() {
                let used = txn.usage(INTENTS)?;
                if used.rows >= most || used.bytes >= MOST_BYTES {
                    return Err(Error::IntentsFull(most));
                }
            }
            txn.put_until(INTENTS, &key.0, &after, expires)?;
            txn.put_until(BY_ID, id.as_bytes(), &key.0, expires)?;
            if let Some((place, receipt)) = receipt {
                txn.put_until(RECEIPTS, &place, &receipt, expires)?;
            }
            Ok(true)
        });
        let won = won.await?;
        Ok(won.then(|| Row { key, raw: Some(raw), version, intent: Some(intent) }))
    }

    /// Whether there is room for another intent, before anything is noted of it. That it is so is
    /// asked again in the transaction that writes it.
    pub(crate) async fn has_room(&self, scope: &Scope<Write>, row: &Row) -> Result<(), Error> {
        let used = self.parts.store.of(scope).usage(INTENTS).await?;
        let most = self.settings.limits.intents;
        match row.raw.is_none() && (used.rows >= most || used.bytes >= MOST_BYTES) {
            true => Err(Error::IntentsFull(most)),
            false => Ok(()),
        }
    }

    /// As [`Self::replace`], where nobody else may have changed it: it is this caller's turn.
    pub(crate) async fn advance(
        &self,
        scope: &Scope<Write>,
        row: &Row,
        intent: Intent,
    ) -> Result<Row, Error> {
        self.replace(scope, row, intent).await?.ok_or(Error::InFlight)
    }

    /// Notes an intent as under way, durably, with a mandate under this scope.
    pub(crate) async fn note_open(
        &self,
        scope: &Scope<Write>,
        id: &RandomId,
        key: Key,
        (looks, next): (u32, Millis),
    ) -> Result<(), Error> {
        let life = DAY * self.settings.limits.intent_days.min(MANDATE_DAYS);
        let mandate = self.parts.doors.mandate(scope, RECONCILE, life)?;
        let opened = Opened { key: ids::text::hex(&key.0), mandate, looks, next };
        let row = serde_json::to_vec(&opened).map_err(|_| Error::Internal("an intent"))?;
        let expires = self.parts.clock.now().plus(life);
        let view = self.parts.store.system(&self.parts.system);
        Ok(view.put_until(OPEN, &open_key(scope, id), &row, expires).await?)
    }

    /// Takes it off that list.
    pub(crate) async fn note_closed(&self, scope: &Scope<Write>, id: &RandomId) {
        let view = self.parts.store.system(&self.parts.system);
        if let Err(error) = view.delete(OPEN, &open_key(scope, id)).await {
            // It is found settled when it is looked up.
            tracing::warn!(%error, intent = %id, "a settled write stays on the list of open ones");
        }
    }

    /// Takes all of a tenant's environment off that list, and its pins: it is being erased.
    pub(crate) async fn forget_open(&self, scope: &Scope<Write>) -> Result<u64, Error> {
        let view = self.parts.store.system(&self.parts.system);
        loop {
            let range = Range::prefix(&scope.partition_bytes()[..]).limit(256);
            let rows = view.scan(PINS, range).await?;
            if rows.is_empty() {
                break;
            }
            for (key, _) in rows {
                view.delete(PINS, &key).await?;
            }
        }
        let mut gone = 0;
        loop {
            let range = Range::prefix(&scope.partition_bytes()[..]).limit(256);
            let rows = view.scan(OPEN, range).await?;
            if rows.is_empty() {
                return Ok(gone);
            }
            for (key, _) in rows {
                gone += u64::from(view.delete(OPEN, &key).await?);
            }
        }
    }

    /// Whose intents are under way: each partition once.
    pub(crate) async fn owing(&self, system: &SystemScope) -> Result<Vec<Vec<u8>>, Error> {
        let (view, mut all) = (self.parts.store.system(system), Vec::<Vec<u8>>::new());
        loop {
            let mut range = Range::all().limit(1);
            if let Some(last) = all.last() {
                // Past all that this one has: it may have more than anybody wants to read here.
                range = range.after([&last[..], &LAST].concat());
            }
            let rows = view.scan(OPEN, range).await?;
            let Some((key, _)) = rows.first() else { return Ok(all) };
            all.push(key.get(..WHOSE).unwrap_or(key).to_vec());
        }
    }

    /// Intents under way of one of them, behind this one.
    pub(crate) async fn opened(
        &self,
        system: &SystemScope,
        whose: &[u8],
        after: Option<Bytes>,
    ) -> Result<Vec<(Bytes, Bytes)>, Error> {
        let mut range = Range::prefix(whose).limit(256);
        if let Some(after) = after {
            range = range.after(after.to_vec());
        }
        Ok(self.parts.store.system(system).scan(OPEN, range).await?)
    }
}
