"""Alive, and able to work: two questions with different answers.

Liveness asks whether restarting the process would help: the event loop answers, and our consumers exist. Readiness
asks whether work should be sent here: PostgreSQL answers and is migrated, RabbitMQ takes messages, and nobody asked us
to stop.
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
"""How long consumers may be missing (a broker restarts) before a restart of ours is worth a try."""


@dataclass
class Health:
    """Answers ``/livez``, ``/readyz`` and ``/metrics`` of any process.

    Args:
        database: Must answer for the process to be ready.
        transport: Must take messages for the process to be ready, and know our consumers for it to be alive.
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
        """Answer 200 while the process lives, 503 once its consumers have been missing for a minute."""
        now = asyncio.get_running_loop().time()
        if self.transport.consuming:
            self._missing_since = None
        elif self._missing_since is None:
            self._missing_since = now
        alive = self._missing_since is None or now - self._missing_since < GRACE_SECONDS
        return web.json_response({"alive": alive, "consuming": self.transport.consuming}, status=200 if alive else 503)

    async def readyz(self, _request: web.Request) -> web.Response:
        """Answer 200 while work should be sent here, else 503 and what is missing."""
        checks = {
            "running": not self.stopping.is_set(),
            "transport": self.transport.ready,
            "store": await self._store_is_current(),
        }
        ready = all(checks.values())
        return web.json_response({"ready": ready, "checks": checks}, status=200 if ready else 503)

    async def _store_is_current(self) -> bool:
        """Whether PostgreSQL answers, and has the schema that this version needs."""
        try:
            async with asyncio.timeout(2):
                return await revision(self.database) >= NEEDED
        except (StoreUnavailable, TimeoutError):
            return False

    async def metrics(self, _request: web.Request) -> web.Response:
        """Answer every metric for Prometheus."""
        body, content_type = metrics.exposition()
        return web.Response(body=body, headers={"Content-Type": content_type})
