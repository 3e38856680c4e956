"""Query parameters of the native dialect."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from aiohttp import web

from broker.errors import InvalidField
from gateway.refusals import NotFound

MAX_LIMIT = 1000
_MAX_ID = (1 << 63) - 1


def integer(request: web.Request, name: str, default: int, *, least: int = 0, most: int = _MAX_ID) -> int:
    """Return the query parameter *name* as a number from *least* to *most*.

    Raises:
        InvalidField: It is none.
    """
    text = request.query.get(name)
    if text is None:
        return default
    value = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else -1
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
    text = request.query.get(name)
    if text is None:
        return None
    try:
        value = datetime.fromisoformat(text.replace(" ", "+"))
    except ValueError:
        raise InvalidField(f"?{name}", "must be a date and time, like 2026-11-22T10:00:00Z") from None
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def choice(request: web.Request, name: str, allowed: Iterable[str]) -> str | None:
    """Return the query parameter *name* if it is one of *allowed*, or None without it.

    Raises:
        InvalidField: It is something else.
    """
    text = request.query.get(name)
    names = list(map(str, allowed))
    if text is not None and text not in names:
        raise InvalidField(f"?{name}", f"must be one of {', '.join(names)}")
    return text


def path_id(request: web.Request, what: str) -> int:
    """Return the id in the path.

    Raises:
        NotFound: It is not a number, so there is no such *what*.
    """
    text = request.match_info["id"]
    if not (text.isascii() and text.isdigit() and int(text[:20]) <= _MAX_ID):
        raise NotFound(f"There is no {what} {text!r}.")
    return int(text)
