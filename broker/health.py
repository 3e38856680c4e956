"""Health: liveness and readiness, two questions with different answers.

Liveness asks whether the process should be restarted: does the event loop answer, and do our consumers exist? Readiness
asks whether it should get work: does PostgreSQL answer, is it migrated, does RabbitMQ take messages, and is the process
not stopping?
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from aiohttp import web

from broker import metrics
from broker.errors import StoreUnavailable
from broker.store.postgres.database import Database
from broker.store.postgres.schema import NEEDED, revision
from broker.transport import Transport

GRACE_SECONDS = 60
"""How long consumers may be missing, while RabbitMQ restarts, before the process should be restarted."""


@dataclass
class Health:
    """Answers ``/livez``, ``/readyz`` and ``/metrics`` of any process.

    Args:
        database: The process is ready only if it answers.
        transport: The process is ready only if it takes messages, and alive only if it has our consumers.
        stopping: Set once the process is stopping.
    """

    database: Database
    transport: Transport
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _missing_since: float | None = None

    def add_routes(self, app: web.Application) -> None:
        """Serve the three paths in *app*."""
        app.router.add_get("/livez", self.livez)
        app.router.add_get("/readyz", self.readyz)
        app.router.add_get("/metrics", self.metrics)

    async def livez(self, _request: web.Request) -> web.Response:
        """Answer 200 while the process is alive, 503 once its consumers have been missing for a minute."""
        now = asyncio.get_running_loop().time()
        if self.transport.consuming:
            self._missing_since = None
        elif self._missing_since is None:
            self._missing_since = now
        alive = self._missing_since is None or now - self._missing_since < GRACE_SECONDS
        return web.json_response({"alive": alive, "consuming": self.transport.consuming}, status=200 if alive else 503)

    async def readyz(self, _request: web.Request) -> web.Response:
        """Answer 200 while the process is ready for work, else 503; either way with the checks."""
        checks = await self._checks()
        ready = all(checks.values())
        return web.json_response({"ready": ready, "checks": checks}, status=200 if ready else 503)

    async def _checks(self) -> dict[str, bool]:
        return {
            "running": not self.stopping.is_set(),
            "transport": self.transport.ready,
            "store": await self._store_is_current(),
        }

    async def _store_is_current(self) -> bool:
        """Return whether PostgreSQL answers and has the schema that this version needs."""
        try:
            async with asyncio.timeout(2):
                return await revision(self.database) >= NEEDED
        except (StoreUnavailable, TimeoutError):
            return False

    async def metrics(self, _request: web.Request) -> web.Response:
        """Answer all metrics in Prometheus's format."""
        metrics.READY.set(all((await self._checks()).values()))
        body, content_type = metrics.exposition()
        return web.Response(body=body, headers={"Content-Type": content_type})
