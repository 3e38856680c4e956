"""The canonical log lines of requests: one for each that was refused, and for each that may have changed something.

| event | level | for |
|---|---|---|
| request.answered | info | what was done, except reading, and throws: each of these has its ``signal.accepted`` |
| request.refused | info; a 5xx: warning | what was not done; ``reason`` and ``fields`` say why |
| request.postponed | warning | what cannot be done now: a 503 |

Callers that are refused all the time do not fill the log: each status has so many lines a second, and ``unlogged`` of
the next line says how many were left out.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from logging import INFO, WARNING

import structlog
from aiohttp import hdrs, web
from aiohttp.web_urldispatcher import AbstractRoute

from gateway.callers import CALLER
from gateway.forwarding import FORWARDING
from gateway.measures import OTHER, ROUTES, RequestTimes
from gateway.probes import PROBES
from gateway.refusals import REFUSAL, Refusal, show
from gateway.routes import Route

_SAFE = frozenset({hdrs.METH_GET, hdrs.METH_HEAD, hdrs.METH_OPTIONS})
_BURST = 20.0
"""How many lines each status may have at once."""
_PER_SECOND = 5.0

log = structlog.get_logger()


@dataclass(slots=True)
class _Allowance:
    """The lines that a status may have."""

    spare: float = _BURST
    at: float = 0.0
    unlogged: int = 0

    def take(self, now: float) -> bool:
        """Take a line, and return whether there was one; without one, count that."""
        self.spare, self.at = min(_BURST, self.spare + (now - self.at) * _PER_SECOND), now
        if self.spare < 1:
            self.unlogged += 1
            return False
        self.spare -= 1
        return True


class RequestLines:
    """Logs the requests to *app*, whose routes *times* knows.

    Args:
        app: The application.
        times: Describes routes.
        clock: Monotonic seconds.
    """

    def __init__(
        self, app: web.Application, times: RequestTimes, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        routes: dict[AbstractRoute, Route] = app.get(ROUTES, {})
        self._throwing = frozenset(route for route, described in routes.items() if described.throws)
        self._forwarding = app.get(FORWARDING)
        self._times = times
        self._clock = clock
        self._allowances: defaultdict[int, _Allowance] = defaultdict(_Allowance)

    def note(self, request: web.BaseRequest, route: AbstractRoute | None, status: int, seconds: float) -> None:
        """Log *request*, whose answer began after *seconds*, if it has a line; *route* is None if it found none."""
        refusal = request.get(REFUSAL) if len(request) else None
        if status >= 400 or refusal is not None:
            self._note_refused(request, route, status, seconds, refusal)
        elif request.method not in _SAFE and route not in self._throwing:
            log.info("request.answered", **self._describe(request, route, status, seconds))

    def _note_refused(
        self,
        request: web.BaseRequest,
        route: AbstractRoute | None,
        status: int,
        seconds: float,
        refusal: Refusal | None,
    ) -> None:
        if request.path in PROBES:
            return
        why = status if refusal is None or status >= 400 else refusal.status  # a part of a batch may be
        allowance = self._allowances[why]
        if not allowance.take(self._clock()):
            return
        line = self._describe(request, route, status, seconds)
        if line["route"] == OTHER:
            line["path"] = show((refusal and refusal.path) or request.path)
        line["reason"] = HTTPStatus(status).phrase if refusal is None else refusal.reason
        if refusal is not None and refusal.fields:
            line["fields"] = refusal.fields
        if allowance.unlogged:
            line["unlogged"] = allowance.unlogged
            allowance.unlogged = 0
        event = "request.postponed" if why == HTTPStatus.SERVICE_UNAVAILABLE else "request.refused"
        log.log(WARNING if why >= 500 else INFO, event, **line)

    def _describe(
        self, request: web.BaseRequest, route: AbstractRoute | None, status: int, seconds: float
    ) -> dict[str, object]:
        method, template = self._times.describe(request.method, route)
        return {
            "method": method,
            "route": template,
            "status": status,
            "seconds": round(seconds, 6),
            "principal": request.get(CALLER),
            "address": request.remote if self._forwarding is None else self._forwarding.address(request),
        }
