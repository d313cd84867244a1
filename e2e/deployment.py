"""A deployment of the released binary in a temporary folder. Everything that knows the CLI, the admin API and the
configuration file is in this module; the tests speak of tenants, tokens and keys."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

BINARY = Path(os.environ.get("BULKHEAD_BIN", Path(__file__).parents[1] / "target/release/bulkhead"))
EVERYTHING = " ".join(
    [
        *(f"model:{what}" for what in ("chat", "models", "responses", "embeddings", "messages")),
        *("model:files", "model:batches", "cache:read", "cache:write", "state:read", "state:write"),
        *("memory:read", "memory:write", "memory:collections"),
    ]
)

HEAD = """
[data]
address = "127.0.0.1:{data}"

[control]
address = "127.0.0.1:{control}"

[model]
resources = "{resources}"
"""

# Texts are embedded by the stand-in. Whoever runs the workflow `helpdesk` sees what is public of any collection.
MEMORY = """
[memory]
embedding = "embed"
{more}

[[memory.filters]]
workflow = "helpdesk"
collection = "*"
filter = {{ must = [{{ key = "audience", match = {{ value = "public" }} }}] }}
"""

PROVIDER = """
[[model.providers]]
id = "{id}"
kind = "{kind}"
base_url = "{origin}{base}"
{more}
"""

# Providers by id: their kind, where the stand-in speaks it, and more settings. Tenants have accounts of their own at
# these …
OWN_PROVIDERS = {
    "standin": ("openai-compatible", "/v1", 'extra_fields = ["top_k"]'),
    "openai": ("openai", "/openai/v1", "retries = { most = 2, backoff_ms = 10 }"),
    "azure": ("azure-openai", "/azure/openai/v1", ""),
    "azure-dated": ("azure-openai", "/azure/openai", 'api_version = "2024-10-21"'),
    "anthropic": ("anthropic", "/anthropic/v1", ""),
    "vllm": ("vllm", "/vllm/v1", ""),
    "sglang": ("sglang", "/sglang/v1", ""),
}
# … and share the operator's account at these.
SHARED_PROVIDERS = {
    "pool": ("openai", "/openai/v1", ""),
    "pool-anthropic": ("anthropic", "/anthropic/v1", ""),
    "pool-vllm": ("vllm", "/vllm/v1", ""),
}

# Routes by name: the provider, and more settings.
ROUTES = {
    "plain": ("standin", ""),
    "cached": ("standin", "cache = { ttl_seconds = 600 }"),
    "gpt": ("openai", 'aliases = ["gpt-alias"]'),
    "gpt-hosted": ("openai", 'hosted_tools = ["code_interpreter", "file_search"]'),
    "embed": ("openai", ""),
    "semantic": (
        "openai",
        'cache = { ttl_seconds = 600 }\nsemantic = { embeddings = "embed", threshold = 0.9 }',
    ),
    "azure-gpt": ("azure", ""),
    "azure-dated-gpt": ("azure-dated", ""),
    "claude": ("anthropic", ""),
    "claude-hosted": ("anthropic", 'hosted_tools = ["code_interpreter"]'),
    "weights": ("vllm", ""),
    "lumps": ("sglang", ""),
    "pooled": ("pool", ""),
    "pooled-cached": ("pool", "cache = { ttl_seconds = 600 }"),
    "pooled-hosted": ("pool", 'hosted_tools = ["code_interpreter", "file_search"]'),
    "pooled-claude": ("pool-anthropic", ""),
    "pooled-claude-hosted": ("pool-anthropic", 'hosted_tools = ["code_interpreter"]'),
    "pooled-weights": ("pool-vllm", ""),
}

# What providers call the model that every route leads to.
MODEL = "standin-1"

FALLBACK = """
[[model.providers]]
id = "gone"
kind = "openai"
base_url = "http://127.0.0.1:{closed}/v1"

[[model.routes]]
name = "fallback"
targets = [
    { provider = "gone", upstream_model = "standin-1" },
    { provider = "openai", upstream_model = "standin-1", weight = 0 },
]

[[model.routes]]
name = "embed-elsewhere"
provider = "gone"

[[model.routes]]
name = "semantic-elsewhere"
provider = "openai"
upstream_model = "standin-1"
cache = { ttl_seconds = 600 }
semantic = { embeddings = "embed-elsewhere" }
"""


def configuration(data: int, control: int, origin: str, resources: str, memory: str = "") -> str:
    """`bulkhead.toml` for a stand-in at `origin`; `resources` is the provider that keeps files, `memory` are more
    settings of `[memory]`."""
    parts = [HEAD.format(data=data, control=control, resources=resources)]
    parts.append(MEMORY.format(more=memory))
    for name, (kind, base, more) in (OWN_PROVIDERS | SHARED_PROVIDERS).items():
        parts.append(PROVIDER.format(id=name, kind=kind, origin=origin, base=base, more=more))
    for name, (provider, more) in ROUTES.items():
        parts.append(
            f'[[model.routes]]\nname = "{name}"\nprovider = "{provider}"\n'
            f'upstream_model = "{MODEL}"\n{more}\n'
        )
    (closed,) = free_ports(1)
    parts.append(FALLBACK.replace("{closed}", str(closed)))
    return "\n".join(parts)


class Refused(Exception):
    """An answer that is not 2xx."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"{status} {body}")
        self.status, self.body = status, body

    @property
    def json(self) -> dict:
        return json.loads(self.body)


@dataclass
class Tenant:
    """A tenant with its provider accounts; `canary` is in every answer that they give."""

    name: str
    canary: str
    # Credentials by provider.
    secrets: dict[str, str] = field(default_factory=dict)

    @property
    def provider_secret(self) -> str:
        return self.secrets["standin"]


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Deployment:
    def __init__(
        self,
        folder: Path,
        origin: str,
        resources: str = "openai",
        memory: str = "",
        tools: str = "",
    ) -> None:
        self.folder = folder
        self.log = folder.parent / f"{folder.name}.log"
        self._process: subprocess.Popen | None = None
        self.data_port, self.control_port = free_ports(2)
        self.data = f"http://127.0.0.1:{self.data_port}"
        self.control = f"http://127.0.0.1:{self.control_port}"
        self.run("init")
        self.operator = (folder / "operator.token").read_text().strip()
        (folder / "bulkhead.toml").write_text(
            configuration(self.data_port, self.control_port, origin, resources, memory) + tools
        )

    @property
    def openai_url(self) -> str:
        return f"{self.data}/v1"

    @property
    def anthropic_url(self) -> str:
        return self.data

    @property
    def qdrant_url(self) -> str:
        return f"{self.data}/qdrant"

    # The process

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(BINARY), "serve", "--dir", str(self.folder)],
                stdout=log,
                stderr=log,
                env=self._environment(),
            )
        until = time.monotonic() + 30
        while True:
            if self._process.poll() is not None:
                raise RuntimeError(f"serve ended: {self.log.read_text()[-4000:]}")
            try:
                for listener in (self.data, self.control):
                    urlopen(f"{listener}/health/ready", timeout=2).read()
                return
            except (HTTPError, URLError, ConnectionError, TimeoutError):
                if time.monotonic() > until:
                    raise RuntimeError(f"not ready: {self.log.read_text()[-4000:]}") from None
                time.sleep(0.02)

    def stop(self) -> int:
        """Asks it to end, and waits until it has drained; its exit status."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(timeout=60)

    def kill(self) -> None:
        """As a power cut would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(timeout=60)

    # The CLI

    def _environment(self) -> dict[str, str]:
        """Without what the machine has set for us or for the SDK."""
        foreign = ("OPENAI_", "ANTHROPIC_", "BULKHEAD_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        return kept | {"NO_COLOR": "1"}

    def command(self, *args: str) -> dict:
        """What `subprocess` needs to run `bulkhead …`."""
        return {
            "args": [str(BINARY), *args, "--dir", str(self.folder)],
            "env": self._environment(),
            "text": True,
        }

    def attempt(self, *args: str, stdin: str | None = None) -> subprocess.CompletedProcess:
        """Runs `bulkhead …`, whether it succeeds or not."""
        command = self.command(*args)
        return subprocess.run(**command, input=stdin, capture_output=True, timeout=120)

    def run(self, *args: str, stdin: str | None = None) -> str:
        """Runs `bulkhead …`; its standard output."""
        done = self.attempt(*args, stdin=stdin)
        if done.returncode != 0:
            raise RuntimeError(f"bulkhead {' '.join(args)}: {done.stdout}{done.stderr}")
        return done.stdout

    def cli(self, *args: str, stdin: str | None = None) -> dict:
        """Runs `bulkhead … --json`; what it printed."""
        return json.loads(self.run(*args, "--json", stdin=stdin))

    def create_tenant(
        self,
        name: str,
        environments: tuple[str, ...] = ("live",),
        accounts: dict[str, str] | None = None,
    ) -> None:
        each = [part for environment in environments for part in ("--environment", environment)]
        for system, account in (accounts or {}).items():
            each += ["--account", f"{system}={account}"]
        self.run("tenant", "create", name, *each)

    def set_credential(
        self,
        tenant: str,
        secret: str,
        environment: str = "live",
        shared: bool = False,
        provider: str = "standin",
    ) -> None:
        self.run(
            *("credential", "set", provider, "--tenant", tenant, "--environment", environment),
            *(["--shared"] if shared else []),
            stdin=secret,
        )

    def token(
        self,
        tenant: str,
        environment: str = "live",
        workflow: str = "support",
        grants: str = EVERYTHING,
        **more: str,
    ) -> str:
        extra = [part for name, value in more.items() for part in (f"--{name}", value)]
        return self.cli(
            *("access", "token", "--tenant", tenant, "--environment", environment),
            *("--workflow", workflow, "--grants", grants, *extra),
        )["token"]

    def service(self, name: str, tenants: str) -> str:
        return self.cli(
            *("access", "service", "create", name, "--tenants", tenants),
            *("--environments", "live", "--workflows", "support", "--grants", EVERYTHING),
        )["secret"]

    def key(
        self,
        tenant: str,
        environment: str = "live",
        grants: str = EVERYTHING,
        workflow: str = "support",
    ) -> dict:
        return self.cli(
            *("access", "key", "create", "--tenant", tenant, "--environment", environment),
            *("--workflow", workflow, "--grants", grants),
        )

    # HTTP

    def http(
        self,
        method: str,
        url: str,
        body: object = None,
        headers: dict[str, str] | None = None,
        timeout: float = 30,
    ) -> tuple[int, dict[str, str], str]:
        """A request without an SDK: status, headers (lower case) and text; statuses raise nothing."""
        request = Request(url, method=method)
        if isinstance(body, bytes):
            request.data = body
        elif body is not None:
            request.data = json.dumps(body).encode()
        request.add_header("content-type", "application/json")
        for name, value in (headers or {}).items():
            request.add_header(name, value)
        try:
            with urlopen(request, timeout=timeout) as response:
                answer = response.status, response.headers, response.read()
        except HTTPError as error:
            answer = error.code, error.headers, error.read()
        status, received, text = answer
        return status, {name.lower(): value for name, value in received.items()}, text.decode()

    def admin(self, method: str, path: str, body: object = None, timeout: float = 30) -> dict:
        headers = {"authorization": f"Bearer {self.operator}", "x-bulkhead-reason": "e2e"}
        status, _, text = self.http(
            method, f"{self.control}/admin/v1{path}", body, headers, timeout
        )
        if not 200 <= status < 300:
            raise Refused(status, text)
        return json.loads(text) if text else {}

    def exchange(self, service: str, **form: str) -> dict:
        """RFC 8693 at /oauth/token."""
        form = {"grant_type": "urn:ietf:params:oauth:grant-type:token-exchange"} | form
        request = Request(f"{self.control}/oauth/token", urlencode(form).encode())
        request.add_header("Authorization", f"Bearer {service}")
        try:
            with urlopen(request, timeout=30) as response:
                return json.load(response)
        except HTTPError as error:
            raise Refused(error.code, error.read().decode()) from None

    def run_grant(self, service: str, tenant: str, run: str) -> str:
        return self.exchange(
            service,
            subject_token_type="urn:bulkhead:params:oauth:token-type:tenant",
            subject_token=tenant,
            requested_token_type="urn:bulkhead:params:oauth:token-type:run-grant",
            environment="live",
            workflow="support",
            run=run,
            scope=EVERYTHING,
        )["access_token"]


class NoDeployment:
    """The stand-in itself, where a deployment would be: a token is the tenant's provider credential."""

    def __init__(self, standin: object) -> None:
        self.openai_url = f"{standin.origin}/openai/v1"
        self.anthropic_url = f"{standin.origin}/anthropic"

    def create_tenant(self, *_: object) -> None:
        pass

    def set_credential(self, *_: object, **__: object) -> None:
        pass

    def token(self, tenant: str) -> str:
        return f"sk-{tenant}"
