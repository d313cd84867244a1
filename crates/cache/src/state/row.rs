//! How rows are named, and what stands in the head of a key.
//!
//! ```text
//! run       ‖ workflow given?, 1 byte ‖ length, 1 byte ‖ workflow ‖ length, 1 byte ‖ run
//! head      run ‖ key
//! value     head ‖ version, 8 bytes big-endian
//! end       when, 8 bytes big-endian ‖ head
//! ```
//! The run is framed, so that no run begins another one's rows; the key behind it is as the
//! caller wrote it, so that a run's keys stand in their order.

use ids::{Millis, RunId, WorkflowId, planted};

use crate::Error;

/// Says how a head is laid out.
const LAYOUT: u8 = 1;

/// Bytes of one mark in a head.
const MARK: usize = 8 + TAG + 8 + 8 + 8;

/// Bytes of the digest in an `ETag`.
pub(crate) const TAG: usize = 4;

/// Where everything of a run begins.
pub(crate) fn run_prefix(workflow: Option<&WorkflowId>, run: &RunId) -> Vec<u8> {
    let workflow = workflow.filter(|_| !planted::is("state-key-without-workflow"));
    let name = workflow.map_or("", WorkflowId::as_str);
    let mut prefix = Vec::with_capacity(3 + name.len() + run.as_str().len());
    prefix.push(u8::from(workflow.is_some()));
    // Neither is longer than 128 bytes (`ids`).
    for part in [name, run.as_str()] {
        prefix.push(u8::try_from(part.len()).unwrap_or(u8::MAX));
        prefix.extend_from_slice(part.as_bytes());
    }
    prefix
}

/// The run that a head is of.
pub(crate) fn run_of(head: &[u8]) -> Option<&[u8]> {
    let workflow = usize::from(*head.get(1)?);
    let run = usize::from(*head.get(2 + workflow)?);
    head.get(..3 + workflow + run)
}

/// Where the value of a version is.
pub(crate) fn value_key(head: &[u8], version: u64) -> Vec<u8> {
    [head, &version.to_be_bytes()].concat()
}

/// Where it is written when a key ends.
pub(crate) fn end_key(at: Millis, head: &[u8]) -> Vec<u8> {
    [&at.0.to_be_bytes(), head].concat()
}

/// A version of a key, without its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) version: u64,
    /// Of the sealed bytes, which nobody outside can compute: a guess at the value cannot be
    /// held against it.
    pub(crate) tag: [u8; TAG],
    pub(crate) written: Millis,
    pub(crate) expires: Option<Millis>,
    /// Of the value.
    pub(crate) bytes: u64,
}

impl Mark {
    pub(crate) fn is_live(&self, now: Millis) -> bool {
        self.expires.is_none_or(|end| now < end)
    }

    /// A strong `ETag`, in its quotes.
    pub(crate) fn etag(&self) -> String {
        format!("\"v{}-{}\"", self.version, ids::text::hex(&self.tag))
    }

    /// Whether an `ETag` names this version. A weak one never does (RFC 9110 § 13.1.1).
    pub(crate) fn is(&self, etag: &str) -> bool {
        self.etag() == etag
    }
}

/// The versions of a key, newest first; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) latest: Mark,
    pub(crate) earlier: Vec<Mark>,
}

impl Head {
    pub(crate) fn marks(&self) -> impl Iterator<Item = &Mark> {
        std::iter::once(&self.latest).chain(&self.earlier)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut row = Vec::with_capacity(1 + MARK * (1 + self.earlier.len()));
        row.push(LAYOUT);
        for mark in self.marks() {
            row.extend_from_slice(&mark.version.to_be_bytes());
            row.extend_from_slice(&mark.tag);
            row.extend_from_slice(&mark.written.0.to_be_bytes());
            row.extend_from_slice(&mark.expires.map_or(0, |end| end.0).to_be_bytes());
            row.extend_from_slice(&mark.bytes.to_be_bytes());
        }
        row
    }

    pub(crate) fn decode(row: &[u8]) -> Result<Self, Error> {
        let Some((&LAYOUT, marks)) = row.split_first() else { return Err(Error::Damaged) };
        let (marks, rest) = marks.as_chunks::<MARK>();
        let mut marks = marks.iter().map(|mark| {
            let number = |at: usize| {
                let mut bytes = [0; 8];
                bytes.copy_from_slice(&mark[at..at + 8]);
                u64::from_be_bytes(bytes)
            };
            let mut tag = [0; TAG];
            tag.copy_from_slice(&mark[8..8 + TAG]);
            Mark {
                version: number(0),
                tag,
                written: Millis(number(8 + TAG)),
                expires: Some(number(16 + TAG)).filter(|end| *end > 0).map(Millis),
                bytes: number(24 + TAG),
            }
        });
        match marks.next() {
            Some(latest) if rest.is_empty() => Ok(Self { latest, earlier: marks.collect() }),
            _ => Err(Error::Damaged),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(workflow: Option<&str>, run: &str) -> Vec<u8> {
        let workflow = workflow.map(|name| WorkflowId::parse(name).unwrap());
        run_prefix(workflow.as_ref(), &RunId::parse(run).unwrap())
    }

    #[test]
    fn no_run_begins_anothers_rows() {
        let runs = [
            run(None, "r"),
            run(None, "r1"),
            run(Some("r"), "r"),
            run(Some("r"), "1"),
            run(Some("r1"), "r"),
            run(Some("ab"), "c"),
            run(Some("a"), "bc"),
            run(Some(&"w".repeat(63)), &"r".repeat(128)),
        ];
        for (i, one) in runs.iter().enumerate() {
            for (j, other) in runs.iter().enumerate() {
                assert_eq!(other.starts_with(one), i == j, "{one:?} {other:?}");
            }
            assert_eq!(run_of(&[one, &b"a key"[..]].concat()), Some(&one[..]));
        }
    }

    #[test]
    fn a_head_comes_back_as_it_was() {
        let mark = |version| Mark {
            version,
            tag: [1, 2, 3, 4],
            written: Millis(7),
            expires: (version % 2 == 0).then_some(Millis(9)),
            bytes: 11,
        };
        for earlier in [vec![], vec![mark(3)], vec![mark(4), mark(1)]] {
            let head = Head { latest: mark(6), earlier };
            let row = head.encode();
            assert_eq!(Head::decode(&row).unwrap(), head);
            assert!(Head::decode(&row[..row.len() - 1]).is_err());
            assert!(Head::decode(&[&[9], &row[1..]].concat()).is_err());
        }
        for bad in [&b""[..], &[LAYOUT]] {
            assert_eq!(Head::decode(bad).unwrap_err().code(), "internal");
        }
    }

    #[test]
    fn an_etag_names_one_version_strongly() {
        let mark =
            Mark { version: 12, tag: [0xab, 0, 0, 1], written: Millis(1), expires: None, bytes: 1 };
        assert_eq!(mark.etag(), "\"v12-ab000001\"");
        for (etag, names) in [
            ("\"v12-ab000001\"", true),
            ("W/\"v12-ab000001\"", false),
            ("v12-ab000001", false),
            ("\"v12-ab000002\"", false),
            ("\"v13-ab000001\"", false),
            ("*", false),
            ("", false),
        ] {
            assert_eq!(mark.is(etag), names, "{etag}");
        }
    }
}
