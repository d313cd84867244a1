"""Responses and conversations through the unmodified OpenAI SDK."""

import json
import uuid

import pytest
from openai import NotFoundError
from pydantic import BaseModel
from standin import BANNER
from test_openai_chat import PICTURE, Invoice

pytestmark = pytest.mark.direct

WEATHER = {
    "type": "function",
    "name": "weather",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
}


class City(BaseModel):
    city: str


def test_a_response(client, acme, standin):
    prompt = f"hello {uuid.uuid4()}"
    answer = client("acme").responses.create(model="gpt", input=prompt, instructions="be brief")
    assert answer.status == "completed"
    assert answer.output_text.startswith(BANNER) and answer.output_text.endswith(prompt)
    assert acme.canary in answer.output_text
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (7, 11)
    (seen,) = standin.requests(prompt)
    assert seen.json["instructions"] == "be brief"


def test_a_stream_of_events(client, acme):
    prompt = f"stream {uuid.uuid4()}"
    with client("acme").responses.create(model="gpt", input=prompt, stream=True) as stream:
        events = list(stream)
    kinds = [event.type for event in events]
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] == "response.completed"
    assert [event.sequence_number for event in events] == list(range(len(events)))
    text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    assert text == events[-1].response.output_text and prompt in text


def test_the_streaming_helper(client, acme):
    with client("acme").responses.stream(
        model="gpt", input="an invoice", text_format=Invoice
    ) as stream:
        for _ in stream:
            pass
        answer = stream.get_final_response()
    assert acme.canary in answer.output_parsed.customer


async def test_the_asynchronous_streaming_helper(async_client, acme):
    async with async_client("acme").responses.stream(
        model="gpt", input="weather?", tools=[WEATHER]
    ) as stream:
        kinds = [event.type async for event in stream]
        answer = await stream.get_final_response()
    assert "response.function_call_arguments.delta" in kinds
    assert acme.canary in json.loads(answer.output[0].arguments)["city"]


def test_structured_output_is_parsed(client, acme):
    answer = client("acme").responses.parse(model="gpt", input="where?", text_format=City)
    assert acme.canary in answer.output_parsed.city


@pytest.mark.parametrize("stored", [True, False])
def test_a_tool_is_called_and_its_result_read(client, acme, stored):
    """With what the provider keeps, and with everything sent along."""
    sdk = client("acme")
    asked = {"model": "gpt", "tools": [WEATHER], "store": stored}
    first = sdk.responses.create(input="weather?", **asked)
    (call,) = first.output
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}
    if stored:
        second = sdk.responses.create(input=[result], previous_response_id=first.id, **asked)
    else:
        kept = {"type": "function_call", "call_id": call.call_id, "name": call.name}
        kept["arguments"] = call.arguments
        question = {"role": "user", "content": "weather?"}
        second = sdk.responses.create(input=[question, kept, result], **asked)
    assert second.output_text.endswith("rain")


def test_what_is_not_kept_is_sent_along_with_its_ids(client, acme):
    """`input += response.output`, as the guides say: the items have ids that the provider does not keep."""
    sdk = client("acme")
    asked = {"model": "gpt", "tools": [WEATHER], "store": False}
    asked |= {"reasoning": {"effort": "low"}, "include": ["reasoning.encrypted_content"]}
    given = [{"role": "user", "content": "weather?"}]
    first = sdk.responses.create(input=given, **asked)
    call = first.output[-1]
    given += first.output
    given.append({"type": "function_call_output", "call_id": call.call_id, "output": "rain"})
    second = sdk.responses.create(input=given, **asked)
    assert second.output_text.endswith("rain")
    given += second.output
    given.append({"role": "user", "content": "thanks"})
    with sdk.responses.create(
        input=given, stream=True, **asked | {"tool_choice": "none"}
    ) as stream:
        assert list(stream)[-1].response.output_text.endswith("thanks")


def test_reasoning_and_inline_pictures(client, acme):
    parts = [
        {"type": "input_text", "text": "look"},
        {"type": "input_image", "image_url": PICTURE, "detail": "auto"},
        {"type": "input_file", "filename": "a.pdf", "file_data": PICTURE},
    ]
    with client("acme").responses.create(
        model="gpt",
        input=[{"role": "user", "content": parts}],
        reasoning={"effort": "high", "summary": "auto"},
        include=["reasoning.encrypted_content"],
        stream=True,
    ) as stream:
        events = list(stream)
    assert any(event.type == "response.reasoning_summary_text.delta" for event in events)
    reasoning, message = events[-1].response.output
    assert reasoning.encrypted_content == "c2VhbGVk"
    assert message.content[0].text.endswith("look [input_image] [input_file]")


def test_a_response_goes_on_from_another(client, acme):
    sdk, secret = client("acme"), f"the code is {uuid.uuid4()}"
    first = sdk.responses.create(model="gpt", input=secret)
    second = sdk.responses.create(model="gpt", input="what was it?", previous_response_id=first.id)
    assert secret in second.output_text
    with sdk.responses.create(
        model="gpt", input="once more", previous_response_id=second.id, stream=True
    ) as stream:
        last = list(stream)[-1].response
    assert secret in last.output_text
    third = sdk.responses.create(model="gpt", input="and now?", previous_response_id=last.id)
    assert secret in third.output_text


def test_what_is_kept_is_retrieved_listed_and_deleted(client, acme):
    sdk, prompt = client("acme"), f"keep {uuid.uuid4()}"
    made = sdk.responses.create(model="gpt", input=prompt)
    again = sdk.responses.retrieve(made.id)
    assert again.output_text == made.output_text
    (item,) = sdk.responses.input_items.list(made.id)
    assert item.content[0].text == prompt
    sdk.responses.delete(made.id)
    with pytest.raises(NotFoundError):
        sdk.responses.retrieve(made.id)


def test_what_is_not_kept_is_not_there(client, acme):
    sdk = client("acme")
    made = sdk.responses.create(model="gpt", input="forget", store=False)
    with pytest.raises(NotFoundError):
        sdk.responses.retrieve(made.id)


def test_background_work_is_polled_and_cancelled(client, acme):
    sdk = client("acme")
    made = sdk.responses.create(model="gpt", input="slowly", background=True)
    assert made.status == "queued"
    states = [sdk.responses.retrieve(made.id).status for _ in range(2)]
    assert states == ["in_progress", "completed"]
    other = sdk.responses.create(model="gpt", input="never mind", background=True)
    assert sdk.responses.cancel(other.id).status == "cancelled"


def test_a_conversation_and_its_items(client, acme):
    sdk, secret = client("acme"), f"my name is {uuid.uuid4()}"
    begun = {"type": "message", "role": "user", "content": secret}
    conversation = sdk.conversations.create(items=[begun], metadata={"topic": "names"})
    assert sdk.conversations.retrieve(conversation.id).metadata == {"topic": "names"}
    sdk.conversations.update(conversation.id, metadata={"topic": "people"})
    answer = sdk.responses.create(model="gpt", input="who?", conversation=conversation.id)
    assert secret in answer.output_text
    with sdk.responses.create(
        model="gpt", input="again", conversation={"id": conversation.id}, stream=True
    ) as stream:
        assert secret in list(stream)[-1].response.output_text
    items = list(sdk.conversations.items.list(conversation.id, order="asc"))
    assert items[0].content[0].text == secret and len(items) == 5
    added = sdk.conversations.items.create(
        conversation.id, items=[{"type": "message", "role": "user", "content": "more"}]
    )
    one = sdk.conversations.items.retrieve(added.data[0].id, conversation_id=conversation.id)
    assert one.content[0].text == "more"
    sdk.conversations.items.delete(one.id, conversation_id=conversation.id)
    referred = {"type": "item_reference", "id": items[0].id}
    question = {"role": "user", "content": "and this?"}
    assert sdk.responses.create(model="gpt", input=[referred, question]).output_text
    sdk.conversations.delete(conversation.id)
    with pytest.raises(NotFoundError):
        sdk.conversations.retrieve(conversation.id)
