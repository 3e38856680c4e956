"""Query parameters of the native dialect."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime

from aiohttp import web

from broker.errors import InvalidField
from broker.filters import MAX_PATH_CHARACTERS, MAX_VALUE_CHARACTERS
from broker.integers import MAX_ID, read_whole
from broker.moments import read_moment
from broker.names import MAX_ID_CHARACTERS, check_id
from broker.schematypes import LINE
from broker.searches import Search
from gateway.routes import Parameter

MAX_LIMIT = 1000

ID = {"type": "integer", "minimum": 0, "maximum": MAX_ID}
MOMENT = {"type": "string", "format": "date-time"}
LIMIT = Parameter(
    "limit", "Most items of the page.", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": 100}
)
AFTER_ID = Parameter("afterId", "Only items after this id: `next` of the previous page.", ID)
TEXT = {"type": "string", "maxLength": 255, "pattern": LINE}
KEY = {"type": "string", "maxLength": 255, "pattern": "^[^\\x00]*$"}
_HOST = r"^(\[[0-9A-Fa-f:.]+\]|[^\x00-\x20\x7f:/?#@\[\]]+)$"
HOST = {"type": "string", "maxLength": 255, "pattern": _HOST}
DELIVERY_ID = {"type": "string", "pattern": "^[0-9]{1,18}-[0-9]{1,18}$"}
ORDER = {"type": "string", "enum": ["asc", "desc"], "default": "asc"}
_PAYLOAD = "payload."
_MOST_VALUES = 10
_VALUE = {"type": "string", "maxLength": MAX_VALUE_CHARACTERS, "pattern": "^[^\\x00]*$"}
SEARCH = (
    Parameter(
        f"{_PAYLOAD}*",
        "Only signals whose payload has this value under the path that follows `payload.`, for up to 10 paths. They are"
        " the paths of filters. Numbers and booleans are compared as text, and null is `null`.",
        _VALUE,
        is_family=True,
    ),
    Parameter(
        "q",
        "Only signals with this text in the payload, the name, a key, the execution's id or the endpoint's, in any"
        " letter case.",
        {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[^\\x00]*$"},
    ),
)
"""What is read by `search`."""
NAME = Parameter("name", "Only items with exactly this name.", TEXT)
TENANT_ID = Parameter("tenantId", "Only items of this tenant.", TEXT)
EXECUTION_ID = Parameter("executionId", "Only items of this execution.", TEXT)


def text(request: web.Request, name: str) -> str | None:
    """Return the query parameter *name*, or None without it.

    Raises:
        InvalidField: It holds a character that no name and no id may hold.
    """
    value = request.query.get(name)
    return None if value is None else check_id(value, f"?{name}")


def host(request: web.Request) -> str | None:
    """Return the query parameter `host` in lower case, or None without it.

    Raises:
        InvalidField: It is no host alone.
    """
    value = text(request, "host")
    if value is not None and not re.fullmatch(_HOST, value):
        raise InvalidField("?host", "must be a host alone, such as receiver.example: no scheme, no port, no path")
    return None if value is None else value.lower()


def key(request: web.Request, name: str) -> str | None:
    """Return the query parameter *name*, which may hold what a key of a signal may, or None without it.

    Raises:
        InvalidField: It holds what PostgreSQL cannot store, or is too long.
    """
    value = request.query.get(name)
    if value is not None and ("\x00" in value or len(value) > MAX_ID_CHARACTERS):
        raise InvalidField(f"?{name}", f"must have at most {MAX_ID_CHARACTERS} characters, and no U+0000")
    return value


def search(request: web.Request) -> Search | None:
    """Return what is to be looked for in payloads and keys, or None without it.

    Raises:
        InvalidField: It cannot be in any payload, or is too long or too much.
    """
    values: list[tuple[str, str]] = []
    for name, value in request.query.items():
        path = name.removeprefix(_PAYLOAD)
        if path == name:
            continue
        pointer = f"?{name[:255]}"
        if not path or len(path) > MAX_PATH_CHARACTERS or "\x00" in path:
            raise InvalidField(pointer, f"must name a path of at most {MAX_PATH_CHARACTERS} characters, without U+0000")
        if len(value) > MAX_VALUE_CHARACTERS or "\x00" in value:
            raise InvalidField(pointer, f"must have at most {MAX_VALUE_CHARACTERS} characters, and no U+0000")
        values.append((path, value))
    if len(values) > _MOST_VALUES:
        raise InvalidField(f"?{_PAYLOAD}*", f"must be there {_MOST_VALUES} times at most")
    wanted = key(request, "q")
    if wanted == "":
        raise InvalidField("?q", "must not be empty")
    return Search(values=tuple(values), text=wanted) if values or wanted is not None else None


def integer(request: web.Request, name: str, default: int, *, least: int = 0, most: int = MAX_ID) -> int:
    """Return the query parameter *name* as a number from *least* to *most*.

    Raises:
        InvalidField: It is not such a number.
    """
    given = request.query.get(name)
    value = default if given is None else read_whole(given, least=least, most=most)
    if value is None:
        raise InvalidField(f"?{name}", f"must be a whole number from {least} to {most}")
    return value


def optional_integer(request: web.Request, name: str) -> int | None:
    """Return the query parameter *name* as an id, or None without it.

    Raises:
        InvalidField: It is not an id.
    """
    return integer(request, name, 0) if name in request.query else None


def limit(request: web.Request) -> int:
    """Return the size of the page that is asked for.

    Raises:
        InvalidField: It is not from 1 to 1000.
    """
    return integer(request, "limit", 100, least=1, most=MAX_LIMIT)


def is_descending(request: web.Request) -> bool:
    """Return whether the newest items are to come first.

    Raises:
        InvalidField: The order is neither ascending nor descending.
    """
    return choice(request, "order", ORDER["enum"]) == "desc"


def next_of(following: int | None) -> str | None:
    """Return `next` of a page, if there may be items after the id *following*."""
    return None if following is None else str(following)


def moment(request: web.Request, name: str) -> datetime | None:
    """Return the query parameter *name* as a moment; without an offset it is UTC.

    Raises:
        InvalidField: It is not ISO 8601.
    """
    given = request.query.get(name)
    if given is None:
        return None
    try:
        return read_moment(given.replace(" ", "+"))
    except ValueError:
        pass
    try:
        value = datetime.fromisoformat(given.replace(" ", "+"))
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise InvalidField(f"?{name}", "must be a date and time, like 2026-11-22T10:00:00Z") from None


def choice(request: web.Request, name: str, allowed: Iterable[str]) -> str | None:
    """Return the query parameter *name* if it is one of *allowed*, or None without it.

    Raises:
        InvalidField: It is not one of them.
    """
    given = request.query.get(name)
    names = list(map(str, allowed))
    if given is not None and given not in names:
        raise InvalidField(f"?{name}", f"must be one of {', '.join(names)}")
    return given
