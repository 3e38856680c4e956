"""``/console``: a page that shows operators the books, the latest signals, and dead deliveries."""

from __future__ import annotations

from aiohttp import hdrs, web

from gateway.pages import Page
from gateway.routes import OpenRoute, Route


class ConsoleApi:
    """Serves the page, which calls the native API with the token that the operator enters."""

    def __init__(self) -> None:
        self._page = Page("gateway.console", "console.html")

    @property
    def routes(self) -> list[Route]:
        """The route of the console, and one that leads to it."""
        return [
            OpenRoute("GET", "/", self.lead, "Find the console", {302: None}),
            OpenRoute("GET", "/console", self.console, "Open the console", {200: "text/html"}),
        ]

    async def lead(self, _request: web.Request) -> web.Response:
        """Lead people who open the root to the console."""
        return web.Response(status=302, headers={hdrs.LOCATION: "console"})  # relative, for proxies with a path

    async def console(self, _request: web.Request) -> web.Response:
        """Answer a page for operators."""
        return self._page.answer()
