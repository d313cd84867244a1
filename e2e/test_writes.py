"""Writes that wait for a person, and writes whose outcome nobody saw: by callers as they are."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError

import jwt
import pytest
from crm import ACCOUNTS, Crm, open_tenants, settings
from deployment import Deployment
from standin import StandIn
from test_mcp import TOOLS, VERSIONS, client, shown

GRANTS = f"{TOOLS} records:read reviews:read"
ACME = ("--tenant", "acme", "--environment", "live")
GLOBEX = ("--tenant", "globex", "--environment", "live")


@pytest.fixture
def crm() -> Iterator[Crm]:
    upstream = Crm()
    upstream.start()
    yield upstream
    upstream.answers.set()
    upstream.close()


# As `refund`, but for this: a person allows each, and then it is done, whether the agent comes back or not.
PAY_BACK = """
[[tools.contracts]]
name = "pay_back"
tool = "refund"
upstream = "crm"
effect = "destructive"
mode = "approve"
bind = { "/account_id" = "account" }
owner = [{ owner = "/account_id" }]
approval = { execute = true }
idempotency = { argument = "/key" }
reconcile = { tool = "get_refund", arguments = { "/key" = "intent" }, holds = [{ path = "$.amount", equals = { from = "argument:/amount" } }] }
"""


@pytest.fixture
def tools(tmp_path: Path, standin: StandIn, crm: Crm) -> Iterator[Deployment]:
    made = settings(crm) + PAY_BACK
    running = Deployment(tmp_path / "bulkhead", standin.origin, tools=made)
    running.start()
    open_tenants(running)
    yield running
    running.stop()


def until(true: Callable[[], object], seconds: float = 30) -> object:
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.05)
    return found


def approves(tools: Deployment, whose: tuple[str, ...] = ACME) -> None:
    """What a person does, as soon as something waits."""

    def open_ones() -> list[dict]:
        listed = tools.cli("review", "list", *whose)["items"]
        return [one for one in listed if one["state"] == "open"]

    (found,) = until(open_ones)
    digest = tools.cli("review", "show", found["id"], *whose)["digest"]
    said = ("--digest", digest, "--reason", "e2e")
    tools.run("review", "approve", found["id"], *whose, *said)


def note(tools: Deployment, token: str, words: str, **headers: str) -> tuple[int, dict, str]:
    """A write by an HTTP API's own client."""
    url = f"{tools.data}/tools/crm-http/accounts/{ACCOUNTS['acme']}/notes"
    given = {"authorization": f"Bearer {token}"} | headers
    return tools.http("POST", url, {"note": words}, given, timeout=60)


def receipts(tools: Deployment, token: str) -> list[dict]:
    headers = {"authorization": f"Bearer {token}"}
    status, _, text = tools.http("GET", f"{tools.data}/v1/receipts", headers=headers)
    assert status == 200, text
    return json.loads(text)["items"]


def proved(tools: Deployment, receipt: dict) -> dict:
    """What a receipt says, for anybody who has the public keys."""
    _, _, text = tools.http("GET", f"{tools.data}/.well-known/jwks.json")
    keys = {key.key_id: key for key in jwt.PyJWKSet.from_json(text).keys}
    signed = receipt["signed"]
    key = keys[jwt.get_unverified_header(signed)["kid"]]
    return jwt.decode(signed, key, algorithms=["EdDSA"], options={"verify_aud": False})


def settled(ask: Callable[[], dict], code: str) -> dict:
    """What is said of a write once nobody is at work on it any more."""

    def asked() -> dict | None:
        said = ask()
        return None if said.get(code) == "tool.in_flight" else said

    return until(asked)


def test_a_client_of_an_api_waits_for_a_person(tools, crm):
    tools.run("tool", "mode", *ACME, "approve")
    token = tools.token("acme", grants=GRANTS, run="run-1")
    # Who does not wait is told at once under which review it stands.
    status, headers, text = note(tools, token, "at once")
    waiting = json.loads(text)
    assert status == 202 and waiting["code"] == "approval.required" and not crm.writes
    assert headers["x-bulkhead-review"] == waiting["review"]
    tools.run("review", "deny", waiting["review"], *ACME, "--reason", "no", *digest(tools, waiting))
    # Who waits gets the upstream's answer.
    person = threading.Thread(target=approves, args=(tools,))
    person.start()
    status, headers, text = note(tools, token, "in time", prefer="wait=30")
    person.join()
    assert status == 201, text
    assert [body for _, _, body in crm.writes] == [{"note": "in time"}]
    assert headers["x-bulkhead-receipt"] == receipts(tools, token)[0]["signed"]
    # For as long as it said, and no longer.
    status, _, text = note(tools, token, "never", prefer="wait=1")
    assert status == 202 and json.loads(text)["code"] == "approval.required"
    assert len(crm.writes) == 1


def digest(tools: Deployment, waiting: dict) -> tuple[str, str]:
    return "--digest", tools.cli("review", "show", waiting["review"], *ACME)["digest"]


@pytest.mark.parametrize("mode", VERSIONS)
async def test_an_agent_waits_for_a_person(tools, crm, mode):
    """In 2026-07-28 the SDK comes back by itself with what it was given; before, the call takes that long."""
    arguments = {"amount": 250, "currency": "EUR"}
    async with client(tools, "acme", mode, run="run-1") as mcp:
        asked = asyncio.create_task(
            mcp.call_tool("refund", arguments, meta={"bulkhead/wait": 30})
        )
        await asyncio.to_thread(approves, tools)
        done = await asked
    assert not done.is_error, shown(done)
    assert [(account, body["amount"]) for account, _, body in crm.writes] == [
        (ACCOUNTS["acme"], 250)
    ]


async def test_what_was_allowed_is_done_without_the_agent(tools, crm):
    """Also if its outcome is cut off: it is looked up at the next start, and not done again."""
    token = tools.token("acme", grants=GRANTS)
    async with client(tools, "acme", run="run-1") as mcp:
        waits = await mcp.call_tool("pay_back", {"amount": 9, "currency": "EUR"})
    assert waits.is_error and "approval.required" in shown(waits) and not crm.writes
    crm.answers.clear()
    await asyncio.to_thread(approves, tools)
    until(lambda: crm.writes)
    tools.kill()
    crm.answers.set()
    tools.start()
    (receipt,) = until(lambda: receipts(tools, token))
    claims = proved(tools, receipt)
    assert claims["tool"] == "pay_back" and claims["review"] == waits.meta["bulkhead/review"]
    assert [(account, body["amount"]) for account, _, body in crm.writes] == [
        (ACCOUNTS["acme"], 9)
    ]


def test_what_was_under_way_at_a_crash_is_looked_up_and_never_sent_again(tools, crm):
    token = tools.token("acme", grants=GRANTS, run="run-1")
    refund = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "refund", "arguments": {"amount": 7, "currency": "EUR"}},
    }

    def refunds() -> dict:
        given = {
            "authorization": f"Bearer {token}",
            "accept": "application/json, text/event-stream",
            "mcp-protocol-version": "2025-11-25",
        }
        _, _, text = tools.http("POST", f"{tools.data}/mcp", refund, given, timeout=60)
        return json.loads(text)["result"]

    def gone(call: Callable[[], object]) -> None:
        with pytest.raises((HTTPException, URLError, ConnectionError)):
            call()

    crm.answers.clear()
    callers = [
        threading.Thread(target=gone, args=(call,))
        for call in (refunds, lambda: note(tools, token, "once"))
    ]
    for caller in callers:
        caller.start()
    until(lambda: len(crm.writes) == 2)
    tools.kill()
    for caller in callers:
        caller.join()
    crm.answers.set()
    tools.start()
    # The contract of the one says by which read it is found out: it was done.
    (receipt,) = until(lambda: receipts(tools, token))
    claims = proved(tools, receipt)
    assert (claims["tenant"], claims["tool"], claims["run"]) == ("acme", "refund", "run-1")
    assert claims["account"] == ACCOUNTS["acme"] and claims["confirmed_by"] == "read"
    again = settled(lambda: refunds()["_meta"], "bulkhead/code")
    assert again["bulkhead/duplicate"] is True
    assert again["bulkhead/receipt"]["signed"] == receipt["signed"]

    # The other's does not: a person is asked, and the agent told so.
    def unknown() -> list[dict]:
        listed = tools.cli("review", "list")["items"]
        return [one for one in listed if one["kind"] == "unknown"]

    (review,) = until(unknown)
    assert review["what"] == "http_note" and review["tenant"] == "acme"
    told = settled(lambda: json.loads(note(tools, token, "once")[2]), "code")
    assert told["code"] == "tool.outcome_unknown" and told["status"] == 409
    # Neither was sent again, whoever asked how often.
    assert len(crm.writes) == 2
    # A person has looked at the upstream, and says so: not by a yes, and not of something else.
    shown = tools.cli("review", "show", review["id"], *ACME)
    said = ("--digest", shown["digest"], "--reason", "it is in the CRM")
    for args in (
        ("approve", review["id"], *ACME, *said),
        ("settle", review["id"], *GLOBEX, "--done", *said),
        ("settle", review["id"], *ACME, *said),
        ("settle", review["id"], *ACME, "--done", "--digest", "0" * 64, "--reason", "x"),
    ):
        assert tools.attempt("review", *args).returncode != 0
    tools.run("review", "settle", review["id"], *ACME, "--done", *said)
    assert not unknown()
    claims = [proved(tools, receipt) for receipt in receipts(tools, token)]
    assert {(one["tool"], one["confirmed_by"]) for one in claims} == {
        ("refund", "read"),
        ("http_note", "person"),
    }
    # What the upstream answered, nobody has; that it was done, the agent is told.
    status, headers, text = note(tools, token, "once")
    assert status == 204 and not text and headers["x-bulkhead-receipt"]
    assert len(crm.writes) == 2


async def test_what_is_erased_of_a_tenant_is_gone(tools, crm):
    async def used(tenant: str) -> str:
        async with client(tools, tenant, run="run-1") as mcp:
            assert not (await mcp.call_tool("refund", {"amount": 3, "currency": "EUR"})).is_error
            waits = await mcp.call_tool("refund", {"amount": 300, "currency": "EUR"})
            foreign = {"acme": "c-globex-0", "globex": "c-acme-0"}[tenant]
            assert (await mcp.call_tool("get_contact", {"contact_id": foreign})).is_error
        return waits.meta["bulkhead/review"]

    def seen() -> set[str]:
        return {of["tenant"] for of in tools.cli("tool", "show", "refund")["seen"]}

    def waiting() -> set[str]:
        return {one["tenant"] for one in tools.cli("review", "list")["items"]}

    reviews = {tenant: await used(tenant) for tenant in ACCOUNTS}
    tokens = {tenant: tools.token(tenant, grants=GRANTS) for tenant in ACCOUNTS}
    kept = receipts(tools, tokens["globex"])
    assert receipts(tools, tokens["acme"]) and kept
    assert seen() == waiting() == set(ACCOUNTS)
    tools.run("tenant", "erase", "acme", "--yes", "--reason", "they asked")
    until(lambda: "acme" not in seen() | waiting())
    headers = {"authorization": f"Bearer {tokens['acme']}"}
    status, _, _ = tools.http("GET", f"{tools.data}/v1/receipts", headers=headers)
    assert status in (401, 403)
    assert tools.attempt("review", "show", reviews["acme"], *ACME).returncode == 1
    # The other's is as it was, also after a start.
    for _ in range(2):
        assert receipts(tools, tokens["globex"]) == kept
        assert seen() == waiting() == {"globex"}
        assert tools.cli("review", "show", reviews["globex"], *GLOBEX)["state"] == "open"
        tools.stop()
        tools.start()
