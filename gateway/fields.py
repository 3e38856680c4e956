"""Header fields whose value is a list, which a caller may write on several lines."""

from __future__ import annotations

from aiohttp import web


def read_list(request: web.BaseRequest, name: str) -> str | None:
    """Return the list in all lines of the field *name*, as if it were written on one (RFC 9110, 5.3); None without."""
    lines = request.headers.getall(name, [])
    return ", ".join(lines) if lines else None
