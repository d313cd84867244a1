"""A deployment of the released binary in a temporary folder. Everything that knows the CLI, the admin API and the
configuration file is in this module; the tests speak of tenants, tokens and keys."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

BINARY = Path(
    os.environ.get("BULKHEAD_BIN", Path(__file__).parents[1] / "target/release/bulkhead")
)
EVERYTHING = "model:chat model:models"

CONFIGURATION = """
[data]
address = "127.0.0.1:{data}"

[control]
address = "127.0.0.1:{control}"

[[model.providers]]
id = "standin"
kind = "openai-compatible"
base_url = "{standin}"
extra_fields = ["top_k"]

[[model.routes]]
name = "plain"
provider = "standin"
upstream_model = "standin-1"

[[model.routes]]
name = "cached"
provider = "standin"
upstream_model = "standin-1"
cache = {{ ttl_seconds = 600 }}
"""


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
    """A tenant with its provider account; `canary` is in every answer that its account gives."""

    name: str
    canary: str
    provider_secret: str


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Deployment:
    def __init__(self, folder: Path, standin_url: str) -> None:
        self.folder = folder
        self.log = folder.parent / f"{folder.name}.log"
        self._process: subprocess.Popen | None = None
        self.data_port, self.control_port = free_ports(2)
        self.data = f"http://127.0.0.1:{self.data_port}"
        self.control = f"http://127.0.0.1:{self.control_port}"
        self.run("init")
        self.operator = (folder / "operator.token").read_text().strip()
        (folder / "bulkhead.toml").write_text(
            CONFIGURATION.format(
                data=self.data_port, control=self.control_port, standin=standin_url
            )
        )

    @property
    def openai_url(self) -> str:
        return f"{self.data}/v1"

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
        foreign = ("OPENAI_", "BULKHEAD_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        return kept | {"NO_COLOR": "1"}

    def run(self, *args: str, stdin: str | None = None) -> str:
        """Runs `bulkhead …`; its standard output."""
        done = subprocess.run(
            [str(BINARY), *args, "--dir", str(self.folder)],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            env=self._environment(),
        )
        if done.returncode != 0:
            raise RuntimeError(f"bulkhead {' '.join(args)}: {done.stdout}{done.stderr}")
        return done.stdout

    def cli(self, *args: str, stdin: str | None = None) -> dict:
        """Runs `bulkhead … --json`; what it printed."""
        return json.loads(self.run(*args, "--json", stdin=stdin))

    def create_tenant(self, name: str, environments: tuple[str, ...] = ("live",)) -> None:
        each = [part for environment in environments for part in ("--environment", environment)]
        self.run("tenant", "create", name, *each)

    def set_credential(
        self, tenant: str, secret: str, environment: str = "live", shared: bool = False
    ) -> None:
        self.run(
            *("credential", "set", "standin", "--tenant", tenant, "--environment", environment),
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

    def key(self, tenant: str, environment: str = "live", grants: str = EVERYTHING) -> dict:
        return self.cli(
            *("access", "key", "create", "--tenant", tenant, "--environment", environment),
            *("--workflow", "support", "--grants", grants),
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
