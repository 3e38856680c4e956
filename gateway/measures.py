"""How throws fare, as their callers see it: counted and timed around everything that answers them."""

from __future__ import annotations

import time
from collections.abc import Sequence

from aiohttp import web
from aiohttp.typedefs import Middleware

from broker import metrics
from gateway.dialects import Handler
from gateway.routes import Route


def measuring_throws(routes: Sequence[Route]) -> Middleware:
    """Return the middleware that measures the requests of those *routes* that throw signals."""
    sources = {route.handler: route.throws.value for route in routes if route.throws}

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        source = sources.get(request.match_info.handler)
        if source is None:
            return await handler(request)
        start = time.perf_counter()
        response = await handler(request)
        if response.status < 300:
            metrics.ACCEPT_SECONDS.labels(source).observe(time.perf_counter() - start)
        else:
            metrics.REFUSED.labels(source, str(response.status)).inc()
        return response

    return middleware
