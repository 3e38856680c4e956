"""Camunda 8's REST API for signals: ``POST /v2/signals/broadcast``."""

from __future__ import annotations

from aiohttp import web

from broker.access import Permission, Principal
from broker.errors import InvalidField
from broker.settings import Settings
from broker.signals import Source, Throw
from gateway.auth import Authenticator, demand
from gateway.bodies import dump, parse, raw_member, read_json
from gateway.camunda8.problems import problem
from gateway.camunda8.schemas import DEFAULT_TENANT, SignalBroadcast, SignalBroadcastResult
from gateway.headers import THROW_HEADERS, read_key, read_traceparent
from gateway.http_errors import BadRequest, Forbidden, HttpError
from gateway.intake import Intake, address
from gateway.routes import Route


class Camunda8Api:
    """Answers Camunda 8's clients."""

    def __init__(self, intake: Intake, auth: Authenticator, settings: Settings) -> None:
        self._intake = intake
        self._auth = auth
        self._settings = settings

    @property
    def routes(self) -> list[Route]:
        """What this dialect answers."""
        return [
            Route(
                "POST",
                "/v2/signals/broadcast",
                self.broadcast,
                "Broadcast a signal as in Camunda 8",
                {200: SignalBroadcastResult},
                SignalBroadcast,
                THROW_HEADERS,
                throws=Source.CAMUNDA,
            )
        ]

    async def broadcast(self, request: web.Request) -> web.Response:
        """Answer 200 once the signal is safe; it reaches exactly one tenant (Camunda 8 REST, Broadcast signal)."""
        try:
            return await self._broadcast(request)
        except HttpError as refusal:
            return problem(refusal, request.path)
        except InvalidField as error:
            return problem(BadRequest(f"{error.pointer.removeprefix('/')} {error.detail}"), request.path)

    async def _broadcast(self, request: web.Request) -> web.Response:
        principal = await self._auth.principal(request)
        body = await read_json(request, self._settings.max_body_bytes)
        wanted = parse(SignalBroadcast, body)
        if wanted.signal_name is None:
            raise BadRequest("No signalName provided.")
        demand(principal, Permission.THROW, wanted.signal_name)
        tenant_id = None if wanted.tenant_id == DEFAULT_TENANT else wanted.tenant_id
        _demand_assignment(principal, tenant_id)
        to = address(principal, tenant_id=tenant_id, without_tenant_id=tenant_id is None)
        accepted = await self._intake.accept(
            Throw(
                name=wanted.signal_name,
                payload=b"{}" if wanted.variables is None else raw_member(body, "variables") or b"{}",
                scope=to.scope,
                tenant_id=to.tenant_id,
                source=Source.CAMUNDA,
                token_id=principal.token_id,
                traceparent=read_traceparent(request),
            ),
            key=read_key(request, principal, body),
        )
        answer = SignalBroadcastResult(signal_key=str(accepted.signal.id), tenant_id=tenant_id or DEFAULT_TENANT)
        return web.Response(body=dump(answer), content_type="application/json")


def _demand_assignment(principal: Principal, tenant_id: str | None) -> None:
    if not principal.sees(tenant_id):
        raise Forbidden(
            f"Expected to broadcast signal for tenant '{tenant_id}', but user is not assigned to this tenant."
        )
