"""Paths of this dialect as callers may write them, as Express reads them: in any letter case, with more slashes."""

from __future__ import annotations

from dataclasses import replace

from gateway.routes import Route


def as_express(route: Route) -> Route:
    """Return *route*, found under its path in any letter case, with repeated slashes and with slashes at the end, too.

    What the path has in place of its parameters is taken as it is. These are aliases because aiohttp merges slashes by
    a redirect, which callers do not follow with a POST.
    """
    return replace(route, aliases=(*route.aliases, _spelled(route.path)))


def _spelled(path: str) -> str:
    """Return *path* as a pattern: `/a/{b}` as `/{_0:/*(?ai:a)}/{_1:/*}{b}{_end:/*}`."""
    _, *words = path.split("/")
    return "".join(f"/{_pattern(position, word)}" for position, word in enumerate(words)) + "{_end:/*}"


def _pattern(position: int, word: str) -> str:
    is_parameter = word.startswith("{")
    return f"{{_{position}:/*}}{word}" if is_parameter else f"{{_{position}:/*(?ai:{word})}}"
