"""/responses: JSON and server-sent events, and what an account keeps of them.

An answer quotes what was said in the responses or the conversation that it goes on from, so that an answer to somebody
who may not go on from there would show it."""

from __future__ import annotations

import json
import time
import uuid
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
    map_of_strings,
    mapping,
    maybe,
    number,
    one_of,
    picture,
    record,
    string,
    tagged,
)

if TYPE_CHECKING:
    from .server import Ask

PART = tagged(
    "type",
    {
        "input_text": record({"type": string, "text": string}),
        "output_text": record(
            {"type": string, "text": string},
            {"annotations": array(mapping), "logprobs": maybe(array(mapping))},
        ),
        "refusal": record({"type": string, "refusal": string}),
        "input_image": record(
            {"type": string},
            {"image_url": maybe(picture), "file_id": maybe(filled), "detail": string},
        ),
        "input_file": record(
            {"type": string},
            {
                "file_id": maybe(filled),
                "file_data": picture,
                "filename": string,
                "file_url": string,
                "detail": string,
            },
        ),
    },
)
MESSAGE = record(
    {"role": one_of("user", "assistant", "system", "developer")},
    {
        "content": either(string, array(PART)),
        "type": one_of("message"),
        "id": filled,
        "status": maybe(string),
        "phase": maybe(string),
    },
)
STATED = {"id": maybe(filled), "status": maybe(string)}
ITEM = tagged(
    "type",
    {
        "message": MESSAGE,
        "item_reference": record({"type": string, "id": filled}),
        "function_call": record(
            {"type": string, "call_id": filled, "name": filled, "arguments": string},
            STATED | {"namespace": maybe(string), "caller": maybe(mapping)},
        ),
        "function_call_output": record(
            {"type": string, "call_id": filled, "output": either(string, array(PART))}, STATED
        ),
        "reasoning": record(
            {"type": string, "summary": array(mapping)},
            STATED | {"encrypted_content": maybe(encoded), "content": maybe(array(mapping))},
        ),
        "code_interpreter_call": record(
            {"type": string, "container_id": filled},
            STATED | {"code": maybe(string), "outputs": maybe(array(mapping))},
        ),
    },
    default="message",
)
TOOL = tagged(
    "type",
    {
        "function": record(
            {"type": string, "name": filled, "parameters": maybe(mapping)},
            {"strict": maybe(boolean), "description": maybe(string)},
        ),
        "custom": record({"type": string, "name": filled}, {"description": string}),
        "code_interpreter": record(
            {
                "type": string,
                "container": either(
                    filled,
                    record({"type": one_of("auto")}, {"file_ids": array(filled)}),
                ),
            }
        ),
        "file_search": record(
            {"type": string, "vector_store_ids": array(filled)}, {"max_num_results": integer}
        ),
        "web_search": record({"type": string}, {"search_context_size": string}),
    },
)
FORMAT = tagged(
    "type",
    {
        "text": record({"type": string}),
        "json_object": record({"type": string}),
        "json_schema": record(
            {"type": string, "name": filled, "schema": mapping},
            {"strict": maybe(boolean), "description": string},
        ),
    },
)
OPTIONAL = {
    "background": maybe(boolean),
    "conversation": maybe(either(filled, record({"id": filled}))),
    "include": array(string),
    "input": either(string, array(ITEM)),
    "instructions": maybe(string),
    "max_output_tokens": maybe(integer),
    "max_tool_calls": maybe(integer),
    "metadata": maybe(map_of_strings),
    "parallel_tool_calls": boolean,
    "previous_response_id": maybe(filled),
    "prompt": mapping,
    "reasoning": maybe(record({}, {"effort": maybe(string), "summary": maybe(string)})),
    "service_tier": maybe(string),
    "store": maybe(boolean),
    "stream": maybe(boolean),
    "stream_options": maybe(record({}, {"include_obfuscation": boolean})),
    "temperature": maybe(number),
    "text": record({}, {"format": FORMAT, "verbosity": maybe(string)}),
    "tool_choice": either(one_of("none", "auto", "required"), mapping),
    "tools": array(TOOL),
    "top_logprobs": maybe(integer),
    "top_p": maybe(number),
    "truncation": maybe(one_of("auto", "disabled")),
    "user": filled,
}
MORE = {
    "openai": {"safety_identifier": filled, "prompt_cache_key": filled},
    "azure": {"safety_identifier": filled, "prompt_cache_key": filled},
    "vllm": {"cache_salt": filled, "top_k": number},
    "sglang": {"cache_salt": filled, "extra_key": filled},
    "compatible": {"top_k": number},
}
REQUEST = {kind: record({"model": filled}, OPTIONAL | more) for kind, more in MORE.items()}


def answer(ask: Ask, rest: list[str]) -> dict | Iterator[tuple[str | None, object]]:
    kept = ask.account.responses
    match ask.seen.method, rest:
        case "POST", []:
            return create(ask)
        case "POST", ["input_tokens"]:
            things_are_there(ask)
            return {"object": "response.input_tokens", "input_tokens": 7}
        case _, [name, *_] if name not in kept:
            raise Missing("response", name)
        case "GET", [name]:
            if ask.seen.query.get("stream") == "true":
                after = int(ask.seen.query.get("starting_after", -1))
                return iter(list(events(kept[name]["response"]))[after + 1 :])
            settle(kept[name]["response"])
            return kept[name]["response"]
        case "DELETE", [name]:
            del kept[name]
            return {"id": name, "object": "response", "deleted": True}
        case "POST", [name, "cancel"]:
            if not kept[name]["response"]["background"]:
                raise Refused(400, "invalid_request", "only a background response can be cancelled")
            kept[name]["response"]["status"] = "cancelled"
            return kept[name]["response"]
        case "GET", [name, "input_items"]:
            return listed(kept[name]["input"])
    raise Refused(404, "unknown_url", f"nothing at {ask.seen.path}")


def listed(items: list[dict]) -> dict:
    ids = [item["id"] for item in items] or [None]
    return {
        "object": "list",
        "data": items,
        "first_id": ids[0],
        "last_id": ids[-1],
        "has_more": False,
    }


def settle(response: dict) -> None:
    """Background work is done when somebody looks for the second time."""
    if response["status"] == "queued":
        response["status"] = "in_progress"
    elif response["status"] == "in_progress":
        response["status"] = "completed"


def create(ask: Ask) -> dict | Iterator[tuple[str | None, object]]:
    if ask.seen.kind not in REQUEST:
        raise Wrong("path", f"a provider of kind {ask.seen.kind} has no responses")
    body = ask.body
    REQUEST[ask.seen.kind](body, "body")
    if body.get("previous_response_id") and body.get("conversation"):
        raise Wrong("body.conversation", "not together with previous_response_id")
    with ask.account.lock:
        things_are_there(ask)
        calls_are_known(ask)
        given = items_of(body.get("input", ""))
        response = made(ask, output(ask), given)
    if body.get("stream"):
        return events(response)
    return response


def conversation_of(body: dict) -> str | None:
    named = body.get("conversation")
    return named["id"] if isinstance(named, dict) else named


def things_are_there(ask: Ask) -> None:
    """Whatever is named must be this account's."""
    body, account = ask.body, ask.account
    if (named := body.get("previous_response_id")) and named not in account.responses:
        raise Missing("response", named)
    if (named := conversation_of(body)) and named not in account.conversations:
        raise Missing("conversation", named)
    if named := (body.get("prompt") or {}).get("id"):
        raise Missing("prompt", named)
    for item in body["input"] if isinstance(body.get("input"), list) else []:
        if item.get("type") == "item_reference" and item["id"] not in account.items:
            raise Missing("item", item["id"])
        if (named := item.get("container_id")) and named not in account.containers:
            raise Missing("container", named)
        for part in item["content"] if isinstance(item.get("content"), list) else []:
            if (named := part.get("file_id")) and named not in account.files:
                raise Missing("file", named)
    for tool in body.get("tools", []):
        named = tool.get("container")
        if isinstance(named, str) and named not in account.containers:
            raise Missing("container", named)
        for each in named.get("file_ids", []) if isinstance(named, dict) else []:
            if each not in account.files:
                raise Missing("file", each)
        for each in tool.get("vector_store_ids", []):
            raise Missing("vector store", each)


def earlier(ask: Ask) -> list[dict]:
    """The items that this request goes on from, oldest first."""
    body, account = ask.body, ask.account
    if named := conversation_of(body):
        return account.conversations[named]["items"]
    found: list[dict] = []
    name = body.get("previous_response_id")
    while name is not None:
        kept = account.responses[name]
        found = kept["input"] + kept["response"]["output"] + found
        name = kept["response"]["previous_response_id"]
    return found


def calls_are_known(ask: Ask) -> None:
    given = ask.body["input"] if isinstance(ask.body.get("input"), list) else []
    referred = [
        ask.account.items[item["id"]] for item in given if item.get("type") == "item_reference"
    ]
    called = {item.get("call_id") for item in (*earlier(ask), *referred)}
    for index, item in enumerate(given):
        if item.get("type") == "function_call":
            called.add(item["call_id"])
        if item.get("type") == "function_call_output" and item["call_id"] not in called:
            raise Wrong(f"body.input[{index}].call_id", "answers no call")


def items_of(given: object) -> list[dict]:
    """Input as the provider keeps it: every item with an id, every message with parts."""
    if isinstance(given, str):
        given = [{"role": "user", "content": given}] if given else []
    kept = []
    for item in given:
        item = {"type": "message", "id": f"msg_{uuid.uuid4().hex}"} | item
        if isinstance(item.get("content"), str):
            kind = "output_text" if item["role"] == "assistant" else "input_text"
            item["content"] = [{"type": kind, "text": item["content"]}]
        kept.append(item)
    return kept


def words(item: dict) -> str:
    return " ".join(part.get("text", "") for part in item.get("content") or [])


def output(ask: Ask) -> Iterator[dict]:
    body, nonce = ask.body, ask.seen.nonce
    if (body.get("reasoning") or {}).get("effort") not in (None, "none"):
        thought = f"thinking about it {ask.account.canary}"
        summary = [{"type": "summary_text", "text": thought}]
        item = {"type": "reasoning", "id": f"rs_{nonce}", "summary": summary}
        if "reasoning.encrypted_content" in body.get("include", []):
            item["encrypted_content"] = "c2VhbGVk"
        yield item
    for tool in body.get("tools", []):
        if tool["type"] == "code_interpreter":
            yield code_interpreter(ask, tool)
    if tool := called_tool(body):
        arguments = instance(tool["parameters"] or {}, ask.text())
        yield {
            "type": "function_call",
            "id": f"fc_{nonce}",
            "call_id": f"call_{nonce}",
            "name": tool["name"],
            "arguments": json.dumps(arguments),
            "status": "completed",
        }
        return
    said = "; ".join(words(item) for item in earlier(ask) if words(item))
    text = ask.text(earlier=f"(earlier: {said})" if said else "")
    wanted = body.get("text", {}).get("format", {})
    if wanted.get("type") == "json_schema":
        text = json.dumps(instance(wanted["schema"], text))
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    message = {"type": "message", "role": "assistant", "status": "completed"}
    yield message | {"id": f"msg_{nonce}", "content": [part]}


def code_interpreter(ask: Ask, tool: dict) -> dict:
    named = tool["container"]
    if not isinstance(named, str):
        named = f"cntr_{ask.seen.nonce}"
    said = ask.account.containers.setdefault(named, {"said": []})["said"]
    logs = f"(in the container: {'; '.join(said)})"
    said.append(ask.prompt)
    return {
        "type": "code_interpreter_call",
        "id": f"ci_{ask.seen.nonce}",
        "container_id": named,
        "code": "print(1)",
        "outputs": [{"type": "logs", "logs": logs}],
        "status": "completed",
    }


def called_tool(body: dict) -> dict | None:
    tools = [tool for tool in body.get("tools", []) if tool["type"] == "function"]
    choice = body.get("tool_choice", "auto")
    if isinstance(choice, dict) and choice.get("type") == "function":
        named = [tool for tool in tools if tool["name"] == choice["name"]]
        if not named:
            raise Wrong("body.tool_choice", "is none of the tools")
        return named[0]
    given = body.get("input", "")
    answered = isinstance(given, list) and given[-1].get("type") == "function_call_output"
    return None if not tools or choice == "none" or answered else tools[0]


def made(ask: Ask, output: Iterator[dict], given: list[dict]) -> dict:
    body, account = ask.body, ask.account
    background, store = bool(body.get("background")), body.get("store") is not False
    if background and not store:
        raise Wrong("body.background", "needs store")
    conversation = conversation_of(body)
    response = {
        "id": f"resp_{ask.seen.nonce}",
        "object": "response",
        "created_at": int(time.time()),
        "status": "queued" if background else "completed",
        "background": background,
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "model": ask.model,
        "output": list(output),
        "parallel_tool_calls": body.get("parallel_tool_calls", True),
        "previous_response_id": body.get("previous_response_id"),
        "conversation": {"id": conversation} if conversation else None,
        "reasoning": {"effort": None, "summary": None} | (body.get("reasoning") or {}),
        "service_tier": "default",
        "store": store,
        "temperature": body.get("temperature", 1.0),
        "text": {"format": {"type": "text"}} | body.get("text", {}),
        "tool_choice": body.get("tool_choice", "auto"),
        "tools": body.get("tools", []),
        "top_p": body.get("top_p", 1.0),
        "truncation": body.get("truncation") or "disabled",
        "usage": {
            "input_tokens": 7,
            "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 0},
            "output_tokens": 11,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 18,
        },
        "metadata": body.get("metadata") or {},
    }
    if store:
        account.responses[response["id"]] = {"response": response, "input": given}
    if store or conversation:
        account.items |= {item["id"]: item for item in (*given, *response["output"])}
    if conversation:
        account.conversations[conversation]["items"] += given + response["output"]
    return response


def events(response: dict) -> Iterator[tuple[str | None, object]]:
    """`response.created` to `response.completed`, numbered."""
    begun = response | {"status": "in_progress", "output": [], "usage": None}
    sequence = [
        ("response.created", {"response": begun}),
        ("response.in_progress", {"response": begun}),
    ]
    for index, item in enumerate(response["output"]):
        sequence += item_events(index, item)
    sequence.append(("response.completed", {"response": response | {"status": "completed"}}))
    for number_, (name, fields) in enumerate(sequence):
        yield name, {"type": name, "sequence_number": number_} | fields


def item_events(index: int, item: dict) -> Iterator[tuple[str, dict]]:
    place = {"output_index": index, "item_id": item["id"]}
    opened = item | {"status": "in_progress"}
    empty = {"message": {"content": []}, "function_call": {"arguments": ""}}
    empty |= {"reasoning": {"summary": []}, "code_interpreter_call": {"outputs": None}}
    yield (
        "response.output_item.added",
        {
            "output_index": index,
            "item": opened | empty[item["type"]],
        },
    )
    match item["type"]:
        case "message":
            yield from text_events(place | {"content_index": 0}, item["content"][0])
        case "function_call":
            text = item["arguments"]
            name = "response.function_call_arguments"
            for at in range(0, len(text), 7):
                yield f"{name}.delta", place | {"delta": text[at : at + 7]}
            yield f"{name}.done", place | {"arguments": text, "name": item["name"]}
        case "reasoning":
            part = item["summary"][0]
            at = place | {"summary_index": 0}
            name = "response.reasoning_summary"
            yield f"{name}_part.added", at | {"part": part | {"text": ""}}
            yield f"{name}_text.delta", at | {"delta": part["text"]}
            yield f"{name}_text.done", at | {"text": part["text"]}
            yield f"{name}_part.done", at | {"part": part}
        case "code_interpreter_call":
            name = "response.code_interpreter_call"
            yield f"{name}.in_progress", place
            yield f"{name}_code.delta", place | {"delta": item["code"]}
            yield f"{name}_code.done", place | {"code": item["code"]}
            yield f"{name}.completed", place
    yield "response.output_item.done", {"output_index": index, "item": item}


def text_events(place: dict, part: dict) -> Iterator[tuple[str, dict]]:
    yield "response.content_part.added", place | {"part": part | {"text": ""}}
    pieces = part["text"].split(" ")
    for number_, piece in enumerate(pieces):
        delta = piece if number_ == len(pieces) - 1 else piece + " "
        yield "response.output_text.delta", place | {"delta": delta, "logprobs": []}
    yield "response.output_text.done", place | {"text": part["text"], "logprobs": []}
    yield "response.content_part.done", place | {"part": part}
