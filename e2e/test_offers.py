"""Resources, prompts and completions through `/mcp` by the official SDKs: two tenants on one upstream, which tells them apart by
the credential alone."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from deployment import Deployment
from library import Library, settings
from mcp import MCPError
from mcp.types import PromptReference, ResourceTemplateReference
from standin import StandIn
from test_mcp import VERSIONS, client, shown

GRANTS = "tools:list tools:read"
TENANTS = ("acme", "globex")


@pytest.fixture(scope="module")
def library() -> Iterator[Library]:
    upstream = Library()
    upstream.start()
    yield upstream
    upstream.close()


@pytest.fixture(scope="module")
def tools(
    tmp_path_factory: pytest.TempPathFactory, standin: StandIn, library: Library
) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("offers") / "bulkhead"
    running = Deployment(folder, standin.origin, tools=settings(library))
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def canaries(tools: Deployment, library: Library) -> dict[str, str]:
    """What is in everything that a tenant may see."""
    found = {}
    for tenant in TENANTS:
        tools.create_tenant(tenant)
        secret = secrets.token_hex(20)
        tools.set_credential(tenant, secret, provider="library")
        found[tenant] = library.open_account(secret, tenant).canary
    return found


def reader(tools: Deployment, tenant: str, mode: str = "auto") -> object:
    return client(tools, tenant, mode, grants=GRANTS)


@pytest.mark.parametrize("mode", VERSIONS)
async def test_each_tenant_gets_its_own(tools, canaries, mode):
    for tenant in TENANTS:
        (other,) = {*TENANTS} - {tenant}
        said = []
        async with reader(tools, tenant, mode) as mcp:
            listed = await mcp.list_resources()
            (mine,) = listed.resources
            # Its name here is no name of the upstream's, and nobody else's.
            assert "library://" not in str(mine.uri)
            read = await mcp.read_resource(str(mine.uri))
            (template,) = (await mcp.list_resource_templates()).resource_templates
            filled = template.uri_template.replace("{?name}", "?name=moby")
            book = await mcp.read_resource(filled)
            (prompt,) = (await mcp.list_prompts()).prompts
            got = await mcp.get_prompt(prompt.name, {"book": "moby"})
            of_prompt = await mcp.complete(
                PromptReference(name=prompt.name), {"name": "book", "value": "mo"}
            )
            of_template = await mcp.complete(
                ResourceTemplateReference(uri=template.uri_template), {"name": "name", "value": "mo"}
            )
            said += [listed, read, book, got, of_prompt, of_template]
        assert all(canaries[tenant] in shown(one) for one in said)
        assert not any(canaries[other] in shown(one) for one in said)
        assert "library://book/moby" in shown(book)


async def test_a_handle_of_anothers_opens_nothing(tools, canaries, library):
    async with reader(tools, "globex") as mcp:
        (theirs,) = (await mcp.list_resources()).resources
        (template,) = (await mcp.list_resource_templates()).resource_templates
    uris = [str(theirs.uri), template.uri_template.replace("{?name}", "?name=moby")]
    uris += ["library://mine", "library://book/moby", str(theirs.uri) + "A", "bulkhead:1_AAAA"]
    before = len(library.read)
    told = set()
    async with reader(tools, "acme") as mcp:
        for uri in uris:
            with pytest.raises(MCPError) as refused:
                await mcp.read_resource(uri)
            told.add((refused.value.error.code, refused.value.error.message))
            assert canaries["globex"] not in json.dumps(refused.value.error.model_dump(mode="json"))
        for name in ("summary", "nobody__summary", "library"):
            with pytest.raises(MCPError):
                await mcp.get_prompt(name, {"book": "moby"})
    # Whether somebody has it or nobody, the answer is the same, and nobody was asked.
    assert len(told) == 1, told
    assert len(library.read) == before


async def test_a_template_is_filled_and_not_left(tools, canaries, library):
    async with reader(tools, "acme") as mcp:
        (template,) = (await mcp.list_resource_templates()).resource_templates
        before = len(library.read)
        for value in ("..", "%2e%2e", "a/b", "a?b", "a#b", "a&name=b", "a&other=b"):
            uri = template.uri_template.replace("{?name}", f"?name={value}")
            with pytest.raises(MCPError):
                await mcp.read_resource(uri)
        assert len(library.read) == before


def test_the_typescript_sdks(tools, canaries):
    given = {"E2E_MCP_URL": f"{tools.data}/mcp"}
    for tenant in TENANTS:
        given[f"E2E_{tenant.upper()}_TOKEN"] = tools.token(tenant, grants=GRANTS)
        given[f"E2E_{tenant.upper()}_CANARY"] = canaries[tenant]
    done = subprocess.run(
        ["node", "--test", "offers.mjs"],
        cwd=Path(__file__).parent / "js",
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "NO_COLOR": "1"}
        | given,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert "# pass 0" not in done.stdout
