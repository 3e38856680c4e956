"""``/v1/tokens``: what opens the gateway."""

from __future__ import annotations

from aiohttp import web

from broker.access import Permission
from broker.settings import Settings
from broker.store.administration.tokens import AccessStore
from gateway.auth import Authenticator, demand
from gateway.bodies import dump, parse, read_json
from gateway.http_errors import NotFound
from gateway.native.answers import render_token
from gateway.native.requests import checked_token
from gateway.queries import AFTER_ID, LIMIT, integer, limit, path_id
from gateway.routes import Route
from gateway.schemas.access import TokenPage, TokenRequest, TokenSchema


class TokensApi:
    """Creates, lists, shows and revokes API tokens. For administrators."""

    def __init__(self, access: AccessStore, auth: Authenticator, settings: Settings) -> None:
        self._access = access
        self._auth = auth
        self._settings = settings

    @property
    def routes(self) -> list[Route]:
        """What this part of the API answers."""
        return [
            Route("POST", "/v1/tokens", self.create, "Create an API token", {201: TokenSchema}, TokenRequest),
            Route(
                "GET",
                "/v1/tokens",
                self.list,
                "List API tokens",
                {200: TokenPage},
                parameters=(AFTER_ID, LIMIT),
            ),
            Route("GET", "/v1/tokens/{id}", self.get, "Show an API token", {200: TokenSchema}),
            Route("DELETE", "/v1/tokens/{id}", self.revoke, "Revoke an API token", {204: None}),
        ]

    async def create(self, request: web.Request) -> web.Response:
        """Answer 201 with the token's value, which is shown here only."""
        principal = await self._auth.principal(request)
        demand(principal, Permission.ADMIN)
        wanted = checked_token(parse(TokenRequest, await read_json(request, self._settings.max_body_bytes)))
        token, value = await self._access.create_token(
            name=wanted.name,
            permissions=[Permission(permission) for permission in wanted.permissions],
            names=wanted.names,
            tenants=wanted.tenants,
            by=principal,
        )
        return web.Response(
            body=dump(render_token(token, value)),
            status=201,
            headers={"Location": f"/v1/tokens/{token.id}"},
            content_type="application/json",
        )

    async def list(self, request: web.Request) -> web.Response:
        """Answer a page of the valid API tokens."""
        demand(await self._auth.principal(request), Permission.ADMIN)
        size = limit(request)
        tokens = await self._access.tokens(after_id=integer(request, "afterId", 0), limit=size)
        page = TokenPage(
            items=[render_token(token) for token in tokens], next=str(tokens[-1].id) if len(tokens) == size else None
        )
        return web.Response(body=dump(page), content_type="application/json")

    async def get(self, request: web.Request) -> web.Response:
        """Answer one API token, without its value."""
        demand(await self._auth.principal(request), Permission.ADMIN)
        token_id = path_id(request, "token")
        token = await self._access.token(token_id)
        if token is None:
            raise NotFound(f"There is no token {token_id}.")
        return web.Response(body=dump(render_token(token)), content_type="application/json")

    async def revoke(self, request: web.Request) -> web.Response:
        """Revoke an API token."""
        principal = await self._auth.principal(request)
        demand(principal, Permission.ADMIN)
        token_id = path_id(request, "token")
        if not await self._access.revoke_token(token_id, by=principal):
            raise NotFound(f"There is no token {token_id}.")
        return web.Response(status=204)
