//! Points: an id, vectors, a payload.

use std::{collections::BTreeMap, fmt};

use ids::Millis;
use serde_json::{Map, Value};

use crate::Error;

/// Counts the writes of a collection, from 1. A point's version is the write that made it so.
pub type Seq = u64;

/// What a point carries besides its vectors: any JSON object.
pub type Payload = Map<String, Value>;

/// A keyed digest of an end user's id within the tenant: what index and rows know of them.
pub type Subject = [u8; 16];

/// Vectors by name; the one without a name is `""`.
pub type Vectors = BTreeMap<String, Vector>;

/// The id of a point within its collection, in Qdrant's order: numbers, then UUIDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PointId {
    /// An unsigned number.
    Num(u64),
    /// A UUID, of any version.
    Uuid([u8; 16]),
}

impl PointId {
    /// How rows are named: in the order of ids.
    #[must_use]
    pub fn key(&self) -> Vec<u8> {
        match self {
            Self::Num(n) => [&[0_u8][..], &n.to_be_bytes()].concat(),
            Self::Uuid(bytes) => [&[1_u8][..], bytes].concat(),
        }
    }

    /// The id that a key names.
    ///
    /// # Errors
    /// No key of ours.
    pub fn of_key(key: &[u8]) -> Result<Self, Error> {
        match key.split_first() {
            Some((0, n)) => {
                let n = n.try_into().map_err(|_| Error::Damaged)?;
                Ok(Self::Num(u64::from_be_bytes(n)))
            }
            Some((1, bytes)) => Ok(Self::Uuid(bytes.try_into().map_err(|_| Error::Damaged)?)),
            _ => Err(Error::Damaged),
        }
    }

    /// As JSON has it: a number, or the UUID with hyphens in lower case.
    #[must_use]
    pub fn json(&self) -> Value {
        match self {
            Self::Num(n) => Value::from(*n),
            Self::Uuid(_) => Value::from(self.to_string()),
        }
    }
}

impl fmt::Display for PointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Num(n) => write!(f, "{n}"),
            Self::Uuid(bytes) => {
                let hex = ids::text::hex(bytes);
                let (a, b, c) = (&hex[..8], &hex[8..12], &hex[12..16]);
                write!(f, "{a}-{b}-{c}-{}-{}", &hex[16..20], &hex[20..])
            }
        }
    }
}

/// A vector.
#[derive(Clone, PartialEq)]
pub enum Vector {
    /// One number per dimension.
    Dense(Vec<f32>),
    /// The dimensions that are not zero, ascending, and their values.
    Sparse {
        /// Which ones.
        indices: Vec<u32>,
        /// As many.
        values: Vec<f32>,
    },
    /// Several dense ones of one size, as late interaction has them.
    Multi(Vec<Vec<f32>>),
}

impl fmt::Debug for Vector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Vectors tell what they were made from.
        match self {
            Self::Dense(values) => write!(f, "Dense({})", values.len()),
            Self::Sparse { indices, .. } => write!(f, "Sparse({})", indices.len()),
            Self::Multi(rows) => write!(f, "Multi({})", rows.len()),
        }
    }
}

/// A point as its row has it: the truth.
#[derive(Clone, PartialEq)]
pub struct Point {
    /// Its id.
    pub id: PointId,
    /// The write that made it so.
    pub version: Seq,
    /// Its vectors. Those of a cosine space are normalized when they are written, as Qdrant does.
    pub vectors: Vectors,
    /// Its payload, whole.
    pub payload: Payload,
    /// Whose it is within the tenant; nobody's alone if absent.
    pub subject: Option<Subject>,
    /// From when on it is not there any more.
    pub expires: Option<Millis>,
}

impl fmt::Debug for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Point({}, version {})", self.id, self.version)
    }
}
