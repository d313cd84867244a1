"""LangGraph with examples/langgraph/bulkhead_checkpoint.py: its threads in run state."""

import operator
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, TypedDict

import pytest
from bulkhead_checkpoint import BulkheadError, BulkheadSaver, Conflict, run_of
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt


class Claim(TypedDict):
    said: Annotated[list[str], operator.add]
    approved: bool


@pytest.fixture
def saver(deployment):
    made = []

    def make(tenant: str, run: str | None = None, **more: object) -> BulkheadSaver:
        """With an API key, which is of no run; or with the token of one."""
        secret = (
            deployment.token(tenant, run=run) if run else deployment.key(tenant, **more)["secret"]
        )
        made.append(BulkheadSaver(deployment.data, secret))
        return made[-1]

    yield make
    for each in made:
        each.close()


def claims(saver: BulkheadSaver, ask=lambda said: f"draft of {said}"):
    """Drafts with a model, waits for a person, and pays or not. A new object each time, as in a new process."""

    def draft(state: Claim) -> dict:
        return {"said": [ask(state["said"][-1])]}

    def review(state: Claim) -> dict:
        answer = interrupt({"approve?": state["said"][-1]})
        return {"approved": answer == "yes", "said": [f"reviewed: {answer}"]}

    def pay(state: Claim) -> dict:
        return {"said": ["paid" if state["approved"] else "not paid"]}

    graph = StateGraph(Claim)
    for name, node in (("draft", draft), ("review", review), ("pay", pay)):
        graph.add_node(name, node)
    for one, next_one in ((START, "draft"), ("draft", "review"), ("review", "pay"), ("pay", END)):
        graph.add_edge(one, next_one)
    return graph.compile(checkpointer=saver)


def thread(name: object) -> dict:
    return {"configurable": {"thread_id": str(name)}}


async def test_langgraphs_own_conformance_tests(deployment, acme):
    @checkpointer_test(name="BulkheadSaver")
    async def ours():
        saver = BulkheadSaver(deployment.data, deployment.key("acme")["secret"])
        yield saver
        await saver.aclose()
        saver.close()

    report = await validate(ours)
    failures = [each for result in report.results.values() for each in result.failures or []]
    assert report.passed_all_base(), failures


def test_an_interrupted_graph_is_resumed_elsewhere(saver, client, acme):
    sdk, name = client("acme"), uuid.uuid4()

    def ask(said: str) -> str:
        answer = sdk.chat.completions.create(
            model="gpt", messages=[{"role": "user", "content": said}]
        )
        return answer.choices[0].message.content

    first = claims(saver("acme"), ask).invoke({"said": ["claim 7"]}, thread(name))
    assert acme.canary in first["said"][1]
    assert first["__interrupt__"][0].value == {"approve?": first["said"][1]}
    # Nothing of the first objects is used again.
    resumed = claims(saver("acme"), pytest.fail).invoke(Command(resume="yes"), thread(name))
    assert resumed["said"] == [*first["said"], "reviewed: yes", "paid"]


async def test_asynchronously(saver, acme):
    name, ours = uuid.uuid4(), saver("acme")
    graph = claims(ours)
    updates = [each async for each in graph.astream({"said": ["a"]}, thread(name))]
    assert "__interrupt__" in updates[-1]
    done = await claims(ours).ainvoke(Command(resume="no"), thread(name))
    assert done["said"][-1] == "not paid"
    history = [state async for state in graph.aget_state_history(thread(name))]
    assert len(history) == 5
    await ours.adelete_thread(str(name))
    assert (await graph.aget_state(thread(name))).values == {}
    await ours.aclose()


def test_time_travel(saver, acme):
    name = uuid.uuid4()
    graph = claims(saver("acme"))
    graph.invoke({"said": ["a claim"]}, thread(name))
    paid = graph.invoke(Command(resume="yes"), thread(name))
    assert paid["said"][-1] == "paid"
    history = list(graph.get_state_history(thread(name)))
    assert [state.next for state in history][:2] == [(), ("pay",)]
    before_pay = history[1]
    again = claims(saver("acme"))
    forked = again.update_state(before_pay.config, {"approved": False})
    other = again.invoke(None, forked)
    assert other["said"][-1] == "not paid"
    # What was before is still there.
    assert again.get_state(history[0].config).values == paid
    assert len(list(graph.get_state_history(thread(name)))) > len(history)


def test_tenants_with_equal_thread_ids_do_not_meet(saver, acme, globex):
    for name in ("42", f"thread with spaces/{uuid.uuid4()}", "sha256:" + "0" * 64):
        ours, theirs = claims(saver("acme")), claims(saver("globex"))
        ours.invoke({"said": ["of acme"]}, thread(name))
        assert theirs.get_state(thread(name)).values == {}
        theirs.invoke({"said": ["of globex"]}, thread(name))
        assert ours.get_state(thread(name)).values["said"][0] == "of acme"
        assert theirs.get_state(thread(name)).values["said"][0] == "of globex"
        saver("globex").delete_thread(name)
        assert ours.get_state(thread(name)).values["said"][0] == "of acme"
        for other in ({"environment": "staging"}, {"workflow": "billing"}):
            assert claims(saver("acme", **other)).get_state(thread(name)).values == {}
        saver("acme").delete_thread(name)


def test_a_token_of_a_run_sees_its_own_thread_alone(saver, acme):
    own, other = (f"run-{uuid.uuid4()}" for _ in range(2))
    graph = claims(saver("acme", run=own))
    graph.invoke({"said": ["mine"]}, thread(own))
    assert graph.get_state(thread(own)).values["said"][0] == "mine"
    with pytest.raises(BulkheadError) as raised:
        graph.invoke({"said": ["not mine"]}, thread(other))
    assert raised.value.code == "scope.mismatch"


def test_the_newest_checkpoint_stays_whoever_writes_last(saver, acme):
    """Compare-and-set: many writers, none of whom may move the head back."""
    name = str(uuid.uuid4())
    savers = [saver("acme") for _ in range(4)]
    config = {"configurable": {"thread_id": name, "checkpoint_ns": ""}}
    made = [empty_checkpoint() for _ in range(24)]
    order = [*made[::2], *made[::-2]]

    def write(index: int) -> None:
        savers[index % 4].put(config, order[index], {"source": "loop", "step": index}, {})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(len(order))))
    newest = max(each["id"] for each in made)
    assert savers[0].get_tuple(config).checkpoint["id"] == newest
    assert len(list(savers[0].list(config))) == len(made)


def test_a_checkpoint_is_not_written_over_by_another(saver, acme):
    name, ours = str(uuid.uuid4()), saver("acme")
    config = {"configurable": {"thread_id": name, "checkpoint_ns": ""}}
    one = empty_checkpoint()
    ours.put(config, one, {"source": "loop", "step": 1}, {})
    ours.put(config, one, {"source": "loop", "step": 1}, {})
    with pytest.raises(Conflict):
        ours.put(config, one, {"source": "loop", "step": 2}, {})


def test_threads_and_runs_are_one_to_one():
    names = ["a", "A", "a.b:c_d-e", "", " ", "é", "../x", "a/b", "a%2Fb", "x" * 128, "x" * 129]
    names += [run_of("a/b"), run_of(run_of("a/b")), 7, "7é"]
    runs = {str(name): run_of(name) for name in names}
    assert len(set(runs.values())) == len(runs)
    assert run_of("a.b:c_d-e") == "a.b:c_d-e"
