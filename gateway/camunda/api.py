"""Throwing signals as Camunda 7 does: ``POST /engine-rest/signal``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from aiohttp import hdrs, web

from broker.access import Permission, Principal
from broker.names import check_id, check_throwable, matches
from broker.operations.intake import Intake
from broker.operations.recipients import choose_recipients, reaches_first
from broker.settings import Settings
from broker.signals import Scope, Source, Throw
from broker.store.subscriptions.subscriptions import SubscriptionStore
from broker.subscriptions import Waiting
from gateway.bodies import read_body
from gateway.camunda.dialect import ENGINE, IN_PATH, spellings
from gateway.camunda.errors import (
    CamundaError,
    MissingAuthorization,
    foreign_tenant,
    not_subscribed,
    unauthorized,
    unknown_execution,
)
from gateway.camunda.requests import ThrowRequest, check_headers, parse_signal
from gateway.camunda.schemas import CamundaSignal
from gateway.fields import read_list
from gateway.headers import THROW_HEADERS, read_hops, read_key, read_trace
from gateway.offloading import offload
from gateway.routes import Route, SecuredRoute


class CamundaApi:
    """Answers Camunda 7's clients."""

    def __init__(self, intake: Intake, subscriptions: SubscriptionStore, settings: Settings) -> None:
        self._intake = intake
        self._subscriptions = subscriptions
        self._max_body_bytes = settings.max_body_bytes

    @property
    def routes(self) -> list[Route]:
        """The routes that throw signals."""
        paths = {
            "/engine-rest/signal": "Throw a signal as in Camunda 7",
            "/engine-rest/engine/{engine}/signal": "Throw a signal to an engine as in Camunda 7",
            "/signal": "Throw a signal as in Camunda 7 by the short path",
        }
        return [
            SecuredRoute(
                "POST",
                path,
                self.throw,
                summary,
                {204: None},
                CamundaSignal,
                THROW_HEADERS if IN_PATH.name not in path else (IN_PATH, *THROW_HEADERS),
                throws=Source.CAMUNDA,
                aliases=spellings(path),
                permissions=(Permission.THROW,),
            )
            for path, summary in paths.items()
        ]

    async def throw(self, request: web.Request, principal: Principal) -> web.Response:
        """Answer 204 once the signal is safe (Camunda 7 REST, Throw a Signal)."""
        check_headers(request.headers.get(hdrs.CONTENT_TYPE), read_list(request, hdrs.ACCEPT))
        body = await read_body(request, self._max_body_bytes)
        engine = request.match_info.get("engine", ENGINE)
        wanted = await offload(
            request, partial(parse_signal, body, engine=engine, charset=request.charset), size=len(body)
        )
        recipients = choose_recipients(
            principal,
            tenant_id=wanted.tenant_id,
            without_tenant_id=wanted.without_tenant_id,
            execution_id=wanted.execution_id,
        )
        throw = Throw(
            name=wanted.name,
            payload=wanted.payload,
            types=wanted.types,
            scope=recipients.scope,
            tenant_id=recipients.tenant_id,
            execution_id=recipients.execution_id,
            audience=recipients.audience,
            source=Source.CAMUNDA,
            token_id=principal.token_id,
            business_key=None if wanted.business_key is None else check_id(wanted.business_key, "/businessKey"),
            trace=read_trace(request),
            hops=read_hops(request),
        )
        check_throwable(throw.name)
        if not await self._is_reachable(principal, throw, wanted):
            return web.Response(status=204)
        key = read_key(request, principal, body)
        del wanted, body  # it takes many times the memory of the payload
        await self._intake.accept(
            throw,
            tenants=principal.tenants,
            key=key,
            check=partial(_check_execution, principal, throw),
        )
        return web.Response(status=204)

    async def _is_reachable(self, principal: Principal, throw: Throw, wanted: ThrowRequest) -> bool:
        """Return whether *throw* may be thrown; some errors Camunda answers only if the signal has a receiver.

        Naming a foreign tenant without subscriptions is no error (and the signal reaches no one, taps included).

        Raises:
            CamundaError: A permission is missing; or the signal has a receiver, and the caller may not name the
                tenant, or a variable cannot be stored.
        """
        allowed = throw.scope is Scope.EXECUTION or principal.may(Permission.THROW, throw.name)
        foreign = throw.tenant_id is not None and not principal.may_name_tenant(throw.tenant_id)
        if foreign or not allowed or wanted.unstorable is not None:
            receivers = await self._subscriptions.receivers(throw, most=1, in_execution=not foreign and not allowed)
            receiver = receivers[0] if receivers else None
            if foreign and receiver is not None:
                raise foreign_tenant(receiver.spec.execution_id or str(receiver.id))
            if not allowed:
                raise _forbidden(principal, throw, None if receiver is None else receiver.spec.execution_id)
            if wanted.unstorable is not None and receiver is not None:
                raise wanted.unstorable
        return not foreign


def _check_execution(principal: Principal, throw: Throw, waiting: Sequence[Waiting]) -> None:
    """Check that the execution of a throw to one waits for the signal, and that *principal* may reach it."""
    if throw.execution_id is None:
        return
    if not waiting:
        raise unknown_execution(throw.execution_id)
    if not any(matches(subscription.name, throw.name) for subscription in waiting):
        raise not_subscribed(throw.execution_id, throw.name)
    if not reaches_first(principal, waiting):
        raise foreign_tenant(throw.execution_id)
    if not principal.may(Permission.THROW, throw.name):
        raise _forbidden(principal, throw, throw.execution_id)


def _forbidden(principal: Principal, throw: Throw, execution_id: str | None) -> CamundaError:
    """Return the error with the missing permissions, in Camunda's words.

    An execution is Camunda's process instance, and the signal's name takes the place of the process definition.
    """
    missing = [MissingAuthorization("CREATE", "ProcessInstance")]
    if execution_id is not None:
        missing = [
            MissingAuthorization("UPDATE", "ProcessInstance", execution_id),
            MissingAuthorization("UPDATE_INSTANCE", "ProcessDefinition", throw.name),
        ]
    return unauthorized(principal.name, missing)
