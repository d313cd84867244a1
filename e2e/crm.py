"""A stand-in for a CRM that two tenants use, as an MCP server (the official SDK) and as an HTTP API. It is what an upstream must
not be: it does whatever it is asked, for whatever account an argument names, whoever's credential comes. So what stands
between two tenants here is Bulkhead alone. It keeps a list of what it was asked to change."""

from __future__ import annotations

import asyncio
import secrets
import threading
from dataclasses import dataclass, field
from typing import Annotated

from deployment import Deployment
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field
from served import Served
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

# Arguments that it wants to see in headers as well.
ACCOUNT = Annotated[str, Field(json_schema_extra={"x-mcp-header": "Account"})]
REGION = Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})]

ACCOUNTS = {"acme": "acct-acme-7", "globex": "acct-globex-9"}


@dataclass
class Crm:
    """Records by id: each has its owner's account and a canary."""

    records: dict[str, dict] = field(default_factory=dict)
    # What was changed: (account that the arguments named, bearer, what).
    writes: list[tuple[str, str, dict]] = field(default_factory=list)
    refunds: dict[str, dict] = field(default_factory=dict)
    bearers: list[str] = field(default_factory=list)
    # Of each call of `locate`: its headers, and its arguments.
    mirrored: list[tuple[dict[str, str], dict[str, str]]] = field(default_factory=list)
    # Said in every record: what a poisoned document says.
    poison: str = ""
    # The same for all of its life.
    port: int = 0
    # What the definition of `list_contacts` says of itself.
    description: str = "The contacts of an account."
    # A write is done, and not answered while this is not set.
    answers: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.answers.set()
        for tenant, account in ACCOUNTS.items():
            for nth in range(3):
                name = f"c-{tenant}-{nth}"
                self.records[name] = {
                    "id": name,
                    "account_id": account,
                    "note": f"canary-{tenant}-{secrets.token_hex(12)}",
                }

    def canaries(self, tenant: str) -> list[str]:
        own = ACCOUNTS[tenant]
        return [one["note"] for one in self.records.values() if one["account_id"] == own]

    def seen(self, record: dict) -> dict:
        return record | ({"comment": self.poison} if self.poison else {})

    def list(self, account: str) -> dict:
        return {
            "contacts": [
                self.seen(one) for one in self.records.values() if one["account_id"] == account
            ]
        }

    def refund(self, account: str, bearer: str, body: dict) -> dict:
        self.writes.append((account, bearer, body))
        done = {"account_id": account, "amount": body["amount"], "key": body.get("key", "")}
        self.refunds[done["key"]] = done
        return done

    # MCP

    def reword(self, description: str) -> None:
        """Defines `list_contacts` otherwise, as whoever has taken over an upstream would."""
        self.description = description
        self.close()
        self.start()

    def server(self) -> MCPServer:
        app = MCPServer("crm")

        def bearer(context: Context) -> str:
            found = (context.headers or {}).get("authorization", "")
            self.bearers.append(found)
            return found

        @app.tool(description=self.description)
        async def list_contacts(account_id: str, context: Context, limit: int = 10) -> dict:
            bearer(context)
            found = self.list(account_id)
            return {"contacts": found["contacts"][:limit]}

        @app.tool()
        async def get_contact(account_id: str, contact_id: str, context: Context) -> dict:
            """One contact, by its id. Whose it is, is not looked at."""
            bearer(context)
            if contact_id not in self.records:
                raise ToolError(f"no contact {contact_id}")
            return self.seen(self.records[contact_id])

        @app.tool()
        async def find(account_id: str, text: str, context: Context) -> dict:
            """Contacts of everybody whose id holds the text."""
            bearer(context)
            return {"contacts": [self.seen(one) for one in self.records.values() if text in one["id"]]}

        @app.tool()
        async def explain(account_id: str, contact_id: str, context: Context) -> dict:
            """Always fails, and quotes the record that it failed on."""
            bearer(context)
            raise ToolError(f"cannot explain {self.records.get(contact_id)}")

        @app.tool()
        async def refund(
            account_id: str, amount: float, currency: str, context: Context, key: str = ""
        ) -> dict:
            """Pays money back."""
            body = {"amount": amount, "currency": currency, "key": key}
            done = self.refund(account_id, bearer(context), body)
            await asyncio.to_thread(self.answers.wait)
            return done

        @app.tool()
        async def get_refund(account_id: str, key: str, context: Context) -> dict:
            """A refund, by its key."""
            bearer(context)
            if key not in self.refunds:
                raise ToolError("there is none")
            return self.refunds[key]

        @app.tool()
        async def locate(account_id: ACCOUNT, region: REGION, context: Context) -> dict:
            """Where an account is kept."""
            bearer(context)
            said = {"account_id": account_id, "region": region}
            self.mirrored.append((dict(context.headers or {}), said))
            return said

        @app.tool()
        async def count(account_id: str, context: Context) -> dict:
            """Counts slowly, and says how far it is."""
            bearer(context)
            for nth in range(3):
                await context.report_progress(nth, 3)
            return {"account_id": account_id, "count": len(self.list(account_id)["contacts"])}

        return app

    # HTTP

    async def http(self, request: Request) -> Response:
        self.bearers.append(request.headers.get("authorization", ""))
        account, contact = request.path_params["account"], request.path_params.get("contact")
        if request.method == "POST":
            body = await request.json()
            self.writes.append((account, self.bearers[-1], body))
            await asyncio.to_thread(self.answers.wait)
            return JSONResponse({"account_id": account, "note": body.get("note")}, status_code=201)
        if contact is None:
            return JSONResponse(self.list(account))
        if contact not in self.records:
            return JSONResponse({"error": "there is none"}, status_code=404)
        return JSONResponse(self.seen(self.records[contact]))

    def app(self) -> Starlette:
        mcp = self.server()
        served = mcp.streamable_http_app(json_response=False, host="127.0.0.1")
        routes = [
            Route("/api/accounts/{account}/contacts", self.http, methods=["GET"]),
            Route("/api/accounts/{account}/contacts/{contact}", self.http, methods=["GET"]),
            Route("/api/accounts/{account}/notes", self.http, methods=["POST"]),
            Mount("/", served),
        ]
        return Starlette(routes=routes, lifespan=lambda _: mcp.session_manager.run())

    def start(self) -> None:
        self._served = Served(self.app(), self.port)
        self.port = self._served.port

    def close(self) -> None:
        self._served.close()

    @property
    def origin(self) -> str:
        return self._served.origin


def open_tenants(deployment: Deployment) -> None:
    """Tenants with an account in it, and credentials of their own for it."""
    for tenant, account in ACCOUNTS.items():
        deployment.create_tenant(tenant, ("live",), {"crm": account})
        for upstream in ("crm", "crm-http"):
            deployment.set_credential(tenant, secrets.token_hex(20), provider=upstream)


def settings(crm: Crm) -> str:
    """`[tools]` for it."""
    bound = 'bind = { "/account_id" = "account" }'
    own = 'owner = [{ owner = "/account_id" }]'
    each = 'owner = [{ records = "$.contacts[*]", owner = "/account_id" }]'
    contracts = [
        ("list_contacts", "crm", "read", each),
        ("get_contact", "crm", "read", own),
        ("find", "crm", "read", each),
        ("explain", "crm", "read", own),
        ("count", "crm", "read", own),
        ("locate", "crm", "read", own),
        ("get_refund", "crm", "read", own),
        (
            "refund",
            "crm",
            "destructive",
            f"""{own}
mode = "execute"
rules = [
  {{ argument = "/currency", one_of = ["EUR", "USD"] }},
  {{ argument = "/amount", required = true, min = 0.01, max = 500 }},
]
idempotency = {{ argument = "/key" }}
reconcile = {{ tool = "get_refund", arguments = {{ "/key" = "intent" }}, holds = [{{ path = "$.amount", equals = {{ from = "argument:/amount" }} }}] }}
approval = {{ amount = "/amount", above = 100 }}""",
        ),
    ]
    text = [
        f"""
[[tools.upstreams]]
id = "crm"
kind = "mcp"
url = "{crm.origin}/mcp"

[[tools.upstreams]]
id = "crm-http"
kind = "http"
system = "crm"
url = "{crm.origin}/api"
"""
    ]
    for name, upstream, effect, more in contracts:
        text.append(
            f'[[tools.contracts]]\nname = "{name}"\nupstream = "{upstream}"\n'
            f'effect = "{effect}"\n{bound}\n{more}\n'
        )
    parameters = (
        'parameters = { type = "object", properties = { account_id = { type = "string" }, '
        'contact_id = { type = "string" } }, required = ["account_id", "contact_id"] }'
    )
    text.append(
        f"""
[[tools.contracts]]
name = "http_contact"
upstream = "crm-http"
effect = "read"
request = {{ method = "GET", path = "/accounts/{{account_id}}/contacts/{{contact_id}}" }}
{parameters}
{bound}
{own}

[[tools.contracts]]
name = "http_note"
upstream = "crm-http"
effect = "write"
mode = "execute"
request = {{ method = "POST", path = "/accounts/{{account_id}}/notes" }}
parameters = {{ type = "object", properties = {{ account_id = {{ type = "string" }}, note = {{ type = "string" }} }}, required = ["note"] }}
{bound}
{own}
"""
    )
    return "\n".join(text)
