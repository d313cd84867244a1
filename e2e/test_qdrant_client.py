"""Qdrant's collections and points with its own unmodified client; meanwhile another tenant has a collection of the same
name with the same ids (fixture `shelf`)."""

import threading
import uuid
import warnings

import pytest
from qdrant_client import AsyncQdrantClient, QdrantClient
from qdrant_client import models as m
from qdrant_client.http.exceptions import UnexpectedResponse
from ranking import Point, dot, nearest
from shelf import SIZE, close, everything, has, points, query, structs

direct = pytest.mark.direct
near = pytest.approx


# Collections


@direct
@pytest.mark.parametrize("distance", ["Cosine", "Dot", "Euclid", "Manhattan"])
def test_distances(shelf, distance):
    name = f"{shelf.name}-{distance}"
    for client, given in ((shelf.ours, shelf.mine), (shelf.theirs, points(12, 8))):
        client.create_collection(name, vectors_config=m.VectorParams(size=SIZE, distance=distance))
        client.upsert(name, points=structs(given))
    asked = query(0)
    expected = nearest(shelf.mine, asked, distance)
    close(shelf.ours.query_points(name, query=asked, limit=5).points, expected[:5])
    # The threshold lies between the third and the fourth.
    threshold = (expected[2][1] + expected[3][1]) / 2
    found = shelf.ours.query_points(name, query=asked, score_threshold=threshold).points
    close(found, expected[:3])
    for client in (shelf.ours, shelf.theirs):
        assert client.delete_collection(name) is True


@direct
def test_collections_are_made_told_of_changed_and_removed(shelf):
    name, client = f"made-{uuid.uuid4().hex[:8]}", shelf.ours
    assert client.collection_exists(name) is False
    made = client.create_collection(
        name,
        vectors_config={
            "a": m.VectorParams(size=4, distance=m.Distance.DOT),
            "mv": m.VectorParams(
                size=3,
                distance=m.Distance.COSINE,
                multivector_config=m.MultiVectorConfig(comparator=m.MultiVectorComparator.MAX_SIM),
            ),
        },
        sparse_vectors_config={"s": m.SparseVectorParams(modifier=m.Modifier.IDF)},
    )
    assert made is True
    assert client.collection_exists(name) is True
    assert shelf.theirs.collection_exists(name) is False
    assert name in [each.name for each in client.get_collections().collections]
    told = client.get_collection(name)
    assert told.status == "green" and told.points_count == 0
    vectors = told.config.params.vectors
    assert (vectors["a"].size, vectors["a"].distance) == (4, "Dot")
    assert vectors["mv"].multivector_config.comparator == "max_sim"
    assert told.config.params.sparse_vectors["s"].modifier == "idf"
    client.delete_collection(name)
    assert client.collection_exists(name) is False
    with pytest.raises((UnexpectedResponse, ValueError)):
        client.get_collection(name)


def test_a_collection_of_that_name_is_there_already(shelf):
    with pytest.raises(UnexpectedResponse, match="already exists") as raised:
        shelf.ours.create_collection(
            shelf.name, vectors_config=m.VectorParams(size=SIZE, distance=m.Distance.COSINE)
        )
    assert raised.value.status_code == 409
    assert shelf.ours.count(shelf.name).count == 12


def test_removing_what_is_not_there_is_no_error(shelf):
    name = f"never-{uuid.uuid4().hex[:8]}"
    assert shelf.ours.delete_collection(name) is False
    for ask in (shelf.ours.get_collection, shelf.ours.count, shelf.ours.scroll):
        with pytest.raises(UnexpectedResponse, match="Not found: Collection") as raised:
            ask(name)
        assert raised.value.status_code == 404


def test_a_collection_is_changed(shelf):
    metadata = {"made_by": "e2e", "since": 3}
    assert shelf.ours.update_collection(
        shelf.name, hnsw_config=m.HnswConfigDiff(m=24), metadata=metadata
    )
    told = shelf.ours.get_collection(shelf.name)
    assert told.config.hnsw_config.m == 24
    assert told.config.metadata == metadata
    assert told.points_count == 12
    assert shelf.theirs.get_collection(shelf.name).config.hnsw_config.m == 16


@pytest.mark.parametrize(
    ("field", "schema", "type_"),
    [
        ("city", "keyword", "keyword"),
        ("n", m.PayloadSchemaType.INTEGER, "integer"),
        ("price", m.PayloadSchemaType.FLOAT, "float"),
        ("in_stock", m.PayloadSchemaType.BOOL, "bool"),
        ("when", m.PayloadSchemaType.DATETIME, "datetime"),
        ("place", m.PayloadSchemaType.GEO, "geo"),
        ("inner.deep", m.IntegerIndexParams(type="integer", lookup=True, range=False), "integer"),
        ("note", m.TextIndexParams(type="text", tokenizer="word", lowercase=True), "text"),
        ("tags", m.KeywordIndexParams(type="keyword", is_tenant=True), "keyword"),
    ],
)
def test_payload_indexes_change_no_answer(shelf, field, schema, type_):
    wanted = m.Filter(must=[m.FieldCondition(key="n", range=m.Range(gte=4))])
    before = shelf.ours.query_points(shelf.name, query=query(1), query_filter=wanted).points
    done = shelf.ours.create_payload_index(shelf.name, field, field_schema=schema)
    assert done.status == "completed"
    schema = shelf.ours.get_collection(shelf.name).payload_schema
    assert schema[field].data_type == type_
    assert shelf.theirs.get_collection(shelf.name).payload_schema == {}
    after = shelf.ours.query_points(shelf.name, query=query(1), query_filter=wanted).points
    assert [(each.id, each.score) for each in after] == [(each.id, each.score) for each in before]
    shelf.ours.delete_payload_index(shelf.name, field)
    assert shelf.ours.get_collection(shelf.name).payload_schema == {}


def test_a_text_index_decides_what_a_word_is(shelf):
    """Without one, text is what stands somewhere in the value; with one, words."""
    wanted = m.Filter(must=[m.FieldCondition(key="note", match=m.MatchText(text="HARBOUR grey"))])
    assert shelf.ours.count(shelf.name, count_filter=wanted).count == 0
    shelf.ours.create_payload_index(
        shelf.name,
        "note",
        field_schema=m.TextIndexParams(type="text", tokenizer="word", lowercase=True),
    )
    expected = sum(each.payload["note"] == "grey harbour" for each in shelf.mine)
    assert shelf.ours.count(shelf.name, count_filter=wanted).count == expected


# Points


@direct
def test_points_come_back_as_they_were_put(shelf):
    ids = [each.id for each in shelf.mine]
    found = shelf.ours.retrieve(shelf.name, ids, with_vectors=True)
    back = {each.id: each for each in found}
    assert set(back) == set(ids)
    for each in shelf.mine:
        assert back[each.id].payload == each.payload
        length = dot(each.vector, each.vector) ** 0.5
        assert back[each.id].vector == near([x / length for x in each.vector], rel=1e-4)
    assert shelf.ours.retrieve(shelf.name, [999, str(uuid.uuid4())]) == []
    assert shelf.ours.retrieve(shelf.name, [1])[0].vector is None


@direct
def test_what_of_a_point_is_shown(shelf):
    def shown(**more: object) -> dict:
        return shelf.ours.retrieve(shelf.name, [2], **more)[0].payload

    assert set(shown(with_payload=["n", "city"])) == {"n", "city"}
    assert shown(with_payload=["inner.deep"]) == {"inner": {"deep": 2}}
    assert set(shown(with_payload=m.PayloadSelectorExclude(exclude=["text", "note"]))) == set(
        shelf.mine[1].payload
    ) - {"text", "note"}
    assert set(shown(with_payload=m.PayloadSelectorInclude(include=["n"]))) == {"n"}
    assert not shown(with_payload=False)
    found = shelf.ours.query_points(shelf.name, query=query(1), with_payload=["n"], limit=1).points
    assert set(found[0].payload) == {"n"} and found[0].vector is None


@direct
def test_the_batch_form(shelf):
    given = [Point(id=n, vector=query(n + 40), payload={"n": n}) for n in (101, 102)]
    shelf.ours.upsert(
        shelf.name,
        points=m.Batch(
            ids=[each.id for each in given],
            vectors=[each.vector for each in given],
            payloads=[each.payload for each in given],
        ),
    )
    close(
        shelf.ours.query_points(shelf.name, query=query(2)).points,
        nearest(shelf.mine + given, query(2))[:10],
    )


@direct
def test_points_are_uploaded_without_waiting_and_are_there(shelf):
    more = points(50, 21)[:48]
    for each in more:
        each.id += 1000
    shelf.ours.upload_points(shelf.name, structs(more), batch_size=7)
    assert shelf.ours.count(shelf.name).count == 60
    close(
        shelf.ours.query_points(shelf.name, query=query(3)).points,
        nearest(shelf.mine + more, query(3))[:10],
    )


@direct
def test_an_upsert_takes_the_place_of_what_there_was(shelf):
    shelf.ours.upsert(
        shelf.name, points=[m.PointStruct(id=1, vector=query(1), payload={"other": 1})]
    )
    found = shelf.ours.query_points(shelf.name, query=query(1), limit=1).points[0]
    assert (found.id, found.payload) == (1, {"other": 1})
    assert found.score == near(1, rel=1e-4)
    assert shelf.ours.count(shelf.name).count == 12


def test_operations_are_counted_and_versions_tell_which(shelf):
    first = shelf.ours.upsert(shelf.name, points=structs(shelf.mine[:1]))
    second = shelf.ours.set_payload(shelf.name, payload={"x": 1}, points=[2])
    third = shelf.ours.upsert(shelf.name, points=structs(shelf.mine[2:3]), wait=False)
    assert (first.status, third.status) == ("completed", "acknowledged")
    assert first.operation_id < second.operation_id < third.operation_id
    found = shelf.ours.query_points(shelf.name, limit=12).points
    versions = {each.id: each.version for each in found}
    assert versions[1] == first.operation_id
    assert versions[2] == second.operation_id
    assert versions[3] == third.operation_id
    assert versions[4] < first.operation_id


@direct
def test_points_are_removed_by_id_and_by_filter(shelf):
    shelf.ours.delete(shelf.name, points_selector=[1, 2])
    shelf.ours.delete(shelf.name, points_selector=m.PointIdsList(points=[3]))
    shelf.ours.delete(shelf.name, points_selector=m.Filter(must=[has("city", value="Oslo")]))
    left = [
        each for each in shelf.mine if each.id not in (1, 2, 3) and each.payload["city"] != "Oslo"
    ]
    assert {each["id"] for each in everything(shelf.ours, shelf.name)} == {each.id for each in left}
    close(shelf.ours.query_points(shelf.name, query=query(1)).points, nearest(left, query(1)))
    # Deleting what is not there is no error.
    shelf.ours.delete(shelf.name, points_selector=[1, 2])


@direct
def test_payloads_are_merged_replaced_thinned_and_cleared(shelf):
    def payload(one: int) -> dict:
        return shelf.ours.retrieve(shelf.name, [one])[0].payload

    old = shelf.mine[3].payload
    shelf.ours.set_payload(shelf.name, payload={"city": "Bergen", "new": [1]}, points=[4])
    assert payload(4) == old | {"city": "Bergen", "new": [1]}
    shelf.ours.set_payload(shelf.name, payload={"more": 1}, points=[4], key="inner")
    assert payload(4)["inner"] == {"deep": old["inner"]["deep"], "more": 1}
    shelf.ours.delete_payload(shelf.name, keys=["new", "inner.more", "absent"], points=[4])
    assert payload(4) == old | {"city": "Bergen"}
    shelf.ours.overwrite_payload(shelf.name, payload={"only": True}, points=[4])
    assert payload(4) == {"only": True}
    wanted = m.Filter(must=[has("city", value="Rome")])
    shelf.ours.clear_payload(shelf.name, points_selector=m.FilterSelector(filter=wanted))
    assert shelf.ours.count(shelf.name, count_filter=wanted).count == 0
    assert shelf.ours.count(shelf.name).count == 12
    # Filters see what was written.
    assert shelf.ours.count(shelf.name, count_filter=m.Filter(must=[has("only", value=True)])) == (
        m.CountResult(count=1)
    )


@direct
def test_payload_is_set_by_filter(shelf):
    wanted = m.Filter(must=[has("city", value="Rome")])
    shelf.ours.set_payload(shelf.name, payload={"marked": 1}, points=wanted)
    marked = m.Filter(must=[has("marked", value=1)])
    expected = sum(each.payload["city"] == "Rome" for each in shelf.mine)
    assert shelf.ours.count(shelf.name, count_filter=marked).count == expected


@direct
def test_a_batch_of_updates_is_done_in_order(shelf):
    operations = [
        m.UpsertOperation(
            upsert=m.PointsList(points=[m.PointStruct(id=70, vector=query(1), payload={"a": 1})])
        ),
        m.SetPayloadOperation(set_payload=m.SetPayload(payload={"b": 2}, points=[70])),
        m.DeletePayloadOperation(delete_payload=m.DeletePayload(keys=["a"], points=[70])),
        m.UpsertOperation(upsert=m.PointsBatch(batch=m.Batch(ids=[71], vectors=[query(2)]))),
        m.OverwritePayloadOperation(overwrite_payload=m.SetPayload(payload={"c": 3}, points=[71])),
        m.ClearPayloadOperation(clear_payload=m.PointIdsList(points=[1])),
        m.UpdateVectorsOperation(
            update_vectors=m.UpdateVectors(points=[m.PointVectors(id=2, vector=query(3))])
        ),
        m.DeleteOperation(delete=m.PointIdsList(points=[3])),
    ]
    done = shelf.ours.batch_update_points(shelf.name, update_operations=operations)
    assert [each.status for each in done] == ["completed"] * len(operations)
    back = {each["id"]: each for each in everything(shelf.ours, shelf.name)}
    assert back[70]["payload"] == {"b": 2}
    assert back[71]["payload"] == {"c": 3}
    assert not back[1]["payload"] and 3 not in back
    assert shelf.ours.query_points(shelf.name, query=query(3), limit=1).points[0].id == 2


# Texts at the door


def test_texts_are_embedded_at_the_door(shelf, acme, globex, standin):
    """By the tenant's own route, with its own credential."""
    name = f"texts-{uuid.uuid4().hex[:8]}"
    mark = standin.mark()
    for client in (shelf.ours, shelf.theirs):
        client.create_collection(
            name,
            vectors_config={"d": m.VectorParams(size=256, distance=m.Distance.COSINE)},
            sparse_vectors_config={"w": m.SparseVectorParams(modifier=m.Modifier.IDF)},
        )
    texts = ["invoices are due in May", "the harbour is grey", "a green hill"]
    shelf.ours.upsert(
        name,
        points=[
            m.PointStruct(
                id=n,
                vector={
                    "d": m.Document(text=text, model="embed"),
                    "w": m.Document(text=text, model="Qdrant/bm25"),
                },
            )
            for n, text in enumerate(texts)
        ],
    )
    for using, model in (("d", "embed"), ("w", "Qdrant/bm25")):
        asked = m.Document(text="grey harbour", model=model)
        found = shelf.ours.query_points(name, query=asked, using=using).points
        assert found[0].id == 1, using
    theirs = m.Document(text="grey harbour", model="embed")
    assert shelf.theirs.query_points(name, query=theirs, using="d").points == []
    credentials = {seen.credential for seen in standin.since(mark) if b"harbour" in seen.body}
    assert credentials == {acme.secrets["openai"], globex.secrets["openai"]}
    asked_for = [seen for seen in standin.since(mark) if acme.secrets["openai"] == seen.credential]
    assert len(asked_for) == 2, "one for the upsert, one for the query; none for BM25"
    with pytest.raises(UnexpectedResponse) as raised:
        unknown = m.Document(text="grey", model="no-such-route")
        shelf.ours.query_points(name, query=unknown, using="d")
    assert 400 <= raised.value.status_code < 500
    assert shelf.ours.count(name).count == 3
    for client in (shelf.ours, shelf.theirs):
        client.delete_collection(name)


def test_a_token_that_may_not_embed_may_not_at_the_door(shelf, deployment, qdrant):
    narrow = qdrant(token=deployment.token("acme", grants="memory:read memory:write"))
    with pytest.raises(UnexpectedResponse) as raised:
        narrow.query_points(shelf.name, query=m.Document(text="grey", model="embed"))
    assert raised.value.status_code == 403


# The client itself


def test_the_client_finds_a_server_of_its_version(deployment, acme):
    """Its own check runs in a thread, and warns."""
    before = set(threading.enumerate())
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        client = QdrantClient(url=deployment.qdrant_url, api_key=deployment.token("acme"))
        for thread in set(threading.enumerate()) - before:
            thread.join(timeout=30)
    assert [str(each.message) for each in told] == ["Api key is used with an insecure connection."]
    assert client.info().version.startswith("1.")
    client.close()


def test_a_token_may_also_be_a_bearer_token(deployment, shelf):
    client = QdrantClient(
        url=deployment.qdrant_url, auth_token_provider=lambda: deployment.token("acme")
    )
    assert client.count(shelf.name).count == 12
    client.close()


async def test_asynchronously(deployment, shelf):
    clients = [
        AsyncQdrantClient(url=deployment.qdrant_url, api_key=deployment.token(tenant), timeout=30)
        for tenant in ("acme", "globex")
    ]
    ours, theirs = clients
    close(
        (await ours.query_points(shelf.name, query=query(1), limit=5)).points,
        nearest(shelf.mine, query(1))[:5],
    )
    more = [m.PointStruct(id=50, vector=query(1), payload={"x": 1})]
    assert (await ours.upsert(shelf.name, points=more)).status == "completed"
    assert (await ours.query_points(shelf.name, query=query(1), limit=1)).points[0].id == 50
    assert (await ours.count(shelf.name)).count == 13
    assert (await theirs.count(shelf.name)).count == 12
    page, _ = await ours.scroll(shelf.name, limit=3)
    assert [each.id for each in page] == [1, 2, 3]
    await ours.delete(shelf.name, points_selector=[50])
    assert (await ours.count(shelf.name)).count == 12
    for client in clients:
        await client.close()
