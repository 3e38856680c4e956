"""Answers in JSON."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from aiohttp import web

from broker.schematypes import Schema
from gateway.answer_headers import LOCATION


def answer(document: Schema | bytes, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return *document*, or the JSON text of one, as an answer."""
    body = document if isinstance(document, bytes) else document.to_json()
    return web.Response(body=body, status=status, headers=headers, content_type="application/json")


def created(document: Schema | bytes, location: str) -> web.Response:
    """Return *document* as the answer to its creation at *location*."""
    return answer(document, status=201, headers={LOCATION.name: location})


async def answer_in_chunks(
    request: web.Request, head: bytes, items: AsyncIterator[bytes], tail: bytes
) -> web.StreamResponse:
    """Answer *head*, the *items* (several in each of their chunks) with commas between them, and *tail*.

    One chunk is an answer as any other. More of them are sent one after the other, as fast as the caller takes them.
    """
    first, second = await anext(items, b""), await anext(items, None)
    if second is None:
        return answer(head + first + tail)
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(head + first)
    await response.write(b"," + second)
    async for chunk in items:
        await response.write(b"," + chunk)
    await response.write_eof(tail)
    return response
