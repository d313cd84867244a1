"""What of MCP's conformance suite asks back: tools and a prompt that take several rounds (2026-07-28)."""

from __future__ import annotations

from mcp import MCPError
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.types import (
    CallToolResult,
    CreateMessageRequest,
    CreateMessageRequestParams,
    ElicitRequest,
    ElicitRequestFormParams,
    InputRequiredResult,
    ListRootsRequest,
    SamplingMessage,
    TextContent,
)

TOOLS = (
    "test_input_required_result_elicitation",
    "test_input_required_result_sampling",
    "test_input_required_result_list_roots",
    "test_input_required_result_request_state",
    "test_input_required_result_multiple_inputs",
    "test_input_required_result_multi_round",
    "test_input_required_result_tampered_state",
    "test_input_required_result_capabilities",
    "test_streaming_elicitation",
    "test_missing_capability",
)
MISSING_CAPABILITY = -32021

Answer = CallToolResult | InputRequiredResult


def said(words: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text=words)])


def form(message: str, **fields: str) -> ElicitRequest:
    properties = {name: {"type": kind} for name, kind in fields.items()}
    schema = {"type": "object", "properties": properties, "required": list(fields)}
    return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=schema))


def sample(words: str) -> CreateMessageRequest:
    message = SamplingMessage(role="user", content=TextContent(type="text", text=words))
    return CreateMessageRequest(params=CreateMessageRequestParams(messages=[message], max_tokens=100))


def asks(state: str | None = None, **requests: object) -> InputRequiredResult:
    return InputRequiredResult(input_requests=requests, request_state=state)


def add(app: MCPServer) -> None:
    """Gives `app` these."""

    @app.tool()
    async def test_input_required_result_elicitation(context: Context) -> Answer:
        """Asks for a name, and for nothing to be remembered."""
        given = (context.input_responses or {}).get("user_name")
        if given is None:
            return asks(user_name=form("What is your name?", name="string"))
        return said(f"Hello, {given.content['name']}!")

    @app.tool()
    async def test_input_required_result_sampling(context: Context) -> Answer:
        """Asks the caller's model."""
        given = (context.input_responses or {}).get("capital_question")
        if given is None:
            return asks(capital_question=sample("What is the capital of France?"))
        return said(given.content.text)

    @app.tool()
    async def test_input_required_result_list_roots(context: Context) -> Answer:
        """Asks for the caller's roots."""
        given = (context.input_responses or {}).get("client_roots")
        if given is None:
            return asks(client_roots=ListRootsRequest())
        return said(", ".join(str(root.uri) for root in given.roots))

    @app.tool()
    async def test_input_required_result_request_state(context: Context) -> Answer:
        """Asks, and wants to be reminded."""
        if context.input_responses is None:
            return asks("state of round 1", confirm=form("Please confirm", ok="boolean"))
        assert context.request_state == "state of round 1"
        return said("state-ok")

    @app.tool()
    async def test_input_required_result_multiple_inputs(context: Context) -> Answer:
        """Asks three ways at once."""
        given = context.input_responses or {}
        if len(given) < 3:
            return asks(
                "state of three",
                user_name=form("What is your name?", name="string"),
                greeting=sample("Generate a greeting"),
                client_roots=ListRootsRequest(),
            )
        return said(f"{given['greeting'].content.text} {given['user_name'].content['name']}")

    @app.tool()
    async def test_input_required_result_multi_round(context: Context) -> Answer:
        """Asks, and asks again."""
        match context.request_state:
            case None:
                return asks("1", step1=form("Step 1: What is your name?", name="string"))
            case "1":
                name = context.input_responses["step1"].content["name"]
                color = form("Step 2: What is your favorite color?", color="string")
                return asks(f"2 {name}", step2=color)
            case state:
                color = context.input_responses["step2"].content["color"]
                return said(f"{state.removeprefix('2 ')} likes {color}")

    @app.tool()
    async def test_input_required_result_tampered_state(context: Context) -> Answer:
        """Asks, and believes whatever it is reminded of: only Bulkhead looks at that."""
        if context.request_state is None:
            return asks("believed", confirm=form("Please confirm", ok="boolean"))
        return said(f"reminded of {context.request_state}")

    @app.tool()
    async def test_input_required_result_capabilities(context: Context) -> Answer:
        """Asks for what the caller declared."""
        able = context.client_capabilities
        requests: dict[str, object] = {}
        if able and able.sampling is not None:
            requests["question"] = sample("What is the capital of France?")
        if able and able.elicitation is not None:
            requests["name"] = form("What is your name?", name="string")
        return asks("state of the able", **requests) if requests else said("nothing to ask")

    @app.tool()
    async def test_streaming_elicitation(context: Context) -> Answer:
        """Asks in a stream."""
        await context.report_progress(1, 2)
        return asks(user_name=form("What is your name?", name="string"))

    @app.tool()
    async def test_missing_capability(context: Context) -> CallToolResult:
        """Does nothing for a caller that cannot sample."""
        able = context.client_capabilities
        if able is None or able.sampling is None:
            needs = {"requiredCapabilities": {"sampling": {}}}
            raise MCPError(code=MISSING_CAPABILITY, message="needs sampling", data=needs)
        return said("can sample")

    @app.prompt()
    async def test_input_required_result_prompt(context: Context) -> str | InputRequiredResult:
        """A prompt that asks."""
        given = (context.input_responses or {}).get("user_context")
        if given is None:
            return asks(user_context=form("What context should the prompt use?", context="string"))
        return f"In the context of {given.content['context']}"
