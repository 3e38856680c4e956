"""OPTIONS on every path, and requests from pages of the other origins that the settings allow (Fetch standard, CORS).

Pages send their credentials in ``Authorization``. ``Access-Control-Allow-Credentials`` is never sent, so that a browser
adds no credentials that it remembers, and a page of a foreign origin can do no more than any stranger.
"""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import hdrs, web

from gateway.dialects import allowed_methods
from gateway.fields import read_list
from gateway.routes import Handler

ANY = "*"
_SERVER = "*"
_ASKED = (hdrs.ACCESS_CONTROL_REQUEST_METHOD, hdrs.ACCESS_CONTROL_REQUEST_HEADERS)
_READABLE = (
    "Allow, Idempotency-Replayed, Location, RateLimit-Limit, RateLimit-Policy, RateLimit-Remaining, RateLimit-Reset,"
    " Retry-After, Signal-Broker-Warning, WWW-Authenticate"
)
_PREFLIGHT_SECONDS = "600"


@web.middleware
async def answer_options(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer OPTIONS on any path that there is: 204, and the path's methods in ``Allow``. It needs no credentials.

    The path ``*`` stands for the whole server (RFC 9110, 9.3.7), and has the methods of all paths.
    """
    if request.method != hdrs.METH_OPTIONS:
        return await handler(request)
    missing = request.match_info.http_exception
    if request.rel_url.raw_path == _SERVER:
        methods = {route.method for route in request.app.router.routes()}
        return web.Response(status=204, headers={"Allow": ", ".join(sorted(methods | {hdrs.METH_OPTIONS}))})
    if isinstance(missing, web.HTTPMethodNotAllowed):
        return web.Response(status=204, headers={"Allow": allowed_methods(missing)})
    return await handler(request)


class CrossOrigin:
    """Lets pages of some *origins* read answers; `prepare` is told of every answer, errors included."""

    def __init__(self, origins: Sequence[str]) -> None:
        self._origins = frozenset(origins)

    async def prepare(self, request: web.Request, response: web.StreamResponse) -> None:
        """Add to *response* what the browser has to know."""
        headers, origin = response.headers, request.headers.get(hdrs.ORIGIN)
        is_preflight = hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers and request.method == hdrs.METH_OPTIONS
        if ANY not in self._origins:
            headers.add(hdrs.VARY, hdrs.ORIGIN)
            if origin not in self._origins:
                return
        elif origin is None:
            return
        headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = ANY if ANY in self._origins else origin
        if not is_preflight or response.status != 204:
            headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = _READABLE
            return
        headers.add(hdrs.VARY, ", ".join(_ASKED))
        headers[hdrs.ACCESS_CONTROL_ALLOW_METHODS] = headers[hdrs.ALLOW]
        headers[hdrs.ACCESS_CONTROL_ALLOW_HEADERS] = read_list(request, hdrs.ACCESS_CONTROL_REQUEST_HEADERS) or ""
        headers[hdrs.ACCESS_CONTROL_MAX_AGE] = _PREFLIGHT_SECONDS
