"""/files and /batches. A batch is run at once: each line is answered as if it had been asked directly."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

from . import chat, embeddings, responses
from .shapes import Missing, Refused, Wrong, filled, map_of_strings, mapping, maybe, one_of, record

if TYPE_CHECKING:
    from .server import Ask

PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
ENDPOINTS = ("/v1/chat/completions", "/v1/embeddings", "/v1/responses")
CREATE = record(
    {
        "input_file_id": filled,
        "endpoint": one_of(*ENDPOINTS),
        "completion_window": one_of("24h"),
    },
    {"metadata": maybe(map_of_strings), "output_expires_after": mapping},
)
LINE = record(
    {
        "custom_id": filled,
        "method": one_of("POST"),
        "url": one_of(*ENDPOINTS),
        "body": mapping,
    }
)


def answer_files(ask: Ask, rest: list[str]) -> dict | bytes:
    with ask.account.lock:
        kept = ask.account.files
        match ask.seen.method, rest:
            case "POST", []:
                return upload(ask)
            case "GET", []:
                return paged([each["file"] for each in kept.values()])
            case _, [name, *_] if name not in kept:
                raise Missing("file", name)
            case "GET", [name]:
                return kept[name]["file"]
            case "DELETE", [name]:
                del kept[name]
                return {"id": name, "object": "file", "deleted": True}
            case "GET", [name, "content"]:
                return kept[name]["content"]
    raise Refused(404, "unknown_url", f"nothing at {ask.seen.path}")


def paged(data: list[dict]) -> dict:
    ids = [each["id"] for each in data] or [None]
    ends = {"first_id": ids[0], "last_id": ids[-1], "has_more": False}
    return {"object": "list", "data": data} | ends


def upload(ask: Ask) -> dict:
    form = ask.seen.form
    known = ("file", "purpose", "expires_after[anchor]", "expires_after[seconds]")
    for name in form:
        if name not in known:
            raise Wrong(f"form.{name}", "is not known")
    for name in ("file", "purpose"):
        if name not in form:
            raise Wrong(f"form.{name}", "is missing")
    file_name, content = form["file"]
    if not file_name:
        raise Wrong("form.file", "has no name")
    purpose = form["purpose"][1].decode()
    one_of(*PURPOSES)(purpose, "form.purpose")
    return keep(ask.account, file_name, purpose, content)


def keep(account: object, name: str, purpose: str, content: bytes) -> dict:
    file = {
        "id": f"file-{uuid.uuid4().hex}",
        "object": "file",
        "bytes": len(content),
        "created_at": int(time.time()),
        "filename": name,
        "purpose": purpose,
        "status": "processed",
    }
    account.files[file["id"]] = {"file": file, "content": content}
    return file


def answer_batches(ask: Ask, rest: list[str]) -> dict:
    with ask.account.lock:
        kept = ask.account.batches
        match ask.seen.method, rest:
            case "POST", []:
                return create(ask)
            case "GET", []:
                return paged(list(kept.values()))
            case _, [name, *_] if name not in kept:
                raise Missing("batch", name)
            case "GET", [name]:
                return kept[name]
            case "POST", [name, "cancel"]:
                if kept[name]["status"] == "in_progress":
                    kept[name]["status"] = "cancelling"
                return kept[name]
    raise Refused(404, "unknown_url", f"nothing at {ask.seen.path}")


def create(ask: Ask) -> dict:
    CREATE(ask.body, "body")
    source = ask.account.files.get(ask.body["input_file_id"])
    if source is None:
        raise Missing("file", ask.body["input_file_id"])
    if source["file"]["purpose"] != "batch":
        raise Wrong("body.input_file_id", "is not for batches")
    slow = "standin:slow" in (ask.body.get("metadata") or {}).values()
    batch = {
        "id": f"batch_{ask.seen.nonce}",
        "object": "batch",
        "endpoint": ask.body["endpoint"],
        "errors": None,
        "input_file_id": ask.body["input_file_id"],
        "completion_window": "24h",
        "status": "in_progress",
        "output_file_id": None,
        "error_file_id": None,
        "created_at": int(time.time()),
        "metadata": ask.body.get("metadata"),
    }
    ask.account.batches[batch["id"]] = batch
    if not slow:
        execute(ask, batch, source["content"])
    return batch


def execute(ask: Ask, batch: dict, content: bytes) -> None:
    done, failed = [], []
    for number, line in enumerate(content.decode().splitlines()):
        try:
            each = json.loads(line)
        except ValueError:
            raise Wrong(f"line {number}", "is not JSON") from None
        LINE(each, f"line {number}")
        if each["url"] != batch["endpoint"]:
            raise Wrong(f"line {number}.url", "is not the batch's endpoint")
        made = {"id": f"batch_req_{uuid.uuid4().hex}", "custom_id": each["custom_id"]}
        try:
            answered = run(ask, each)
            response = {"status_code": 200, "request_id": made["id"], "body": answered}
            done.append(made | {"response": response, "error": None})
        except Wrong:
            raise
        except Refused as refused:
            reason = {"code": refused.code, "message": refused.message}
            failed.append(made | {"response": None, "error": reason})
    for field, lines in (("output_file_id", done), ("error_file_id", failed)):
        if lines:
            text = "".join(json.dumps(line) + "\n" for line in lines)
            file = keep(ask.account, f"{batch['id']}_{field}.jsonl", "batch_output", text.encode())
            batch[field] = file["id"]
    counts = {"total": len(done) + len(failed), "completed": len(done), "failed": len(failed)}
    batch.update(
        {"status": "completed", "completed_at": int(time.time()), "request_counts": counts}
    )


def run(ask: Ask, line: dict) -> dict:
    body = line["body"]
    if body.get("stream"):
        raise Wrong("line.body.stream", "a batch does not stream")
    one = replace(ask, body=body, seen=replace(ask.seen, nonce=uuid.uuid4().hex))
    match line["url"]:
        case "/v1/chat/completions":
            return chat.answer(one)
        case "/v1/embeddings":
            return embeddings.answer(one)
        case _:
            return responses.answer(one, [])
