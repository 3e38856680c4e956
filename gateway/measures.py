"""Metrics of throws as their callers see them: counted and timed around everything that answers them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cache

from aiohttp import web
from aiohttp.typedefs import Middleware

from broker import metrics
from broker.signals import Source
from gateway.routes import Handler

_accept_seconds = cache(metrics.ACCEPT_SECONDS.labels)
"""`labels` takes a lock and formats its arguments."""


def throw_metrics(sources: Mapping[Handler, Source]) -> Middleware:
    """Return the middleware that measures the requests to handlers that throw signals, by the signals' source."""
    labels = {handler: source.value for handler, source in sources.items()}

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        source = labels.get(request.match_info.handler)
        if source is None:
            return await handler(request)
        start = time.perf_counter()
        response = await handler(request)
        if response.status < 300:
            _accept_seconds(source).observe(time.perf_counter() - start)
        else:
            metrics.REFUSED.labels(source, str(response.status)).inc()
        return response

    return middleware
