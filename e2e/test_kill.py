"""What was acknowledged survives `kill -9`: tenants, keys, revocations, audit entries, run state."""

import random
import threading
import uuid
from dataclasses import dataclass, field
from http.client import HTTPException
from urllib.error import URLError

from deployment import Deployment, Refused

ROUNDS = 10
WRITERS = 4
# The server is killed when this many writes of a round were acknowledged, with others under way.
ACKNOWLEDGED = 40


@dataclass
class Acknowledged:
    """What the server said it has done."""

    tenants: list[str] = field(default_factory=list)
    keys: list[dict] = field(default_factory=list)
    revoked: list[str] = field(default_factory=list)
    # Revocations that were asked for. One that was not acknowledged may have been done or not.
    asked: set[str] = field(default_factory=set)
    enough: threading.Event = field(default_factory=threading.Event)

    def count(self) -> int:
        return len(self.tenants) + len(self.keys) + len(self.revoked)


def write(deployment: Deployment, done: Acknowledged, until: int, seed: int) -> None:
    """Creates tenants, gives them keys and revokes some, until the server is gone."""
    chance = random.Random(seed)
    while True:
        try:
            tenant = f"t-{uuid.UUID(int=chance.getrandbits(128)).hex}"
            deployment.admin("POST", "/tenants", {"id": tenant, "environments": ["live"]})
            done.tenants.append(tenant)
            body = {"workflow": "support", "scope": "model:models", "reason": "a test"}
            key = deployment.admin("POST", f"/tenants/{tenant}/environments/live/keys", body)
            done.keys.append(key | {"tenant": tenant})
            if chance.random() < 0.5:
                done.asked.add(key["id"])
                deployment.admin("DELETE", f"/keys/{key['id']}")
                done.revoked.append(key["id"])
        except (HTTPException, URLError, ConnectionError, TimeoutError):
            return
        except Refused as refused:
            # A server that is being killed may still say so.
            assert refused.status >= 500, refused
            return
        finally:
            if done.count() >= until:
                done.enough.set()


@dataclass
class Kept:
    """The state of a run with one writer."""

    secret: str
    run: str
    # By key: the value that was acknowledged, and its version.
    done: dict[str, tuple[str, int]] = field(default_factory=dict)
    # The value that was asked for last: acknowledged or not, it may be there.
    asked: dict[str, str] = field(default_factory=dict)
    count: int = 0

    def at(self, deployment: Deployment, key: str) -> tuple[str, dict[str, str]]:
        return f"{deployment.data}/v1/state/{self.run}/{key}", {
            "authorization": f"Bearer {self.secret}"
        }

    def write(self, deployment: Deployment) -> None:
        """Compare-and-set over a few keys, until the server is gone."""
        tags: dict[str, str] = {}
        while True:
            key, value = f"step/{self.count % 5}", f"{self.run}-{self.count}"
            url, headers = self.at(deployment, key)
            try:
                if key not in tags:
                    # There, too, if it was written as the server went, and not acknowledged.
                    status, told, _ = deployment.http("GET", url, headers=headers)
                    tags |= {key: told["etag"]} if status == 200 else {}
                condition = {"if-match": tags[key]} if key in tags else {"if-none-match": "*"}
                self.asked[key] = value
                body = value.encode()
                status, told, text = deployment.http("PUT", url, body, headers | condition)
            except (HTTPException, URLError, ConnectionError, TimeoutError):
                return
            if status >= 500:
                return
            assert status in (200, 201), text
            tags[key] = told["etag"]
            self.done[key] = (value, int(told["x-bulkhead-state-version"]))
            self.count += 1

    def check(self, deployment: Deployment, told: str) -> None:
        for key, (value, version) in self.done.items():
            url, headers = self.at(deployment, key)
            status, answer, text = deployment.http("GET", url, headers=headers)
            assert status == 200, f"{told}: {key} is lost"
            now = int(answer["x-bulkhead-state-version"])
            assert (text, now) in [(value, version), (self.asked[key], version + 1)], told
            self.done[key] = (text, now)
            _, _, earlier = deployment.http("GET", f"{url}?version={version}", headers=headers)
            assert earlier == value, f"{told}: version {version} of {key} is another"


def tenants(deployment: Deployment) -> set[str]:
    found, after = set(), ""
    while True:
        page = deployment.admin("GET", f"/tenants?limit=500{after}")
        found |= {tenant["id"] for tenant in page["items"]}
        if not page["next"]:
            return found
        after = f"&after={page['next']}"


def audited(deployment: Deployment) -> str:
    entries, after = [], ""
    while True:
        page = deployment.admin("GET", f"/audit?limit=500{after}")
        entries += [str(entry) for entry in page["items"]]
        if not page["next"]:
            return "\n".join(entries)
        after = f"&after={page['next']}"


def works(deployment: Deployment, key: dict) -> bool:
    headers = {"authorization": f"Bearer {key['secret']}"}
    status, _, text = deployment.http("GET", f"{deployment.openai_url}/models", headers=headers)
    assert status in (200, 401), text
    return status == 200


def test_acknowledged_writes_survive_kill_9(apart: Deployment):
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    done, kept = Acknowledged(), []
    for turn in range(ROUNDS):
        apart.start()
        if not kept:
            apart.create_tenant("keeper")
            secret = apart.key("keeper", grants="state:read state:write")["secret"]
            kept = [Kept(secret, f"run-{n}") for n in range(2)]
        done.enough.clear()
        until = done.count() + ACKNOWLEDGED
        writers = [
            threading.Thread(target=write, args=(apart, done, until, seed + turn * WRITERS + n))
            for n in range(WRITERS)
        ]
        writers += [threading.Thread(target=each.write, args=(apart,)) for each in kept]
        for writer in writers:
            writer.start()
        reached = done.enough.wait(timeout=60)
        apart.kill()
        for writer in writers:
            writer.join(timeout=60)
        assert reached, f"only {done.count()} of {until} writes in 60 s"

        apart.start()
        assert set(done.tenants) <= tenants(apart), f"round {turn}, seed {seed}"
        for key in done.keys:
            good, told = works(apart, key), f"round {turn}, seed {seed}: key {key['id']}"
            assert good or key["id"] in done.asked, f"{told} is lost"
            assert not good or key["id"] not in done.revoked, f"{told} is revoked, and good"
        for each in kept:
            assert each.done, "no state was written"
            each.check(apart, f"round {turn}, seed {seed}")
        entries = audited(apart)
        for name in done.tenants:
            assert name in entries, f"round {turn}, seed {seed}: {name} is not in the audit log"
        apart.run("audit", "verify", "--all", "--reason", "kill loop")
        apart.kill()
