"""Collections for the tests of retrieval: one tenant's points, and the same names and ids at another, whose points
lie nearer to everything that is asked."""

from __future__ import annotations

import random
import re
import threading
import uuid
from dataclasses import dataclass, field

import httpx
import pytest
from qdrant_client import QdrantClient
from qdrant_client import models as m
from ranking import Point

TIME, ZERO = re.compile(r'"time":[0-9.eE+-]+'), '"time":0'
SIZE = 8
CITIES = ("Berlin", "Oslo", "Rome")
WORDS = ("grey harbour", "green harbour", "green hill", "blue hill")


def points(count: int, seed: int, size: int = SIZE) -> list[Point]:
    """Points with every kind of payload, the last two with UUIDs for ids. Nothing of it lies evenly, so that no two
    scores are equal."""
    chance = random.Random(seed)
    made = []
    for n in range(1, count + 1):
        one: int | str = n if n <= count - 2 else str(uuid.UUID(int=chance.getrandbits(128)))
        payload = {
            "n": n,
            "city": CITIES[n % 3],
            "price": n * 1.5,
            "in_stock": n % 2 == 0,
            "when": f"2026-01-{n:02}T12:00:00Z",
            "tags": [f"t{n % 2}", f"t{n % 5}"][: n % 3],
            "items": [{"sku": f"s{n}", "left": n % 4}, {"sku": "s", "left": n % 3}],
            "place": {"lon": 13.0 + n, "lat": 52.0},
            "note": WORDS[n % 4],
            "inner": {"deep": n % 3},
            "text": f"sealed words of {n}",
        }
        if n % 4 == 0:
            del payload["price"]
        if n % 4 == 1:
            payload["price"] = None
        made.append(Point(one, [chance.gauss(0, 1) for _ in range(size)], payload))
    return made


def query(seed: int, size: int = SIZE) -> list[float]:
    chance = random.Random(seed)
    return [chance.gauss(0, 1) for _ in range(size)]


def structs(given: list[Point], name: str | None = None) -> list[m.PointStruct]:
    return [
        m.PointStruct(
            id=each.id,
            vector=each.vector if name is None else {name: each.vector},
            payload=each.payload,
        )
        for each in given
    ]


@dataclass
class Heard:
    """Every answer that a client was given, in bytes."""

    said: list[bytes] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def hear(self, response: httpx.Response) -> None:
        response.read()
        with self.lock:
            self.said.append(response.content)

    def holds(self, text: str) -> bool:
        return any(text.encode() in each for each in self.said)


@dataclass
class Shelf:
    """A collection of the same name at two tenants."""

    name: str
    ours: QdrantClient
    theirs: QdrantClient
    mine: list[Point]
    canary: str

    def ids(self, found: object) -> list:
        return [each.id for each in getattr(found, "points", found)]


def decoys(mine: list[Point], near: list[list[float]], canary: str) -> list[Point]:
    """For every point of the one tenant, one with its id at the other: nearer, and telling."""
    return [
        Point(each.id, near[at % len(near)], each.payload | {"note": canary, "text": canary})
        for at, each in enumerate(mine)
    ]


def everything(client: QdrantClient, name: str) -> list[dict]:
    found, offset = [], None
    while True:
        page, offset = client.scroll(name, limit=500, offset=offset, with_vectors=True)
        found += [each.model_dump() for each in page]
        if offset is None:
            return found


def close(found: list, expected: list[tuple]) -> None:
    """Ids in their order, and their scores."""
    assert [each.id for each in found] == [one for one, _ in expected]
    scores = [worth for _, worth in expected]
    assert [each.score for each in found] == pytest.approx(scores, rel=2e-3)


def has(name: str, **match: object) -> m.FieldCondition:
    return m.FieldCondition(key=name, match=m.MatchValue(**match))


def told(deployment, token: str, method: str, path: str, body: object = None) -> str:
    """An answer in bytes, but its time."""
    url = f"{deployment.qdrant_url}{path}"
    status, _, text = deployment.http(method, url, body, {"api-key": token})
    return f"{status} {TIME.sub(ZERO, text)}"


def cloud(count: int, seed: int, size: int, around: list[float] | None = None) -> list[Point]:
    """Random points; around a place, all nearer to it than any other point is."""
    chance = random.Random(seed)
    made = []
    for n in range(count):
        if around is None:
            vector = [chance.gauss(0, 1) for _ in range(size)]
        else:
            vector = [x + chance.gauss(0, 0.001) for x in around]
        payload = {
            "n": chance.randrange(20),
            "city": chance.choice(["Berlin", "Oslo", "Rome", "Bergen"]),
            "tags": chance.sample(["a", "b", "c", "d"], chance.randrange(4)),
            "price": chance.choice([None, chance.uniform(0, 10)]),
            "inner": {"deep": chance.randrange(3)},
        }
        if chance.random() < 0.2:
            del payload["price"]
        made.append(Point(n, vector, payload))
    return made


def put(client, name: str, points: list[Point], distance: str = "Cosine") -> None:
    if not client.collection_exists(name):
        size = len(points[0].vector)
        params = m.VectorParams(size=size, distance=distance)
        client.create_collection(name, vectors_config=params)
    for at in range(0, len(points), 1000):
        client.upsert(name, points=structs(points[at : at + 1000]))
