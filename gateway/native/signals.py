"""``/v1/signals``: throwing signals, reading them, and cancelling scheduled ones."""

from __future__ import annotations

import asyncio
from functools import partial

import structlog
from aiohttp import web

from broker.access import Permission, Principal, require_permission
from broker.names import is_pattern
from broker.operations.answers import render_signal
from broker.operations.intake import Intake
from broker.operations.throws import check_execution, read_throw
from broker.schemas.deliveries import DeliveryPage
from broker.schemas.signals import SignalPage, SignalRequest, SignalSchema
from broker.signals import Signal, SignalState, Source, Throw
from broker.store.deliveries.deliveries import DeliveryStore
from broker.store.signals.listing import PAGE_BYTES
from broker.store.signals.signals import SignalStore
from gateway.answer_headers import LOCATION, REPLAYED
from gateway.answers import answer
from gateway.bodies import parse, read_json
from gateway.headers import THROW_HEADERS, read_hops, read_key, read_trace
from gateway.http_errors import Conflicting, NotFound
from gateway.native.deliveries import PAGE_PARAMETERS, delivery_page
from gateway.native.queries import (
    EXECUTION_ID,
    ID,
    KEY,
    LIMIT,
    MOMENT,
    ORDER,
    SEARCH,
    TENANT_ID,
    TEXT,
    choice,
    is_descending,
    key,
    limit,
    moment,
    optional_integer,
    search,
    text,
)
from gateway.offloading import offload
from gateway.paths import path_id
from gateway.routes import Parameter, Route, SecuredRoute

_RECORDED = (SignalState.RECORDED, SignalState.SCHEDULED, SignalState.CANCELLED)
_RECORDING_POLLS = 40
_POLL_SECONDS = 0.05
"""A cancellation waits two seconds for its signal to be recorded."""

_LIST_PARAMETERS = (
    Parameter("name", "Only signals whose name matches (patterns allowed).", TEXT),
    TENANT_ID,
    EXECUTION_ID,
    Parameter("businessKey", "Only signals with this business key.", KEY),
    Parameter("orderingKey", "Only signals with this ordering key.", KEY),
    Parameter("source", "Only signals that came in this way.", {"type": "string", "enum": [s.value for s in Source]}),
    Parameter("sourceId", "Only signals of the signal endpoint with this id.", ID),
    Parameter("state", "Only signals in this state.", {"type": "string", "enum": [s.value for s in _RECORDED]}),
    Parameter("since", "Only signals accepted at this moment or later.", MOMENT),
    Parameter("until", "Only signals accepted before this moment.", MOMENT),
    *SEARCH,
    Parameter("order", "By recording; `desc`: what was recorded last comes first.", ORDER),
    Parameter(
        "afterId",
        "Only signals that come after this one in that order: `next` of the previous page, or the last signal that you"
        " have.",
        ID,
    ),
    LIMIT,
)

log = structlog.get_logger()


class SignalsApi:
    """Throws, lists, shows and cancels signals."""

    def __init__(self, intake: Intake, signals: SignalStore, deliveries: DeliveryStore) -> None:
        self._intake = intake
        self._signals = signals
        self._deliveries = deliveries

    @property
    def routes(self) -> list[Route]:
        """The routes of this part of the API."""
        every, one = "/v1/signals", "/v1/signals/{id}"
        throwing, reading = (Permission.THROW,), (Permission.READ,)
        return [
            SecuredRoute(
                "POST",
                every,
                self.throw,
                "Throw a signal",
                {202: SignalSchema},
                SignalRequest,
                THROW_HEADERS,
                throws=Source.NATIVE,
                permissions=throwing,
                headers={202: (LOCATION, REPLAYED)},
            ),
            SecuredRoute(
                "GET",
                every,
                self.list,
                "List recorded signals",
                {200: SignalPage},
                parameters=_LIST_PARAMETERS,
                permissions=reading,
            ),
            SecuredRoute("GET", one, self.get, "Show a recorded signal", {200: SignalSchema}, permissions=reading),
            SecuredRoute(
                "GET",
                f"{one}/deliveries",
                self.deliveries,
                "List a signal's deliveries",
                {200: DeliveryPage},
                parameters=PAGE_PARAMETERS,
                permissions=reading,
            ),
            SecuredRoute(
                "DELETE",
                one,
                self.cancel,
                "Cancel a scheduled signal",
                {204: None},
                permissions=throwing,
                refusals=(409,),
            ),
        ]

    async def throw(self, request: web.Request, principal: Principal) -> web.Response:
        """Answer 202 once the signal is safe."""
        body = await read_json(request)
        throw = await offload(request, lambda: _read_throw(request, principal, body), size=len(body))
        accepted = await self._intake.accept(
            throw,
            tenants=principal.tenants,
            key=read_key(request, principal, body),
            check=partial(check_execution, principal, throw),
        )
        headers = {LOCATION.name: f"/v1/signals/{accepted.signal.id}"}
        if accepted.replayed:
            headers[REPLAYED.name] = "true"
        return answer(await _rendered(request, accepted.signal), status=202, headers=headers)

    async def list(self, request: web.Request, principal: Principal) -> web.Response:
        """Answer a page of the recorded signals that the caller sees.

        It ends early where the next signal would make it longer than 2 MiB, or when it has looked for long enough: 0.2
        seconds for `q` and `payload.*`, else 0.03. Then it may be empty; `next` says whether there may be more.
        """
        name = text(request, "name")
        if name is not None and not is_pattern(name):  # a pattern is narrowed to the caller's names
            require_permission(principal, Permission.READ, name)
        page = await self._signals.page(
            after_id=optional_integer(request, "afterId"),
            limit=limit(request),
            descending=is_descending(request),
            by=principal,
            name=name,
            tenant_id=text(request, "tenantId"),
            execution_id=text(request, "executionId"),
            business_key=key(request, "businessKey"),
            ordering_key=key(request, "orderingKey"),
            source=choice(request, "source", Source),
            source_id=optional_integer(request, "sourceId"),
            since=moment(request, "since"),
            until=moment(request, "until"),
            state=choice(request, "state", _RECORDED),
            search=search(request),
        )
        items: list[bytes] = []
        length = 0
        for signal in page.items:
            item = await _rendered(request, signal)
            length += len(item)
            if items and length > PAGE_BYTES:
                break
            items.append(item)
        following = page.following if len(items) == len(page.items) else page.items[len(items) - 1].id
        shown = b"null" if following is None else b'"%d"' % following
        return answer(b'{"items":[%b],"next":%b}' % (b",".join(items), shown))

    async def get(self, request: web.Request, principal: Principal) -> web.Response:
        """Answer one recorded signal."""
        return answer(await _rendered(request, await self._visible(request, principal)))

    async def cancel(self, request: web.Request, principal: Principal) -> web.Response:
        """Cancel a scheduled signal that was not released yet: it is never delivered."""
        signal_id = path_id(request, "signal")
        signal = await self._once_recorded(signal_id)
        if signal is None or not _may_cancel(principal, signal.throw):
            raise _missing(signal_id)
        if not await self._signals.cancel(signal_id, by=principal):
            raise Conflicting("Only a scheduled signal can be cancelled, and only before its moment has come.")
        log.info("signal.cancelled", signal_id=signal_id, principal=principal.name)
        return web.Response(status=204)

    async def _once_recorded(self, signal_id: int) -> Signal | None:
        """Return the signal, or None if there is none; one that was accepted just now is recorded within moments."""
        for _ in range(_RECORDING_POLLS):
            signal = await self._signals.get(signal_id)
            if signal is not None or not await self._signals.was_numbered(signal_id):
                return signal
            await asyncio.sleep(_POLL_SECONDS)
        return None

    async def deliveries(self, request: web.Request, principal: Principal) -> web.Response:
        """Answer a page of a signal's deliveries, by subscription."""
        signal = await self._visible(request, principal)
        return await delivery_page(self._deliveries, request, principal, signal.id)

    async def _visible(self, request: web.Request, principal: Principal) -> Signal:
        signal_id = path_id(request, "signal")
        signal = await self._signals.get(signal_id)
        if signal is None or not _may_see(principal, signal.throw):
            raise _missing(signal_id)
        return signal


def _read_throw(request: web.Request, principal: Principal, body: bytes) -> Throw:
    return read_throw(principal, parse(SignalRequest, body), body, trace=read_trace(request), hops=read_hops(request))


async def _rendered(request: web.Request, signal: Signal) -> bytes:
    """Return *signal* as JSON; many small variables take many times the time and the bytes of the payload."""
    return await offload(request, lambda: render_signal(signal), size=len(signal.throw.payload))


def _missing(signal_id: int) -> NotFound:
    return NotFound(f"There is no recorded signal {signal_id} (a signal is recorded shortly after its acceptance).")


def _may_see(principal: Principal, throw: Throw) -> bool:
    return principal.reach.reads(throw) and principal.may(Permission.READ, throw.name)


def _may_cancel(principal: Principal, throw: Throw) -> bool:
    """Return whether the signal is its own, or is for its tenants alone."""
    is_own = throw.token_id is not None and throw.token_id == principal.token_id
    is_of_endpoint = throw.source is Source.SIGNAL_ENDPOINT  # whose tokens have numbers of their own
    tenants = throw.audience if throw.tenant_id is None else (throw.tenant_id,)
    return principal.may(Permission.THROW, throw.name) and (
        (is_own and not is_of_endpoint) or principal.reach.owns(tenants or None)
    )
