"""Scope first, then rank: the proofs that another tenant's points change nothing, over HTTP and against a brute-force
search that shares no code with what it checks."""

import json
import random
import re
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from qdrant_client import models as m
from ranking import Point, holds, less_is_better, nearest
from shelf import cloud, put, query, structs, told


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


# 1. Crowding


@pytest.mark.parametrize("held", [3, 7, 40])
def test_whoever_is_crowded_gets_all_that_is_theirs(ours, theirs, name, held):
    """The other tenant has 500 nearer points for each that is asked for."""
    k, size, asked = 10, 16, query(5, 16)
    put(theirs, name, cloud(500 * k, 1, size, around=asked))
    mine = cloud(held, 2, size)
    put(ours, name, mine)
    expected = nearest(mine, asked)[:k]
    assert len(expected) == min(k, held)
    for wanted in (None, m.Filter(must=[m.FieldCondition(key="n", range=m.Range(gte=0))])):
        found = ours.query_points(name, query=asked, query_filter=wanted, limit=k).points
        assert [each.id for each in found] == [one for one, _ in expected]


# 2. Non-interference


def asks(name: str) -> list[tuple]:
    at, vector = f"/collections/{name}", query(3, 8)
    wanted = {"must_not": [{"key": "city", "match": {"value": "Rome"}}]}
    shown = {"with_payload": True, "with_vector": True}
    return [
        ("GET", "/collections", None),
        ("GET", at, None),
        ("GET", f"{at}/exists", None),
        ("POST", f"{at}/points", {"ids": [1, 2, 3, 999]} | shown),
        ("POST", f"{at}/points/query", {"query": vector, "limit": 50} | shown),
        ("POST", f"{at}/points/query", {"query": vector, "filter": wanted}),
        ("POST", f"{at}/points/query", {"query": 7, "limit": 5}),
        (
            "POST",
            f"{at}/points/query",
            {"query": {"recommend": {"positive": [1], "negative": [2]}}},
        ),
        (
            "POST",
            f"{at}/points/query",
            {"query": {"nearest": vector, "mmr": {"diversity": 0.5}}, "limit": 5},
        ),
        (
            "POST",
            f"{at}/points/query",
            {"prefetch": [{"query": vector}, {"query": 4}], "query": {"fusion": "rrf"}},
        ),
        (
            "POST",
            f"{at}/points/query/batch",
            {"searches": [{"query": vector, "score_threshold": 0.1}, {"query": 5}]},
        ),
        (
            "POST",
            f"{at}/points/query/groups",
            {"query": vector, "group_by": "city", "limit": 3, "group_size": 2},
        ),
        ("POST", f"{at}/points/scroll", {"limit": 1000} | shown),
        ("POST", f"{at}/points/scroll", {"limit": 5, "order_by": "n", "filter": wanted}),
        ("POST", f"{at}/points/count", {"exact": True}),
        ("POST", f"{at}/points/count", {"exact": False, "filter": wanted}),
        ("POST", f"{at}/facet", {"key": "city", "limit": 10}),
        ("GET", "/collections/not-there", None),
        ("POST", f"{at}/points/query", {"query": [1.0]}),
    ]


def test_no_write_of_anothers_changes_a_byte(deployment, ours, qdrant, name):
    mine = cloud(60, 3, 8)
    put(ours, name, mine)
    ours.create_payload_index(name, "city", field_schema="keyword")
    ours.create_payload_index(name, "n", field_schema="integer")
    token = deployment.token("acme")

    def all_of_it() -> list[str]:
        return [told(deployment, token, *each) for each in asks(name)]

    first = all_of_it()
    assert [each.split()[0] for each in first] == ["200"] * (len(first) - 2) + ["404", "400"]
    assert all_of_it() == first
    other = f"initech-{uuid.uuid4().hex[:6]}"
    deployment.create_tenant(other)
    theirs = qdrant(other)
    assert all_of_it() == first, "a tenant came"
    put(theirs, name, cloud(2000, 4, 8, around=query(3, 8)))
    put(theirs, "not-there", cloud(5, 4, 8))
    assert all_of_it() == first, "it wrote"
    theirs.create_payload_index(name, "city", field_schema="keyword")
    theirs.delete(name, points_selector=list(range(500)))
    theirs.delete(
        name,
        points_selector=m.Filter(
            must=[m.FieldCondition(key="city", match=m.MatchValue(value="Rome"))]
        ),
    )
    theirs.set_payload(name, payload={"city": "Paris"}, points=m.Filter(must=[]))
    assert all_of_it() == first, "it removed and changed"
    theirs.delete_collection(name)
    assert all_of_it() == first, "it removed the collection"
    put(theirs, name, cloud(50, 5, 8))
    deployment.run(
        *("tenant", "erase", other, "--yes", "--reason", "end of contract"),
    )
    assert all_of_it() == first, "it was erased"


# 3. The oracle


def some_filter(chance: random.Random, depth: int = 0) -> dict:
    """A filter of every kind of condition, nested."""

    def one() -> dict:
        kinds = [
            lambda: {"key": "n", "range": {"gte": chance.randrange(10), "lt": 15}},
            lambda: {"key": "n", "match": {"value": chance.randrange(20)}},
            lambda: {"key": "city", "match": {"value": chance.choice(["Rome", "Oslo"])}},
            lambda: {"key": "city", "match": {"any": ["Rome", "Bergen"]}},
            lambda: {"key": "city", "match": {"except": ["Rome", "Berlin"]}},
            lambda: {"key": "tags", "match": {"value": chance.choice("abcd")}},
            lambda: {"key": "tags", "values_count": {"gte": 2}},
            lambda: {"key": "price", "range": {"gt": chance.uniform(0, 8)}},
            lambda: {"key": "inner.deep", "match": {"value": chance.randrange(3)}},
            lambda: {"is_empty": {"key": "price"}},
            lambda: {"is_null": {"key": "price"}},
            lambda: {"has_id": chance.sample(range(400), 60)},
        ]
        if depth < 2:
            kinds.append(lambda: some_filter(chance, depth + 1))
        return chance.choice(kinds)()

    made: dict = {}
    for part, most in (("must", 2), ("should", 3), ("must_not", 2)):
        if chance.random() < 0.5:
            made[part] = [one() for _ in range(chance.randrange(1, most + 1))]
    if chance.random() < 0.2:
        made["min_should"] = {"conditions": [one(), one(), one()], "min_count": 2}
    return made or {"must": [one()]}


def agrees(found: list, expected: list[tuple], distance: str) -> None:
    """The same order, but for what lies nearer together than the engine's numbers can tell."""
    worth = dict(expected)
    assert len({each.id for each in found}) == len(found)
    assert len(found) == len(expected)
    for each, (_, best) in zip(found, expected, strict=True):
        assert each.id in worth or abs(each.score - expected[-1][1]) < 1e-4
        assert each.score == pytest.approx(worth.get(each.id, each.score), rel=1e-3, abs=1e-4)
        assert each.score == pytest.approx(best, rel=1e-3, abs=1e-4)
    scores = [each.score for each in found]
    assert scores == sorted(scores, reverse=not less_is_better(distance))


@pytest.mark.parametrize("distance", ["Cosine", "Dot", "Euclid", "Manhattan"])
def test_answers_are_those_of_a_search_over_the_own_points_alone(ours, theirs, name, distance):
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    chance, size = random.Random(seed), 12
    held = {"ours": cloud(300, seed, size), "theirs": cloud(400, seed + 1, size)}
    clients = {"ours": ours, "theirs": theirs}
    # Interleaved, so that neither is written in one piece.
    for at in range(0, 400, 100):
        for who, client in clients.items():
            if part := held[who][at : at + 100]:
                put(client, name, part, distance)
    if chance.random() < 0.5:
        ours.create_payload_index(name, "city", field_schema="keyword")
        ours.create_payload_index(name, "n", field_schema="integer")
    for turn in range(40):
        asked = [chance.gauss(0, 1) for _ in range(size)]
        wanted = some_filter(chance) if turn % 4 else None
        limit, offset = chance.choice([1, 10, 50]), chance.choice([0, 0, 5])
        for who, client in clients.items():
            expected = nearest(held[who], asked, distance, wanted)
            found = client.query_points(
                name,
                query=asked,
                query_filter=m.Filter(**wanted) if wanted else None,
                limit=limit,
                offset=offset,
            ).points
            context = f"seed {seed}, turn {turn}, {who}: {json.dumps(wanted)}"
            try:
                agrees(found, expected[offset : offset + limit], distance)
            except AssertionError as error:
                raise AssertionError(context) from error
            if wanted:
                count = client.count(name, count_filter=m.Filter(**wanted)).count
                assert count == sum(holds(wanted, each) for each in held[who]), context


def test_writes_of_two_tenants_end_where_each_ones_model_does(ours, theirs, name):
    """Random upserts, deletes and payload changes on equal ids; then both are compared with dictionaries."""
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    clients = {"ours": ours, "theirs": theirs}
    held: dict[str, dict[int, Point]] = {"ours": {}, "theirs": {}}
    for client in clients.values():
        client.create_collection(
            name, vectors_config=m.VectorParams(size=4, distance=m.Distance.DOT)
        )
    for turn in range(80):
        who = chance.choice(list(clients))
        client, mine = clients[who], held[who]
        ids = chance.sample(range(30), chance.randrange(1, 6))
        match chance.randrange(5):
            case 0 | 1:
                made = [
                    Point(one, [chance.gauss(0, 1) for _ in range(4)], {"who": who, "turn": turn})
                    for one in ids
                ]
                client.upsert(name, points=structs(made))
                mine.update({each.id: each for each in made})
            case 2:
                client.delete(name, points_selector=ids)
                for one in ids:
                    mine.pop(one, None)
            case 3:
                there = [one for one in ids if one in mine]
                if there:
                    client.set_payload(name, payload={"set": turn}, points=there)
                for one in there:
                    mine[one].payload["set"] = turn
            case 4:
                client.delete(
                    name,
                    points_selector=m.Filter(
                        must=[m.FieldCondition(key="turn", range=m.Range(lt=turn - 30))]
                    ),
                )
                for one in [one for one, each in mine.items() if each.payload["turn"] < turn - 30]:
                    del mine[one]
    for who, client in clients.items():
        page, _ = client.scroll(name, limit=100)
        there = {each.id: each.payload for each in page}
        assert there == {each.id: each.payload for each in held[who].values()}, f"seed {seed}"
        asked = query(seed, 4)
        found = client.query_points(name, query=asked, limit=100).points
        agrees(found, nearest(list(held[who].values()), asked, "Dot"), "Dot")


# 4. Work


def figure(deployment, which: str) -> int:
    headers = {"authorization": f"Bearer {deployment.operator}"}
    _, _, text = deployment.http("GET", f"{deployment.control}/metrics", headers=headers)
    found = re.findall(rf"^{which}(?:{{[^}}]*}})? (\d+)$", text, re.MULTILINE)
    assert found, f"{which} is not in /metrics"
    return sum(int(each) for each in found)


def test_no_more_is_looked_at_than_there_is(deployment, ours, theirs, name):
    put(theirs, name, cloud(5000, 6, 8, around=query(4, 8)))
    put(ours, name, cloud(50, 7, 8))
    ours.query_points(name, query=query(4, 8))
    for wanted in (None, m.Filter(must=[m.FieldCondition(key="n", range=m.Range(gte=10))])):
        visited = figure(deployment, "bulkhead_memory_visited_total")
        queries = figure(deployment, "bulkhead_memory_queries_total")
        for seed in range(10):
            ours.query_points(name, query=query(seed, 8), query_filter=wanted, limit=10)
        assert figure(deployment, "bulkhead_memory_queries_total") - queries == 10
        looked = figure(deployment, "bulkhead_memory_visited_total") - visited
        assert 0 < looked <= 10 * 50


# 6. Rare words


def test_anothers_words_make_none_rarer(deployment, ours, theirs, name):
    sparse = {"w": m.SparseVectorParams(modifier=m.Modifier.IDF)}
    texts = ["grey harbour", "green harbour", "green hill", "a grey cat on a hill"]
    for client in (ours, theirs):
        client.create_collection(name, vectors_config={}, sparse_vectors_config=sparse)
    words = [m.Document(text=text, model="Qdrant/bm25") for text in texts]
    ours.upsert(
        name, points=[m.PointStruct(id=n, vector={"w": each}) for n, each in enumerate(words)]
    )
    token, path = deployment.token("acme"), f"/collections/{name}/points/query"
    body = {"query": {"text": "grey hill", "model": "Qdrant/bm25"}, "using": "w"}
    before = told(deployment, token, "POST", path, body)
    assert '"id":3' in before
    copies = [m.Document(text="grey", model="Qdrant/bm25")] * 1000
    for at in range(10):
        theirs.upsert(
            name,
            points=[
                m.PointStruct(id=at * 1000 + n, vector={"w": each}) for n, each in enumerate(copies)
            ],
        )
    assert theirs.count(name).count == 10_000
    assert told(deployment, token, "POST", path, body) == before
    # That the word's rarity counts at all: among its own points it does.
    ours.upsert(
        name,
        points=[
            m.PointStruct(id=100 + n, vector={"w": each}) for n, each in enumerate(copies[:50])
        ],
    )
    assert told(deployment, token, "POST", path, body) != before


# All at once


def test_tenants_at_once_each_get_their_own(ours, theirs, name):
    """Threads of both write and ask under one name and with the same ids; each point tells whose it is."""
    clients = {"acme": ours, "globex": theirs}
    for who, client in clients.items():
        put(client, name, [Point(n, query(n, 8), {"whose": who, "n": n}) for n in range(40)])

    def one(who: str, turn: int) -> set[str]:
        client, n = clients[who], turn % 40
        match turn % 5:
            case 0:
                made = Point(n, query(turn, 8), {"whose": who, "n": n})
                client.upsert(name, points=structs([made]), wait=turn % 2 == 0)
                found = client.retrieve(name, [n])
            case 1:
                found = client.query_points(name, query=query(turn, 8), limit=40).points
                assert len(found) == 40
            case 2:
                found, _ = client.scroll(name, limit=40)
                assert [each.id for each in found] == list(range(40))
            case 3:
                requests = [m.QueryRequest(query=n, limit=5, with_payload=True)] * 3
                answers = client.query_batch_points(name, requests=requests)
                found = [each for answer in answers for each in answer.points]
                assert len(found) == 15
            case _:
                client.set_payload(name, payload={"turn": turn}, points=[n])
                found = client.retrieve(name, list(range(40)))
        return {each.payload["whose"] for each in found}

    with ThreadPoolExecutor(8) as pool:
        turns = [(who, turn) for turn in range(150) for who in clients]
        for (who, turn), seen in zip(turns, pool.map(lambda each: one(*each), turns), strict=True):
            assert seen == {who}, turn
