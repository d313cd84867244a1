"""Anthropic's /messages and /messages/count_tokens: JSON and server-sent events."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .shapes import (
    Missing,
    Refused,
    Wrong,
    array,
    boolean,
    either,
    encoded,
    filled,
    instance,
    integer,
    mapping,
    maybe,
    number,
    one_of,
    record,
    string,
    tagged,
)

if TYPE_CHECKING:
    from .server import Ask

CACHED = {
    "cache_control": maybe(record({"type": one_of("ephemeral")}, {"ttl": one_of("5m", "1h")}))
}
SOURCE = tagged(
    "type",
    {
        "base64": record({"type": string, "media_type": filled, "data": encoded}),
        "url": record({"type": string, "url": filled}),
        "text": record({"type": string, "media_type": filled, "data": string}),
        "file": record({"type": string, "file_id": filled}),
    },
)
TEXT_BLOCK = record({"type": string, "text": string}, CACHED | {"citations": maybe(array(mapping))})
INNER = tagged(
    "type", {"text": TEXT_BLOCK, "image": record({"type": string, "source": SOURCE}, CACHED)}
)
BLOCK = tagged(
    "type",
    {
        "text": TEXT_BLOCK,
        "image": record({"type": string, "source": SOURCE}, CACHED),
        "document": record(
            {"type": string, "source": SOURCE},
            CACHED | {"title": string, "context": string, "citations": mapping},
        ),
        "thinking": record({"type": string, "thinking": string, "signature": filled}),
        "tool_use": record(
            {"type": string, "id": filled, "name": filled, "input": mapping},
            CACHED | {"caller": mapping},
        ),
        "tool_result": record(
            {"type": string, "tool_use_id": filled},
            CACHED | {"content": either(string, array(INNER)), "is_error": boolean},
        ),
        "container_upload": record({"type": string, "file_id": filled}, CACHED),
    },
)
CONTENT = either(string, array(BLOCK, least=1))
MESSAGE = record({"role": one_of("user", "assistant"), "content": CONTENT})
TOOL = tagged(
    "type",
    {
        "custom": record(
            {"name": filled, "input_schema": mapping},
            CACHED | {"type": string, "description": string, "strict": boolean},
        ),
        "code_execution_20250825": record({"type": string, "name": filled}, CACHED),
        "web_search_20250305": record({"type": string, "name": filled}, CACHED),
        "bash_20250124": record({"type": string, "name": filled}, CACHED),
    },
    default="custom",
)
COMMON = {
    "system": either(string, array(TEXT_BLOCK, least=1)),
    "thinking": tagged(
        "type",
        {
            "enabled": record({"type": string, "budget_tokens": integer}, {"display": string}),
            "disabled": record({"type": string}),
            "adaptive": record({"type": string}, {"display": string}),
        },
    ),
    "tool_choice": tagged(
        "type",
        {
            "auto": record({"type": string}, {"disable_parallel_tool_use": boolean}),
            "any": record({"type": string}, {"disable_parallel_tool_use": boolean}),
            "none": record({"type": string}),
            "tool": record(
                {"type": string, "name": filled}, {"disable_parallel_tool_use": boolean}
            ),
        },
    ),
    "tools": array(TOOL),
    "cache_control": CACHED["cache_control"],
    "output_config": mapping,
}
COUNT = record({"model": filled, "messages": array(MESSAGE, least=1)}, COMMON)
REQUEST = record(
    {"model": filled, "messages": array(MESSAGE, least=1), "max_tokens": integer},
    COMMON
    | {
        "container": maybe(either(filled, record({}, {"id": maybe(filled), "skills": mapping}))),
        "metadata": record({}, {"user_id": maybe(filled)}),
        "service_tier": one_of("auto", "standard_only"),
        "stop_sequences": array(string),
        "stream": boolean,
        "temperature": number,
        "top_k": integer,
        "top_p": number,
    },
)


def speaks_anthropic(ask: Ask) -> None:
    if ask.seen.kind != "anthropic":
        raise Wrong("path", f"a provider of kind {ask.seen.kind} has no messages")
    version = ask.seen.headers.get("anthropic-version", "")
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", version):
        raise Wrong("anthropic-version", f"a date, not {version!r}")


def count(ask: Ask) -> dict:
    speaks_anthropic(ask)
    COUNT(ask.body, "body")
    things_are_there(ask)
    _ = ask.model
    return {"input_tokens": len(json.dumps(ask.body["messages"]).split())}


def answer(ask: Ask) -> dict | Iterator[tuple[str | None, object]]:
    speaks_anthropic(ask)
    REQUEST(ask.body, "body")
    results_follow_calls(ask.body["messages"])
    things_are_there(ask)
    blocks = list(content(ask))
    message = {
        "id": f"msg_{ask.seen.nonce}",
        "type": "message",
        "role": "assistant",
        "model": ask.model,
        "content": blocks,
        "stop_reason": "tool_use" if blocks[-1]["type"] == "tool_use" else "end_turn",
        "stop_sequence": None,
        "container": container(ask),
        "usage": {
            "input_tokens": 4,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 3,
            "output_tokens": 11,
            "service_tier": "standard",
        },
    }
    return stream(message) if ask.body.get("stream") else message


def results_follow_calls(messages: list[dict]) -> None:
    called: set[str] = set()
    for index, message in enumerate(messages):
        for block in message["content"] if isinstance(message["content"], list) else []:
            if block["type"] == "tool_use":
                called.add(block["id"])
            if block["type"] == "tool_result" and block["tool_use_id"] not in called:
                raise Wrong(f"body.messages[{index}].content", "a result that answers no call")


def things_are_there(ask: Ask) -> None:
    """Files and containers that are named must be this account's."""
    for message in ask.body["messages"]:
        for block in message["content"] if isinstance(message["content"], list) else []:
            named = block.get("file_id") or block.get("source", {}).get("file_id")
            if named and named not in ask.account.files:
                raise Missing("file", named)
    named = ask.body.get("container")
    named = named.get("id") if isinstance(named, dict) else named
    if named and named not in ask.account.containers:
        raise Missing("container", named)


def container(ask: Ask) -> dict | None:
    """What code ran in: the one that is named, or a new one, for those that may run code."""
    named = ask.body.get("container")
    named = named.get("id") if isinstance(named, dict) else named
    if not any("code_execution" in tool.get("type", "") for tool in ask.body.get("tools", [])):
        return None
    made = named or f"container_{ask.seen.nonce}"
    ask.account.containers.setdefault(made, {"said": []})["said"].append(ask.prompt)
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 1200))
    return {"id": made, "expires_at": until}


def content(ask: Ask) -> Iterator[dict]:
    body = ask.body
    if body.get("thinking", {}).get("type") == "enabled":
        if body["thinking"]["budget_tokens"] >= body["max_tokens"]:
            raise Wrong("body.thinking.budget_tokens", "must be less than max_tokens")
        thought = f"thinking about it {ask.account.canary}"
        yield {"type": "thinking", "thinking": thought, "signature": "c2lnbmVk"}
    if tool := called_tool(body):
        made = instance(tool["input_schema"], ask.text())
        yield {
            "type": "tool_use",
            "id": f"toolu_{ask.seen.nonce}",
            "name": tool["name"],
            "input": made,
        }
        return
    earlier = ""
    if named := body.get("container"):
        named = named.get("id") if isinstance(named, dict) else named
        earlier = f"(in the container: {'; '.join(ask.account.containers[named]['said'])})"
    yield {"type": "text", "text": ask.text(earlier=earlier), "citations": None}


def called_tool(body: dict) -> dict | None:
    tools = [tool for tool in body.get("tools", []) if "input_schema" in tool]
    choice = body.get("tool_choice", {"type": "auto"})
    if choice["type"] == "tool":
        named = [tool for tool in tools if tool["name"] == choice["name"]]
        if not named:
            raise Refused(400, "invalid_request", "tool_choice names none of the tools")
        return named[0]
    last = body["messages"][-1]["content"]
    answered = isinstance(last, list) and any(block["type"] == "tool_result" for block in last)
    return None if not tools or answered or choice["type"] == "none" else tools[0]


def stream(message: dict) -> Iterator[tuple[str | None, object]]:
    usage = message["usage"]
    opened = {"content": [], "stop_reason": None, "usage": usage | {"output_tokens": 1}}
    yield named("message_start", message=message | opened)
    for index, block in enumerate(message["content"]):
        kept, deltas = pieces(block)
        yield named("content_block_start", index=index, content_block=kept)
        if index == 0:
            yield named("ping")
        for delta in deltas:
            yield named("content_block_delta", index=index, delta=delta)
        yield named("content_block_stop", index=index)
    ended = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    ended |= {"container": message["container"]}
    yield named("message_delta", delta=ended, usage={"output_tokens": usage["output_tokens"]})
    yield named("message_stop")


def named(name: str, **fields: object) -> tuple[str, dict]:
    return name, {"type": name} | fields


def pieces(block: dict) -> tuple[dict, list[dict]]:
    """How a block begins, and what is added to it."""
    match block["type"]:
        case "text":
            words = [word + " " for word in block["text"].split(" ")]
            words[-1] = words[-1][:-1]
            return block | {"text": ""}, [{"type": "text_delta", "text": word} for word in words]
        case "tool_use":
            text = json.dumps(block["input"])
            parts = [text[at : at + 7] for at in range(0, len(text), 7)]
            deltas = [{"type": "input_json_delta", "partial_json": part} for part in ("", *parts)]
            return block | {"input": {}}, deltas
        case _:
            deltas = [
                {"type": "thinking_delta", "thinking": block["thinking"]},
                {"type": "signature_delta", "signature": block["signature"]},
            ]
            return block | {"thinking": "", "signature": ""}, deltas
