"""`bulkhead probe` against gateways that people run: what is known of their caches has to be found, and nothing else.

LiteLLM keeps answers under a key without a tenant, and under a namespace that the request names. Portkey's key is the
body and the address, but the server in its npm package keeps nothing (`x-portkey-cache-status: DISABLED`, whatever a
request asks for), so that there is nothing to be found. Each is asked by two callers with different keys, before a
model of ours that gives every answer an id of its own: an id seen twice came out of a cache."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from deployment import BINARY, free_ports

MODEL = "gpt-4o-mini"
ANSWERS = "exact-key,caller-namespace,soft-scope,cached-errors"

# Two callers with another key, user, team and organization.
CUSTOM_AUTH = """
from litellm.proxy._types import ProxyException, UserAPIKeyAuth

KEYS = {"sk-of-acme": "acme", "sk-of-globex": "globex"}


async def user_api_key_auth(request, api_key: str) -> UserAPIKeyAuth:
    who = KEYS.get(api_key.removeprefix("Bearer "))
    if who is None:
        raise ProxyException(message="who are you?", type="auth_error", param="api_key", code=401)
    return UserAPIKeyAuth(
        api_key=api_key, user_id=f"user-{who}", team_id=f"team-{who}", org_id=f"org-{who}"
    )
"""

CONFIGURATION = """
model_list:
  - model_name: {model}
    litellm_params: {{ model: openai/{model}, api_key: none, api_base: "{upstream}/v1" }}
general_settings: {{ master_key: sk-of-the-operator-0123456789abcdef, custom_auth: custom_auth.user_api_key_auth }}
litellm_settings:
  telemetry: false
  num_retries: 0
  cache: {cache}
  cache_params: {{ type: local }}
router_settings: {{ num_retries: 0 }}
"""

NUMBERS = itertools.count(1)


class Model(BaseHTTPRequestHandler):
    """Says again what it was told, under a new id each time."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Tests are quiet."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if not self.path.endswith("/chat/completions"):
            self.reply(404, {"error": {"message": "not here", "type": "invalid_request_error"}})
            return
        asked = json.loads(body)
        try:
            last = asked["messages"][-1]
            text = f"You said: {last['content']}"
            sound = last["role"] in ("system", "user", "assistant")
            sound = sound and isinstance(asked.get("temperature", 0), int | float)
        except (KeyError, TypeError, IndexError):
            sound = False
        if not sound:
            what = f"cannot read {asked.get('messages')} {asked.get('temperature')}"
            self.reply(400, {"error": {"message": what, "type": "invalid_request_error"}})
            return
        answer = {"id": f"chatcmpl-{next(NUMBERS)}", "created": int(time.time()), "model": MODEL}
        usage = {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}
        if not asked.get("stream"):
            message = {"role": "assistant", "content": text}
            choice = {"index": 0, "finish_reason": "stop", "message": message}
            self.reply(
                200, answer | {"object": "chat.completion", "choices": [choice], "usage": usage}
            )
            return
        chunk = answer | {"object": "chat.completion.chunk"}
        delta = {"role": "assistant", "content": text}
        events = [
            chunk | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
            chunk | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
            chunk | {"choices": [], "usage": usage},
        ]
        data = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
        self.close_connection = True
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(data.encode())

    def reply(self, status: int, value: dict) -> None:
        self.send(status, "application/json", json.dumps(value).encode())

    def send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def until_ready(url: str, running: subprocess.Popen, log: Path) -> None:
    until = time.monotonic() + 150
    while True:
        assert running.poll() is None, log.read_text()[-4000:]
        try:
            urlopen(url, timeout=2).read()
            return
        except (URLError, ConnectionError, TimeoutError):
            assert time.monotonic() < until, log.read_text()[-4000:]
            time.sleep(0.2)


@pytest.fixture(scope="module", params=["cached", "uncached"])
def litellm(request, tmp_path_factory, upstream) -> Iterator[tuple[str, bool]]:
    """The proxy's URL, and whether it caches."""
    cached = request.param == "cached"
    folder = tmp_path_factory.mktemp("litellm")
    (port,) = free_ports(1)
    (folder / "custom_auth.py").write_text(CUSTOM_AUTH)
    written = CONFIGURATION.format(model=MODEL, upstream=upstream, cache=str(cached).lower())
    (folder / "config.yaml").write_text(written)
    program = Path(os.environ.get("LITELLM_BIN", Path(__file__).parent / ".venv/bin/litellm"))
    with (folder / "log").open("wb") as log:
        running = subprocess.Popen(
            [program, "--config", "config.yaml", "--port", str(port), "--host", "127.0.0.1"],
            cwd=folder,
            stdout=log,
            stderr=log,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(folder),
                "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            },
        )
    url = f"http://127.0.0.1:{port}"
    until_ready(f"{url}/health/liveliness", running, folder / "log")
    yield url, cached
    running.terminate()
    running.wait(timeout=30)


@pytest.fixture(scope="module")
def portkey(tmp_path_factory) -> Iterator[str]:
    package = os.environ.get("PORTKEY_DIR")
    if package is None:
        pytest.skip("PORTKEY_DIR names no package of Portkey's")
    folder = tmp_path_factory.mktemp("portkey")
    (port,) = free_ports(1)
    with (folder / "log").open("wb") as log:
        running = subprocess.Popen(
            ["node", f"{package}/build/start-server.js", f"--port={port}", "--headless"],
            stdout=log,
            stderr=log,
            # Its guard against private addresses, for the loopback model.
            env=os.environ | {"TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost"},
        )
    url = f"http://127.0.0.1:{port}"
    until_ready(f"{url}/", running, folder / "log")
    yield url
    running.terminate()
    running.wait(timeout=30)


def probe(folder: Path, file: str, only: str = ANSWERS) -> tuple[int, dict[str, dict]]:
    """The exit status, and the findings by check."""
    target = folder / "stack.toml"
    target.write_text(file)
    ran = subprocess.run(
        [
            *(BINARY, "probe", str(target), "--quick", "--seed", "7"),
            *("--only", only, "--format", "json"),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
    )
    assert ran.returncode < 3, ran.stderr
    found = json.loads(ran.stdout)["findings"]
    return ran.returncode, {finding["check"]: finding for finding in found}


def plan(url: str, headers: dict[str, str] | None = None) -> str:
    more = ", ".join(
        f"{json.dumps(name)} = {json.dumps(value)}" for name, value in (headers or {}).items()
    )
    tenants = "".join(
        f'[tenant.{side}]\ntoken = "sk-of-{name}"\nnames = ["{name}"]\nheaders = {{ {more} }}\n\n'
        for side, name in (("a", "acme"), ("b", "globex"))
    )
    return f'{tenants}[target.gateway]\nkind = "openai"\nurl = "{url}/v1"\nmodel = "{MODEL}"\n'


def verdict(findings: dict[str, dict], check: str) -> tuple[str, str]:
    return findings[check]["verdict"], findings[check]["summary"]


def test_what_is_known_of_litellms_cache_is_found(tmp_path, litellm):
    """LiteLLM #29955 and #19575: no tenant in the key; and `cache.namespace` is the caller's to name."""
    url, cached = litellm
    status, findings = probe(tmp_path, plan(url))
    if not cached:
        for check in ("exact-key", "caller-namespace", "soft-scope"):
            said, summary = verdict(findings, check)
            assert (said, "no cache seen" in summary) == ("isolated", True), findings[check]
        return
    assert status == 1
    assert verdict(findings, "exact-key") == ("leak", "B got A's answer, id for id")
    said, summary = verdict(findings, "caller-namespace")
    assert said == "leak" and "cache.namespace" in summary
    assert verdict(findings, "soft-scope")[0] != "leak"
    assert verdict(findings, "cached-errors")[0] != "leak"
    steps = findings["exact-key"]["proof"]["steps"]
    assert [step["who"] for step in steps] == ["a", "b"]
    assert "sk-of-" not in json.dumps(findings)


def test_nothing_is_found_where_portkey_keeps_nothing(tmp_path, portkey, upstream):
    headers = {
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": f"{upstream}/v1",
        "x-portkey-config": json.dumps({"cache": {"mode": "simple"}}),
    }
    _, findings = probe(tmp_path, plan(portkey, headers))
    for check in ("caller-namespace", "soft-scope"):
        said, summary = verdict(findings, check)
        assert (said, "no cache seen" in summary) == ("isolated", True), findings[check]
    # To a stream it answers 500 ("immutable": it appends to headers that Node has closed), so that
    # nothing is proven of streams.
    said, summary = verdict(findings, "exact-key")
    assert said == "not_proven" and summary.endswith("was answered 500"), findings
    assert verdict(findings, "cached-errors")[0] != "leak"
