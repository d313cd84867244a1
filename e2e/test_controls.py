"""Retries, fallback, usage, the semantic cache: what happens between a caller and its provider."""

import time
import uuid

import openai
import pytest
from test_sdk import ask, text_of


def test_a_busy_provider_is_asked_again(client, acme, standin):
    prompt = f"standin:busy=2 wait=0 {uuid.uuid4()}"
    answer = client("acme").chat.completions.create(**ask(prompt, "gpt"))
    assert answer.choices[0].message.content.endswith(prompt)
    assert len(standin.requests(prompt)) == 3


def test_a_streams_provider_is_asked_again_before_the_first_byte(client, acme, standin):
    prompt = f"standin:busy=1 wait=0 {uuid.uuid4()}"
    with client("acme").chat.completions.create(**ask(prompt, "gpt"), stream=True) as stream:
        assert prompt in text_of(stream)
    assert len(standin.requests(prompt)) == 2


def test_a_long_retry_after_is_the_callers_to_wait(client, acme, standin):
    prompt = f"standin:busy=9 wait=3600 {uuid.uuid4()}"
    began = time.monotonic()
    with pytest.raises(openai.RateLimitError) as raised:
        client("acme").chat.completions.create(**ask(prompt, "gpt"))
    assert raised.value.response.headers["retry-after"] == "3600"
    assert time.monotonic() - began < 10
    assert len(standin.requests(prompt)) == 1


def test_the_sdk_waits_as_it_is_told(client, acme, standin):
    """Bulkhead gives up after two; the SDK goes on by its own rules, and by `Retry-After`."""
    prompt = f"standin:busy=4 wait=0 {uuid.uuid4()}"
    answer = client("acme", max_retries=2).chat.completions.create(**ask(prompt, "gpt"))
    assert answer.choices[0].message.content.endswith(prompt)
    assert len(standin.requests(prompt)) == 5


def test_what_was_wrong_is_not_asked_again(client, acme, standin):
    for status in (400, 401, 403, 404, 409, 422):
        prompt = f"standin:error={status} {uuid.uuid4()}"
        with pytest.raises(openai.APIStatusError):
            client("acme").chat.completions.create(**ask(prompt, "gpt"))
        assert len(standin.requests(prompt)) == 1, status


@pytest.mark.parametrize("stream", [False, True])
def test_a_provider_that_is_gone_is_replaced_by_the_next(deployment, client, acme, stream):
    deployment.set_credential("acme", f"sk-gone-{uuid.uuid4().hex}", provider="gone")
    prompt = f"fallback {uuid.uuid4()}"
    made = client("acme").chat.completions.create(**ask(prompt, "fallback"), stream=stream)
    text = text_of(made) if stream else made.choices[0].message.content
    assert acme.canary in text and prompt in text


def test_a_route_has_other_names(client, acme, standin):
    prompt = f"alias {uuid.uuid4()}"
    client("acme").chat.completions.create(**ask(prompt, "gpt-alias"))
    assert standin.requests(prompt)[0].json["model"] == "standin-1"


def test_a_route_says_which_endpoints_it_has(client, claude, acme):
    with pytest.raises(openai.NotFoundError) as raised:
        client("acme").chat.completions.create(**ask("hello", "claude"))
    assert raised.value.code == "model.unknown" and "messages" in raised.value.message
    import anthropic

    with pytest.raises(anthropic.NotFoundError) as other:
        turns = [{"role": "user", "content": "hello"}]
        claude("acme").messages.create(model="gpt", max_tokens=9, messages=turns)
    assert other.value.body["error"]["type"] == "not_found_error"


def test_anthropics_sdk_understands_our_errors(deployment, claude, acme):
    import anthropic

    turns = [{"role": "user", "content": "hello"}]
    asked = {"model": "claude", "max_tokens": 9, "messages": turns}
    with pytest.raises(anthropic.AuthenticationError) as raised:
        claude(api_key="nonsense").messages.create(**asked)
    assert raised.value.body["error"]["type"] == "authentication_error"
    assert raised.value.body["error"]["code"] == "scope.malformed"
    assert raised.value.request_id and raised.value.request_id.startswith("req_")
    narrow = deployment.token("acme", grants="model:chat")
    with pytest.raises(anthropic.PermissionDeniedError) as raised:
        claude(api_key=narrow).messages.create(**asked)
    assert raised.value.body["error"]["type"] == "permission_error"
    with pytest.raises(anthropic.BadRequestError) as raised:
        claude("acme").messages.create(**asked, extra_body={"nvext": {}})
    assert raised.value.body["error"]["type"] == "invalid_request_error"
    assert raised.value.body["error"]["code"] == "request.unsupported"


@pytest.mark.parametrize("header", ["authorization", "x-api-key"])
def test_either_header_carries_the_token(deployment, acme, header):
    """Anthropic's SDK sent `api_key` as `x-api-key` until version 2, and sends a bearer token since."""
    token = deployment.token("acme")
    value = f"Bearer {token}" if header == "authorization" else token
    body = {"model": "claude", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}
    url = f"{deployment.data}/v1/messages"
    status, _, text = deployment.http("POST", url, body, {header: value})
    assert status == 200 and acme.canary in text


def test_grants_are_of_an_endpoint(deployment, client, acme):
    calls = {
        "model:chat": lambda sdk: sdk.chat.completions.create(**ask("hello", "gpt")),
        "model:responses": lambda sdk: sdk.responses.create(model="gpt", input="hello"),
        "model:embeddings": lambda sdk: sdk.embeddings.create(model="embed", input="hello"),
        "model:files": lambda sdk: sdk.files.list(),
        "model:batches": lambda sdk: sdk.batches.list(),
        "model:models": lambda sdk: sdk.models.list(),
    }
    for grant in calls:
        sdk = client(api_key=deployment.token("acme", grants=grant))
        for other, call in calls.items():
            if other == grant:
                call(sdk)
            else:
                with pytest.raises(openai.PermissionDeniedError):
                    call(sdk)


def semantic(sdk, question: str, route: str = "semantic", **more: object) -> tuple[str, str, dict]:
    turns = [{"role": "system", "content": more.pop("system", "You keep our books.")}]
    turns.append({"role": "user", "content": question})
    made = sdk.chat.completions.with_raw_response.create(model=route, messages=turns, **more)
    headers = dict(made.headers)
    return made.parse().choices[0].message.content, headers["x-bulkhead-cache"], headers


def test_a_question_that_means_the_same_is_answered_from_the_cache(client, acme, globex):
    ours, topic = client("acme"), uuid.uuid4().hex
    question = f"Please summarise every open invoice of our customer {topic} for the board"
    first, state, _ = semantic(ours, question)
    assert state == "miss"
    near = question.replace("Please summarise", "please summarise")
    text, state, headers = semantic(ours, near)
    assert (text, state) == (first, "semantic")
    assert 0.9 <= float(headers["x-bulkhead-similarity"]) <= 1.0
    assert semantic(ours, question)[1] == "hit"
    # Another tenant's, another instruction's, other parameters': never.
    text, state, _ = semantic(client("globex"), near)
    assert state == "miss" and acme.canary not in text and globex.canary in text
    assert semantic(ours, near, system="You keep their books.")[1] == "miss"
    assert semantic(ours, near, temperature=0.5)[1] == "miss"
    assert semantic(ours, f"What is the weather on planet {topic} today?")[1] == "miss"


def test_without_an_embedding_credential_it_is_off_and_says_so(client, globex):
    question = f"Is it on? {uuid.uuid4()}"
    text, state, headers = semantic(client("globex"), question, "semantic-elsewhere")
    assert globex.canary in text and state == "miss"
    assert headers["x-bulkhead-semantic"].startswith("off; reason=")
    # Equal questions are found all the same.
    assert semantic(client("globex"), question, "semantic-elsewhere")[1] == "hit"


def test_usage_is_counted_and_what_was_asked_for_it_is_hidden(deployment, client, acme, standin):
    prompt = f"hidden {uuid.uuid4()}"
    with client("acme").chat.completions.create(**ask(prompt, "gpt"), stream=True) as stream:
        chunks = list(stream)
    (seen,) = standin.requests(prompt)
    assert seen.json["stream_options"]["include_usage"] is True, "asked for behind the scenes"
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)
    _, _, metrics = deployment.http(
        "GET", f"{deployment.control}/metrics", headers=operator(deployment)
    )
    tokens = [line for line in metrics.splitlines() if "token" in line and not line[0] == "#"]
    assert tokens, "no metric of tokens"
    assert acme.canary not in metrics and prompt not in metrics


def operator(deployment) -> dict[str, str]:
    return {"authorization": f"Bearer {deployment.operator}"}


def test_what_a_run_used_is_in_its_events(deployment, client, acme):
    run = f"run-{uuid.uuid4()}"
    grants = "model:chat model:responses records:read"
    token = deployment.token("acme", grants=grants, run=run)
    sdk = client(api_key=token)
    sdk.chat.completions.create(**ask("whole", "gpt"))
    with sdk.chat.completions.create(**ask("stream", "gpt"), stream=True) as stream:
        list(stream)
    sdk.responses.create(model="gpt", input="response")
    url = f"{deployment.data}/v1/runs/{run}/events"
    for _ in range(100):
        _, _, text = deployment.http("GET", url, headers={"authorization": f"Bearer {token}"})
        if text.count("11") >= 3 and text.count('"model') >= 3:
            break
        time.sleep(0.05)
    assert "11" in text, text[:2000]


def test_a_stream_cannot_be_had_again(client, acme):
    """`GET /v1/responses/{id}?stream=true` is not offered: it is refused by name, and not taken for something else."""
    sdk = client("acme")
    made = sdk.responses.create(model="gpt", input="slowly", background=True)
    with pytest.raises(openai.BadRequestError, match="stream"):
        sdk.responses.retrieve(made.id, stream=True)
