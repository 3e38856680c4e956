"""``/openapi.json``, and ``/docs``: a page that shows it without fetching anything from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

from aiohttp import web

from gateway.openapi import describe
from gateway.routes import Route


class DocsApi:
    """Serves the description of every other route."""

    def __init__(self, routes: Sequence[Route], *, version: str) -> None:
        self._description = describe(routes, version=version)
        self._page = (files("gateway") / "docs.html").read_text(encoding="utf-8")

    @property
    def routes(self) -> list[Route]:
        """What this part answers."""
        return [
            Route("GET", "/openapi.json", self.openapi, "Describe the API", {200: None}, secured=False),
            Route("GET", "/docs", self.docs, "Read the description", {200: None}, secured=False),
        ]

    async def openapi(self, _request: web.Request) -> web.Response:
        """Answer the OpenAPI document."""
        return web.json_response(self._description)

    async def docs(self, _request: web.Request) -> web.Response:
        """Answer the page."""
        return web.Response(text=self._page, content_type="text/html")
