"""A stand-in for a model provider: speaks chat/completions as JSON and as server-sent events, and says what it is.

It answers with a nonce of its own per request and with the canary of the account whose credential it was shown, so
that an answer tells where it came from; and it keeps every request, so that a test can see what reached it.

A prompt may direct it: `standin:hold` streams until the reader goes away, `standin:cut` ends a stream without its
end mark, `standin:error=429` answers with that status and repeats the credential, `standin:redirect` points elsewhere.
"""

from __future__ import annotations

import json
import re
import threading
import time
import uuid
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BANNER = "[stand-in provider, not a model]"


@dataclass
class Seen:
    """A request as it arrived."""

    path: str
    headers: dict[str, str]
    credential: str
    body: bytes
    nonce: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def json(self) -> dict:
        return json.loads(self.body)

    @property
    def prompt(self) -> str:
        return self.json["messages"][-1]["content"]


class StandIn:
    """Runs on a free loopback port until `close`."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.accounts: dict[str, str] = {}
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.closing = threading.Event()
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def account(self, credential: str, canary: str) -> None:
        """Opens an account: answers to this credential hold this canary."""
        self.accounts[credential] = canary

    def requests(self, holding: str) -> list[Seen]:
        """The requests whose body holds this text, in order of arrival."""
        with self._lock:
            return [seen for seen in self.seen if holding.encode() in seen.body]

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    def _keep(self, seen: Seen) -> None:
        with self._lock:
            self.seen.append(seen)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        standin = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_POST(self) -> None:  # noqa: N802, the name is http.server's
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                credential = self.headers.get("authorization", "").removeprefix("Bearer ")
                headers = {name.lower(): value for name, value in self.headers.items()}
                seen = Seen(self.path, headers, credential, body)
                standin._keep(seen)
                try:
                    self._answer(seen)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            def _answer(self, seen: Seen) -> None:
                if seen.credential not in standin.accounts:
                    return self._error(401, "invalid_api_key", "no such account")
                if status := re.search(r"standin:error=(\d+)", seen.prompt):
                    return self._error(
                        int(status[1]), "standin_error", f"refused for Bearer {seen.credential}"
                    )
                if "standin:redirect" in seen.prompt:
                    self.send_response(307)
                    elsewhere = standin.url.replace("127.0.0.1", "localhost") + "/elsewhere"
                    self.send_header("location", elsewhere)
                    self.send_header("content-length", "0")
                    return self.end_headers()
                text = " ".join(
                    [BANNER, seen.nonce, standin.accounts[seen.credential], seen.prompt]
                )
                if seen.json.get("stream"):
                    return self._stream(seen, text)
                return self._json(200, completion(seen, text))

            def _error(self, status: int, code: str, message: str) -> None:
                self._json(status, {"error": {"message": message, "type": "standin", "code": code}})

            def _json(self, status: int, value: dict) -> None:
                data = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def _stream(self, seen: Seen, text: str) -> None:
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.send_header("transfer-encoding", "chunked")
                self.end_headers()
                for word in text.split(" "):
                    self._event(chunk(seen, word + " "))
                while "standin:hold" in seen.prompt and not standin.closing.is_set():
                    self._event(chunk(seen, "… "))
                    time.sleep(0.02)
                if "standin:cut" in seen.prompt:
                    self.close_connection = True
                    return
                self._event(chunk(seen, None))
                self._write(b"data: [DONE]\n\n")
                self._write(b"")

            def _event(self, value: dict) -> None:
                self._write(b"data: " + json.dumps(value).encode() + b"\n\n")

            def _write(self, data: bytes) -> None:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

        return Handler


def completion(seen: Seen, text: str) -> dict:
    return {
        "id": f"chatcmpl-{seen.nonce}",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": seen.json["model"],
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": text},
            }
        ],
        "usage": {"prompt_tokens": 7, "completion_tokens": 11, "total_tokens": 18},
    }


def chunk(seen: Seen, text: str | None) -> dict:
    return {
        "id": f"chatcmpl-{seen.nonce}",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": seen.json["model"],
        "choices": [
            {
                "index": 0,
                "finish_reason": None if text else "stop",
                "delta": {"content": text} if text else {},
            }
        ],
    }
