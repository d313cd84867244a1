"""A Qdrant to adopt from: one collection, as far as reading it goes."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


class Source:
    """Runs on a free loopback port until `close`. Points are dicts of `id`, `vector`, `payload`."""

    def __init__(
        self, collection: str, params: dict, points: list[dict], api_key: str | None = None
    ) -> None:
        self.collection, self.params, self.api_key = collection, params, api_key
        self.points = sorted(points, key=lambda each: order(each["id"]))
        self.schema: dict[str, dict] = {}
        # Pages that were read; after `most` of them the next one is held until `let_go`.
        self.pages = 0
        self.most: int | None = None
        self.held = threading.Event()
        self.let_go = threading.Event()
        # What asked for anything but reading.
        self.wrong: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self.let_go.set()
        self._server.shutdown()
        self._server.server_close()

    # Used by what answers.

    def info(self) -> dict:
        return {
            "status": "green",
            "optimizer_status": "ok",
            "points_count": len(self.points),
            "indexed_vectors_count": 0,
            "segments_count": 1,
            "config": {
                "params": self.params,
                "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10000},
                "optimizer_config": {"default_segment_number": 0, "flush_interval_sec": 5},
                "wal_config": {"wal_capacity_mb": 32, "wal_segments_ahead": 0},
                "quantization_config": None,
            },
            "payload_schema": self.schema,
        }

    def scroll(self, asked: dict) -> dict:
        if self.most is not None and self.pages >= self.most:
            self.held.set()
            self.let_go.wait(60)
        self.pages += 1
        first = asked.get("offset")
        left = [each for each in self.points if first is None or order(each["id"]) >= order(first)]
        limit = asked.get("limit", 10)
        page, rest = left[:limit], left[limit:]
        if not asked.get("with_vector", asked.get("with_vectors", False)):
            page = [
                {name: value for name, value in each.items() if name != "vector"} for each in page
            ]
        return {"points": page, "next_page_offset": rest[0]["id"] if rest else None}

    def answer(self, method: str, path: str, asked: dict) -> object:
        at = f"/collections/{self.collection}"
        match method, path:
            case "GET", "/":
                return {"title": "qdrant - vector search engine", "version": "1.16.3"}
            case "GET", "/collections":
                return {"collections": [{"name": self.collection}]}
            case "GET", _ if path == at:
                return self.info()
            case "GET", _ if path == f"{at}/exists":
                return {"exists": True}
            case "POST", _ if path == f"{at}/points/scroll":
                return self.scroll(asked)
            case "POST", _ if path == f"{at}/points/count":
                return {"count": len(self.points)}
        if method != "GET":
            self.wrong.append(f"{method} {path}")
        return None


def order(one: int | str) -> tuple:
    return (0, one, "") if isinstance(one, int) else (1, 0, one)


def handler(source: Source) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_: object) -> None:
            pass

        def _serve(self) -> None:
            began = time.monotonic()
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            path = urlsplit(self.path).path
            path = path.rstrip("/") or "/"
            if source.api_key is not None and self.headers.get("api-key") != source.api_key:
                return self._json(401, {"status": {"error": "Must provide an API key"}})
            result = source.answer(self.command, path, json.loads(body) if body else {})
            if path == "/":
                return self._json(200, result)
            if result is None:
                text = "Not found: Collection doesn't exist!"
                return self._json(404, {"status": {"error": text}, "time": 0.0})
            took = time.monotonic() - began
            return self._json(200, {"result": result, "status": "ok", "time": took})

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815

        def _json(self, status: int, value: object) -> None:
            data = json.dumps(value).encode()
            try:
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

    return Handler
