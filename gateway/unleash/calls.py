"""``POST /api/signal-endpoint/{name}``: throwing the signal of an endpoint."""

from __future__ import annotations

import time

import structlog
from aiohttp import hdrs, web

from broker.access import Principal
from broker.endpoints import Endpoint, check_endpoint_name
from broker.errors import InvalidField
from broker.jsontext import encode
from broker.moments import show_moment
from broker.operations.intake import Accepted, Intake
from broker.settings import Settings
from broker.signals import Source, Throw
from broker.store.administration.access_cache import AccessCache
from gateway.answer_headers import RATE_LIMITS, REPLAYED, WARNING
from gateway.answers import answer
from gateway.auth import BEARER, Authenticator
from gateway.dialects import to_http_error
from gateway.headers import THROW_HEADERS, read_hops, read_key, read_trace
from gateway.http_errors import NotFound, Unauthenticated
from gateway.openapi import ENDPOINT_TOKEN
from gateway.routes import OpenRoute, Parameter, Route
from gateway.unleash.allowances import Allowances
from gateway.unleash.errors import UnknownCaller
from gateway.unleash.payloads import read_payload
from gateway.unleash.schemas import CalledSignals, EndpointPayload

_NAME = Parameter("name", "The endpoint's name.", {"type": "string", "pattern": "^[a-z0-9_-]{1,100}$"}, "path")
_CHALLENGE = {"WWW-Authenticate": BEARER}

log = structlog.get_logger()


class CallsApi:
    """Answers calls of signal endpoints."""

    def __init__(self, intake: Intake, cache: AccessCache, auth: Authenticator, settings: Settings) -> None:
        self._intake = intake
        self._cache = cache
        self._auth = auth
        limit = settings.signal_endpoint_rate_limit_per_second
        self._allowances = Allowances(limit) if limit else None

    @property
    def routes(self) -> list[Route]:
        """The routes of this part of the dialect."""
        return [
            OpenRoute(
                "POST",
                "/api/signal-endpoint/{name}",
                self.call,
                "Call a signal endpoint",
                {200: CalledSignals},
                request=EndpointPayload,
                parameters=(_NAME, *THROW_HEADERS),
                throws=Source.SIGNAL_ENDPOINT,
                credentials=ENDPOINT_TOKEN,
                may_be_bare=True,
                headers={200: (REPLAYED, WARNING)},
                further_headers=RATE_LIMITS,
            )
        ]

    async def call(self, request: web.Request) -> web.Response:
        """Answer 200 once the signal is safe. The body is its payload; without one the payload is empty."""
        caller = await self._auth.endpoint_caller(request)
        if self._allowances is None:
            return await self._throw(request, caller)
        allowance = self._allowances.take(None if caller is None else caller.endpoint_id, time.monotonic())
        try:
            allowance.check()
            response = await self._throw(request, caller)
        except Exception as error:
            error = to_http_error(request, error)
            error.headers.update(allowance.headers)
            raise error from error
        response.headers.update(allowance.headers)
        return response

    async def _throw(self, request: web.Request, caller: Principal | None) -> web.Response:
        """Throw the signal. Without a valid token no body is received, and no one learns which endpoints exist."""
        if hdrs.AUTHORIZATION not in request.headers:
            raise Unauthenticated(
                "A token of this signal endpoint is needed: Authorization: Bearer signal_...", headers=_CHALLENGE
            )
        endpoint = None if caller is None else await self._enabled(request.match_info["name"])
        if caller is None or endpoint is None or endpoint.id != caller.endpoint_id:
            raise UnknownCaller("The token is not one of this signal endpoint.", headers=_CHALLENGE)
        payload, body, warning = await read_payload(request)
        accepted = await self._intake.accept(
            Throw(
                name=endpoint.name,
                payload=payload,
                audience=endpoint.tenants,
                source=Source.SIGNAL_ENDPOINT,
                source_id=endpoint.id,
                token_id=caller.token_id,
                trace=read_trace(request),
                hops=read_hops(request),
            ),
            tenants=endpoint.tenants,
            key=read_key(request, caller, body),
        )
        response = _answer(accepted)
        if warning is not None:
            log.warning("body.ignored", endpoint=endpoint.name, signal_id=accepted.signal.id, reason=warning)
            response.headers[WARNING.name] = warning
        return response

    async def _enabled(self, name: str) -> Endpoint:
        """Return the enabled endpoint of that *name*.

        Raises:
            NotFound: There is none, or it is disabled.
        """
        try:
            endpoint = await self._cache.endpoint(check_endpoint_name(name))
        except InvalidField:
            endpoint = None
        if endpoint is None or not endpoint.enabled:
            raise NotFound(f"There is no enabled signal endpoint {name!r}.")
        return endpoint


def _answer(accepted: Accepted) -> web.Response:
    signal, throw = accepted.signal, accepted.signal.throw
    document = encode(
        {
            "id": signal.id,
            "source": throw.source.value,
            "sourceId": throw.source_id,
            "createdAt": show_moment(signal.created_at),
            "createdBySourceTokenId": throw.token_id,
        }
    )
    body = b'{"signals":[%b,"payload":%b}]}' % (document[:-1], throw.payload)
    headers = {REPLAYED.name: "true"} if accepted.replayed else {}
    return answer(body, headers=headers)
