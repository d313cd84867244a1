"""What there is not, may not be or is malformed: refused by name, in Qdrant's shape."""

import json

import pytest
from qdrant_client import models as m
from qdrant_client.http.exceptions import UnexpectedResponse
from shelf import has, query, structs


# What is sealed


def test_content_fields_are_no_fields_to_ask_by(shelf):
    """They come back, and stand in no index."""
    assert shelf.ours.retrieve(shelf.name, [1])[0].payload["text"] == "sealed words of 1"
    wanted = m.Filter(must=[has("text", value="sealed words of 1")])
    inner = m.Filter(should=[m.Filter(must_not=[has("text", value="x")])])
    asks = {
        "filter": lambda: shelf.ours.count(shelf.name, count_filter=wanted),
        "inside": lambda: shelf.ours.query_points(shelf.name, query=query(1), query_filter=inner),
        "index": lambda: shelf.ours.create_payload_index(
            shelf.name, "text", field_schema="keyword"
        ),
        "order": lambda: shelf.ours.scroll(shelf.name, order_by="text"),
        "facet": lambda: shelf.ours.facet(shelf.name, "text"),
        "groups": lambda: shelf.ours.query_points_groups(
            shelf.name, group_by="text", query=query(1)
        ),
        "delete": lambda: shelf.ours.delete(shelf.name, points_selector=wanted),
    }
    for told, ask in asks.items():
        with pytest.raises(UnexpectedResponse, match="content field") as raised:
            ask()
        assert raised.value.status_code == 400, told
    assert shelf.ours.count(shelf.name).count == 12


# What is refused


LOOK = m.LookupLocation(collection="other")
REFUSED = {
    "formula": lambda c, n: c.query_points(
        n,
        prefetch=m.Prefetch(query=query(1)),
        query=m.FormulaQuery(formula=m.SumExpression(sum=["$score", 1.0])),
    ),
    "discover": lambda c, n: c.query_points(
        n, query=m.DiscoverQuery(discover=m.DiscoverInput(target=query(1), context=[]))
    ),
    "context": lambda c, n: c.query_points(
        n, query=m.ContextQuery(context=[m.ContextPair(positive=1, negative=2)])
    ),
    "sample": lambda c, n: c.query_points(n, query=m.SampleQuery(sample=m.Sample.RANDOM)),
    "relevance_feedback": lambda c, n: c.query_points(
        n,
        query=m.RelevanceFeedbackQuery(
            relevance_feedback=m.RelevanceFeedbackInput(
                target=query(1),
                feedback=[m.FeedbackItem(example=1, score=0.5)],
                strategy=m.NaiveFeedbackStrategy(
                    naive=m.NaiveFeedbackStrategyParams(a=1, b=1, c=1)
                ),
            )
        ),
    ),
    "lookup_from": lambda c, n: c.query_points(n, query=1, lookup_from=LOOK),
    "lookup_from ": lambda c, n: c.query_points(
        n,
        prefetch=m.Prefetch(query=1, lookup_from=LOOK),
        query=m.FusionQuery(fusion=m.Fusion.RRF),
    ),
    "with_lookup": lambda c, n: c.query_points_groups(
        n, group_by="city", query=query(1), with_lookup="other"
    ),
    "with_lookup ": lambda c, n: c.query_points_groups(
        n, group_by="city", query=query(1), with_lookup=m.WithLookup(collection="other")
    ),
    "quantization": lambda c, n: c.query_points(
        n,
        query=query(1),
        search_params=m.SearchParams(quantization=m.QuantizationSearchParams(ignore=True)),
    ),
    "acorn": lambda c, n: c.query_points(
        n, query=query(1), search_params=m.SearchParams(acorn=m.AcornSearchParams(enable=True))
    ),
    "shard_key": lambda c, n: c.query_points(n, query=query(1), shard_key_selector="k"),
    "shard_key ": lambda c, n: c.upsert(
        n, points=[m.PointStruct(id=1, vector=query(1))], shard_key_selector="k"
    ),
    "object": lambda c, n: c.query_points(
        n, query=m.InferenceObject(object={"a": 1}, model="embed")
    ),
    "image": lambda c, n: c.query_points(n, query=m.Image(image="http://x/y.png", model="embed")),
    "matrix": lambda c, n: c.search_matrix_pairs(n),
    "matrix ": lambda c, n: c.search_matrix_offsets(n),
    "alias": lambda c, n: c.get_aliases(),
    "alias ": lambda c, n: c.get_collection_aliases(n),
    "alias  ": lambda c, n: c.update_collection_aliases(
        [
            m.CreateAliasOperation(
                create_alias=m.CreateAlias(collection_name=n, alias_name=f"{n}-alias")
            )
        ]
    ),
    "snapshot": lambda c, n: c.list_snapshots(n),
    "snapshot ": lambda c, n: c.create_snapshot(n),
    "snapshot  ": lambda c, n: c.list_full_snapshots(),
    "shard": lambda c, n: c.create_shard_key(n, "k"),
    "cluster": lambda c, n: c.cluster_status(),
    "cluster ": lambda c, n: c.collection_cluster_info(n),
    "vector name": lambda c, n: c.create_vector_name(
        n, "more", m.VectorParams(size=4, distance=m.Distance.DOT)
    ),
    "optimizations": lambda c, n: c.get_optimizations(n),
    "optimizers_config": lambda c, n: c.update_collection(
        n, optimizers_config=m.OptimizersConfigDiff(indexing_threshold=1)
    ),
    "quantization_config": lambda c, n: c.create_collection(
        f"{n}-refused",
        vectors_config=m.VectorParams(size=4, distance=m.Distance.DOT),
        quantization_config=m.ScalarQuantization(
            scalar=m.ScalarQuantizationConfig(type=m.ScalarType.INT8)
        ),
    ),
    "quantization_config ": lambda c, n: c.create_collection(
        f"{n}-refused",
        vectors_config=m.VectorParams(
            size=4,
            distance=m.Distance.DOT,
            quantization_config=m.BinaryQuantization(binary=m.BinaryQuantizationConfig()),
        ),
    ),
    "hnsw_config": lambda c, n: c.create_collection(
        f"{n}-refused",
        vectors_config=m.VectorParams(
            size=4, distance=m.Distance.DOT, hnsw_config=m.HnswConfigDiff(m=8)
        ),
    ),
    "datatype": lambda c, n: c.create_collection(
        f"{n}-refused",
        vectors_config=m.VectorParams(size=4, distance=m.Distance.DOT, datatype=m.Datatype.FLOAT16),
    ),
    "shard_number": lambda c, n: c.create_collection(
        f"{n}-refused",
        vectors_config=m.VectorParams(size=4, distance=m.Distance.DOT),
        shard_number=2,
    ),
    "strict_mode_config": lambda c, n: c.create_collection(
        f"{n}-refused",
        vectors_config=m.VectorParams(size=4, distance=m.Distance.DOT),
        strict_mode_config=m.StrictModeConfig(enabled=True),
    ),
}


@pytest.mark.parametrize("feature", REFUSED)
def test_what_there_is_not_is_refused_by_name(shelf, feature):
    with pytest.raises(UnexpectedResponse) as raised:
        REFUSED[feature](shelf.ours, shelf.name)
    assert 400 <= raised.value.status_code < 500
    told = json.loads(raised.value.content)
    assert feature.strip() in told["status"]["error"]
    assert told["status"]["code"] and told["result"] is None
    assert shelf.ours.count(shelf.name).count == 12
    assert not shelf.ours.collection_exists(f"{shelf.name}-refused")


def raw(deployment, method: str, path: str, token: str | None, body: object = None):
    headers = {"api-key": token} if token else {}
    return deployment.http(method, f"{deployment.qdrant_url}{path}", body, headers)


MALFORMED = {
    "twice": b'{"query":[1,1,1,1,1,1,1,1],"limit":1,"limit":100}',
    "not known": {"query": query(1), "offsett": 3},
    "not JSON": b'{"query":',
    "no vector": {"query": "near"},
    "size": {"query": [1.0, 2.0]},
    "not a number": b'{"query":[NaN,1,1,1,1,1,1,1]}',
    "no limit": {"query": query(1), "limit": -1},
    "ids": {"query": query(1), "filter": {"must": [{"has_id": ["not-a-uuid"]}]}},
    "condition": {"query": query(1), "filter": {"must": [{"key": "n", "matches": 1}]}},
    "nothing": {"query": query(1), "filter": {"must": [{"key": "n"}]}},
    "using": {"query": query(1), "using": "no-such-vector"},
    "both": {"query": {"nearest": query(1), "fusion": "rrf"}},
    "reserved": {"query": query(1), "filter": {"must": [{"is_null": {"key": "_bulkhead"}}]}},
    "reserved, inside": {
        "query": query(1),
        "filter": {"must": [{"key": "_bulkhead.subject", "match": {"value": "x"}}]},
    },
}


@pytest.mark.parametrize("what", MALFORMED)
def test_what_is_malformed_is_refused_in_qdrants_shape(shelf, deployment, what):
    token = deployment.token("acme")
    path = f"/collections/{shelf.name}/points/query"
    status, _, text = raw(deployment, "POST", path, token, MALFORMED[what])
    assert status == 400, text
    told = json.loads(text)
    assert told["status"]["error"] and told["status"]["code"] and told["result"] is None
    assert shelf.canary not in text


def test_errors_have_qdrants_shape_before_anything_is_read(shelf, deployment):
    path = f"/collections/{shelf.name}"
    narrow = deployment.token("acme", grants="cache:read")
    for method, where, token, expected in (
        ("GET", path, None, 401),
        ("GET", path, "not-a-token", 401),
        ("GET", path, narrow, 403),
        ("POST", f"{path}/points/query", None, 401),
        ("GET", "/collections/", deployment.token("acme"), 404),
        ("GET", "/no/such/thing", deployment.token("acme"), 404),
        ("GET", "/../admin", deployment.token("acme"), 404),
    ):
        status, _, text = raw(deployment, method, where, token, None)
        assert status == expected, (method, where, text)
        assert json.loads(text)["status"]["error"], where


def test_grants_decide_what_a_token_may_do(shelf, deployment, qdrant):
    reader = qdrant(token=deployment.token("acme", grants="memory:read"))
    # The client asks for the version at its start, which is for whoever may read.
    token = deployment.token("acme", grants="memory:write")
    writer = qdrant(token=token, check_compatibility=False)
    assert reader.count(shelf.name).count == 12
    for forbidden in (
        lambda: reader.delete(shelf.name, points_selector=[1]),
        lambda: reader.upsert(shelf.name, points=structs(shelf.mine[:1])),
        lambda: reader.delete_collection(shelf.name),
        lambda: writer.count(shelf.name),
        lambda: writer.create_payload_index(shelf.name, "n", field_schema="integer"),
        lambda: writer.delete_collection(shelf.name),
    ):
        with pytest.raises(UnexpectedResponse) as raised:
            forbidden()
        assert raised.value.status_code == 403
    writer.upsert(shelf.name, points=structs(shelf.mine[:1]))
    assert reader.count(shelf.name).count == 12
