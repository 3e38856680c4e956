"""Throwing signals as Camunda 7 does: ``POST /engine-rest/signal``."""

from __future__ import annotations

from aiohttp import hdrs, web

from broker.access import Permission, Principal
from broker.jsontext import encode
from broker.names import check_id, matches
from broker.settings import Settings
from broker.signals import Scope, Source, Throw
from broker.store.signals.signals import Numbered
from broker.store.subscriptions.subscriptions import SubscriptionStore
from gateway.auth import Authenticator
from gateway.camunda.dialect import ENGINE, answer, answering, caller, spellings
from gateway.camunda.errors import (
    CamundaError,
    MissingAuthorization,
    foreign_tenant,
    no_options,
    not_subscribed,
    unauthorized,
    unknown_execution,
)
from gateway.camunda.requests import SignalRequest, check_headers, parse_signal
from gateway.camunda.schemas import CamundaSignal
from gateway.dialects import read_body
from gateway.headers import THROW_HEADERS, read_key, read_traceparent
from gateway.intake import Intake, address
from gateway.routes import Route


class CamundaApi:
    """Answers Camunda 7's clients."""

    def __init__(
        self, intake: Intake, subscriptions: SubscriptionStore, auth: Authenticator, settings: Settings
    ) -> None:
        self._intake = intake
        self._subscriptions = subscriptions
        self._auth = auth
        self._settings = settings

    @property
    def routes(self) -> list[Route]:
        """What this dialect answers."""
        paths = {
            "/engine-rest/signal": "Throw a signal as in Camunda 7",
            "/engine-rest/engine/{engine}/signal": "Throw a signal to an engine as in Camunda 7",
            "/signal": "Throw a signal as in Camunda 7 by the short path",
        }
        throws = [
            Route(
                "POST",
                path,
                answering(self.throw),
                summary,
                {204: None},
                CamundaSignal,
                THROW_HEADERS,
                throws=Source.CAMUNDA,
                aliases=spellings(path),
            )
            for path, summary in paths.items()
        ]
        first, *others = paths
        return [
            *throws,
            Route("OPTIONS", first, self.options, "Refuse OPTIONS as Camunda 7 does", {}, aliases=(*others,)),
        ]

    async def options(self, _request: web.Request) -> web.Response:
        """Answer 500, and in the header what Camunda 7 leaves out: the method that is allowed."""
        error = no_options()
        return answer(error.body, error.status, {hdrs.ALLOW: "POST"})

    async def throw(self, request: web.Request) -> web.Response:
        """Answer 204 once the signal is safe (Camunda 7 REST, Throw a Signal)."""
        principal = await caller(self._auth, request)
        check_headers(request.headers.get(hdrs.CONTENT_TYPE), request.headers.get(hdrs.ACCEPT))
        body = await read_body(request, self._settings.max_body_bytes)
        wanted = parse_signal(body, engine=request.match_info.get("engine", ENGINE))
        to = address(
            principal,
            tenant_id=wanted.tenant_id,
            without_tenant_id=wanted.without_tenant_id,
            execution_id=wanted.execution_id,
        )
        throw = Throw(
            name=wanted.name,
            payload=encode(wanted.payload),
            types=wanted.types,
            scope=to.scope,
            tenant_id=to.tenant_id,
            execution_id=to.execution_id,
            audience=to.audience,
            source=Source.CAMUNDA,
            token_id=principal.token_id,
            business_key=None if wanted.business_key is None else check_id(wanted.business_key, "/businessKey"),
            traceparent=read_traceparent(request),
        )
        if not await self._is_reachable(principal, throw, wanted):
            return web.Response(status=204)
        await self._intake.accept(
            throw,
            key=read_key(request, principal, body),
            admit=lambda numbered: _admit(principal, throw, numbered),
        )
        return web.Response(status=204)

    async def _is_reachable(self, principal: Principal, throw: Throw, wanted: SignalRequest) -> bool:
        """Return whether *throw* may be thrown; refuse what Camunda refuses only if somebody would receive it.

        Naming a foreign tenant in which nobody is subscribed is no error (and reaches nobody, taps included).

        Raises:
            CamundaError: A permission is missing; or a tenant is named that is not the caller's, or a variable cannot
                be stored, and somebody would receive the signal.
        """
        allowed = throw.scope is Scope.EXECUTION or principal.may(Permission.THROW, throw.name)
        foreign = throw.tenant_id is not None and not principal.may_name_tenant(throw.tenant_id)
        if foreign or not allowed or wanted.refusal is not None:
            receivers = await self._subscriptions.receivers(throw)
            if foreign and receivers:
                raise foreign_tenant(receivers[0].spec.execution_id or str(receivers[0].id))
            if not allowed:
                executions = (receiver.spec.execution_id for receiver in receivers)
                raise _forbidden(principal, throw, next(filter(None, executions), None))
            if wanted.refusal is not None and receivers:
                raise wanted.refusal
        return not foreign


def _admit(principal: Principal, throw: Throw, numbered: Numbered) -> None:
    """Let a throw to an execution pass if it waits for the signal, and *principal* may reach it."""
    if throw.execution_id is None:
        return
    if not numbered.execution:
        raise unknown_execution(throw.execution_id)
    waiting = [tenant for name, tenant in numbered.execution if matches(name, throw.name)]
    if not waiting:
        raise not_subscribed(throw.execution_id, throw.name)
    if not all(principal.sees(tenant) for tenant in waiting):
        raise foreign_tenant(throw.execution_id)
    if not principal.may(Permission.THROW, throw.name):
        raise _forbidden(principal, throw, throw.execution_id)


def _forbidden(principal: Principal, throw: Throw, execution_id: str | None) -> CamundaError:
    """Say what is missing in Camunda's spec, where executions come before whatever a signal would start.

    An execution is a process instance, and the signal's name is in the place of the process definition: that is what
    grants are given for.
    """
    missing = [MissingAuthorization("CREATE", "ProcessInstance")]
    if execution_id is not None:
        missing = [
            MissingAuthorization("UPDATE", "ProcessInstance", execution_id),
            MissingAuthorization("UPDATE_INSTANCE", "ProcessDefinition", throw.name),
        ]
    return unauthorized(principal.name, missing)
