"""What a provider takes: checks of JSON, small enough to read. A wrong shape is a `Wrong` that names the place.

A check is a function of a value and of where it stands; it returns nothing and raises `Wrong`."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable

Check = Callable[[object, str], None]


class Refused(Exception):
    """An error answer."""

    def __init__(
        self, status: int, code: str, message: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.headers = headers or {}


class Wrong(Refused):
    """A request that no SDK would send and no gateway should: the stand-in remembers it."""

    def __init__(self, place: str, what: str) -> None:
        super().__init__(400, "invalid_request", f"{place}: {what}")


class Missing(Refused):
    """A handle that this account does not have."""

    def __init__(self, what: str, name: object) -> None:
        super().__init__(404, "not_found", f"no {what} '{name}' in this account")


def anything(_value: object, _place: str) -> None:
    pass


def string(value: object, place: str) -> None:
    if not isinstance(value, str):
        raise Wrong(place, f"a string, not {value!r:.80}")


def filled(value: object, place: str) -> None:
    string(value, place)
    if not value:
        raise Wrong(place, "must not be empty")


def boolean(value: object, place: str) -> None:
    if not isinstance(value, bool):
        raise Wrong(place, f"true or false, not {value!r:.80}")


def integer(value: object, place: str) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise Wrong(place, f"an integer, not {value!r:.80}")


def number(value: object, place: str) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise Wrong(place, f"a number, not {value!r:.80}")


def map_of_strings(value: object, place: str) -> None:
    if not isinstance(value, dict) or any(not isinstance(each, str) for each in value.values()):
        raise Wrong(place, f"an object of strings, not {value!r:.80}")


def mapping(value: object, place: str) -> None:
    if not isinstance(value, dict):
        raise Wrong(place, f"an object, not {value!r:.80}")


def encoded(value: object, place: str) -> None:
    """Base64."""
    filled(value, place)
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise Wrong(place, "is not base64") from None


def picture(value: object, place: str) -> None:
    """A data URL, or one that is fetched."""
    filled(value, place)
    if value.startswith("data:"):
        kind, comma, data = value.removeprefix("data:").partition(";base64,")
        if not comma or "/" not in kind:
            raise Wrong(place, "is not a data URL")
        encoded(data, place)
    elif not value.startswith("https://"):
        raise Wrong(place, "is neither a data URL nor https")


def one_of(*values: object) -> Check:
    def check(value: object, place: str) -> None:
        if value not in values:
            raise Wrong(place, f"one of {', '.join(map(repr, values))}, not {value!r:.80}")

    return check


def maybe(inner: Check) -> Check:
    """Null will do."""

    def check(value: object, place: str) -> None:
        if value is not None:
            inner(value, place)

    return check


def either(*checks: Check) -> Check:
    def check(value: object, place: str) -> None:
        reasons = []
        for each in checks:
            try:
                return each(value, place)
            except Wrong as wrong:
                reasons.append(wrong.message)
        raise Wrong(place, f"none fits: {' | '.join(reasons)}")

    return check


def array(of: Check, least: int = 0) -> Check:
    def check(value: object, place: str) -> None:
        if not isinstance(value, list):
            raise Wrong(place, f"an array, not {value!r:.80}")
        if len(value) < least:
            raise Wrong(place, f"at least {least}")
        for index, each in enumerate(value):
            of(each, f"{place}[{index}]")

    return check


def record(required: dict[str, Check], optional: dict[str, Check] | None = None) -> Check:
    """An object with these fields and, unless their name begins with `experimental_`, no others."""
    known = (optional or {}) | required

    def check(value: object, place: str) -> None:
        mapping(value, place)
        for name in required:
            if name not in value:
                raise Wrong(f"{place}.{name}", "is missing")
        for name, each in value.items():
            if name in known:
                known[name](each, f"{place}.{name}")
            elif not name.startswith("experimental_"):
                raise Wrong(f"{place}.{name}", "is not known")

    return check


def tagged(name: str, kinds: dict[str, Check], default: str | None = None) -> Check:
    """An object whose field `name` says which check it is for."""

    def check(value: object, place: str) -> None:
        mapping(value, place)
        kind = value.get(name, default)
        if kind not in kinds:
            raise Wrong(f"{place}.{name}", f"one of {', '.join(kinds)}, not {kind!r:.80}")
        kinds[kind](value, place)

    return check


def instance(schema: dict, text: str) -> object:
    """Something that a JSON schema describes; every free string is `text`."""
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        return instance(schema["anyOf"][0], text)
    match schema.get("type"):
        case "object":
            fields = schema.get("properties", {})
            return {name: instance(each, text) for name, each in fields.items()}
        case "array":
            return [instance(schema.get("items", {}), text)]
        case "integer":
            return 7
        case "number":
            return 7.5
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return text
