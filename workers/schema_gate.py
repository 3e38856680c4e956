"""The schema gate: no worker works on a schema that lacks a step which this version needs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

import structlog

from broker.errors import SignalBrokerError
from broker.store.postgres.database import Database
from broker.store.postgres.schema import is_current

_WHILE_CLOSED = 0.5
_WHILE_OPEN = 2.0

log = structlog.get_logger()


class SchemaGate:
    """Watches the schema of *database*; closed until it is known to be current. An async context manager.

    While PostgreSQL does not answer, the gate stays as it is: workers wait for PostgreSQL themselves.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._open = asyncio.Event()
        self._closed = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._watch(), name="schema_gate")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def wait(self) -> None:
        """Return once the schema is current."""
        await self._open.wait()

    async def guard(self, work: Callable[[asyncio.Event], Awaitable[None]], stopping: asyncio.Event) -> None:
        """Let *work* run whenever the gate is open, until *stopping* is set.

        *work* is given an event, and must end soon after that is set.
        """
        while not stopping.is_set():
            await _first(self._open, stopping)
            if not stopping.is_set():
                leaving = asyncio.Event()
                calling = asyncio.create_task(_set_after(leaving, self._closed, stopping))
                try:
                    await work(leaving)
                finally:
                    calling.cancel()

    async def _watch(self) -> None:
        logged = ""
        while True:
            try:
                self._set(is_open=await is_current(self._database))
                logged = ""
            except SignalBrokerError as error:
                if str(error) != logged:
                    logged = str(error)
                    log.warning("schema.unknown", error=logged)
            await asyncio.sleep(_WHILE_OPEN if self._open.is_set() else _WHILE_CLOSED)

    def _set(self, *, is_open: bool) -> None:
        now, before = (self._open, self._closed) if is_open else (self._closed, self._open)
        if not now.is_set():
            before.clear()
            now.set()
            if not is_open:
                log.warning("schema.outdated", hint="workers wait: run `signal-broker migrate`")


async def _first(*events: asyncio.Event) -> None:
    """Return once one of *events* is set."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()


async def _set_after(event: asyncio.Event, *events: asyncio.Event) -> None:
    await _first(*events)
    event.set()
