"""What the prober says of crowding, asked once more without it: rows put by SQL, and the application asked by its own
statement and over HTTP, for a tenant alone and with another's rows nearer.

    pgvector_hand.py POSTGRES_URI URL KEY_OF_A KEY_OF_B
"""

from __future__ import annotations

import json
import math
import random
import sys
from urllib.request import Request, urlopen

import psycopg
from pgvector_app import NEAREST, SIZE

LIMIT, OWN, NEARER = 10, 240, 5_000
COLLECTION = "by-hand"


def unit(vector: list[float]) -> list[float]:
    length = math.sqrt(sum(value * value for value in vector))
    return [value / length for value in vector]


def at(cosine: float, to: list[float], draw: random.Random) -> list[float]:
    """A vector at this cosine to another one of length one."""
    other = [draw.gauss(0, 1) for _ in to]
    along = sum(one * two for one, two in zip(other, to))
    across = unit([one - along * two for one, two in zip(other, to)])
    sine = math.sqrt(1 - cosine * cosine)
    return [cosine * one + sine * two for one, two in zip(to, across)]


def main() -> None:
    uri, url, *keys = sys.argv[1:]
    draw = random.Random(5)
    query = unit([draw.gauss(0, 1) for _ in range(SIZE)])

    def send(key: str, method: str, path: str, body: dict) -> dict:
        sent = Request(f"{url}{path}", json.dumps(body).encode(), {"api-key": key}, method=method)
        with urlopen(sent, timeout=60) as answer:
            return json.load(answer)["result"]

    for key in keys:
        vectors = {"dense": {"size": SIZE, "distance": "Cosine"}}
        send(key, "PUT", f"/collections/{COLLECTION}", {"vectors": vectors})
    with psycopg.connect(uri, autocommit=True) as db:
        tenants = [
            db.execute("SELECT tenant FROM collections ORDER BY tenant").fetchall()[nth][0] for nth in (0, 1)
        ]

        def put(tenant: str, cosines: list[float]) -> None:
            rows = [
                (tenant, COLLECTION, f"{tenant}-{nth}", json.dumps(at(cosine, query, draw)), "{}")
                for nth, cosine in enumerate(cosines)
            ]
            with db.transaction(), db.cursor() as cursor:
                cursor.executemany("INSERT INTO points VALUES (%s, %s, %s, %s, %s)", rows)
            db.execute("ANALYZE points")

        def found() -> dict:
            values = {"tenant": tenants[0], "collection": COLLECTION, "vector": json.dumps(query), "limit": LIMIT}
            statement = NEAREST.format(filter="true")
            ids = [row[0] for row in db.execute(statement, values)]
            plan = "\n".join(row[0] for row in db.execute("EXPLAIN " + statement, values))
            asked = {"query": query, "using": "dense", "limit": LIMIT}
            over_http = send(keys[0], "POST", f"/collections/{COLLECTION}/points/query", asked)["points"]
            # Every row of the tenant's, in order: what there is to be found.
            db.execute("SET enable_indexscan = off")
            exact = [row[0] for row in db.execute(statement, values)]
            db.execute("RESET enable_indexscan")
            return {
                "by_sql": len(ids),
                "over_http": len(over_http),
                "there": len(exact),
                "right": len(set(ids) & set(exact)),
                "graph": "embedding" in plan and "Index Scan" in plan,
            }

        put(tenants[0], [0.7 - 0.3 * nth / OWN for nth in range(OWN)])
        alone = found()
        put(tenants[1], [0.9 + 0.09 * nth / NEARER for nth in range(NEARER)])
        crowded = found()
        db.execute("DELETE FROM points WHERE collection = %s", (COLLECTION,))
        db.execute("DELETE FROM collections WHERE name = %s", (COLLECTION,))
    print(json.dumps({"alone": alone, "crowded": crowded}))


if __name__ == "__main__":
    main()
