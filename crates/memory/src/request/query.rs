//! What is asked, in Qdrant's words.

use std::fmt;

use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::{
    Bounds, Count, Example, Facet, Filter, Fusion, Given, Groups, Order, Query, Rank, Retrieve,
    Scroll, Show, ShowPayload, ShowVectors, Strategy, paths,
    reading::{self, Met, Object, OneOrMany, Only, Read, Reader, Refused, Step, object, too_large},
    vectors::{NO_ID, Spelled, uuid},
};
use crate::{Error, PointId};

/// Qdrant's, where a request does not say.
const LIMIT: usize = 10;
const GROUP_SIZE: usize = 3;
const DIVERSITY: f32 = 0.5;
const RRF_K: usize = 2;

/// Most candidates of MMR: every one is compared with every other.
const CANDIDATES: usize = 1_000;

/// Statistics of terms over the whole collection, as they are.
pub(super) struct WholeCorpus;

impl Met for WholeCorpus {
    fn met(value: &Value) -> bool {
        value == "global"
    }
}

/// Nothing of quantized vectors, of which there are none.
pub(super) struct NoAcorn;

impl Met for NoAcorn {
    fn met(value: &Value) -> bool {
        value.get("enable") == Some(&Value::Bool(false))
            && value.as_object().is_some_and(|fields| fields.len() == 1)
    }
}

object! {
    /// How the engine searches.
    Params {
        "hnsw_ef" => hnsw_ef: Option<usize>,
        "exact" => exact: Option<bool>,
        "indexed_only" => indexed_only: Option<bool>,
        "quantization" => _quantization: Refused,
        "acorn" => _acorn: Only<NoAcorn>,
        "idf" => _idf: Only<WholeCorpus>,
    }
}

object! {
    /// Near and unlike each other.
    Mmr {
        "diversity" => diversity: Option<f32>,
        "candidates_limit" => candidates_limit: Option<usize>,
    }
}

object! {
    /// Like some and unlike others.
    Recommend {
        "positive" => positive: Option<Vec<Example>>,
        "negative" => negative: Option<Vec<Example>>,
        "strategy" => strategy: Option<String>,
    }
}

object! {
    /// Reciprocal ranks.
    Rrf {
        "k" => k: Option<usize>,
        "weights" => weights: Option<Vec<f32>>,
    }
}

object! {
    /// All kinds of queries, and vectors that stand where a query does.
    Asked {
        "nearest" => nearest: Option<Example>,
        "mmr" => mmr: Option<Mmr>,
        "recommend" => recommend: Option<Recommend>,
        "order_by" => order_by: Option<Order>,
        "fusion" => fusion: Option<String>,
        "rrf" => rrf: Option<Rrf>,
        "discover" => _discover: Refused,
        "context" => _context: Refused,
        "formula" => _formula: Refused,
        "defaults" => _defaults: Refused,
        "sample" => _sample: Refused,
        "relevance_feedback" => _relevance_feedback: Refused,
        "indices" => indices: Option<Vec<u32>>,
        "values" => values: Option<Vec<f32>>,
        "text" => text: Option<String>,
        "model" => model: Option<String>,
        "options" => options: Option<Map<String, Value>>,
        "image" => _image: Refused,
        "object" => _object: Refused,
    }
}

object! {
    /// A sub-query.
    Prefetch {
        "prefetch" => prefetch: Option<Prefetches>,
        "query" => query: Option<Kind>,
        "using" => using: Option<String>,
        "filter" => filter: Option<Filter>,
        "params" => params: Option<Params>,
        "score_threshold" => score_threshold: Option<f32>,
        "limit" => limit: Option<usize>,
        "lookup_from" => _lookup_from: Refused,
    }
}

object! {
    /// A query.
    Root {
        "shard_key" => _shard_key: Refused,
        "prefetch" => prefetch: Option<Prefetches>,
        "query" => query: Option<Kind>,
        "using" => using: Option<String>,
        "filter" => filter: Option<Filter>,
        "params" => params: Option<Params>,
        "score_threshold" => score_threshold: Option<f32>,
        "limit" => limit: Option<usize>,
        "offset" => offset: Option<usize>,
        "with_vector" | "with_vectors" => with_vector: Option<ShowVectors>,
        "with_payload" => with_payload: Option<ShowPayload>,
        "lookup_from" => _lookup_from: Refused,
    }
}

object! {
    /// A query whose results are put into groups.
    GroupsBody {
        "shard_key" => _shard_key: Refused,
        "prefetch" => prefetch: Option<Prefetches>,
        "query" => query: Option<Kind>,
        "using" => using: Option<String>,
        "filter" => filter: Option<Filter>,
        "params" => params: Option<Params>,
        "score_threshold" => score_threshold: Option<f32>,
        "with_vector" | "with_vectors" => with_vector: Option<ShowVectors>,
        "with_payload" => with_payload: Option<ShowPayload>,
        "lookup_from" => _lookup_from: Refused,
        "group_by" => group_by: String,
        "group_size" => group_size: Option<usize>,
        "limit" => limit: Option<usize>,
        "with_lookup" => _with_lookup: Refused,
    }
}

object! {
    /// Queries.
    BatchBody {
        "searches" => searches: Vec<Counted>,
    }
}

object! {
    /// A page.
    ScrollBody {
        "shard_key" => _shard_key: Refused,
        "offset" => offset: Option<PointId>,
        "limit" => limit: Option<usize>,
        "filter" => filter: Option<Filter>,
        "with_payload" => with_payload: Option<ShowPayload>,
        "with_vector" | "with_vectors" => with_vector: Option<ShowVectors>,
        "order_by" => order_by: Option<Order>,
    }
}

object! {
    /// How many.
    CountBody {
        "shard_key" => _shard_key: Refused,
        "filter" => filter: Option<Filter>,
        "exact" => exact: Option<bool>,
    }
}

object! {
    /// Values of a field.
    FacetBody {
        "shard_key" => _shard_key: Refused,
        "key" => key: String,
        "limit" => limit: Option<usize>,
        "filter" => filter: Option<Filter>,
        "exact" => exact: Option<bool>,
    }
}

object! {
    /// Points by their ids.
    RetrieveBody {
        "shard_key" => _shard_key: Refused,
        "ids" => ids: Vec<PointId>,
        "with_payload" => with_payload: Option<ShowPayload>,
        "with_vector" | "with_vectors" => with_vector: Option<ShowVectors>,
    }
}

/// A query of a batch.
pub(super) struct Counted(Root);

impl Read for Counted {
    fn read<'de, D: Deserializer<'de>>(reader: &Reader<'_>, from: D) -> Result<Self, D::Error> {
        reader.counted(reading::Count::Queries)?;
        Root::read(reader, from).map(Self)
    }
}

/// Sub-queries: one or several.
pub(super) struct Prefetches(Vec<Query>);

impl Read for Prefetches {
    fn read<'de, D: Deserializer<'de>>(reader: &Reader<'_>, from: D) -> Result<Self, D::Error> {
        // As deep as it is allowed, whatever is found there.
        let depth = reader.enter().map_err(|error| reader.fail(error))?;
        let OneOrMany(all) = OneOrMany::<Prefetch>::read(reader, from)?;
        reader.leave(depth);
        let each = all.into_iter().map(|prefetch| prefetch.query(reader));
        each.collect::<Result<_, _>>().map(Self).map_err(|error| reader.fail(error))
    }
}

/// How to rank: one of the kinds, or a vector or id to which the nearest are asked for.
pub(super) struct Kind(Rank);

impl Read for Kind {
    fn read<'de, D: Deserializer<'de>>(reader: &Reader<'_>, from: D) -> Result<Self, D::Error> {
        struct Any<'r, 'b>(&'r Reader<'b>);
        impl<'de> Visitor<'de> for Any<'_, '_> {
            type Value = Rank;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a query, a vector, a document or a point's id")
            }

            fn visit_u64<E: serde::de::Error>(self, id: u64) -> Result<Rank, E> {
                Ok(Rank::Nearest(Example::Id(PointId::Num(id))))
            }

            fn visit_str<E: serde::de::Error>(self, id: &str) -> Result<Rank, E> {
                match uuid(id) {
                    Some(id) => Ok(Rank::Nearest(Example::Id(id))),
                    None => Err(self.0.fail(self.0.invalid(NO_ID))),
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Rank, A::Error> {
                let list = serde::de::value::SeqAccessDeserializer::new(list);
                Given::read(self.0, list).map(|given| Rank::Nearest(Example::Given(given)))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Rank, A::Error> {
                let asked = Asked::fields(self.0, map)?;
                rank(self.0, asked).map_err(|error| self.0.fail(error))
            }
        }
        from.deserialize_any(Any(reader)).map(Self)
    }
}

fn rank(reader: &Reader<'_>, asked: Asked) -> Result<Rank, Error> {
    let spelled = Spelled {
        indices: asked.indices,
        values: asked.values,
        text: asked.text,
        model: asked.model,
        options: asked.options,
        _image: Refused,
        _object: Refused,
    };
    let nearest = match (asked.nearest, asked.mmr) {
        (Some(example), None) => Some(Ok(Rank::Nearest(example))),
        (Some(example), Some(mmr)) => Some(self::mmr(reader, example, &mmr)),
        (None, Some(_)) => Some(Err(reader.invalid("`mmr` stands beside `nearest`"))),
        (None, None) => None,
    };
    let kinds = [
        spelled.given(reader)?.map(|given| Ok(Rank::Nearest(Example::Given(given)))),
        nearest,
        asked.recommend.map(|it| recommend(reader, it)),
        asked.order_by.map(|order| Ok(Rank::OrderBy(order))),
        asked.fusion.map(|name| fusion(reader, &name)),
        asked.rrf.map(|it| rrf(reader, it)),
    ];
    let mut there = kinds.into_iter().flatten();
    match (there.next(), there.next()) {
        (Some(one), None) => one,
        _ => Err(reader
            .invalid("expected one of nearest, recommend, order_by, fusion, rrf, or a vector")),
    }
}

fn mmr(reader: &Reader<'_>, nearest: Example, mmr: &Mmr) -> Result<Rank, Error> {
    let diversity = mmr.diversity.unwrap_or(DIVERSITY);
    if !(0.0..=1.0).contains(&diversity) {
        return Err(reader.invalid("`diversity` is a number from 0 to 1"));
    }
    if let Some(candidates) = mmr.candidates_limit {
        positive(reader, "candidates_limit", candidates)?;
        if candidates > CANDIDATES {
            return Err(too_large("candidates_limit of mmr", candidates, CANDIDATES));
        }
    }
    Ok(Rank::Mmr { nearest, diversity, candidates: mmr.candidates_limit })
}

fn recommend(reader: &Reader<'_>, recommend: Recommend) -> Result<Rank, Error> {
    let strategy = match recommend.strategy.as_deref() {
        None | Some("average_vector") => Strategy::AverageVector,
        Some("best_score") => Strategy::BestScore,
        Some("sum_scores") => Strategy::SumScores,
        Some(_) => {
            return Err(
                reader.invalid("`strategy` is one of average_vector, best_score, sum_scores")
            );
        }
    };
    let positive = recommend.positive.unwrap_or_default();
    let negative = recommend.negative.unwrap_or_default();
    match strategy {
        Strategy::AverageVector if positive.is_empty() => {
            return Err(reader.invalid("average_vector needs a positive example at least"));
        }
        _ if positive.is_empty() && negative.is_empty() => {
            return Err(reader.invalid("recommend needs an example at least"));
        }
        _ => {}
    }
    Ok(Rank::Recommend { positive, negative, strategy })
}

fn fusion(reader: &Reader<'_>, name: &str) -> Result<Rank, Error> {
    match name {
        "rrf" => Ok(Rank::Fusion(Fusion::Rrf { k: RRF_K, weights: None })),
        "dbsf" => Ok(Rank::Fusion(Fusion::Dbsf)),
        _ => Err(reader.invalid("`fusion` is one of rrf, dbsf")),
    }
}

fn rrf(reader: &Reader<'_>, rrf: Rrf) -> Result<Rank, Error> {
    let k = rrf.k.unwrap_or(RRF_K);
    positive(reader, "k", k)?;
    if rrf.weights.iter().flatten().any(|weight| *weight < 0.0) {
        return Err(reader.invalid("`weights` are numbers from 0 on"));
    }
    Ok(Rank::Fusion(Fusion::Rrf { k, weights: rrf.weights }))
}

fn positive(reader: &Reader<'_>, field: &'static str, number: usize) -> Result<(), Error> {
    match number {
        0 => Err(reader.invalid(&format!("`{field}` is a number from 1 on"))),
        _ => Ok(()),
    }
}

/// At least one and at most as many as are allowed, with those that are left out before.
fn limit(reader: &Reader<'_>, limit: Option<usize>, offset: usize) -> Result<usize, Error> {
    let limit = limit.unwrap_or(LIMIT);
    positive(reader, "limit", limit)?;
    let (all, bound) = (limit.saturating_add(offset), reader.bounds.results);
    if all > bound {
        return Err(too_large("limit and offset of a query", all, bound));
    }
    Ok(limit)
}

const NOTHING: Show = Show { payload: ShowPayload::All(false), vectors: ShowVectors::All(false) };

impl Prefetch {
    fn query(self, reader: &Reader<'_>) -> Result<Query, Error> {
        reader.count(reading::Count::Prefetches, 1)?;
        let root = Root {
            _shard_key: Refused,
            prefetch: self.prefetch,
            query: self.query,
            using: self.using,
            filter: self.filter,
            params: self.params,
            score_threshold: self.score_threshold,
            limit: self.limit,
            offset: None,
            with_vector: None,
            with_payload: None,
            _lookup_from: Refused,
        };
        root.query(reader)
    }
}

impl Root {
    fn query(self, reader: &Reader<'_>) -> Result<Query, Error> {
        let rank = self.query.map(|Kind(rank)| rank);
        let prefetch = self.prefetch.map(|Prefetches(all)| all).unwrap_or_default();
        if rank.is_none() && !prefetch.is_empty() {
            return Err(reader.invalid("a `query` is needed to merge the prefetches"));
        }
        if let Some(Rank::Fusion(_)) = rank {
            if prefetch.is_empty() {
                return Err(reader.invalid("a fusion needs a `prefetch`"));
            }
            if self.using.is_some() {
                return Err(reader.invalid("a fusion is of no vector: leave out `using`"));
            }
        }
        let offset = self.offset.unwrap_or(0);
        let limit = limit(reader, self.limit, offset)?;
        if let Some(Rank::Mmr { candidates: None, .. }) = rank
            && limit + offset > CANDIDATES
        {
            return Err(too_large("limit and offset of mmr", limit + offset, CANDIDATES));
        }
        let params = self.params.as_ref();
        let ef = params.and_then(|params| params.hnsw_ef);
        if let Some(ef) = ef {
            positive(reader, "hnsw_ef", ef)?;
            if ef > reader.bounds.results {
                return Err(too_large("hnsw_ef", ef, reader.bounds.results));
            }
        }
        Ok(Query {
            prefetch,
            rank,
            using: self.using.unwrap_or_default(),
            filter: self.filter,
            score_threshold: self.score_threshold,
            limit,
            offset,
            ef,
            exact: params.and_then(|params| params.exact).unwrap_or(false),
            indexed_only: params.and_then(|params| params.indexed_only).unwrap_or(false),
            show: show(NOTHING, self.with_payload, self.with_vector),
        })
    }
}

fn show(default: Show, payload: Option<ShowPayload>, vectors: Option<ShowVectors>) -> Show {
    Show {
        payload: payload.unwrap_or(default.payload),
        vectors: vectors.unwrap_or(default.vectors),
    }
}

/// What is shown of points that were asked for by themselves.
const PAYLOAD: Show = Show { payload: ShowPayload::All(true), vectors: ShowVectors::All(false) };

/// A query.
///
/// # Errors
/// What is wrong, by name.
pub fn parse_query(body: &[u8], bounds: &Bounds) -> Result<Query, Error> {
    let reader = Reader::new(bounds);
    reader.body::<Root>(body)?.query(&reader)
}

/// Queries, at most as many as a batch may have.
///
/// # Errors
/// What is wrong, by name.
pub fn parse_queries(body: &[u8], bounds: &Bounds) -> Result<Vec<Query>, Error> {
    let reader = &Reader::new(bounds);
    let BatchBody { searches } = reader.body(body)?;
    let each = searches.into_iter().enumerate();
    let one =
        |(at, Counted(root)): (usize, Counted)| reader.at(Step::Item(at), || root.query(reader));
    reader.at(Step::Field("searches"), || each.map(one).collect())
}

/// A query whose results are put into groups.
///
/// # Errors
/// What is wrong, by name.
pub fn parse_groups(body: &[u8], bounds: &Bounds) -> Result<Groups, Error> {
    let reader = &Reader::new(bounds);
    let body: GroupsBody = reader.body(body)?;
    reader.at(Step::Field("group_by"), || paths::asked(&body.group_by, bounds))?;
    let size = body.group_size.unwrap_or(GROUP_SIZE);
    positive(reader, "group_size", size)?;
    let root = Root {
        _shard_key: Refused,
        prefetch: body.prefetch,
        query: body.query,
        using: body.using,
        filter: body.filter,
        params: body.params,
        score_threshold: body.score_threshold,
        limit: body.limit,
        offset: None,
        with_vector: body.with_vector,
        with_payload: body.with_payload,
        _lookup_from: Refused,
    };
    let query = root.query(reader)?;
    let all = query.limit.saturating_mul(size);
    if all > bounds.results {
        return Err(too_large("limit times group_size", all, bounds.results));
    }
    Ok(Groups { query, by: body.group_by, size })
}

/// A page.
///
/// # Errors
/// What is wrong, by name.
pub fn parse_scroll(body: &[u8], bounds: &Bounds) -> Result<Scroll, Error> {
    let reader = &Reader::new(bounds);
    let body: ScrollBody = reader.body(body)?;
    if body.order_by.is_some() && body.offset.is_some() {
        return Err(reader.invalid("`offset` cannot be used with `order_by`: see `start_from`"));
    }
    Ok(Scroll {
        filter: body.filter,
        offset: body.offset,
        limit: limit(reader, body.limit, 0)?,
        order: body.order_by,
        show: show(PAYLOAD, body.with_payload, body.with_vector),
    })
}

/// How many. Exactly, if it does not say.
///
/// # Errors
/// What is wrong, by name.
pub fn parse_count(body: &[u8], bounds: &Bounds) -> Result<Count, Error> {
    let body: CountBody = Reader::new(bounds).body(body)?;
    Ok(Count { filter: body.filter, exact: body.exact.unwrap_or(true) })
}

/// Values of a field.
///
/// # Errors
/// What is wrong, by name.
pub fn parse_facet(body: &[u8], bounds: &Bounds) -> Result<Facet, Error> {
    let reader = &Reader::new(bounds);
    let body: FacetBody = reader.body(body)?;
    reader.at(Step::Field("key"), || paths::asked(&body.key, bounds))?;
    let limit = limit(reader, body.limit, 0)?;
    let exact = body.exact.unwrap_or(false);
    Ok(Facet { key: body.key, filter: body.filter, limit, exact })
}

/// Points by their ids, at most as many as results.
///
/// # Errors
/// What is wrong, by name.
pub fn parse_retrieve(body: &[u8], bounds: &Bounds) -> Result<Retrieve, Error> {
    let body: RetrieveBody = Reader::new(bounds).body(body)?;
    let (count, bound) = (body.ids.len(), bounds.results);
    if count > bound {
        return Err(too_large("ids of a request", count, bound));
    }
    let show = show(PAYLOAD, body.with_payload, body.with_vector);
    Ok(Retrieve { ids: body.ids, show })
}
