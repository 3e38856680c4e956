"""A history of signals for tests of what becomes of them when they are old."""

from __future__ import annotations

import gzip
import json
from datetime import timedelta

from broker.deliveries import DeliveryState, DueAttempt, Outcome
from broker.signals import Throw
from broker.store.deliveries.deliveries import DeliveryStore
from broker.store.partitions.partitions import PartitionStore
from broker.store.signals.signals import SignalStore
from tests.support import builders
from tests.support.attempts import attempt_store
from tests.support.builders import DAY


class History:
    """Signals of all ages. They age by moving the moments of partitions and deliveries, not by waiting."""

    def __init__(self, database):
        self.database = database
        self.signals = SignalStore(database)
        self.deliveries = DeliveryStore(database)
        self.attempts = attempt_store(database)
        self.blocks = PartitionStore(database)

    async def throw(self, name="a", **more):
        """Record a signal and return it."""
        (signal,) = await builders.throw(self.database, Throw(name=name, **more))
        return signal

    async def attempt(self, signal, state, attempt=1):
        """Let the signal's delivery to subscription 1 come to that state."""
        due = DueAttempt(signal.id, 1, attempt)
        assert await self.attempts.claim(due) is not None
        await self.attempts.finish(self.ended(due, state))

    def ended(self, due, state):
        pause = DAY if state is DeliveryState.PARKED else None
        refusal = {"outcome": Outcome.REFUSED, "status": 500, "excerpt": "no\nway"}
        return builders.ended(due, state, pause=pause, reason="why", **refusal)

    async def close(self):
        """Go on in the next partition."""
        await self.blocks.keep_ahead()
        assert await self.blocks.close(timedelta())
        await self.blocks.keep_ahead()

    async def pass_time(self, by):
        """Make everything so much older, but for those deliveries that are owed."""
        for table, column in [
            ("blocks", "closed_at"),
            ("blocks", "emptied_at"),
            ("deliveries", "finished_at"),
            ("signals", "deliver_at"),
        ]:
            await self.database.execute(f"UPDATE {table} SET {column} = {column} - $1::interval", by)

    async def ids(self):
        """Return the ids of all signals that are there."""
        return sorted(row["id"] for row in await self.database.fetch("SELECT id FROM signals"))

    async def rows(self):
        """Return how many rows each of the four tables has."""
        counts = [
            await self.database.fetchval(f"SELECT count(*) FROM {table}")
            for table in ("signals", "matches", "deliveries", "attempts")
        ]
        return tuple(counts)


def lines(directory):
    """Return the archived documents, and the files they are in."""
    files = sorted(directory.iterdir())
    assert all(file.name.startswith("signals-") for file in files), files
    documents = [json.loads(line) for file in files for line in gzip.decompress(file.read_bytes()).splitlines()]
    return documents, [file.name for file in files]
