"""The bookkeeper: folds the books of the intake, and finds lost signals."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import structlog

from broker.errors import StoreUnavailable, TransportError
from broker.messages import Proof, proof_message
from broker.operations.books import BookReader
from broker.settings import Settings
from broker.store.postgres.database import Database
from broker.store.signals.intake_books import IntakeBooks, Range, Sight
from broker.store.signals.signals import SignalStore
from broker.streaks import Streak
from broker.topology import RECORD, dead_letters
from broker.transport import Transport
from broker.transport.sharding import shards_of

_TICK = 1.0
_NAMED = 100
"""How many ranges of lost signals one log line names."""

log = structlog.get_logger()


class Bookkeeper:
    """Runs in every scheduler process; they share the work without knowing of each other.

    Args:
        database: Where the books are.
        transport: Where the queues are.
        settings: Deadlines.
        intake: The books of the intake, if they are to judge sooner than usual.
    """

    name = "bookkeeper"

    def __init__(
        self, database: Database, transport: Transport, settings: Settings, *, intake: IntakeBooks | None = None
    ) -> None:
        self._transport = transport
        self._outcomes = Streak()
        self._timeout = settings.confirm_timeout
        self._signals = SignalStore(database)
        self._intake = intake or IntakeBooks(database)
        self._reader = BookReader(database, transport, timeout=settings.confirm_timeout)

    async def check(self) -> None:
        """Return unless keeping the books has been failing for a while.

        Raises:
            SignalBrokerError: It has, for this reason.
        """
        self._outcomes.check()

    async def run(self, stopping: asyncio.Event) -> None:
        """Keep the books until *stopping* is set."""
        while not stopping.is_set():
            try:
                await self.keep()
                self._outcomes.note_success()
            except (StoreUnavailable, TransportError) as error:
                self._outcomes.note_failure(error)
                log.warning("books.postponed", error=str(error))
            except Exception as error:
                self._outcomes.note_failure(error)
                log.exception("books.failed")
            with suppress(TimeoutError):
                async with asyncio.timeout(_TICK):
                    await stopping.wait()

    async def keep(self) -> None:
        """Enter the newest reports, strike out what is recorded, and name the signals that are lost."""
        await self._intake.fold()
        lost = await self._intake.judge(await self._reader.depths(), prove=self._prove, look=self._look)
        if lost:
            log.error(
                "signals.lost",
                signals=sum(last - first + 1 for first, last in lost),
                ids=_name(lost),
                hint="they are neither recorded nor in a queue: throw them again with `signal-broker throw`, once it is"
                " known why (docs/troubleshooting.md)",
            )

    async def _prove(self, number: int) -> int:
        """Publish a recorded signal again to each shard, as the proof of that *number*; return how many messages."""
        signal = await self._signals.get(await self._signals.last_id())
        if signal is None:
            return 0
        shards = shards_of(self._transport, RECORD)
        for position, shard in enumerate(shards):
            message = proof_message(signal, Proof(number, position, len(shards)))
            await self._transport.publish(message, exchange="", routing_key=shard, timeout=self._timeout)
        return len(shards)

    async def _look(self) -> Sight:
        sight = await self._reader.look()
        log.info("dead_queue.looked_into", queue=dead_letters(RECORD), signals=len(sight.ids), complete=sight.complete)
        return sight


def _name(ranges: Sequence[Range]) -> str:
    """Return *ranges* for people: ``17, 20-25``."""
    named = [str(first) if first == last else f"{first}-{last}" for first, last in ranges[:_NAMED]]
    return ", ".join(named) + (", ..." if len(ranges) > _NAMED else "")
