"""``/v1/signals``: throwing signals, looking at them, and cancelling those that are for later."""

from __future__ import annotations

import asyncio

import structlog
from aiohttp import web

from broker.access import Permission, Principal
from broker.errors import InvalidField
from broker.settings import Settings
from broker.signals import Scope, Signal, SignalState, Source, Throw
from broker.store.deliveries.deliveries import DeliveryStore
from broker.store.signals.signals import SignalStore
from gateway.auth import Authenticator, demand
from gateway.bodies import parse, read_json
from gateway.headers import THROW_HEADERS, read_key, read_traceparent
from gateway.http_errors import Conflicting, NotFound
from gateway.intake import Intake
from gateway.native.answers import render_signal
from gateway.native.deliveries import PAGE_PARAMETERS, delivery_page
from gateway.native.throws import admitting, read_throw
from gateway.queries import (
    EXECUTION_ID,
    ID,
    LIMIT,
    MOMENT,
    NAME,
    TENANT_ID,
    choice,
    integer,
    limit,
    moment,
    optional_integer,
    path_id,
    text,
)
from gateway.routes import Parameter, Route
from gateway.schemas.deliveries import DeliveryPage
from gateway.schemas.signals import SignalPage, SignalRequest, SignalSchema

_RECORDED = (SignalState.RECORDED, SignalState.SCHEDULED, SignalState.CANCELLED)
_LOOKS = 40
_LOOK_EVERY = 0.05
"""A cancellation waits two seconds for a signal to be recorded."""

_LIST_PARAMETERS = (
    NAME,
    TENANT_ID,
    EXECUTION_ID,
    Parameter("source", "Only those that came in this way.", {"type": "string", "enum": [s.value for s in Source]}),
    Parameter("sourceId", "Only those of this signal endpoint (its id).", ID),
    Parameter("state", "Only those in this state.", {"type": "string", "enum": [s.value for s in _RECORDED]}),
    Parameter("since", "Only those accepted at this moment or later.", MOMENT),
    Parameter("until", "Only those accepted before this moment.", MOMENT),
    Parameter(
        "afterId",
        "Only what was recorded after this signal: `next` of the page before, or the last one that you have.",
        ID,
    ),
    LIMIT,
)

log = structlog.get_logger()


class SignalsApi:
    """Throws, lists, shows and cancels signals."""

    def __init__(
        self,
        intake: Intake,
        signals: SignalStore,
        deliveries: DeliveryStore,
        auth: Authenticator,
        settings: Settings,
    ) -> None:
        self._intake = intake
        self._signals = signals
        self._deliveries = deliveries
        self._auth = auth
        self._settings = settings

    @property
    def routes(self) -> list[Route]:
        """What this part of the API answers."""
        return [
            Route(
                "POST",
                "/v1/signals",
                self.throw,
                "Throw a signal",
                {202: SignalSchema},
                SignalRequest,
                THROW_HEADERS,
                throws=Source.NATIVE,
            ),
            Route(
                "GET",
                "/v1/signals",
                self.list,
                "List recorded signals",
                {200: SignalPage},
                parameters=_LIST_PARAMETERS,
            ),
            Route("GET", "/v1/signals/{id}", self.get, "Show a recorded signal", {200: SignalSchema}),
            Route(
                "GET",
                "/v1/signals/{id}/deliveries",
                self.deliveries,
                "List a signal's deliveries",
                {200: DeliveryPage},
                parameters=PAGE_PARAMETERS,
            ),
            Route("DELETE", "/v1/signals/{id}", self.cancel, "Cancel a scheduled signal", {204: None}),
        ]

    async def throw(self, request: web.Request) -> web.Response:
        """Answer 202 once the signal is safe."""
        principal = await self._auth.principal(request)
        body = await read_json(request, self._settings.max_body_bytes)
        throw = read_throw(principal, parse(SignalRequest, body), body, read_traceparent(request))
        accepted = await self._intake.accept(throw, key=read_key(request, principal, body), admit=admitting(principal))
        headers = {"Location": f"/v1/signals/{accepted.signal.id}"}
        if accepted.replayed:
            headers["Idempotency-Replayed"] = "true"
        return _answer(accepted.signal, status=202, headers=headers)

    async def list(self, request: web.Request) -> web.Response:
        """Answer a page of the recorded signals that the caller sees."""
        principal = await self._auth.principal(request)
        name = text(request, "name")
        demand(principal, Permission.READ, name)
        if name is None and principal.names is not None:
            raise InvalidField("?name", "is required: you may read signals of some names only")
        size = limit(request)
        page = await self._signals.page(
            after_id=integer(request, "afterId", 0),
            limit=size,
            name=name,
            tenant_id=text(request, "tenantId"),
            execution_id=text(request, "executionId"),
            tenants=principal.tenants,
            source=choice(request, "source", Source),
            source_id=optional_integer(request, "sourceId"),
            since=moment(request, "since"),
            until=moment(request, "until"),
            state=choice(request, "state", _RECORDED),
        )
        items = b",".join(render_signal(signal) for signal in page)
        following = b'"%d"' % page[-1].id if len(page) == size else b"null"
        return web.Response(body=b'{"items":[%b],"next":%b}' % (items, following), content_type="application/json")

    async def get(self, request: web.Request) -> web.Response:
        """Answer one recorded signal."""
        return _answer(await self._visible(request))

    async def cancel(self, request: web.Request) -> web.Response:
        """Cancel a scheduled signal that was not released yet: nobody gets it."""
        principal = await self._auth.principal(request)
        demand(principal, Permission.THROW)
        signal_id = path_id(request, "signal")
        signal = await self._once_recorded(signal_id)
        if signal is None or not _may_throw(principal, signal.throw):
            raise _missing(signal_id)
        if not await self._signals.cancel(signal_id):
            raise Conflicting("Only a scheduled signal can be cancelled, and only before its moment has come.")
        log.info("signal.cancelled", signal_id=signal_id, principal=principal.name)
        return web.Response(status=204)

    async def _once_recorded(self, signal_id: int) -> Signal | None:
        """Return the signal; one that was accepted just now is recorded within the next moments."""
        for _ in range(_LOOKS):
            signal = await self._signals.get(signal_id)
            if signal is not None or not await self._signals.was_numbered(signal_id):
                return signal
            await asyncio.sleep(_LOOK_EVERY)
        return None

    async def deliveries(self, request: web.Request) -> web.Response:
        """Answer what became of a signal, subscription by subscription."""
        signal = await self._visible(request)
        principal = await self._auth.principal(request)
        return await delivery_page(self._deliveries, request, principal, signal.id)

    async def _visible(self, request: web.Request) -> Signal:
        principal = await self._auth.principal(request)
        demand(principal, Permission.READ)
        signal_id = path_id(request, "signal")
        signal = await self._signals.get(signal_id)
        if signal is None or not _may_see(principal, signal.throw):
            raise _missing(signal_id)
        return signal


def _missing(signal_id: int) -> NotFound:
    return NotFound(f"There is no recorded signal {signal_id} (a signal is recorded shortly after its acceptance).")


def _may_see(principal: Principal, throw: Throw) -> bool:
    reached = not throw.audience or any(principal.may_name_tenant(tenant) for tenant in throw.audience)
    return reached and principal.sees(throw.tenant_id) and principal.may(Permission.READ, throw.name)


def _may_throw(principal: Principal, throw: Throw) -> bool:
    """Return whether *principal* could have thrown it: who is limited to tenants does not throw at everybody."""
    is_limited = throw.scope in {Scope.TENANT, Scope.UNTENANTED} or throw.audience is not None
    reached = (*(throw.audience or ()), *((throw.tenant_id,) if throw.tenant_id else ()))
    return (
        principal.may(Permission.THROW, throw.name)
        and (is_limited or principal.tenants is None)
        and all(principal.may_name_tenant(tenant) for tenant in reached)
    )


def _answer(signal: Signal, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    body = render_signal(signal)
    return web.Response(body=body, status=status, headers=headers, content_type="application/json")
