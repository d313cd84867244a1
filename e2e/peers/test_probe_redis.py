"""The prober against Redis as Debian ships it: one user with prefixes by habit, two ACL users as they are usually
made, two that hold, and two with a hole in what they may read. Each verdict is confirmed by hand, with `redis-cli`."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pytest
from deployment import BINARY, free_ports

ADMIN = ("admin", "password-of-admin")
SECRET = "what-acme-was-billed"

# Redis holds SCAN, RANDOMKEY, DBSIZE, CLIENT TRACKING and PUBSUB CHANNELS to no key pattern and no channel pattern:
# whoever may ask them is told of everybody's.
SHOW_ALL = "-scan -randomkey -dbsize -client|tracking -pubsub|channels"
# What each kind of user may, besides its own keys.
RIGHTS = {
    "usual": "+@all -@admin -@dangerous",
    "tight": f"+@all -@admin -@dangerous {SHOW_ALL}",
    "reader": f"%R~* +@all -@admin -@dangerous {SHOW_ALL}",
}


def users() -> str:
    lines = [f"user {ADMIN[0]} on >{ADMIN[1]} ~* &* +@all", "user default off"]
    lines.append("user shared on >password-of-all ~* &* +@all")
    for kind, rights in RIGHTS.items():
        for tenant in ("acme", "globex"):
            lines.append(f"user {tenant}-{kind} on >password-of-{tenant} ~{tenant}:* &{tenant}:* {rights}")
    return "\n".join(lines) + "\n"


class Redis:
    def __init__(self, folder: Path, acl: str):
        (folder / "users.acl").write_text(acl)
        (self.port,) = free_ports(1)
        program = os.environ.get("REDIS_SERVER", "redis-server")
        settings = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
        self.process = subprocess.Popen(
            [program, *settings, "--aclfile", str(folder / "users.acl")], stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 20
        while "PONG" not in self.by_hand(*ADMIN, "PING"):
            assert time.monotonic() < deadline, "redis-server does not answer"
            time.sleep(0.05)

    def by_hand(self, user: str, password: str, *command: str) -> str:
        """What `redis-cli` prints."""
        login = ["--user", user, "--pass", password, "--no-auth-warning"]
        ran = subprocess.run(
            ["redis-cli", "-p", str(self.port), *login, *command],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        return ran.stdout + ran.stderr

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(20)


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    server = Redis(tmp_path_factory.mktemp("redis"), users())
    assert "OK" in server.by_hand(*ADMIN, "SET", "acme:invoice", SECRET)
    yield server
    server.close()


def target(redis: Redis, a: tuple[str, str], b: tuple[str, str]) -> str:
    def tenant(name: str, who: tuple[str, str]) -> str:
        user, password = who
        return f'{{ user = "{user}", token = "{password}", expired = "an-old-password", prefix = "{name}:" }}'

    return (
        f'[budget]\nrequests = 20000\n\n[target.redis]\nkind = "redis"\nurl = "redis://127.0.0.1:{redis.port}"\n'
        f"a = {tenant('acme', a)}\nb = {tenant('globex', b)}\n"
    )


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "XDG_STATE_HOME": str(folder / "state")}
    return subprocess.run(
        [BINARY, "probe", *arguments],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def probe(folder: Path, written: str) -> tuple[int, dict]:
    (folder / "stack.toml").write_text(written)
    ran = run(folder, "stack.toml", "--quick", "--allow-flood", "--format", "json")
    assert ran.returncode in (0, 1, 2), ran.stderr
    return ran.returncode, json.loads(ran.stdout)


def verdicts(report: dict) -> dict[str, str]:
    return {finding["check"]: finding["verdict"] for finding in report["findings"]}


def told(report: dict) -> str:
    return "\n".join(f"{found['verdict']} {found['check']}: {found['summary']}" for found in report["findings"])


def of(kind: str) -> tuple[tuple[str, str], tuple[str, str]]:
    return tuple((f"{tenant}-{kind}", f"password-of-{tenant}") for tenant in ("acme", "globex"))


@pytest.fixture(autouse=True)
def nothing_is_left(redis):
    yield
    assert redis.by_hand(*ADMIN, "KEYS", "*bulkhead-probe*").strip() == ""
    assert redis.by_hand(*ADMIN, "GET", "acme:invoice").strip() == SECRET


def test_a_prefix_by_habit_leaks(redis, tmp_path):
    everybody = ("shared", "password-of-all")
    code, report = probe(tmp_path, target(redis, everybody, everybody))
    found = verdicts(report)
    assert code == 1, told(report)
    for check in ("key-escape", "key-hunt", "server-commands", "object-id"):
        assert found[check] == "leak", told(report)
    # Not everything is called a leak: each still gets its own answers, at the same time and after a hang-up.
    for check in ("shared-env", "redis-desync", "noisy-neighbour", "erasure"):
        assert found[check] == "isolated", told(report)
    # By hand: whoever has the password of all reads acme's key.
    assert SECRET in redis.by_hand(*everybody, "GET", "acme:invoice")
    # Nothing of anybody's but the prober's own was read into the report.
    assert SECRET not in json.dumps(report)
    assert "password-of-all" not in json.dumps(report)
    # The proof can be run again.
    again = run(tmp_path, "replay", "1")
    assert again.returncode == 1, again.stdout + again.stderr


def test_users_as_they_are_usually_made_show_names(redis, tmp_path):
    a, b = of("usual")
    code, report = probe(tmp_path, target(redis, a, b))
    found = verdicts(report)
    assert code == 1, told(report)
    assert found.pop("key-hunt") == "leak", told(report)
    assert set(found.values()) == {"isolated"}, told(report)
    # By hand: no value, but every name, how many there are, and each that changes.
    assert "NOPERM" in redis.by_hand(*b, "GET", "acme:invoice")
    assert "acme:invoice" in redis.by_hand(*b, "SCAN", "0", "MATCH", "acme:*", "COUNT", "1000")
    assert redis.by_hand(*b, "DBSIZE").strip() == "1"


def test_users_that_may_list_nothing_are_isolated(redis, tmp_path):
    a, b = of("tight")
    _, report = probe(tmp_path, target(redis, a, b))
    found = verdicts(report)
    assert set(found.values()) == {"isolated"}, told(report)
    assert {"key-escape", "key-hunt", "server-commands", "redis-desync", "erasure"} <= set(found)
    # Planted, removed, and looked for afterwards.
    canaries = report["canaries"]
    assert canaries["planted"] == canaries["removed"] == canaries["verified"] > 0
    # By hand.
    for command in (["GET", "acme:invoice"], ["SCAN", "0"], ["MONITOR"], ["DBSIZE"], ["SLOWLOG", "GET"]):
        assert "NOPERM" in redis.by_hand(*b, *command), command
    assert redis.by_hand(*b, "SET", "globex:x", "1", "EX", "60").strip() == "OK"


def test_reading_everything_is_a_leak_of_values(redis, tmp_path):
    a, b = of("reader")
    code, report = probe(tmp_path, target(redis, a, b))
    found = verdicts(report)
    assert code == 1, told(report)
    assert found["key-escape"] == found["object-id"] == "leak", told(report)
    assert found["server-commands"] == "isolated", told(report)
    # By hand: it reads what it cannot write.
    assert SECRET in redis.by_hand(*b, "GET", "acme:invoice")
    assert "NOPERM" in redis.by_hand(*b, "SET", "acme:invoice", "x")


def test_a_redis_without_a_password_is_told_so(tmp_path, tmp_path_factory):
    acl = users().replace("user default off", "user default on nopass ~* &* +@all")
    server = Redis(tmp_path_factory.mktemp("open"), acl)
    try:
        a, b = of("tight")
        code, report = probe(tmp_path, target(server, a, b))
        assert code == 1, told(report)
        assert verdicts(report)["identity-missing"] == "leak", told(report)
        ran = subprocess.run(
            ["redis-cli", "-p", str(server.port), "PING"], capture_output=True, text=True, timeout=20, check=False
        )
        assert "PONG" in ran.stdout
    finally:
        server.close()


def test_a_dry_run_sends_nothing(redis, tmp_path):
    a, b = of("tight")
    (tmp_path / "stack.toml").write_text(target(redis, a, b))
    before = redis.by_hand(*ADMIN, "INFO", "stats")
    ran = run(tmp_path, "stack.toml", "--quick", "--dry-run", "--format", "json")
    after = redis.by_hand(*ADMIN, "INFO", "stats")
    assert ran.returncode in (0, 2), ran.stderr
    commands = [
        int(line.split(":")[1])
        for text in (before, after)
        for line in text.splitlines()
        if line.startswith("total_connections_received:")
    ]
    # `redis-cli` itself connects once.
    assert commands[1] - commands[0] == 1
    report = json.loads(ran.stdout)
    assert report["dry_run"] and report["foreseen"]
    assert "password-of" not in ran.stdout
