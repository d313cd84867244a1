"""The prober against applications over pgvector. Both answer every tenant with its own rows alone; one of them has an
index for all, walks that first and filters afterwards, and so gives a tenant nothing when another's rows are nearer.

What the prober says is confirmed without it: by SQL, and by asking the application over HTTP (`pgvector_hand.py`)."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from deployment import BINARY

HERE = Path(__file__).parent
PYTHON = os.environ.get("PGVECTOR_PYTHON", str(HERE.parents[1] / "bench/pgvector/.venv/bin/python"))

TARGETS = """
[budget]
requests = 5000
minutes = 5

[tenant.a]
token = "{a}"
expired = "key-that-nobody-has"
names = ["acme"]

[tenant.b]
token = "{b}"
names = ["globex"]

[target.points]
kind = "qdrant"
url = "{url}"
"""


@dataclass
class Application:
    uri: str
    url: str
    folder: Path
    a: str = field(default_factory=lambda: secrets.token_hex(16))
    b: str = field(default_factory=lambda: secrets.token_hex(16))

    def probed(self) -> tuple[int, dict[tuple[str, str], dict]]:
        """The exit code, and the findings by check and place."""
        file = self.folder / "stack.toml"
        file.write_text(TARGETS.format(a=self.a, b=self.b, url=self.url))
        ran = subprocess.run(
            [BINARY, "probe", file, "--format", "json"],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=170,
        )
        assert ran.returncode in (0, 1, 2), ran.stderr.decode()
        report = json.loads(ran.stdout)
        assert report["canaries"]["planted"] == report["canaries"]["verified"] > 0
        found = {(one["check"], one["place"]): one for one in report["findings"]}
        return ran.returncode, found

    def by_hand(self) -> dict:
        ran = subprocess.run(
            [PYTHON, HERE / "pgvector_hand.py", self.uri, self.url, self.a, self.b],
            stdout=subprocess.PIPE,
            check=True,
            timeout=120,
        )
        return json.loads(ran.stdout)


@pytest.fixture
def application(request: pytest.FixtureRequest, tmp_path: Path):
    own = Application("", "", tmp_path)
    # The path of a Unix socket is in this folder and may not be long.
    folder = Path("/tmp") / f"bulkhead-pg-{secrets.token_hex(4)}"
    running = subprocess.Popen(
        [PYTHON, HERE / "pgvector_app.py", folder, request.param, f"{own.a}=acme", f"{own.b}=globex"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=(tmp_path / "log").open("wb"),
    )
    said = running.stdout.readline()
    assert said, (tmp_path / "log").read_text()[-4000:]
    own.uri, own.url = json.loads(said)["uri"], f"http://127.0.0.1:{json.loads(said)['port']}"
    yield own
    running.stdin.close()
    running.wait(timeout=60)


def leaks(found: dict[tuple[str, str], dict]) -> dict[str, str]:
    return {
        check: one["summary"] for (check, _), one in found.items() if one["verdict"] == "leak"
    }


@pytest.mark.parametrize("application", ["one-index"], indirect=True)
def test_an_index_for_all_filtered_after_ranking_leaks(application: Application) -> None:
    code, found = application.probed()
    crowding = found["crowding", "points"]
    assert crowding["verdict"] == "leak", crowding
    assert code == 1
    assert " of 10" in crowding["summary"]
    assert crowding["positive"]["held"] and crowding["negative"]["held"]
    # It filters, and gives nobody what is another's: nothing but crowding, and what comes of it, is to be seen.
    assert set(leaks(found)) <= {"crowding", "non-interference"}, leaks(found)
    assert found["filter-escape", "points"]["verdict"] == "isolated"

    seen = application.by_hand()
    assert seen["alone"]["by_sql"] == seen["alone"]["over_http"] == seen["alone"]["right"] == 10
    # The rows are there; the statement walks the graph and finds fewer of them.
    assert seen["crowded"]["there"] == 10 and seen["crowded"]["graph"]
    assert seen["crowded"]["by_sql"] < 10 and seen["crowded"]["over_http"] < 10, seen


@pytest.mark.parametrize("application", ["partitions"], indirect=True)
def test_a_partition_for_each_tenant_is_isolated(application: Application) -> None:
    code, found = application.probed()
    crowding = found["crowding", "points"]
    assert (crowding["verdict"], crowding["summary"]) == ("isolated", "10/10, 5,000 nearer")
    assert leaks(found) == {}, leaks(found)
    assert code in (0, 2)
    for name in ("non-interference", "filter-escape"):
        assert found[name, "points"]["verdict"] == "isolated", found[name, "points"]

    seen = application.by_hand()
    for when in ("alone", "crowded"):
        assert seen[when]["by_sql"] == seen[when]["over_http"] == seen[when]["right"] == 10, seen
