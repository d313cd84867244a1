"""LangChain with examples/langchain/bulkhead_cache.py: its answers in the scoped cache."""

import uuid

import pytest
from bulkhead_cache import BulkheadCache
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import HumanMessage


@pytest.fixture
def model(deployment):
    """A model that never says the same twice, so that an answer seen again is a cached one.

    All are configured alike, so that their keys in the cache are equal."""
    answers = [f"answer {n} {uuid.uuid4()}" for n in range(100)]
    said = iter(range(100))

    def make(tenant: str, workflow: str = "support", **more: object) -> FakeListChatModel:
        token = deployment.token(tenant, workflow=workflow)
        cache = BulkheadCache(deployment.data, token, ttl_seconds=600, **more)
        made = FakeListChatModel(responses=answers, cache=cache)
        made.i = next(said) * 5
        return made

    return make


def ask(model: FakeListChatModel, prompt: str) -> str:
    return model.invoke([HumanMessage(prompt)]).content


def test_an_answer_is_found_again_by_its_tenant_alone(model, acme, globex):
    prompt = f"our invoices {uuid.uuid4()}"
    ours = model("acme")
    first = ask(ours, prompt)
    assert ask(ours, prompt) == first, "a hit"
    assert ask(model("acme"), prompt) == first, "a hit in another process"
    assert ask(ours, f"{prompt}?") != first
    assert ask(model("globex"), prompt) != first, "another tenant's"
    for other in ({"workflow": "billing"}, {"entity": "someone-else"}, {"version": "2"}):
        assert ask(model("acme", **other), prompt) != first, other


async def test_asynchronously(model, acme):
    ours, prompt = model("acme"), f"asynchronous {uuid.uuid4()}"
    first = await ours.ainvoke(prompt)
    again = await ours.ainvoke(prompt)
    assert again.content == first.content
