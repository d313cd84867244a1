"""An upstream that gives everybody their own by their credential: resources, prompts and completions of MCP. Their URIs and names
are the same for all, and so are the ids of books: whoever asks with another's credential gets another's."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from mcp import MCPError
from mcp.server.lowlevel import Server
from mcp.types import (
    CompleteRequestParams,
    CompleteResult,
    Completion,
    GetPromptRequestParams,
    GetPromptResult,
    ListPromptsResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    Prompt,
    PromptArgument,
    PromptMessage,
    ReadResourceRequestParams,
    ReadResourceResult,
    Resource,
    ResourceTemplate,
    TextContent,
    TextResourceContents,
)
from served import Served

INVALID_PARAMS = -32602


@dataclass
class Shelf:
    """What one credential opens."""

    canary: str

    def text(self, book: str) -> str:
        return f"{book} of {self.canary}"


@dataclass
class Library:
    shelves: dict[str, Shelf] = field(default_factory=dict)
    # URIs that were read, with the credential that came.
    read: list[tuple[str, str]] = field(default_factory=list)

    def open_account(self, credential: str, name: str) -> Shelf:
        return self.shelves.setdefault(credential, Shelf(f"canary-{name}-{secrets.token_hex(12)}"))

    def of(self, context: object) -> Shelf:
        bearer = context.request.headers.get("authorization", "").removeprefix("Bearer ")
        if bearer not in self.shelves:
            raise MCPError(code=-32000, message="no such reader")
        return self.shelves[bearer]

    def server(self) -> Server:
        async def resources(context: object, _: object) -> ListResourcesResult:
            canary = self.of(context).canary
            mine = Resource(uri="library://mine", name=f"mine, {canary}", mime_type="text/plain")
            return ListResourcesResult(resources=[mine])

        async def templates(_context: object, _: object) -> ListResourceTemplatesResult:
            book = ResourceTemplate(uri_template="library://book/{name}", name="book")
            return ListResourceTemplatesResult(resource_templates=[book])

        async def read(context: object, params: ReadResourceRequestParams) -> ReadResourceResult:
            shelf, uri = self.of(context), str(params.uri)
            self.read.append((uri, shelf.canary))
            if not uri.startswith("library://"):
                raise MCPError(code=INVALID_PARAMS, message="there is no such thing")
            piece = TextResourceContents(uri=uri, mime_type="text/plain", text=shelf.text(uri))
            return ReadResourceResult(contents=[piece])

        async def prompts(_context: object, _: object) -> ListPromptsResult:
            to = PromptArgument(name="book", required=True)
            return ListPromptsResult(prompts=[Prompt(name="summary", arguments=[to])])

        async def prompt(context: object, params: GetPromptRequestParams) -> GetPromptResult:
            words = self.of(context).text((params.arguments or {}).get("book", ""))
            content = TextContent(type="text", text=words)
            return GetPromptResult(messages=[PromptMessage(role="user", content=content)])

        async def complete(context: object, params: CompleteRequestParams) -> CompleteResult:
            value = f"{params.argument.value}-{self.of(context).canary}"
            return CompleteResult(completion=Completion(values=[value], total=1, has_more=False))

        return Server(
            "library",
            on_list_resources=resources,
            on_list_resource_templates=templates,
            on_read_resource=read,
            on_list_prompts=prompts,
            on_get_prompt=prompt,
            on_completion=complete,
        )

    def start(self) -> None:
        self._served = Served(self.server().streamable_http_app(host="127.0.0.1"))

    def close(self) -> None:
        self._served.close()

    @property
    def origin(self) -> str:
        return self._served.origin


def settings(library: Library) -> str:
    """`[tools]` for it."""
    return f"""
[[tools.upstreams]]
id = "library"
kind = "mcp"
url = "{library.origin}/mcp"
resources = true
prompts = true
"""
