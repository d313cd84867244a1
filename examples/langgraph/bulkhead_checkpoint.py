"""LangGraph's checkpoints in Bulkhead's run state, over plain HTTP.

    saver = BulkheadSaver("http://127.0.0.1:8642", token)
    graph = builder.compile(checkpointer=saver)

A thread is a run: whoever may see it is decided by the token (its tenant, environment and workflow) and not by the
`thread_id`, so that two tenants with equal thread ids never meet.

What is where, under `/v1/state/{run}/`:

    head/{ns}                        the id of the newest checkpoint, moved by compare-and-set
    checkpoint/{ns}/{id}             a checkpoint without its channels' values, its metadata and its parent's id
    value/{ns}/{channel}/{version}   a channel's value
    write/{ns}/{id}/{task}/{index}   what a task wrote since

A checkpoint counts once `head` names it or a later one: its parts are written before.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    SerializerProtocol,
    get_checkpoint_id,
    get_checkpoint_metadata,
)

# What a run may be called. Other thread ids are hashed.
RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
HASHED = "sha256:"
# Keys that are listed at a time.
PAGE = 1000


class BulkheadError(Exception):
    """An answer that was not expected; `code` is Bulkhead's, such as `state.quota`."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status, self.code = status, code


class Conflict(BulkheadError):
    """Another process has written a checkpoint of the same id, and a different one."""


@dataclass
class Call:
    """A request that is to be made. Statuses beyond 2xx that are `fine` are handed back."""

    method: str
    path: str
    content: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    fine: tuple[int, ...] = ()


# What has to be asked to get at something: calls out, answers in. It is driven with either kind of client.
Steps = Generator[Call, httpx.Response, Any]


def segment(text: str, most: int = 120) -> str:
    """A part of a key: no slash, never empty, not too long; different texts stay different."""
    quoted = quote(text, safe="")
    if len(quoted) > most:
        return f"~{hashlib.sha256(text.encode()).hexdigest()}"
    return quoted or "-" if quoted != "-" else "%2D"


def run_of(thread_id: object) -> str:
    """The run that is a thread: the thread's own name where a run may have it."""
    name = str(thread_id)
    if RUN.fullmatch(name) and not name.startswith(HASHED):
        return name
    return HASHED + hashlib.sha256(name.encode()).hexdigest()


def put(path: str, content: bytes, **condition: str) -> Call:
    headers = {name.replace("_", "-"): value for name, value in condition.items()}
    return Call("PUT", path, content, headers, fine=(412,))


def get(path: str) -> Call:
    return Call("GET", path, fine=(404,))


def listed(run: str, prefix: str) -> Generator[Call, httpx.Response, list[str]]:
    """All keys of a run that begin with `prefix`, in order."""
    keys: list[str] = []
    after: str | None = None
    while True:
        params = {"prefix": prefix, "limit": str(PAGE)} | ({"after": after} if after else {})
        page = (yield Call("GET", f"/v1/state/{run}", params=params)).json()
        keys += [item["key"] for item in page["items"]]
        after = page.get("next")
        if not after:
            return keys


def key_path(run: str, key: str) -> str:
    return f"/v1/state/{run}/{quote(key, safe='/')}"


class BulkheadSaver(BaseCheckpointSaver[str]):
    """Keeps the checkpoints of one tenant's workflow.

    `token` is an API key with the grants `state:read state:write`; or the tenant token of a run, which sees the thread
    of its run's name alone; or a function that gives one (tokens end; see docs/identity.md). A client of one's own may
    be given, as for TLS with a private authority.
    """

    def __init__(
        self,
        url: str,
        token: str | Callable[[], str],
        *,
        serde: SerializerProtocol | None = None,
        client: httpx.Client | None = None,
        async_client: httpx.AsyncClient | None = None,
    ) -> None:
        super().__init__(serde=serde)
        self.url = url.rstrip("/")
        self._token = token
        self._client = client or httpx.Client(timeout=30)
        self._async_client = async_client or httpx.AsyncClient(timeout=30)

    def close(self) -> None:
        self._client.close()

    async def aclose(self) -> None:
        await self._async_client.aclose()

    # What LangGraph calls, twice: with and without `await`.

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return self._drive(self._get_tuple(config))

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return await self._adrive(self._get_tuple(config))

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        for run, key in self._drive(self._list_keys(config, before)):
            if limit is not None and limit <= 0:
                return
            found = self._drive(self._load(run, key, filter))
            if found is not None:
                limit = None if limit is None else limit - 1
                yield found

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        for run, key in await self._adrive(self._list_keys(config, before)):
            if limit is not None and limit <= 0:
                return
            found = await self._adrive(self._load(run, key, filter))
            if found is not None:
                limit = None if limit is None else limit - 1
                yield found

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        return self._drive(self._put(config, checkpoint, metadata, new_versions))

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        return await self._adrive(self._put(config, checkpoint, metadata, new_versions))

    def put_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        self._drive(self._put_writes(config, writes, task_id, task_path))

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        await self._adrive(self._put_writes(config, writes, task_id, task_path))

    def delete_thread(self, thread_id: str) -> None:
        self._drive(self._delete_thread(thread_id))

    async def adelete_thread(self, thread_id: str) -> None:
        await self._adrive(self._delete_thread(thread_id))

    def get_next_version(self, current: str | None, channel: None) -> str:
        """Versions in order, and different ones for two processes that go on from the same checkpoint."""
        number = 0 if current is None else int(str(current).split(".")[0])
        return f"{number + 1:032}.{secrets.token_hex(8)}"

    # What each of them asks.

    def _get_tuple(self, config: RunnableConfig) -> Steps:
        where = config["configurable"]
        run, ns = run_of(where["thread_id"]), where.get("checkpoint_ns", "")
        checkpoint_id = get_checkpoint_id(config)
        if not checkpoint_id:
            head = yield get(key_path(run, f"head/{segment(ns)}"))
            if head.status_code == 404:
                return None
            checkpoint_id = head.text
        key = f"checkpoint/{segment(ns)}/{segment(checkpoint_id)}"
        return (yield from self._load(run, key, None))

    def _list_keys(self, config: RunnableConfig | None, before: RunnableConfig | None) -> Steps:
        if config is None:
            raise ValueError("name a thread: Bulkhead lists the state of a run, not all runs")
        where = config["configurable"]
        run, ns = run_of(where["thread_id"]), where.get("checkpoint_ns")
        prefix = "checkpoint/" if ns is None else f"checkpoint/{segment(ns)}/"
        only = get_checkpoint_id(config)
        until = get_checkpoint_id(before) if before else None
        found = []
        for key in (yield from listed(run, prefix)):
            last = key.rsplit("/", 1)[1]
            if (only and last != segment(only)) or (until and last >= segment(until)):
                continue
            found.append((run, key))
        # Ids rise with time.
        return sorted(found, key=lambda each: each[1].rsplit("/", 1)[1], reverse=True)

    def _load(self, run: str, key: str, filter: dict[str, Any] | None) -> Steps:
        """The checkpoint at this key, with its values and what was written since."""
        answer = yield get(key_path(run, key))
        if answer.status_code == 404:
            return None
        row = self._unpack(answer.content)
        if filter and any(row["metadata"].get(name) != value for name, value in filter.items()):
            return None
        checkpoint, ns = row["checkpoint"], row["ns"]
        values = {}
        for channel in row["held"]:
            version = checkpoint["channel_versions"].get(channel)
            value = yield get(key_path(run, self._value_key(ns, channel, version)))
            if value.status_code != 404:
                values[channel] = self._unpack(value.content)
        writes = []
        prefix = f"write/{segment(ns)}/{segment(checkpoint['id'])}/"
        for write_key in (yield from listed(run, prefix)):
            written = yield get(key_path(run, write_key))
            if written.status_code != 404:
                writes.append(self._unpack(written.content))
        # As LangGraph applies them.
        writes.sort(key=lambda each: (each["path"], each["task"], each["index"]))
        thread = {"thread_id": row["thread"], "checkpoint_ns": ns}
        parent = row["parent"]
        return CheckpointTuple(
            config={"configurable": thread | {"checkpoint_id": checkpoint["id"]}},
            checkpoint=checkpoint | {"channel_values": values},
            metadata=row["metadata"],
            parent_config={"configurable": thread | {"checkpoint_id": parent}} if parent else None,
            pending_writes=[(each["task"], each["channel"], each["value"]) for each in writes],
        )

    def _put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> Steps:
        where = config["configurable"]
        thread_id, ns = where["thread_id"], where.get("checkpoint_ns", "")
        run = run_of(thread_id)
        kept: dict[str, Any] = dict(checkpoint)
        values: dict[str, Any] = kept.pop("channel_values")
        for channel, version in new_versions.items():
            if channel in values:
                path = key_path(run, self._value_key(ns, channel, version))
                yield put(path, self._pack(values[channel]))
        row = {
            "thread": thread_id,
            "ns": ns,
            "parent": where.get("checkpoint_id"),
            "checkpoint": kept,
            "metadata": get_checkpoint_metadata(config, metadata),
            "held": sorted(values),
        }
        key = f"checkpoint/{segment(ns)}/{segment(checkpoint['id'])}"
        content = self._pack(row)
        done = yield put(key_path(run, key), content, if_none_match="*")
        if done.status_code == 412:
            there = yield get(key_path(run, key))
            if there.content != content:
                raise Conflict(412, "state.conflict", f"checkpoint {checkpoint['id']} is there")
        yield from self._move_head(run, ns, checkpoint["id"])
        return {
            "configurable": {
                "thread_id": thread_id,
                "checkpoint_ns": ns,
                "checkpoint_id": checkpoint["id"],
            }
        }

    def _move_head(self, run: str, ns: str, checkpoint_id: str) -> Steps:
        """Compare-and-set: of two processes, the later checkpoint stays, whoever comes last."""
        path = key_path(run, f"head/{segment(ns)}")
        while True:
            head = yield get(path)
            if head.status_code == 404:
                done = yield put(path, checkpoint_id.encode(), if_none_match="*")
            elif head.text >= checkpoint_id:
                return
            else:
                done = yield put(path, checkpoint_id.encode(), if_match=head.headers["etag"])
            if done.status_code != 412:
                return

    def _put_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str,
    ) -> Steps:
        where = config["configurable"]
        run, ns = run_of(where["thread_id"]), where.get("checkpoint_ns", "")
        at = f"write/{segment(ns)}/{segment(where['checkpoint_id'])}/{segment(task_id)}"
        for position, (channel, value) in enumerate(writes):
            index = WRITES_IDX_MAP.get(channel, position)
            row = {"task": task_id, "path": task_path, "index": index}
            content = self._pack(row | {"channel": channel, "value": value})
            # What a task wrote stays; its error or interrupt is replaced.
            condition = {"if_none_match": "*"} if index >= 0 else {}
            yield put(key_path(run, f"{at}/{index}"), content, **condition)

    def _delete_thread(self, thread_id: str) -> Steps:
        yield Call("DELETE", f"/v1/state/{run_of(thread_id)}", fine=(404,))

    def _value_key(self, ns: str, channel: str, version: object) -> str:
        return f"value/{segment(ns)}/{segment(channel)}/{segment(str(version))}"

    def _pack(self, value: object) -> bytes:
        """The serializer's name for it, a line break, and its bytes."""
        kind, data = self.serde.dumps_typed(value)
        return kind.encode() + b"\n" + data

    def _unpack(self, content: bytes) -> Any:
        kind, _, data = content.partition(b"\n")
        return self.serde.loads_typed((kind.decode(), data))

    # How it is asked.

    def _request(self, call: Call) -> dict[str, Any]:
        token = self._token() if callable(self._token) else self._token
        return {
            "method": call.method,
            "url": self.url + call.path,
            "content": call.content,
            "params": call.params or None,
            "headers": call.headers
            | {"authorization": f"Bearer {token}", "content-type": "application/octet-stream"},
        }

    def _drive(self, steps: Steps) -> Any:
        try:
            call = next(steps)
            while True:
                answer = self._client.request(**self._request(call))
                call = steps.send(checked(call, answer))
        except StopIteration as done:
            return done.value

    async def _adrive(self, steps: Steps) -> Any:
        try:
            call = next(steps)
            while True:
                answer = await self._async_client.request(**self._request(call))
                call = steps.send(checked(call, answer))
        except StopIteration as done:
            return done.value


def checked(call: Call, answer: httpx.Response) -> httpx.Response:
    if answer.is_success or answer.status_code in call.fine:
        return answer
    try:
        problem = answer.json()
        raise BulkheadError(answer.status_code, problem["code"], problem["title"])
    except (ValueError, KeyError, TypeError):
        raise BulkheadError(answer.status_code, "unknown", answer.text[:200]) from None
