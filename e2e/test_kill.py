"""What was acknowledged survives `kill -9`: tenants, keys, revocations, audit entries."""

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
    done = Acknowledged()
    for turn in range(ROUNDS):
        apart.start()
        done.enough.clear()
        until = done.count() + ACKNOWLEDGED
        writers = [
            threading.Thread(target=write, args=(apart, done, until, seed + turn * WRITERS + n))
            for n in range(WRITERS)
        ]
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
        entries = audited(apart)
        for name in done.tenants:
            assert name in entries, f"round {turn}, seed {seed}: {name} is not in the audit log"
        apart.run("audit", "verify", "--all", "--reason", "kill loop")
        apart.kill()
