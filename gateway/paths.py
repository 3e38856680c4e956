"""Paths of routes, and ids in the paths of requests."""

from __future__ import annotations

import re
from collections.abc import Iterable

from aiohttp import web

from broker.integers import read_whole
from gateway.http_errors import NotFound

_PARAMETER = re.compile(r"\{\w+\}")


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


def keep_apart(path: str, others: Iterable[str]) -> str:
    """Return *path*, whose parameters do not take the words that one of *others* has in their places.

    So ``/signals/{id}`` is not found where ``/signals/batch`` is another path: methods of one are no methods of the
    other.
    """
    parts = path.split("/")
    taken: dict[int, set[str]] = {}
    for other in others:
        words = other.split("/")
        differing = [at for at, (part, word) in enumerate(zip(parts, words, strict=False)) if part != word]
        if len(words) == len(parts) and all(map(_PARAMETER.fullmatch, (parts[at] for at in differing))):
            for at in differing:
                if "{" not in words[at]:
                    taken.setdefault(at, set()).add(words[at])
    for at, words_there in taken.items():
        excluded = "|".join(sorted(map(re.escape, words_there)))
        parts[at] = f"{parts[at][:-1]}:(?!(?:{excluded})(?:/|$))[^/]+}}"
    return "/".join(parts)
