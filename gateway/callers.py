"""Callers that are gone: nothing is computed for a caller that has hung up."""

from __future__ import annotations

from aiohttp import web


def is_gone(request: web.Request) -> bool:
    """Return whether the connection of *request* is lost or closed, so that no answer will be read."""
    return request.transport is None or request.transport.is_closing()
