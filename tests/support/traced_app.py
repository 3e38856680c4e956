"""An app of handlers that start spans of their own by OpenTelemetry, in a coroutine and in a thread."""

from __future__ import annotations

import urllib.request

import aiohttp
from opentelemetry import trace

from workers.handlers import Handlers, ReceivedSignal

handlers = Handlers("traced")
tracer = trace.get_tracer("app")


@handlers.on("order.paid", retry=[0.0])
async def book(url: str, signal: ReceivedSignal) -> None:
    """Call *url* within a span; the first attempt fails."""
    with tracer.start_as_current_span("booking"):
        async with aiohttp.ClientSession() as session, session.post(url, headers=signal.headers) as answer:
            answer.raise_for_status()


@handlers.on("order.sent")
def print_label(url: str, signal: ReceivedSignal) -> None:
    """Call *url* within a span."""
    with tracer.start_as_current_span("printing"):
        urllib.request.urlopen(urllib.request.Request(url, b"{}", dict(signal.headers)), timeout=10).close()
