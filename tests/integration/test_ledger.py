"""The books are kept, not counted: what is kept is what a full count comes to, at any moment."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta

import pytest

from broker import metrics
from broker.deliveries import DeliveryState, Outcome, Reason
from broker.settings import Settings
from broker.store.deliveries.attempts import Claimed
from broker.store.deliveries.deliveries import DeliveryStore
from broker.store.deliveries.pausing import PausingStore
from broker.subscriptions import SubscriptionSpec
from broker.topology import TOPOLOGY
from broker.transport.embedded import EmbeddedTransport
from tests.support import builders
from tests.support.attempts import claim, finish, sweep_waiting
from tests.support.builders import QUEUE, RESCUE_AFTER
from tests.support.listing import listed
from workers.measurer import Measurer

ENDS = [
    (DeliveryState.DELIVERED, Outcome.SUCCEEDED, None),
    (DeliveryState.PARKED, Outcome.REFUSED, timedelta(0)),
    (DeliveryState.PARKED, Outcome.REFUSED, timedelta(hours=1)),
    (DeliveryState.DEAD, Outcome.REFUSED, None),
]

FULL_COUNT = """
SELECT
    (SELECT count(*) FROM signals) AS recorded,
    (SELECT coalesce(sum(CASE WHEN $1::bigint IS NULL THEN cardinality(subscription_ids) ELSE 1 END), 0)::bigint
     FROM matches WHERE $1::bigint IS NULL OR subscription_ids @> ARRAY[$1::bigint]) AS matched,
    count(*) FILTER (WHERE state = 'pending') AS pending,
    count(*) FILTER (WHERE state = 'parked') AS parked,
    count(*) FILTER (WHERE state = 'delivered') AS delivered,
    count(*) FILTER (WHERE state = 'dead') AS dead,
    count(*) FILTER (WHERE state = 'cancelled') AS cancelled
FROM deliveries WHERE $1::bigint IS NULL OR subscription_id = $1
"""


@pytest.fixture
def record(database):
    """Call it to record signals of these names; it returns what is due."""

    async def record(*names):
        return await builders.record(database, *await builders.accept(database, *names))

    return record


async def compare(database, subscription_id=None):
    """Return the ledger, which must be what a full count comes to in the very same snapshot."""
    async with database.transaction() as session:
        await session.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        ledger = await DeliveryStore(session).ledger(subscription_id)
        row = await session.fetchrow(FULL_COUNT, subscription_id)
    kept = {"recorded": ledger.recorded, "matched": ledger.matched} | {s.value: n for s, n in ledger.states.items()}
    assert kept == dict(row)
    assert ledger.unaccounted == 0
    return ledger


class Bustle:
    """Recorders, deliverers, schedulers and operators at work, as chance will have it."""

    def __init__(self, record, subscriptions, deliveries, attempts, pausing):
        self.record, self.subscriptions, self.deliveries = record, subscriptions, deliveries
        self.attempts, self.pausing = attempts, pausing
        self.chance = random.Random(7)
        self.due = []

    async def work(self, *beside, delete):
        """Do everything at once, and *beside*; *delete* are subscriptions."""
        work = [work() for work in (self.throw, self.attempt, self.sweep) * 2]
        await asyncio.gather(*work, self.operate(delete), *beside)
        await self.attempt()  # the others may have ended before anything was due

    async def throw(self):
        for _ in range(25):
            self.due += await self.record(*self.chance.choices(["a", "b", "a.b", "nobody"], k=4))

    async def attempt(self):
        for _ in range(60):
            self.due += await self.deliveries.release(limit=1, rescue_after=RESCUE_AFTER)
            due_attempts = [self.due.pop() for _ in range(min(5, len(self.due)))]
            begun = [one for one in await claim(self.attempts, *due_attempts) if isinstance(one, Claimed)]
            await finish(self.attempts, *(ended(claimed.due, *self.chance.choice(ENDS)) for claimed in begun))

    async def sweep(self):
        for _ in range(40):
            self.due += await self.deliveries.release(limit=5, rescue_after=RESCUE_AFTER)
            self.due += await sweep_waiting(self.pausing)
            await self.deliveries.fold_ledger(limit=self.chance.choice([1, 20, 10_000]))

    async def operate(self, delete):
        for turn in range(30):
            for dead in await listed(self.deliveries, state="dead", limit=3):
                await self.deliveries.redrive((dead.signal_id, dead.subscription_id))
            if turn % 10 == 5:
                await self.subscriptions.delete(delete.pop())


def ended(due, state, outcome, pause):
    reason = Reason.RETRY.value if state is DeliveryState.PARKED else None
    return builders.ended(due, state, outcome=outcome, pause=pause, reason=reason)


@pytest.mark.slow
async def test_what_is_kept_is_what_a_full_count_comes_to_at_any_moment(
    record, subscriptions, deliveries, attempts, database
):
    made = [
        (await subscriptions.create(SubscriptionSpec(name=name, targets=(QUEUE,), once=once), secret=None)).id
        for name, once in [("a", False), ("#", False), ("b", True), ("a", False), ("*.b", True), ("b", False)]
    ]
    bustle = Bustle(record, subscriptions, deliveries, attempts, PausingStore(database))

    async def look():
        for turn in range(40):
            await compare(database, None if turn % 2 else bustle.chance.choice(made))

    await bustle.work(look(), delete=made[3:])
    await subscriptions.delete(made[1])  # the others may have been deleted before anything was owed to them
    await sweep_waiting(PausingStore(database))
    while await deliveries.fold_ledger(limit=100):
        await compare(database)
    ledger = await compare(database)
    assert ledger.recorded == 200
    assert all(
        ledger.states[state] for state in (DeliveryState.DELIVERED, DeliveryState.PARKED, DeliveryState.CANCELLED)
    ), ledger
    for subscription_id in made:
        await compare(database, subscription_id)


async def test_a_statement_that_leaves_the_states_alone_leaves_nothing_to_fold(
    record, subscriptions, deliveries, attempts, database
):
    await subscriptions.create(SubscriptionSpec(name="a", targets=(QUEUE,)), secret=None)
    (due,) = await record("a")
    assert await deliveries.fold_ledger(limit=100) == 3, "a signal, a match, a pending delivery"
    assert await attempts.claim(due) is not None
    await deliveries.rescue("", limit=10, rescue_after=RESCUE_AFTER)
    assert await deliveries.fold_ledger(limit=100) == 0


async def test_the_books_are_right_after_deletions_behind_the_product(record, subscriptions, deliveries, database):
    """Whoever deletes signals with all that belongs to them, and adds to what was owed, finds the books balanced."""
    first = await subscriptions.create(SubscriptionSpec(name="a", targets=(QUEUE,)), secret=None)
    second = await subscriptions.create(SubscriptionSpec(name="#", targets=(QUEUE,)), secret=None)
    await record("a", "a", "b", "a")
    for table in ("signals", "matches", "deliveries"):
        column = "id" if table == "signals" else "signal_id"
        await database.execute(f"DELETE FROM {table} WHERE {column} = (SELECT min({column}) FROM {table})")
    await database.execute("UPDATE matches SET subscription_ids = $1 WHERE cardinality(subscription_ids) = 1", [2, 3])
    await database.execute(
        "INSERT INTO deliveries SELECT signal_id, 3, 'dead' FROM deliveries GROUP BY signal_id HAVING count(*) = 1"
    )
    assert [first.id, second.id] == [1, 2]
    for _ in range(2):
        assert (await compare(database)).matched == 6
        assert (await compare(database, 1)).matched == 2
        assert (await compare(database, 3)).states[DeliveryState.DEAD] == 1
        await deliveries.fold_ledger(limit=100)


@pytest.mark.slow
async def test_a_delivery_that_vanishes_is_unaccounted_for_and_the_metric_says_so(
    record, subscriptions, deliveries, database
):
    subscription = await subscriptions.create(SubscriptionSpec(name="a", targets=(QUEUE,)), secret=None)
    await record("a", "a", "a")
    async with EmbeddedTransport(database) as transport:
        await transport.declare(TOPOLOGY)
        measurer = Measurer(database, transport, Settings())

        async def measured():
            await measurer.measure_books()
            return metrics.REGISTRY.get_sample_value("signal_broker_unaccounted")

        assert await measured() == 0
        await database.execute("DELETE FROM deliveries WHERE signal_id = (SELECT max(signal_id) FROM deliveries)")
        assert await measured() == 1
    assert (await deliveries.ledger(subscription.id)).unaccounted == 1
    await deliveries.fold_ledger(limit=100)
    assert (await deliveries.ledger(subscription.id)).unaccounted == 1


@pytest.mark.slow
async def test_the_metric_has_deaths_and_cancellations_that_no_attempt_made(
    record, subscriptions, attempts, pausing, database
):
    disabled = await subscriptions.create(SubscriptionSpec(name="a", targets=(QUEUE,)), secret=None)
    deleted = await subscriptions.create(SubscriptionSpec(name="a", targets=(QUEUE,)), secret=None)
    due_attempts = await record(*"aaaaaa")
    for subscription in (disabled, deleted):
        await pausing.pause(subscription.id)
    await claim(attempts, *due_attempts)
    async with EmbeddedTransport(database) as transport:
        await transport.declare(TOPOLOGY)
        measurer = Measurer(database, transport, Settings())

        async def measured():
            await measurer.measure_books()
            states = ("dead", "cancelled")
            return [metrics.REGISTRY.get_sample_value("signal_broker_deliveries", {"state": state}) for state in states]

        assert await measured() == [0, 0]
        await database.execute("UPDATE subscriptions SET disabled_because = 'gone' WHERE id = $1", disabled.id)
        await subscriptions.delete(deleted.id)
        await sweep_waiting(pausing)
        assert await measured() == [6, 6]
