"""``/console``: a page that shows operators the books, the latest signals, and dead deliveries."""

from __future__ import annotations

from aiohttp import web

from gateway.pages import Page
from gateway.routes import OpenRoute, Route


class ConsoleApi:
    """Serves the page, which calls the native API with the token that the operator enters."""

    def __init__(self) -> None:
        self._page = Page("gateway.console", "console.html")

    @property
    def routes(self) -> list[Route]:
        """The route of the console."""
        return [OpenRoute("GET", "/console", self.console, "Open the console", {200: "text/html"})]

    async def console(self, _request: web.Request) -> web.Response:
        """Answer a page for operators."""
        return self._page.answer()
