"""What a provider is told about whose request it is: derived here, for each tenant and environment, and by nobody else."""

import uuid

import pytest

# What gateways and providers let a caller choose a partition, a routing or a name with.
CALLERS = {
    "cache_salt": "mine",
    "user": "mine",
    "safety_identifier": "mine",
    "prompt_cache_key": "mine",
    "extra_key": "mine",
    "cache": {"namespace": "mine"},
    "cache_namespace": "mine",
    "Cache-Salt": "mine",
    "cacheSalt": "mine",
}

# By route: the marks that its requests carry.
MARKS = {
    "gpt": {"safety_identifier", "prompt_cache_key"},
    "azure-gpt": {"user"},
    "azure-dated-gpt": {"user"},
    "weights": {"cache_salt"},
    "lumps": {"cache_salt", "extra_key"},
    "plain": set(),
    "pooled": {"safety_identifier", "prompt_cache_key"},
    "pooled-weights": {"cache_salt"},
}
EVERY = {"safety_identifier", "prompt_cache_key", "user", "cache_salt", "extra_key"}


@pytest.fixture(scope="module")
def staging(deployment, acme, standin):
    """The tenant acme's other environment, with accounts of its own and the shared ones."""
    for provider, secret in acme.secrets.items():
        shared = provider.startswith("pool")
        if not shared:
            secret = f"sk-staging-{uuid.uuid4().hex}"
            standin.account(secret, "canary-acme-staging")
        deployment.set_credential("acme", secret, "staging", shared=shared, provider=provider)


def sent(standin, sdk, route: str, **more: object) -> dict:
    """What the provider was sent, for a chat."""
    prompt = f"marks {uuid.uuid4()}"
    turns = [{"role": "user", "content": prompt}]
    sdk.chat.completions.create(model=route, messages=turns, **more)
    (seen,) = standin.requests(prompt)
    return seen.json


@pytest.mark.parametrize("route", MARKS)
def test_marks_are_of_tenant_and_environment(
    deployment, client, acme, globex, staging, standin, route
):
    sdks = {
        "acme": [client("acme"), client("acme"), client(api_key=deployment.key("acme")["secret"])],
        "acme's other workflow": [client(api_key=deployment.token("acme", workflow="billing"))],
        "staging": [client(api_key=deployment.token("acme", "staging"))],
        "globex": [client("globex")],
    }
    found: dict[str, set[tuple]] = {}
    for name, each in sdks.items():
        for sdk in each:
            for more in ({}, {"extra_body": CALLERS}, {"user": "globex"}):
                body = sent(standin, sdk, route, **more)
                marks = {field: body[field] for field in EVERY if field in body}
                assert set(marks) == MARKS[route]
                assert "mine" not in str(body)
                found.setdefault(name, set()).add(tuple(sorted(marks.items())))
    assert {len(marks) for marks in found.values()} == {1}, "the same caller, the same marks"
    if MARKS[route]:
        # A workflow is no wall at a provider; tenant and environment are.
        assert found["acme"] == found["acme's other workflow"]
        different = [found["acme"], found["staging"], found["globex"]]
        values = [value for marks in different for each in marks for _, value in each]
        assert len(set(values)) == len(values), "a mark serves two purposes"
        assert all(20 <= len(value) <= 64 for value in values)
        assert not any("acme" in value or "globex" in value for value in values)


def test_every_endpoint_carries_its_marks(client, claude, acme, standin):
    prompt = f"every endpoint {uuid.uuid4()}"
    sdk = client("acme")
    sdk.responses.create(model="gpt", input=prompt, user="mine")
    sdk.embeddings.create(model="embed", input=prompt, user="mine")
    turns = [{"role": "user", "content": prompt}]
    claude("acme").messages.create(
        model="claude", max_tokens=10, messages=turns, metadata={"user_id": "mine"}
    )
    claude("acme").messages.count_tokens(model="claude", messages=turns)
    response, embeddings, message, count = (seen.json for seen in standin.requests(prompt))
    assert {"safety_identifier", "prompt_cache_key"} <= response.keys()
    assert "user" not in response
    assert embeddings.get("user", "bk_").startswith("bk_")
    assert message["metadata"]["user_id"].startswith("bk_")
    assert "metadata" not in count


@pytest.mark.parametrize(
    "route", ["gpt", "azure-gpt", "azure-dated-gpt", "weights", "lumps", "plain"]
)
def test_every_kind_takes_what_it_is_sent(client, acme, route):
    """The stand-in refuses what its kind does not know, marks included."""
    sdk = client("acme")
    turns = [{"role": "user", "content": "hello"}]
    with sdk.chat.completions.create(model=route, messages=turns, stream=True) as stream:
        assert list(stream)
    assert acme.canary in sdk.responses.create(model=route, input="hello").output_text
    with sdk.responses.create(model=route, input="hello", stream=True, store=False) as stream:
        assert list(stream)[-1].type == "response.completed"
    assert sdk.embeddings.create(model=route, input="hello").data


def test_lines_of_a_batch_carry_marks(client, acme, standin):
    from test_openai_files import batch_file

    prompt, endpoint = f"batched {uuid.uuid4()}", "/v1/chat/completions"
    body = {"model": "gpt", "messages": [{"role": "user", "content": prompt}], "user": "mine"}
    client("acme").files.create(file=("b.jsonl", batch_file([body], endpoint)), purpose="batch")
    (seen,) = standin.requests(prompt)
    text = seen.body.decode()
    assert '"safety_identifier"' in text and '"mine"' not in text
    assert '"standin-1"' in text, "the provider's name of the model"


def test_headers_that_name_a_caller_stay_here(client, acme, standin):
    prompt = f"headers {uuid.uuid4()}"
    turns = [{"role": "user", "content": prompt}]
    sdk = client("acme", organization="org-mine", project="proj-mine")
    names = ("x-litellm-tags", "x-portkey-api-key", "helicone-user-id", "forwarded", "cookie")
    mine = {name: "mine" for name in names}
    sdk.chat.completions.create(model="gpt", messages=turns, extra_headers=mine)
    (seen,) = standin.requests(prompt)
    assert "mine" not in str(seen.headers)
    assert seen.headers["authorization"] == f"Bearer {acme.secrets['openai']}"


def test_each_kind_is_sent_its_credential_its_way(client, claude, acme, standin):
    def head(route: str) -> dict:
        prompt = f"credential {uuid.uuid4()}"
        turns = [{"role": "user", "content": prompt}]
        if route == "claude":
            claude("acme").messages.create(model=route, max_tokens=9, messages=turns)
        else:
            client("acme").chat.completions.create(model=route, messages=turns)
        (seen,) = standin.requests(prompt)
        return seen.headers | {"path": seen.path}

    assert head("azure-gpt")["api-key"] == acme.secrets["azure"]
    dated = head("azure-dated-gpt")
    assert dated["api-key"] == acme.secrets["azure-dated"]
    path = "/azure/openai/deployments/standin-1/chat/completions?api-version=2024-10-21"
    assert dated["path"] == path
    message = head("claude")
    assert message["x-api-key"] == acme.secrets["anthropic"]
    assert message["anthropic-version"] == claude("acme").default_headers["anthropic-version"]


@pytest.mark.parametrize("route", ["pooled", "gpt"])
def test_an_unknown_field_passes_on_ones_own_credential_alone(client, acme, standin, route):
    from openai import BadRequestError

    prompt = f"unknown {uuid.uuid4()}"
    turns = [{"role": "user", "content": prompt}]
    asked = {"model": route, "messages": turns, "extra_body": {"experimental_depth": [1.5, {}]}}
    sdk = client("acme")
    if route == "gpt":
        sdk.chat.completions.create(**asked)
        (seen,) = standin.requests(prompt)
        assert seen.json["experimental_depth"] == [1.5, {}]
    else:
        with pytest.raises(BadRequestError, match="experimental_depth") as raised:
            sdk.chat.completions.create(**asked)
        assert raised.value.code == "request.unsupported"
        assert standin.requests(prompt) == []


def test_what_is_not_understood_passes_byte_for_byte(deployment, acme, standin):
    odd = '"experimental_depth": [1.50, {"b" : 1e3,  "a": "\\u00e9/\\/"}]'
    prompt = f"bytes {uuid.uuid4()}"
    body = f'{{"model":"gpt","messages":[{{"role":"user","content":"{prompt}"}}], {odd} }}'
    headers = {"authorization": f"Bearer {deployment.token('acme')}"}
    url = f"{deployment.openai_url}/chat/completions"
    status, _, text = deployment.http("POST", url, body.encode(), headers)
    assert status == 200, text
    (seen,) = standin.requests(prompt)
    assert odd.split(": ", 1)[1].encode() in seen.body
