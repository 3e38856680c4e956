"""``/v1/tokens``: API tokens."""

from __future__ import annotations

from datetime import timedelta

from aiohttp import web

from broker.access import Permission, Principal
from broker.errors import CredentialsEnded
from broker.operations.access import create_token
from broker.operations.answers import render_token
from broker.schemas.access import TokenPage, TokenRequest, TokenRotation, TokenSchema
from broker.store.administration.tokens import AccessStore
from gateway.answer_headers import LOCATION
from gateway.answers import answer, created
from gateway.bodies import read_document
from gateway.http_errors import Conflicting, NotFound
from gateway.native.queries import AFTER_ID, LIMIT, integer, limit, next_of
from gateway.paths import path_id
from gateway.routes import Route, SecuredRoute


class TokensApi:
    """Creates, lists, shows, rotates and revokes API tokens."""

    def __init__(self, access: AccessStore) -> None:
        self._access = access

    @property
    def routes(self) -> list[Route]:
        """The routes of this part of the API."""
        every, one = "/v1/tokens", "/v1/tokens/{id}"
        needed = (Permission.ADMIN,)
        return [
            SecuredRoute(
                "POST",
                every,
                self.create,
                "Create an API token",
                {201: TokenSchema},
                TokenRequest,
                permissions=needed,
                headers={201: (LOCATION,)},
            ),
            SecuredRoute(
                "GET",
                every,
                self.list,
                "List API tokens",
                {200: TokenPage},
                parameters=(AFTER_ID, LIMIT),
                permissions=needed,
            ),
            SecuredRoute("GET", one, self.get, "Show an API token", {200: TokenSchema}, permissions=needed),
            SecuredRoute(
                "POST",
                one + "/rotate",
                self.rotate,
                "Rotate an API token",
                {200: TokenSchema},
                TokenRotation,
                permissions=needed,
                refusals=(409,),
            ),
            SecuredRoute("DELETE", one, self.revoke, "Revoke an API token", {204: None}, permissions=needed),
        ]

    async def create(self, request: web.Request, principal: Principal) -> web.Response:
        """Answer 201 with the token's value, which only this answer shows."""
        token, value = await create_token(self._access, await read_document(request, TokenRequest), by=principal)
        return created(render_token(token, value), f"/v1/tokens/{token.id}")

    async def list(self, request: web.Request, principal: Principal) -> web.Response:
        """Answer a page of the API tokens that reach no further than the caller. Expired ones stay until revoked."""
        page = await self._access.tokens(after_id=integer(request, "afterId", 0), limit=limit(request), by=principal)
        return answer(TokenPage(items=[render_token(token) for token in page.items], next=next_of(page.next)))

    async def get(self, request: web.Request, principal: Principal) -> web.Response:
        """Answer one API token, without its value."""
        token_id = path_id(request, "token")
        token = await self._access.token(token_id, by=principal)
        if token is None:
            raise _missing(token_id)
        return answer(render_token(token))

    async def rotate(self, request: web.Request, principal: Principal) -> web.Response:
        """Answer the token with another value, which only this answer shows; the earlier one is good for a while.

        409 if the token has expired. When it expires stays the same.
        """
        token_id = path_id(request, "token")
        wanted = await read_document(request, TokenRotation, optional=True)
        try:
            rotated = await self._access.rotate_token(
                token_id, overlap=timedelta(seconds=wanted.overlap_seconds), by=principal
            )
        except CredentialsEnded as error:
            raise Conflicting(str(error)) from None
        if rotated is None:
            raise _missing(token_id)
        return answer(render_token(*rotated))

    async def revoke(self, request: web.Request, principal: Principal) -> web.Response:
        """Revoke an API token."""
        token_id = path_id(request, "token")
        if not await self._access.revoke_token(token_id, by=principal):
            raise _missing(token_id)
        return web.Response(status=204)


def _missing(token_id: int) -> NotFound:
    return NotFound(f"There is no token {token_id}.")
