"""The npm SDKs: each file of js/ with node's own test runner."""

import os
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "js"


@pytest.mark.direct
@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.glob("*.test.mjs")))
def test_npm(deployment, acme, globex, name):
    given = {
        "E2E_OPENAI_URL": deployment.openai_url,
        "E2E_ANTHROPIC_URL": deployment.anthropic_url,
    }
    for tenant in (acme, globex):
        given[f"E2E_{tenant.name.upper()}_TOKEN"] = deployment.token(tenant.name)
        given[f"E2E_{tenant.name.upper()}_CANARY"] = tenant.canary
    done = subprocess.run(
        ["node", "--test", name],
        cwd=FOLDER,
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "NO_COLOR": "1"}
        | given,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert "# pass 0" not in done.stdout
