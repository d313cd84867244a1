"""Agents' memory in two calls: remember, find again. Expiry, end users, grants; texts in one's own tenant alone."""

import json
import secrets
import time
import uuid

import pytest
from deployment import Deployment, Refused

READ_WRITE = "memory:read memory:write model:embeddings"


class Memory:
    """What an agent would write in a few lines of its own."""

    def __init__(self, deployment: Deployment, token: str, collection: str) -> None:
        self.deployment, self.token = deployment, token
        self.url = f"{deployment.data}/v1/memory/{collection}"

    def ask(self, method: str, path: str, body: object = None) -> dict:
        headers = {"authorization": f"Bearer {self.token}"}
        status, told, text = self.deployment.http(method, f"{self.url}{path}", body, headers)
        if not 200 <= status < 300:
            assert told["content-type"] == "application/problem+json"
            raise Refused(status, text)
        return json.loads(text) if text else {}

    def remember(self, text: str, **more: object) -> dict:
        return self.ask("POST", "", {"text": text} | more)

    def search(self, text: str, **more: object) -> list[dict]:
        return self.ask("POST", "/search", {"text": text} | more)["results"]

    def forget(self, one: object) -> None:
        self.ask("DELETE", f"/{one}")


@pytest.fixture
def name() -> str:
    return f"notes-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def memory(deployment, acme, globex, name):
    def of(tenant: str = "acme", grants: str = READ_WRITE, **more: str) -> Memory:
        return Memory(deployment, deployment.token(tenant, grants=grants, **more), name)

    return of


def test_what_was_remembered_is_found_again(memory, acme, globex, standin):
    ours, theirs = memory("acme"), memory("globex")
    canary = f"canary-{secrets.token_hex(12)}"
    mark = standin.mark()
    theirs.remember(f"the customer wants invoices by post {canary}")
    first = ours.remember("the customer wants invoices by mail", metadata={"topic": "invoices"})
    second = ours.remember("a cat sleeps on the hill", metadata={"topic": "cats"})
    assert first["id"] != second["id"] and "expires" not in first
    found = ours.search("how does the customer want invoices", limit=5)
    assert [each["id"] for each in found] == [first["id"], second["id"]]
    best = found[0]
    assert best["text"] == "the customer wants invoices by mail"
    assert best["metadata"] == {"topic": "invoices"}
    assert best["score"] > found[1]["score"]
    assert best["created"].endswith("Z") and "subject" not in best and "expires" not in best
    assert canary not in str(found)
    filtered = ours.search(
        "invoices", filter={"must": [{"key": "topic", "match": {"value": "cats"}}]}
    )
    assert [each["id"] for each in filtered] == [second["id"]]
    assert len(ours.search("customer", limit=1)) == 1
    # Each tenant's texts were embedded with its own credential.
    for seen in standin.since(mark):
        if canary.encode() in seen.body:
            assert seen.credential == globex.secrets["openai"]
        elif b"a cat sleeps" in seen.body:
            assert seen.credential == acme.secrets["openai"]
    ours.forget(first["id"])
    assert [each["id"] for each in ours.search("invoices")] == [second["id"]]
    with pytest.raises(Refused) as raised:
        ours.forget(first["id"])
    assert raised.value.status == 404


def test_nothing_is_found_where_nothing_is(memory):
    ours = memory()
    try:
        assert ours.search("anything") == []
    except Refused as refused:
        assert refused.status == 404


def test_what_has_expired_is_not_there(memory, qdrant, deployment, name):
    ours = memory()
    kept = ours.remember("kept for good")
    later = ours.remember("kept for an hour", ttl=3600)
    soon = ours.remember("kept for a moment", ttl=1)
    assert "expires" in soon and "expires" in later
    everything = qdrant(token=deployment.token("acme", grants="memory:read"))
    until = time.monotonic() + 20
    while soon["id"] in {each["id"] for each in ours.search("kept", limit=10)}:
        assert time.monotonic() < until, "it does not expire"
        time.sleep(0.05)
    found = {each["id"]: each for each in ours.search("kept", limit=10)}
    assert set(found) == {kept["id"], later["id"]}
    assert found[later["id"]]["expires"] == later["expires"]
    # By no other way either.
    assert everything.count(name).count == 2
    assert everything.retrieve(name, [soon["id"]]) == []
    with pytest.raises(Refused) as raised:
        ours.forget(soon["id"])
    assert raised.value.status == 404


def test_end_users_memories_stay_apart(memory):
    alice, bob = memory(sub="alice"), memory(sub="bob")
    nobody = memory()
    of_alice = alice.remember("my invoices go to the harbour")["id"]
    of_bob = bob.remember("my invoices go to the hill")["id"]
    of_all = nobody.remember("invoices are sent on Monday")["id"]

    def ids(who: Memory, **more: object) -> set:
        return {each["id"] for each in who.search("where do invoices go", limit=10, **more)}

    assert ids(alice) == {of_alice, of_all}
    assert ids(bob) == {of_bob, of_all}
    assert ids(nobody) == {of_all}
    for attempt in (
        lambda: bob.forget(of_alice),
        lambda: nobody.forget(of_alice),
    ):
        with pytest.raises(Refused) as raised:
            attempt()
        assert raised.value.status == 404, "as if it were not there"
    for attempt in (
        lambda: bob.search("invoices", subject="alice"),
        lambda: bob.remember("x", subject="alice"),
        lambda: nobody.remember("x", subject="alice"),
    ):
        with pytest.raises(Refused) as raised:
            attempt()
        assert raised.value.status == 403
    every = memory(grants=f"{READ_WRITE} memory:subjects")
    assert ids(every) == {of_alice, of_bob, of_all}
    assert ids(every, subject="alice") <= {of_alice, of_all} and of_alice in ids(
        every, subject="alice"
    )
    for_bob = every.remember("a note about invoices for bob", subject="bob")["id"]
    assert for_bob in ids(bob) and for_bob not in ids(alice)
    assert alice.search("invoices")[0].get("subject", "alice") == "alice"


def test_equal_subjects_of_two_tenants_are_two(memory):
    ours, theirs = memory("acme", sub="alice"), memory("globex", sub="alice")
    theirs.remember("the harbour's alice")
    assert ours.search("alice") == [] if ours.remember("me")["id"] is None else True
    assert {each["text"] for each in ours.search("alice harbour me", limit=10)} == {"me"}


def test_workflows_are_held_to_their_filter(memory, deployment, name):
    ours = memory()
    ours.remember("public opening hours", metadata={"audience": "public"})
    ours.remember("staff opening codes", metadata={"audience": "staff"})
    helpdesk = Memory(
        deployment, deployment.token("acme", grants=READ_WRITE, workflow="helpdesk"), name
    )
    for wanted in (
        None,
        {"should": [{"key": "audience", "match": {"value": "staff"}}, {"must": []}]},
        {"must_not": [{"key": "audience", "match": {"value": "public"}}]},
    ):
        more = {"filter": wanted} if wanted else {}
        assert "codes" not in str(helpdesk.search("opening codes", limit=10, **more))


@pytest.mark.parametrize(
    ("grants", "may_read", "may_write"),
    [
        ("memory:read model:embeddings", True, False),
        ("memory:write model:embeddings", False, True),
        ("cache:read model:embeddings", False, False),
    ],
)
def test_grants(memory, grants, may_read, may_write):
    memory().remember("a note")
    narrow = memory(grants=grants)
    for allowed, ask in (
        (may_read, lambda: narrow.search("note")),
        (may_write, lambda: narrow.remember("another")),
    ):
        if allowed:
            assert ask()
        else:
            with pytest.raises(Refused) as raised:
                ask()
            assert raised.value.status == 403


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"text": ""},
        {"text": 3},
        {"text": "a", "ttl": -1},
        {"text": "a", "ttl": "soon"},
        {"text": "a", "metadata": []},
        {"text": "a", "unknown": 1},
        {"text": "a", "tenant": "globex"},
        b'{"text":"a","text":"b"}',
        b"not json",
    ],
)
def test_what_is_malformed_is_refused(memory, body):
    with pytest.raises(Refused) as raised:
        memory().ask("POST", "", body)
    assert raised.value.status in (400, 413, 422)
    assert raised.value.json["code"]


def test_the_collection_is_an_ordinary_one(memory, qdrant, deployment, name):
    """It is read by Qdrant's own client, too: the same points, the same reach."""
    memory().remember("the customer wants invoices by mail", metadata={"topic": "invoices"})
    client = qdrant("acme")
    page, _ = client.scroll(name)
    assert page[0].payload["text"] == "the customer wants invoices by mail"
    assert page[0].payload["metadata"] == {"topic": "invoices"}
    client.delete_collection(name)


@pytest.mark.parametrize("apart", ["# no route of embeddings"], indirect=True)
def test_without_a_route_words_are_compared(apart):
    """BM25 in process: no provider is asked."""
    settings = apart.folder / "bulkhead.toml"
    settings.write_text(settings.read_text().replace('embedding = "embed"\n', ""))
    apart.start()
    apart.create_tenant("acme")
    ours = Memory(apart, apart.token("acme", grants="memory:read memory:write"), "notes")
    ours.remember("invoices by mail")
    wanted = ours.remember("the harbour is grey")["id"]
    assert ours.search("grey harbour", limit=1)[0]["id"] == wanted
