"""``/api/admin/signal-endpoints/{id}/tokens``: what opens one endpoint, a token for each of its callers."""

from __future__ import annotations

from aiohttp import web

from broker.access import Permission
from broker.errors import LimitReached
from broker.settings import Settings
from broker.store.administration.endpoints import EndpointStore
from broker.store.postgres.database import Conflict
from gateway.auth import Authenticator
from gateway.http_errors import Conflicting, NotFound
from gateway.queries import path_id
from gateway.routes import Route
from gateway.unleash.admin import ENDPOINTS, admit, answer, exceeded, read_document
from gateway.unleash.answers import render_token
from gateway.unleash.endpoints import no_endpoint
from gateway.unleash.schemas import EndpointTokenRequest, EndpointTokens, EndpointTokenSchema


class EndpointTokensApi:
    """Answers the administration of endpoints' tokens."""

    def __init__(self, endpoints: EndpointStore, auth: Authenticator, settings: Settings) -> None:
        self._endpoints = endpoints
        self._auth = auth
        self._settings = settings

    @property
    def routes(self) -> list[Route]:
        """What this part of the dialect answers."""
        tokens = ENDPOINTS + "/{id}/tokens"
        one = tokens + "/{token}"
        wanted, made = EndpointTokenRequest, EndpointTokenSchema
        return [
            Route("GET", tokens, self.list, "List an endpoint's tokens", {200: EndpointTokens}),
            Route("POST", tokens, self.create, "Create an endpoint's token", {201: made}, wanted),
            Route("PUT", one, self.rename, "Rename an endpoint's token", {200: made}, wanted),
            Route("DELETE", one, self.delete, "Delete an endpoint's token", {200: None}),
        ]

    async def list(self, request: web.Request) -> web.Response:
        """Answer what is known of an endpoint's tokens."""
        await admit(request, self._auth, Permission.ENDPOINTS)
        endpoint_id = path_id(request, "signal endpoint")
        if await self._endpoints.get(endpoint_id) is None:
            raise no_endpoint(endpoint_id)
        tokens = await self._endpoints.tokens([endpoint_id])
        return answer(EndpointTokens(signal_endpoint_tokens=[render_token(token) for token in tokens]))

    async def create(self, request: web.Request) -> web.Response:
        """Answer 201 with the token's value, which is shown here only."""
        principal = await admit(request, self._auth, Permission.ENDPOINTS)
        endpoint_id = path_id(request, "signal endpoint")
        wanted = await read_document(request, EndpointTokenRequest, self._settings.max_body_bytes)
        try:
            created = await self._endpoints.create_token(
                endpoint_id,
                name=wanted.name,
                by=principal,
                most=self._settings.signal_tokens_per_endpoint_limit,
            )
        except LimitReached as error:
            raise exceeded(error) from error
        except Conflict as error:
            raise _name_exists(wanted.name) from error
        if created is None:
            raise no_endpoint(endpoint_id)
        token, value = created
        return answer(render_token(token, value), status=201, location=f"{ENDPOINTS}/{endpoint_id}/tokens/{token.id}")

    async def rename(self, request: web.Request) -> web.Response:
        """Rename a token; its value stays."""
        principal = await admit(request, self._auth, Permission.ENDPOINTS)
        endpoint_id, token_id = _ids(request)
        wanted = await read_document(request, EndpointTokenRequest, self._settings.max_body_bytes)
        try:
            token = await self._endpoints.rename_token(endpoint_id, token_id, name=wanted.name, by=principal)
        except Conflict as error:
            raise _name_exists(wanted.name) from error
        if token is None:
            raise _no_token(endpoint_id, token_id)
        return answer(render_token(token))

    async def delete(self, request: web.Request) -> web.Response:
        """Delete a token: calls with it are answered 401."""
        principal = await admit(request, self._auth, Permission.ENDPOINTS)
        endpoint_id, token_id = _ids(request)
        if not await self._endpoints.delete_token(endpoint_id, token_id, by=principal):
            raise _no_token(endpoint_id, token_id)
        return web.Response(status=200)


def _ids(request: web.Request) -> tuple[int, int]:
    return path_id(request, "signal endpoint"), path_id(request, "token", "token")


def _name_exists(name: str) -> Conflicting:
    return Conflicting(f"The signal endpoint has a token {name!r} already.")


def _no_token(endpoint_id: int, token_id: int) -> NotFound:
    return NotFound(f"There is no signal endpoint {endpoint_id} with a token {token_id}.")
