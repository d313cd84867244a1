"""The stand-in's HTTP: who asks, what for, and what the answer is on the wire."""

from __future__ import annotations

import json
import re
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from . import chat, conversations, embeddings, files, messages, responses
from .shapes import Refused, Wrong

BANNER = "[stand-in provider, not a model]"

# The folder that a base URL begins with says whose shapes are spoken; without one it is anybody's.
KINDS = ("openai", "azure", "vllm", "sglang", "anthropic", "compatible")
# What is ours or somebody else's must not travel on to a provider.
FOREIGN_HEADERS = ("cookie", "openai-organization", "openai-project", "x-tenant-id", "forwarded")


@dataclass
class Account:
    """What a provider keeps for one credential, whoever holds it."""

    canary: str
    responses: dict[str, dict] = field(default_factory=dict)
    conversations: dict[str, dict] = field(default_factory=dict)
    files: dict[str, dict] = field(default_factory=dict)
    batches: dict[str, dict] = field(default_factory=dict)
    containers: dict[str, dict] = field(default_factory=dict)
    items: dict[str, dict] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)


@dataclass
class Seen:
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    credential: str
    body: bytes
    nonce: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def kind(self) -> str:
        first = self.path.split("/")[1]
        return first if first in KINDS else "compatible"

    @property
    def resource(self) -> list[str]:
        """The path behind the base: `["responses", "resp_1", "input_items"]`."""
        parts = [part for part in urlsplit(self.path).path.split("/") if part]
        if parts and parts[0] in KINDS:
            parts = parts[1:]
        if parts[:2] == ["openai", "deployments"]:
            return parts[3:]
        return [part for part in parts if part not in ("openai", "v1")]

    @property
    def deployment(self) -> str | None:
        """The model, where Azure's older paths name it."""
        found = re.search(r"/openai/deployments/([^/]+)/", self.path)
        return found[1] if found else None

    @property
    def query(self) -> dict[str, str]:
        return {name: each[-1] for name, each in parse_qs(urlsplit(self.path).query).items()}

    @property
    def json(self) -> dict:
        return json.loads(self.body) if self.body else {}

    @property
    def form(self) -> dict[str, tuple[str | None, bytes]]:
        """The fields of multipart/form-data: file name and content."""
        kind = self.headers.get("content-type", "")
        if not kind.startswith("multipart/form-data"):
            raise Wrong("content-type", f"multipart/form-data, not {kind}")
        head = f"content-type: {kind}\r\n\r\n".encode()
        message = BytesParser(policy=HTTP).parsebytes(head + self.body)
        fields = {}
        for part in message.iter_parts():
            name = part.get_param("name", header="content-disposition")
            fields[name] = (part.get_filename(), part.get_payload(decode=True))
        return fields

    @property
    def prompt(self) -> str:
        """What was said last; empty where nothing is said."""
        try:
            asked = self.json
        except ValueError:
            return ""
        return said_last(asked)


def said_last(asked: object) -> str:
    if not isinstance(asked, dict):
        return ""
    turns = asked.get("messages", asked.get("input", ""))
    if isinstance(turns, str):
        return turns
    if not isinstance(turns, list) or not turns:
        return ""
    last = turns[-1]
    if isinstance(last, str):
        return last
    return text_of(last) if isinstance(last, dict) else ""


def text_of(turn: dict) -> str:
    """The words of a message, or of a tool's result."""
    content = turn.get("content", turn.get("output", ""))
    if isinstance(content, str):
        return content
    words = []
    for part in content or []:
        if isinstance(part, dict):
            inner = part.get("text")
            if part.get("type") == "tool_result":
                inner = text_of(part)
            words.append(inner if isinstance(inner, str) else f"[{part.get('type')}]")
    return " ".join(words)


@dataclass
class Ask:
    """A request with what is needed to answer it."""

    standin: "StandIn"
    seen: Seen
    account: Account
    body: dict

    @property
    def prompt(self) -> str:
        return said_last(self.body)

    @property
    def model(self) -> str:
        known, model = self.standin.models, self.body.get("model")
        if known and model not in known:
            raise Wrong("model", f"this provider has no {model!r:.80}")
        return str(model)

    def text(self, prompt: str | None = None, earlier: str = "") -> str:
        """The answer: who speaks, a nonce, whose account it is, what was said before, what was asked."""
        said = self.prompt if prompt is None else prompt
        each = [BANNER, self.seen.nonce, self.account.canary, earlier, said]
        return " ".join(part for part in each if part)


class StandIn:
    """Runs on a free loopback port until `close`."""

    def __init__(self, models: tuple[str, ...] = ()) -> None:
        self.seen: list[Seen] = []
        self.accounts: dict[str, Account] = {}
        # The names of the models it has; any, if there are none.
        self.models = models
        # What was wrong with the requests that were refused for their shape.
        self.wrong: list[str] = []
        self._failures: dict[str, int] = {}
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler(self))
        self._server.daemon_threads = True
        self.closing = threading.Event()
        # Nonces of the requests whose readers went away before the end.
        self.left: set[str] = set()
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        return f"{self.origin}/v1"

    def account(self, credential: str, canary: str) -> Account:
        """Opens an account: answers to this credential hold this canary."""
        return self.accounts.setdefault(credential, Account(canary))

    def requests(self, holding: str) -> list[Seen]:
        """The requests whose body or path holds this text, in order of arrival."""
        with self._lock:
            return [
                seen for seen in self.seen if holding.encode() in seen.body or holding in seen.path
            ]

    def mark(self) -> int:
        """How many requests there were: hand it to `since`."""
        with self._lock:
            return len(self.seen)

    def since(self, mark: int) -> list[Seen]:
        with self._lock:
            return self.seen[mark:]

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    # Used by what answers.

    def keep(self, seen: Seen) -> None:
        with self._lock:
            self.seen.append(seen)

    def note(self, seen: Seen, wrong: Wrong) -> None:
        with self._lock:
            self.wrong.append(f"{seen.method} {seen.path}: {wrong.message}")

    def fails_again(self, prompt: str, times: int) -> bool:
        """Whether this prompt is to fail once more: it does so as often as it asks for."""
        with self._lock:
            done = self._failures.get(prompt, 0)
            self._failures[prompt] = done + 1
            return done < times


def sender(seen: Seen) -> str:
    """The credential, from the header that this kind of provider reads; another is a wrong shape."""
    header = {"azure": "api-key", "anthropic": "x-api-key"}.get(seen.kind, "authorization")
    # Anthropic reads either: since its SDK's version 2, `api_key` is sent as a bearer token.
    if seen.kind == "anthropic" and "x-api-key" not in seen.headers:
        header = "authorization"
    for name in {"authorization", "x-api-key", "api-key"} - {header}:
        if name in seen.headers:
            raise Wrong(name, f"a provider of kind {seen.kind} is not sent this")
    value = seen.headers.get(header, "")
    if header == "authorization":
        if not value.startswith("Bearer "):
            raise Refused(401, "invalid_api_key", "no credential")
        return value.removeprefix("Bearer ")
    return value


def headers_are_clean(seen: Seen) -> None:
    for name in seen.headers:
        if name in FOREIGN_HEADERS or name.startswith(("x-bulkhead", "x-forwarded")):
            raise Wrong(name, "this header must not reach a provider")


def direct(standin: StandIn, seen: Seen) -> None:
    """What a prompt directs: `standin:error=STATUS` and `standin:busy=TIMES`."""
    prompt = seen.prompt
    if found := re.search(r"standin:error=(\d+)", prompt):
        raise Refused(int(found[1]), "standin_error", f"refused for Bearer {seen.credential}")
    if (found := re.search(r"standin:busy=(\d+)(?: wait=(\S+))?", prompt)) and standin.fails_again(
        prompt, int(found[1])
    ):
        raise Refused(429, "rate_limited", "too fast", {"retry-after": found[2] or "0"})


def answer(ask: Ask) -> object:
    """A dict, bytes (a file's content) or an iterator of events."""
    resource, method = ask.seen.resource, ask.seen.method
    match method, resource:
        case "GET", ["models"]:
            made = {"object": "model", "created": 1, "owned_by": "standin"}
            return {"object": "list", "data": [{"id": n} | made for n in ask.standin.models]}
        case "POST", ["chat", "completions"]:
            return chat.answer(ask)
        case "POST", ["embeddings"]:
            return embeddings.answer(ask)
        case "POST", ["messages", "count_tokens"]:
            return messages.count(ask)
        case "POST", ["messages"]:
            return messages.answer(ask)
        case _, ["responses", *rest]:
            return responses.answer(ask, rest)
        case _, ["conversations", *rest]:
            return conversations.answer(ask, rest)
        case _, ["files", *rest]:
            return files.answer_files(ask, rest)
        case _, ["batches", *rest]:
            return files.answer_batches(ask, rest)
    raise Refused(404, "unknown_url", f"nothing at {method} {ask.seen.path}")


def handler(standin: StandIn) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_: object) -> None:
            pass

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            seen = Seen(self.command, self.path, headers, "", body)
            try:
                try:
                    seen.credential = sender(seen)
                finally:
                    standin.keep(seen)
                self._answer(seen)
            except Refused as refused:
                if isinstance(refused, Wrong):
                    standin.note(seen, refused)
                self._json(refused.status, error(seen, refused), refused.headers)
            except (BrokenPipeError, ConnectionResetError):
                standin.left.add(seen.nonce)
                self.close_connection = True

        do_GET = do_POST = do_DELETE = _serve  # noqa: N815, the names are http.server's

        def _answer(self, seen: Seen) -> None:
            account = standin.accounts.get(seen.credential)
            if account is None:
                raise Refused(401, "invalid_api_key", "no such account")
            headers_are_clean(seen)
            if "standin:redirect" in seen.prompt:
                return self._redirect()
            direct(standin, seen)
            is_json = seen.headers.get("content-type", "").startswith("application/json")
            try:
                body = seen.json if is_json or not seen.body else {}
            except ValueError:
                raise Wrong("body", "is not JSON") from None
            if not isinstance(body, dict):
                raise Wrong("body", "is not an object")
            if seen.deployment is not None:
                body.setdefault("model", seen.deployment)
                if "api-version" not in seen.query:
                    raise Wrong("api-version", "is missing")
            given = answer(Ask(standin, seen, account, body))
            if isinstance(given, dict):
                return self._json(200, given)
            if isinstance(given, bytes):
                return self._bytes(200, "application/octet-stream", given)
            return self._stream(seen, given)

        def _redirect(self) -> None:
            self.send_response(307)
            elsewhere = standin.url.replace("127.0.0.1", "localhost") + "/elsewhere"
            self.send_header("location", elsewhere)
            self.send_header("content-length", "0")
            self.end_headers()

        def _json(self, status: int, value: dict, headers: dict[str, str] | None = None) -> None:
            self._bytes(status, "application/json", json.dumps(value).encode(), headers)

        def _bytes(
            self, status: int, kind: str, data: bytes, headers: dict[str, str] | None = None
        ) -> None:
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(data)))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def _stream(self, seen: Seen, events: Iterator[tuple[str | None, object]]) -> None:
            """Events by name and value. `standin:cut` stops before the last, `standin:hold` half way."""
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            events = list(events)
            for event in events[: len(events) // 2]:
                self._event(*event)
            while "standin:hold" in seen.prompt and not standin.closing.is_set():
                self._write(b": held\n\n")
                self._event(*events[len(events) // 2 - 1])
                time.sleep(0.02)
            for event in events[len(events) // 2 : -1]:
                self._event(*event)
            if "standin:cut" in seen.prompt:
                self.close_connection = True
                return
            self._event(*events[-1])
            self._write(b"")

        def _event(self, name: str | None, value: object) -> None:
            data = value if isinstance(value, str) else json.dumps(value)
            head = f"event: {name}\n" if name else ""
            self._write(f"{head}data: {data}\n\n".encode())

        def _write(self, data: bytes) -> None:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    return Handler


ANTHROPIC_ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


def error(seen: Seen, refused: Refused) -> dict:
    """An error in the shape of who is asked."""
    if seen.kind == "anthropic":
        kind = ANTHROPIC_ERRORS.get(refused.status, "api_error")
        inner = {"type": kind, "message": refused.message}
        return {"type": "error", "error": inner, "request_id": f"req_{seen.nonce}"}
    kind = "invalid_request_error" if refused.status < 500 else "server_error"
    return {
        "error": {"message": refused.message, "type": kind, "param": None, "code": refused.code}
    }
