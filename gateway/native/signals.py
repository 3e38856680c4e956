"""``/v1/signals``: throwing signals and looking at them."""

from __future__ import annotations

from typing import Literal

from aiohttp import web

from broker.access import Permission, Principal
from broker.errors import InvalidField
from broker.settings import Settings
from broker.signals import Signal, Source, Throw
from broker.store.deliveries import DeliveryStore
from broker.store.signals import Numbered, SignalStore
from broker.variables import Types
from gateway.auth import Authenticator, demand, demand_tenant
from gateway.bodies import parse, raw_member, read_json
from gateway.documents import DeliveryPage, SignalDocument, SignalPage, SignalRequest
from gateway.headers import THROW_HEADERS, read_key, read_traceparent
from gateway.intake import Intake, address
from gateway.native.answers import signal_document
from gateway.native.deliveries import PAGE_PARAMETERS, delivery_page
from gateway.native.variables import read_variables
from gateway.queries import (
    AFTER_ID,
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
from gateway.refusals import NotFound
from gateway.routes import Parameter, Route

_LIST_PARAMETERS = (
    NAME,
    TENANT_ID,
    EXECUTION_ID,
    Parameter("source", "Only those that came in this way.", {"type": "string", "enum": [s.value for s in Source]}),
    Parameter("sourceId", "Only those of this signal endpoint (its id).", ID),
    Parameter("since", "Only those accepted at this moment or later.", MOMENT),
    Parameter("until", "Only those accepted before this moment.", MOMENT),
    AFTER_ID,
    LIMIT,
)


class SignalsApi:
    """Throws, lists and shows signals."""

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
                {202: SignalDocument},
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
            Route("GET", "/v1/signals/{id}", self.get, "Show a recorded signal", {200: SignalDocument}),
            Route(
                "GET",
                "/v1/signals/{id}/deliveries",
                self.deliveries,
                "List a signal's deliveries",
                {200: DeliveryPage},
                parameters=PAGE_PARAMETERS,
            ),
        ]

    async def throw(self, request: web.Request) -> web.Response:
        """Answer 202 once the signal is safe."""
        principal = await self._auth.principal(request)
        body = await read_json(request, self._settings.max_body_bytes)
        wanted = parse(SignalRequest, body)
        demand(principal, Permission.THROW, wanted.name)
        to = address(
            principal,
            tenant_id=wanted.tenant_id,
            without_tenant_id=wanted.without_tenant_id,
            execution_id=wanted.execution_id,
        )
        demand_tenant(principal, to.tenant_id)
        if wanted.variables is None:
            payload, types = raw_member(body, "payload") or b"{}", Types()
        elif "payload" in wanted.model_fields_set:
            raise InvalidField("/variables", "cannot be given together with payload: they are two views of the same")
        else:
            payload, types = read_variables(wanted.variables)
        accepted = await self._intake.accept(
            Throw(
                name=wanted.name,
                payload=payload,
                types=types,
                scope=to.scope,
                tenant_id=to.tenant_id,
                execution_id=to.execution_id,
                reach=to.reach,
                source=Source.NATIVE,
                token_id=principal.token_id,
                business_key=wanted.business_key,
                traceparent=read_traceparent(request),
            ),
            key=read_key(request, principal, body),
            admit=lambda numbered: _admit(principal, numbered),
        )
        headers = {"Location": f"/v1/signals/{accepted.signal.id}"}
        if accepted.replayed:
            headers["Idempotency-Replayed"] = "true"
        return _answer(accepted.signal, "accepted", status=202, headers=headers)

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
        )
        items = b",".join(signal_document(signal, "recorded") for signal in page)
        following = b'"%d"' % page[-1].id if len(page) == size else b"null"
        return web.Response(body=b'{"items":[%b],"next":%b}' % (items, following), content_type="application/json")

    async def get(self, request: web.Request) -> web.Response:
        """Answer one recorded signal."""
        return _answer(await self._visible(request), "recorded")

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
            raise NotFound(
                f"There is no recorded signal {signal_id} (a signal is recorded shortly after its acceptance)."
            )
        return signal


def _may_see(principal: Principal, throw: Throw) -> bool:
    reached = not throw.reach or any(principal.may_name_tenant(tenant) for tenant in throw.reach)
    return reached and principal.sees(throw.tenant_id) and principal.may(Permission.READ, throw.name)


def _admit(principal: Principal, numbered: Numbered) -> None:
    """Let a throw to an execution pass, unless somebody of a tenant that *principal* may not name waits there.

    Raises:
        Forbidden: So it is.
    """
    for _, tenant_id in numbered.execution:
        demand_tenant(principal, tenant_id)


def _answer(
    signal: Signal,
    state: Literal["accepted", "recorded"],
    *,
    status: int = 200,
    headers: dict[str, str] | None = None,
) -> web.Response:
    body = signal_document(signal, state)
    return web.Response(body=body, status=status, headers=headers, content_type="application/json")
