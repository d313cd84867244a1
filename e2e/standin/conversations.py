"""/conversations and their items."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from .responses import ITEM, items_of, listed
from .shapes import Missing, Refused, array, map_of_strings, maybe, record

if TYPE_CHECKING:
    from .server import Ask

CREATE = record({}, {"items": maybe(array(ITEM)), "metadata": maybe(map_of_strings)})
UPDATE = record({"metadata": maybe(map_of_strings)})
ADD = record({"items": array(ITEM, least=1)})


def answer(ask: Ask, rest: list[str]) -> dict:
    with ask.account.lock:
        kept = ask.account.conversations
        match ask.seen.method, rest:
            case "POST", []:
                return create(ask)
            case _, [name, *_] if name not in kept:
                raise Missing("conversation", name)
            case "GET", [name]:
                return kept[name]["conversation"]
            case "POST", [name]:
                UPDATE(ask.body, "body")
                kept[name]["conversation"]["metadata"] = ask.body["metadata"] or {}
                return kept[name]["conversation"]
            case "DELETE", [name]:
                del kept[name]
                return {"id": name, "object": "conversation.deleted", "deleted": True}
            case _, [name, "items", *items]:
                return answer_items(ask, kept[name], items)
    raise Refused(404, "unknown_url", f"nothing at {ask.seen.path}")


def create(ask: Ask) -> dict:
    CREATE(ask.body, "body")
    conversation = {
        "id": f"conv_{ask.seen.nonce}",
        "object": "conversation",
        "created_at": int(time.time()),
        "metadata": ask.body.get("metadata") or {},
    }
    items = items_of(ask.body.get("items") or [])
    ask.account.items |= {item["id"]: item for item in items}
    ask.account.conversations[conversation["id"]] = {"conversation": conversation, "items": items}
    return conversation


def answer_items(ask: Ask, kept: dict, items: list[str]) -> dict:
    method = ask.seen.method
    if not items and method == "GET":
        newest_first = ask.seen.query.get("order", "desc") == "desc"
        return listed(kept["items"][::-1] if newest_first else kept["items"])
    if not items and method == "POST":
        ADD(ask.body, "body")
        added = items_of(ask.body["items"])
        kept["items"] += added
        ask.account.items |= {item["id"]: item for item in added}
        return listed(added)
    (name,) = items
    found = [item for item in kept["items"] if item["id"] == name]
    if not found:
        raise Missing("item", name)
    if method == "GET":
        return found[0]
    if method == "DELETE":
        kept["items"] = [item for item in kept["items"] if item["id"] != name]
        return kept["conversation"]
    raise Refused(404, "unknown_url", f"nothing at {ask.seen.path}")
