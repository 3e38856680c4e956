"""``POST /api/signal-endpoint/{name}``: throwing the signal that the endpoint stands for."""

from __future__ import annotations

from urllib.parse import parse_qsl

from aiohttp import web

from broker.endpoints import Endpoint, check_endpoint_name
from broker.errors import InvalidField
from broker.jsontext import encode, read
from broker.signals import Source, Throw
from broker.store.access import AccessCache
from gateway.auth import Authenticator
from gateway.dialects import read_body
from gateway.headers import THROW_HEADERS, read_key, read_traceparent
from gateway.intake import Intake
from gateway.refusals import BadRequest, NotFound, Unauthenticated
from gateway.routes import Route
from gateway.unleash.documents import CalledSignals

BODY_LIMIT = 100 * 1024


class CallsApi:
    """Answers calls of signal endpoints."""

    def __init__(self, intake: Intake, cache: AccessCache, auth: Authenticator) -> None:
        self._intake = intake
        self._cache = cache
        self._auth = auth

    @property
    def routes(self) -> list[Route]:
        """What this part of the dialect answers."""
        return [
            Route(
                "POST",
                "/api/signal-endpoint/{name}",
                self.call,
                "Call a signal endpoint",
                {200: CalledSignals},
                parameters=THROW_HEADERS,
                throws=Source.SIGNAL_ENDPOINT,
            )
        ]

    async def call(self, request: web.Request) -> web.Response:
        """Answer 200 once the signal is safe. The body is its payload; without one the payload is empty."""
        body = await read_body(request, BODY_LIMIT)
        payload = read_payload(request.content_type if "Content-Type" in request.headers else "", body)
        caller = await self._auth.caller(request)
        if caller is None or caller.endpoint_id is None:
            raise Unauthenticated("A token of this signal endpoint is needed: Authorization: Bearer signal_...")
        endpoint = await self._enabled(request.match_info["name"])
        if endpoint.id != caller.endpoint_id:
            raise Unauthenticated("The token belongs to another signal endpoint.")
        accepted = await self._intake.accept(
            Throw(
                name=endpoint.name,
                payload=payload,
                source=Source.SIGNAL_ENDPOINT,
                source_id=endpoint.id,
                token_id=caller.principal.token_id,
                traceparent=read_traceparent(request),
            ),
            key=read_key(request, caller.principal, body),
        )
        signal = encode(
            {
                "id": accepted.signal.id,
                "source": Source.SIGNAL_ENDPOINT.value,
                "sourceId": endpoint.id,
                "createdAt": accepted.signal.created_at.isoformat(),
                "createdBySourceTokenId": caller.principal.token_id,
            }
        )
        answer = b'{"signals":[%b,"payload":%b}]}' % (signal[:-1], payload)
        return web.Response(body=answer, content_type="application/json")

    async def _enabled(self, name: str) -> Endpoint:
        """Return the endpoint of that *name*; callers had to show a token before, so that names cannot be probed."""
        try:
            endpoint = await self._cache.endpoint(check_endpoint_name(name))
        except InvalidField:
            endpoint = None
        if endpoint is None or not endpoint.enabled:
            raise NotFound(f"There is no enabled signal endpoint {name!r}.")
        return endpoint


def read_payload(content_type: str, body: bytes) -> bytes:
    """Return the payload in *body*: JSON and forms are read, any other content is ignored, as in the original.

    Raises:
        BadRequest: It is malformed, or no JSON object.
    """
    if not body:
        return b"{}"
    if content_type == "application/x-www-form-urlencoded":
        return encode(dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True)))
    if content_type != "application/json":
        return b"{}"
    try:
        value = read(body.decode().removeprefix("\ufeff"))
    except ValueError as error:
        raise BadRequest(f"The body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise BadRequest("The payload of a signal must be a JSON object.")
    return body.removeprefix(b"\xef\xbb\xbf")
