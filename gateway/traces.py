"""Spans of the requests that throw signals."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web
from aiohttp.typedefs import Middleware

from broker.tracing import Tracer
from broker.tracing.contexts import PARENT
from gateway.headers import SPAN, sent_trace
from gateway.routes import Handler, Route


def reads_trace(route: Route) -> bool:
    """Return whether *route* throws signals, one or a batch: those have the trace context that it reads."""
    return any(parameter.name == PARENT for parameter in route.parameters)


def trace_throws(tracer: Tracer, paths: Mapping[Handler, str]) -> Middleware:
    """Return the middleware that makes a span of each request to a handler in *paths*, which have the routes' paths."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        path = paths.get(request.match_info.handler)
        if path is None:
            return await handler(request)
        with tracer.serving(path, request.method, sent_trace(request)) as span:
            request[SPAN] = span
            response = await handler(request)
            span.answered(response.status)
            return response

    return middleware
