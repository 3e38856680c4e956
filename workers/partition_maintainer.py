"""The partition maintainer: creates partitions ahead, closes them in time, archives and drops the old ones.

It keeps the statistics small, too: it adds minutes up to hours, and forgets old ones.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

import structlog

from broker import metrics
from broker.reasons import named_reason_of, reason_of
from broker.settings import Settings
from broker.store.deliveries.folding import StatisticsKeeper
from broker.store.partitions.detached import DetachedStore
from broker.store.partitions.partitions import PartitionStore, maintenance
from broker.store.postgres.database import Database
from broker.topology import RECORD
from broker.transport import Transport
from workers.archive import Archive

_TICK = timedelta(seconds=10)
_MOST_DOUBLINGS = 5
_STATEMENT_TIMEOUT = timedelta(minutes=10)
"""A million signals are subtracted from the ledger in seconds."""
_MOST_UNRECORDED = 1000
"""With more messages in the record queue, nothing is dropped: they may repeat old signals."""
_SUBSCRIPTIONS = 1000
"""How many subscriptions are deleted at a time."""

log = structlog.get_logger()


def period(settings: Settings) -> timedelta:
    """Return for how long one partition stays open: about a fifteenth of the retention."""
    retention = settings.retention or timedelta(days=450)
    return min(max(retention / 15, timedelta(hours=1)), timedelta(days=30))


class PartitionMaintainer:
    """Runs in every scheduler process, and works in one of them at a time.

    A failure is retried and never ends the process: signals are recorded and delivered all the same.
    """

    name = "partition_maintainer"

    def __init__(self, database: Database, transport: Transport, settings: Settings) -> None:
        self._database = database
        self._transport = transport
        self._settings = settings
        self._archive = None if settings.archive_dir is None else Archive(settings.archive_dir)

    async def run(self, stopping: asyncio.Event) -> None:
        """Maintain the partitions until *stopping* is set; an interrupted archiving starts over later."""
        maintaining = asyncio.create_task(self._maintain_repeatedly())
        try:
            await stopping.wait()
        finally:
            maintaining.cancel()
            await asyncio.gather(maintaining, return_exceptions=True)

    async def _try_archive(self) -> None:
        """Warn of an archive that cannot be written, long before a partition is to be archived."""
        if self._archive is not None:
            try:
                await self._archive.check()
            except OSError as error:
                log.warning(
                    "archive.refused",
                    directory=str(self._settings.archive_dir),
                    error=reason_of(error),
                    hint="nothing is dropped until it can be written: correct SIGNAL_BROKER_ARCHIVE_DIR",
                )

    async def _maintain_repeatedly(self) -> None:
        await self._try_archive()
        failures = 0
        while True:
            try:
                await self.maintain()
                failures = 0
            except Exception as error:  # noqa: BLE001  (a full disk, a busy server: retried later)
                failures = min(failures + 1, _MOST_DOUBLINGS)
                metrics.RETENTION_FAILURES.inc()
                log.warning("retention.postponed", error=named_reason_of(error))
            await asyncio.sleep(_TICK.total_seconds() * 2**failures)

    async def maintain(self) -> None:
        """Do once what the partitions need now, unless another process does it.

        Raises:
            StoreUnavailable, TransportError: A server did not answer, or other sessions held the locks.
            OSError: The archive cannot be written. Nothing is dropped.
        """
        async with maintenance(self._database, timeout=_STATEMENT_TIMEOUT) as session:
            if session is None:
                return
            partitions, detached = PartitionStore(session), DetachedStore(session)
            await partitions.keep_ahead()
            await detached.clean()
            if await partitions.close(period(self._settings)):
                await partitions.keep_ahead()
            statistics = StatisticsKeeper(session)
            await statistics.add_up()
            await statistics.forget(retention=self._settings.retention)
            await self._drop(detached)
            if self._settings.retention is not None:
                await self._empty(detached, self._settings.retention)

    async def _empty(self, detached: DetachedStore, retention: timedelta) -> None:
        for partition in await detached.due(retention, every=period(self._settings)):
            if await self._transport.depth(RECORD, timeout=self._settings.confirm_timeout) > _MOST_UNRECORDED:
                return
            if self._archive is not None:
                await self._archive.check()
            dead = max(retention, self._settings.retention_dead)
            if await detached.empty(partition, retention=retention, dead=dead):
                await self._drop(detached)

    async def _drop(self, detached: DetachedStore) -> None:
        """Archive (if there is an archive) and drop the detached partitions."""
        for partition in await detached.all():
            if self._archive is not None:
                await self._archive.keep(partition, detached.pages(partition))
            dropped = await detached.drop(partition)
            metrics.DROPPED.inc(dropped)
            log.info("partition.dropped", first_id=partition.first_id, last_id=partition.last_id, signals=dropped)
            await detached.forget_subscriptions(at_once=_SUBSCRIPTIONS)
