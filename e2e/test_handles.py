"""Handles on a provider credential that tenants share: nobody goes on with what another's call made.

At the stand-in all of it is one account, which would hand everything to everybody. Each row of `ATTEMPTS` is a field or
an endpoint where a handle can stand. The owner gets through with it; to another tenant, and to the owner in another
environment, it is what a handle that does not exist is, and the provider hears nothing of it."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

import anthropic
import openai
import pytest
from conftest import open_account
from deployment import Deployment, Tenant
from test_openai_files import batch_file

CODE = {"type": "code_interpreter", "container": {"type": "auto"}}
RUNS_CODE = [{"type": "code_execution_20250825", "name": "code_execution"}]


@dataclass
class Side:
    """A tenant's environment with its SDKs, and what its calls have made."""

    openai: openai.OpenAI
    claude: anthropic.Anthropic
    words: str
    made: dict[str, str] = field(default_factory=dict)


@pytest.fixture(scope="module")
def pooled(tmp_path_factory, standin):
    """A deployment whose files, batches and conversations are at a provider that tenants share."""
    running = Deployment(tmp_path_factory.mktemp("pooled") / "bulkhead", standin.origin, "pool")
    running.start()
    for name in ("acme", "globex"):
        tenant = open_account(running, standin, name)
        for provider in ("pool", "pool-anthropic"):
            secret = tenant.secrets[provider]
            running.set_credential(name, secret, "staging", shared=True, provider=provider)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def sides(pooled) -> dict[str, Side]:
    def side(tenant: str, environment: str = "live") -> Side:
        token = pooled.token(tenant, environment)
        return Side(
            openai.OpenAI(base_url=pooled.openai_url, api_key=token, max_retries=0),
            anthropic.Anthropic(base_url=pooled.anthropic_url, api_key=token, max_retries=0),
            f"words-of-{tenant}-{environment}-{uuid.uuid4()}",
        )

    made = {"acme": side("acme"), "globex": side("globex"), "staging": side("acme", "staging")}
    for each in made.values():
        make(each)
    return made


def make(side: Side) -> None:
    """One of each thing that a provider keeps."""
    sdk, words = side.openai, side.words
    made = sdk.responses.create(model="pooled", input=words)
    side.made["response"], side.made["item"] = made.id, made.output[0].id
    with sdk.responses.create(model="pooled", input=words, stream=True) as stream:
        side.made["streamed response"] = list(stream)[-1].response.id
    background = sdk.responses.create(model="pooled", input=words, background=True)
    side.made["background response"] = background.id
    said = {"type": "message", "role": "user", "content": words}
    conversation = sdk.conversations.create(items=[said])
    side.made["conversation"] = conversation.id
    items = list(sdk.conversations.items.list(conversation.id))
    side.made["conversation's item"] = items[0].id
    side.made["file"] = sdk.files.create(
        file=(f"{words}.txt", words.encode()), purpose="user_data"
    ).id
    body = {"model": "pooled", "messages": [{"role": "user", "content": words}]}
    source = sdk.files.create(
        file=("batch.jsonl", batch_file([body], "/v1/chat/completions")), purpose="batch"
    )
    side.made["batch file"] = source.id
    batch = begin_batch(sdk, source.id)
    side.made["batch"] = batch.id
    side.made["batch's output"] = sdk.batches.retrieve(batch.id).output_file_id
    coded = sdk.responses.create(model="pooled-hosted", input=words, tools=[CODE])
    side.made["container"] = coded.output[0].container_id
    message = side.claude.messages.create(**claude_asks(words, tools=RUNS_CODE))
    side.made["claude's container"] = message.container.id


def begin_batch(sdk: openai.OpenAI, file: str) -> object:
    endpoint = "/v1/chat/completions"
    return sdk.batches.create(input_file_id=file, endpoint=endpoint, completion_window="24h")


def claude_asks(content: object, **more: object) -> dict:
    turns = [{"role": "user", "content": content}]
    asked = {"model": "pooled-claude-hosted", "max_tokens": 100, "messages": turns}
    return asked | more


def respond(**fields: object) -> Callable[[Side, str], object]:
    """A response with this body, whole and then as a stream; `HANDLE` in it is the handle."""

    def attempt(side: Side, handle: str) -> object:
        text = json.dumps({"model": "pooled-hosted", "input": "go on"} | fields)
        body = json.loads(text.replace("HANDLE", handle))
        whole = side.openai.responses.create(**body)
        with side.openai.responses.create(**body, stream=True) as stream:
            return whole, list(stream)

    return attempt


def chat(*messages: dict) -> Callable[[Side, str], object]:
    def attempt(side: Side, handle: str) -> object:
        turns = json.loads(json.dumps(messages).replace("HANDLE", handle))
        return side.openai.chat.completions.create(model="pooled", messages=turns)

    return attempt


def says(part: dict) -> list[dict]:
    """Input of a response with this content."""
    return [{"role": "user", "content": [part]}]


def tells(*parts: dict, **more: object) -> Callable[[Side, str], object]:
    """A message to Claude, whole and as a stream, and a count of its tokens."""

    def attempt(side: Side, handle: str) -> object:
        content = [*parts, {"type": "text", "text": "go on"}]
        text = json.dumps(claude_asks(content, **more))
        body = json.loads(text.replace("HANDLE", handle))
        if not more:
            counted = {name: body[name] for name in ("model", "messages")}
            side.claude.messages.count_tokens(**counted)
        whole = side.claude.messages.create(**body)
        with side.claude.messages.create(**body, stream=True) as stream:
            return whole, list(stream)

    return attempt


def uploads(body: dict, endpoint: str) -> Callable[[Side, str], object]:
    """A batch that names the handle in a line."""

    def attempt(side: Side, handle: str) -> object:
        line = json.loads(json.dumps(body).replace("HANDLE", handle))
        content = batch_file([line], endpoint)
        made = side.openai.files.create(file=("b.jsonl", content), purpose="batch")
        return side.openai.batches.create(
            input_file_id=made.id, endpoint=endpoint, completion_window="24h"
        )

    return attempt


MORE = [{"type": "message", "role": "user", "content": "more"}]
FILE_PART = {"type": "file", "file": {"file_id": "HANDLE"}}
CALL_SEARCH = {"type": "file_search", "vector_store_ids": ["HANDLE"]}

# What it is a handle of, where it stands, and the call. Those that use a thing up are last of their kind.
ATTEMPTS: list[tuple[str, str, Callable[[Side, str], object]]] = [
    ("response", "previous_response_id", respond(previous_response_id="HANDLE")),
    ("streamed response", "previous_response_id", respond(previous_response_id="HANDLE")),
    (
        "response",
        "a line of a batch",
        uploads(
            {"model": "pooled", "input": "go on", "previous_response_id": "HANDLE"},
            "/v1/responses",
        ),
    ),
    ("response", "GET", lambda side, handle: side.openai.responses.retrieve(handle)),
    (
        "response",
        "GET input_items",
        lambda side, handle: list(side.openai.responses.input_items.list(handle)),
    ),
    ("background response", "cancel", lambda side, handle: side.openai.responses.cancel(handle)),
    ("item", "item_reference", respond(input=[{"type": "item_reference", "id": "HANDLE"}, *MORE])),
    (
        "item",
        "input[].id",
        respond(
            input=[
                {
                    "type": "message",
                    "role": "assistant",
                    "id": "HANDLE",
                    "status": "completed",
                    "content": [{"type": "output_text", "text": "before", "annotations": []}],
                },
                *MORE,
            ]
        ),
    ),
    ("conversation", "conversation", respond(conversation="HANDLE")),
    ("conversation", "conversation.id", respond(conversation={"id": "HANDLE"})),
    ("conversation", "GET", lambda side, handle: side.openai.conversations.retrieve(handle)),
    (
        "conversation",
        "POST",
        lambda side, handle: side.openai.conversations.update(handle, metadata={"a": "b"}),
    ),
    (
        "conversation",
        "GET items",
        lambda side, handle: list(side.openai.conversations.items.list(handle)),
    ),
    (
        "conversation",
        "POST items",
        lambda side, handle: side.openai.conversations.items.create(handle, items=MORE),
    ),
    (
        "conversation",
        "GET item",
        lambda side, handle: side.openai.conversations.items.retrieve(
            side.made["conversation's item"], conversation_id=handle
        ),
    ),
    (
        "conversation's item",
        "GET item",
        lambda side, handle: side.openai.conversations.items.retrieve(
            handle, conversation_id=side.made["conversation"]
        ),
    ),
    (
        "conversation's item",
        "item_reference",
        respond(input=[{"type": "item_reference", "id": "HANDLE"}, *MORE]),
    ),
    ("file", "chat file.file_id", chat({"role": "user", "content": [FILE_PART]})),
    (
        "file",
        "input_file.file_id",
        respond(input=says({"type": "input_file", "file_id": "HANDLE"})),
    ),
    (
        "file",
        "input_image.file_id",
        respond(input=says({"type": "input_image", "file_id": "HANDLE", "detail": "auto"})),
    ),
    (
        "file",
        "container.file_ids",
        respond(tools=[CODE | {"container": {"type": "auto", "file_ids": ["HANDLE"]}}]),
    ),
    (
        "file",
        "a line of a batch",
        uploads(
            {"model": "pooled", "messages": [{"role": "user", "content": [FILE_PART]}]},
            "/v1/chat/completions",
        ),
    ),
    ("file", "GET", lambda side, handle: side.openai.files.retrieve(handle)),
    ("file", "GET content", lambda side, handle: side.openai.files.content(handle).read()),
    ("batch's output", "GET", lambda side, handle: side.openai.files.retrieve(handle)),
    ("batch's output", "content", lambda side, handle: side.openai.files.content(handle).read()),
    ("batch file", "input_file_id", lambda side, handle: begin_batch(side.openai, handle)),
    ("batch", "GET", lambda side, handle: side.openai.batches.retrieve(handle)),
    ("batch", "cancel", lambda side, handle: side.openai.batches.cancel(handle)),
    (
        "container",
        "tools[].container",
        respond(tools=[{"type": "code_interpreter", "container": "HANDLE"}]),
    ),
    (
        "container",
        "input[].container_id",
        respond(
            input=[
                {
                    "type": "code_interpreter_call",
                    "container_id": "HANDLE",
                    "code": "1",
                    "outputs": [],
                    "status": "completed",
                },
                *MORE,
            ]
        ),
    ),
    ("claude's container", "container", tells(container="HANDLE", tools=RUNS_CODE)),
    ("claude's container", "container.id", tells(container={"id": "HANDLE"}, tools=RUNS_CODE)),
    ("file", "DELETE", lambda side, handle: side.openai.files.delete(handle)),
    ("response", "DELETE", lambda side, handle: side.openai.responses.delete(handle)),
    (
        "conversation's item",
        "DELETE item",
        lambda side, handle: side.openai.conversations.items.delete(
            handle, conversation_id=side.made["conversation"]
        ),
    ),
    ("conversation", "DELETE", lambda side, handle: side.openai.conversations.delete(handle)),
]

# Things that nobody has made here: known or not, they are not there.
NOBODYS: list[tuple[str, Callable[[Side, str], object]]] = [
    ("vs_", respond(tools=[CALL_SEARCH])),
    ("pmpt_", respond(prompt={"id": "HANDLE"})),
    ("audio_", chat({"role": "assistant", "audio": {"id": "HANDLE"}}, *says("and?"))),
    ("file_", tells({"type": "document", "source": {"type": "file", "file_id": "HANDLE"}})),
    ("file_", tells({"type": "container_upload", "file_id": "HANDLE"})),
]


def refusal(attempt: Callable[[Side, str], object], side: Side, handle: str) -> tuple:
    """The error, without what differs between any two answers."""
    with pytest.raises((openai.NotFoundError, anthropic.NotFoundError)) as raised:
        attempt(side, handle)
    response = raised.value.response
    text = re.sub(r"req_[0-9A-Za-z_-]+", "req_…", response.text)
    changing = ("date", "x-request-id", "request-id")
    headers = {name: value for name, value in response.headers.items() if name not in changing}
    return response.status_code, text, headers


def missing(handle: str) -> str:
    """A handle of the same form that nobody has."""
    return handle[:-8] + uuid.uuid4().hex[:8]


@pytest.mark.parametrize(
    ("kind", "where", "attempt"), ATTEMPTS, ids=[f"{kind}-{where}" for kind, where, _ in ATTEMPTS]
)
def test_a_handle_is_its_makers_alone(sides, standin, kind, where, attempt):
    handle = sides["acme"].made[kind]
    mark = standin.mark()
    for stranger in (sides["globex"], sides["staging"]):
        foreign = refusal(attempt, stranger, handle)
        assert sides["acme"].words not in foreign[1]
        assert foreign == refusal(attempt, stranger, missing(handle))
    assert [seen.path for seen in standin.since(mark)] == [], "the provider heard of it"
    attempt(sides["acme"], handle)
    assert standin.since(mark), "the owner's call did not reach the provider"


@pytest.mark.parametrize(("prefix", "attempt"), NOBODYS)
def test_what_nobody_made_is_not_there(sides, standin, prefix, attempt):
    mark = standin.mark()
    for side in sides.values():
        refusal(attempt, side, f"{prefix}{uuid.uuid4().hex}")
    assert standin.since(mark) == []


def test_lists_hold_ones_own_alone(pooled, standin):
    """The provider's list has everybody's."""
    sdks = {}
    for name in ("acme", "globex"):
        token = pooled.token(name)
        sdk = openai.OpenAI(base_url=pooled.openai_url, api_key=token, max_retries=0)
        words = f"listed-{name}-{uuid.uuid4()}"
        made = sdk.files.create(file=(f"{words}.txt", words.encode()), purpose="user_data")
        body = {"model": "pooled", "messages": [{"role": "user", "content": words}]}
        content = batch_file([body], "/v1/chat/completions")
        source = sdk.files.create(file=("b.jsonl", content), purpose="batch")
        batch = begin_batch(sdk, source.id)
        sdks[name] = (sdk, {made.id, source.id}, batch.id)
    (ours, our_files, our_batch), (theirs, their_files, their_batch) = sdks.values()
    for sdk, own, foreign, batch, other in (
        (ours, our_files, their_files, our_batch, their_batch),
        (theirs, their_files, our_files, their_batch, our_batch),
    ):
        files = {file.id for file in sdk.files.list()}
        assert own <= files and not files & foreign
        batches = {each.id for each in sdk.batches.list()}
        assert batch in batches and other not in batches


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "mcp", "server_label": "x", "server_url": "https://example.com"},
        {"type": "web_search"},
        {"type": "web_search_preview"},
        CALL_SEARCH | {"vector_store_ids": ["vs_1"]},
        CODE,
        {
            "type": "computer_use_preview",
            "display_width": 1,
            "display_height": 1,
            "environment": "mac",
        },
        {"type": "image_generation"},
        {"type": "something_new"},
    ],
    ids=lambda tool: tool["type"],
)
def test_hosted_tools_are_denied_unless_the_route_names_them(sides, standin, tool):
    mark = standin.mark()
    with pytest.raises(openai.APIStatusError) as raised:
        sides["acme"].openai.responses.create(model="pooled", input="act", tools=[tool])
    assert raised.value.status_code in (400, 403)
    assert standin.since(mark) == []


@pytest.mark.parametrize(
    "tool",
    [
        RUNS_CODE[0],
        {"type": "web_search_20250305", "name": "web_search"},
        {"type": "something_20990101", "name": "something"},
    ],
    ids=lambda tool: tool["type"],
)
def test_claudes_hosted_tools_likewise(sides, standin, tool):
    mark = standin.mark()
    with pytest.raises(anthropic.APIStatusError) as raised:
        sides["acme"].claude.messages.create(
            **claude_asks("act", tools=[tool], model="pooled-claude")
        )
    assert raised.value.status_code in (400, 403)
    assert standin.since(mark) == []


def test_calls_that_name_or_make_handles_are_not_cached(sides, standin):
    sdk = sides["acme"].openai
    raw = sdk.responses.with_raw_response
    first = sdk.responses.create(model="pooled", input="begin")
    asked = [
        {"model": "pooled-cached", "input": "the same"},
        {"model": "pooled-cached", "input": "go on", "previous_response_id": first.id},
    ]
    for each in asked:
        answers = [raw.create(**each) for _ in range(2)]
        assert {answer.headers["x-bulkhead-cache"] for answer in answers} == {"bypass"}
        assert len({answer.parse().id for answer in answers}) == 2
    kept = [raw.create(**asked[0], store=False).headers["x-bulkhead-cache"] for _ in range(2)]
    assert kept == ["miss", "hit"]


def test_a_handle_outlives_a_restart(tmp_path, standin):
    own = Deployment(tmp_path / "bulkhead", standin.origin, "pool")
    own.start()
    tenant: Tenant = open_account(own, standin, "acme")
    token = own.token(tenant.name)
    sdk = openai.OpenAI(base_url=own.openai_url, api_key=token, max_retries=0)
    made = sdk.responses.create(model="pooled", input="before")
    own.kill()
    own.start()
    after = sdk.responses.create(model="pooled", input="after", previous_response_id=made.id)
    assert "before" in after.output_text
    own.stop()
