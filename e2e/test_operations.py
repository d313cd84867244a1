"""What an operator runs: logs without secrets, the audit log, backup and restore."""

import json
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from deployment import Deployment
from openai import AuthenticationError, NotFoundError, OpenAI, PermissionDeniedError
from test_sdk import ask


def test_nothing_secret_and_no_payload_reaches_the_log(deployment, client, acme, backend):
    token, key = deployment.token("acme"), deployment.key("acme")["secret"]
    marker = f"payload-{uuid.uuid4().hex}"
    for credential in (token, key):
        sdk = client(api_key=credential)
        sdk.chat.completions.create(**ask(marker))
        sdk.chat.completions.create(**ask(marker), stream=True).close()
        with pytest.raises(Exception):  # noqa: B017, PT011, any refusal will do
            sdk.chat.completions.create(**ask(f"{marker} standin:error=500"))
    log = deployment.log.read_text()
    assert log.strip(), "a log that is empty proves nothing"
    forbidden = {
        "token": token.split(".")[1],
        "signature": token.split(".")[2],
        "api key": key,
        "provider credential": acme.provider_secret,
        "service credential": backend,
        "operator": deployment.operator,
        "prompt": marker,
        "answer": acme.canary,
    }
    assert [name for name, secret in forbidden.items() if secret in log] == []


def test_log_lines_are_json_and_name_tenant_and_run(deployment, client, acme):
    client("acme").chat.completions.create(**ask("logged"))
    lines = [json.loads(line) for line in deployment.log.read_text().splitlines()]
    assert any("acme" in json.dumps(line) for line in lines)


def test_no_file_of_the_deployment_holds_a_secret_in_the_clear(deployment, client, acme):
    marker = f"stored-{uuid.uuid4().hex}"
    client("acme").chat.completions.create(**ask(marker, "cached"))
    key = deployment.key("acme")["secret"]
    for path in deployment.folder.rglob("*"):
        if path.is_file() and path.name != "operator.token":
            content = path.read_bytes()
            for secret in (marker, acme.canary, acme.provider_secret, key):
                assert secret.encode() not in content, path


def test_the_audit_log_verifies_and_shows_the_refusals(deployment, client, acme, globex):
    with pytest.raises(Exception):  # noqa: B017, PT011
        client("acme", default_headers={"X-Tenant-Id": "globex"}).models.list()
    listed = deployment.admin("GET", "/tenants/acme/environments/live/audit?limit=1000&reason=e2e")
    assert "scope.mismatch" in json.dumps(listed)
    deployment.run("audit", "verify", "--all", "--reason", "e2e")
    # The tenant sees in its own log that an operator looked, and why.
    token = deployment.token("acme", grants="audit:read")
    status, _, text = deployment.http(
        "GET",
        f"{deployment.data}/v1/audit?limit=1000",
        headers={"authorization": f"Bearer {token}"},
    )
    assert status == 200 and "operator.enter" in text and "e2e" in text


def test_an_export_verifies_with_what_the_guide_says(deployment, acme, tmp_path: Path):
    """The verifier in docs/audit.md, as it stands there: an implementation that is not ours."""
    of_acme = ("--tenant", "acme", "--environment", "live", "--reason", "e2e")
    export = tmp_path / "acme.json"
    export.write_text(deployment.run("audit", "export", *of_acme))
    guide = (Path(__file__).parents[1] / "docs/audit.md").read_text()
    verifier = guide.split("```python\n")[1].split("```")[0]

    def verify() -> subprocess.CompletedProcess:
        command = [sys.executable, "-c", verifier, str(export)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    done = verify()
    assert done.returncode == 0 and "one chain to the head" in done.stdout, done.stderr
    # And ours, offline, against the key that the server names.
    key = deployment.run("audit", "head", *of_acme).split("verifier key: ")[1].split()[0]
    deployment.run("audit", "verify", "--export", str(export), "--key", key)
    changed = json.loads(export.read_text())
    allowed = [each for each in changed["entries"] if "allowed" in each["body"]["text"]]
    entry = allowed[len(allowed) // 2]
    entry["body"]["text"] = entry["body"]["text"].replace("allowed", "denied")
    export.write_text(json.dumps(changed))
    assert verify().returncode != 0
    with pytest.raises(RuntimeError):
        deployment.run("audit", "verify", "--export", str(export), "--key", key)


def test_a_policy_that_is_reloaded_decides_the_next_hop(apart: Deployment, standin):
    secret = f"sk-{uuid.uuid4().hex}"
    standin.account(secret, "canary-policy")
    policy = apart.folder / "policy.cedar"
    policy.write_text("permit (principal, action, resource);")
    with (apart.folder / "bulkhead.toml").open("a") as configuration:
        configuration.write('\n[policy]\nfile = "policy.cedar"\n')
    apart.start()
    apart.create_tenant("acme")
    apart.set_credential("acme", secret)
    sdk = OpenAI(base_url=apart.openai_url, api_key=apart.token("acme"), max_retries=0)
    sdk.chat.completions.create(**ask("permitted"))
    policy.write_text('permit (principal, action, resource) when { principal.workflow == "x" };')
    with pytest.raises(RuntimeError, match="policy.invalid"):
        # `workflow` may be absent, so a policy that reads it unasked does not pass validation.
        apart.run("policy", "reload")
    sdk.chat.completions.create(**ask("the last good set stays in force"))
    policy.write_text(
        "permit (principal, action, resource)"
        ' when { principal has workflow && principal.workflow == "billing" };'
    )
    apart.run("policy", "reload")
    with pytest.raises(PermissionDeniedError) as raised:
        sdk.chat.completions.create(**ask("denied"))
    assert raised.value.code == "policy.denied"


def test_a_run_shows_its_hops_and_no_payload(deployment, client, acme):
    run, marker = f"run-{uuid.uuid4()}", f"payload-{uuid.uuid4().hex}"
    sdk = client(api_key=deployment.token("acme", run=run))
    answer = sdk.chat.completions.with_raw_response.create(**ask(marker))
    with pytest.raises(NotFoundError):
        sdk.chat.completions.create(**ask(marker, model="gpt-none"))
    of_acme = ("--tenant", "acme", "--environment", "live", "--reason", "e2e")
    until = time.monotonic() + 10
    while answer.headers["x-request-id"] not in (
        shown := deployment.run("run", "show", run, *of_acme, "--json")
    ):
        assert time.monotonic() < until, f"the event is not there: {shown}"
        time.sleep(0.05)
    assert "model.unknown" in shown and marker not in shown and acme.canary not in shown


def test_a_restore_voids_what_was_given_out_before(apart: Deployment, standin, tmp_path: Path):
    secret = f"sk-{uuid.uuid4().hex}"
    standin.account(secret, "canary-restored")
    apart.start()
    apart.create_tenant("acme")
    apart.set_credential("acme", secret)
    token = apart.token("acme")
    sdk = OpenAI(base_url=apart.openai_url, api_key=token, max_retries=0)
    sdk.chat.completions.create(**ask("before"))
    copy = tmp_path / "backup"
    apart.run("backup", str(copy))
    assert not list(copy.rglob("keystore*")), "a backup of the data holds no keys"
    assert apart.stop() == 0
    data = apart.folder / "data"
    data.rename(tmp_path / "lost")
    apart.run("restore", str(copy))
    apart.start()
    with pytest.raises(AuthenticationError) as raised:
        sdk.models.list()
    assert raised.value.code == "scope.revoked"
    fresh = OpenAI(base_url=apart.openai_url, api_key=apart.token("acme"), max_retries=0)
    answer = fresh.chat.completions.create(**ask("after"))
    assert "canary-restored" in answer.choices[0].message.content


def test_doctor_finds_a_sound_deployment_sound(deployment, acme):
    deployment.run("config", "check")
    said = deployment.run("doctor")
    assert "pool is a shared prompt-cache domain" in said
    assert "pool-vllm is a shared" not in said, "it takes a salt"


def test_models_are_tried_one_by_one_and_say_what_is_isolated(deployment, acme, globex):
    """One tiny call to each, of the shape that its provider takes."""
    whom = ("--tenant", "acme", "--environment", "live")
    for route, isolation in {
        "gpt": "account",
        "embed": "account",
        "azure-dated-gpt": "account",
        "claude": "workspace",
        "weights": "salted",
        "lumps": "salted",
        "pooled": "shared prompt-cache domain",
        "pooled-weights": "salted",
    }.items():
        said = deployment.run("model", "test", *whom, "--route", route)
        (line,) = [line for line in said.splitlines() if line.startswith(f"{route} ")]
        assert " ok " in line and line.endswith(isolation), line
    with pytest.raises(RuntimeError, match=r"model\.no_credential"):
        deployment.run(
            "model", "test", "--tenant", "globex", *whom[2:], "--route", "embed-elsewhere"
        )
    assert "gpt-alias" in deployment.run("model", "list")


def test_figures_tell_shared_prompt_caches(deployment, acme, globex):
    headers = {"authorization": f"Bearer {deployment.operator}"}
    _, _, figures = deployment.http("GET", f"{deployment.control}/metrics", headers=headers)
    for provider, shared in {"openai": 0, "pool": 1, "pool-vllm": 0}.items():
        line = f'bulkhead_model_shared_prompt_cache{{provider="{provider}"}} {shared}'
        assert line in figures.splitlines()


def test_tenants_are_applied_from_a_file_and_applying_again_changes_nothing(apart: Deployment):
    document = apart.folder.parent / "tenants.json"
    document.write_text(
        json.dumps({"tenants": [{"id": f"t{n}", "environments": ["live"]} for n in range(5)]})
    )
    apart.start()
    first = apart.cli("tenant", "apply", "-f", str(document))
    again = apart.cli("tenant", "apply", "-f", str(document))
    assert {change["tenant"] for change in first["changes"]} == {f"t{n}" for n in range(5)}
    assert again["changes"] == []
