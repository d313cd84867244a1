"""Points survive `kill -9`, erased ones leave no bytes, and an index that was tampered with answers nothing wrong."""

import contextlib
import json
import os
import random
import secrets
import shutil
import struct
import threading
import time
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError

import pytest
from deployment import Deployment
from ranking import Point, nearest

ROUNDS = 6
WRITERS = 3
TENANTS = ("acme", "globex")
# The server is killed when this many writes of a round were acknowledged, with others under way.
ACKNOWLEDGED = 120
IDS = 40
SIZE = 8
GONE = (HTTPException, URLError, ConnectionError, TimeoutError)


def rounded(value: float) -> float:
    """As 32 bits have it."""
    return struct.unpack("<f", struct.pack("<f", value))[0]


class Door:
    """A tenant's way in: plain HTTP, so that it is known what was answered and what was not."""

    def __init__(self, deployment: Deployment, tenant: str, collection: str = "docs") -> None:
        self.deployment, self.tenant, self.collection = deployment, tenant, collection
        self.secret = deployment.key(tenant)["secret"]

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, object]:
        url = f"{self.deployment.qdrant_url}/collections/{self.collection}{path}"
        status, _, text = self.deployment.http(method, url, body, {"api-key": self.secret})
        return status, json.loads(text).get("result")

    def good(self, method: str, path: str, body: object = None) -> object:
        status, result = self.ask(method, path, body)
        assert status == 200, (method, path, status)
        return result

    def create(self) -> None:
        self.good("PUT", "", {"vectors": {"size": SIZE, "distance": "Dot"}})

    def put(self, points: list[Point]) -> None:
        self.good("PUT", "/points?wait=true", {"points": [each.form() for each in points]})

    def all(self) -> dict[int, dict]:
        body = {"limit": 10_000, "with_payload": True, "with_vector": True}
        found = self.good("POST", "/points/scroll", body)["points"]
        # The shortest decimals of 32-bit numbers.
        return {
            each["id"]: each | {"vector": [rounded(x) for x in each["vector"]]} for each in found
        }

    def near(self, vector: list[float], limit: int = 10) -> list[tuple]:
        body = {"query": vector, "limit": limit, "params": {"exact": True}}
        found = self.good("POST", "/points/query", body)["points"]
        return [(each["id"], each["score"]) for each in found]


# Kill loop


@dataclass
class Writer:
    """Writes points with ids of its own, until the server is gone. `None` is a point that was deleted."""

    door: Door
    first: int
    chance: random.Random
    done: dict[int, Point | None] = field(default_factory=dict)
    # What was asked for and not answered: it may be so or not.
    asked: dict[int, Point | None] = field(default_factory=dict)
    count: int = 0

    def run(self, enough) -> None:
        while True:
            ids = self.chance.sample(
                range(self.first, self.first + IDS), self.chance.randrange(1, 5)
            )
            wait = self.chance.choice(["true", "false"])
            if self.chance.random() < 0.3:
                self.asked = dict.fromkeys(ids)
                method, path, body = "POST", f"/points/delete?wait={wait}", {"points": ids}
            else:
                self.asked = {one: self.point(one) for one in ids}
                body = {"points": [each.form() for each in self.asked.values()]}
                method, path = "PUT", f"/points?wait={wait}"
            try:
                status, _ = self.door.ask(method, path, body)
            except (*GONE, ValueError):
                return
            if status >= 500:
                return
            assert status == 200, status
            self.done |= self.asked
            self.asked = {}
            self.count += 1
            enough()

    def point(self, one: int) -> Point:
        vector = [rounded(self.chance.gauss(0, 1)) for _ in range(SIZE)]
        return Point(one, vector, {"whose": self.door.tenant, "count": self.count})

    def check(self, there: dict[int, dict], told: str) -> None:
        for one in self.done | self.asked:
            allowed = [self.done.get(one)] + ([self.asked[one]] if one in self.asked else [])
            found = there.get(one)
            now = Point(one, found["vector"], found["payload"]) if found else None
            assert now in allowed, f"{told}: {one} is {now}, not any of {allowed}"
            self.done[one] = now
        self.asked = {}


def check(doors: list[Door], writers: list[Writer], told: str, rng: random.Random) -> None:
    for door in doors:
        there = door.all()
        assert {each["payload"]["whose"] for each in there.values()} <= {door.tenant}, told
        mine = [each for each in writers if each.door is door]
        for writer in mine:
            writer.check(there, told)
        # The index answers as the rows do.
        held = [each for writer in mine for each in writer.done.values() if each is not None]
        assert len(there) == len(held), told
        for _ in range(3):
            asked = [rng.gauss(0, 1) for _ in range(SIZE)]
            expected = nearest(held, asked, "Dot")[:10]
            assert door.near(asked) == [
                (one, pytest.approx(worth, rel=1e-4, abs=1e-5)) for one, worth in expected
            ], told


def verified(deployment: Deployment, tenant: str) -> dict:
    whom = ("--tenant", tenant, "--environment", "live")
    return deployment.cli("collection", "verify", "docs", *whom)


def test_acknowledged_points_and_deletes_survive_kill_9(apart: Deployment):
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    apart.start()
    for tenant in TENANTS:
        apart.create_tenant(tenant)
    doors = [Door(apart, tenant) for tenant in TENANTS]
    for door in doors:
        door.create()
    writers = [
        Writer(door, n * IDS, random.Random(chance.getrandbits(32)))
        for door in doors
        for n in range(WRITERS)
    ]
    for turn in range(ROUNDS):
        until = sum(each.count for each in writers) + ACKNOWLEDGED
        reached = threading.Event()

        def enough(until: int = until, reached: threading.Event = reached) -> None:
            if sum(each.count for each in writers) >= until:
                reached.set()

        threads = [threading.Thread(target=each.run, args=(enough,)) for each in writers]
        for thread in threads:
            thread.start()
        in_time = reached.wait(timeout=60)
        apart.kill()
        for thread in threads:
            thread.join(timeout=60)
        assert in_time, "too few writes in 60 s"

        apart.start()
        told = f"seed {seed}, round {turn}"
        check(doors, writers, told, chance)
        for tenant in TENANTS:
            assert verified(apart, tenant)["good"] is True, told
        if turn % 2:
            for tenant in TENANTS:
                apart.run(
                    *("collection", "rebuild", "docs", "--tenant", tenant),
                    *("--environment", "live"),
                )
            check(doors, writers, f"{told}, rebuilt", chance)


# Bytes


def forms(vector: list[float]) -> list[bytes]:
    """Some of a vector as files may have it: numbers in a row, or each with CBOR's mark."""
    some = vector[:4]
    return [
        struct.pack("<4f", *some),
        struct.pack(">4f", *some),
        b"".join(b"\xfa" + struct.pack(">f", each) for each in some),
        b"".join(b"\xfa" + struct.pack("<f", each) for each in some),
    ]


def files(folder: Path) -> dict[Path, bytes]:
    """All there are, while others come and go."""
    found = {}
    for parent, _, names in os.walk(folder):
        for path in (Path(parent, name) for name in names):
            with contextlib.suppress(FileNotFoundError):
                found[path] = path.read_bytes()
    return found


def holding(folder: Path, wanted: list[bytes]) -> list[str]:
    return [
        str(path.relative_to(folder))
        for path, data in files(folder).items()
        if any(each in data for each in wanted)
    ]


@dataclass
class Traces:
    """A point that is to leave nothing."""

    one: int
    point: Point
    note: str
    text: str

    @classmethod
    def make(cls, one: int) -> "Traces":
        note, text = (f"canary-{secrets.token_hex(16)}" for _ in range(2))
        chance = random.Random(one)
        vector = [rounded(chance.gauss(0, 1)) for _ in range(SIZE)]
        payload = {"note": note, "text": text, "group": one % 2, "inner": {"deep": [note]}}
        return cls(one, Point(one, vector, payload), note, text)

    def all(self) -> list[bytes]:
        return [*forms(self.point.vector), self.note.encode(), self.text.encode()]


def wait_until_gone(folder: Path, wanted: list[bytes]) -> None:
    until = time.monotonic() + 60
    while left := holding(folder, wanted):
        assert time.monotonic() < until, f"still there: {left}"
        time.sleep(0.1)


SOON = pytest.mark.parametrize("apart", ["forget_seconds = 1"], indirect=True)
WHOM = ("--tenant", "acme", "--environment", "live")


@pytest.fixture
def traced(apart: Deployment):
    """Two tenants with the same ids; every point is known by its traces."""
    apart.start()
    made = {}
    for at, tenant in enumerate(TENANTS):
        apart.create_tenant(tenant)
        door = Door(apart, tenant)
        door.create()
        door.good("PUT", "/index?wait=true", {"field_name": "note", "field_schema": "keyword"})
        traces = [Traces.make(n) for n in range(20)]
        if at:
            for each in traces:
                each.point.vector = [rounded(x + 0.25) for x in each.point.vector]
        door.put([each.point for each in traces])
        made[tenant] = (door, traces)
        vectors = [each for trace in traces for each in forms(trace.point.vector)]
        assert holding(apart.folder, vectors), "a scan that finds nothing proves nothing"
        assert holding(apart.folder, [each.note.encode() for each in traces])
        texts = [each.text.encode() for each in traces]
        assert holding(apart.folder, texts) == [], "content stands in no file in clear"
    return made


def gone_and_the_rest_there(apart: Deployment, traced: dict, erased: list[int], wait: bool) -> None:
    door, traces = traced["acme"]
    wanted = [each for one in erased for each in traces[one].all()]
    if wait:
        wait_until_gone(apart.folder, wanted)
    assert holding(apart.folder, wanted) == []
    assert set(door.all()) == {each.one for each in traces} - set(erased)
    left = [each.point for each in traces if each.one not in erased]
    asked = traces[erased[0]].point.vector
    assert [one for one, _ in door.near(asked)] == [
        one for one, _ in nearest(left, asked, "Dot")[:10]
    ]
    theirs, others = traced["globex"]
    assert len(theirs.all()) == len(others)
    assert holding(apart.folder, others[erased[0]].all()), "the other tenant's are untouched"
    assert verified(apart, "acme")["good"] is True


@SOON
def test_a_deleted_point_leaves_no_byte(apart, traced):
    door, _ = traced["acme"]
    door.good("POST", "/points/delete?wait=true", {"points": [3, 4]})
    gone_and_the_rest_there(apart, traced, [3, 4], wait=True)


@SOON
def test_what_was_overwritten_leaves_no_byte(apart, traced):
    door, traces = traced["acme"]
    old = traces[5].all()
    traces[5] = Traces.make(5)
    traces[5].point.vector = [rounded(each * 3) for each in traces[5].point.vector]
    door.put([traces[5].point])
    wait_until_gone(apart.folder, old)
    assert door.all()[5]["payload"]["note"] == traces[5].note


def test_an_erased_point_leaves_no_byte_when_it_is_said_to_be_erased(apart, traced):
    said = apart.cli(
        *("collection", "erase", "docs", *WHOM, "--id", "7", "--id", "8"),
        *("--yes", "--reason", "ticket 4711"),
    )
    assert said["erased"] == 2
    gone_and_the_rest_there(apart, traced, [7, 8], wait=False)


def test_what_a_filter_erased_leaves_no_byte(apart, traced):
    wanted = json.dumps({"must": [{"key": "group", "match": {"value": 1}}]})
    said = apart.cli(
        *("collection", "erase", "docs", *WHOM, "--filter", wanted),
        *("--yes", "--reason", "GDPR request 12"),
    )
    assert said["erased"] == 10
    gone_and_the_rest_there(apart, traced, list(range(1, 20, 2)), wait=False)


@pytest.mark.parametrize("how", ["client", "operator"])
def test_a_removed_collection_leaves_no_byte(apart, traced, how):
    door, traces = traced["acme"]
    if how == "client":
        assert door.good("DELETE", "") is True
    else:
        apart.run(*("collection", "erase", "docs", *WHOM, "--all", "--yes", "--reason", "over"))
    wait_until_gone(apart.folder, [each for trace in traces for each in trace.all()])
    assert door.ask("GET", "")[0] == 404
    theirs, others = traced["globex"]
    assert len(theirs.all()) == len(others)


def test_an_erased_tenant_leaves_no_byte(apart, traced):
    _, traces = traced["acme"]
    apart.run("tenant", "erase", "acme", "--yes", "--reason", "end of contract")
    wait_until_gone(apart.folder, [each for trace in traces for each in trace.all()])
    theirs, others = traced["globex"]
    assert len(theirs.all()) == len(others)


# Tampering


def shards(deployment: Deployment) -> list[Path]:
    """Directories of indexes: those that hold a stamp."""
    return sorted(path.parent for path in files(deployment.folder) if path.name == "stamp")


def of(deployment: Deployment, traces: list[Traces]) -> Path:
    """The one that holds these points."""
    notes = [each.note.encode() for each in traces]
    (found,) = [each for each in shards(deployment) if holding(each, notes)]
    return found


def right(traced: dict) -> None:
    for tenant, other in (TENANTS, TENANTS[::-1]):
        door, traces = traced[tenant]
        there = door.all()
        assert set(there) == {each.one for each in traces}
        for each in traces:
            assert there[each.one]["payload"] == each.point.payload
            assert there[each.one]["vector"] == each.point.vector
        points = [each.point for each in traces]
        for n in range(3):
            asked = traces[n].point.vector
            expected = nearest(points, asked, "Dot")[:10]
            assert door.near(asked) == [
                (one, pytest.approx(worth, rel=1e-4)) for one, worth in expected
            ]
        for foreign in (traced[other][1][0].note, traces[0].note):
            wanted = {"filter": {"must": [{"key": "note", "match": {"value": foreign}}]}}
            count = door.good("POST", "/points/count", wanted)["count"]
            assert count == (foreign == traces[0].note)


def distrusted(deployment: Deployment) -> int:
    headers = {"authorization": f"Bearer {deployment.operator}"}
    _, _, text = deployment.http("GET", f"{deployment.control}/metrics", headers=headers)
    found = [each for each in text.splitlines() if each.startswith("bulkhead_memory_indexes_dis")]
    return sum(int(float(each.split()[-1])) for each in found)


@pytest.mark.parametrize("end", ["stop", "kill"])
@pytest.mark.parametrize("what", ["removed", "swapped", "copied", "emptied"])
def test_an_index_that_was_tampered_with_is_made_again(apart, traced, what, end):
    getattr(apart, end)()
    ours, theirs = (of(apart, traced[tenant][1]) for tenant in TENANTS)
    match what:
        case "removed":
            shutil.rmtree(ours)
        case "emptied":
            for path in files(ours):
                path.write_bytes(b"")
        case "swapped":
            aside = ours.with_name("aside")
            ours.rename(aside)
            theirs.rename(ours)
            aside.rename(theirs)
        case "copied":
            shutil.rmtree(ours)
            shutil.copytree(theirs, ours)
    apart.start()
    right(traced)
    if what != "removed":
        assert distrusted(apart) >= 1
    for tenant in TENANTS:
        assert verified(apart, tenant)["good"] is True


def test_an_index_that_was_edited_is_made_again(apart, traced):
    """One byte in each file that holds something of a point."""
    assert apart.stop() == 0
    ours = of(apart, traced["acme"][1])
    edited = 0
    for path, data in files(ours).items():
        if any(data) and path.name != "stamp":
            at = next(n for n, each in enumerate(data) if each)
            path.write_bytes(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])
            edited += 1
    assert edited
    apart.start()
    right(traced)
    assert distrusted(apart) >= 1


def test_an_index_that_is_removed_while_it_is_used_answers_right(apart, traced):
    right(traced)
    shutil.rmtree(of(apart, traced["acme"][1]))
    right(traced)
    door, traces = traced["acme"]
    more = [Traces.make(n) for n in range(100, 110)]
    door.put([each.point for each in more])
    traces += more
    right(traced)
    door.good("POST", "/points/delete?wait=true", {"points": [0]})
    del traces[0]
    right(traced)
    assert apart.stop() == 0
    apart.start()
    right(traced)
    assert verified(apart, "acme")["good"] is True


def test_indexes_are_in_no_backup_and_are_made_again(apart, traced, tmp_path):
    backup = tmp_path / "backup"
    apart.run("backup", str(backup), "--reason", "nightly")
    notes = [each.note.encode() for _, traces in traced.values() for each in traces]
    assert holding(backup, notes) == []
    assert apart.stop() == 0
    for each in shards(apart):
        shutil.rmtree(each)
    apart.start()
    right(traced)
