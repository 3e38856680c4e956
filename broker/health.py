"""Health: liveness and readiness, two questions with different answers.

Liveness asks whether the process should be restarted: does the event loop answer, and do our consumers exist? While
RabbitMQ or PostgreSQL is away a restart would not help, and would only take longer than waiting. Readiness asks whether
the process should get work: has it started, does PostgreSQL answer and have a schema that it knows, does RabbitMQ take
messages, can each of its roles do its work, and is the process not stopping?

A gateway without RabbitMQ or PostgreSQL stays in service: callers get its 503 with ``Retry-After`` instead of the load
balancer's, and what needs only the other one goes on (reading, the console, revoking a token). See `Health.essential`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.metadata import version
from types import TracebackType
from typing import Self

import structlog
from aiohttp import web

from broker import metrics
from broker.exposition import Exposition
from broker.reasons import reason_of
from broker.store.postgres.database import Database
from broker.store.postgres.schema import NEEDED, revision
from broker.transport import Transport

GRACE = timedelta(minutes=1)
"""How long consumers may be missing, with a link to the server, before the process should be restarted."""
EVERY = timedelta(seconds=2)
_AGAIN = timedelta(seconds=0.5)
"""The pause after a failure: longer than a lost link takes."""
_SOON = timedelta(seconds=0.1)
"""The pause while a start waits to be ready."""
_TIMEOUT = timedelta(seconds=2)
_TURN = timedelta(seconds=0.5)
"""How long the next question waits for the answer to the one before."""
_NAP = 0.25
"""Seconds between two looks at the event loop."""
_FAILURES = 2
"""How often in a row a check has to fail: a single failure may be a lost link."""

ESSENTIAL = frozenset({"running", "schema"})
"""What a gateway needs to be in service."""
MISSING = "X-Signal-Broker-Missing"
"""The header of ``/readyz`` that names the checks that fail, also those that are not essential."""

Check = Callable[[], Awaitable[None]]
"""Raises the reason, or does not end in time, while some work cannot be done."""

log = structlog.get_logger()


@dataclass
class Health:
    """Answers ``/livez``, ``/readyz`` and ``/metrics`` of any process. An async context manager, which keeps looking.

    What has to be asked is asked every few seconds, not when a probe comes: an answer takes no time, and one failure is
    not the end of readiness. The first success is its beginning.

    Args:
        database: The process is ready only if it answers.
        transport: The process is ready only if it takes messages, and alive only if it has our consumers.
        stopping: Set once the process is stopping.
        grace: How long our consumers may be missing.
        essential: The checks that ``/readyz`` judges by; None: by all.
        every: How long to wait after a look at which nothing failed.
    """

    database: Database
    transport: Transport
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    grace: timedelta = GRACE
    essential: Collection[str] | None = None
    every: timedelta = EVERY
    _started: bool = False
    _missing_since: float | None = None
    _checks: dict[str, Check] = field(default_factory=dict)
    _failures: dict[str, int] = field(default_factory=dict)
    """How often each check has failed since it last succeeded."""
    _logged: set[str] = field(default_factory=set)
    """The checks that the log says have failed."""
    _looking: asyncio.Lock = field(default_factory=asyncio.Lock)
    _revision: str = ""
    _exposition: Exposition = field(default_factory=Exposition)

    def __post_init__(self) -> None:
        self.require("store", self._ask_store)

    async def __aenter__(self) -> Self:
        metrics.BUILD.labels(version("signal-broker")).set(1)
        self._tasks = [
            asyncio.create_task(self._look_repeatedly(), name="health"),
            asyncio.create_task(_watch_loop(), name="health:loop"),
        ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def require(self, name: str, check: Check) -> None:
        """Let the process be ready only while *check* succeeds; it is called every few seconds."""
        self._checks[name] = check
        self._failures[name] = _FAILURES

    async def start(self) -> None:
        """Note that the process has started, and wait until it is ready."""
        self._started = True
        while not self.ready:
            await self._look()
            if not self.ready:
                await asyncio.sleep(_SOON.total_seconds())

    @property
    def ready(self) -> bool:
        """Whether the process can do all of its work."""
        return all(self.checks().values())

    @property
    def in_service(self) -> bool:
        """Whether the process is to get work, as ``/readyz`` says."""
        return all(passed for name, passed in self.checks().items() if self.essential is None or name in self.essential)

    def checks(self) -> dict[str, bool]:
        """Return what its work depends on, by name, and whether it is so."""
        return {
            "running": self._started and not self.stopping.is_set(),
            "transport": self.transport.ready,
            "schema": self._revision >= NEEDED,
            **{name: failures < _FAILURES for name, failures in self._failures.items()},
        }

    def add_probes(self, app: web.Application) -> None:
        """Serve ``/livez`` and ``/readyz`` in *app*."""
        app.router.add_get("/livez", self.livez)
        app.router.add_get("/readyz", self.readyz)

    def add_metrics(self, app: web.Application) -> None:
        """Serve ``/metrics`` in *app*."""
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
        """Answer 200 while the process is in service, else 503; either way with the checks."""
        ready, checks = self.in_service, self.checks()
        missing = ", ".join(name for name, passed in checks.items() if not passed)
        headers = {MISSING: missing} if missing else {}
        return web.json_response({"ready": ready, "checks": checks}, status=200 if ready else 503, headers=headers)

    async def metrics(self, request: web.Request) -> web.Response:
        """Answer all metrics, in Prometheus's text format or in OpenMetrics, as ``Accept`` says."""
        metrics.READY.set(self.ready)
        for name, passed in self.checks().items():
            metrics.CHECK_PASSED.labels(name).set(passed)
        use = self.database.use
        metrics.STORE_CONNECTIONS.labels("idle").set(use.idle)
        metrics.STORE_CONNECTIONS.labels("used").set(use.used)
        metrics.STORE_CONNECTIONS_LIMIT.set(use.limit)
        body, content_type = self._exposition.read(",".join(request.headers.getall("Accept", [])))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def _look_repeatedly(self) -> None:
        while True:
            await self._look()
            pause = min(self.every, _AGAIN) if any(self._failures.values()) else self.every
            await asyncio.sleep(pause.total_seconds())

    async def _look(self) -> None:
        """Ask everything once: one after the other, which takes one connection to PostgreSQL, while answers come."""
        async with self._looking:
            asked: list[asyncio.Task[None]] = []
            try:
                for name, check in [*self._checks.items()]:
                    asked.append(asyncio.create_task(self._ask(name, check)))
                    await asyncio.wait(asked[-1:], timeout=_TURN.total_seconds())
                await asyncio.wait(asked)
            finally:
                for one in asked:
                    one.cancel()

    async def _ask(self, name: str, check: Check) -> None:
        try:
            await self._wait(name, asyncio.ensure_future(check()))
        except Exception as error:  # noqa: BLE001  (whatever it is, the work cannot be done)
            self._note(name, reason_of(error))
        else:
            self._note(name, None)

    async def _wait(self, name: str, asked: asyncio.Future[None]) -> None:
        """Wait for *asked*, a failure for as long as it takes: on a busy machine one begun again would never end."""
        try:
            while not (await asyncio.wait([asked], timeout=_TIMEOUT.total_seconds()))[0]:
                self._note(name, f"no answer within {_TIMEOUT.total_seconds():g} s")
        finally:
            asked.cancel()
        await asked

    def _note(self, name: str, failure: str | None) -> None:
        self._failures[name] = 0 if failure is None else self._failures[name] + 1
        if failure is None and name in self._logged:
            self._logged.remove(name)
            log.info("check.passed", check=name)
        elif self._failures[name] >= _FAILURES and self._started and name not in self._logged:
            self._logged.add(name)
            log.warning("check.failed", check=name, error=failure)

    async def _ask_store(self) -> None:
        self._revision = await revision(self.database)


async def _watch_loop() -> None:
    """Measure how late the event loop is."""
    clock = asyncio.get_running_loop().time
    while True:
        wanted = clock() + _NAP
        await asyncio.sleep(_NAP)
        metrics.LOOP_LAG.observe(max(0.0, clock() - wanted))
