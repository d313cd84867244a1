//! What a collection is made of.

use std::collections::BTreeMap;

use ids::Millis;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{CollectionName, Error, Seq, Vector, request::quoted};

/// How near two vectors are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "as Qdrant has them")]
pub enum Distance {
    Cosine,
    Euclid,
    Dot,
    Manhattan,
}

/// The graph that ranks a large collection (HNSW).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hnsw {
    /// Edges per node.
    pub m: usize,
    /// Neighbours considered while it is built.
    pub ef_construct: usize,
}

impl Default for Hnsw {
    fn default() -> Self {
        Self { m: 16, ef_construct: 100 }
    }
}

/// A space of dense vectors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dense {
    /// Dimensions.
    pub size: usize,
    /// How near two are.
    pub distance: Distance,
    /// Several vectors a point, compared by the sum of best matches (`max_sim`).
    #[serde(default)]
    pub multi: bool,
}

/// A space of sparse vectors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sparse {
    /// Weighs terms by how rare they are in this collection, which is one tenant's own.
    #[serde(default)]
    pub idf: bool,
}

/// What a collection's points have, and what they can be filtered by fast.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Schema {
    /// Dense and multi-vectors by name; `""` is the one without.
    pub vectors: BTreeMap<String, Dense>,
    /// Sparse vectors by name.
    pub sparse: BTreeMap<String, Sparse>,
    /// Of all dense vectors' graphs.
    #[serde(default)]
    pub hnsw: Hnsw,
    /// Payload indexes by field: Qdrant's `field_schema`, checked.
    #[serde(default)]
    pub indexes: BTreeMap<String, Value>,
    /// What the caller keeps with the collection.
    #[serde(default)]
    pub metadata: Map<String, Value>,
}

/// A collection as its row has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Collection {
    /// Its name within the tenant's environment.
    pub name: CollectionName,
    /// Drawn when it is made: one of the same name made later is another collection.
    pub incarnation: [u8; 16],
    /// What it is made of.
    pub schema: Schema,
    /// Rises when the schema changes.
    pub revision: Seq,
    /// When it was made.
    pub created: Millis,
}

impl Schema {
    /// # Errors
    /// No vector of a collection's has this name.
    pub fn check_name(&self, name: &str) -> Result<(), Error> {
        if self.vectors.contains_key(name) || self.sparse.contains_key(name) {
            return Ok(());
        }
        let name = quoted(name);
        Err(Error::Invalid(format!("Wrong input: Not existing vector name error: {name}")))
    }

    /// # Errors
    /// No vector has this name, or those of this name are of another kind or size.
    pub fn check_vector(&self, name: &str, vector: &Vector) -> Result<(), Error> {
        self.check_name(name)?;
        let wrong = |what: String| {
            let name = quoted(name);
            Err(Error::Invalid(format!("Wrong input: Vector {name}: {what}")))
        };
        let (have, want) = match (vector, self.vectors.get(name)) {
            (Vector::Sparse { .. }, None) => return Ok(()),
            (Vector::Dense(values), Some(space)) if !space.multi => (values.len(), space.size),
            (Vector::Multi(rows), Some(space)) if space.multi => {
                let other = rows.iter().map(Vec::len).find(|have| *have != space.size);
                if rows.is_empty() {
                    return wrong("expected at least one row".into());
                }
                (other.unwrap_or(space.size), space.size)
            }
            (_, Some(space)) if space.multi => return wrong("expected a list of vectors".into()),
            (_, Some(_)) => return wrong("expected a list of numbers".into()),
            (_, None) => return wrong("expected `indices` and `values`".into()),
        };
        if have != want {
            return wrong(format!("dimension error: expected dim: {want}, got {have}"));
        }
        Ok(())
    }
}
