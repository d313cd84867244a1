"""Every way to rank and to filter, with Qdrant's own unmodified client. What is expected is worked out by `ranking`;
meanwhile another tenant has a collection of the same name with the same ids (fixture `shelf`)."""

import math
import uuid

import pytest
from qdrant_client import QdrantClient
from qdrant_client import models as m
from qdrant_client.http.exceptions import UnexpectedResponse
from ranking import Point, by_distribution, diverse, dot, holds, nearest, reciprocal, score
from shelf import SIZE, close, everything, has, query

direct = pytest.mark.direct
near = pytest.approx


# Ranking


@direct
def test_the_nearest(shelf):
    expected = nearest(shelf.mine, query(0))
    close(shelf.ours.query_points(shelf.name, query=query(0)).points, expected[:10])
    page = shelf.ours.query_points(shelf.name, query=query(0), limit=3, offset=4).points
    close(page, expected[4:7])
    exact = m.SearchParams(exact=True, hnsw_ef=64)
    found = shelf.ours.query_points(shelf.name, query=query(0), search_params=exact, limit=100)
    close(found.points, expected)


@direct
def test_what_is_like_a_point_is_not_that_point(shelf):
    expected = [one for one in nearest(shelf.mine, shelf.mine[4].vector) if one[0] != 5]
    close(shelf.ours.query_points(shelf.name, query=5, limit=4).points, expected[:4])


@direct
def test_without_a_query_points_come_by_id(shelf):
    found = shelf.ours.query_points(shelf.name, limit=3).points
    assert [each.id for each in found] == [1, 2, 3]


@direct
def test_recommendations(shelf):
    """The average of what is liked, away from what is not; examples themselves are left out."""
    liked, other = [shelf.mine[0], shelf.mine[1]], shelf.mine[2]

    def unit(vector: list[float]) -> list[float]:
        length = dot(vector, vector) ** 0.5
        return [x / length for x in vector]

    pairs = zip(unit(liked[0].vector), unit(liked[1].vector), unit(other.vector), strict=True)
    target = [2 * (a + b) / 2 - c for a, b, c in pairs]
    rest = [each for each in shelf.mine if each not in (*liked, other)]
    found = shelf.ours.query_points(
        shelf.name,
        query=m.RecommendQuery(recommend=m.RecommendInput(positive=[1, 2], negative=[3])),
        limit=5,
    ).points
    close(found, nearest(rest, target)[:5])


@direct
@pytest.mark.parametrize("strategy", ["best_score", "sum_scores"])
def test_recommendations_by_scores(shelf, strategy):
    found = shelf.ours.query_points(
        shelf.name,
        query=m.RecommendQuery(
            recommend=m.RecommendInput(positive=[query(1), 1], negative=[3], strategy=strategy)
        ),
        limit=20,
    ).points
    like = [query(1), shelf.mine[0].vector]
    rest = [each for each in shelf.mine if each.id not in (1, 3)]

    def worth(each: Point) -> float:
        good = [score("Cosine", one, each.vector) for one in like]
        bad = score("Cosine", shelf.mine[2].vector, each.vector)
        if strategy == "sum_scores":
            return sum(good) - bad
        best = max(good)
        return 0.5 * (best / (1 + abs(best)) + 1) if best > bad else -bad - 1

    ranked = sorted(rest, key=worth, reverse=True)
    if strategy == "sum_scores":
        close(found, [(each.id, worth(each)) for each in ranked])
    else:
        assert shelf.ids(found) == [each.id for each in ranked]


@direct
def test_unlike_each_other(shelf):
    for diversity in (0.0, 0.5, 0.9):
        found = shelf.ours.query_points(
            shelf.name,
            query=m.NearestQuery(
                nearest=query(1), mmr=m.Mmr(diversity=diversity, candidates_limit=8)
            ),
            limit=4,
        ).points
        expected = diverse(shelf.mine, query(1), diversity, 4, 8)
        assert shelf.ids(found) == expected, diversity


def test_by_a_field(shelf):
    shelf.ours.create_payload_index(shelf.name, "n", field_schema="integer")
    by = m.OrderBy(key="n", direction=m.Direction.DESC, start_from=9)
    found = shelf.ours.query_points(shelf.name, query=m.OrderByQuery(order_by=by), limit=3).points
    assert [each.payload["n"] for each in found] == [9, 8, 7]
    page, after = shelf.ours.scroll(shelf.name, order_by="n", limit=4)
    assert [each.payload["n"] for each in page] == [1, 2, 3, 4]
    assert after is None and page[0].order_value == 1
    page, _ = shelf.ours.scroll(
        shelf.name, order_by=m.OrderBy(key="n", direction="desc", start_from=3)
    )
    assert [each.payload["n"] for each in page] == [3, 2, 1]


def test_by_a_field_without_an_index_is_refused(shelf):
    with pytest.raises(UnexpectedResponse, match="index") as raised:
        shelf.ours.scroll(shelf.name, order_by="n")
    assert raised.value.status_code == 400


@direct
def test_fusion(shelf):
    lists = [nearest(shelf.mine, query(seed))[:6] for seed in (0, 1)]
    prefetch = [m.Prefetch(query=query(seed), limit=6) for seed in (0, 1)]
    ids = [[one for one, _ in each] for each in lists]

    def fused(by: object) -> dict:
        found = shelf.ours.query_points(shelf.name, prefetch=prefetch, query=by, limit=20).points
        scores = [each.score for each in found]
        assert scores == sorted(scores, reverse=True)
        return {each.id: each.score for each in found}

    assert fused(m.FusionQuery(fusion=m.Fusion.RRF)) == near(reciprocal(ids), rel=1e-3)
    assert fused(m.RrfQuery(rrf=m.Rrf(k=60))) == near(reciprocal(ids, 60), rel=1e-3)
    weighed = m.RrfQuery(rrf=m.Rrf(weights=[3.0, 1.0]))
    assert fused(weighed) == near(reciprocal(ids, weights=[3, 1]), rel=1e-3)
    assert fused(m.FusionQuery(fusion=m.Fusion.DBSF)) == near(by_distribution(lists), rel=2e-3)


@direct
def test_a_prefetch_is_ranked_again(shelf):
    """The six nearest to one, of which the three nearest to another, of which the order by a third."""
    inner = m.Prefetch(query=query(0), limit=6)
    outer = m.Prefetch(prefetch=[inner], query=query(1), limit=3)
    found = shelf.ours.query_points(shelf.name, prefetch=outer, query=query(2)).points
    by = {each.id: each for each in shelf.mine}
    six = [by[one] for one, _ in nearest(shelf.mine, query(0))[:6]]
    three = [by[one] for one, _ in nearest(six, query(1))[:3]]
    close(found, nearest(three, query(2)))


@direct
def test_prefetches_have_filters_thresholds_and_limits_of_their_own(shelf):
    wanted = m.Filter(must=[has("city", value="Rome")])
    rome = [each for each in shelf.mine if each.payload["city"] == "Rome"]
    first, second = nearest(rome, query(0)), nearest(shelf.mine, query(1))
    threshold = (second[1][1] + second[2][1]) / 2
    found = shelf.ours.query_points(
        shelf.name,
        prefetch=[
            m.Prefetch(query=query(0), filter=wanted, limit=2),
            m.Prefetch(query=query(1), score_threshold=threshold),
        ],
        query=m.FusionQuery(fusion=m.Fusion.RRF),
    ).points
    ids = [[one for one, _ in first[:2]], [one for one, _ in second[:2]]]
    assert {each.id: each.score for each in found} == near(reciprocal(ids), rel=1e-3)


@direct
def test_several_queries_at_once(shelf):
    wanted = m.Filter(must_not=[m.HasIdCondition(has_id=[1, 2, 3])])
    found = shelf.ours.query_batch_points(
        shelf.name,
        requests=[
            m.QueryRequest(query=query(0), limit=2),
            m.QueryRequest(query=query(1), filter=wanted, limit=3, with_payload=True),
            m.QueryRequest(query=4, limit=1),
        ],
    )
    left = [each for each in shelf.mine if each.id not in (1, 2, 3)]
    close(found[0].points, nearest(shelf.mine, query(0))[:2])
    close(found[1].points, nearest(left, query(1))[:3])
    like = [one for one in nearest(shelf.mine, shelf.mine[3].vector) if one[0] != 4]
    close(found[2].points, like[:1])
    assert found[1].points[0].payload and not found[0].points[0].payload


@direct
def test_groups(shelf):
    found = shelf.ours.query_points_groups(
        shelf.name, group_by="city", query=query(1), limit=2, group_size=2
    ).groups
    expected: dict[str, list] = {}
    by = {each.id: each for each in shelf.mine}
    for one in nearest(shelf.mine, query(1)):
        expected.setdefault(by[one[0]].payload["city"], []).append(one)
    assert [each.id for each in found] == list(expected)[:2]
    for each in found:
        close(each.hits, expected[each.id][:2])


@direct
def test_pages(shelf):
    seen, offset = [], None
    while True:
        page, offset = shelf.ours.scroll(shelf.name, limit=5, offset=offset)
        seen += [each.id for each in page]
        if offset is None:
            break
        assert len(page) == 5
    numbers = sorted(one for one in seen if isinstance(one, int))
    assert seen[:10] == numbers == list(range(1, 11))
    assert sorted(map(str, seen)) == sorted(str(each.id) for each in shelf.mine)


def test_facets(shelf):
    for field, schema in (("city", "keyword"), ("n", "integer"), ("in_stock", "bool")):
        shelf.ours.create_payload_index(shelf.name, field, field_schema=schema)
    shelf.ours.delete(shelf.name, points_selector=[3])

    def hits(field: str, **more: object) -> list[tuple]:
        found = shelf.ours.facet(shelf.name, field, **more).hits
        return [(each.value, each.count) for each in found]

    left = [each.payload for each in shelf.mine if each.id != 3]
    counted = {city: sum(each["city"] == city for each in left) for city in ("Oslo", "Rome")}
    assert dict(hits("city", exact=True))["Oslo"] == counted["Oslo"]
    assert len(hits("city", limit=2)) == 2
    counts = [count for _, count in hits("city")]
    assert counts == sorted(counts, reverse=True)
    wanted = m.Filter(must=[m.FieldCondition(key="n", range=m.Range(gt=6))])
    assert dict(hits("in_stock", facet_filter=wanted, exact=True)) == {True: 3, False: 3}
    assert dict(hits("n", facet_filter=wanted, exact=True)) == {n: 1 for n in range(7, 13)}


# Filters


FILTERS = {
    "value": {"must": [{"key": "city", "match": {"value": "Rome"}}]},
    "bool": {"must": {"key": "in_stock", "match": {"value": True}}},
    "any": {"must": [{"key": "city", "match": {"any": ["Rome", "Oslo"]}}]},
    "except": {"must": [{"key": "city", "match": {"except": ["Rome"]}}]},
    "array": {"must": [{"key": "tags", "match": {"value": "t0"}}]},
    "text": {"must": [{"key": "note", "match": {"text": "hill"}}]},
    "range": {"must": [{"key": "price", "range": {"gte": 3, "lt": 12.5}}]},
    "deep": {"must": [{"key": "inner.deep", "match": {"value": 1}}]},
    "elements": {"must": [{"key": "items[].sku", "match": {"value": "s4"}}]},
    "nested": {
        "must": [
            {
                "nested": {
                    "key": "items",
                    "filter": {
                        "must": [
                            {"key": "sku", "match": {"value": "s"}},
                            {"key": "left", "range": {"gte": 2}},
                        ]
                    },
                }
            }
        ]
    },
    "count": {"must": [{"key": "tags", "values_count": {"gte": 2}}]},
    "is_empty": {"must": [{"is_empty": {"key": "price"}}]},
    "is_null": {"must": [{"is_null": {"key": "price"}}]},
    "has_id": {"must": [{"has_id": [1, 5, 77]}]},
    "should": {"should": [{"has_id": [1]}, {"key": "city", "match": {"value": "Rome"}}]},
    "must_not": {"must_not": [{"key": "city", "match": {"value": "Rome"}}]},
    "min_should": {
        "min_should": {
            "conditions": [
                {"key": "city", "match": {"value": "Rome"}},
                {"key": "in_stock", "match": {"value": True}},
                {"key": "n", "range": {"gt": 6}},
            ],
            "min_count": 2,
        }
    },
    "depths": {
        "must": [{"should": [{"must_not": [{"has_id": [1, 2]}]}, {"has_id": [2]}]}],
        "must_not": {"must": [{"key": "n", "range": {"gt": 3}}, {"has_id": [5]}]},
    },
}


@direct
@pytest.mark.parametrize("which", FILTERS)
def test_filters(shelf, which):
    wanted = m.Filter(**FILTERS[which])
    expected = [each for each in shelf.mine if holds(FILTERS[which], each)]
    assert 0 < len(expected) < 12
    assert {each["id"] for each in everything(shelf.theirs, shelf.name)} == {
        each.id for each in shelf.mine
    }
    page, _ = shelf.ours.scroll(shelf.name, scroll_filter=wanted, limit=100)
    assert {each.id for each in page} == {each.id for each in expected}
    assert shelf.ours.count(shelf.name, count_filter=wanted).count == len(expected)
    found = shelf.ours.query_points(shelf.name, query=query(1), query_filter=wanted, limit=20)
    close(found.points, nearest(expected, query(1)))


@direct
def test_places_and_times(shelf):
    circle = m.GeoRadius(center=m.GeoPoint(lon=15.0, lat=52.0), radius=80_000)
    box = m.GeoBoundingBox(
        top_left=m.GeoPoint(lon=15.5, lat=53), bottom_right=m.GeoPoint(lon=18.5, lat=51)
    )
    square = [(15.5, 51), (18.5, 51), (18.5, 53), (15.5, 53), (15.5, 51)]
    ring = m.GeoLineString(points=[m.GeoPoint(lon=lon, lat=lat) for lon, lat in square])
    while_ = m.DatetimeRange(gte="2026-01-03T00:00:00Z", lt="2026-01-05T23:00:00+01:00")
    for condition, expected in (
        (m.FieldCondition(key="place", geo_radius=circle), {1, 2, 3}),
        (m.FieldCondition(key="place", geo_bounding_box=box), {3, 4, 5}),
        (m.FieldCondition(key="place", geo_polygon=m.GeoPolygon(exterior=ring)), {3, 4, 5}),
        (m.FieldCondition(key="when", range=while_), {3, 4, 5}),
    ):
        page, _ = shelf.ours.scroll(shelf.name, scroll_filter=m.Filter(must=[condition]))
        assert {each.payload["n"] for each in page} == expected, condition


# Vectors of every kind


@pytest.fixture
def wide(shelf):
    """Named, multi- and sparse vectors, at both."""
    name = f"wide-{uuid.uuid4().hex[:8]}"
    multi = m.MultiVectorConfig(comparator=m.MultiVectorComparator.MAX_SIM)
    for client in (shelf.ours, shelf.theirs):
        client.create_collection(
            name,
            vectors_config={
                "a": m.VectorParams(size=SIZE, distance=m.Distance.COSINE),
                "b": m.VectorParams(size=4, distance=m.Distance.DOT),
                "mv": m.VectorParams(size=4, distance=m.Distance.DOT, multivector_config=multi),
            },
            sparse_vectors_config={
                "s": m.SparseVectorParams(),
                "idf": m.SparseVectorParams(modifier=m.Modifier.IDF),
            },
        )
    yield name
    for client in (shelf.ours, shelf.theirs):
        client.delete_collection(name)


def words(n: int) -> m.SparseVector:
    """Term 1 stands everywhere, term 2 in every second, terms from 100 on in one only."""
    terms = {1: 0.5 + n / 10, 100 + n: 1.0} | ({2: 1.5 - n / 7} if n % 2 else {})
    return m.SparseVector(indices=sorted(terms), values=[terms[each] for each in sorted(terms)])


def fill(client: QdrantClient, name: str, count: int, seed: int) -> list[dict]:
    given = [
        {
            "a": query(seed + n),
            "b": query(seed + n + 100, 4),
            "mv": [query(seed + n + 200, 4), query(seed + n + 300, 4)],
            "s": words(n),
            "idf": words(n),
        }
        for n in range(count)
    ]
    client.upsert(name, points=[m.PointStruct(id=n, vector=each) for n, each in enumerate(given)])
    return given


def overlap(a: m.SparseVector, b: m.SparseVector, rare: dict[int, float] | None = None) -> float:
    other = dict(zip(b.indices, b.values, strict=True))
    pairs = zip(a.indices, a.values, strict=True)
    return sum(x * other.get(i, 0) * (1 if rare is None else rare[i]) for i, x in pairs)


def ranked(scores: dict[int, float]) -> list[tuple]:
    return sorted(scores.items(), key=lambda one: one[1], reverse=True)


@direct
def test_named_and_multi_vectors(shelf, wide):
    given = fill(shelf.ours, wide, 6, 500)
    fill(shelf.theirs, wide, 6, 900)
    by_a = {n: score("Cosine", query(1), each["a"]) for n, each in enumerate(given)}
    by_b = {n: dot(query(1, 4), each["b"]) for n, each in enumerate(given)}
    asked = [query(2, 4), query(3, 4)]
    best = {
        n: sum(max(dot(one, row) for row in each["mv"]) for one in asked)
        for n, each in enumerate(given)
    }
    for using, vector, scores in (
        ("a", query(1), by_a),
        ("b", query(1, 4), by_b),
        ("mv", asked, best),
    ):
        found = shelf.ours.query_points(wide, query=vector, using=using).points
        close(found, ranked(scores))
    back = shelf.ours.retrieve(wide, [3], with_vectors=["b", "s"])[0].vector
    assert set(back) == {"b", "s"}
    assert back["b"] == near(given[3]["b"], rel=1e-4)
    assert back["s"].indices == words(3).indices


@direct
def test_sparse_vectors(shelf, wide):
    fill(shelf.ours, wide, 6, 500)
    asked = m.SparseVector(indices=[1, 2, 103], values=[1.0, 1.0, 0.5])
    scores = {n: overlap(asked, words(n)) for n in range(6)}
    found = shelf.ours.query_points(wide, query=asked, using="s").points
    close(found, ranked({n: worth for n, worth in scores.items() if worth}))


@direct
def test_rare_words_count_for_more(shelf, wide):
    """IDF over the tenant's own points: ln((N - n + 0.5) / (n + 0.5) + 1)."""
    fill(shelf.ours, wide, 6, 500)
    fill(shelf.theirs, wide, 5, 500)
    asked = m.SparseVector(indices=[1, 2, 103], values=[1.0, 1.0, 1.0])
    rare = {i: math.log((6 - n + 0.5) / (n + 0.5) + 1) for i, n in ((1, 6), (2, 3), (103, 1))}
    scores = {n: overlap(asked, words(n), rare) for n in range(6)}
    found = shelf.ours.query_points(wide, query=asked, using="idf").points
    close(found, ranked(scores))


@direct
def test_dense_and_sparse_fused(shelf, wide):
    given = fill(shelf.ours, wide, 6, 500)
    asked = m.SparseVector(indices=[1, 2], values=[1.0, 1.0])
    dense = ranked({n: score("Cosine", query(1), each["a"]) for n, each in enumerate(given)})[:4]
    sparse = ranked({n: overlap(asked, words(n)) for n in range(6)})[:4]
    found = shelf.ours.query_points(
        wide,
        prefetch=[
            m.Prefetch(query=query(1), using="a", limit=4),
            m.Prefetch(query=asked, using="s", limit=4),
        ],
        query=m.FusionQuery(fusion=m.Fusion.RRF),
    ).points
    expected = reciprocal([[one for one, _ in dense], [one for one, _ in sparse]])
    assert {each.id: each.score for each in found} == near(expected, rel=1e-3)


@direct
def test_vectors_are_changed_and_removed(shelf, wide):
    fill(shelf.ours, wide, 4, 500)
    shelf.ours.update_vectors(wide, points=[m.PointVectors(id=2, vector={"b": query(77, 4)})])
    back = shelf.ours.retrieve(wide, [2], with_vectors=True)[0].vector
    assert back["b"] == near(query(77, 4), rel=1e-4)
    assert set(back) == {"a", "b", "mv", "s", "idf"}
    shelf.ours.delete_vectors(wide, vectors=["b"], points=[1, 2])
    assert shelf.ids(shelf.ours.query_points(wide, query=query(77, 4), using="b")) in (
        [0, 3],
        [3, 0],
    )
    has = m.Filter(must=[m.HasVectorCondition(has_vector="b")])
    assert shelf.ours.count(wide, count_filter=has).count == 2
    shelf.ours.delete_vectors(
        wide, vectors=["mv"], points=m.Filter(must=[m.HasIdCondition(has_id=[0])])
    )
    assert "mv" not in shelf.ours.retrieve(wide, [0], with_vectors=True)[0].vector
