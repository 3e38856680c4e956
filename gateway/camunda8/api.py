"""Camunda 8's REST API for signals: ``POST /v2/signals/broadcast``."""

from __future__ import annotations

from aiohttp import web

from broker.access import Permission, Principal, require_permission
from broker.operations.intake import Intake
from broker.operations.recipients import choose_recipients
from broker.signals import Source, Throw
from gateway.answers import answer
from gateway.bodies import read_json
from gateway.camunda8.reading import parse_throw, read_tenant, require_assignment
from gateway.camunda8.schemas import DEFAULT_TENANT, SignalBroadcast, SignalBroadcastResult
from gateway.headers import THROW_HEADERS, read_hops, read_key, read_trace
from gateway.http_errors import BadRequest
from gateway.offloading import offload
from gateway.routes import Route, SecuredRoute


class Camunda8Api:
    """Answers Camunda 8's clients."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    @property
    def routes(self) -> list[Route]:
        """The routes of this dialect."""
        return [
            SecuredRoute(
                "POST",
                "/v2/signals/broadcast",
                self.broadcast,
                "Broadcast a signal as in Camunda 8",
                {200: SignalBroadcastResult},
                SignalBroadcast,
                THROW_HEADERS,
                throws=Source.CAMUNDA,
                permissions=(Permission.THROW,),
            )
        ]

    async def broadcast(self, request: web.Request, principal: Principal) -> web.Response:
        """Answer 200 once the signal is safe; it is for exactly one tenant (Camunda 8 REST, Broadcast signal)."""
        body = await read_json(request)
        wanted, payload = await offload(request, lambda: parse_throw(SignalBroadcast, body), size=len(body))
        if wanted.signal_name is None:
            raise BadRequest("No signalName provided.")
        require_permission(principal, Permission.THROW, wanted.signal_name)
        tenant_id = read_tenant(wanted.tenant_id)
        require_assignment(principal, tenant_id, to="broadcast signal")
        recipients = choose_recipients(principal, tenant_id=tenant_id, without_tenant_id=tenant_id is None)
        accepted = await self._intake.accept(
            Throw(
                name=wanted.signal_name,
                payload=payload,
                scope=recipients.scope,
                tenant_id=recipients.tenant_id,
                source=Source.CAMUNDA,
                token_id=principal.token_id,
                trace=read_trace(request),
                hops=read_hops(request),
            ),
            tenants=principal.tenants,
            key=read_key(request, principal, body),
        )
        return answer(SignalBroadcastResult(signal_key=str(accepted.signal.id), tenant_id=tenant_id or DEFAULT_TENANT))
