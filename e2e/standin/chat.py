"""/chat/completions: JSON and server-sent events."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .shapes import (
    Missing,
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

FUNCTION = record(
    {"name": filled},
    {"description": string, "parameters": mapping, "strict": maybe(boolean)},
)
TOOL = tagged(
    "type",
    {
        "function": record({"type": string, "function": FUNCTION}),
        "custom": record({"type": string, "custom": mapping}),
    },
)
TOOL_CALL = tagged(
    "type",
    {
        "function": record(
            {
                "id": filled,
                "type": string,
                "function": record({"name": filled, "arguments": string}),
            }
        ),
        "custom": record({"id": filled, "type": string, "custom": mapping}),
    },
)
TEXT_PART = record({"type": string, "text": string})
PART = tagged(
    "type",
    {
        "text": TEXT_PART,
        "image_url": record(
            {
                "type": string,
                "image_url": record(
                    {"url": picture}, {"detail": one_of("auto", "low", "high", "original")}
                ),
            }
        ),
        "input_audio": record(
            {
                "type": string,
                "input_audio": record({"data": encoded, "format": one_of("wav", "mp3")}),
            }
        ),
        "file": record(
            {
                "type": string,
                "file": record({}, {"file_data": picture, "filename": filled, "file_id": filled}),
            }
        ),
    },
)
TEXT = either(string, array(TEXT_PART, least=1))
MESSAGE = tagged(
    "role",
    {
        "system": record({"role": string, "content": TEXT}, {"name": string}),
        "developer": record({"role": string, "content": TEXT}, {"name": string}),
        "user": record(
            {"role": string, "content": either(string, array(PART, least=1))}, {"name": string}
        ),
        "assistant": record(
            {"role": string},
            {
                "content": maybe(TEXT),
                "tool_calls": array(TOOL_CALL, least=1),
                "name": string,
                "refusal": maybe(string),
                "audio": maybe(record({"id": filled})),
                "reasoning_content": maybe(string),
                # What the SDK's own `message.model_dump()` sends back.
                "annotations": maybe(array(mapping)),
                "function_call": maybe(mapping),
            },
        ),
        "tool": record({"role": string, "content": TEXT, "tool_call_id": filled}),
    },
)
FORMAT = tagged(
    "type",
    {
        "text": record({"type": string}),
        "json_object": record({"type": string}),
        "json_schema": record(
            {
                "type": string,
                "json_schema": record(
                    {"name": filled, "schema": mapping},
                    {"strict": maybe(boolean), "description": string},
                ),
            }
        ),
    },
)
CHOICE = either(
    one_of("none", "auto", "required"),
    record({"type": one_of("function"), "function": record({"name": filled})}),
)
OPTIONAL = {
    "audio": mapping,
    "frequency_penalty": number,
    "logit_bias": mapping,
    "logprobs": boolean,
    "max_completion_tokens": integer,
    "max_tokens": integer,
    "metadata": map_of_strings,
    "modalities": array(one_of("text", "audio")),
    "n": integer,
    "parallel_tool_calls": boolean,
    "prediction": mapping,
    "presence_penalty": number,
    "reasoning_effort": one_of("none", "minimal", "low", "medium", "high", "xhigh"),
    "response_format": FORMAT,
    "seed": integer,
    "service_tier": one_of("auto", "default", "flex", "priority"),
    "stop": either(string, array(string)),
    "store": boolean,
    "stream": boolean,
    "stream_options": record({}, {"include_usage": boolean, "include_obfuscation": boolean}),
    "temperature": number,
    "tool_choice": CHOICE,
    "tools": array(TOOL, least=1),
    "top_logprobs": integer,
    "top_p": number,
    "user": filled,
    "verbosity": one_of("low", "medium", "high"),
    "web_search_options": mapping,
}
# What one kind takes and the others do not.
MORE = {
    "openai": {"safety_identifier": filled, "prompt_cache_key": filled},
    "azure": {"safety_identifier": filled, "prompt_cache_key": filled},
    "vllm": {"cache_salt": filled, "top_k": number, "min_p": number},
    "sglang": {"cache_salt": filled, "extra_key": filled, "top_k": number},
    "compatible": {"top_k": number},
}
REQUEST = {
    kind: record({"model": filled, "messages": array(MESSAGE, least=1)}, OPTIONAL | more)
    for kind, more in MORE.items()
}


def answer(ask: Ask) -> dict | Iterator[tuple[str | None, object]]:
    if ask.seen.kind not in REQUEST:
        raise Wrong("path", f"a provider of kind {ask.seen.kind} has no chat")
    REQUEST[ask.seen.kind](ask.body, "body")
    body = ask.body
    if body.get("top_logprobs") and not body.get("logprobs"):
        raise Wrong("body.top_logprobs", "needs logprobs")
    if "stream_options" in body and not body.get("stream"):
        raise Wrong("body.stream_options", "needs stream")
    results_follow_calls(body["messages"])
    files_are_there(ask)
    messages = choices(ask)
    return stream(ask, messages) if body.get("stream") else completion(ask, messages)


def results_follow_calls(messages: list[dict]) -> None:
    called: set[str] = set()
    for index, message in enumerate(messages):
        called |= {call["id"] for call in message.get("tool_calls", [])}
        if message["role"] == "tool" and message["tool_call_id"] not in called:
            raise Wrong(f"body.messages[{index}].tool_call_id", "answers no call")


def files_are_there(ask: Ask) -> None:
    for message in ask.body["messages"]:
        if audio := message.get("audio"):
            raise Missing("audio", audio["id"])
        for part in message["content"] if isinstance(message.get("content"), list) else []:
            named = part.get("file", {}).get("file_id")
            if named and named not in ask.account.files:
                raise Missing("file", named)


def choices(ask: Ask) -> list[dict]:
    """The messages of the answer: words, an instance of the schema, or a call of a tool."""
    body = ask.body
    message = {"role": "assistant", "content": ask.text(), "refusal": None, "annotations": []}
    wanted = body.get("response_format", {})
    if wanted.get("type") == "json_schema":
        made = instance(wanted["json_schema"]["schema"], ask.text())
        message["content"] = json.dumps(made)
    elif wanted.get("type") == "json_object":
        message["content"] = json.dumps({"text": ask.text()})
    if body.get("reasoning_effort") and ask.seen.kind in ("vllm", "sglang"):
        message["reasoning_content"] = f"thinking about it {ask.account.canary}"
    told = instructions(body["messages"])
    if tool := called_tool(body) or told and named_tool(body, told[0]):
        arguments = told[1] if told else instance(tool.get("parameters", {}), ask.text())
        call = {
            "id": f"call_{ask.seen.nonce}",
            "type": "function",
            "function": {"name": tool["name"], "arguments": json.dumps(arguments)},
        }
        message |= {"content": None, "tool_calls": [call]}
    return [message] * body.get("n", 1)


def instructions(messages: list[dict]) -> tuple[str, dict] | None:
    """The next `standin:call NAME key=value …;` that was not followed yet, whoever wrote it: a model that
    believes whatever it reads, also in what tools say."""
    done = sum(len(message.get("tool_calls", [])) for message in messages)
    words = " ".join(str(message.get("content")) for message in messages)
    found = re.findall(r"standin:call (\w+)((?: [^\s;]+=[^\s;]+)*);", words)
    # What was read again says nothing new.
    told = list(dict.fromkeys(found))[done:]
    if not told:
        return None
    name, given = told[0]
    return name, {key: value_of(text) for key, text in (one.split("=", 1) for one in given.split())}


def value_of(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text


def named_tool(body: dict, name: str) -> dict:
    for tool in body.get("tools", []):
        if tool["type"] == "function" and tool["function"]["name"] == name:
            return tool["function"]
    # A model makes names up, too.
    return {"name": name}


def called_tool(body: dict) -> dict | None:
    """The function to call: the one that is chosen, or the first; none once there is a result, or where the
    prompt says which."""
    tools = [tool["function"] for tool in body.get("tools", []) if tool["type"] == "function"]
    if "standin:call" in json.dumps(body["messages"]):
        return None
    choice = body.get("tool_choice", "auto")
    if isinstance(choice, dict):
        named = [tool for tool in tools if tool["name"] == choice["function"]["name"]]
        if not named:
            raise Wrong("body.tool_choice", "is none of the tools")
        return named[0]
    if not tools or choice == "none" or body["messages"][-1]["role"] == "tool":
        return None
    return tools[0]


def head(ask: Ask, kind: str) -> dict:
    return {
        "id": f"chatcmpl-{ask.seen.nonce}",
        "object": kind,
        "created": 1_700_000_000,
        "model": ask.model,
        "system_fingerprint": "fp_standin",
        "service_tier": "default",
    }


def usage(ask: Ask) -> dict:
    reasoning = 5 if ask.body.get("reasoning_effort") else 0
    return {
        "prompt_tokens": 7,
        "completion_tokens": 11,
        "total_tokens": 18,
        "prompt_tokens_details": {"cached_tokens": 3, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


def finish(message: dict) -> str:
    return "tool_calls" if "tool_calls" in message else "stop"


def logprobs(ask: Ask, text: str | None) -> dict | None:
    if not ask.body.get("logprobs") or text is None:
        return None
    tokens = [(token, list(token.encode())) for token in text.split(" ")]
    top = ask.body.get("top_logprobs", 0)
    content = [
        {
            "token": token,
            "bytes": data,
            "logprob": -0.25,
            "top_logprobs": [{"token": token, "bytes": data, "logprob": -0.25}] * top,
        }
        for token, data in tokens
    ]
    return {"content": content, "refusal": None}


def completion(ask: Ask, messages: list[dict]) -> dict:
    made = [
        {
            "index": index,
            "finish_reason": finish(message),
            "logprobs": logprobs(ask, message["content"]),
            "message": message,
        }
        for index, message in enumerate(messages)
    ]
    return head(ask, "chat.completion") | {"choices": made, "usage": usage(ask)}


def deltas(message: dict) -> Iterator[dict]:
    yield {"role": "assistant", "content": ""}
    if thought := message.get("reasoning_content"):
        yield {"reasoning_content": thought}
    for call in message.get("tool_calls", []):
        name, arguments = call["function"]["name"], call["function"]["arguments"]
        first = {"index": 0, "id": call["id"], "type": "function"}
        yield {"tool_calls": [first | {"function": {"name": name, "arguments": ""}}]}
        for at in range(0, len(arguments), 7):
            piece = {"arguments": arguments[at : at + 7]}
            yield {"tool_calls": [{"index": 0, "function": piece}]}
    for word in (message["content"] or "").split(" "):
        if message["content"]:
            yield {"content": word + " "}


def stream(ask: Ask, messages: list[dict]) -> Iterator[tuple[str | None, object]]:
    counted = ask.body.get("stream_options", {}).get("include_usage", False)
    # As OpenAI: where usage is asked for, every chunk has the field, and only the last has a value.
    made = head(ask, "chat.completion.chunk") | ({"usage": None} if counted else {})
    for index, message in enumerate(messages):
        for delta in deltas(message):
            choice = {
                "index": index,
                "delta": delta,
                "logprobs": logprobs(ask, delta.get("content") or None),
                "finish_reason": None,
            }
            yield None, made | {"choices": [choice]}
        last = {"index": index, "delta": {}, "logprobs": None, "finish_reason": finish(message)}
        yield None, made | {"choices": [last]}
    if counted:
        yield None, made | {"choices": [], "usage": usage(ask)}
    yield None, "[DONE]"
