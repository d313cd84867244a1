"""LiteLLM's proxy as an upstream: the shapes of somebody else's server, and the SDKs behind Bulkhead.

It answers by itself where its models have a `mock_response` (`mocked…`), and asks the stand-in where they have none
(`through…`): a mock of LiteLLM 1.105.0 cannot stream a response (it answers `Error processing stream start`), answers
a message that was to be streamed with plain JSON, gives one vector for however many texts, and calls no tool. The ids
of a mocked response's items are the same for every response."""

from __future__ import annotations

import json
import os
import subprocess
import time
import uuid
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import anthropic
import openai
import pytest
from deployment import Deployment, Tenant, free_ports
from test_anthropic import WEATHER as CLAUDES_WEATHER
from test_openai_chat import WEATHER, Invoice
from test_openai_responses import WEATHER as RESPONSES_WEATHER

KEY = "sk-litellm-master"
UPSTREAM = "sk-of-litellm"
CANARY = "canary-of-litellm"

CONFIGURATION = """
model_list:
  - model_name: mocked
    litellm_params: {{ model: openai/gpt-4o-mini, api_key: none, mock_response: "said LiteLLM" }}
  - model_name: mocked-claude
    litellm_params: {{ model: anthropic/claude-sonnet-4-5, api_key: none, mock_response: "said LiteLLM" }}
  - model_name: mocked-embed
    litellm_params: {{ model: openai/text-embedding-3-small, api_key: none, mock_response: [0.1, 0.2, 0.3] }}
  - model_name: busy
    litellm_params: {{ model: openai/gpt-4o-mini, api_key: none, mock_response: "litellm.RateLimitError" }}
  - model_name: through
    litellm_params: {{ model: openai/standin-1, api_key: {upstream}, api_base: "{origin}/openai/v1" }}
  - model_name: through-claude
    litellm_params: {{ model: anthropic/standin-1, api_key: {upstream}, api_base: "{origin}/anthropic" }}
general_settings: {{ master_key: {key} }}
litellm_settings: {{ telemetry: false, num_retries: 0 }}
router_settings: {{ num_retries: 0 }}
"""

PROVIDERS = """
[[model.providers]]
id = "litellm"
kind = "openai-compatible"
base_url = "{litellm}/v1"

[[model.providers]]
id = "litellm-claude"
kind = "anthropic"
base_url = "{litellm}/v1"
"""

MODELS = {
    "mocked": "litellm",
    "mocked-embed": "litellm",
    "busy": "litellm",
    "through": "litellm",
    "mocked-claude": "litellm-claude",
    "through-claude": "litellm-claude",
}


@pytest.fixture(scope="module")
def litellm(tmp_path_factory, standin):
    """The proxy's URL."""
    standin.account(UPSTREAM, CANARY)
    folder = tmp_path_factory.mktemp("litellm")
    (port,) = free_ports(1)
    written = CONFIGURATION.format(upstream=UPSTREAM, origin=standin.origin, key=KEY)
    (folder / "config.yaml").write_text(written)
    program = Path(os.environ.get("LITELLM_BIN", Path(__file__).parent / ".venv/bin/litellm"))
    with (folder / "log").open("wb") as log:
        running = subprocess.Popen(
            [program, "--config", "config.yaml", "--port", str(port), "--host", "127.0.0.1"],
            cwd=folder,
            stdout=log,
            stderr=log,
            # No prices from the network, nothing of the machine's.
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(folder),
                "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            },
        )
    url, until = f"http://127.0.0.1:{port}", time.monotonic() + 120
    while True:
        assert running.poll() is None, (folder / "log").read_text()[-4000:]
        try:
            urlopen(f"{url}/health/liveliness", timeout=2).read()
            break
        except (URLError, ConnectionError, TimeoutError):
            assert time.monotonic() < until, (folder / "log").read_text()[-4000:]
            time.sleep(0.2)
    yield url
    running.terminate()
    running.wait(timeout=30)


@pytest.fixture(scope="module")
def behind(tmp_path_factory, standin, litellm) -> tuple[Deployment, Tenant]:
    """A deployment whose providers are LiteLLM, and a tenant with its key."""
    own = Deployment(tmp_path_factory.mktemp("behind") / "bulkhead", standin.origin)
    routes = "".join(
        f'[[model.routes]]\nname = "{name}"\nprovider = "{provider}"\nupstream_model = "{name}"\n'
        for name, provider in MODELS.items()
    )
    with (own.folder / "bulkhead.toml").open("a") as settings:
        settings.write(PROVIDERS.format(litellm=litellm) + routes)
    own.start()
    own.create_tenant("acme")
    for provider in ("litellm", "litellm-claude"):
        own.set_credential("acme", KEY, provider=provider)
    yield own, Tenant("acme", CANARY)
    own.stop()


@pytest.fixture
def sdk(behind) -> openai.OpenAI:
    own, tenant = behind
    token = own.token(tenant.name)
    return openai.OpenAI(base_url=own.openai_url, api_key=token, max_retries=0)


@pytest.fixture
def claude(behind) -> anthropic.Anthropic:
    own, tenant = behind
    token = own.token(tenant.name)
    return anthropic.Anthropic(base_url=own.anthropic_url, api_key=token, max_retries=0)


def said(prompt: str) -> list[dict]:
    return [{"role": "user", "content": prompt}]


@pytest.mark.parametrize("model", ["mocked", "through"])
def test_chat(sdk, model):
    prompt = f"chat {uuid.uuid4()}"
    answer = sdk.chat.completions.create(model=model, messages=said(prompt))
    text = answer.choices[0].message.content
    assert text == "said LiteLLM" or text.endswith(prompt)
    assert answer.usage.total_tokens > 0


@pytest.mark.parametrize("model", ["mocked", "through"])
@pytest.mark.parametrize("counted", [False, True])
def test_a_chat_stream(sdk, model, counted):
    prompt = f"stream {uuid.uuid4()}"
    more = {"stream_options": {"include_usage": True}} if counted else {}
    with sdk.chat.completions.create(
        model=model, messages=said(prompt), stream=True, **more
    ) as stream:
        chunks = list(stream)
    text = "".join(
        choice.delta.content or "" for chunk in chunks for choice in chunk.choices
    ).rstrip()
    assert text == "said LiteLLM" or text.endswith(prompt)
    if counted:
        assert chunks[-1].usage.total_tokens > 0
    else:
        assert all(chunk.choices and chunk.usage is None for chunk in chunks)


def test_tools_and_structured_output(sdk):
    with sdk.chat.completions.stream(
        model="through", messages=said("weather?"), tools=[WEATHER]
    ) as stream:
        for _ in stream:
            pass
        (call,) = stream.get_final_completion().choices[0].message.tool_calls
    assert CANARY in call.function.parsed_arguments["city"]
    answer = sdk.chat.completions.parse(
        model="through", messages=said("an invoice"), response_format=Invoice
    )
    assert CANARY in answer.choices[0].message.parsed.customer


def test_embeddings(sdk):
    made = sdk.embeddings.create(model="mocked-embed", input="words", encoding_format="float")
    assert made.data[0].embedding == [0.1, 0.2, 0.3]
    made = sdk.embeddings.create(model="through", input=["some", "words"], encoding_format="float")
    assert [len(each.embedding) for each in made.data] == [256, 256]


@pytest.mark.parametrize("model", ["mocked", "through"])
def test_a_response(sdk, model):
    answer = sdk.responses.create(model=model, input="a response")
    text = answer.output_text
    assert text == "said LiteLLM" or text.endswith("a response")
    assert answer.usage.output_tokens > 0


def test_a_streamed_response_and_one_that_goes_on(sdk):
    """LiteLLM seals what it needs to know into the ids of responses: they are hundreds of bytes long."""
    secret = f"the code is {uuid.uuid4()}"
    with sdk.responses.stream(model="through", input=secret) as stream:
        for _ in stream:
            pass
        first = stream.get_final_response()
    assert len(first.id) > 256
    second = sdk.responses.create(
        model="through", input="what was it?", previous_response_id=first.id
    )
    assert secret in second.output_text


def test_a_streamed_tool_call_of_a_response(sdk):
    with sdk.responses.stream(
        model="through", input="weather?", tools=[RESPONSES_WEATHER], store=False
    ) as stream:
        for _ in stream:
            pass
        (call,) = stream.get_final_response().output
    assert CANARY in json.loads(call.arguments)["city"]


@pytest.mark.parametrize("model", ["mocked-claude", "through-claude"])
def test_a_message(claude, model):
    prompt = f"message {uuid.uuid4()}"
    answer = claude.messages.create(model=model, max_tokens=100, messages=said(prompt))
    text = answer.content[0].text
    assert text == "said LiteLLM" or text.endswith(prompt)
    assert answer.usage.output_tokens > 0
    counted = claude.messages.count_tokens(model=model, messages=said(prompt))
    assert counted.input_tokens > 0


def test_streamed_messages_and_tools(claude):
    prompt = f"stream {uuid.uuid4()}"
    asked = {"model": "through-claude", "max_tokens": 100}
    with claude.messages.stream(messages=said(prompt), **asked) as stream:
        text = "".join(stream.text_stream)
    assert text.endswith(prompt)
    with claude.messages.stream(
        messages=said("weather?"), tools=[CLAUDES_WEATHER], **asked
    ) as stream:
        (call,) = stream.get_final_message().content
    assert CANARY in call.input["city"]


def test_its_errors(sdk, claude):
    with pytest.raises(openai.RateLimitError):
        sdk.chat.completions.create(model="busy", messages=said("hello"))
    for status, exception in ((400, openai.BadRequestError), (500, openai.InternalServerError)):
        with pytest.raises(exception) as raised:
            sdk.chat.completions.create(model="through", messages=said(f"standin:error={status}"))
        assert KEY not in raised.value.response.text
    with pytest.raises(anthropic.RateLimitError) as limited:
        claude.messages.create(
            model="through-claude", max_tokens=9, messages=said("standin:error=429")
        )
    assert limited.value.body["type"] == "error"
