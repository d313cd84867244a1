"""Two tenants at once: nobody gets what is another's, cached or not."""

import asyncio
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from openai import APIStatusError
from test_sdk import ask, text_of


def cached(client, prompt: str, **more):
    """The text and what the cache says."""
    answer = client.chat.completions.with_raw_response.create(**ask(prompt, "cached"), **more)
    return answer.parse().choices[0].message.content, answer.headers["x-bulkhead-cache"]


def test_the_cache_answers_within_a_tenant_and_never_across(client, acme, globex, standin):
    prompt = f"Summarise our open invoices {uuid.uuid4()}"
    ours, theirs = client("acme"), client("globex")
    first, miss = cached(ours, prompt)
    again, hit = cached(ours, prompt)
    assert (miss, hit) == ("miss", "hit")
    assert first == again and acme.canary in first
    other, miss = cached(theirs, prompt)
    assert miss == "miss"
    assert globex.canary in other and acme.canary not in other
    assert [seen.credential for seen in standin.requests(prompt)] == [
        acme.provider_secret,
        globex.provider_secret,
    ]


def test_environments_share_no_cache(deployment, client, acme, standin):
    prompt = f"environments {uuid.uuid4()}"
    secret = f"sk-staging-{uuid.uuid4().hex}"
    standin.account(secret, "canary-acme-staging")
    deployment.set_credential("acme", secret, environment="staging")
    assert cached(client("acme"), prompt)[1] == "miss"
    staging = client(api_key=deployment.token("acme", environment="staging"))
    text, state = cached(staging, prompt)
    assert state == "miss"
    assert "canary-acme-staging" in text and acme.canary not in text


def test_workflows_share_no_cache(deployment, client, acme):
    prompt = f"workflows {uuid.uuid4()}"
    assert cached(client("acme"), prompt)[1] == "miss"
    other = client(api_key=deployment.token("acme", workflow="billing"))
    assert cached(other, prompt)[1] == "miss"


def test_a_stream_is_replayed_as_a_stream(client, acme, globex):
    prompt = f"replay {uuid.uuid4()}"

    def streamed(tenant):
        made = client(tenant).chat.completions.with_raw_response
        answer = made.create(**ask(prompt, "cached"), stream=True)
        return text_of(answer.parse()), answer.headers["x-bulkhead-cache"]

    first, again, other = streamed("acme"), streamed("acme"), streamed("globex")
    assert (first[1], again[1], other[1]) == ("miss", "hit", "miss")
    assert first[0] == again[0] and acme.canary not in other[0]


def test_a_broken_stream_is_not_stored(client, acme):
    prompt = f"standin:cut {uuid.uuid4()}"
    for _ in range(2):
        answer = client("acme").chat.completions.with_raw_response.create(
            **ask(prompt, "cached"), stream=True
        )
        assert answer.headers["x-bulkhead-cache"] == "miss"
        try:
            text_of(answer.parse())
        except Exception as error:  # noqa: BLE001, the SDK may notice the cut or not
            assert acme.provider_secret not in str(error)


def test_a_caller_may_narrow_and_never_widen(client, acme, globex):
    prompt = f"narrow {uuid.uuid4()}"
    cached(client("acme"), prompt)
    _, state = cached(client("acme"), prompt, extra_headers={"cache-control": "no-cache"})
    assert state == "bypass"
    # Names that other gateways let a caller choose the partition with.
    for header in ("x-cache-namespace", "cache-namespace", "x-cache-key", "x-bf-cache-key"):
        _, state = cached(client("globex"), prompt, extra_headers={header: "acme"})
        text, _ = cached(client("globex"), prompt, extra_headers={header: "acme"})
        assert acme.canary not in text


def test_ids_that_a_caller_chooses_name_nothing(client, acme, globex):
    prompt = f"ids {uuid.uuid4()}"
    chosen = {
        name: "chosen-by-the-caller"
        for name in ("x-request-id", "idempotency-key", "x-session-id", "traceparent")
    }
    first, _ = cached(client("acme"), prompt, extra_headers=chosen)
    other, state = cached(client("globex"), prompt, extra_headers=chosen)
    assert state == "miss" and acme.canary in first and acme.canary not in other


def test_two_tenants_at_once_each_get_their_own(client, acme, globex, standin):
    """Threads of both tenants over shared and own prompts, streamed and not, cached and not."""
    shared = [f"the same bytes {n} {uuid.uuid4()}" for n in range(5)]
    clients = {tenant.name: client(tenant.name) for tenant in (acme, globex)}

    def one(tenant, turn: int) -> str:
        own = f"only-{tenant.name}-{tenant.canary}"
        prompt = shared[turn % 5] if turn % 2 else f"{own} {turn}"
        made = clients[tenant.name].chat.completions.with_raw_response
        try:
            answer = made.create(
                **ask(prompt, "cached" if turn % 3 else "plain"), stream=turn % 4 == 0
            )
        except APIStatusError as error:
            return error.response.text
        parsed = answer.parse()
        text = text_of(parsed) if turn % 4 == 0 else parsed.choices[0].message.content
        assert tenant.canary in text
        return f"{dict(answer.headers)} {text}"

    with ThreadPoolExecutor(16) as pool:
        asked = [(tenant, turn) for turn in range(60) for tenant in (acme, globex)]
        received = list(pool.map(lambda each: (each[0], one(*each)), asked))
    for tenant, text in received:
        other = globex if tenant is acme else acme
        assert other.canary not in text
        assert other.provider_secret not in text
    # The provider, too, saw each tenant's words under that tenant's credential alone.
    for tenant in (acme, globex):
        seen = standin.requests(f"only-{tenant.name}")
        assert seen and {each.credential for each in seen} == {tenant.provider_secret}


def test_two_tenants_at_once_over_every_endpoint(client, claude, acme, globex, standin):
    """Each call names what only its tenant says; whatever comes back has nothing of the other's."""

    def chat(sdk, _claude, own: str) -> str:
        return sdk.chat.completions.create(**ask(own, "gpt")).model_dump_json()

    def stream(sdk, _claude, own: str) -> str:
        with sdk.chat.completions.create(**ask(own, "gpt"), stream=True) as chunks:
            return text_of(chunks)

    def respond(sdk, _claude, own: str) -> str:
        first = sdk.responses.create(model="gpt", input=own)
        with sdk.responses.create(
            model="gpt", input=own, previous_response_id=first.id, stream=True
        ) as events:
            return "".join(event.model_dump_json() for event in events)

    def converse(sdk, _claude, own: str) -> str:
        conversation = sdk.conversations.create(metadata={"of": own})
        sdk.responses.create(model="gpt", input=own, conversation=conversation.id)
        return "".join(
            each.model_dump_json() for each in sdk.conversations.items.list(conversation.id)
        )

    def upload(sdk, _claude, own: str) -> str:
        made = sdk.files.create(file=("own.txt", own.encode()), purpose="user_data")
        return sdk.files.content(made.id).text + "".join(each.id for each in sdk.files.list())

    def embed(sdk, _claude, own: str) -> str:
        return sdk.embeddings.create(
            model="embed", input=own, encoding_format="float"
        ).model_dump_json()

    def message(_sdk, claude, own: str) -> str:
        turns = [{"role": "user", "content": own}]
        with claude.messages.stream(model="claude", max_tokens=99, messages=turns) as stream:
            return stream.get_final_message().model_dump_json()

    calls = (chat, stream, respond, converse, upload, embed, message)
    sdks = {each.name: (client(each.name), claude(each.name)) for each in (acme, globex)}

    def one(tenant, turn: int) -> str:
        own = f"endpoint-of-{tenant.name}-{tenant.canary} {turn}"
        return calls[turn % len(calls)](*sdks[tenant.name], own)

    with ThreadPoolExecutor(14) as pool:
        asked = [(tenant, turn) for turn in range(42) for tenant in (acme, globex)]
        received = list(pool.map(lambda each: (each[0], one(*each)), asked))
    for tenant, text in received:
        other = globex if tenant is acme else acme
        assert other.canary not in text and other.name not in text
    for tenant in (acme, globex):
        seen = standin.requests(f"endpoint-of-{tenant.name}")
        assert seen and {each.credential for each in seen} <= set(tenant.secrets.values())


@pytest.mark.parametrize("route", ["gpt", "claude"])
def test_a_caller_who_leaves_ends_the_providers_stream(client, claude, acme, standin, route):
    prompt = f"standin:hold {uuid.uuid4()}"
    if route == "gpt":
        stream = client("acme").chat.completions.create(**ask(prompt, route), stream=True)
    else:
        turns = [{"role": "user", "content": prompt}]
        asked = {"model": route, "max_tokens": 9, "messages": turns}
        stream = claude("acme").messages.create(**asked, stream=True)
    next(iter(stream))
    (seen,) = standin.requests(prompt)
    assert seen.nonce not in standin.left
    stream.close()
    until = time.monotonic() + 20
    while seen.nonce not in standin.left:
        assert time.monotonic() < until, "the provider still speaks to nobody"
        time.sleep(0.02)


async def test_two_tenants_at_once_asynchronously(async_client, acme, globex):
    prompt = f"asynchronous {uuid.uuid4()}"
    clients = [(tenant, async_client(tenant.name)) for tenant in (acme, globex) for _ in range(10)]
    answers = await asyncio.gather(
        *(client.chat.completions.create(**ask(prompt, "cached")) for _, client in clients)
    )
    for (tenant, _), answer in zip(clients, answers, strict=True):
        other = globex if tenant is acme else acme
        assert tenant.canary in answer.choices[0].message.content
        assert other.canary not in answer.choices[0].message.content


async def test_requests_that_are_cancelled_do_not_shift_answers(async_client, acme, globex):
    """The OpenAI outage of March 2023: a cancelled request left its answer to the next reader."""
    ours, theirs = async_client("acme"), async_client("globex")

    async def cancelled(turn: int) -> None:
        prompt = f"cancelled {turn} {uuid.uuid4()}"
        call = asyncio.create_task(ours.chat.completions.create(**ask(prompt)))
        await asyncio.sleep(0.001 * (turn % 7))
        call.cancel()
        with pytest.raises((asyncio.CancelledError, Exception)):
            await call
            raise asyncio.CancelledError

    async def reads(turn: int) -> None:
        prompt = f"reads {turn} {uuid.uuid4()}"
        answer = await theirs.chat.completions.create(**ask(prompt))
        assert answer.choices[0].message.content.endswith(prompt)
        assert globex.canary in answer.choices[0].message.content

    for batch in range(10):
        await asyncio.gather(
            *(each(batch * 10 + n) for n in range(10) for each in (cancelled, reads))
        )


def test_one_secret_for_two_tenants_is_noticed(deployment, acme, globex):
    with pytest.raises(RuntimeError, match="vault.duplicate"):
        deployment.set_credential("globex", acme.provider_secret, environment="staging")


def test_a_tenant_without_a_credential_gets_a_code_and_nobodys_answer(deployment, client, acme):
    deployment.create_tenant("initech")
    with pytest.raises(APIStatusError) as raised:
        client("initech").chat.completions.create(**ask("whose credential?"))
    assert (raised.value.status_code, raised.value.code) == (403, "model.no_credential")
