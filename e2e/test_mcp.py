"""The official Python SDK of MCP and clients of an HTTP API, two tenants on one upstream that looks at nothing."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from pathlib import Path

import httpx2
import pytest
from crm import ACCOUNTS, Crm
from deployment import Deployment
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

TOOLS = "tools:list tools:read tools:write tools:destructive"
VERSIONS = ("2026-07-28", "legacy")


def client(deployment: Deployment, tenant: str, mode: str = "auto", **more: str) -> Client:
    token = deployment.token(tenant, grants=more.pop("grants", TOOLS), **more)
    http = httpx2.AsyncClient(headers={"authorization": f"Bearer {token}"}, timeout=60)
    transport = streamable_http_client(f"{deployment.data}/mcp", http_client=http)
    return Client(transport, mode=mode, cache=None)


def shown(result: object) -> str:
    return json.dumps(result.model_dump(mode="json", by_alias=True))


def clean(crm: Crm, tenant: str, text: str, known: tuple[str, ...] = ()) -> None:
    """Nothing of the other's is in it, but for what whoever asked said itself."""
    (other,) = [name for name in ACCOUNTS if name != tenant]
    for canary in {*crm.canaries(other), ACCOUNTS[other]}.difference(known):
        assert canary not in text


@pytest.mark.asyncio
@pytest.mark.parametrize("mode", VERSIONS)
async def test_each_tenant_gets_its_own(tools, crm, mode):
    for tenant in ACCOUNTS:
        async with client(tools, tenant, mode) as mcp:
            listed = await mcp.list_tools()
            names = {tool.name for tool in listed.tools}
            assert {"list_contacts", "get_contact", "refund", "http_contact"} <= names
            for tool in listed.tools:
                assert "account_id" not in json.dumps(tool.input_schema)
            found = await mcp.call_tool("list_contacts", {})
            assert not found.is_error, shown(found)
            assert all(canary in shown(found) for canary in crm.canaries(tenant))
            clean(crm, tenant, shown(found))


@pytest.mark.asyncio
@pytest.mark.parametrize("mode", VERSIONS)
async def test_another_tenants_record_is_withheld(tools, crm, mode):
    async with client(tools, "acme", mode) as mcp:
        own = await mcp.call_tool("get_contact", {"contact_id": "c-acme-0"})
        assert not own.is_error and crm.records["c-acme-0"]["note"] in shown(own)
        for name, arguments in [
            ("get_contact", {"contact_id": "c-globex-0"}),
            ("find", {"text": "c-"}),
            ("explain", {"contact_id": "c-globex-0"}),
            ("http_contact", {"contact_id": "c-globex-0"}),
        ]:
            refused = await mcp.call_tool(name, arguments)
            assert refused.is_error, name
            clean(crm, "acme", shown(refused))


@pytest.mark.asyncio
async def test_bound_arguments_are_nobodys_to_say(tools, crm):
    async with client(tools, "acme") as mcp:
        for account in (ACCOUNTS["globex"], ACCOUNTS["acme"]):
            refused = await mcp.call_tool("list_contacts", {"account_id": account})
            assert refused.is_error and "tool.argument_bound" in shown(refused)


@pytest.mark.asyncio
async def test_what_a_grant_does_not_cover_is_not_there(tools):
    async with client(tools, "acme", grants="tools:list tools:read") as mcp:
        names = {tool.name for tool in (await mcp.list_tools()).tools}
        assert "refund" not in names and "get_contact" in names
        refused = await mcp.call_tool("refund", {"amount": 1, "currency": "EUR"})
        assert refused.is_error


@pytest.mark.asyncio
async def test_progress_reaches_whoever_asked(tools):
    heard: dict[str, list[float]] = {tenant: [] for tenant in ACCOUNTS}

    async def counted(tenant: str) -> None:
        async def note(progress: float, _total: float | None, _message: str | None) -> None:
            heard[tenant].append(progress)

        async with client(tools, tenant) as mcp:
            result = await mcp.call_tool("count", {}, progress_callback=note)
            assert not result.is_error, shown(result)

    await asyncio.gather(*(counted(tenant) for tenant in ACCOUNTS))
    assert all(heard.values()), heard


@pytest.mark.asyncio
async def test_many_at_once_get_their_own(tools, crm):
    async def many(tenant: str) -> None:
        async with client(tools, tenant) as mcp:
            asked = (mcp.call_tool("list_contacts", {"limit": 1 + n % 3}) for n in range(25))
            for result in await asyncio.gather(*asked):
                assert not result.is_error
                clean(crm, tenant, shown(result))

    await asyncio.gather(*(many(tenant) for tenant in ACCOUNTS for _ in range(2)))


@pytest.mark.asyncio
async def test_a_write_is_done_once_and_has_a_receipt(tools, crm):
    before = len(crm.writes)
    async with client(tools, "acme", run="run-1") as mcp:
        first = await mcp.call_tool("refund", {"amount": 5, "currency": "EUR"})
        again = await mcp.call_tool("refund", {"amount": 5, "currency": "EUR"})
    assert not first.is_error, shown(first)
    assert len(crm.writes) == before + 1
    assert crm.writes[-1][0] == ACCOUNTS["acme"]
    assert first.meta["bulkhead/receipt"] == again.meta["bulkhead/receipt"]
    assert again.meta.get("bulkhead/duplicate") is True
    async with client(tools, "globex", run="run-1") as mcp:
        theirs = await mcp.call_tool("refund", {"amount": 5, "currency": "EUR"})
    assert len(crm.writes) == before + 2 and not theirs.is_error
    assert theirs.meta["bulkhead/receipt"] != first.meta["bulkhead/receipt"]


@pytest.mark.asyncio
async def test_a_large_write_waits_for_a_person(tools, crm):
    before = len(crm.writes)
    arguments = {"amount": 300, "currency": "EUR"}
    async with client(tools, "acme", run="run-2") as mcp:
        waits = await mcp.call_tool("refund", arguments)
        assert waits.is_error and "approval.required" in shown(waits)
        review = waits.meta["bulkhead/review"]
        assert len(crm.writes) == before
        whose = ("--tenant", "acme", "--environment", "live")
        digest = tools.cli("review", "show", review, *whose)["digest"]
        tools.run("review", "approve", review, *whose, "--digest", digest, "--reason", "test")
        done = await mcp.call_tool("refund", arguments, meta={"bulkhead/review": review})
        assert not done.is_error, shown(done)
        assert len(crm.writes) == before + 1
        # It was for these arguments, once.
        other = await mcp.call_tool(
            "refund", arguments | {"amount": 301}, meta={"bulkhead/review": review}
        )
        assert other.is_error and len(crm.writes) == before + 1


def test_an_http_api_by_its_own_client(tools, crm):
    token = tools.token("acme", grants=TOOLS)
    headers = {"authorization": f"Bearer {token}"}
    base = f"{tools.data}/tools/crm-http/accounts"
    # Here the account stands in the path by necessity: it has to agree with the credential.
    status, _, text = tools.http(
        "GET", f"{base}/{ACCOUNTS['acme']}/contacts/c-acme-0", headers=headers
    )
    assert status == 200 and json.loads(text)["note"] == crm.records["c-acme-0"]["note"]
    for account in (ACCOUNTS["globex"], ACCOUNTS["acme"], "..", "%2e%2e"):
        url = f"{base}/{account}/contacts/c-globex-0"
        status, _, text = tools.http("GET", url, headers=headers)
        assert status >= 400, text
        clean(crm, "acme", text)
    assert all(bearer.startswith("Bearer ") and token not in bearer for bearer in crm.bearers if bearer)


def test_no_credential_of_an_agents_reaches_the_upstream(tools, crm):
    token = tools.token("acme", grants=TOOLS)
    body = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "list_contacts", "arguments": {}},
    }
    headers = {
        "authorization": f"Bearer {token}",
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": "2025-11-25",
    }
    status, _, text = tools.http("POST", f"{tools.data}/mcp", body, headers)
    assert status == 200, text
    assert all(token not in bearer for bearer in crm.bearers)


@pytest.mark.asyncio
async def test_arguments_that_a_tool_wants_in_headers_are_there_and_the_same(tools, crm):
    """The SDK repeats what a schema says (`x-mcp-header`), and so does Bulkhead to the upstream; there with what is bound."""
    for tenant, account in ACCOUNTS.items():
        async with client(tools, tenant) as mcp:
            for region in ("eu", "Zürich "):
                done = await mcp.call_tool("locate", {"region": region})
                assert not done.is_error, shown(done)
                headers, said = crm.mirrored[-1]
                assert said == {"account_id": account, "region": region}
                wrapped = "=?base64?WsO8cmljaCA=?="
                assert headers["mcp-param-region"] == (region if region == "eu" else wrapped)
                assert headers["mcp-param-account"] == account


@pytest.mark.asyncio
async def test_headers_that_say_something_else_than_the_body_are_refused(tools, crm):
    token = tools.token("acme", grants=TOOLS)
    about = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    params = {"name": "locate", "arguments": {"region": "eu"}, "_meta": about}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    plain = {
        "authorization": f"Bearer {token}",
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": "2026-07-28",
        "mcp-method": "tools/call",
        "mcp-name": "locate",
    }
    before = len(crm.mirrored)
    for more, good in [
        ({"mcp-param-region": "eu"}, True),
        ({"mcp-param-region": "=?base64?ZXU=?="}, True),
        ({"mcp-param-region": "us"}, False),
        # What is bound is in no header of the caller's either, whatever it says.
        ({"mcp-param-region": "eu", "mcp-param-account": ACCOUNTS["acme"]}, False),
        ({"mcp-param-region": "eu", "mcp-param-account": ACCOUNTS["globex"]}, False),
        ({"mcp-param-region": "eu", "mcp-param-limit": "1"}, False),
        ({"mcp-param-region": "eu", "mcp-name": "list_contacts"}, False),
        ({"mcp-param-region": "eu", "mcp-method": "tools/list"}, False),
        ({"mcp-param-region": "eu", "mcp-protocol-version": "2025-11-25"}, False),
    ]:
        status, _, text = tools.http("POST", f"{tools.data}/mcp", body, plain | more)
        if good:
            assert status == 200 and "error" not in json.loads(text), (more, text)
        else:
            assert status == 400 and json.loads(text)["error"]["code"] == -32020, (more, text)
    assert len(crm.mirrored) == before + 2
    assert {headers["mcp-param-account"] for headers, _ in crm.mirrored[before:]} == {ACCOUNTS["acme"]}


def test_the_typescript_sdks(tools, crm):
    given = {"E2E_MCP_URL": f"{tools.data}/mcp"}
    for tenant in ACCOUNTS:
        given[f"E2E_{tenant.upper()}_TOKEN"] = tools.token(tenant, grants=TOOLS)
        given[f"E2E_{tenant.upper()}_CANARY"] = crm.records[f"c-{tenant}-0"]["note"]
    done = subprocess.run(
        ["node", "--test", "mcp.mjs"],
        cwd=Path(__file__).parent / "js",
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "NO_COLOR": "1"}
        | given,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert "# pass 0" not in done.stdout
