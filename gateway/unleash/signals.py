"""``/api/admin/signals`` and ``/api/admin/signal-endpoints/{id}/signals``: signals of endpoints, newest first."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from datetime import date

from aiohttp import web

from broker.access import Permission, Principal
from broker.endpoints import EndpointSignal
from broker.errors import InvalidField
from broker.integers import read_whole
from broker.store.administration.endpoints import EndpointStore
from gateway.answers import answer_in_chunks
from gateway.paths import path_id
from gateway.routes import Parameter, Route, SecuredRoute
from gateway.unleash.admin import ENDPOINTS
from gateway.unleash.answers import endpoint_signal, found_signal
from gateway.unleash.endpoints import no_endpoint
from gateway.unleash.schemas import EndpointSignals, FoundSignals

LIMIT, MAX_LIMIT, MAX_OFFSET = 50, 1000, 10**15

_MONTHS = "(0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8])"
_DAY = {"type": "string", "pattern": f"^IS:([0-9]{{3}}[1-9]|[0-9]{{2}}[1-9]0|[0-9][1-9]00|[1-9]000)-({_MONTHS})$"}
"""A day, but for the 29th of February, which only some years have."""
_IS_DAY = re.compile(r"IS:([0-9]{4}-[0-9]{2}-[0-9]{2})")
_DAYS = (
    Parameter("from", "Only signals of this day (UTC) or later.", _DAY),
    Parameter("to", "Only signals of this day (UTC) or earlier.", _DAY),
)
_PAGE = (
    Parameter(
        "limit",
        f"Most items of the page, 1 to {MAX_LIMIT}; any other value means the default.",
        {"type": "string", "default": str(LIMIT)},
    ),
    Parameter(
        "offset",
        "How many items to skip; a value that is not a number means the default.",
        {"type": "string", "default": "0"},
    ),
)


class EndpointSignalsApi:
    """Lists the signals of signal endpoints."""

    def __init__(self, endpoints: EndpointStore) -> None:
        self._endpoints = endpoints

    @property
    def routes(self) -> list[Route]:
        """The routes of this part of the dialect."""
        of_one = ENDPOINTS + "/{id}/signals"
        return [
            SecuredRoute(
                "GET",
                of_one,
                self.of_one,
                "List an endpoint's signals",
                {200: EndpointSignals},
                parameters=_PAGE,
                permissions=(Permission.ENDPOINTS, Permission.READ),
            ),
            SecuredRoute(
                "GET",
                "/api/admin/signals",
                self.list,
                "List signals of all endpoints",
                {200: FoundSignals},
                parameters=(*_DAYS, *_PAGE),
                permissions=(Permission.READ,),
            ),
        ]

    async def of_one(self, request: web.Request, principal: Principal) -> web.StreamResponse:
        """Answer a page of those signals of one endpoint that the caller may read."""
        endpoint_id = path_id(request, "signal endpoint")
        if await self._endpoints.get(endpoint_id) is None:
            raise no_endpoint(endpoint_id)
        page = await self._endpoints.signals_of(
            endpoint_id, limit=_limit(request), offset=_offset(request), by=principal
        )
        chunks = self._endpoints.read_signals(page)
        return await answer_in_chunks(request, b'{"signalEndpointSignals":[', _rendered(chunks, endpoint_signal), b"]}")

    async def list(self, request: web.Request, principal: Principal) -> web.StreamResponse:
        """Answer a page of those signals of all endpoints, deleted ones included, that the caller may read."""
        page, total = await self._endpoints.signals(
            limit=_limit(request),
            offset=_offset(request),
            first_day=_day(request, "from"),
            last_day=_day(request, "to"),
            by=principal,
        )
        chunks = self._endpoints.read_signals(page)
        return await answer_in_chunks(
            request, b'{"signals":[', _rendered(chunks, found_signal), b'],"total":%d}' % total
        )


async def _rendered(
    chunks: AsyncIterator[list[EndpointSignal]], render: Callable[[EndpointSignal], bytes]
) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        yield b",".join(map(render, chunk))


def _limit(request: web.Request) -> int:
    return _number(request, "limit", LIMIT, least=1, most=MAX_LIMIT)


def _offset(request: web.Request) -> int:
    return _number(request, "offset", 0, least=0, most=MAX_OFFSET)


def _number(request: web.Request, name: str, default: int, *, least: int, most: int) -> int:
    """Return the query parameter *name*, or *default* if it is not from *least* to *most*, as in the original."""
    value = read_whole(request.query.get(name, ""), least=least, most=most)
    return default if value is None else value


def _day(request: web.Request, name: str) -> date | None:
    """Return the day that the query parameter *name* holds, or None without it.

    Raises:
        InvalidField: It is not a day.
    """
    given = request.query.get(name)
    if given is None:
        return None
    found = _IS_DAY.fullmatch(given)
    try:
        return date.fromisoformat(found[1] if found else "")
    except ValueError:
        raise InvalidField(f"?{name}", "must be a day, like IS:2026-11-22") from None
