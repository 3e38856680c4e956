"""``/api/admin/signal-endpoints``: configuring where signals come in."""

from __future__ import annotations

from aiohttp import web

from broker.access import Permission
from broker.endpoints import Endpoint, check_endpoint_name
from broker.errors import LimitReached
from broker.settings import Settings
from broker.store.administration.endpoints import EndpointStore
from broker.store.postgres.database import Conflict
from gateway.auth import Authenticator
from gateway.http_errors import Conflicting, NotFound
from gateway.queries import path_id
from gateway.routes import Route
from gateway.unleash.admin import ENDPOINTS, admit, answer, exceeded, read_document
from gateway.unleash.answers import render_endpoint
from gateway.unleash.schemas import EndpointRequest, Endpoints, EndpointSchema


class EndpointsApi:
    """Answers the administration of signal endpoints."""

    def __init__(self, endpoints: EndpointStore, auth: Authenticator, settings: Settings) -> None:
        self._endpoints = endpoints
        self._auth = auth
        self._settings = settings

    @property
    def routes(self) -> list[Route]:
        """What this part of the dialect answers."""
        one = ENDPOINTS + "/{id}"
        return [
            Route("GET", ENDPOINTS, self.list, "List signal endpoints", {200: Endpoints}),
            Route("POST", ENDPOINTS, self.create, "Create a signal endpoint", {201: EndpointSchema}, EndpointRequest),
            Route("PUT", one, self.update, "Update a signal endpoint", {200: EndpointSchema}, EndpointRequest),
            Route("DELETE", one, self.delete, "Delete a signal endpoint", {200: None}),
            Route("POST", one + "/on", self.enable, "Enable a signal endpoint", {200: EndpointSchema}),
            Route("POST", one + "/off", self.disable, "Disable a signal endpoint", {200: EndpointSchema}),
        ]

    async def list(self, request: web.Request) -> web.Response:
        """Answer every endpoint with what is known of its tokens."""
        await admit(request, self._auth, Permission.ENDPOINTS)
        endpoints = await self._endpoints.all()
        tokens = await self._endpoints.tokens([endpoint.id for endpoint in endpoints])
        return answer(Endpoints(signal_endpoints=[render_endpoint(endpoint, tokens) for endpoint in endpoints]))

    async def create(self, request: web.Request) -> web.Response:
        """Answer 201 with the URL that callers use."""
        principal = await admit(request, self._auth, Permission.ENDPOINTS)
        wanted = await read_document(request, EndpointRequest, self._settings.max_body_bytes)
        try:
            endpoint = await self._endpoints.create(
                name=check_endpoint_name(wanted.name),
                enabled=wanted.enabled,
                description=wanted.description,
                by=principal,
                most=self._settings.signal_endpoints_limit,
            )
        except LimitReached as error:
            raise exceeded(error) from error
        except Conflict as error:
            raise _name_exists(wanted.name) from error
        document = render_endpoint(endpoint, (), _url(request, endpoint))
        return answer(document, status=201, location=f"{ENDPOINTS}/{endpoint.id}")

    async def update(self, request: web.Request) -> web.Response:
        """Replace all that can be said of an endpoint. Another name is another URL for its callers."""
        principal = await admit(request, self._auth, Permission.ENDPOINTS)
        endpoint_id = path_id(request, "signal endpoint")
        wanted = await read_document(request, EndpointRequest, self._settings.max_body_bytes)
        try:
            endpoint = await self._endpoints.update(
                endpoint_id,
                name=check_endpoint_name(wanted.name),
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

    async def delete(self, request: web.Request) -> web.Response:
        """Delete an endpoint and its tokens; its signals stay."""
        principal = await admit(request, self._auth, Permission.ENDPOINTS)
        endpoint_id = path_id(request, "signal endpoint")
        if not await self._endpoints.delete(endpoint_id, by=principal):
            raise no_endpoint(endpoint_id)
        return web.Response(status=200)

    async def enable(self, request: web.Request) -> web.Response:
        """Switch an endpoint on."""
        return await self._switch(request, enabled=True)

    async def disable(self, request: web.Request) -> web.Response:
        """Switch an endpoint off: calls of it are answered 404."""
        return await self._switch(request, enabled=False)

    async def _switch(self, request: web.Request, *, enabled: bool) -> web.Response:
        principal = await admit(request, self._auth, Permission.ENDPOINTS)
        endpoint_id = path_id(request, "signal endpoint")
        endpoint = await self._endpoints.enable(endpoint_id, enabled=enabled, by=principal)
        if endpoint is None:
            raise no_endpoint(endpoint_id)
        return answer(render_endpoint(endpoint, await self._endpoints.tokens([endpoint_id])))


def no_endpoint(endpoint_id: int) -> NotFound:
    """Return the error of a request for an endpoint that is not there."""
    return NotFound(f"There is no signal endpoint {endpoint_id}.")


def _name_exists(name: str) -> Conflicting:
    return Conflicting(f"There is a signal endpoint {name!r} already.")


def _url(request: web.Request, endpoint: Endpoint) -> str:
    return f"{request.scheme}://{request.host}/api/signal-endpoint/{endpoint.name}"
