"""``/console``: a page that shows operators the books, what was thrown, and what could not be delivered."""

from __future__ import annotations

from aiohttp import web

from gateway.pages import Page
from gateway.routes import OpenRoute, Route


class ConsoleApi:
    """Serves the page; all that it shows it asks of the native API, with the token that the operator enters."""

    def __init__(self) -> None:
        self._page = Page("gateway.console", "console.html")

    @property
    def routes(self) -> list[Route]:
        """What this part answers."""
        return [OpenRoute("GET", "/console", self.console, "Open the console", {200: "text/html"})]

    async def console(self, _request: web.Request) -> web.Response:
        """Answer a page for operators."""
        return self._page.answer()
