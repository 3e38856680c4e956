"""``/api/admin/signal-endpoints/{id}/tokens``: the tokens of an endpoint, one for each of its callers."""

from __future__ import annotations

from datetime import timedelta

from aiohttp import web

from broker.access import Permission, Principal
from broker.errors import CredentialsEnded, LimitReached
from broker.operations.access import check_expiry
from broker.operations.answers import render_endpoint_token
from broker.schemas.access import TokenRotation
from broker.schemas.endpoints import EndpointTokenRequest, EndpointTokenSchema, NewEndpointToken
from broker.settings import Settings
from broker.store.administration.endpoints import EndpointStore, may_manage
from broker.store.postgres.database import Conflict
from gateway.answer_headers import LOCATION
from gateway.answers import answer, created
from gateway.http_errors import Conflicting, NotFound
from gateway.paths import path_id
from gateway.routes import Route, SecuredRoute
from gateway.unleash.admin import ENDPOINTS, limit_exceeded, read_strictly
from gateway.unleash.endpoints import no_endpoint
from gateway.unleash.errors import NameExists
from gateway.unleash.schemas import EndpointTokens


class EndpointTokensApi:
    """Lists, creates, renames, rotates and deletes the tokens of endpoints."""

    def __init__(self, endpoints: EndpointStore, settings: Settings) -> None:
        self._endpoints = endpoints
        self._settings = settings

    @property
    def routes(self) -> list[Route]:
        """The routes of this part of the dialect."""
        tokens = ENDPOINTS + "/{id}/tokens"
        one = tokens + "/{token}"
        wanted, made, needed = EndpointTokenRequest, EndpointTokenSchema, (Permission.ENDPOINTS,)
        return [
            SecuredRoute(
                "GET", tokens, self.list, "List an endpoint's tokens", {200: EndpointTokens}, permissions=needed
            ),
            SecuredRoute(
                "POST",
                tokens,
                self.create,
                "Create an endpoint's token",
                {201: made},
                NewEndpointToken,
                permissions=(*needed, Permission.THROW),
                refusals=(409,),
                headers={201: (LOCATION,)},
            ),
            SecuredRoute(
                "POST",
                one + "/rotate",
                self.rotate,
                "Rotate an endpoint's token",
                {200: made},
                TokenRotation,
                permissions=(*needed, Permission.THROW),
                refusals=(409,),
            ),
            SecuredRoute(
                "PUT",
                one,
                self.rename,
                "Rename an endpoint's token",
                {200: made},
                wanted,
                permissions=needed,
                refusals=(409,),
            ),
            SecuredRoute("DELETE", one, self.delete, "Delete an endpoint's token", {200: None}, permissions=needed),
        ]

    async def list(self, request: web.Request, principal: Principal) -> web.Response:
        """Answer an endpoint's tokens, without their values."""
        endpoint_id = path_id(request, "signal endpoint")
        endpoint = await self._endpoints.get(endpoint_id)
        if endpoint is None or not may_manage(principal, endpoint):
            raise no_endpoint(endpoint_id)
        tokens = await self._endpoints.tokens([endpoint_id])
        return answer(EndpointTokens(signal_endpoint_tokens=[render_endpoint_token(token) for token in tokens]))

    async def create(self, request: web.Request, principal: Principal) -> web.Response:
        """Answer 201 with the token's value, which only this answer shows."""
        endpoint_id = path_id(request, "signal endpoint")
        wanted = await read_strictly(request, NewEndpointToken)
        try:
            token_and_value = await self._endpoints.create_token(
                endpoint_id,
                name=wanted.name,
                expires_at=check_expiry(wanted.expires_at),
                by=principal,
                most=self._settings.signal_tokens_per_endpoint_limit,
            )
        except LimitReached as error:
            raise limit_exceeded(error) from error
        except Conflict as error:
            raise _name_exists(wanted.name) from error
        if token_and_value is None:
            raise no_endpoint(endpoint_id)
        token, value = token_and_value
        return created(render_endpoint_token(token, value), f"{ENDPOINTS}/{endpoint_id}/tokens/{token.id}")

    async def rename(self, request: web.Request, principal: Principal) -> web.Response:
        """Rename a token; its value stays."""
        endpoint_id, token_id = _ids(request)
        wanted = await read_strictly(request, EndpointTokenRequest)
        try:
            token = await self._endpoints.rename_token(endpoint_id, token_id, name=wanted.name, by=principal)
        except Conflict as error:
            raise _name_exists(wanted.name) from error
        if token is None:
            raise _no_token(endpoint_id, token_id)
        return answer(render_endpoint_token(token))

    async def rotate(self, request: web.Request, principal: Principal) -> web.Response:
        """Answer the token with another value, which only this answer shows; the earlier one is good for a while.

        409 if the token has expired. When it expires stays the same.
        """
        endpoint_id, token_id = _ids(request)
        wanted = await read_strictly(request, TokenRotation) if request.body_exists else TokenRotation()
        try:
            rotated = await self._endpoints.rotate_token(
                endpoint_id, token_id, overlap=timedelta(seconds=wanted.overlap_seconds), by=principal
            )
        except CredentialsEnded as error:
            raise Conflicting(str(error)) from None
        if rotated is None:
            raise _no_token(endpoint_id, token_id)
        return answer(render_endpoint_token(*rotated))

    async def delete(self, request: web.Request, principal: Principal) -> web.Response:
        """Delete a token: calls with it are answered 401."""
        endpoint_id, token_id = _ids(request)
        if not await self._endpoints.delete_token(endpoint_id, token_id, by=principal):
            raise _no_token(endpoint_id, token_id)
        return web.Response(status=200)


def _ids(request: web.Request) -> tuple[int, int]:
    return path_id(request, "signal endpoint"), path_id(request, "token", "token")


def _name_exists(name: str) -> NameExists:
    return NameExists(f"The signal endpoint has a token {name!r} already.")


def _no_token(endpoint_id: int, token_id: int) -> NotFound:
    return NotFound(f"There is no signal endpoint {endpoint_id} with a token {token_id}.")
