//! What is stored and asked: tenants by Zipf's law, and vectors that lie as embeddings do, all from one seed.

use serde_json::{Map, Value, json};

/// Of every vector.
pub(crate) const DIMENSIONS: usize = 384;
/// Of everything: the same data in every run.
const SEED: u64 = 0x6275_6c6b_6865_6164;
/// What texts are about. All tenants write about some of them, so that each crowds the others.
const TOPICS: usize = 64;
/// How many of them a tenant writes about.
const TOPICS_OF_A_TENANT: u64 = 12;
/// Directions in which texts about one topic differ: what embeddings have is far less than their dimensions.
const DIRECTIONS: usize = 24;
/// How far they differ in these, and in all others, beside a topic's length of 1.
const SPREAD: f32 = 0.9;
const NOISE: f32 = 0.3;
/// Points beyond this are no points, but queries.
const QUERIES: u64 = 1 << 40;

/// A small generator: splitmix64 (Steele, Lea, Flood 2014).
pub(crate) struct Random(u64);

impl Random {
    /// Of its own for each use, tenant and point.
    pub(crate) fn of(parts: [u64; 3]) -> Self {
        let mut own = Self(SEED);
        for part in parts {
            own.0 ^= part.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            own.0 = own.next();
        }
        own
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// About normal, of variance 1: the sum of four even ones.
    #[expect(clippy::cast_precision_loss, reason = "16 bits each")]
    fn normal(&mut self) -> f32 {
        let bits = self.next();
        let sum: u64 = (0..4).map(|at| (bits >> (16 * at)) & 0xffff).sum();
        (sum as f32 / 65_536.0 - 2.0) * 3.0_f32.sqrt()
    }
}

/// All tenants' data; made when it is asked for.
pub(crate) struct Data {
    /// Points of each tenant, the largest first.
    pub(crate) sizes: Vec<u64>,
    topics: Vec<Vec<f32>>,
    directions: Vec<Vec<f32>>,
}

impl Data {
    /// Tenant number `n` has `largest / n^exponent` points, and at least `least`.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "sizes far below 2^52"
    )]
    pub(crate) fn new(tenants: usize, largest: u64, exponent: f64, least: u64) -> Self {
        let size = |rank: usize| (largest as f64 / (rank as f64).powf(exponent)) as u64;
        let even = |kind, count: usize| {
            let one = |nth| {
                let mut random = Random::of([kind, nth as u64, 0]);
                normalized((0..DIMENSIONS).map(|_| random.normal()).collect())
            };
            (0..count).map(one).collect()
        };
        Self {
            sizes: (1..=tenants).map(|rank| size(rank).max(least)).collect(),
            topics: even(1, TOPICS),
            directions: even(2, DIRECTIONS),
        }
    }

    /// Points of all.
    pub(crate) fn points(&self) -> u64 {
        self.sizes.iter().sum()
    }

    /// The tenant whose size is nearest to this one.
    pub(crate) fn about(&self, size: u64) -> usize {
        let far = |tenant: &usize| self.sizes[*tenant].abs_diff(size);
        (0..self.sizes.len()).min_by_key(far).unwrap_or(0)
    }

    /// The vector of a point, of length 1.
    pub(crate) fn vector(&self, tenant: usize, point: u64) -> Vec<f32> {
        let mut random = Random::of([3, tenant as u64, point]);
        let nth = random.below(TOPICS_OF_A_TENANT);
        let topic = Random::of([4, tenant as u64, nth]).below(TOPICS as u64);
        let mut vector = self.topics[usize::try_from(topic).unwrap_or(0)].clone();
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let (spread, noise) =
            (SPREAD / (DIRECTIONS as f32).sqrt(), NOISE / (DIMENSIONS as f32).sqrt());
        for direction in &self.directions {
            let far = spread * random.normal();
            vector.iter_mut().zip(direction).for_each(|(x, d)| *x += far * d);
        }
        vector.iter_mut().for_each(|x| *x += noise * random.normal());
        normalized(vector)
    }

    /// The vector of a query, as near to the tenant's points as these are to each other.
    pub(crate) fn query(&self, tenant: usize, nth: u64) -> Vec<f32> {
        self.vector(tenant, QUERIES + nth)
    }

    /// The body of an upsert of some points.
    pub(crate) fn upsert(&self, tenant: usize, points: std::ops::Range<u64>) -> String {
        let mut body = String::from(r#"{"points":["#);
        for id in points {
            let point = json!({
                "id": id,
                "vector": self.vector(tenant, id),
                "payload": payload(tenant, id),
            });
            if !body.ends_with('[') {
                body.push(',');
            }
            body.push_str(&point.to_string());
        }
        body.push_str("]}");
        body
    }
}

/// Of a point: a text, which is a content field and sealed, and three fields to filter by.
fn payload(tenant: usize, id: u64) -> Map<String, Value> {
    let text = "The customer asked when the open invoice is due and was told the date. ";
    let fields = [
        ("page_content", json!(format!("{tenant}/{id}: {}", text.repeat(4)))),
        ("source", json!(format!("doc-{}", id / 10))),
        ("language", json!(["en", "de", "fr"][usize::try_from(id % 3).unwrap_or(0)])),
        ("year", json!(2_015 + id % 12)),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn normalized(mut vector: Vec<f32>) -> Vec<f32> {
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    vector.iter_mut().for_each(|x| *x /= length);
    vector
}
