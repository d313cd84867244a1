"""Files and batches through the unmodified OpenAI SDK."""

import io
import json
import uuid

import pytest
from openai import NotFoundError

pytestmark = pytest.mark.direct


def batch_file(lines: list[dict], endpoint: str) -> bytes:
    each = [
        {"custom_id": f"line-{n}", "method": "POST", "url": endpoint, "body": body}
        for n, body in enumerate(lines)
    ]
    return "".join(json.dumps(line) + "\n" for line in each).encode()


def test_a_file_is_uploaded_read_and_deleted(client, acme):
    sdk, content = client("acme"), f"contents {uuid.uuid4()}".encode()
    made = sdk.files.create(file=("notes.txt", content), purpose="user_data")
    assert (made.filename, made.bytes, made.purpose) == ("notes.txt", len(content), "user_data")
    assert sdk.files.retrieve(made.id).id == made.id
    assert sdk.files.content(made.id).read() == content
    assert made.id in {file.id for file in sdk.files.list()}
    parts = [
        {"type": "input_file", "file_id": made.id},
        {"type": "input_text", "text": "what is in it?"},
    ]
    answer = sdk.responses.create(model="gpt", input=[{"role": "user", "content": parts}])
    assert answer.output_text.endswith("[input_file] what is in it?")
    parts = [{"type": "file", "file": {"file_id": made.id}}, {"type": "text", "text": "and?"}]
    sdk.chat.completions.create(model="gpt", messages=[{"role": "user", "content": parts}])
    assert sdk.files.delete(made.id).deleted
    with pytest.raises(NotFoundError):
        sdk.files.retrieve(made.id)
    assert made.id not in {file.id for file in sdk.files.list()}


async def test_asynchronous_files(async_client, acme):
    sdk = async_client("acme")
    made = await sdk.files.create(file=io.BytesIO(b"words"), purpose="assistants")
    assert (await sdk.files.content(made.id)).content == b"words"
    await sdk.files.delete(made.id)


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        (
            "/v1/chat/completions",
            {"model": "gpt", "messages": [{"role": "user", "content": "batched"}]},
        ),
        ("/v1/responses", {"model": "gpt", "input": "batched", "store": False}),
        ("/v1/embeddings", {"model": "embed", "input": "batched"}),
    ],
)
def test_a_batch_is_run_and_its_output_read(client, acme, endpoint, body):
    sdk = client("acme")
    source = sdk.files.create(
        file=("batch.jsonl", batch_file([body, body], endpoint)), purpose="batch"
    )
    batch = sdk.batches.create(
        input_file_id=source.id,
        endpoint=endpoint,
        completion_window="24h",
        metadata={"job": "nightly"},
    )
    done = sdk.batches.retrieve(batch.id)
    assert (done.status, done.request_counts.completed) == ("completed", 2)
    lines = sdk.files.content(done.output_file_id).text.splitlines()
    answers = [json.loads(line) for line in lines]
    assert [answer["custom_id"] for answer in answers] == ["line-0", "line-1"]
    assert {answer["response"]["status_code"] for answer in answers} == {200}
    if "embeddings" not in endpoint:
        assert all(acme.canary in line for line in lines)
    assert batch.id in {each.id for each in sdk.batches.list()}


def test_a_batch_is_cancelled(client, acme):
    sdk = client("acme")
    endpoint = "/v1/chat/completions"
    body = {"model": "gpt", "messages": [{"role": "user", "content": "slowly"}]}
    source = sdk.files.create(file=("b.jsonl", batch_file([body], endpoint)), purpose="batch")
    batch = sdk.batches.create(
        input_file_id=source.id,
        endpoint=endpoint,
        completion_window="24h",
        metadata={"pace": "standin:slow"},
    )
    assert sdk.batches.retrieve(batch.id).status == "in_progress"
    assert sdk.batches.cancel(batch.id).status == "cancelling"
