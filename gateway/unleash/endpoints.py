"""``/api/admin/signal-endpoints``: administration of signal endpoints."""

from __future__ import annotations

from aiohttp import web

from broker.access import Permission, Principal, require_permission
from broker.endpoints import Endpoint, check_endpoint_name
from broker.errors import LimitReached
from broker.operations.answers import render_endpoint
from broker.schemas.endpoints import EndpointRequest, EndpointSchema
from broker.settings import Settings
from broker.store.administration.endpoints import EndpointStore
from broker.store.postgres.database import Conflict
from gateway.answer_headers import LOCATION
from gateway.answers import answer, created
from gateway.forwarding import public_url
from gateway.http_errors import NotFound
from gateway.paths import path_id
from gateway.routes import Route, SecuredRoute
from gateway.unleash.admin import ENDPOINTS, limit_exceeded, read_strictly
from gateway.unleash.errors import NameExists
from gateway.unleash.schemas import Endpoints


class EndpointsApi:
    """Lists, creates, updates, enables, disables and deletes signal endpoints."""

    def __init__(self, endpoints: EndpointStore, settings: Settings) -> None:
        self._endpoints = endpoints
        self._settings = settings

    @property
    def routes(self) -> list[Route]:
        """The routes of this part of the dialect."""
        one = ENDPOINTS + "/{id}"
        shown, wanted, needed = {200: EndpointSchema}, EndpointRequest, (Permission.ENDPOINTS,)
        made, throwing = {201: EndpointSchema}, (*needed, Permission.THROW)
        return [
            SecuredRoute("GET", ENDPOINTS, self.list, "List signal endpoints", {200: Endpoints}, permissions=needed),
            SecuredRoute(
                "POST",
                ENDPOINTS,
                self.create,
                "Create a signal endpoint",
                made,
                wanted,
                permissions=throwing,
                refusals=(409,),
                headers={201: (LOCATION,)},
            ),
            SecuredRoute(
                "PUT",
                one,
                self.update,
                "Update a signal endpoint",
                shown,
                wanted,
                permissions=throwing,
                refusals=(409,),
            ),
            SecuredRoute("DELETE", one, self.delete, "Delete a signal endpoint", {200: None}, permissions=needed),
            SecuredRoute("POST", one + "/on", self.enable, "Enable a signal endpoint", shown, permissions=throwing),
            SecuredRoute("POST", one + "/off", self.disable, "Disable a signal endpoint", shown, permissions=needed),
        ]

    async def list(self, _request: web.Request, principal: Principal) -> web.Response:
        """Answer every endpoint that the caller manages with its tokens, without their values."""
        endpoints = await self._endpoints.all(by=principal)
        tokens = await self._endpoints.tokens([endpoint.id for endpoint in endpoints])
        return answer(Endpoints(signal_endpoints=[render_endpoint(endpoint, tokens) for endpoint in endpoints]))

    async def create(self, request: web.Request, principal: Principal) -> web.Response:
        """Answer 201 with the URL that callers use. The endpoint's signals reach no one whom the caller does not."""
        wanted = await read_strictly(request, EndpointRequest)
        require_permission(principal, Permission.THROW, check_endpoint_name(wanted.name))
        try:
            endpoint = await self._endpoints.create(
                name=wanted.name,
                enabled=wanted.enabled,
                description=wanted.description,
                by=principal,
                most=self._settings.signal_endpoints_limit,
            )
        except LimitReached as error:
            raise limit_exceeded(error) from error
        except Conflict as error:
            raise _name_exists(wanted.name) from error
        return created(render_endpoint(endpoint, (), _url(request, endpoint)), f"{ENDPOINTS}/{endpoint.id}")

    async def update(self, request: web.Request, principal: Principal) -> web.Response:
        """Replace an endpoint's name, state and description. A new name changes the URL that callers use."""
        endpoint_id = path_id(request, "signal endpoint")
        wanted = await read_strictly(request, EndpointRequest)
        require_permission(principal, Permission.THROW, check_endpoint_name(wanted.name))
        try:
            endpoint = await self._endpoints.update(
                endpoint_id,
                name=wanted.name,
                enabled=wanted.enabled,
                description=wanted.description,
                by=principal,
            )
        except Conflict as error:
            raise _name_exists(wanted.name) from error
        if endpoint is None:
            raise no_endpoint(endpoint_id)
        tokens = await self._endpoints.tokens([endpoint_id])
        return answer(render_endpoint(endpoint, tokens, _url(request, endpoint)))

    async def delete(self, request: web.Request, principal: Principal) -> web.Response:
        """Delete an endpoint and its tokens; its signals stay."""
        endpoint_id = path_id(request, "signal endpoint")
        if not await self._endpoints.delete(endpoint_id, by=principal):
            raise no_endpoint(endpoint_id)
        return web.Response(status=200)

    async def enable(self, request: web.Request, principal: Principal) -> web.Response:
        """Switch an endpoint on."""
        return await self._switch(request, principal, enabled=True)

    async def disable(self, request: web.Request, principal: Principal) -> web.Response:
        """Switch an endpoint off: calls of it are answered 404."""
        return await self._switch(request, principal, enabled=False)

    async def _switch(self, request: web.Request, principal: Principal, *, enabled: bool) -> web.Response:
        endpoint_id = path_id(request, "signal endpoint")
        endpoint = await self._endpoints.enable(endpoint_id, enabled=enabled, by=principal)
        if endpoint is None:
            raise no_endpoint(endpoint_id)
        return answer(render_endpoint(endpoint, await self._endpoints.tokens([endpoint_id])))


def no_endpoint(endpoint_id: int) -> NotFound:
    """Return the error about an endpoint that does not exist."""
    return NotFound(f"There is no signal endpoint {endpoint_id}.")


def _name_exists(name: str) -> NameExists:
    return NameExists(f"There is a signal endpoint {name!r} already.")


def _url(request: web.Request, endpoint: Endpoint) -> str:
    return public_url(request, f"/api/signal-endpoint/{endpoint.name}")
