"""``GET /health``, as Unleash's server answers it to whatever checks that it is there."""

from __future__ import annotations

from aiohttp import web

from broker.health import Health
from gateway.answers import answer
from gateway.http_errors import Busy
from gateway.routes import OpenRoute, Route
from gateway.unleash.schemas import HealthCheck


class HealthApi:
    """Says that calls are taken."""

    def __init__(self, health: Health) -> None:
        self._health = health

    @property
    def routes(self) -> list[Route]:
        """The route of the check."""
        return [OpenRoute("GET", "/health", self.health, "Ask for the health as in Unleash", {200: HealthCheck})]

    async def health(self, _request: web.Request) -> web.Response:
        """Answer 200 while signals are taken, and 503 otherwise."""
        if not self._health.ready:
            raise Busy("No signal can be taken now.")
        return answer(HealthCheck(health="GOOD"))
