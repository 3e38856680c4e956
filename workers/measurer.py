"""The measurer: measures what an operator is alerted by."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import timedelta
from logging import ERROR, WARNING

import structlog

from broker import metrics
from broker.deliveries import DeliveryState
from broker.errors import StoreUnavailable, TransportError, Unavailable
from broker.metrics import Measure
from broker.operations.books import BookReader
from broker.settings import Settings
from broker.store.deliveries.backlogs import BacklogStore
from broker.store.deliveries.deliveries import DeliveryStore
from broker.store.deliveries.pausing import PausingStore
from broker.store.events import EventStore
from broker.store.partitions.detached import DetachedStore
from broker.store.partitions.partitions import PartitionStore
from broker.store.postgres.database import Database
from broker.store.postgres.measuring import Lease, measuring
from broker.store.subscriptions.subscriptions import SubscriptionStore
from broker.topology import queues_of
from broker.transport import Hazard, Transport
from workers.spacing import Spacing

_TICK = timedelta(seconds=5)
_SELDOM = 6
"""Every how many ticks it looks for what changes seldom."""
_TIMES, _MOST_SECONDS = 4, 30.0
"""For how many times as long as it took there is no other measurement, and for how many seconds at most."""
_NAMED = 10
"""How many subscriptions have a series of their own: with most dead deliveries, or that wait longest to be leased."""
_GLANCE = timedelta(seconds=2)
"""How long each answer about policies may take: what hangs there must not hold up the books."""

log = structlog.get_logger()


class Measurer:
    """Runs in every scheduler process, and measures in one of them at a time.

    The other processes have none of these metrics, so that a sum, or the oldest value of a process that lost its store,
    is not taken for the truth.

    Args:
        database: Where the books are.
        transport: Where the queues are.
        settings: Deadlines, and after how long pending deliveries are rescued.
    """

    name = "measurer"

    def __init__(self, database: Database, transport: Transport, settings: Settings) -> None:
        self._database = database
        self._transport = transport
        self._subscriptions = SubscriptionStore(database)
        self._pausing = PausingStore(database)
        self._deliveries = DeliveryStore(database)
        self._backlogs = BacklogStore(database)
        self._rescue_after = settings.rescue_after
        self._reader = BookReader(database, transport, timeout=settings.confirm_timeout)
        self._events = EventStore(database)
        self._hazards: set[Hazard] = set()
        self._unseen = False

    async def run(self, stopping: asyncio.Event) -> None:
        """Measure until *stopping* is set, while no other process does."""
        while not stopping.is_set():
            try:
                async with measuring(self._database) as lease:
                    if lease is not None:
                        await self._measure_repeatedly(lease, stopping)
            except StoreUnavailable as error:
                log.warning("measuring.postponed", error=str(error))
            except Exception:
                log.exception("measuring.failed")
            finally:
                metrics.forget_measures()
            await _pause(stopping)

    async def _measure_repeatedly(self, lease: Lease, stopping: asyncio.Event) -> None:
        measured, spacing = 0, Spacing(every=0.0, times=_TIMES, most=_MOST_SECONDS)
        while not stopping.is_set():
            await lease.keep()
            if spacing.is_due:
                with spacing.looking():
                    for measure in (self.measure_books, self.measure_queues, self.measure_deliveries):
                        await _try(measure)
                    if measured % _SELDOM == 0:
                        for measure in (self.measure_dead, self.measure_partitions, self.look_for_hazards):
                            await _try(measure)
                measured += 1
            await _pause(stopping)

    async def measure_books(self) -> None:
        """Set the metrics of the books, and note poison as an event."""
        books = await self._reader.read()
        metrics.UNACCOUNTED.set(books.unaccounted)
        for state in DeliveryState:
            metrics.DELIVERIES.set(books.ledger.states.get(state, 0), state.value)
        metrics.LOST.set(books.intake.lost)
        metrics.POISONED_SIGNALS.set(books.intake.poison)
        metrics.BUFFERED.set(books.buffered)
        metrics.OLDEST_AWAITING.set(books.intake.oldest.total_seconds())
        if books.awaiting_record is not None:
            metrics.AWAITING.set(books.awaiting_record)
        for queue, count in (books.poison or {}).items():
            metrics.POISON.set(count, queue)
        if books.poison:
            await self._events.note_poison(books.poison)
        if books.poison is not None:
            metrics.BOOKS_KEPT.set(time.time())

    async def measure_queues(self) -> None:
        """Set the metric of what waits in the queues."""
        waiting = await self._reader.waiting()
        metrics.QUEUED.clear()
        for queue, count in waiting.items():
            metrics.QUEUED.set(count, queue)

    async def measure_deliveries(self) -> None:
        """Set the metrics of deliveries that wait."""
        census = await self._pausing.census()
        metrics.CIRCUITS.set(census.circuits)
        metrics.LASTING_CIRCUITS.set(census.lasting)
        metrics.OLDEST_HELD.set(census.waiting_seconds)
        metrics.OLDEST_PENDING.set(await self._deliveries.oldest_pending(rescue_after=self._rescue_after))
        _name(metrics.OLDEST_LEASABLE, await self._backlogs.longest_leasable(limit=_NAMED))

    async def measure_dead(self) -> None:
        """Set the metric of the subscriptions with most dead deliveries."""
        _name(metrics.MOST_DEAD, await self._deliveries.most_dead(limit=_NAMED))

    async def measure_partitions(self) -> None:
        """Set the metrics of the partitions."""
        metrics.PARTITIONS.set(len(await PartitionStore(self._database).all()))
        metrics.OLDEST_SIGNAL.set(await DetachedStore(self._database).oldest())

    async def look_for_hazards(self) -> None:
        """Report the policies that lose signals, as far as this process may see them."""
        queues = queues_of(await self._subscriptions.apps())
        try:
            hazards = set(await self._transport.hazards(queues, timeout=_GLANCE))
        except Unavailable as error:
            if not self._unseen:
                log.warning("policies.unseen", error=str(error))
            self._unseen = True
            return
        self._unseen = False
        for hazard in hazards - self._hazards:
            log.log(ERROR if hazard.loses else WARNING, "policy.found", **asdict(hazard))
        self._hazards = hazards
        metrics.LOSING_POLICIES.clear()
        for hazard in hazards:
            if hazard.loses:
                metrics.LOSING_POLICIES.set(1, hazard.queue, hazard.key)


def _name(measure: Measure, values: Mapping[int, float]) -> None:
    """Let *measure* have the *values* by the ids of subscriptions, and no others."""
    measure.clear()
    for subscription_id, value in values.items():
        measure.set(value, str(subscription_id))


async def _try(measure: Callable[[], Awaitable[None]]) -> None:
    """Do *measure*; what fails keeps its values, as old as they are, and holds up no other."""
    try:
        await measure()
    except (StoreUnavailable, TransportError) as error:
        log.warning("measuring.postponed", error=str(error))
    except Exception:
        log.exception("measuring.failed")


async def _pause(stopping: asyncio.Event) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(_TICK.total_seconds()):
            await stopping.wait()
