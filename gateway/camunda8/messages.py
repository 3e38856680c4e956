"""Camunda 8's REST API for messages: ``POST /v2/messages/correlation`` and ``/v2/messages/publication``."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import timedelta
from functools import partial

from aiohttp import web

from broker.access import Permission, Principal, require_permission
from broker.errors import InvalidField
from broker.jsontext import encode
from broker.names import check_id
from broker.operations.correlation import Correlator, Message, Uncorrelated
from broker.operations.recipients import choose_recipients
from broker.signals import Source, Throw
from broker.store.signals.buffering import BufferFull, IdTaken, UniqueId
from broker.store.signals.correlating import Named
from gateway.answers import answer
from gateway.bodies import read_json
from gateway.camunda8.problems import AlreadyPublished, NotCorrelated
from gateway.camunda8.reading import parse_throw, read_tenant, require_assignment
from gateway.camunda8.schemas import (
    DEFAULT_TENANT,
    LONGEST_TIME_TO_LIVE,
    MessageCorrelation,
    MessageCorrelationResult,
    MessagePublication,
    MessagePublicationResult,
)
from gateway.headers import THROW_HEADERS, read_hops, read_key, read_trace
from gateway.http_errors import BadRequest, Busy
from gateway.offloading import offload
from gateway.routes import Route, SecuredRoute

_RETRY_AFTER = 10
"""Seconds after which a message is published again for which there was no room."""


class MessagesApi:
    """Correlates and publishes the messages of Camunda 8's clients."""

    def __init__(self, correlator: Correlator) -> None:
        self._correlator = correlator

    @property
    def routes(self) -> list[Route]:
        """The routes for messages."""
        return [
            SecuredRoute(
                "POST",
                "/v2/messages/correlation",
                self.correlate,
                "Correlate a message as in Camunda 8",
                {200: MessageCorrelationResult},
                MessageCorrelation,
                THROW_HEADERS,
                throws=Source.CAMUNDA,
                permissions=(Permission.THROW,),
                refusals=(404,),
            ),
            SecuredRoute(
                "POST",
                "/v2/messages/publication",
                self.publish,
                "Publish a message as in Camunda 8",
                {200: MessagePublicationResult},
                MessagePublication,
                THROW_HEADERS,
                throws=Source.CAMUNDA,
                permissions=(Permission.THROW,),
            ),
        ]

    async def correlate(self, request: web.Request, principal: Principal) -> web.Response:
        """Answer 200 once the message is recorded for the one that waits longest (Camunda 8, Correlate message)."""
        body = await read_json(request)
        wanted, payload = await offload(request, partial(parse_throw, MessageCorrelation, body), size=len(body))
        if not (wanted.name or "").strip():
            raise BadRequest("No messageName provided.")
        message = _message(wanted, payload, request, principal, to="correlate message")
        try:
            correlated = await self._correlator.correlate(message, by=principal, key=read_key(request, principal, body))
        except Uncorrelated:
            raise NotCorrelated(
                "Command 'CORRELATE' rejected with code 'NOT_FOUND': Expected to find subscription for message with"
                f" name '{wanted.name}' and correlation key '{wanted.correlation_key or ''}', but none was found."
            ) from None
        (receiver,) = correlated.receivers
        return answer(
            MessageCorrelationResult(
                message_key=str(correlated.accepted.signal.id),
                tenant_id=message.throw.tenant_id or DEFAULT_TENANT,
                process_instance_key=str(receiver.id),
            )
        )

    async def publish(self, request: web.Request, principal: Principal) -> web.Response:
        """Answer 200 once the message is recorded, or buffered for its time to live (Camunda 8 REST, Publish message).

        Without a time to live, it is for whoever waits now, or for nobody.
        """
        body = await read_json(request)
        wanted, payload = await offload(request, partial(parse_throw, MessagePublication, body), size=len(body))
        if not (wanted.name or "").strip():
            raise BadRequest("No name provided.")
        check_id(wanted.message_id or "", "/messageId")
        time_to_live = timedelta(milliseconds=_read_time_to_live(wanted))
        message = replace(
            _message(wanted, payload, request, principal, to="publish message"),
            optional=not time_to_live,
            time_to_live=time_to_live or None,
            unique=UniqueId(_digest(wanted), time_to_live) if wanted.message_id else None,
        )
        try:
            correlated = await self._correlator.correlate(message, by=principal, key=read_key(request, principal, body))
        except IdTaken:
            raise AlreadyPublished(
                "Command 'PUBLISH' rejected with code 'ALREADY_EXISTS': Expected to publish a new message with id"
                f" '{wanted.message_id}', but a message with that id was already published"
            ) from None
        except BufferFull:
            raise Busy(
                f"Nothing waits for a message with name '{wanted.name}' and correlation key"
                f" '{wanted.correlation_key or ''}' now, and no more messages are buffered for tenant"
                f" '{message.throw.tenant_id or DEFAULT_TENANT}': publish it again.",
                retry_after=_RETRY_AFTER,
            ) from None
        return answer(
            MessagePublicationResult(
                message_key=str(correlated.accepted.signal.id),
                tenant_id=message.throw.tenant_id or DEFAULT_TENANT,
            )
        )


def _message(
    wanted: MessageCorrelation,
    payload: bytes,
    request: web.Request,
    principal: Principal,
    *,
    to: str,
) -> Message:
    """Return *wanted* as a message of *principal*; *to* says what it wants to do.

    Raises:
        PermissionDenied, Forbidden: It may not.
        InvalidField: The name, the key or the tenant is invalid.
    """
    name, key = wanted.name or "", check_id(wanted.correlation_key or "", "/correlationKey")
    require_permission(principal, Permission.THROW, name)
    tenant_id = read_tenant(wanted.tenant_id)
    require_assignment(principal, tenant_id, to=to)
    recipients = choose_recipients(principal, tenant_id=tenant_id, without_tenant_id=tenant_id is None)
    throw = Throw(
        name=name,
        payload=payload,
        scope=recipients.scope,
        tenant_id=recipients.tenant_id,
        source=Source.CAMUNDA,
        token_id=principal.token_id,
        business_key=key or None,
        trace=read_trace(request),
        hops=read_hops(request),
    )
    return Message(throw=throw, named=Named(in_execution=True, business_key=key), first=True)


def _read_time_to_live(wanted: MessagePublication) -> int:
    """Return the time to live in milliseconds.

    Raises:
        InvalidField: It is too long.
    """
    time_to_live = wanted.time_to_live or 0
    if time_to_live > LONGEST_TIME_TO_LIVE:
        raise InvalidField("/timeToLive", f"must be at most {LONGEST_TIME_TO_LIVE} ms, which are 30 days")
    return time_to_live


def _digest(wanted: MessagePublication) -> bytes:
    """Return what stands for the id of a message, which counts for its name, its correlation key and its tenant."""
    of = [wanted.message_id, wanted.name, wanted.correlation_key or "", wanted.tenant_id or DEFAULT_TENANT]
    return hashlib.sha256(encode(of)).digest()
