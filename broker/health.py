"""Health: liveness and readiness, two questions with different answers.

Liveness asks whether the process should be restarted: does the event loop answer, and do our consumers exist? While
RabbitMQ or PostgreSQL is away a restart would not help, and would only take longer than waiting. Readiness asks whether
the process should get work: has it started, does PostgreSQL answer, is it migrated, does RabbitMQ take messages, and is
the process not stopping?
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta

from aiohttp import web

from broker import metrics
from broker.errors import SignalBrokerError
from broker.store.postgres.database import Database
from broker.store.postgres.schema import is_current
from broker.transport import Transport

GRACE = timedelta(minutes=1)
"""How long consumers may be missing, with a link to the server, before the process should be restarted."""


@dataclass
class Health:
    """Answers ``/livez``, ``/readyz`` and ``/metrics`` of any process.

    Args:
        database: The process is ready only if it answers.
        transport: The process is ready only if it takes messages, and alive only if it has our consumers.
        stopping: Set once the process is stopping.
        grace: How long our consumers may be missing.
    """

    database: Database
    transport: Transport
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    grace: timedelta = GRACE
    _started: bool = False
    _missing_since: float | None = None

    async def start(self) -> None:
        """Note that the process has started, and wait until it is ready."""
        self._started = True
        while not all((await self._checks()).values()):  # noqa: ASYNC110  (PostgreSQL has to be asked)
            await asyncio.sleep(0.1)

    def add_routes(self, app: web.Application) -> None:
        """Serve the three paths in *app*."""
        app.router.add_get("/livez", self.livez)
        app.router.add_get("/readyz", self.readyz)
        app.router.add_get("/metrics", self.metrics)

    async def livez(self, _request: web.Request) -> web.Response:
        """Answer 200 while the process is alive, 503 once its consumers have been missing for a minute with a link."""
        now = asyncio.get_running_loop().time()
        if self.transport.consuming or not self.transport.linked:
            self._missing_since = None
        elif self._missing_since is None:
            self._missing_since = now
        alive = self._missing_since is None or now - self._missing_since < self.grace.total_seconds()
        return web.json_response({"alive": alive, "consuming": self.transport.consuming}, status=200 if alive else 503)

    async def readyz(self, _request: web.Request) -> web.Response:
        """Answer 200 while the process is ready for work, else 503; either way with the checks."""
        checks = await self._checks()
        ready = all(checks.values())
        return web.json_response({"ready": ready, "checks": checks}, status=200 if ready else 503)

    async def _checks(self) -> dict[str, bool]:
        return {
            "running": self._started and not self.stopping.is_set(),
            "transport": self.transport.ready,
            "store": await self._store_is_current(),
        }

    async def _store_is_current(self) -> bool:
        """Return whether PostgreSQL answers and has the schema that this version needs."""
        try:
            async with asyncio.timeout(2):
                return await is_current(self.database)
        except (SignalBrokerError, TimeoutError):
            return False

    async def metrics(self, _request: web.Request) -> web.Response:
        """Answer all metrics in Prometheus's format."""
        metrics.READY.set(all((await self._checks()).values()))
        body, content_type = metrics.exposition()
        return web.Response(body=body, headers={"Content-Type": content_type})
