"""Attempts claimed and ended in the store alone, many together, as one deliverer does it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from broker.deliveries import DueAttempt
from broker.store.deliveries.attempts import Ended
from broker.store.deliveries.claiming import Answer, AttemptStore
from broker.store.deliveries.ending import Effects
from broker.store.deliveries.pacing import PacingStore, Reserved
from broker.store.deliveries.pausing import PausingStore
from broker.store.deliveries.presence import Presence
from broker.store.postgres.database import Database
from tests.support.builders import RESCUE_AFTER


def attempt_store(database: Database) -> AttemptStore:
    """Return where attempts at subscriptions without a timeout may take a second, and half a minute more."""
    return AttemptStore(database, Presence(database), timeout=timedelta(seconds=1), rescue_after=timedelta(seconds=30))


async def claim(attempts: AttemptStore, *due_attempts: DueAttempt, redelivered: bool = False) -> Sequence[Answer]:
    """Claim attempts, all of them at once."""
    return await asyncio.gather(*(attempts.claim(due, redelivered=redelivered) for due in due_attempts))


async def finish(attempts: AttemptStore, *batch: Ended) -> Sequence[Effects]:
    """End attempts, all of them at once."""
    return await asyncio.gather(*(attempts.finish(ended) for ended in batch))


async def sweep_waiting(pausing: PausingStore, *, most: int = 1000) -> list[DueAttempt]:
    """Let waiting deliveries go on, or end them, so many of each subscription at most; return the attempts to make."""
    swept = await pausing.sweep(dict.fromkeys(await pausing.find(), most), rescue_after=RESCUE_AFTER)
    return swept.due_attempts


async def pace(database: Database, *, limit: int = 1000) -> Reserved:
    """Give out the reservations that can be given out now, to so many deliveries of each subscription at most."""
    pacing = PacingStore(database, limit=limit)
    limits = {key: waiting.most for key, waiting in (await pacing.find()).items()}
    return await pacing.reserve(limits, rescue_after=RESCUE_AFTER)
