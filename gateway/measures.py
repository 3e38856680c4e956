"""Metrics of requests and of throws, as their callers see them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import cache

from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware
from aiohttp.web_urldispatcher import AbstractRoute

from broker import metrics
from broker.signals import Source
from gateway.routes import Handler, Route

ROUTES = web.AppKey("routes", dict[AbstractRoute, Route])
"""What each route of an application stands for; one that is not there has the path that it was added with."""

OTHER = "other"
"""The route of the requests that found none, and the method of those whose own is not among the usual ones."""

_accept_seconds = cache(metrics.ACCEPT_SECONDS.labels)
"""`labels` takes a lock and formats its arguments."""


class RequestTimes:
    """Times the requests to an application by route.

    Args:
        routes: What its routes stand for.
    """

    def __init__(self, routes: Mapping[AbstractRoute, Route]) -> None:
        self._templates = {route: described.path for route, described in routes.items()}
        self._observers: dict[tuple[AbstractRoute | str, int], Callable[[float], None]] = {}
        """By route (the method of a request that found none) and status."""

    def note(self, method: str, route: AbstractRoute | None, status: int, seconds: float) -> None:
        """Note that a request's answer began after *seconds*; without a *route*, none was found for its *method*."""
        key = (_known(method) if route is None else route, status)
        observe = self._observers.get(key)
        if observe is None:
            known, template = self.describe(method, route)
            child = metrics.HTTP_SECONDS.labels(known, template, f"{status // 100}xx")
            observe = self._observers[key] = child.observe
        observe(seconds)

    def describe(self, method: str, route: AbstractRoute | None) -> tuple[str, str]:
        """Return the method and the path of *route*, or what stands for them if a request by *method* found none."""
        if route is None or route.resource is None:
            return _known(method), OTHER
        return route.method, self._templates.get(route, route.resource.canonical)


def _known(method: str) -> str:
    return method if method in hdrs.METH_ALL else OTHER


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
