"""Ids in the paths of requests."""

from __future__ import annotations

from aiohttp import web

from broker.integers import read_whole
from gateway.http_errors import NotFound


def path_id(request: web.Request, what: str, parameter: str = "id") -> int:
    """Return the id of a *what* that the path has as its *parameter*.

    Raises:
        NotFound: It is not a number, so there is no such *what*.
    """
    given = request.match_info[parameter]
    value = read_whole(given)
    if value is None:
        raise NotFound(f"There is no {what} {given!r}.")
    return value
