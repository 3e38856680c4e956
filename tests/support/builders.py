"""What tests of the store build again and again: signals, numbered and recorded, and attempts that have ended."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from broker.deliveries import DeliveryState, DueAttempt, Outcome, Result
from broker.moments import next_millisecond
from broker.signals import Signal, Throw
from broker.store.deliveries.attempts import Claimed, Ended
from broker.store.postgres.database import Database
from broker.store.signals.signals import SignalStore
from broker.targets import QueueTarget

MILLISECOND, SECOND, DAY = timedelta(milliseconds=1), timedelta(seconds=1), timedelta(days=1)
RESCUE_AFTER = timedelta(seconds=30)
"""How long what was published counts as on its way."""
QUEUE = QueueTarget(queue="q")

_OUTCOMES = {DeliveryState.DELIVERED: Outcome.SUCCEEDED}
_OF_RESULT = ("outcome", "status", "error", "excerpt", "exchange")


def signal(signal_id: int = 1, *, created_at: datetime | None = None, **spec: Any) -> Signal:
    """Return a signal of a throw with these *spec*, named `a` unless they say otherwise, thrown now by default."""
    now = next_millisecond(datetime.now(UTC)) - MILLISECOND
    return Signal(id=signal_id, created_at=created_at or now, throw=Throw(**{"name": "a", **spec}))


def separating_moment() -> datetime:
    """Return a moment between what was thrown and what will be: the times of signals are whole milliseconds."""
    moment = next_millisecond(datetime.now(UTC) + timedelta(microseconds=1))
    while datetime.now(UTC) < moment:
        pass
    return moment


async def accept(database: Database, *throws: Throw | str) -> list[Signal]:
    """Return signals (of throws, or just of names) that are numbered in their order, and not recorded yet."""
    thrown = [Throw(name=one) if isinstance(one, str) else one for one in throws]
    numbered = await SignalStore(database).number([(throw, None) for throw in thrown])
    return [Signal(id=n.id, created_at=n.created_at, throw=throw) for n, throw in zip(numbered, thrown, strict=True)]


async def record(database: Database, *signals: Signal, rescue_after: timedelta = RESCUE_AFTER) -> list[DueAttempt]:
    """Record *signals* in one batch and return the attempts that are due."""
    return (await SignalStore(database).record(signals, rescue_after=rescue_after)).due_attempts


async def throw(database: Database, *throws: Throw | str) -> list[Signal]:
    """Return signals that are accepted and recorded."""
    signals = await accept(database, *throws)
    await record(database, *signals)
    return signals


def ended(attempt: DueAttempt | Claimed, state: DeliveryState, *, pause: timedelta | None = None, **more: Any) -> Ended:
    """Return *attempt* as it ended just now and made the delivery *state*.

    It succeeded if the delivery is delivered, else it was refused. *more* are other members of `Ended`, and those of
    its result: `outcome`, `status`, `error`, `excerpt` and `exchange`.
    """
    result = {"outcome": _OUTCOMES.get(state, Outcome.REFUSED)}
    result |= {name: more.pop(name) for name in _OF_RESULT if name in more}
    if isinstance(attempt, Claimed):
        more = {"in_group": attempt.in_group, "admitted": attempt.admitted, **more}
    return Ended(
        due=attempt.due if isinstance(attempt, Claimed) else attempt,
        result=Result(**result),
        state=state,
        pause=pause,
        **{"started_at": datetime.now(UTC), "duration": SECOND, **more},
    )
