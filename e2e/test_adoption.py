"""`bulkhead collection adopt`: one collection of a Qdrant for all tenants becomes one of each tenant's own."""

import json
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from qdrant_client import models as m
from shelf import query
from standin.qdrant import Source

LEFT_OUT = 4
SIZE = 8


def point(one: int | str, whose: object, n: int) -> dict:
    payload = {"tenant_id": whose, "n": n, "text": f"words of {n}", "city": f"city-{n % 3}"}
    if whose is None:
        del payload["tenant_id"]
    return {"id": one, "vector": query(n, SIZE), "payload": payload}


@pytest.fixture
def name() -> str:
    return f"legacy-{uuid.uuid4().hex[:8]}"


# Whose they say they are, by id; what nobody can tell has a reason.
ODD = {
    900: (None, "no_value"),
    901: ([], "no_value"),
    902: (["acme", "globex"], "several_values"),
    903: ("nobody-knows", "unknown_tenant"),
    904: ("ACME", "unknown_tenant"),
    905: (" acme", "unknown_tenant"),
    906: ({"id": "acme"}, "not_text_or_integer"),
    907: (True, "not_text_or_integer"),
}


@pytest.fixture
def source(name: str) -> Iterator[Source]:
    """200 points of two tenants in turn, and those that are nobody's for certain."""
    points = [point(n, "acme" if n % 2 else "globex", n) for n in range(1, 201)]
    points += [point(str(uuid.UUID(int=n)), ["acme"], n) for n in range(201, 211)]
    points += [point(one, whose, one) for one, (whose, _) in ODD.items()]
    params = {"vectors": {"size": SIZE, "distance": "Cosine"}, "shard_number": 3}
    made = Source(name, params | {"on_disk_payload": True}, points, api_key="the-source's-key")
    made.schema = {"city": {"data_type": "keyword", "points": 200}}
    yield made
    made.close()
    assert made.wrong == [], "the source is only read"


@pytest.fixture
def adopt(deployment, acme, globex, source, name, tmp_path, qdrant):
    def run(*more: str) -> tuple[int, dict]:
        done = deployment.attempt(*command(source.url, name, tmp_path), *more, "--json", stdin=KEY)
        assert done.returncode in (0, LEFT_OUT), done.stderr
        return done.returncode, json.loads(done.stdout)

    yield run
    for tenant in ("acme", "globex"):
        qdrant(tenant).delete_collection(name)


KEY = "the-source's-key"


def command(url: str, name: str, folder: Path) -> list[str]:
    return [
        *("collection", "adopt", "--from", url, "--collection", name, "--from-api-key", "-"),
        *("--tenant-field", "tenant_id", "--state", str(folder / "state.json"), "--batch", "20"),
        *("--report", str(folder / "left-out.jsonl")),
    ]


def check(qdrant, source: Source, name: str) -> None:
    """Each tenant has its own points whole, and none else."""
    for tenant in ("acme", "globex"):
        client = qdrant(tenant)
        mine = {
            each["id"]: each
            for each in source.points
            if each["payload"].get("tenant_id") in (tenant, [tenant])
        }
        page, _ = client.scroll(name, limit=1000)
        assert {each.id: each.payload for each in page} == {
            one: each["payload"] for one, each in mine.items()
        }
        for n in (3, 4):
            found = client.query_points(name, query=query(n, SIZE), limit=1).points[0]
            if n in mine:
                assert (found.id, round(found.score, 4)) == (n, 1)
            else:
                assert found.id in mine
        assert client.get_collection(name).payload_schema["city"].data_type == "keyword"


def test_each_tenant_gets_its_own_points(adopt, qdrant, source, name, tmp_path):
    status, told = adopt()
    assert status == LEFT_OUT
    assert (told["read"], told["taken"]) == (218, 210)
    assert told["tenants"] == [
        {"tenant": "acme", "points": 110},
        {"tenant": "globex", "points": 100},
    ]
    check(qdrant, source, name)
    lines = (tmp_path / "left-out.jsonl").read_text().splitlines()
    listed = {each["id"]: each["why"] for each in map(json.loads, lines)}
    assert listed == {one: why for one, (_, why) in ODD.items()}
    assert {why: each["points"] for why, each in told["left_out"].items()} == {
        why: list(listed.values()).count(why) for why in listed.values()
    }
    # Once more changes nothing.
    pages = source.pages
    again, told_again = adopt()
    assert (again, told_again["taken"], source.pages) == (status, told["taken"], pages)
    check(qdrant, source, name)


def test_a_dry_run_writes_nothing(adopt, qdrant, name, tmp_path):
    status, told = adopt("--dry-run")
    assert (status, told["dry_run"], told["taken"]) == (LEFT_OUT, True, 210)
    assert {one for left in told["left_out"].values() for one in left["ids"]} == set(ODD)
    for tenant in ("acme", "globex"):
        assert not qdrant(tenant).collection_exists(name)
    assert not (tmp_path / "state.json").exists()


def test_it_goes_on_where_it_was_killed(deployment, adopt, qdrant, source, name, tmp_path):
    source.most = 4
    cut = subprocess.Popen(
        **deployment.command(*command(source.url, name, tmp_path)),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    cut.stdin.write(KEY)
    cut.stdin.close()
    assert source.held.wait(30), "it reads no fifth page"
    cut.kill()
    cut.wait(timeout=30)
    state = json.loads((tmp_path / "state.json").read_text())
    assert state["read"] == 80 and not state["done"]
    source.most = None
    source.let_go.set()
    before = source.pages
    status, told = adopt()
    assert status == LEFT_OUT and told["taken"] == 210
    assert source.pages - before <= 8, "pages that were done are not read again"
    lines = (tmp_path / "left-out.jsonl").read_text().splitlines()
    assert [json.loads(each)["id"] for each in lines] == list(ODD), "each is listed once"
    check(qdrant, source, name)


def test_an_alias_names_its_tenant(deployment, qdrant, tmp_path):
    """Ids and aliases, exactly; and numbers where an alias is one."""
    tenant, alias, number = (f"t{uuid.uuid4().hex[:6]}" for _ in range(3))
    number = str(int(number[1:], 16))
    deployment.run(
        *("tenant", "create", tenant, "--environment", "live"),
        *("--alias", alias, "--alias", number),
    )
    points = [point(1, tenant, 1), point(2, alias, 2), point(3, int(number), 3)]
    source = Source("docs", {"vectors": {"size": SIZE, "distance": "Dot"}}, points)
    done = deployment.attempt(
        *("collection", "adopt", "--from", source.url, "--collection", "docs"),
        *("--tenant-field", "tenant_id", "--state", str(tmp_path / "state.json")),
        *("--to", "own-docs"),
    )
    source.close()
    assert done.returncode == 0, done.stderr
    assert qdrant(tenant).count("own-docs").count == 3


def test_what_cannot_be_taken_is_refused_by_name(deployment, acme, name, tmp_path):
    params = {
        "vectors": {
            "size": SIZE,
            "distance": "Cosine",
            "quantization_config": {"scalar": {"type": "int8"}},
        }
    }
    source = Source(name, params, [point(1, "acme", 1)])
    wanted = [
        *("collection", "adopt", "--from", source.url, "--collection", name, "--dry-run"),
        *("--tenant-field", "tenant_id", "--state", str(tmp_path / "state.json")),
    ]
    done = deployment.attempt(*wanted)
    assert done.returncode == 1 and "quantization_config" in done.stderr
    done = deployment.attempt(*wanted, "--without", "quantization")
    assert done.returncode == 0, done.stderr
    source.close()


def test_what_a_tenant_has_is_not_written_over(deployment, adopt, qdrant, name, tmp_path):
    client = qdrant("acme")
    client.create_collection(
        name, vectors_config=m.VectorParams(size=SIZE, distance=m.Distance.COSINE)
    )
    client.upsert(name, points=[m.PointStruct(id=1, vector=query(1, SIZE), payload={"own": 1})])
    with pytest.raises(AssertionError, match="into-existing"):
        adopt()
    assert client.retrieve(name, [1])[0].payload == {"own": 1}
    adopt("--into-existing")
    assert client.retrieve(name, [1])[0].payload["tenant_id"] == "acme"


def test_a_collection_that_bulkhead_serves_is_adopted_from(
    deployment, acme, globex, qdrant, name, tmp_path
):
    """Of a tenant that had everybody's: its own Qdrant routes are a source like any other."""
    deployment.create_tenant(name)
    legacy = qdrant(name)
    legacy.create_collection(
        name,
        vectors_config={"a": m.VectorParams(size=SIZE, distance=m.Distance.DOT)},
        sparse_vectors_config={"w": m.SparseVectorParams(modifier=m.Modifier.IDF)},
    )
    legacy.create_payload_index(name, "n", field_schema="integer")
    legacy.upsert(
        name,
        points=[
            m.PointStruct(
                id=n,
                vector={
                    "a": query(n, SIZE),
                    "w": m.SparseVector(indices=[n, 1000], values=[1.0, 0.5]),
                },
                payload={"meta": {"tenant": "acme" if n % 2 else "globex"}, "n": n, "text": "x"},
            )
            for n in range(60)
        ],
    )
    done = deployment.attempt(
        *("collection", "adopt", "--from", deployment.qdrant_url, "--collection", name),
        *("--tenant-field", "meta.tenant", "--state", str(tmp_path / "state.json")),
        *("--from-api-key", "-", "--batch", "7"),
        stdin=deployment.token(name),
    )
    assert done.returncode == 0, done.stderr
    for at, tenant in ((1, "acme"), (0, "globex")):
        client = qdrant(tenant)
        page, _ = client.scroll(name, limit=100, with_vectors=True)
        assert [each.id for each in page] == list(range(at, 60, 2))
        there = {each.id: each for each in legacy.scroll(name, limit=100, with_vectors=True)[0]}
        for each in page:
            assert each.model_dump() == there[each.id].model_dump()
        asked = m.SparseVector(indices=[20 + at], values=[1.0])
        assert client.query_points(name, query=asked, using="w").points[0].id == 20 + at
        assert client.get_collection(name).payload_schema["n"].data_type == "integer"
        client.delete_collection(name)
