"""The books: the store counts signals and deliveries, the transport counts the messages that are on their way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from broker.access import ADMINISTRATOR, Principal
from broker.errors import TransportError, Unroutable
from broker.messages import Undecodable, decode_signal
from broker.store.deliveries.deliveries import DeliveryStore, Ledger
from broker.store.postgres.database import Database
from broker.store.signals.buffering import count_buffered
from broker.store.signals.intake_books import IntakeBalance, IntakeBooks, QueueDepths, Sight
from broker.store.subscriptions.subscriptions import SubscriptionStore
from broker.topology import RECORD, attempt_queue, consumed_queues, dead_letters
from broker.transport import Received, Transport

T = TypeVar("T")

_SIGHT = 10_000
"""How many messages of a dead queue one look sees."""
_GLANCE, _GLANCE_BYTES = 100, 1 << 20
"""How much of that is read at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """The books.

    Args:
        ledger: Deliveries, of all subscriptions or of some.
        intake: The accepted signals that are not recorded.
        buffered: How many messages wait for a subscription.
        poison: Messages by dead queue; None: the transport did not tell.
        depths: What is ready in the record queue and in its dead queue; None: the transport did not tell.
        transport_error: Why it did not; None: it did.
    """

    ledger: Ledger
    intake: IntakeBalance
    buffered: int
    poison: Mapping[str, int] | None
    depths: QueueDepths | None
    transport_error: str | None = None

    @property
    def awaiting_record(self) -> int | None:
        """How many signals await their record; None: the transport did not tell."""
        return None if self.depths is None else self.intake.awaiting_record(self.depths)

    @property
    def unaccounted(self) -> int:
        """Accepted signals and owed deliveries that are nowhere; the signals only if the transport is there."""
        return self.ledger.unaccounted + (0 if self.depths is None else self.intake.unaccounted(self.depths))


class BookReader:
    """Reads the books.

    Args:
        database: Where signals and deliveries are.
        transport: Where the queues are.
        timeout: How long the transport may take.
    """

    def __init__(self, database: Database, transport: Transport, *, timeout: timedelta) -> None:
        self._database = database
        self._deliveries = DeliveryStore(database)
        self._intake = IntakeBooks(database)
        self._subscriptions = SubscriptionStore(database)
        self._transport = transport
        self._timeout = timeout

    async def read(self, subscription_id: int | None = None, *, by: Principal = ADMINISTRATOR) -> Books:
        """Return the books, with the deliveries to one subscription, or to those that *by* sees.

        Raises:
            StoreUnavailable: PostgreSQL did not answer.
        """
        (depths, unseen), (poison, unseen_poison) = await asyncio.gather(_try(self.depths()), _try(self.poison()))
        intake, ledger, buffered = await asyncio.gather(
            self._intake.balance(), self._deliveries.ledger(subscription_id, by=by), count_buffered(self._database)
        )
        return Books(
            ledger=ledger,
            intake=intake,
            buffered=buffered,
            poison=poison,
            depths=depths,
            transport_error=unseen or unseen_poison,
        )

    async def depths(self) -> QueueDepths:
        """Return what is ready in the record queue and in its dead queue.

        Raises:
            TransportError: The transport is away, or has no such queue.
        """
        record, dead, consumers = await asyncio.gather(
            self._depth(RECORD),
            self._depth(dead_letters(RECORD)),
            self._transport.consumers(RECORD, timeout=self._timeout),
        )
        return QueueDepths(record=record, dead=dead, consumers=consumers)

    async def look(self) -> Sight:
        """Look which signals the dead queue of the record queue holds; the messages return to it.

        A look takes no longer than the transport may, and no more than `HELD_BYTES` of bodies; then it is incomplete.

        Raises:
            TransportError: The transport is away, or has no such queue.
        """
        queue = dead_letters(RECORD)
        length, seen, ids = await self._depth(queue), 0, set[int]()
        with suppress(TimeoutError):
            async with (
                asyncio.timeout(self._timeout.total_seconds()),
                self._transport.consume(queue, prefetch=max(1, min(length, _SIGHT))) as inbox,
            ):
                while seen < min(length, _SIGHT):
                    messages = await inbox.receive(_GLANCE, max_bytes=_GLANCE_BYTES)
                    seen += len(messages)
                    ids.update(filter(None, map(_signal_id, messages)))
                    await asyncio.sleep(0)  # let other tasks run, too
        return Sight(ids, complete=seen >= length)

    async def poison(self) -> dict[str, int]:
        """Return the number of messages in each dead queue; that of an app without workers so far is left out.

        Raises:
            TransportError: The transport is away.
        """
        return await self._depths(map(dead_letters, await self.consumed_queues()))

    async def waiting(self) -> dict[str, int]:
        """Return the number of messages in each queue that workers consume; that of an app without workers is left out.

        Raises:
            TransportError: The transport is away.
        """
        return await self._depths(await self.consumed_queues())

    async def consumed_queues(self) -> list[str]:
        """Return the queues that workers consume, those of apps included."""
        return [*consumed_queues(), *map(attempt_queue, await self._subscriptions.apps())]

    async def _depths(self, queues: Iterable[str]) -> dict[str, int]:
        """Return the number of messages in each of *queues* that there is."""
        names = list(queues)
        counts = await asyncio.gather(*map(self._depth_if_any, names))
        return {name: count for name, count in zip(names, counts, strict=True) if count is not None}

    async def _depth_if_any(self, queue: str) -> int | None:
        try:
            return await self._depth(queue)
        except Unroutable:
            return None

    async def _depth(self, queue: str) -> int:
        return await self._transport.depth(queue, timeout=self._timeout)


async def _try(asking: Awaitable[T]) -> tuple[T | None, str | None]:
    """Return what the transport answers, or why it does not."""
    try:
        return await asking, None
    except TransportError as error:
        return None, str(error)


def _signal_id(message: Received) -> int | None:
    """Return the id of the signal in *message*; None: it holds none that could be recovered."""
    try:
        return decode_signal(message).id
    except Undecodable:
        return None
