"""The tools, resources and prompts that MCP's conformance suite asks for, as an upstream: the official SDK's server."""

from __future__ import annotations

import asyncio
import base64
from typing import Annotated

import asking
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.prompts.base import Message, UserMessage
from mcp.types import (
    AudioContent,
    CallToolResult,
    Completion,
    EmbeddedResource,
    ImageContent,
    TextContent,
    TextResourceContents,
)
from pydantic import Field

Mirrored = Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})]
PNG = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c4944415408d763f8cfc0"
        "000003010100c9fe92ef0000000049454e44ae426082"
    )
).decode()
WAV = base64.b64encode(b"RIFF$\x00\x00\x00WAVEfmt \x10\x00\x00\x00").decode()

TOOLS = (
    "test_simple_text",
    "test_image_content",
    "test_audio_content",
    "test_embedded_resource",
    "test_multiple_content_types",
    "test_error_handling",
    "test_tool_with_progress",
    "test_logging_tool",
    "test_x_mcp_header",
    *asking.TOOLS,
)


def server() -> MCPServer:
    app = MCPServer("everything")
    image = ImageContent(type="image", data=PNG, mime_type="image/png")

    def said(*content: object, error: bool = False) -> CallToolResult:
        return CallToolResult(content=list(content), is_error=error)

    def text(words: str) -> TextContent:
        return TextContent(type="text", text=words)

    def embedded(uri: str, kind: str, words: str) -> EmbeddedResource:
        resource = TextResourceContents(uri=uri, mime_type=kind, text=words)
        return EmbeddedResource(type="resource", resource=resource)

    @app.tool()
    async def test_simple_text() -> CallToolResult:
        """A text."""
        return said(text("This is a simple text response for testing."))

    @app.tool()
    async def test_image_content() -> CallToolResult:
        """An image."""
        return said(image)

    @app.tool()
    async def test_audio_content() -> CallToolResult:
        """A sound."""
        return said(AudioContent(type="audio", data=WAV, mime_type="audio/wav"))

    @app.tool()
    async def test_embedded_resource() -> CallToolResult:
        """A resource."""
        words = "This is an embedded resource content."
        return said(embedded("test://embedded-resource", "text/plain", words))

    @app.tool()
    async def test_multiple_content_types() -> CallToolResult:
        """Several."""
        data = '{"test":"data","value":123}'
        resource = embedded("test://mixed-content-resource", "application/json", data)
        return said(text("Multiple content types test:"), image, resource)

    @app.tool()
    async def test_error_handling() -> CallToolResult:
        """An error."""
        return said(text("This tool intentionally returns an error for testing"), error=True)

    @app.tool()
    async def test_tool_with_progress(context: Context) -> CallToolResult:
        """Says how far it is."""
        for done in (0, 50, 100):
            await context.report_progress(done, 100)
            await asyncio.sleep(0.05)
        return said(text("done"))

    @app.tool()
    async def test_logging_tool() -> CallToolResult:
        """Logs nothing: nobody asked it to."""
        return said(text("done"))

    @app.tool()
    async def test_x_mcp_header(region: Mirrored) -> CallToolResult:
        """An argument that stands in a header as well."""
        return said(text(region))

    @app.resource("test://static-text", mime_type="text/plain", description="A text")
    def static_text() -> str:
        return "This is the content of the static text resource."

    @app.resource("test://static-binary", mime_type="image/png", description="An image")
    def static_binary() -> bytes:
        return base64.b64decode(PNG)

    @app.resource("test://template/{id}/data", mime_type="application/json", description="Data")
    def template(id: str) -> str:
        return f'{{"id":"{id}","templateTest":true,"data":"Data for ID: {id}"}}'

    @app.prompt()
    def test_simple_prompt() -> str:
        """A prompt."""
        return "This is a simple prompt for testing."

    @app.prompt()
    def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
        """A prompt with arguments."""
        return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"

    @app.prompt()
    def test_prompt_with_embedded_resource(resourceUri: str) -> list[Message]:  # noqa: N803
        """A prompt with a resource in it."""
        words = "Embedded resource content for testing."
        resource = embedded(resourceUri, "text/plain", words)
        return [UserMessage(resource), UserMessage("Please process the embedded resource above.")]

    @app.prompt()
    def test_prompt_with_image() -> list[Message]:
        """A prompt with an image in it."""
        return [UserMessage(image), UserMessage("Please analyze the image above.")]

    @app.completion()
    async def complete(_ref: object, _argument: object, _context: object) -> Completion:
        return Completion(values=["paris", "park", "party"], total=3, has_more=False)

    asking.add(app)
    return app
