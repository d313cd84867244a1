"""`bulkhead probe`, as its users have it: what it says in each form, how it ends, and what it never says.

What is probed is the demo's stack, and a shelf of documents in this file that is made to leak or not to."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import secrets
import subprocess
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from deployment import BINARY
from jsonschema import Draft202012Validator

ROOT = Path(__file__).parents[1]
SCHEMA = json.loads((ROOT / "docs/probe-report.schema.json").read_text())
VALIDATOR = Draft202012Validator(SCHEMA)
PAGES = {page.stem for page in (ROOT / "docs/checks").glob("*.md")} - {"README"}


@dataclass
class Shelf:
    """Documents by id. Whether it asks whose they are can be switched; it tells everybody its own credential, as
    careless services do in their errors."""

    leaks: bool = True
    broken: bool = False
    asked: int = 0
    tokens: dict[str, str] = field(default_factory=dict)
    documents: dict[str, tuple[str, str]] = field(default_factory=dict)

    def answer(
        self, method: str, path: str, presented: str, body: bytes
    ) -> tuple[int, dict[str, str]]:
        self.asked += 1
        if self.broken:
            return 500, {"error": "out of order"}
        owner = self.tokens.get(presented.removeprefix("Bearer "))
        if owner is None:
            return 401, {"error": f"not known: {presented}"}
        if method == "POST" and path == "/docs":
            name = secrets.token_hex(12)
            self.documents[name] = (owner, json.loads(body)["text"])
            return 201, {"id": name, "presented": presented}
        name = path.removeprefix("/docs/")
        whose, text = self.documents.get(name, (None, ""))
        if whose is None or (whose != owner and not self.leaks):
            return 404, {"error": "no such document"}
        if method == "DELETE":
            del self.documents[name]
            return 200, {"removed": name}
        return 200, {"id": name, "text": text, "presented": presented}


@contextlib.contextmanager
def served(shelf: Shelf) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            # Two credentials are none.
            presented = ", ".join(self.headers.get_all("authorization") or [])
            status, said = shelf.answer(self.command, self.path, presented, body)
            text = json.dumps(said).encode()
            with contextlib.suppress(ConnectionError):
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("cache-control", "no-store")
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

        do_GET = do_POST = do_PUT = do_DELETE = answer

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@dataclass
class Prober:
    """The binary, with a folder of its own for target files and for what it keeps."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    def run(self, *args: str, seconds: int = 170) -> subprocess.CompletedProcess[str]:
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("BULKHEAD_")
        }
        environment |= {"XDG_STATE_HOME": str(self.folder / "state"), "NO_COLOR": "1"}
        return subprocess.run(
            [str(BINARY), "probe", *args],
            cwd=self.folder,
            env=environment | self.variables,
            capture_output=True,
            text=True,
            timeout=seconds,
        )

    def report(self, *args: str, ends: int) -> dict:
        done = self.run(*args, "--format", "json")
        assert done.returncode == ends, done.stderr + done.stdout[-4_000:]
        report = json.loads(done.stdout)
        VALIDATOR.validate(report)
        return report


TARGETS = """\
[budget]
requests = 20000
usd = 0
minutes = 3

[tenant.a]
token = "env:PROBE_A"
names = ["acme"]

[tenant.b]
token = "env:PROBE_B"
names = ["globex"]

[target.shelf]
kind = "http"
url = "{url}"
plant = {{ post = "/docs", json = {{ text = "{{canary}}" }}, id = "/id" }}
objects = ["/docs/{{id}}"]
cleanup = {{ delete = "/docs/{{id}}" }}
"""
LINE = TARGETS[: TARGETS.index("[target.shelf]")].count("\n") + 1


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[tuple[Shelf, Prober]]:
    """A shelf that leaks, and `stack.toml` that names it."""
    shelf, prober = Shelf(), Prober(tmp_path)
    for name, tenant in (("PROBE_A", "a"), ("PROBE_B", "b")):
        prober.variables[name] = f"tok-{secrets.token_hex(24)}"
        shelf.tokens[prober.variables[name]] = tenant
    with served(shelf) as url:
        (tmp_path / "stack.toml").write_text(TARGETS.format(url=url))
        yield shelf, prober


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> dict:
    return Prober(tmp_path_factory.mktemp("demo")).report("--demo", "--quick", ends=1)


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    done = Prober(tmp_path_factory.mktemp("checks")).run("checks", "--json")
    return {check["id"]: check for check in json.loads(done.stdout)["items"]}


def test_the_schema_is_one():
    Draft202012Validator.check_schema(SCHEMA)


def objects(schema: object) -> Iterator[dict]:
    if isinstance(schema, dict):
        if "properties" in schema and schema.get("type") == "object":
            yield schema
        for part in schema.values():
            yield from objects(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from objects(part)


def test_the_schema_lets_nothing_through_that_it_does_not_name(demo):
    for each in objects(SCHEMA):
        if each is not SCHEMA["$defs"]["held"]:
            assert each["additionalProperties"] is False, each
            assert set(each["required"]) == set(each["properties"]), each
    finding = next(each for each in demo["findings"] if each["verdict"] == "leak")
    for changed in (
        demo | {"more": 1},
        {name: value for name, value in demo.items() if name != "seed"},
        demo | {"schema": 2},
        demo | {"outcome": "fine"},
        demo | {"findings": [finding | {"verdict": "isolated"}]},
        demo | {"findings": [finding | {"proof": None}]},
    ):
        assert not VALIDATOR.is_valid(changed)


def test_the_demo_leaks_in_every_way_that_it_is_made_to(demo):
    assert demo["outcome"] == "leak" and demo["source"]["kind"] == "demo"
    assert len(demo["source"]["flaws"]) >= 20
    leaks = {finding["check"] for finding in demo["findings"] if finding["verdict"] == "leak"}
    assert len(leaks) >= 20, leaks
    assert leaks <= PAGES
    numbers = [finding["proof"]["number"] for finding in demo["findings"] if finding["proof"]]
    assert numbers == list(range(1, len(numbers) + 1))
    context = demo["questions"][0]
    assert (context["question"], context["answer"]) == ("context", "yes") and context["proofs"]
    # It also says that things are erased that are not.
    assert demo["canaries"]["planted"] > demo["canaries"]["verified"] > 0


# These need a machine that is not too busy to tell anything; on a busy one they say so.
OF_TIME = {"noisy-neighbour", "prompt-timing", "redis-desync"}


def test_its_fixed_twin_does_not(tmp_path):
    done = Prober(tmp_path).run("--demo", "--fixed", "--quick", "--format", "json")
    report = json.loads(done.stdout)
    VALIDATOR.validate(report)
    sure = [each for each in report["findings"] if each["check"] not in OF_TIME]
    assert len(sure) > 80
    told = [f"{each['target']} {each['check']}: {each['summary']}" for each in sure]
    assert [
        (each["verdict"], what)
        for each, what in zip(sure, told, strict=True)
        if each["verdict"] != "isolated"
    ] == []
    answers = {answer["question"]: answer["answer"] for answer in report["questions"]}
    assert (answers["debugging"], answers["ambiguity"]) == ("no", "no")
    assert report["source"]["flaws"] == []
    canaries = report["canaries"]
    assert canaries["planted"] == canaries["removed"] > 100
    assert canaries["verified"] * 10 >= canaries["removed"] * 9
    assert [left for left in canaries["left"] if left["failed"]] == []


def test_every_check_is_listed_and_has_its_page(demo, catalogue):
    assert set(catalogue) == PAGES
    known = {finding["check"] for finding in demo["findings"]}
    known |= {uncovered["check"] for uncovered in demo["uncovered"]}
    assert known <= PAGES
    for check in catalogue.values():
        assert (ROOT / check["page"]).is_file()
        assert check["means"] and check["fix"] and check["standards"]


def test_sarif_has_stable_rules_and_points_at_the_target(shelf, catalogue):
    _, prober = shelf
    done = prober.run("stack.toml", "--only", "object-id,noisy-neighbour", "--format", "sarif")
    assert done.returncode == 1, done.stderr
    sarif = json.loads(done.stdout)
    assert sarif["version"] == "2.1.0"
    (run,) = sarif["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == list(catalogue)
    leak, unproven = sorted(run["results"], key=lambda result: result["kind"])
    assert (leak["ruleId"], leak["level"], leak["kind"]) == ("object-id", "error", "fail")
    assert (unproven["ruleId"], unproven["level"]) == ("noisy-neighbour", "none")
    for result in (leak, unproven):
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        place = result["locations"][0]["physicalLocation"]
        assert place["artifactLocation"]["uri"] == "stack.toml"
        assert place["region"]["startLine"] == LINE
    again = prober.run("stack.toml", "--only", "object-id,noisy-neighbour", "--format", "sarif")
    prints = [
        {json.dumps(result["partialFingerprints"]) for result in each["runs"][0]["results"]}
        for each in (sarif, json.loads(again.stdout))
    ]
    assert prints[0] == prints[1]


def test_junit_fails_leaks_and_skips_what_is_not_proven(shelf):
    _, prober = shelf
    only = "object-id,shared-env,noisy-neighbour"
    done = prober.run("stack.toml", "--only", only, "--format", "junit")
    assert done.returncode == 1, done.stderr
    suites = ET.fromstring(done.stdout)
    cases = {case.get("name"): case for case in suites.iter("testcase")}
    assert set(cases) == {f"{check} (documents)" for check in only.split(",")}
    assert cases["object-id (documents)"].find("failure") is not None
    assert "--allow-flood" in cases["noisy-neighbour (documents)"].find("skipped").get("message")
    assert list(cases["shared-env (documents)"]) == []
    counts = [int(suites.get(name)) for name in ("tests", "failures", "skipped")]
    assert counts == [3, 1, 1]


class Page(HTMLParser):
    """What a page would fetch or run."""

    VOID = frozenset({"meta", "br", "hr", "img", "link", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.reaches: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        if tag in {"script", "iframe", "object", "embed", "link", "base", "img", "form"}:
            self.reaches.append(tag)
        for name, value in attrs:
            leads = name in {"src", "href", "srcset", "action", "background", "ping", "data"}
            if name.startswith("on") or (leads and not (value or "").startswith("#")):
                self.reaches.append(f"{tag} {name}={value}")
            if name == "style" and "url" in (value or ""):
                self.reaches.append(f"{tag} {value}")

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, tag


def test_html_is_one_page_that_reaches_for_nothing(shelf):
    _, prober = shelf
    done = prober.run("stack.toml", "--only", "object-id", "--format", "html")
    assert done.returncode == 1, done.stderr
    page = Page(done.stdout)
    assert page.reaches == [] and page.open == []
    style = done.stdout.split("<style>")[1].split("</style>")[0]
    assert "url(" not in style and "@import" not in style
    assert "LEAK" in done.stdout and "replay 1" in done.stdout


def test_markdown_has_its_tables(shelf):
    _, prober = shelf
    done = prober.run("stack.toml", "--only", "object-id", "--format", "markdown")
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("# ") and "docs/checks/object-id.md" in done.stdout
    rows = [line for line in done.stdout.splitlines() if line.startswith("| LEAK |")]
    assert len(rows) == 1 and "`object-id`" in rows[0]


def test_one_run_is_written_in_several_forms(shelf, tmp_path):
    _, prober = shelf
    names = [f"probe.{form}" for form in ("json", "sarif", "xml", "md", "html")]
    files = [word for name in names for word in ("--output", name)]
    done = prober.run("stack.toml", "--only", "object-id", *files)
    assert done.returncode == 1 and "LEAK" in done.stdout, done.stderr
    report = json.loads((tmp_path / "probe.json").read_text())
    VALIDATOR.validate(report)
    (leak,) = report["findings"]
    (result,) = json.loads((tmp_path / "probe.sarif").read_text())["runs"][0]["results"]
    assert leak["summary"] in result["message"]["text"]
    failure = ET.parse(tmp_path / "probe.xml").find(".//failure")
    assert failure.get("message") == leak["summary"]
    assert "# Tenant isolation" in (tmp_path / "probe.md").read_text()
    assert "<!doctype html>" in (tmp_path / "probe.html").read_text()


def test_a_dry_run_lists_requests_and_sends_none(shelf, tmp_path):
    own, prober = shelf
    report = prober.report("stack.toml", "--dry-run", ends=0)
    assert own.asked == 0 and report["dry_run"]
    (foreseen,) = report["foreseen"]
    assert foreseen["requests"] == sum(item["times"] for item in foreseen["items"]) > 50
    assert {"a", "b"} <= {item["who"] for item in foreseen["items"]}
    assert not list(tmp_path.rglob("last.json")), "there is nothing to run again"
    # It needs no credential either, and nobody's leave.
    prober.variables = {}
    (tmp_path / "far.toml").write_text(TARGETS.format(url="http://192.0.2.7:9"))
    assert prober.run("far.toml", "--dry-run").returncode == 0


@pytest.mark.parametrize("flags", [(), ("--only", "object-id")])
def test_what_is_not_on_this_machine_needs_a_word(shelf, tmp_path, flags):
    _, prober = shelf
    (tmp_path / "far.toml").write_text(TARGETS.format(url="http://192.0.2.7:9"))
    begun = time.monotonic()
    done = prober.run("far.toml", *flags)
    assert done.returncode == 3 and "--i-am-authorized" in done.stderr
    assert "probe.authorization" in done.stderr and time.monotonic() - begun < 10


def test_the_exit_status_says_what_came_of_it(shelf, tmp_path):
    own, prober = shelf

    def ends(*args: str) -> int:
        return prober.run("stack.toml", *args).returncode

    assert ends("--only", "object-id") == 1
    assert ends("--only", "object-id", "--fail-on", "never") == 0
    own.leaks = False
    assert ends("--only", "object-id,shared-env,erasure") == 0
    assert ends("--only", "noisy-neighbour") == 2
    assert ends("--only", "noisy-neighbour", "--fail-on", "leak") == 0
    own.broken = True
    assert ends("--only", "object-id,shared-env,erasure") == 2, "an outage is no isolation"
    own.broken = False
    # Isolated in all that was asked, with questions that nothing bears on.
    assert ends() == 2
    assert ends("--only", "no-such-check") == 3
    assert prober.run("missing.toml").returncode == 3
    (tmp_path / "wrong.toml").write_text('[target.x]\nkind = "qdrnt"\n')
    wrong = prober.run("wrong.toml")
    assert wrong.returncode == 3 and "wrong.toml:2:1" in wrong.stderr and "qdrant" in wrong.stderr
    del prober.variables["PROBE_B"]
    unset = prober.run("stack.toml")
    assert unset.returncode == 3 and "PROBE_B" in unset.stderr


def test_what_was_planted_is_removed(shelf):
    own, prober = shelf
    report = prober.report("stack.toml", "--only", "object-id,shared-env", ends=1)
    canaries = report["canaries"]
    assert own.documents == {} and canaries["planted"] > 0 and canaries["left"] == []
    assert canaries["removed"] + 1 >= canaries["planted"], "B removed one"


def test_a_proof_is_run_again_until_it_is_mended(shelf, tmp_path):
    own, prober = shelf
    assert prober.run("stack.toml", "--only", "object-id").returncode == 1
    again = prober.run("replay", "1")
    assert again.returncode == 1 and "curl" in again.stdout, again.stdout + again.stderr
    own.leaks = False
    mended = prober.run("replay", "1")
    assert mended.returncode == 0 and "ISOLATED" in mended.stdout
    none = prober.run("replay", "7")
    assert none.returncode == 3 and "7" in none.stderr
    (kept,) = tmp_path.rglob("last.json")
    assert kept.stat().st_mode & 0o077 == 0 and kept.parent.stat().st_mode & 0o077 == 0


def test_against_a_baseline_only_what_is_new_fails(shelf, tmp_path):
    own, prober = shelf
    only = ("stack.toml", "--only", "object-id,shared-env")
    known = prober.run(*only, "--format", "json", "--output", "main.json")
    assert known.returncode == 1
    report = prober.report(*only, "--baseline", "main.json", ends=0)
    compared = report["baseline"]
    assert [place["check"] for place in compared["unchanged"]] == ["object-id"]
    assert compared["new"] == [] and report["outcome"] == "leak"
    own.leaks = False
    assert prober.run(*only, "--format", "json", "--output", "main.json").returncode == 0
    own.leaks = True
    report = prober.report(*only, "--baseline", "main.json", ends=1)
    assert [place["check"] for place in report["baseline"]["new"]] == ["object-id"]


def everything(prober: Prober, done: list[subprocess.CompletedProcess[str]]) -> Iterator[bytes]:
    for each in done:
        yield each.stdout.encode()
        yield each.stderr.encode()
    for path in prober.folder.rglob("*"):
        if path.is_file():
            yield path.read_bytes()


def test_no_credential_is_in_anything_that_it_says_or_keeps(shelf):
    """The shelf says back what it was presented with, in each of its answers."""
    _, prober = shelf
    only = ("stack.toml", "--only", "object-id,token-prefix,identity-conflict,identity-missing")
    done = [
        prober.run(*only, "--verbose", "--format", form, "--output", f"report.{form}")
        for form in ("terminal", "json", "sarif", "junit", "markdown", "html")
    ]
    done.append(prober.run(*only, "--dry-run"))
    done.append(prober.run("replay", "1"))
    done.append(prober.run("replay", "1", "--json"))
    said = list(everything(prober, done))
    assert any(b"bhc" in each for each in said), "a proof shows what was seen"
    for secret in prober.variables.values():
        # Half of one is too much, too, however it is spelled.
        forms = [secret[4:], secret[: len(secret) // 2 + 4], secret.upper()]
        forms += [base64.b64encode(secret.encode()).decode().rstrip("=")]
        for form in forms:
            found = [each for each in said if form.encode() in each]
            assert found == [], re.findall(rb".{40}" + form[:12].encode(), found[0])


def test_a_secret_is_no_argument(tmp_path):
    prober, secret = Prober(tmp_path), f"sk-{secrets.token_hex(16)}"
    done = prober.run(
        *("--kind", "openai", "--url", "http://127.0.0.1:9", "--model", "m"),
        *("--a", secret, "--b", "env:B"),
    )
    assert done.returncode == 3 and "env:NAME" in done.stderr
    assert secret not in done.stderr + done.stdout
