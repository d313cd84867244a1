"""How far a token reaches: no filter, id, prefetch, facet or write gets beyond its tenant, its workflow's filter, its
end user. Every way out that was thought of has a name."""

import json
import re
import secrets
import uuid

import pytest
from qdrant_client import models as m
from qdrant_client.http.exceptions import UnexpectedResponse
from ranking import Point
from shelf import Heard, cloud, put, query, told


@pytest.fixture
def name() -> str:
    return f"docs-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def ours(qdrant, acme, name):
    client = qdrant("acme")
    yield client
    client.delete_collection(name)


@pytest.fixture
def theirs(qdrant, globex, name):
    client = qdrant("globex")
    yield client
    client.delete_collection(name)


# Escapes (5 of the proofs)


@pytest.fixture
def hidden(deployment, qdrant, acme, globex, name):
    """Of ten points, those with even ids are public; the others hold a canary. The token's workflow may see what is
    public. The other tenant has the same ids, and its canary in all of them."""
    canary = {who: f"canary-{who}-{secrets.token_hex(12)}" for who in ("acme", "globex")}
    ours, theirs = qdrant("acme"), qdrant("globex")
    for client, who in ((ours, "acme"), (theirs, "globex")):
        made = [
            Point(n, query(n, 8), {"audience": "public", "city": f"city-{n}", "n": n})
            for n in range(10)
        ]
        for each in made:
            if who == "globex" or each.id % 2:
                each.payload |= {
                    "audience": "public" if who == "globex" else "staff",
                    "note": canary[who],
                    "city": canary[who],
                }
        put(client, name, made)
        client.create_payload_index(name, "city", field_schema="keyword")
        client.create_payload_index(name, "n", field_schema="integer")
        client.create_collection(
            f"{name}-other", vectors_config=m.VectorParams(size=8, distance=m.Distance.COSINE)
        )
    yield deployment.token("acme", workflow="helpdesk"), list(canary.values()), ours
    for client in (ours, theirs):
        client.delete_collection(name)
        client.delete_collection(f"{name}-other")


STAFF = {"key": "audience", "match": {"value": "staff"}}
V = query(1, 8)
SHOW = {"with_payload": True, "with_vector": True, "limit": 100}
# What is tried, by name: the path behind the collection, the body, and whether it is refused altogether.
ESCAPES = {
    "must": ("points/scroll", {"filter": {"must": [STAFF]}} | SHOW, False),
    "should": ("points/scroll", {"filter": {"should": [STAFF, {"must": []}]}} | SHOW, False),
    "should, nested": (
        "points/scroll",
        {"filter": {"should": [{"should": [{"should": [STAFF]}, STAFF]}]}} | SHOW,
        False,
    ),
    "must_not": (
        "points/scroll",
        {"filter": {"must_not": [{"key": "audience", "match": {"value": "public"}}]}} | SHOW,
        False,
    ),
    "must_not, nested": (
        "points/scroll",
        {"filter": {"must_not": [{"must_not": [STAFF]}]}} | SHOW,
        False,
    ),
    "min_should": (
        "points/scroll",
        {"filter": {"min_should": {"conditions": [STAFF], "min_count": 0}}} | SHOW,
        False,
    ),
    "has_id": ("points/query", {"filter": {"must": [{"has_id": [1, 3, 5]}]}} | SHOW, False),
    "has_id, query": (
        "points/query",
        {"query": V, "filter": {"should": [{"has_id": [1, 3]}]}} | SHOW,
        False,
    ),
    "ids": ("points", {"ids": [1, 3, 5], "with_payload": True, "with_vector": True}, False),
    "nearest": ("points/query", {"query": V} | SHOW, False),
    "nearest, threshold": ("points/query", {"query": V, "score_threshold": 0.99} | SHOW, False),
    "prefetch without a filter": (
        "points/query",
        {"prefetch": {"query": V, "limit": 100}, "query": {"fusion": "rrf"}} | SHOW,
        False,
    ),
    "prefetch with a filter": (
        "points/query",
        {
            "prefetch": [
                {"query": V, "filter": {"must": [STAFF]}},
                {"prefetch": {"query": V, "filter": {"must": [STAFF]}}, "query": V},
            ],
            "query": {"fusion": "dbsf"},
        }
        | SHOW,
        False,
    ),
    "prefetch of ids": (
        "points/query",
        {"prefetch": {"filter": {"must": [{"has_id": [1]}]}}, "query": V} | SHOW,
        False,
    ),
    "mmr": (
        "points/query",
        {"query": {"nearest": V, "mmr": {"diversity": 1.0, "candidates_limit": 100}}} | SHOW,
        False,
    ),
    "order_by": ("points/query", {"query": {"order_by": "n"}} | SHOW, False),
    "scroll by order": ("points/scroll", {"order_by": "n"} | SHOW, False),
    "scroll from an id": ("points/scroll", {"offset": 1} | SHOW, False),
    "batch": ("points/query/batch", {"searches": [{"query": V} | SHOW] * 2}, False),
    "groups": (
        "points/query/groups",
        {"query": V, "group_by": "city", "with_payload": True, "limit": 50, "group_size": 9},
        False,
    ),
    "facet": ("facet", {"key": "city", "limit": 100, "exact": True}, False),
    "facet, filtered": ("facet", {"key": "city", "filter": {"must": [STAFF]}}, False),
    "facet of the filter": ("facet", {"key": "audience", "limit": 100}, True),
    "recommend by id": (
        "points/query",
        {"query": {"recommend": {"positive": [1], "strategy": "best_score"}}} | SHOW,
        True,
    ),
    "like an id": ("points/query", {"query": 3} | SHOW, True),
    "like an id, in a prefetch": (
        "points/query",
        {"prefetch": {"query": 3}, "query": {"fusion": "rrf"}} | SHOW,
        True,
    ),
    "lookup_from": (
        "points/query",
        {"query": 1, "lookup_from": {"collection": "NAME"}} | SHOW,
        True,
    ),
    "lookup_from, in a prefetch": (
        "points/query",
        {
            "prefetch": {"query": 1, "lookup_from": {"collection": "NAME"}},
            "query": {"fusion": "rrf"},
        },
        True,
    ),
    "with_lookup": (
        "points/query/groups",
        {"query": V, "group_by": "n", "with_lookup": {"collection": "NAME"}},
        True,
    ),
    "matrix, pairs": ("points/search/matrix/pairs", {"sample": 10, "limit": 3}, True),
    "matrix, offsets": ("points/search/matrix/offsets", {"sample": 10, "limit": 3}, True),
    "discover": ("points/query", {"query": {"discover": {"target": 1, "context": []}}}, True),
    "context": (
        "points/query",
        {"query": {"context": [{"positive": 1, "negative": 3}]}},
        True,
    ),
    "formula": (
        "points/query",
        {"prefetch": {"query": V}, "query": {"formula": {"sum": ["$score", STAFF]}}},
        True,
    ),
    "sample": ("points/query", {"query": {"sample": "random"}} | SHOW, True),
    "shard_key": ("points/query", {"query": V, "shard_key": "globex"} | SHOW, True),
    "the reserved field": (
        "points/scroll",
        {"filter": {"should": [{"is_empty": {"key": "_bulkhead"}}]}} | SHOW,
        True,
    ),
}


def odd_ids(text: str) -> list[int]:
    """Ids of points that are out of reach, wherever they stand in an answer."""
    return [int(each) for each in re.findall(r'"id":(\d+)', text) if int(each) % 2]


@pytest.mark.parametrize("escape", ESCAPES)
def test_escapes(deployment, hidden, name, escape):
    token, canaries, _ = hidden
    path, body, refused = ESCAPES[escape]
    body = json.loads(json.dumps(body).replace('"NAME"', f'"{name}-other"'))
    answer = told(deployment, token, "POST", f"/collections/{name}/{path}", body)
    assert not any(each in answer for each in canaries)
    assert odd_ids(answer) == []
    if refused and escape != "facet of the filter":
        assert answer.startswith(("400", "404", "422", "501")), answer
    elif not refused:
        assert answer.startswith("200"), answer
        assert "staff" not in answer


def test_the_count_is_of_what_may_be_seen(deployment, hidden, name):
    token, _, _ = hidden
    path = f"/collections/{name}/points/count"
    for body, expected in (
        ({}, 5),
        ({"filter": {"must": [STAFF]}}, 0),
        ({"filter": {"should": [STAFF, {"must": []}]}}, 5),
        ({"filter": {"must": [{"has_id": [1, 2, 3]}]}}, 1),
        ({"filter": {"must_not": [{"has_id": [0, 2]}]}}, 3),
    ):
        for exact in (True, False):
            answer = told(deployment, token, "POST", path, body | {"exact": exact})
            assert f'"count":{expected}' in answer, (body, answer)


def test_facets_are_of_what_may_be_seen(deployment, hidden, name):
    token, _, _ = hidden
    answer = told(deployment, token, "POST", f"/collections/{name}/facet", {"key": "city"})
    hits = json.loads(answer.split(" ", 1)[1])
    assert {each["value"]: each["count"] for each in hits["result"]["hits"]} == {
        f"city-{n}": 1 for n in (0, 2, 4, 6, 8)
    }


@pytest.mark.parametrize(
    "body",
    [
        {"query": "ID"},
        {"query": {"recommend": {"positive": ["ID"]}}},
        {"query": {"recommend": {"positive": [2], "negative": ["ID"]}}},
        {"prefetch": {"query": "ID"}, "query": {"fusion": "rrf"}},
    ],
    ids=["nearest", "recommend", "negative", "prefetch"],
)
def test_an_id_out_of_reach_is_an_id_that_is_not_there(deployment, hidden, name, body):
    """Answered alike, so that nobody learns which ids there are."""
    token, _, _ = hidden

    def ask(one: int) -> str:
        asked = json.loads(json.dumps(body).replace('"ID"', str(one)))
        answer = told(deployment, token, "POST", f"/collections/{name}/points/query", asked)
        return answer.replace(str(one), "ID")

    assert ask(3) == ask(4999)
    assert ask(4999).startswith(("400", "404"))


WRITES = {
    "delete by id": ("POST", "points/delete", {"points": [1]}),
    "delete by id, some within reach": ("POST", "points/delete", {"points": [0, 1]}),
    "upsert over it": (
        "PUT",
        "points",
        {"points": [{"id": 1, "vector": V, "payload": {"audience": "public"}}]},
    ),
    "upsert out of reach": (
        "PUT",
        "points",
        {"points": [{"id": 50, "vector": V, "payload": {"audience": "staff"}}]},
    ),
    "upsert without the field": ("PUT", "points", {"points": [{"id": 51, "vector": V}]}),
    "make it public": (
        "POST",
        "points/payload",
        {"payload": {"audience": "public"}, "points": [1]},
    ),
    "make one staff's": (
        "POST",
        "points/payload",
        {"payload": {"audience": "staff"}, "points": [2]},
    ),
    "overwrite": ("PUT", "points/payload", {"payload": {"audience": "public"}, "points": [3]}),
    "take the field away": (
        "POST",
        "points/payload/delete",
        {"keys": ["audience"], "points": [2]},
    ),
    "clear": ("POST", "points/payload/clear", {"points": [2]}),
    "vectors": ("PUT", "points/vectors", {"points": [{"id": 1, "vector": V}]}),
    "batch": (
        "POST",
        "points/batch",
        {"operations": [{"delete": {"points": [0]}}, {"delete": {"points": [1]}}]},
    ),
}


@pytest.mark.parametrize("write", WRITES)
def test_nothing_out_of_reach_is_written(deployment, hidden, name, write):
    token, canaries, ours = hidden
    before = told_by(ours, name)
    method, path, body = WRITES[write]
    answer = told(deployment, token, method, f"/collections/{name}/{path}?wait=true", body)
    assert not any(each in answer for each in canaries)
    after = told_by(ours, name)
    out = {one for one, each in before.items() if each["audience"] != "public"}
    assert {one: before[one] for one in out} == {one: after.get(one) for one in out}
    assert {one for one, each in after.items() if each.get("audience") != "public"} == out
    if "delete" not in write and write != "batch":
        # What would leave reach is forbidden; what is out of reach is as if it were not there.
        assert answer.startswith(("403", "404")), answer
        assert "memory.out_of_reach" in answer or "memory.no_point" in answer


def test_a_filter_of_ones_own_deletes_within_reach_alone(deployment, hidden, name):
    token, _, ours = hidden
    for body in ({"filter": {"must_not": [{"has_id": [0]}]}}, {"filter": {"must": []}}):
        path = f"/collections/{name}/points/delete?wait=true"
        assert told(deployment, token, "POST", path, body).startswith("200")
        assert {1, 3, 5, 7, 9} <= set(told_by(ours, name))
    assert set(told_by(ours, name)) == {1, 3, 5, 7, 9}


def told_by(client, name: str) -> dict[int, dict]:
    page, _ = client.scroll(name, limit=1000)
    return {each.id: each.payload for each in page}


def test_collections_of_another_tenant_are_not_there(deployment, theirs, name):
    put(theirs, name, cloud(5, 9, 8))
    token = deployment.token("acme")
    never = f"docs-{uuid.uuid4().hex[:8]}"
    for method, path, body in (
        ("GET", "", None),
        ("GET", "/exists", None),
        ("PATCH", "", {"metadata": {}}),
        ("DELETE", "", None),
        ("PUT", "/index", {"field_name": "n", "field_schema": "integer"}),
        ("DELETE", "/index/n", None),
        ("PUT", "/points", {"points": [{"id": 1, "vector": V}]}),
        ("POST", "/points", {"ids": [1]}),
        ("POST", "/points/delete", {"points": [1]}),
        ("POST", "/points/query", {"query": V}),
        ("POST", "/points/scroll", {}),
        ("POST", "/points/count", {}),
        ("POST", "/facet", {"key": "n"}),
        ("GET", "/aliases", None),
        ("GET", "/snapshots", None),
    ):
        answers = [
            told(deployment, token, method, f"/collections/{each}{path}", body).replace(each, "IT")
            for each in (name, never)
        ]
        assert answers[0] == answers[1], (method, path)
    assert name not in told(deployment, token, "GET", "/collections")
    assert theirs.count(name).count == 5


def test_environments_are_apart(deployment, qdrant, ours, name):
    staging = qdrant(token=deployment.token("acme", environment="staging"))
    put(ours, name, cloud(5, 9, 8))
    assert not staging.collection_exists(name)
    put(staging, name, cloud(9, 10, 8))
    assert (ours.count(name).count, staging.count(name).count) == (5, 9)
    staging.delete_collection(name)
    assert ours.count(name).count == 5


# Subjects


def test_end_users_of_a_tenant_are_apart(deployment, qdrant, ours, name):
    heard = {who: Heard() for who in ("alice", "bob", "nobody")}
    tokens = {who: deployment.token("acme", sub=who) for who in ("alice", "bob")}
    tokens["nobody"] = deployment.token("acme")
    each = {who: qdrant(token=token, heard=heard[who]) for who, token in tokens.items()}
    canary = {who: f"canary-{who}-{secrets.token_hex(12)}" for who in each}
    ours.create_collection(name, vectors_config=m.VectorParams(size=8, distance=m.Distance.COSINE))
    for at, (who, client) in enumerate(each.items()):
        note = {"note": canary[who], "city": canary[who]}
        client.upsert(name, points=[m.PointStruct(id=at, vector=query(at, 8), payload=note)])
    reach = {"alice": [0, 2], "bob": [1, 2], "nobody": [2]}
    for who, client in each.items():
        found = client.query_points(name, query=query(0, 8)).points
        assert sorted(one.id for one in found) == reach[who], who
        assert client.count(name).count == len(reach[who])
        assert len(client.retrieve(name, [0, 1, 2])) == len(reach[who])
        page, _ = client.scroll(name)
        assert [one.id for one in page] == reach[who]
    # Bob does not get at Alice's, not by its id either.
    for write in (
        lambda: each["bob"].upsert(name, points=[m.PointStruct(id=0, vector=query(1, 8))]),
        lambda: each["bob"].set_payload(name, payload={"x": 1}, points=[0]),
        lambda: each["bob"].update_vectors(name, points=[m.PointVectors(id=0, vector=query(1, 8))]),
    ):
        with pytest.raises(UnexpectedResponse) as raised:
            write()
        assert raised.value.status_code in (403, 404)
    each["bob"].delete(name, points_selector=m.Filter(must=[m.HasIdCondition(has_id=[0])]))
    assert each["alice"].retrieve(name, [0])[0].payload["note"] == canary["alice"]
    every = qdrant(token=deployment.token("acme", grants="memory:read memory:subjects"))
    assert every.count(name).count == 3
    assert not heard["alice"].holds(canary["bob"])
    assert not heard["bob"].holds(canary["alice"])
    assert not heard["nobody"].holds(canary["alice"])
