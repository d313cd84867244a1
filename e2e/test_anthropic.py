"""Anthropic's unmodified SDK."""

import asyncio
import uuid

import anthropic
import pytest
from standin import BANNER

pytestmark = pytest.mark.direct

WEATHER = {
    "name": "weather",
    "description": "The weather somewhere",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}


def ask(prompt: object, **more: object) -> dict:
    turns = [{"role": "user", "content": prompt}]
    return {"model": "claude", "max_tokens": 2048, "messages": turns} | more


def test_a_message(claude, acme, standin):
    prompt = f"hello {uuid.uuid4()}"
    answer = claude("acme").messages.create(
        **ask(prompt, system="be brief"), extra_body={"temperature": 0.5}
    )
    text = answer.content[0].text
    assert text.startswith(BANNER) and text.endswith(prompt) and acme.canary in text
    assert answer.stop_reason == "end_turn"
    assert (answer.usage.input_tokens, answer.usage.cache_read_input_tokens) == (4, 3)
    (seen,) = standin.requests(prompt)
    assert (seen.json["system"], seen.json["temperature"]) == ("be brief", 0.5)


def test_a_stream(claude, acme):
    prompt = f"stream {uuid.uuid4()}"
    with claude("acme").messages.create(**ask(prompt), stream=True) as stream:
        kinds = [event.type for event in stream]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-2:] == ["message_delta", "message_stop"]
    with claude("acme").messages.stream(**ask(prompt)) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == final.content[0].text and prompt in text
    assert final.usage.output_tokens == 11


async def test_asynchronous_messages_and_streams(async_claude, acme):
    sdk = async_claude("acme")
    prompts = [f"async {uuid.uuid4()}" for _ in range(8)]
    answers = await asyncio.gather(*(sdk.messages.create(**ask(prompt)) for prompt in prompts))
    for prompt, answer in zip(prompts, answers, strict=True):
        assert answer.content[0].text.endswith(prompt)
    async with sdk.messages.stream(**ask(prompts[0])) as stream:
        text = "".join([part async for part in stream.text_stream])
    assert text.endswith(prompts[0])


def test_a_tool_is_called_and_its_result_read(claude, acme):
    sdk = claude("acme")
    first = sdk.messages.create(**ask("weather?", tools=[WEATHER]))
    assert first.stop_reason == "tool_use"
    (call,) = first.content
    assert acme.canary in call.input["city"]
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "rain"}
    asked = ask("weather?", tools=[WEATHER], tool_choice={"type": "auto"})
    kept = [block.model_dump(exclude_none=True) for block in first.content]
    asked["messages"] += [
        {"role": "assistant", "content": kept},
        {"role": "user", "content": [result]},
    ]
    assert sdk.messages.create(**asked).content[0].text.endswith("rain")


def test_a_streamed_tool_call_is_put_together(claude, acme):
    with claude("acme").messages.stream(**ask("weather?", tools=[WEATHER])) as stream:
        kinds = {event.type for event in stream}
        answer = stream.get_final_message()
    assert "input_json" in kinds
    assert acme.canary in answer.content[0].input["city"]


def test_thinking_goes_there_and_back(claude, acme):
    thinking = {"type": "enabled", "budget_tokens": 1024}
    sdk = claude("acme")
    answer = sdk.messages.create(**ask("think", thinking=thinking))
    thought, words = answer.content
    assert (thought.type, thought.signature, words.type) == ("thinking", "c2lnbmVk", "text")
    with sdk.messages.stream(**ask("think", thinking=thinking)) as stream:
        deltas = {event.delta.type for event in stream if event.type == "content_block_delta"}
    assert {"thinking_delta", "signature_delta", "text_delta"} <= deltas
    asked = ask("think", thinking=thinking)
    kept = [thought.model_dump(exclude_none=True), {"type": "text", "text": words.text}]
    asked["messages"] += [
        {"role": "assistant", "content": kept},
        {"role": "user", "content": "go on"},
    ]
    assert sdk.messages.create(**asked).content[-1].text.endswith("go on")


def test_pictures_documents_and_cache_marks_go_along(claude, acme, standin):
    marker = f"look {uuid.uuid4()}"
    parts = [
        {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
        },
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
            "title": "a.pdf",
        },
        {"type": "text", "text": marker, "cache_control": {"type": "ephemeral"}},
    ]
    answer = claude("acme").messages.create(**ask(parts))
    assert answer.content[0].text.endswith(f"[image] [document] {marker}")
    (seen,) = standin.requests(marker)
    assert seen.json["messages"][0]["content"] == parts


def test_tokens_are_counted(claude, acme):
    turns = [{"role": "user", "content": "one two three"}]
    counted = claude("acme").messages.count_tokens(
        model="claude", messages=turns, system="be brief", tools=[WEATHER]
    )
    assert counted.input_tokens > 0


@pytest.mark.parametrize(
    ("status", "exception"),
    [
        (400, anthropic.BadRequestError),
        (429, anthropic.RateLimitError),
        (500, anthropic.InternalServerError),
        (529, anthropic.APIStatusError),
    ],
)
def test_a_providers_error_has_the_sdks_class(claude, acme, status, exception):
    with pytest.raises(exception) as raised:
        claude("acme").messages.create(**ask(f"standin:error={status}"))
    assert raised.value.body["type"] == "error"


def test_the_sdk_asks_again_when_told_to(claude, acme, standin):
    prompt = f"standin:busy=1 wait=0 {uuid.uuid4()}"
    answer = claude("acme", max_retries=3).messages.create(**ask(prompt))
    assert answer.content[0].text.endswith(prompt)
    assert len(standin.requests(prompt)) == 2
