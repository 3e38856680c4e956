"""``/api/admin/signal-endpoints``: configuring where signals come in."""

from __future__ import annotations

from aiohttp import web

from broker.access import Permission, Principal
from broker.endpoints import Endpoint, check_endpoint_name
from broker.settings import Settings
from broker.store.access import AccessStore
from broker.store.database import Conflict
from broker.store.signals import SignalStore
from gateway.auth import Authenticator, demand
from gateway.bodies import dump, parse, read_json
from gateway.documents import Document
from gateway.queries import path_id
from gateway.refusals import Conflicting, NotFound
from gateway.routes import Route
from gateway.unleash.answers import endpoint_document, token_document
from gateway.unleash.documents import (
    EndpointDocument,
    EndpointRequest,
    Endpoints,
    EndpointTokenDocument,
    EndpointTokenRequest,
    EndpointTokens,
)

_ROOT = "/api/admin/signal-endpoints"


class AdminApi:
    """Answers the administration of signal endpoints and their tokens."""

    def __init__(self, access: AccessStore, signals: SignalStore, auth: Authenticator, settings: Settings) -> None:
        self._access = access
        self._signals = signals
        self._auth = auth
        self._settings = settings

    @property
    def routes(self) -> list[Route]:
        """What this part of the dialect answers."""
        one, tokens = _ROOT + "/{id}", _ROOT + "/{id}/tokens"
        return [
            Route("GET", _ROOT, self.list, "List signal endpoints", {200: Endpoints}),
            Route("POST", _ROOT, self.create, "Create a signal endpoint", {201: EndpointDocument}, EndpointRequest),
            Route("DELETE", one, self.delete, "Delete a signal endpoint", {200: None}),
            Route("POST", one + "/on", self.enable, "Enable a signal endpoint", {200: EndpointDocument}),
            Route("POST", one + "/off", self.disable, "Disable a signal endpoint", {200: EndpointDocument}),
            Route("GET", tokens, self.list_tokens, "List an endpoint's tokens", {200: EndpointTokens}),
            Route(
                "POST",
                tokens,
                self.create_token,
                "Create an endpoint's token",
                {201: EndpointTokenDocument},
                EndpointTokenRequest,
            ),
            Route("DELETE", tokens + "/{token}", self.delete_token, "Delete an endpoint's token", {200: None}),
        ]

    async def list(self, request: web.Request) -> web.Response:
        """Answer every endpoint with what is known of its tokens."""
        await self._administrator(request)
        endpoints = await self._access.endpoints()
        tokens = await self._access.endpoint_tokens([endpoint.id for endpoint in endpoints])
        return _answer(Endpoints(signal_endpoints=[endpoint_document(endpoint, tokens) for endpoint in endpoints]))

    async def create(self, request: web.Request) -> web.Response:
        """Answer 201 with the URL that callers use."""
        principal = await self._administrator(request)
        wanted = parse(EndpointRequest, await read_json(request, self._settings.max_body_bytes))
        try:
            endpoint = await self._access.create_endpoint(
                name=check_endpoint_name(wanted.name),
                enabled=wanted.enabled,
                description=wanted.description,
                created_by=principal.name,
            )
        except Conflict as error:
            raise Conflicting(f"There is a signal endpoint {wanted.name!r} already.") from error
        url = f"{request.scheme}://{request.host}/api/signal-endpoint/{endpoint.name}"
        return _answer(endpoint_document(endpoint, (), url), status=201, location=f"{_ROOT}/{endpoint.id}")

    async def delete(self, request: web.Request) -> web.Response:
        """Delete an endpoint and its tokens; its signals stay."""
        await self._administrator(request)
        endpoint_id = path_id(request, "signal endpoint")
        if not await self._access.delete_endpoint(endpoint_id):
            raise NotFound(f"There is no signal endpoint {endpoint_id}.")
        return web.Response(status=200)

    async def enable(self, request: web.Request) -> web.Response:
        """Switch an endpoint on."""
        return await self._switch(request, enabled=True)

    async def disable(self, request: web.Request) -> web.Response:
        """Switch an endpoint off: calls of it are answered 404."""
        return await self._switch(request, enabled=False)

    async def _switch(self, request: web.Request, *, enabled: bool) -> web.Response:
        await self._administrator(request)
        endpoint_id = path_id(request, "signal endpoint")
        endpoint = await self._access.enable_endpoint(endpoint_id, enabled=enabled)
        if endpoint is None:
            raise NotFound(f"There is no signal endpoint {endpoint_id}.")
        return _answer(endpoint_document(endpoint, await self._access.endpoint_tokens([endpoint.id])))

    async def list_tokens(self, request: web.Request) -> web.Response:
        """Answer what is known of an endpoint's tokens."""
        endpoint = await self._found(request)
        tokens = await self._access.endpoint_tokens([endpoint.id])
        return _answer(EndpointTokens(signal_endpoint_tokens=[token_document(token) for token in tokens]))

    async def create_token(self, request: web.Request) -> web.Response:
        """Answer 201 with the token's value, which is shown here only."""
        endpoint = await self._found(request)
        principal = await self._administrator(request)
        wanted = parse(EndpointTokenRequest, await read_json(request, self._settings.max_body_bytes))
        try:
            token, value = await self._access.create_endpoint_token(
                endpoint.id, name=wanted.name, created_by=principal.name
            )
        except Conflict as error:
            raise Conflicting(f"The endpoint has a token {wanted.name!r} already.") from error
        return _answer(token_document(token, value), status=201, location=f"{_ROOT}/{endpoint.id}/tokens/{token.id}")

    async def delete_token(self, request: web.Request) -> web.Response:
        """Delete a token: calls with it are answered 401."""
        endpoint = await self._found(request)
        text = request.match_info["token"]
        token_id = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0
        if not await self._access.delete_endpoint_token(endpoint.id, token_id):
            raise NotFound(f"The endpoint has no token {text!r}.")
        return web.Response(status=200)

    async def _administrator(self, request: web.Request) -> Principal:
        principal = await self._auth.principal(request)
        demand(principal, Permission.ENDPOINTS)
        return principal

    async def _found(self, request: web.Request) -> Endpoint:
        await self._administrator(request)
        endpoint_id = path_id(request, "signal endpoint")
        endpoint = await self._access.endpoint(endpoint_id)
        if endpoint is None:
            raise NotFound(f"There is no signal endpoint {endpoint_id}.")
        return endpoint


def _answer(document: Document, *, status: int = 200, location: str | None = None) -> web.Response:
    headers = {} if location is None else {"Location": location}
    return web.Response(body=dump(document), status=status, headers=headers, content_type="application/json")
