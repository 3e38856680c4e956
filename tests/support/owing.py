"""Signals recorded and deliveries brought to an end in the store alone, as recorders and deliverers would do it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from broker.deliveries import DeliveryState, DueAttempt, Outcome, Result
from broker.signals import Signal, Throw
from broker.store.deliveries.attempts import Ended
from broker.store.deliveries.deliveries import DeliveryStore
from broker.store.postgres.database import Database
from broker.store.signals.signals import SignalStore
from broker.targets import QueueTarget
from tests.support.attempts import attempt_store

QUEUE = QueueTarget(queue="q")
RESCUE_AFTER = timedelta(seconds=30)
SECOND = timedelta(seconds=1)


async def accept(database: Database, *throws: Throw) -> list[Signal]:
    """Return signals that are numbered, and not recorded yet."""
    numbered = await SignalStore(database).number([(throw, None) for throw in throws])
    return [Signal(id=n.id, created_at=n.created_at, throw=throw) for n, throw in zip(numbered, throws, strict=True)]


async def record(database: Database, *signals: Signal) -> list[DueAttempt]:
    """Record *signals* and return what is due."""
    return (await SignalStore(database).record(signals, rescue_after=RESCUE_AFTER)).due_attempts


async def throw(database: Database, *throws: Throw | str) -> list[int]:
    """Record signals (or just names of such) and return their ids."""
    signals = await accept(database, *(Throw(name=one) if isinstance(one, str) else one for one in throws))
    await record(database, *signals)
    return [signal.id for signal in signals]


async def end(database: Database, due: DueAttempt, state: DeliveryState, outcome: Outcome = Outcome.REFUSED) -> None:
    """Make the attempt *due*, which leads to *state*."""
    attempts = attempt_store(database)
    assert await attempts.claim(due) is not None, due
    await attempts.finish(
        Ended(
            due=due,
            result=Result(outcome=outcome),
            state=state,
            pause=SECOND if state is DeliveryState.PARKED else None,
            started_at=datetime.now(UTC),
            duration=SECOND,
        )
    )


async def die(database: Database, *throws: Throw | str, outcome: Outcome = Outcome.REFUSED) -> list[int]:
    """Record signals whose deliveries are all dead after one attempt, and return their ids."""
    signals = await accept(database, *(Throw(name=one) if isinstance(one, str) else one for one in throws))
    for due in await record(database, *signals):
        await end(database, due, DeliveryState.DEAD, outcome)
    return [signal.id for signal in signals]


async def balanced(database: Database) -> bool:
    """Return whether the books balance, for all subscriptions and for each, and are what a full count comes to."""
    deliveries = DeliveryStore(database)
    ids = [None, *(row["id"] for row in await database.fetch("SELECT id FROM subscriptions"))]
    for subscription_id in ids:
        ledger = await deliveries.ledger(subscription_id)
        row = await database.fetchrow(
            "SELECT (SELECT count(*) FROM matches, unnest(subscription_ids) AS id WHERE $1::bigint IS NULL OR id = $1)"
            " AS matched, (SELECT count(*) FROM deliveries WHERE $1::bigint IS NULL OR subscription_id = $1) AS owed",
            subscription_id,
        )
        assert row is not None
        if not ledger.matched == sum(ledger.states.values()) == row["matched"] == row["owed"]:
            return False
    return True
