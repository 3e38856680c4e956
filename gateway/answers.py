"""Answers in JSON."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from broker.schematypes import Schema


def answer(document: Schema | bytes, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return *document*, or the JSON text of one, as an answer."""
    body = document if isinstance(document, bytes) else document.to_json()
    return web.Response(body=body, status=status, headers=headers, content_type="application/json")


def created(document: Schema | bytes, location: str) -> web.Response:
    """Return *document* as the answer to its creation at *location*."""
    return answer(document, status=201, headers={"Location": location})
