"""Query parameters of the native dialect."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from aiohttp import web

from broker.errors import InvalidField
from broker.names import check_id
from gateway.http_errors import NotFound
from gateway.routes import Parameter

MAX_LIMIT = 1000
MAX_ID = (1 << 63) - 1
_MAX_DIGITS = 19

ID = {"type": "integer", "minimum": 0, "maximum": MAX_ID}
MOMENT = {"type": "string", "format": "date-time"}
LIMIT = Parameter(
    "limit", "Most items of the page.", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": 100}
)
AFTER_ID = Parameter("afterId", "Only what comes after this id: `next` of the page before.", ID)
NAME = Parameter("name", "Only those of exactly this name.")
TENANT_ID = Parameter("tenantId", "Only those of this tenant.")
EXECUTION_ID = Parameter("executionId", "Only those of this execution.")


def text(request: web.Request, name: str) -> str | None:
    """Return the query parameter *name*, or None without it.

    Raises:
        InvalidField: It holds what no name and no id may hold.
    """
    value = request.query.get(name)
    return None if value is None else check_id(value, f"?{name}")


def integer(request: web.Request, name: str, default: int, *, least: int = 0, most: int = MAX_ID) -> int:
    """Return the query parameter *name* as a number from *least* to *most*.

    Raises:
        InvalidField: It is none.
    """
    given = request.query.get(name)
    if given is None:
        return default
    value = int(given) if given.isascii() and given.isdigit() and len(given) <= _MAX_DIGITS else -1
    if not least <= value <= most:
        raise InvalidField(f"?{name}", f"must be a whole number from {least} to {most}")
    return value


def optional_integer(request: web.Request, name: str) -> int | None:
    """Return the query parameter *name* as an id, or None without it.

    Raises:
        InvalidField: It is none.
    """
    return integer(request, name, 0) if name in request.query else None


def limit(request: web.Request) -> int:
    """Return the size of the page that is asked for.

    Raises:
        InvalidField: It is not from 1 to 1000.
    """
    return integer(request, "limit", 100, least=1, most=MAX_LIMIT)


def moment(request: web.Request, name: str) -> datetime | None:
    """Return the query parameter *name* as a moment; without an offset it is UTC.

    Raises:
        InvalidField: It is not ISO 8601.
    """
    given = request.query.get(name)
    if given is None:
        return None
    try:
        value = datetime.fromisoformat(given.replace(" ", "+"))
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise InvalidField(f"?{name}", "must be a date and time, like 2026-11-22T10:00:00Z") from None


def choice(request: web.Request, name: str, allowed: Iterable[str]) -> str | None:
    """Return the query parameter *name* if it is one of *allowed*, or None without it.

    Raises:
        InvalidField: It is something else.
    """
    given = request.query.get(name)
    names = list(map(str, allowed))
    if given is not None and given not in names:
        raise InvalidField(f"?{name}", f"must be one of {', '.join(names)}")
    return given


def path_id(request: web.Request, what: str, part: str = "id") -> int:
    """Return the id in the path, of which it is the *part* of that name.

    Raises:
        NotFound: It is not a number, so there is no such *what*.
    """
    given = request.match_info[part]
    value = int(given) if given.isascii() and given.isdigit() and len(given) <= _MAX_DIGITS else -1
    if not 0 <= value <= MAX_ID:
        raise NotFound(f"There is no {what} {given!r}.")
    return value
