"""Camunda 8's REST API for signals: ``POST /v2/signals/broadcast``."""

from __future__ import annotations

from aiohttp import web

from broker.access import Permission, Principal, require_permission
from broker.errors import InvalidDocument, InvalidField
from broker.jsonparts import raw_member
from broker.names import check_id
from broker.operations.intake import Intake
from broker.operations.recipients import choose_recipients
from broker.signals import Source, Throw
from gateway.answers import answer
from gateway.bodies import parse, read_json
from gateway.camunda8.problems import Unreadable
from gateway.camunda8.schemas import DEFAULT_TENANT, SignalBroadcast, SignalBroadcastResult
from gateway.headers import THROW_HEADERS, read_hops, read_key, read_traceparent
from gateway.http_errors import BadRequest, Forbidden
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
        wanted, payload = await offload(request, lambda: _parse(body), size=len(body))
        if wanted.signal_name is None:
            raise BadRequest("No signalName provided.")
        require_permission(principal, Permission.THROW, wanted.signal_name)
        tenant_id = _tenant(wanted)
        _require_assignment(principal, tenant_id)
        recipients = choose_recipients(principal, tenant_id=tenant_id, without_tenant_id=tenant_id is None)
        accepted = await self._intake.accept(
            Throw(
                name=wanted.signal_name,
                payload=payload,
                scope=recipients.scope,
                tenant_id=recipients.tenant_id,
                source=Source.CAMUNDA,
                token_id=principal.token_id,
                traceparent=read_traceparent(request),
                hops=read_hops(request),
            ),
            tenants=principal.tenants,
            key=read_key(request, principal, body),
        )
        return answer(SignalBroadcastResult(signal_key=str(accepted.signal.id), tenant_id=tenant_id or DEFAULT_TENANT))


def _parse(body: bytes) -> tuple[SignalBroadcast, bytes]:
    """Return *body* as a throw, and its payload; of members that cannot be parsed the first one is named, as in 8.8.

    Raises:
        Unreadable: It is none.
    """
    try:
        wanted = parse(SignalBroadcast, body)
    except BadRequest as error:
        raise Unreadable(error.detail) from error
    except InvalidDocument as error:
        member = ".".join(error.errors[0].pointer.split("/")[1:])
        raise Unreadable(
            f"Request property [{member}] cannot be parsed" if member else f"The body {error.errors[0].detail}."
        ) from error
    return wanted, b"{}" if wanted.variables is None else raw_member(body, "variables") or b"{}"


def _tenant(wanted: SignalBroadcast) -> str | None:
    """Return the tenant that is *wanted*, None for the default one.

    Raises:
        InvalidField: There can be no such tenant.
    """
    if wanted.tenant_id is None or wanted.tenant_id == DEFAULT_TENANT:
        return None
    if not wanted.tenant_id:
        raise InvalidField("/tenantId", "must not be empty")
    return check_id(wanted.tenant_id, "/tenantId")


def _require_assignment(principal: Principal, tenant_id: str | None) -> None:
    if tenant_id is not None and not principal.may_name_tenant(tenant_id):
        raise Forbidden(
            f"Expected to broadcast signal for tenant '{tenant_id}', but user is not assigned to this tenant."
        )
