//! Reading one log: listing, verifying, signing its head.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ids::Millis;
use scope::{Access, Entry, Read, Scope, SystemScope};
use serde::Serialize;
use store::{Range, Row as StoredRow, Table, Txn};
use vault::Place;

use super::{
    Audit, SURFACE, SignedNote, Told, Verdict,
    chain::{
        AUDIT, AUDIT_HEAD, AUDIT_NOTES, Body, Chain, Head, Row, from_row, head_key, number, to_row,
    },
    verify::{Broken, Seen, Walk},
};
use crate::Error;

/// Rows that are read at a time.
const PAGE: usize = 512;
/// The most entries that one listing or export gives.
pub(crate) const MOST: usize = 10_000;

/// An entry of an audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditEntry {
    /// Its number, from 1.
    pub seq: u64,
    /// When it was written; gone with its body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Millis>,
    /// What it says, unless it was erased.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub entry: Option<Entry>,
}

/// Whose log is read.
enum Whose {
    Unit(Scope<Read>),
    Deployment,
}

/// One log: of a tenant in an environment, or the deployment's own. From [`Audit::of`] and
/// [`Audit::of_deployment`].
#[must_use]
pub struct Log<'a> {
    audit: &'a Audit,
    whose: Whose,
    chain: Chain,
}

/// A body, opened.
pub(crate) enum Opened {
    Open { salt: Vec<u8>, text: Vec<u8> },
    Missing,
    Shredded,
}

impl Opened {
    pub(crate) fn seen(&self) -> Seen<'_> {
        match self {
            Self::Open { salt, text } => Seen::Open { salt, text },
            Self::Missing => Seen::Missing,
            Self::Shredded => Seen::Shredded,
        }
    }
}

impl Audit {
    /// The log of a scope's tenant and environment.
    pub fn of<A: Access>(&self, scope: &Scope<A>) -> Log<'_> {
        let chain = self.chain(Some(*scope.partition_bytes()));
        Log { audit: self, whose: Whose::Unit(scope.read_only()), chain }
    }

    /// The deployment's own log.
    pub fn of_deployment(&self, _system: &SystemScope) -> Log<'_> {
        Log { audit: self, whose: Whose::Deployment, chain: self.chain(None) }
    }
}

impl Log<'_> {
    /// Entries behind number `after`, oldest first, at most `limit` and 10,000.
    ///
    /// # Errors
    /// What the store or the vault answers; [`Error::Damaged`] for what [`Log::verify`] finds.
    pub async fn list(&self, after: u64, limit: usize) -> Result<Vec<AuditEntry>, Error> {
        let range = Range::all().after(after.to_be_bytes()).limit(limit.min(MOST));
        let mut list = Vec::new();
        for (key, row) in self.scan(AUDIT, range).await? {
            let seq = number(&key).ok_or(Error::Damaged("an entry without a number"))?;
            let Row { commitment, body, .. } = from_row(&row)?;
            list.push(match self.open(&commitment.0, body).await? {
                Opened::Open { text, .. } => {
                    let Told { at, entry } = from_row(&text)?;
                    AuditEntry { seq, at: Some(at), entry: Some(entry) }
                }
                Opened::Missing | Opened::Shredded => AuditEntry { seq, at: None, entry: None },
            });
        }
        Ok(list)
    }

    /// Signs the head as it is now.
    ///
    /// # Errors
    /// What the store answers; [`Error::Damaged`] if the head is not of our making.
    pub async fn head(&self) -> Result<SignedNote, Error> {
        let head = self.stored_head().await?;
        Ok(self.audit.signers().sign(&self.chain.origin, head.seq, head.link))
    }

    /// The keys that verify this log's notes, as `verify_note` takes them; newest first.
    #[must_use]
    pub fn verifier_keys(&self) -> Vec<String> {
        self.audit.signers().verifier_keys(&self.chain.origin)
    }

    /// Of which log its notes speak.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.chain.origin
    }

    /// Walks the whole chain: bodies against commitments, commitments against links, links
    /// against the head and every signed note that is kept.
    ///
    /// # Errors
    /// What the store or the vault answers. What is wrong with the chain is no error, but a
    /// [`Verdict::Broken`].
    pub async fn verify(&self) -> Result<Verdict, Error> {
        self.verify_with(None).await
    }

    /// As [`Log::verify`], and against a note that was handed out before: the chain has to
    /// hold what that note signed. This finds a log that was cut off or replaced as a whole.
    ///
    /// # Errors
    /// As [`Log::verify`]; [`Error::Unreadable`] for a note that we did not sign for this log.
    pub async fn verify_since(&self, note: &str) -> Result<Verdict, Error> {
        self.verify_with(Some(note)).await
    }

    async fn verify_with(&self, since: Option<&str>) -> Result<Verdict, Error> {
        let since = match since {
            None => None,
            Some(note) => {
                let says = self.audit.signers().verify(&self.chain.origin, note);
                Some(says.ok_or(Error::Unreadable("a note that was not signed here"))?)
            }
        };
        let mut notes = self.notes().await?.into_iter().peekable();
        let mut walk = Walk::from(0, super::chain::beginning(&self.chain.origin));
        loop {
            let range = Range::all().after(walk.seq.to_be_bytes()).limit(PAGE);
            let rows = self.scan(AUDIT, range).await?;
            if rows.is_empty() {
                break;
            }
            for (key, row) in rows {
                if let Err(broken) = self.step(&mut walk, &key, &row).await? {
                    return Ok(Verdict::Broken(broken));
                }
                while let Some(note) = notes.next_if(|(size, _)| *size <= walk.seq) {
                    if !self.agrees(&mut walk, note) {
                        let why = "the signed note of the log up to this entry says otherwise";
                        return Ok(Verdict::Broken(Broken { seq: walk.seq, why }));
                    }
                }
                if let Some(says) = &since
                    && says.size == walk.seq
                    && says.root != walk.link
                {
                    let why = "the given note says otherwise";
                    return Ok(Verdict::Broken(Broken { seq: walk.seq, why }));
                }
            }
        }
        let counted = notes.map(|(size, _)| size).chain(since.map(|says| says.size)).max();
        if counted.is_some_and(|size| size > walk.seq) {
            return Ok(Verdict::Broken(walk.broken("it is missing: a signed note counts it")));
        }
        self.end(walk).await
    }

    /// Whether a kept note agrees with the chain so far.
    fn agrees(&self, walk: &mut Walk, (size, note): (u64, String)) -> bool {
        let (signers, origin) = (self.audit.signers(), &self.chain.origin);
        match signers.verify(origin, &note) {
            Some(says) => {
                walk.notes += 1;
                size == walk.seq && says.size == walk.seq && says.root == walk.link
            }
            // Its key was retired: it proves nothing any more, for or against.
            None => !signers.claimed(origin, &note),
        }
    }

    /// Holds the end of the walk against the head.
    async fn end(&self, walk: Walk) -> Result<Verdict, Error> {
        // Read after the rows were: entries may have come since, but none may be beyond it.
        let head = match self.stored_head().await {
            Ok(head) => head,
            Err(Error::Damaged(_)) => {
                let why = "the head of the log is not of our making";
                return Ok(Verdict::Broken(Broken { seq: walk.seq, why }));
            }
            Err(error) => return Err(error),
        };
        if head.seq < walk.seq {
            let why = "it is beyond the head: it was inserted";
            return Ok(Verdict::Broken(Broken { seq: head.seq + 1, why }));
        }
        if head.seq > walk.seq && self.row(walk.seq + 1).await?.is_none() {
            return Ok(Verdict::Broken(walk.broken("it is missing")));
        }
        if head.seq == walk.seq && head.link != walk.link {
            let why = "the head of the log says otherwise";
            return Ok(Verdict::Broken(Broken { seq: walk.seq, why }));
        }
        Ok(walk.finish(true))
    }

    async fn step(
        &self,
        walk: &mut Walk,
        key: &[u8],
        row: &[u8],
    ) -> Result<Result<(), Broken>, Error> {
        let (Some(seq), Ok(Row { commitment, link, body })) = (number(key), from_row(row)) else {
            return Ok(Err(walk.broken("it is no entry that we wrote")));
        };
        match self.open(&commitment.0, body).await {
            Ok(opened) => Ok(walk.step(seq, &commitment, Some(&link), &opened.seen())),
            // Tells a gap from a body that was exchanged.
            Err(Error::Vault(vault::Error::Foreign) | Error::Damaged(_)) => {
                let missing = walk.step(seq, &commitment, Some(&link), &Seen::Missing);
                let before = Broken { seq, why: "its body is not the one that was sealed for it" };
                Ok(Err(missing.err().unwrap_or(before)))
            }
            Err(error) => Err(error),
        }
    }

    async fn open(&self, commitment: &[u8; 32], body: Body) -> Result<Opened, Error> {
        let sealed = match body {
            Body::Erased => return Ok(Opened::Missing),
            Body::Clear { salt, text } => {
                return Ok(Opened::Open { salt: salt.0.to_vec(), text: text.into_bytes() });
            }
            Body::Sealed(sealed) => {
                URL_SAFE_NO_PAD.decode(sealed).map_err(|_| Error::Damaged("a sealed body"))?
            }
        };
        let place = Place { surface: SURFACE, key: commitment, version: 0 };
        let vault = &self.audit.0.vault;
        let opened = match &self.whose {
            Whose::Unit(scope) => vault.of(scope).open(&place, &sealed).await,
            Whose::Deployment => {
                vault.of_deployment(&self.audit.0.system).open(&place, &sealed).await
            }
        };
        match opened {
            Ok(plain) => {
                let (salt, text) =
                    plain.split_at_checked(32).ok_or(Error::Damaged("a body without its salt"))?;
                Ok(Opened::Open { salt: salt.to_vec(), text: text.to_vec() })
            }
            Err(vault::Error::Shredded) => Ok(Opened::Shredded),
            Err(error) => Err(error.into()),
        }
    }

    async fn notes(&self) -> Result<Vec<(u64, String)>, Error> {
        let (mut notes, mut range) = (Vec::new(), Range::all());
        loop {
            let rows = self.scan(AUDIT_NOTES, range.clone()).await?;
            let Some((last, _)) = rows.last() else { return Ok(notes) };
            range = range.after(last.to_vec());
            for (key, note) in &rows {
                let size = number(key).ok_or(Error::Damaged("a note without a number"))?;
                notes.push((size, String::from_utf8_lossy(note).into_owned()));
            }
        }
    }

    pub(crate) async fn stored_head(&self) -> Result<Head, Error> {
        let row = self.get(AUDIT_HEAD, head_key()).await?;
        self.chain.parse_head(row.as_deref())
    }

    pub(crate) async fn row(&self, seq: u64) -> Result<Option<Row>, Error> {
        self.get(AUDIT, &seq.to_be_bytes()).await?.map(|row| from_row(&row)).transpose()
    }

    /// The entries behind `after` up to `through`, at most `limit`, opened.
    pub(crate) async fn opened(
        &self,
        after: u64,
        through: u64,
        limit: usize,
    ) -> Result<Vec<(u64, super::Hash, Opened)>, Error> {
        let range = Range::all().after(after.to_be_bytes()).limit(limit.min(MOST));
        let mut entries = Vec::new();
        for (key, row) in self.scan(AUDIT, range).await? {
            let seq = number(&key).ok_or(Error::Damaged("an entry without a number"))?;
            if seq > through {
                break;
            }
            let Row { commitment, body, .. } = from_row(&row)?;
            let opened = self.open(&commitment.0, body).await?;
            entries.push((seq, commitment, opened));
        }
        Ok(entries)
    }

    async fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let store = &self.audit.0.store;
        let row = match &self.whose {
            Whose::Unit(scope) => store.of(scope).get(table, key).await?,
            Whose::Deployment => store.system(&self.audit.0.system).get(table, key).await?,
        };
        Ok(row.map(|row| row.to_vec()))
    }

    async fn scan(&self, table: Table, range: Range) -> Result<Vec<StoredRow>, Error> {
        let store = &self.audit.0.store;
        Ok(match &self.whose {
            Whose::Unit(scope) => store.of(scope).scan(table, range).await?,
            Whose::Deployment => store.system(&self.audit.0.system).scan(table, range).await?,
        })
    }
}

/// Erases some bodies behind `after` up to `through`: how many, and up to which entry.
pub(crate) fn erase(txn: &mut Txn<'_>, after: u64, through: u64) -> Result<(u64, u64), Error> {
    let rows = txn.scan(AUDIT, &Range::all().after(after.to_be_bytes()).limit(64))?;
    let mut erased = 0;
    for (key, row) in &rows {
        let seq = number(key).ok_or(Error::Damaged("an entry without a number"))?;
        if seq > through {
            return Ok((erased, through));
        }
        let mut row: Row = from_row(row)?;
        if matches!(row.body, Body::Sealed(_)) {
            row.body = Body::Erased;
            txn.put(AUDIT, key, &to_row(&row)?)?;
            erased += 1;
        }
    }
    let last = rows.last().and_then(|(key, _)| number(key));
    Ok((erased, last.unwrap_or(through)))
}
