"""Correlating messages as Camunda 7 does: ``POST /engine-rest/message``."""

from __future__ import annotations

from functools import partial
from typing import Any

from aiohttp import hdrs, web

from broker.access import Permission, Principal
from broker.jsontext import read
from broker.names import check_id
from broker.operations.correlation import MOST, Correlated, Correlator, Message, Uncorrelated
from broker.operations.recipients import choose_recipients
from broker.settings import Settings
from broker.signals import Signal, Source, Throw
from broker.store.signals.correlating import Named, Receiver
from broker.variables import typed
from gateway.bodies import read_body
from gateway.camunda.dialect import ENGINE, IN_PATH, json_answer, spellings
from gateway.camunda.errors import (
    CamundaError,
    MissingAuthorization,
    correlated_with_several,
    not_correlated,
    unauthorized,
)
from gateway.camunda.message_requests import MessageRequest, parse_message
from gateway.camunda.requests import check_headers
from gateway.camunda.schemas import CamundaMessage, CorrelationResults
from gateway.fields import read_list
from gateway.headers import THROW_HEADERS, read_hops, read_key, read_trace
from gateway.offloading import offload
from gateway.routes import Route, SecuredRoute

_PATHS = {
    "/engine-rest/message": "Correlate a message as in Camunda 7",
    "/engine-rest/engine/{engine}/message": "Correlate a message with an engine as in Camunda 7",
}


class MessagesApi:
    """Correlates the messages of Camunda 7's clients."""

    def __init__(self, correlator: Correlator, settings: Settings) -> None:
        self._correlator = correlator
        self._max_body_bytes = settings.max_body_bytes

    @property
    def routes(self) -> list[Route]:
        """The routes that correlate messages."""
        return [
            SecuredRoute(
                "POST",
                path,
                self.correlate,
                summary,
                {200: CorrelationResults, 204: None},
                CamundaMessage,
                THROW_HEADERS if IN_PATH.name not in path else (IN_PATH, *THROW_HEADERS),
                throws=Source.CAMUNDA,
                aliases=spellings(path),
                permissions=(Permission.THROW,),
            )
            for path, summary in _PATHS.items()
        ]

    async def correlate(self, request: web.Request, principal: Principal) -> web.Response:
        """Answer once the message is recorded, for exactly one subscription or for all (Camunda 7 REST, Correlate).

        Answer 204, or 200 with what it was correlated with if the caller wants to know.
        """
        check_headers(request.headers.get(hdrs.CONTENT_TYPE), read_list(request, hdrs.ACCEPT))
        body = await read_body(request, self._max_body_bytes)
        engine = request.match_info.get("engine", ENGINE)
        wanted = await offload(
            request, partial(parse_message, body, engine=engine, charset=request.charset), size=len(body)
        )
        message = _message(wanted, request, principal)
        if not principal.may(Permission.THROW, wanted.name):
            raise unauthorized(principal.name, [MissingAuthorization("CREATE", "ProcessInstance")])
        if wanted.tenant_id is not None and not principal.may_name_tenant(wanted.tenant_id):
            return _uncorrelated(wanted, Uncorrelated(0, in_execution=True))
        try:
            correlated = await self._correlator.correlate(message, by=principal, key=read_key(request, principal, body))
        except Uncorrelated as error:
            return _uncorrelated(wanted, error)
        if not wanted.shows_result:
            return web.Response(status=204)
        return json_answer(await offload(request, partial(_results, wanted, correlated), size=len(body)))


def _message(wanted: MessageRequest, request: web.Request, principal: Principal) -> Message:
    """Return *wanted* as a message.

    Raises:
        InvalidField: A name or an id is invalid.
    """
    recipients = choose_recipients(principal, tenant_id=wanted.tenant_id, without_tenant_id=wanted.without_tenant_id)
    business_key = None if wanted.business_key is None else check_id(wanted.business_key, "/businessKey")
    throw = Throw(
        name=wanted.name,
        payload=wanted.payload,
        types=wanted.types,
        scope=recipients.scope,
        tenant_id=recipients.tenant_id,
        audience=recipients.audience,
        source=Source.CAMUNDA,
        token_id=principal.token_id,
        business_key=business_key,
        trace=read_trace(request),
        hops=read_hops(request),
    )
    execution = wanted.execution_id
    named = Named(
        in_execution=True,
        execution_id=None if execution is None else check_id(execution, "/processInstanceId"),
        business_key=business_key,
        keys=wanted.keys,
    )
    return Message(throw=throw, named=named, everywhere=wanted.everywhere)


def _uncorrelated(wanted: MessageRequest, error: Uncorrelated) -> web.Response:
    """Answer a message that was not correlated: one for all may be for none.

    Raises:
        CamundaError: It was for exactly one.
    """
    if not error.count and wanted.everywhere:
        return json_answer([]) if wanted.shows_result else web.Response(status=204)
    raise _mismatch(wanted, error)


def _mismatch(wanted: MessageRequest, error: Uncorrelated) -> CamundaError:
    if not error.count:
        return not_correlated(wanted.name)
    count = str(error.count) if error.count <= MOST else f"More than {MOST}"
    return correlated_with_several(wanted.name, count, wanted.criteria, in_execution=error.in_execution)


def _results(wanted: MessageRequest, correlated: Correlated) -> list[dict[str, Any]]:
    signal = correlated.accepted.signal
    further: dict[str, Any] = {}
    if wanted.shows_variables:
        payload = wanted.payload
        further["variables"] = typed(read(payload.decode()), wanted.types, payload)
    return [{**_result(signal, receiver), **further} for receiver in correlated.receivers]


def _result(signal: Signal, receiver: Receiver) -> dict[str, Any]:
    """Return what *signal* was correlated with; what waited in no execution is known by the delivery that it got."""
    if receiver.execution_id is not None:
        execution = {
            "id": receiver.execution_id,
            "processInstanceId": receiver.execution_id,
            "ended": False,
            "tenantId": receiver.tenant_id,
        }
        return {"resultType": "Execution", "execution": execution, "processInstance": None}
    instance: dict[str, Any] = {
        "links": [],
        "id": f"{signal.id}-{receiver.id}",
        "definitionId": None,
        "definitionKey": None,
        "businessKey": signal.throw.business_key,
        "caseInstanceId": None,
        "ended": False,
        "suspended": False,
        "tenantId": receiver.tenant_id,
    }
    return {"resultType": "ProcessDefinition", "execution": None, "processInstance": instance}
