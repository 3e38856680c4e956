"""A receiver for uvicorn."""

from __future__ import annotations

import asyncio

from notes import note


async def app(scope, receive, send):
    """Take a webhook."""
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body, more = body + message.get("body", b""), message.get("more_body", False)
    if body:
        await asyncio.sleep(note(dict(scope["headers"])[b"webhook-id"].decode(), body))
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
