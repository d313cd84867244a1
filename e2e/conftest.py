"""One deployment for the session, with the tenants acme and globex; tests that break things make their own."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from deployment import Deployment, Tenant
from openai import AsyncOpenAI, OpenAI
from standin import StandIn


@pytest.fixture(scope="session")
def standin() -> Iterator[StandIn]:
    provider = StandIn()
    yield provider
    provider.close()


@pytest.fixture(scope="session", autouse=True)
def clean_environment() -> None:
    """What the machine has set for the SDK must not decide a test."""
    for name in [name for name in os.environ if name.startswith("OPENAI_")]:
        del os.environ[name]


def open_account(deployment: Deployment, standin: StandIn, name: str) -> Tenant:
    """A tenant with a provider account of its own."""
    tenant = Tenant(name, f"canary-{name}-{secrets.token_hex(16)}", f"sk-{secrets.token_hex(24)}")
    deployment.create_tenant(name, ("live", "staging"))
    deployment.set_credential(name, tenant.provider_secret)
    standin.account(tenant.provider_secret, tenant.canary)
    return tenant


@pytest.fixture(scope="session")
def deployment(tmp_path_factory: pytest.TempPathFactory, standin: StandIn) -> Iterator[Deployment]:
    running = Deployment(tmp_path_factory.mktemp("e2e") / "bulkhead", standin.url)
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


@pytest.fixture
def client(deployment: Deployment) -> Callable[..., OpenAI]:
    """The unmodified SDK for a tenant's name, or with the credential given."""

    def make(tenant: str | None = None, **options: object) -> OpenAI:
        if tenant is not None:
            options["api_key"] = deployment.token(tenant)
        return OpenAI(base_url=deployment.openai_url, **({"max_retries": 0} | options))

    return make


@pytest.fixture
def async_client(deployment: Deployment) -> Callable[..., AsyncOpenAI]:
    def make(tenant: str, **options: object) -> AsyncOpenAI:
        return AsyncOpenAI(
            base_url=deployment.openai_url,
            api_key=deployment.token(tenant),
            **({"max_retries": 0} | options),
        )

    return make


@pytest.fixture
def apart(tmp_path: Path, standin: StandIn) -> Iterator[Deployment]:
    """A deployment of its own for one test, not yet started."""
    own = Deployment(tmp_path / "bulkhead", standin.url)
    yield own
    if own._process is not None and own._process.poll() is None:
        own.kill()
