"""The sums of the statistics are those of the ledger after any history, sessions that were killed included."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from datetime import timedelta

import pytest

from broker.deliveries import DeliveryState, Outcome, Reason
from broker.errors import StoreUnavailable
from broker.signals import Throw
from broker.statistics import Split
from broker.store.deliveries.attempts import Claimed
from broker.subscriptions import SubscriptionSpec
from tests.support import builders
from tests.support.attempts import claim, finish, sweep_waiting
from tests.support.builders import QUEUE, RESCUE_AFTER
from tests.support.eventually import eventually
from tests.support.listing import listed
from tests.support.statistics import groups, sums

TRUTH = """
CREATE TABLE truth (was text, became text, retried boolean);
CREATE FUNCTION tell_truth() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO truth VALUES (NULL, NEW.state, false);
    ELSIF OLD.state <> NEW.state THEN
        INSERT INTO truth VALUES (
            OLD.state, NEW.state, OLD.state = 'pending' AND OLD.begun_at IS NOT NULL AND NEW.state = 'parked'
        );
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER truth AFTER INSERT OR UPDATE ON deliveries FOR EACH ROW EXECUTE FUNCTION tell_truth();
"""
"""What became of each delivery, one row at a time."""

KILL = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE pid = (
    SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle' AND query NOT LIKE '%LISTEN%'
    ORDER BY random() LIMIT 1
)
"""
ENDS = [
    (DeliveryState.DELIVERED, Outcome.SUCCEEDED, None),
    (DeliveryState.PARKED, Outcome.REFUSED, timedelta(0)),
    (DeliveryState.PARKED, Outcome.THROTTLED, timedelta(0)),
    (DeliveryState.DEAD, Outcome.REFUSED, None),
]
SPECS = [
    {"name": "a"},
    {"name": "#"},
    {"name": "b", "once": True},
    {"name": "a.*", "tenant_id": "acme"},
    {"name": "a", "ordered": True},
    {"name": "b", "max_in_flight": 2},
    {"name": "b"},
]


class Bustle:
    """Recorders, deliverers, schedulers and operators, and someone who kills their sessions."""

    def __init__(self, database, subscriptions, attempts, pausing, deliveries):
        self.database, self.subscriptions, self.attempts = database, subscriptions, attempts
        self.pausing, self.deliveries = pausing, deliveries
        self.chance = random.Random(11)
        self.due = []
        self.made = []
        self.operated = asyncio.Event()
        self.over = asyncio.Event()
        self.killed = 0

    async def insist(self, do):
        """Return what *do* comes to, once no one kills its session."""
        while True:
            try:
                return await do()
            except StoreUnavailable:
                self.killed += 1

    async def subscribe(self):
        for spec in SPECS:
            made = await self.subscriptions.create(SubscriptionSpec(targets=(QUEUE,), **spec), secret=None)
            self.made.append(made.id)

    async def throw(self):
        for _ in range(20):
            keys = self.chance.choices([None, "k", "l"], k=3)
            throws = [Throw(name=self.chance.choice(["a", "b", "a.b"]), ordering_key=key) for key in keys]
            signals = await self.insist(lambda throws=throws: builders.accept(self.database, *throws))
            self.due += await self.insist(lambda signals=signals: builders.record(self.database, *signals))

    async def attempt(self):
        while not self.operated.is_set():
            await self.attempt_some()

    async def attempt_some(self):
        self.due += await self.insist(lambda: self.deliveries.release(limit=3, rescue_after=RESCUE_AFTER))
        self.due += await self.insist(lambda: sweep_waiting(self.pausing))
        taken = [self.due.pop() for _ in range(min(5, len(self.due)))]
        begun = await self.insist(lambda taken=taken: claim(self.attempts, *taken))
        batch = [self.ended(one) for one in begun if isinstance(one, Claimed)]
        for effects in await self.insist(lambda batch=batch: finish(self.attempts, *batch)):
            self.due += effects.due_attempts

    def ended(self, claimed):
        state, outcome, pause = self.chance.choice(ENDS)
        reason = Reason.RETRY.value if state is DeliveryState.PARKED else None
        return builders.ended(claimed, state, outcome=outcome, pause=pause, reason=reason)

    async def has_all(self):
        _, _, retried = await counted(self.database)
        return retried and {"delivered", "dead"} <= {
            row["became"] for row in await self.database.fetch("SELECT became FROM truth")
        }

    async def operate(self):
        await eventually(lambda: self.insist(self.has_all))
        for turn in range(20):
            for state in ("dead", "delivered", "cancelled"):
                for one in await self.insist(lambda state=state: listed(self.deliveries, state=state, limit=2)):
                    key = (one.signal_id, one.subscription_id)
                    await self.insist(lambda key=key: self.deliveries.redrive(key))
            if turn == 10:
                await self.insist(lambda: self.pausing.pause(self.made[0]))
                await self.insist(lambda: self.subscriptions.delete(self.made[-1]))
            if turn == 15:
                await self.insist(lambda: self.pausing.resume(self.made[0], per_second=None))
            limit = self.chance.choice([1, 50, 1000])
            await self.insist(lambda limit=limit: self.deliveries.fold_ledger(limit=limit))
        await eventually(lambda: self.killed)
        self.operated.set()

    async def kill(self):
        """Kill one session after the other, ever more slowly: on a busy machine a transaction may take seconds."""
        pause = 0.05
        while not self.over.is_set():
            await self.insist(lambda: self.database.fetchval(KILL))
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self.over.wait()
            pause *= 1.05

    async def work(self):
        killing = asyncio.create_task(self.kill())
        try:
            async with asyncio.TaskGroup() as group:
                for do in (self.throw, self.throw, self.attempt, self.attempt, self.attempt, self.operate):
                    group.create_task(do())
        finally:
            self.over.set()
            await killing
        for _ in range(60):
            await self.attempt_some()


async def counted(database):
    """Return how many deliveries came into each state, went out of it, and were retried, as the rows told it."""
    rows = await database.fetch("SELECT was, became, count(*) AS n FROM truth GROUP BY was, became")
    states = ("delivered", "dead")
    came = {state: sum(row["n"] for row in rows if row["became"] == state) for state in states}
    went = {state: sum(row["n"] for row in rows if row["was"] == state) for state in states}
    return came, went, await database.fetchval("SELECT count(*) FROM truth WHERE retried")


@pytest.mark.slow
async def test_the_sums_are_those_of_the_ledger(subscriptions, attempts, pausing, deliveries, database):
    await database.execute(TRUTH)
    bustle = Bustle(database, subscriptions, attempts, pausing, deliveries)
    await bustle.subscribe()
    await bustle.work()

    kept, ledger = await sums(database), await deliveries.ledger()
    came, went, retried = await counted(database)
    assert kept == {"accepted": 120, "recorded": 120, **came, "retried": retried}
    assert kept["recorded"] == ledger.recorded
    for state in (DeliveryState.DELIVERED, DeliveryState.DEAD):
        assert kept[state.value] - went[state.value] == ledger.states[state]
    assert all([*came.values(), *went.values(), retried, bustle.killed]), "the history has all of it"
    for split in Split:
        of_groups = await groups(database, split)
        assert [sum(column) for column in zip(*of_groups.values(), strict=True)][2:] == list(kept.values())[2:], split
    for subscription in bustle.made:
        owed = await sums(database, subscription_id=subscription)
        assert owed["recorded"] == owed["accepted"] == (await deliveries.ledger(subscription)).matched
