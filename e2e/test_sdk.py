"""The unmodified OpenAI SDK against the released binary: what a user's program does all day."""

import asyncio
import uuid

import pytest
from openai import BadRequestError, InternalServerError, NotFoundError, RateLimitError
from standin import BANNER


def ask(prompt: str, model: str = "plain") -> dict:
    return {"model": model, "messages": [{"role": "user", "content": prompt}]}


def text_of(stream) -> str:
    return "".join(part.choices[0].delta.content or "" for part in stream)


def test_a_completion(client, acme, standin):
    prompt = f"hello {uuid.uuid4()}"
    answer = client("acme").chat.completions.create(**ask(prompt))
    assert answer.choices[0].message.content.startswith(BANNER)
    assert acme.canary in answer.choices[0].message.content
    assert answer.usage.total_tokens == 18
    (seen,) = standin.requests(prompt)
    assert seen.credential == acme.provider_secret
    assert seen.json["model"] == "standin-1"


def test_a_stream(client, acme):
    prompt = f"stream {uuid.uuid4()}"
    with client("acme").chat.completions.create(**ask(prompt), stream=True) as stream:
        text = text_of(stream)
    assert text.startswith(BANNER)
    assert prompt in text
    assert acme.canary in text


async def test_asynchronous_completions_and_streams(async_client, acme):
    client = async_client("acme")
    prompts = [f"async {uuid.uuid4()}" for _ in range(8)]
    answers = await asyncio.gather(
        *(client.chat.completions.create(**ask(prompt)) for prompt in prompts)
    )
    for prompt, answer in zip(prompts, answers, strict=True):
        assert answer.choices[0].message.content.endswith(prompt)
    stream = await client.chat.completions.create(**ask(prompts[0]), stream=True)
    parts = [part.choices[0].delta.content or "" async for part in stream]
    assert prompts[0] in "".join(parts)


def test_models_lists_the_routes(client, acme):
    assert {"plain", "cached"} <= {model.id for model in client("acme").models.list()}
    assert client("acme").models.retrieve("plain").id == "plain"


def test_fields_reach_the_provider_as_they_came(client, acme, standin):
    prompt = f"fields {uuid.uuid4()}"
    client("acme").chat.completions.create(
        **ask(prompt), temperature=0.25, seed=7, user="somebody", extra_body={"top_k": 1.50}
    )
    (seen,) = standin.requests(prompt)
    assert (seen.json["temperature"], seen.json["seed"], seen.json["top_k"]) == (0.25, 7, 1.5)
    assert "user" not in seen.json, (
        "whom the provider takes a caller for is not the caller's choice"
    )


@pytest.mark.parametrize("field", ["nvext", "api_base", "Session-Id", "data_sources"])
def test_a_field_that_steers_around_us_is_refused_by_name(client, acme, field):
    with pytest.raises(BadRequestError) as raised:
        client("acme").chat.completions.create(**ask("fields"), extra_body={field: "x"})
    assert raised.value.code == "request.unsupported"


def test_every_answer_is_ours_and_is_not_to_be_stored(client, acme):
    made = client("acme").chat.completions.with_raw_response
    answers = [
        made.create(**ask("ids"), extra_headers={"x-request-id": "req_mine"}) for _ in range(2)
    ]
    ids = {answer.headers["x-request-id"] for answer in answers}
    assert len(ids) == 2 and "req_mine" not in ids
    assert {answer.headers["cache-control"] for answer in answers} == {"no-store"}


@pytest.mark.parametrize(
    ("status", "exception"),
    [(400, BadRequestError), (429, RateLimitError), (500, InternalServerError)],
)
def test_a_providers_error_has_the_sdks_class_and_no_credential(
    client, acme, standin, status, exception
):
    with pytest.raises(exception) as raised:
        client("acme").chat.completions.create(**ask(f"standin:error={status}"))
    assert acme.provider_secret not in str(raised.value.body) + raised.value.response.text
    assert standin.requests(f"standin:error={status}")[-1].credential == acme.provider_secret


def test_a_redirect_is_not_followed(client, acme, standin):
    with pytest.raises(InternalServerError) as raised:
        client("acme").chat.completions.create(**ask("standin:redirect"))
    assert (raised.value.status_code, raised.value.code) == (502, "upstream.redirect")
    assert not [seen for seen in standin.seen if seen.path.endswith("/elsewhere")]


def test_an_unknown_model_is_not_found(client, acme):
    with pytest.raises(NotFoundError) as raised:
        client("acme").chat.completions.create(**ask("hello", model="gpt-none"))
    assert raised.value.code == "model.unknown"
