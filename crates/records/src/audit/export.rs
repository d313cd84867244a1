//! Exports: a log, or a part of it, that anybody can verify without us.

use ids::text;
use serde::{Deserialize, Serialize};

use super::{
    Hash, Log, Verdict,
    chain::beginning,
    log::{MOST, Opened},
    note::verify_note,
    verify::{Broken, Seen, Walk},
};
use crate::Error;

const FORMAT: &str = "bulkhead-audit-1";

/// A body that was not erased.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportedBody {
    /// In hexadecimal.
    pub salt: String,
    /// Exactly the text that was committed to; itself JSON.
    pub text: String,
}

/// An entry of an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportedEntry {
    /// Its number.
    pub seq: u64,
    /// SHA-256 of salt and text.
    pub commitment: Hash,
    /// Absent after an erasure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<ExportedBody>,
    /// Whether the body is there but its key was destroyed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shredded: bool,
}

/// A log, or a part of it, with its signed head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Export {
    /// `bulkhead-audit-1`.
    pub format: String,
    /// Of which log.
    pub origin: String,
    /// The number of the entry before the first one here; 0 for a whole log.
    pub after: u64,
    /// The link of that entry.
    pub link: Hash,
    /// The entries.
    pub entries: Vec<ExportedEntry>,
    /// The signed head of the log when it was exported.
    pub note: String,
}

impl Log<'_> {
    /// Exports entries behind number `after`, at most `limit` and 10,000.
    ///
    /// # Errors
    /// What the store or the vault answers; [`Error::Unreadable`] if there is no such entry.
    pub async fn export(&self, after: u64, limit: usize) -> Result<Export, Error> {
        let note = self.head().await?;
        let link = match after {
            0 => beginning(self.origin()),
            _ => self.row(after).await?.ok_or(Error::Unreadable("no such entry"))?.link,
        };
        let opened = self.opened(after, note.size, limit.min(MOST)).await?;
        let entries = opened.into_iter().map(|(seq, commitment, opened)| {
            let (body, shredded) = match opened {
                Opened::Open { salt, text } => {
                    let text = String::from_utf8(text).map_err(|_| Error::Damaged("an entry"))?;
                    (Some(ExportedBody { salt: text::hex(&salt), text }), false)
                }
                Opened::Missing => (None, false),
                Opened::Shredded => (None, true),
            };
            Ok(ExportedEntry { seq, commitment, body, shredded })
        });
        Ok(Export {
            format: FORMAT.to_owned(),
            origin: self.origin().to_owned(),
            after,
            link,
            entries: entries.collect::<Result<_, Error>>()?,
            note: note.text,
        })
    }
}

/// Verifies an export against a verifier key of the log. Needs nothing of a deployment.
///
/// # Errors
/// [`Error::Unreadable`] for what is no export or no verifier key. What is wrong with the
/// chain is no error, but a [`Verdict::Broken`].
pub fn verify_export(export: &[u8], verifier_key: &str) -> Result<Verdict, Error> {
    let export: Export =
        serde_json::from_slice(export).map_err(|_| Error::Unreadable("an export"))?;
    if export.format != FORMAT {
        return Err(Error::Unreadable("an export of another format"));
    }
    let says = verify_note(&export.note, verifier_key)?;
    let mut walk = Walk::from(export.after, export.link);
    let start = export.after == 0 && export.link != beginning(&export.origin);
    if start || says.origin != export.origin {
        return Ok(Verdict::Broken(walk.broken("the signed note is of another log")));
    }
    for entry in &export.entries {
        let salt = entry.body.as_ref().map(|body| text::unhex(&body.salt).unwrap_or_default());
        let seen = match (&entry.body, &salt, entry.shredded) {
            (Some(body), Some(salt), _) => Seen::Open { salt, text: body.text.as_bytes() },
            (_, _, true) => Seen::Shredded,
            _ => Seen::Missing,
        };
        if let Err(broken) = walk.step(entry.seq, &entry.commitment, None, &seen) {
            return Ok(Verdict::Broken(broken));
        }
        if walk.seq == says.size && walk.link != says.root {
            let why = "the signed note says otherwise: an entry up to here was exchanged";
            return Ok(Verdict::Broken(Broken { seq: walk.seq, why }));
        }
    }
    if walk.seq > says.size {
        let why = "it is beyond the signed note";
        return Ok(Verdict::Broken(Broken { seq: says.size + 1, why }));
    }
    let complete = walk.seq == says.size;
    if complete && walk.link != says.root {
        return Ok(Verdict::Broken(Broken {
            seq: walk.seq,
            why: "the signed note says otherwise",
        }));
    }
    if complete {
        walk.notes = 1;
    }
    Ok(walk.finish(complete))
}
