"""One deployment for the session, with the tenants acme and globex; tests that break things make their own."""

from __future__ import annotations

import os
import secrets
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import shelf as shelves
from anthropic import Anthropic, AsyncAnthropic
from crm import Crm, open_tenants
from crm import settings as crm_settings
from deployment import MODEL, OWN_PROVIDERS, SHARED_PROVIDERS, Deployment, NoDeployment, Tenant
from openai import AsyncOpenAI, OpenAI
from qdrant_client import QdrantClient
from qdrant_client import models as m
from standin import StandIn

# Without Bulkhead in between: shows that the SDKs and the stand-in agree.
DIRECT = bool(os.environ.get("E2E_DIRECT"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is about Bulkhead itself has nothing to ask a stand-in."""
    if DIRECT:
        for item in items:
            if not item.get_closest_marker("direct"):
                item.add_marker(pytest.mark.skip(reason="needs the binary"))


@pytest.fixture(scope="session")
def standin() -> Iterator[StandIn]:
    provider = StandIn(models=() if DIRECT else (MODEL,))
    yield provider
    provider.close()


@pytest.fixture(autouse=True)
def shapes(standin: StandIn) -> Iterator[list[str]]:
    """Nothing of a wrong shape may reach the provider; a test that wants one takes it out of the list."""
    before = len(standin.wrong)
    wrong = standin.wrong
    yield wrong
    assert wrong[before:] == []


@pytest.fixture(scope="session", autouse=True)
def clean_environment() -> None:
    """What the machine has set for the SDKs must not decide a test."""
    for name in [name for name in os.environ if name.startswith(("OPENAI_", "ANTHROPIC_"))]:
        del os.environ[name]


def open_account(deployment: Deployment, standin: StandIn, name: str) -> Tenant:
    """A tenant with provider accounts of its own, and its part of those that all share."""
    tenant = Tenant(name, f"canary-{name}-{secrets.token_hex(16)}")
    deployment.create_tenant(name, ("live", "staging"))
    for provider in OWN_PROVIDERS:
        secret = tenant.secrets[provider] = f"sk-{secrets.token_hex(24)}"
        deployment.set_credential(name, secret, provider=provider)
        standin.account(deployment.token(name) if DIRECT else secret, tenant.canary)
    for provider in SHARED_PROVIDERS:
        secret = tenant.secrets[provider] = f"sk-shared-{provider}"
        deployment.set_credential(name, secret, shared=True, provider=provider)
        standin.account(secret, f"canary-of-all-{provider}")
    return tenant


@pytest.fixture(scope="session")
def deployment(tmp_path_factory: pytest.TempPathFactory, standin: StandIn) -> Iterator[Deployment]:
    if DIRECT:
        yield NoDeployment(standin)
        return
    running = Deployment(tmp_path_factory.mktemp("e2e") / "bulkhead", standin.origin)
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def acme(deployment: Deployment, standin: StandIn) -> Tenant:
    return open_account(deployment, standin, "acme")


@pytest.fixture(scope="session")
def globex(deployment: Deployment, standin: StandIn) -> Tenant:
    return open_account(deployment, standin, "globex")


@pytest.fixture(scope="session")
def backend(deployment: Deployment, acme: Tenant, globex: Tenant) -> str:
    """The secret of a service credential that may mint for both tenants."""
    return deployment.service("backend", f"{acme.name},{globex.name}")


@pytest.fixture(scope="module")
def crm() -> Iterator[Crm]:
    """A system with records of both tenants, behind an HTTP API and MCP."""
    upstream = Crm()
    upstream.start()
    yield upstream
    upstream.close()


@pytest.fixture(scope="module")
def tools(
    tmp_path_factory: pytest.TempPathFactory, standin: StandIn, crm: Crm
) -> Iterator[Deployment]:
    """A deployment with contracts for it, and both tenants."""
    folder = tmp_path_factory.mktemp("tools") / "bulkhead"
    running = Deployment(folder, standin.origin, tools=crm_settings(crm))
    running.start()
    open_tenants(running)
    yield running
    running.stop()


def of_sdk(
    sdk: type, deployment: Deployment, base: str, tenant: str | None, options: dict
) -> object:
    if tenant is not None:
        options = {"api_key": deployment.token(tenant)} | options
    return sdk(base_url=base, **({"max_retries": 0} | options))


@pytest.fixture
def client(deployment: Deployment) -> Callable[..., OpenAI]:
    """The unmodified SDK for a tenant's name, or with the credential given."""
    return lambda tenant=None, **options: of_sdk(
        OpenAI, deployment, deployment.openai_url, tenant, options
    )


@pytest.fixture
def async_client(deployment: Deployment) -> Callable[..., AsyncOpenAI]:
    return lambda tenant=None, **options: of_sdk(
        AsyncOpenAI, deployment, deployment.openai_url, tenant, options
    )


@pytest.fixture
def claude(deployment: Deployment) -> Callable[..., Anthropic]:
    """Anthropic's SDK, likewise."""
    return lambda tenant=None, **options: of_sdk(
        Anthropic, deployment, deployment.anthropic_url, tenant, options
    )


@pytest.fixture
def async_claude(deployment: Deployment) -> Callable[..., AsyncAnthropic]:
    return lambda tenant=None, **options: of_sdk(
        AsyncAnthropic, deployment, deployment.anthropic_url, tenant, options
    )


@pytest.fixture
def qdrant(deployment: Deployment) -> Iterator[Callable[..., QdrantClient]]:
    """The unmodified client for a tenant's name, or with the token given; `heard` hears every answer.

    Without Bulkhead it is Qdrant's own implementation of itself in Python."""
    made: dict[str, QdrantClient] = {}

    def make(
        tenant: str | None = None,
        token: str | None = None,
        heard: shelves.Heard | None = None,
        **options: object,
    ) -> QdrantClient:
        if DIRECT:
            return made.setdefault(str(tenant), QdrantClient(":memory:"))
        if heard is not None:
            options["event_hooks"] = {"response": [heard.hear]}
        client = QdrantClient(
            url=deployment.qdrant_url,
            api_key=token or deployment.token(tenant),
            **({"timeout": 30, "cloud_inference": True} | options),
        )
        made[uuid.uuid4().hex] = client
        return client

    yield make
    for client in made.values():
        client.close()


@pytest.fixture
def shelf(qdrant: Callable[..., QdrantClient], acme: Tenant, globex: Tenant) -> Iterator:
    """A collection that both tenants have under one name, with points of the same ids. Whatever the test does with
    the one's, the other's stays as it was, and nothing of it is heard."""
    heard, canary = shelves.Heard(), f"canary-{secrets.token_hex(16)}"
    name = f"docs-{uuid.uuid4().hex[:8]}"
    own = shelves.Shelf(
        name, qdrant(acme.name, heard=heard), qdrant(globex.name), shelves.points(12, 7), canary
    )
    near = [shelves.query(seed) for seed in range(6)]
    theirs = shelves.decoys(own.mine, near, canary)
    for client, given in ((own.ours, own.mine), (own.theirs, theirs)):
        client.create_collection(
            name, vectors_config=m.VectorParams(size=shelves.SIZE, distance=m.Distance.COSINE)
        )
        client.upsert(name, points=shelves.structs(given))
    before = shelves.everything(own.theirs, name)
    assert canary in str(before)
    yield own
    assert not heard.holds(canary)
    assert shelves.everything(own.theirs, name) == before
    for client in (own.ours, own.theirs):
        client.delete_collection(name)


@pytest.fixture
def apart(request: pytest.FixtureRequest, tmp_path: Path, standin: StandIn) -> Iterator[Deployment]:
    """A deployment of its own for one test, not yet started. A parameter is more settings of `[memory]`."""
    memory = getattr(request, "param", "")
    own = Deployment(tmp_path / "bulkhead", standin.origin, memory=memory)
    yield own
    if own._process is not None and own._process.poll() is None:
        own.kill()
