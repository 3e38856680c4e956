"""Retention: makes partitions ahead, closes them when their time is over, and archives and drops what is old."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import structlog

from broker import metrics
from broker.settings import Settings
from broker.store.partitions.detached import DetachedStore
from broker.store.partitions.partitions import PartitionStore
from broker.store.postgres.database import Database, Session
from broker.topology import RECORD
from broker.transport import Transport
from workers.archive import Archive

_TICK = timedelta(seconds=10)
_MOST_DOUBLINGS = 5
_PATIENCE = timedelta(minutes=10)
"""How long a statement may take: a million signals are counted out of the books in seconds."""
_BEHIND = 1000
"""With more messages to be recorded than that, nothing is dropped: a repeat of something old may be among them."""
_SUBSCRIPTIONS = 1000
"""How many subscriptions are forgotten at a time."""

log = structlog.get_logger()


def period(settings: Settings) -> timedelta:
    """Return for how long ids are given in one partition: there are some fifteen partitions then, whatever the retention."""
    retention = settings.retention or timedelta(days=450)
    return min(max(retention / 15, timedelta(hours=1)), timedelta(days=30))


class PartitionMaintainer:
    """A part of the scheduler that works beside it, in one process at a time over all schedulers.

    Whatever fails is tried again, and never ends the process: signals are recorded and delivered all the same.
    """

    name = "retention"

    def __init__(self, database: Database, transport: Transport, settings: Settings) -> None:
        self._database = database
        self._transport = transport
        self._settings = settings
        self._archive = None if settings.archive_dir is None else Archive(settings.archive_dir)

    async def run(self, stopping: asyncio.Event) -> None:
        """Look after the partitions until *stopping* is set; a partition that is being archived then is archived again."""
        looking = asyncio.create_task(self._look_again_and_again())
        try:
            await stopping.wait()
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    async def _look_again_and_again(self) -> None:
        failures = 0
        while True:
            try:
                await self.look()
                failures = 0
            except Exception as error:  # noqa: BLE001  (a disk that is full, a server that is busy: later, then)
                failures = min(failures + 1, _MOST_DOUBLINGS)
                metrics.RETENTION_FAILURES.inc()
                log.warning("retention.postponed", error=f"{type(error).__name__}: {error}")
            await asyncio.sleep(_TICK.total_seconds() * 2**failures)

    async def look(self) -> None:
        """Do what is to be done about the partitions now, unless another process is at it.

        Raises:
            StoreUnavailable, TransportError: A server did not answer, or others were in the way.
            OSError: The archive cannot be written. Nothing is dropped.
        """
        metrics.BLOCKS.set(len(await PartitionStore(self._database).all()))
        metrics.OLDEST_SIGNAL.set(await DetachedStore(self._database).oldest())
        async with self._alone() as session:
            if session is None:
                return
            partitions, detached = PartitionStore(session), DetachedStore(session)
            await partitions.keep_ahead()
            if await partitions.close(period(self._settings)):
                await partitions.keep_ahead()
            await self._drop(detached)
            if self._settings.retention is not None:
                await self._empty(detached, self._settings.retention)

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[Session | None]:
        """Lend a connection to one process at a time, None to the others. One that stops in the middle loses it."""
        async with self._database.hold(timeout=_PATIENCE) as session:
            await session.execute("SET statement_timeout = '11min'; SET idle_session_timeout = '1min'")
            alone = await session.fetchval("SELECT pg_try_advisory_lock(7305006)")
            yield session if alone else None

    async def _empty(self, detached: DetachedStore, retention: timedelta) -> None:
        for partition in await detached.due(retention, every=period(self._settings)):
            if await self._transport.depth(RECORD, timeout=self._settings.confirm_timeout) > _BEHIND:
                return
            if self._archive is not None:
                await self._archive.check()
            dead = max(retention, self._settings.retention_dead)
            if await detached.empty(partition, retention=retention, dead=dead):
                await self._drop(detached)

    async def _drop(self, detached: DetachedStore) -> None:
        """Archive, if that is asked for, and drop what was detached."""
        for one in await detached.all():
            if self._archive is not None:
                await self._archive.keep(one, detached.pages(one))
            dropped = await detached.drop(one)
            metrics.DROPPED.inc(dropped)
            log.info("block.dropped", first_id=one.first_id, last_id=one.last_id, signals=dropped)
            while await detached.forget_subscriptions(limit=_SUBSCRIPTIONS) == _SUBSCRIPTIONS:
                pass
