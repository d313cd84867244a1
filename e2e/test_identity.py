"""Who may do what, as the SDK's exceptions say it."""

import base64
import re
import threading
import uuid

import pytest
from deployment import Refused
from openai import APIError, AuthenticationError, OpenAI, PermissionDeniedError
from tenant_tokens import TenantTokens
from test_sdk import ask


def refused(exception, code: str, call) -> None:
    with pytest.raises(exception) as raised:
        call()
    assert raised.value.code == code, raised.value


def test_a_token_provider_refreshes_from_a_run_grant(deployment, backend, acme, client):
    grant = deployment.run_grant(backend, "acme", run=f"run-{uuid.uuid4()}")
    tokens = TenantTokens(deployment.control, backend, grant)
    sdk = client(api_key=tokens)
    assert acme.canary in sdk.chat.completions.create(**ask("first")).choices[0].message.content
    first = tokens.token
    sdk.chat.completions.create(**ask("the same token"))
    assert tokens.token == first
    tokens.renew_at = 0.0
    sdk.chat.completions.create(**ask("a fresh one"))
    assert tokens.token != first
    # The grant alone opens nothing.
    refused(AuthenticationError, "scope.malformed", lambda: client(api_key=grant).models.list())


def test_a_revoked_run_grant_gives_no_more_tokens(deployment, backend, acme):
    grant = deployment.run_grant(backend, "acme", run="revoked-run")
    tokens = TenantTokens(deployment.control, backend, grant)
    token = tokens()
    deployment.admin("POST", "/revocations", {"token": grant})
    with pytest.raises(Refused) as raised:
        deployment.exchange(
            backend,
            subject_token=grant,
            subject_token_type="urn:bulkhead:params:oauth:token-type:run-grant",
        )
    assert raised.value.json["error"] in ("invalid_grant", "invalid_request")
    # Nor are the tokens that came of it good any more: revocation follows the lineage.
    sdk = OpenAI(base_url=deployment.openai_url, api_key=token, max_retries=0)
    refused(AuthenticationError, "scope.revoked", sdk.models.list)


def test_a_service_mints_for_its_own_tenants_only(deployment, backend, acme):
    deployment.create_tenant("umbrella")
    with pytest.raises(Refused):
        deployment.run_grant(backend, "umbrella", run="not-yours")


@pytest.mark.parametrize(
    ("credential", "code"),
    [
        ("nonsense", "scope.malformed"),
        ("bk_00000000_" + "A" * 43, "scope.unknown"),
        ("eyJhbGciOiJub25lIn0.e30.", "scope.malformed"),
    ],
)
def test_a_bad_credential_is_an_authentication_error(client, acme, credential, code):
    refused(AuthenticationError, code, lambda: client(api_key=credential).models.list())


def test_no_credential_is_an_authentication_error(deployment):
    status, headers, text = deployment.http("GET", f"{deployment.openai_url}/models")
    assert status == 401 and '"scope.missing"' in text
    assert headers["www-authenticate"].startswith("Bearer")


def test_a_token_with_one_character_changed_is_refused(deployment, client, acme):
    token = deployment.token("acme")
    head, payload, signature = token.split(".")
    flipped = payload[:-1] + ("A" if payload[-1] != "A" else "B")
    for forged in (
        f"{head}.{flipped}.{signature}",
        f"{head}.{payload}.{signature[:-4]}AAAA",
        f"{head}.{payload}.",
    ):
        with pytest.raises(AuthenticationError):
            client(api_key=forged).models.list()


def test_an_unsigned_token_is_refused(deployment, client, acme):
    _, payload, signature = deployment.token("acme").split(".")
    head = base64.urlsafe_b64encode(b'{"alg":"none","typ":"txntoken+jwt"}').decode().rstrip("=")
    for forged in (f"{head}.{payload}.", f"{head}.{payload}.{signature}"):
        sdk = client(api_key=forged)
        refused(AuthenticationError, "scope.algorithm", sdk.models.list)


def test_the_credential_is_taken_from_each_sdks_header(deployment, acme):
    token = deployment.token("acme")
    for header, value in [
        ("authorization", f"Bearer {token}"),
        ("x-api-key", token),
        ("api-key", token),
    ]:
        status, _, text = deployment.http(
            "GET", f"{deployment.openai_url}/models", headers={header: value}
        )
        assert status == 200, text


def test_too_narrow_a_grant_is_permission_denied(deployment, client, acme):
    narrow = client(api_key=deployment.token("acme", grants="model:models"))
    assert list(narrow.models.list())
    refused(
        PermissionDeniedError,
        "scope.grant",
        lambda: narrow.chat.completions.create(**ask("may I?")),
    )


@pytest.mark.parametrize(
    "headers",
    [{"X-Tenant-Id": "globex"}, {"x-api-key": "another-credential"}],
    ids=["header", "second credential"],
)
def test_an_identity_that_disagrees_is_refused(client, acme, globex, headers):
    sdk = client("acme", default_headers=headers)
    refused(
        PermissionDeniedError,
        "scope.mismatch",
        lambda: sdk.chat.completions.create(**ask("for whom?")),
    )


def test_an_identity_that_agrees_is_accepted(client, acme):
    sdk = client("acme", default_headers={"X-Tenant-Id": "acme"})
    answer = sdk.chat.completions.create(**ask("for acme"), metadata={"tenant_id": "acme"})
    assert acme.canary in answer.choices[0].message.content


def test_a_body_that_names_another_tenant_is_refused(deployment, client, acme, globex):
    refused(
        PermissionDeniedError,
        "scope.mismatch",
        lambda: client("acme").chat.completions.create(
            **ask("hi"), metadata={"tenant_id": "globex"}
        ),
    )
    status, _, text = deployment.http(
        "POST",
        f"{deployment.openai_url}/chat/completions",
        b'{"model":"plain","model":"cached","messages":[{"role":"user","content":"twice"}]}',
        {"authorization": f"Bearer {deployment.token('acme')}"},
    )
    assert status == 403 and '"scope.mismatch"' in text


def test_what_the_sdk_sends_of_the_environment_is_stripped(client, acme, standin, monkeypatch):
    monkeypatch.setenv("OPENAI_ORG_ID", "org-of-the-caller")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-of-the-caller")
    prompt = f"organization {uuid.uuid4()}"
    sdk = client("acme", default_headers={"baggage": "tenant=globex", "cookie": "a=b"})
    assert sdk.organization == "org-of-the-caller"
    sdk.chat.completions.create(**ask(prompt))
    (seen,) = standin.requests(prompt)
    for name in ("openai-organization", "openai-project", "baggage", "cookie", "x-tenant-id"):
        assert name not in seen.headers
    assert "of-the-caller" not in str(seen.headers)


def test_a_revoked_token_is_refused_at_once_and_its_stream_ends(deployment, client, acme):
    token = deployment.token("acme")
    sdk = client(api_key=token)
    stream = sdk.chat.completions.create(**ask("standin:hold"), stream=True)
    for _ in range(10):
        next(stream)
    revoke = threading.Timer(0.2, deployment.admin, ("POST", "/revocations", {"token": token}))
    revoke.start()
    with pytest.raises(APIError) as raised:
        for _ in stream:
            pass
    revoke.join()
    assert raised.value.code == "scope.revoked"
    refused(AuthenticationError, "scope.revoked", sdk.models.list)
    assert list(client("acme").models.list()), "other tokens of the tenant stay good"


def test_a_suspended_tenant_is_refused_and_its_streams_end(deployment, client, standin):
    secret = f"sk-{uuid.uuid4().hex}"
    standin.account(secret, "canary-hooli")
    deployment.create_tenant("hooli")
    deployment.set_credential("hooli", secret)
    sdk = client("hooli")
    stream = sdk.chat.completions.create(**ask("standin:hold"), stream=True)
    next(stream)
    deployment.admin("POST", "/tenants/hooli/suspend", {"reason": "unpaid"})
    with pytest.raises(APIError) as raised:
        for _ in stream:
            pass
    assert raised.value.code == "scope.suspended"
    refused(PermissionDeniedError, "scope.suspended", sdk.models.list)
    deployment.admin("POST", "/tenants/hooli/resume", {})
    assert list(client("hooli").models.list())


def test_revoking_a_tenant_voids_what_it_had(deployment, client):
    deployment.create_tenant("stark")
    old, key = client("stark"), deployment.key("stark")
    deployment.admin("POST", "/tenants/stark/revoke", {"reason": "leaked"})
    refused(AuthenticationError, "scope.revoked", old.models.list)
    refused(AuthenticationError, "scope.revoked", client(api_key=key["secret"]).models.list)
    client("stark").models.list()


def test_an_api_key_is_shown_once_and_rotates_with_overlap(deployment, client, acme):
    made = deployment.key("acme")
    assert re.fullmatch(r"bk_[0-9a-f]{8}_[A-Za-z0-9_-]{43}", made["secret"])
    listed = deployment.admin("GET", "/tenants/acme/environments/live/keys")
    assert made["id"] in str(listed) and made["secret"] not in str(listed)
    rotated = deployment.admin("POST", f"/keys/{made['id']}/rotate", {"overlap_seconds": 600})
    for secret in (made["secret"], rotated["secret"]):
        assert list(client(api_key=secret).models.list())
    deployment.admin("DELETE", f"/keys/{made['id']}")
    with pytest.raises(AuthenticationError):
        client(api_key=made["secret"]).models.list()
    assert list(client(api_key=rotated["secret"]).models.list())


def test_a_tenants_token_finds_no_control_plane(deployment, acme):
    headers = {"authorization": f"Bearer {deployment.token('acme')}"}
    for path in ("/admin/v1/tenants", "/admin/v1/status", "/metrics"):
        status, _, _ = deployment.http("GET", deployment.control + path, headers=headers)
        assert status == 404, path
        status, _, _ = deployment.http("GET", deployment.data + path, headers=headers)
        assert status == 404, path
