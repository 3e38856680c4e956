"""Outcomes: how attempts ended is stored as soon as PostgreSQL takes it, and what waited for that goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain, repeat

import structlog

from broker import metrics
from broker.circuits import Phase
from broker.deliveries import GONE, DueAttempt
from broker.errors import StoreRefusal, StoreUnavailable
from broker.store.deliveries.attempts import Ended
from broker.store.deliveries.claiming import AttemptStore
from broker.store.deliveries.ending import Effects
from broker.store.postgres.database import DataError
from broker.streaks import Streak
from workers.keeping import Kept

_PAUSES = (0.1, 0.2, 0.5, 1.0)
"""Seconds between tries to store an outcome; the last one repeats. `Scheduler.rescue` waits for longer than that."""

log = structlog.get_logger()


class Outcomes:
    """Stores outcomes. An outcome is kept until it is stored, however long PostgreSQL is away or refuses it.

    Args:
        attempts: Where attempts are ended.
        dispatch: Publishes attempts that may be made now.
        streak: Told of what fails.
    """

    def __init__(
        self, attempts: AttemptStore, dispatch: Callable[[Sequence[DueAttempt]], Awaitable[None]], streak: Streak
    ) -> None:
        self._attempts = attempts
        self._dispatch = dispatch
        self._streak = streak
        self.kept = Kept(self._store)

    async def store(self, ended: Ended) -> None:
        """Store how an attempt ended as soon as PostgreSQL can; if it refuses that, keep it until it does not."""
        for tried, pause in enumerate(chain(_PAUSES, repeat(_PAUSES[-1]))):
            try:
                return await self._store(ended)
            except (StoreUnavailable, DataError) as error:
                refused = isinstance(error, StoreRefusal | DataError)
                self._streak.note_failure(error, of=ended.due.delivery_id if refused else None)
                if refused and tried >= len(_PAUSES) and self.kept.keep(ended):
                    return None
                if not tried:
                    log.warning("outcome.kept", delivery_id=ended.due.delivery_id, error=str(error))
                await asyncio.sleep(pause)
        raise AssertionError("the pauses have no end")

    async def let_go_on(self, ended: Ended, effects: Effects) -> None:
        """Let go on what waited for the end of the attempt, which is stored."""
        _log_effects(ended, effects)
        await self._dispatch(effects.due_attempts)

    async def _store(self, ended: Ended) -> None:
        await self.let_go_on(ended, await self._attempts.finish(ended))


def _log_effects(ended: Ended, effects: Effects) -> None:
    """Log and count side effects: a disabled subscription, a circuit that opened or closed."""
    if effects.disabled:
        metrics.DISABLED.inc()
        log.warning("subscription.disabled", subscription_id=ended.due.subscription_id, reason=GONE)
    if effects.circuit is Phase.OPEN:
        metrics.CIRCUITS_OPENED.inc()
        log.warning("circuit.opened", subscription_id=ended.due.subscription_id, error=ended.result.error)
    elif effects.circuit is Phase.CLOSED:
        log.info("circuit.closed", subscription_id=ended.due.subscription_id)
