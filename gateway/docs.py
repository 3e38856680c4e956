"""``/openapi.json``, and ``/docs``: a page that shows it and loads nothing from other servers."""

from __future__ import annotations

import json
from collections.abc import Sequence

from aiohttp import web

from gateway.dialects import Dialect
from gateway.openapi import describe
from gateway.pages import Page
from gateway.routes import OpenRoute, Route


class DocsApi:
    """Serves the description of every route, its own included."""

    def __init__(self, routes: Sequence[Route], dialects: Sequence[Dialect], *, version: str, server: str = "") -> None:
        self._page = Page("gateway", "docs.html")
        description = describe([*routes, *self.routes], dialects, version=version, server=server)
        self._description = json.dumps(description).encode()

    @property
    def routes(self) -> list[Route]:
        """The routes of the documentation."""
        return [
            OpenRoute("GET", "/openapi.json", self.openapi, "Describe the API", {200: "application/json"}),
            OpenRoute("GET", "/docs", self.docs, "Read the description", {200: "text/html"}),
        ]

    async def openapi(self, _request: web.Request) -> web.Response:
        """Answer the OpenAPI document."""
        return web.Response(body=self._description, content_type="application/json")

    async def docs(self, _request: web.Request) -> web.Response:
        """Answer the documentation as a page."""
        return self._page.answer()
