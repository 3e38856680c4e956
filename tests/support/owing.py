"""Signals recorded and deliveries brought to an end in the store alone, as recorders and deliverers would do it."""

from __future__ import annotations

from broker.deliveries import DeliveryState, DueAttempt, Outcome
from broker.signals import Throw
from broker.store.deliveries.deliveries import DeliveryStore
from broker.store.postgres.database import Database
from tests.support import builders
from tests.support.attempts import attempt_store
from tests.support.builders import SECOND, ended


async def throw(database: Database, *throws: Throw | str) -> list[int]:
    """Record signals (or just names of such) and return their ids."""
    return [signal.id for signal in await builders.throw(database, *throws)]


async def end(database: Database, due: DueAttempt, state: DeliveryState, outcome: Outcome = Outcome.REFUSED) -> None:
    """Make the attempt *due*, which leads to *state*."""
    attempts = attempt_store(database)
    assert await attempts.claim(due) is not None, due
    pause = SECOND if state is DeliveryState.PARKED else None
    await attempts.finish(ended(due, state, outcome=outcome, pause=pause))


async def die(database: Database, *throws: Throw | str, outcome: Outcome = Outcome.REFUSED) -> list[int]:
    """Record signals whose deliveries are all dead after one attempt, and return their ids."""
    signals = await builders.accept(database, *throws)
    for due in await builders.record(database, *signals):
        await end(database, due, DeliveryState.DEAD, outcome)
    return [signal.id for signal in signals]


async def balanced(database: Database) -> bool:
    """Return whether the books balance, for all subscriptions and for each, and are what a full count comes to."""
    deliveries = DeliveryStore(database)
    ids = [None, *(row["id"] for row in await database.fetch("SELECT id FROM subscriptions"))]
    for subscription_id in ids:
        ledger = await deliveries.ledger(subscription_id)
        row = await database.fetchrow(
            "SELECT (SELECT count(*) FROM"
            " (SELECT subscription_ids FROM matches UNION ALL SELECT subscription_ids FROM match_chunks) AS m,"
            " unnest(subscription_ids) AS id WHERE $1::bigint IS NULL OR id = $1)"
            " AS matched, (SELECT count(*) FROM deliveries WHERE $1::bigint IS NULL OR subscription_id = $1) AS owed",
            subscription_id,
        )
        assert row is not None
        if not ledger.matched == sum(ledger.states.values()) == row["matched"] == row["owed"]:
            return False
    return True
