"""Paths of this dialect as callers may write them: with repeated slashes, and with slashes at the end."""

from __future__ import annotations

from dataclasses import replace

from gateway.routes import Route


def collapsing_slashes(route: Route) -> Route:
    """Return *route*, found under its path with repeated slashes and with slashes at the end, too.

    These are aliases because aiohttp merges slashes by a redirect, which callers do not follow with a POST.
    """
    return replace(route, aliases=(*route.aliases, _spelled(route.path)))


def _spelled(path: str) -> str:
    """Return *path* as a pattern: `/a/b` as `/{_0:/*}a/{_1:/*}b{_end:/*}`."""
    _, *words = path.split("/")
    return "".join(f"/{{_{position}:/*}}{word}" for position, word in enumerate(words)) + "{_end:/*}"
