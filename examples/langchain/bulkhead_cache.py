"""LangChain's cache of model answers in Bulkhead's scoped cache, over plain HTTP.

    set_llm_cache(BulkheadCache("http://127.0.0.1:8642", token))

Answers are kept for the token's tenant, environment and workflow, sealed under the tenant's key, and for nobody else:
a key that two tenants share names two entries.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

import httpx
from langchain_core.caches import RETURN_VAL_TYPE, BaseCache
from langchain_core.load import dumps, loads
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import (
    ChatGeneration,
    ChatGenerationChunk,
    Generation,
    GenerationChunk,
)

# What may come out of the cache: nothing that does anything when it is made.
ALLOWED = (
    AIMessage,
    AIMessageChunk,
    ChatGeneration,
    ChatGenerationChunk,
    Generation,
    GenerationChunk,
)


class BulkheadCache(BaseCache):
    """Keeps answers for `ttl_seconds`, or less: it is a cache.

    `token` is a tenant token or an API key with the grants `cache:read cache:write`, or a function that gives one.
    `entity` is a partition of one's own, such as an end user's id: two entities never share an answer. `version` is
    what an answer depends on beside its prompt, such as the index of the documents: a new one starts afresh.
    """

    def __init__(
        self,
        url: str,
        token: str | Callable[[], str],
        *,
        entity: str = "langchain",
        ttl_seconds: int | None = None,
        version: str | None = None,
        client: httpx.Client | None = None,
        async_client: httpx.AsyncClient | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self.entity, self.ttl_seconds, self.version = entity, ttl_seconds, version
        self._token = token
        self._client = client or httpx.Client(timeout=30)
        self._async_client = async_client or httpx.AsyncClient(timeout=30)

    def lookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        return read(self._client.get(**self._request(prompt, llm_string)))

    async def alookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        return read(await self._async_client.get(**self._request(prompt, llm_string)))

    def update(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        self._client.put(**self._kept(prompt, llm_string, return_val)).raise_for_status()

    async def aupdate(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        made = self._kept(prompt, llm_string, return_val)
        (await self._async_client.put(**made)).raise_for_status()

    def clear(self, **_: Any) -> None:
        """What is kept cannot be counted up from outside; a new `version` leaves all of it behind."""
        raise NotImplementedError("give a new `version`: nothing of the former one is found again")

    def _request(self, prompt: str, llm_string: str) -> dict[str, Any]:
        token = self._token() if callable(self._token) else self._token
        # Framed, so that no two pairs make one key.
        key = hashlib.sha256(json.dumps([prompt, llm_string]).encode()).hexdigest()
        headers = {"authorization": f"Bearer {token}"}
        if self.version is not None:
            headers["x-bulkhead-cache-version"] = self.version
        return {
            "url": f"{self.url}/v1/cache/{quote(self.entity, safe='')}/{key}",
            "headers": headers,
        }

    def _kept(self, prompt: str, llm_string: str, value: RETURN_VAL_TYPE) -> dict[str, Any]:
        made = self._request(prompt, llm_string)
        made["headers"]["content-type"] = "application/json"
        if self.ttl_seconds is not None:
            made["headers"]["x-bulkhead-ttl"] = str(self.ttl_seconds)
        return made | {"content": written(value)}


def written(generations: Sequence[Generation]) -> bytes:
    return dumps(list(generations)).encode()


def read(answer: httpx.Response) -> RETURN_VAL_TYPE | None:
    if answer.status_code == 404:
        return None
    answer.raise_for_status()
    return loads(answer.text, allowed_objects=ALLOWED)
