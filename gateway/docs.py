"""``/openapi.json``, ``/asyncapi.json``, and ``/docs``: a page that shows the first, and loads nothing from others.

Camunda 7's clients find the description of their paths at ``/engine-rest/openapi.json``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from aiohttp import web

from gateway.answer_headers import CONTENT_POLICY
from gateway.asyncapi import describe_messages
from gateway.dialects import Dialect, dialect_of
from gateway.openapi import describe
from gateway.pages import Page
from gateway.routes import OpenRoute, Route


class DocsApi:
    """Serves the descriptions of every route, its own included, and of the messages that subscribers get."""

    def __init__(self, routes: Sequence[Route], dialects: Sequence[Dialect], *, version: str, server: str = "") -> None:
        self._page = Page("gateway", "docs.html")
        description = describe([*routes, *self.routes], dialects, version=version, server=server)
        self._description = json.dumps(description).encode()
        camundas = [route for route in routes if dialect_of(route.path, dialects).name == "camunda"]
        dialects_own = [dialect for dialect in dialects if dialect.name == "camunda"]
        description = describe(camundas, dialects_own, version=version, server=server)
        self._description_of_camunda = json.dumps(description).encode()
        self._messages = json.dumps(describe_messages(version=version)).encode()

    @property
    def routes(self) -> list[Route]:
        """The routes of the documentation."""
        return [
            OpenRoute("GET", "/openapi.json", self.openapi, "Describe the API", {200: "application/json"}),
            OpenRoute(
                "GET",
                "/engine-rest/openapi.json",
                self.openapi_of_camunda,
                "Describe the API of Camunda 7",
                {200: "application/json"},
            ),
            OpenRoute("GET", "/asyncapi.json", self.asyncapi, "Describe the messages", {200: "application/json"}),
            OpenRoute(
                "GET", "/docs", self.docs, "Read the description", {200: "text/html"}, headers={200: (CONTENT_POLICY,)}
            ),
        ]

    async def openapi(self, _request: web.Request) -> web.Response:
        """Answer the OpenAPI document."""
        return web.Response(body=self._description, content_type="application/json")

    async def openapi_of_camunda(self, _request: web.Request) -> web.Response:
        """Answer the OpenAPI document of what there is of Camunda 7's API."""
        return web.Response(body=self._description_of_camunda, content_type="application/json")

    async def asyncapi(self, _request: web.Request) -> web.Response:
        """Answer the AsyncAPI document."""
        return web.Response(body=self._messages, content_type="application/json")

    async def docs(self, _request: web.Request) -> web.Response:
        """Answer the documentation as a page."""
        return self._page.answer()
