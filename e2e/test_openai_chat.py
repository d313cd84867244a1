"""Chat completions and embeddings through the unmodified OpenAI SDK: what there is beyond plain words."""

import base64
import json
import uuid

import pytest
from openai import BadRequestError, LengthFinishReasonError  # noqa: F401, the SDK has them
from pydantic import BaseModel

pytestmark = pytest.mark.direct

# One pixel.
PICTURE = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(32)).decode()
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather somewhere",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city", "days"],
            "additionalProperties": False,
        },
    },
}


class Invoice(BaseModel):
    customer: str
    lines: list[str]
    paid: bool


def said(prompt: str) -> list[dict]:
    return [{"role": "user", "content": prompt}]


def test_a_tool_is_called_and_its_result_read(client, acme):
    sdk, prompt = client("acme"), f"weather {uuid.uuid4()}"
    asked = {"model": "gpt", "tools": [WEATHER]}
    first = sdk.chat.completions.create(messages=said(prompt), **asked)
    assert first.choices[0].finish_reason == "tool_calls"
    (call,) = first.choices[0].message.tool_calls
    assert call.function.name == "weather"
    assert acme.canary in json.loads(call.function.arguments)["city"]
    result = {"role": "tool", "tool_call_id": call.id, "content": "rain"}
    turns = [*said(prompt), first.choices[0].message.model_dump(exclude_none=True), result]
    second = sdk.chat.completions.create(messages=turns, **asked)
    assert second.choices[0].message.content.endswith("rain")


def test_a_streamed_tool_call_is_put_together(client, acme):
    sdk = client("acme")
    with sdk.chat.completions.stream(
        model="gpt", messages=said("weather"), tools=[WEATHER]
    ) as stream:
        kinds = {event.type for event in stream}
        answer = stream.get_final_completion()
    assert {"chunk", "tool_calls.function.arguments.delta"} <= kinds
    (call,) = answer.choices[0].message.tool_calls
    assert acme.canary in call.function.parsed_arguments["city"]


def test_a_tool_that_is_chosen(client, acme):
    other = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object"}}}
    choice = {"type": "function", "function": {"name": "clock"}}
    answer = client("acme").chat.completions.create(
        model="gpt", messages=said("when?"), tools=[WEATHER, other], tool_choice=choice
    )
    assert answer.choices[0].message.tool_calls[0].function.name == "clock"


def test_structured_output_is_parsed(client, acme):
    answer = client("acme").chat.completions.parse(
        model="gpt", messages=said("an invoice"), response_format=Invoice
    )
    invoice = answer.choices[0].message.parsed
    assert acme.canary in invoice.customer and invoice.paid
    answer = client("acme").chat.completions.create(
        model="gpt", messages=said("JSON please"), response_format={"type": "json_object"}
    )
    assert acme.canary in json.loads(answer.choices[0].message.content)["text"]


def test_pictures_files_and_sound_go_along(client, acme, standin):
    marker = f"look {uuid.uuid4()}"
    parts = [
        {"type": "text", "text": marker},
        {"type": "image_url", "image_url": {"url": PICTURE, "detail": "low"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": PICTURE}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    ]
    sdk = client("acme")
    answer = sdk.chat.completions.create(model="gpt", messages=[{"role": "user", "content": parts}])
    assert answer.choices[0].message.content.endswith("[image_url] [file] [input_audio]")
    (seen,) = standin.requests(marker)
    assert seen.json["messages"][0]["content"] == parts


def test_logprobs_reasoning_and_several_choices(client, acme):
    sdk = client("acme")
    answer = sdk.chat.completions.create(
        model="gpt", messages=said("how sure?"), logprobs=True, top_logprobs=2, n=3
    )
    assert len(answer.choices) == 3
    first = answer.choices[0].logprobs.content[0]
    assert first.logprob == -0.25 and len(first.top_logprobs) == 2
    answer = sdk.chat.completions.create(
        model="gpt", messages=said("think"), reasoning_effort="high", verbosity="low"
    )
    assert answer.usage.completion_tokens_details.reasoning_tokens == 5


def test_usage_is_in_a_stream_if_it_was_asked_for(client, acme):
    sdk = client("acme")

    def chunks(**more):
        with sdk.chat.completions.create(
            model="gpt", messages=said("count"), stream=True, **more
        ) as stream:
            return list(stream)

    asked = chunks(stream_options={"include_usage": True})
    assert asked[-1].choices == [] and asked[-1].usage.total_tokens == 18
    for plain in (chunks(), chunks(stream_options={"include_usage": False})):
        assert all(chunk.choices for chunk in plain), "a chunk that nobody asked for"
        assert all(chunk.usage is None for chunk in plain)


async def test_asynchronous_streams_and_parsing(async_client, acme):
    sdk = async_client("acme")
    async with sdk.chat.completions.stream(
        model="gpt", messages=said("an invoice"), response_format=Invoice
    ) as stream:
        async for _ in stream:
            pass
        answer = await stream.get_final_completion()
    assert acme.canary in answer.choices[0].message.parsed.customer


def test_raw_and_streaming_answers(client, acme):
    sdk = client("acme")
    raw = sdk.chat.completions.with_raw_response.create(model="gpt", messages=said("raw"))
    assert raw.status_code == 200 and raw.parse().choices
    with sdk.chat.completions.with_streaming_response.create(
        model="gpt", messages=said("lines"), stream=True
    ) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = list(answer.iter_lines())
    assert "data: [DONE]" in lines


def test_embeddings_in_both_encodings(client, acme):
    sdk = client("acme")
    texts = ["open invoices of the quarter", "invoices of the quarter, open", "a blue whale"]
    made = sdk.embeddings.create(model="embed", input=texts)
    floats = sdk.embeddings.create(model="embed", input=texts, encoding_format="float")
    assert [each.index for each in made.data] == [0, 1, 2]
    one, near, far = (each.embedding for each in made.data)
    assert one == pytest.approx(floats.data[0].embedding, abs=1e-6)

    def similarity(left, right):
        return sum(a * b for a, b in zip(left, right, strict=True))

    assert similarity(one, near) > 0.7 > similarity(one, far)
    assert made.usage.prompt_tokens == 7
    short = sdk.embeddings.create(model="embed", input="short", dimensions=8)
    assert len(short.data[0].embedding) == 8
    tokens = sdk.embeddings.create(model="embed", input=[[1, 2, 3], [4]])
    assert len(tokens.data) == 2


async def test_asynchronous_embeddings(async_client, acme):
    made = await async_client("acme").embeddings.create(model="embed", input="some words")
    assert len(made.data[0].embedding) == 256
