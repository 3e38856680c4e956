"""The store's half of ordered deliveries: one at a time of each line, in the order in which throws were answered."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest

from broker.deliveries import DELETED, DeliveryState
from broker.store.deliveries.attempts import Claimed
from broker.store.deliveries.ordering import OrderingStore, lock_keys
from broker.store.deliveries.pausing import PausingStore
from broker.store.signals.intake_books import IntakeBooks
from broker.subscriptions import HeadOfLine
from tests.support.attempts import sweep_waiting
from tests.support.builders import RESCUE_AFTER, record
from tests.support.eventually import eventually
from tests.support.intake import lose
from tests.support.ordering import Desk, ended


@pytest.fixture
def desk(database):
    return Desk(database)


PENDING, WAITS, DELIVERED = ("pending", None), ("parked", "ordered"), ("delivered", None)


@pytest.mark.slow
async def test_one_goes_at_a_time_in_the_order_of_the_throws(desk):
    subscription = await desk.subscribe()
    first, second, third = await desk.throw("a", "a", "a")
    assert await desk.record(first, second, third) == [first.id]
    assert await desk.states(subscription) == [PENDING, WAITS, WAITS]
    assert await desk.attempt(first, subscription) == [second.id]
    assert await desk.attempt(second, subscription) == [third.id]
    assert await desk.attempt(third, subscription) == []
    assert await desk.states(subscription) == [DELIVERED] * 3


@pytest.mark.slow
async def test_lines_of_other_keys_and_of_other_subscriptions_do_not_wait(desk):
    one, other = await desk.subscribe(), await desk.subscribe()
    signals = await desk.throw("a", "b", "a")
    await desk.record(*signals)
    assert await desk.states(one) == await desk.states(other) == [PENDING, PENDING, WAITS]
    assert await desk.attempt(signals[0], other) == [signals[2].id]
    assert await desk.states(one) == [PENDING, PENDING, WAITS]


async def test_what_has_no_key_and_who_is_not_ordered_waits_for_nobody(desk):
    ordered, not_ordered = await desk.subscribe(), await desk.subscribe(ordered=False)
    await desk.record(*await desk.throw("a", "a"), *await desk.number(None, None))
    assert await desk.states(not_ordered) == [PENDING] * 4
    assert await desk.states(ordered) == [PENDING, WAITS, PENDING, PENDING]


@pytest.mark.slow
async def test_a_failed_attempt_holds_up_its_line_until_the_retry_has_ended(desk):
    subscription = await desk.subscribe()
    first, second = await desk.throw("a", "a")
    await desk.record(first, second)
    assert await desk.attempt(first, subscription, DeliveryState.PARKED, pause=timedelta()) == []
    assert await desk.sweep() == []
    assert await desk.states(subscription) == [("parked", "retry"), WAITS]
    assert await desk.release() == [first.id]
    assert await desk.attempt(first, subscription) == [second.id]


@pytest.mark.slow
async def test_behind_a_dead_one_all_wait_until_it_is_redriven(desk):
    subscription = await desk.subscribe(head_of_line=HeadOfLine.BLOCK)
    first, second = await desk.throw("a", "a")
    await desk.record(first, second)
    assert await desk.attempt(first, subscription, DeliveryState.DEAD) == []
    assert await desk.sweep() == []
    (third,) = await desk.throw("a")
    assert await desk.record(third) == []
    await desk.deliveries.redrive((first.id, subscription))
    assert await desk.release() == [], "it goes by its line"
    assert await desk.sweep() == [first.id]
    assert await desk.attempt(first, subscription) == [second.id]


@pytest.mark.slow
async def test_behind_a_dead_one_all_go_on_if_it_is_to_be_skipped(desk):
    subscription = await desk.subscribe(head_of_line=HeadOfLine.SKIP)
    first, second, third = await desk.throw("a", "a", "a")
    await desk.record(first, second, third)
    assert await desk.attempt(first, subscription, DeliveryState.DEAD) == [second.id]
    await desk.deliveries.redrive((first.id, subscription))
    assert await desk.sweep() == [], "one at a time, redriven or not"
    assert await desk.attempt(second, subscription) == [first.id], "who is redriven is the first of those who wait"
    assert await desk.attempt(first, subscription) == [third.id]


@pytest.mark.slow
async def test_a_signal_waits_for_one_that_was_answered_before_it_was_thrown_and_is_not_recorded_yet(desk):
    subscription = await desk.subscribe()
    (first,) = await desk.throw("a")
    (second,) = await desk.throw("a")
    assert await desk.record(second) == []
    assert await desk.sweep() == []
    assert await desk.record(first) == [first.id]
    assert await desk.attempt(first, subscription) == [second.id]


@pytest.mark.slow
async def test_a_signal_whose_throw_was_not_answered_holds_up_nobody_and_is_last_in_every_line(desk):
    one, other = await desk.subscribe(), await desk.subscribe()
    (unanswered,) = await desk.number("a")
    first, second = await desk.throw("a", "a")
    assert await desk.record(first, second) == [first.id, first.id]
    assert await desk.attempt(first, one) == [second.id]
    assert await desk.record(unanswered) == []
    assert await desk.attempt(second, one) == [unanswered.id]
    assert await desk.attempt(first, other) == [second.id], "though nobody had got the second one there"
    assert await desk.attempt(second, other) == [unanswered.id]


async def test_an_answer_that_comes_after_the_recording_is_expected_by_nobody(desk):
    subscription = await desk.subscribe()
    (first,) = await desk.number("a")
    await desk.record(first)
    await desk.answer(first)
    assert await desk.database.fetchval("SELECT count(*) FROM expected_signals") == 0
    await desk.database.execute("INSERT INTO expected_signals VALUES ($1, 'a')", first.id)  # they crossed each other
    (second,) = await desk.throw("a")
    await desk.record(second)
    assert await desk.attempt(first, subscription) == [second.id]
    await desk.ordering.forget_pending_records()
    assert await desk.database.fetchval("SELECT count(*) FROM expected_signals") == 0


async def test_nobody_is_expected_where_nobody_is_ordered(desk):
    await desk.subscribe(ordered=False)
    await desk.throw("a")
    assert await desk.database.fetchval("SELECT count(*) FROM expected_signals") == 0


@pytest.mark.slow
async def test_a_signal_that_is_lost_is_expected_until_the_books_know(desk):
    subscription = await desk.subscribe()
    await desk.throw("a")
    (second,) = await desk.throw("a")
    await desk.record(second)
    await desk.ordering.forget_pending_records()
    assert await desk.sweep() == []
    await lose(IntakeBooks(desk.database, lost_after=timedelta(seconds=0.1)), 1)
    assert await desk.sweep() == [second.id]
    assert await desk.states(subscription) == [PENDING]


async def test_a_signal_for_later_gets_into_its_line_when_its_moment_has_come(desk):
    subscription = await desk.subscribe()
    (later,) = await desk.number("a", deliver_at=datetime.now(UTC) + timedelta(hours=1))
    (now,) = await desk.throw("a")
    assert await desk.record(later, now) == [now.id]
    assert await desk.sweep() == []
    await desk.database.execute("UPDATE deliveries SET due_at = now() WHERE reason = 'scheduled'")
    assert await desk.release() == []
    assert await desk.sweep() == []
    assert await desk.states(subscription) == [WAITS, PENDING]
    assert await desk.attempt(now, subscription) == [later.id]


async def test_a_deleted_subscription_has_no_lines(desk):
    subscription = await desk.subscribe()
    await desk.record(*await desk.throw("a", "a"))
    await desk.subscriptions.delete(subscription)
    await sweep_waiting(PausingStore(desk.database))
    assert await desk.states(subscription) == [("cancelled", DELETED)] * 2
    assert await desk.sweep() == []


async def test_recording_twice_does_not_let_two_go(desk):
    subscription = await desk.subscribe()
    signals = await desk.throw("a", "a")
    await desk.record(*signals)
    assert await desk.record(*signals) == [signals[0].id], "its message may never have been published"
    assert await desk.states(subscription) == [PENDING, WAITS]


@pytest.mark.slow
async def test_sweeping_looks_at_every_group_in_turn(desk):
    desk.ordering = OrderingStore(desk.database, groups=3)
    subscription = await desk.subscribe()
    keys = [f"key-{number}" for number in range(10)]
    await desk.record(*await desk.throw(*keys, *keys))
    await desk.database.execute("UPDATE deliveries SET state = 'delivered' WHERE state = 'pending'")
    assert len(await desk.sweep()) == 3
    for _ in range(8):
        await desk.sweep()
    assert await desk.states(subscription) == [DELIVERED] * 10 + [PENDING] * 10


@pytest.mark.slow
async def test_who_records_or_ends_what_is_in_a_line_waits_for_whoever_looks_at_it(desk):
    subscription = await desk.subscribe()
    first, second, other = await desk.throw("a", "a", "b")
    await desk.record(first)
    async with desk.database.transaction() as session:
        await lock_keys(session, ["a"])
        tasks = [
            asyncio.create_task(desk.record(second)),
            asyncio.create_task(desk.attempt(first, subscription)),
        ]
        assert await desk.record(other) == [other.id]
        await eventually(lambda: waiting(desk.database, 2))
    recorded, promoted = await asyncio.gather(*tasks)
    assert [*recorded, *promoted] == [second.id]


async def waiting(database, count):
    """Return whether so many statements wait for somebody else's lock."""
    found = await database.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    return found == count


class Bustle:
    """Throwers, recorders that get signals in any order, deliverers and a scheduler, who all work at once."""

    def __init__(self, desk, subscriptions, keys):
        self.desk = desk
        self.keys = keys
        self.chance = random.Random(5)
        self.throwing = len(keys)
        self.queue = []
        self.going = asyncio.Queue()
        self.in_flight = set()
        self.answered = {key: [] for key in keys}
        self.delivered = {subscription: [] for subscription in subscriptions}

    @property
    def over(self):
        return sum(map(len, self.delivered.values())) == 20 * len(self.keys) * len(self.delivered)

    async def run(self):
        recorders, deliverers = (self.record() for _ in range(2)), (self.deliver() for _ in range(4))
        async with asyncio.timeout(60):
            await asyncio.gather(*map(self.throw, self.keys), *recorders, *deliverers, self.schedule())

    async def throw(self, key):
        for _ in range(20):
            (signal,) = await self.desk.number(key)
            self.queue.append(signal)
            await asyncio.sleep(self.chance.random() / 100)
            await self.desk.answer(signal)
            self.answered[key].append(signal.id)
        self.throwing -= 1

    async def record(self):
        while self.throwing or self.queue:
            self.chance.shuffle(self.queue)
            batch = [self.queue.pop() for _ in range(min(len(self.queue), self.chance.randint(1, 4)))]
            if batch:
                self.go(await record(self.desk.database, *batch))
            await asyncio.sleep(0.002)

    def go(self, due_attempts):
        for due in due_attempts:
            self.going.put_nowait(due)

    async def deliver(self):
        while not self.over:
            with suppress(TimeoutError):
                await self.attempt(await asyncio.wait_for(self.going.get(), 0.2))

    async def attempt(self, due):
        answer = await self.desk.attempts.claim(due)
        while isinstance(answer, Claimed):
            answer = await self.make(answer)
        self.go(answer.due_attempts)

    async def make(self, claimed):
        """Make the attempt, and return what it was handed on to, or what its end let go on."""
        line = claimed.due.subscription_id, claimed.signal.throw.ordering_key
        assert line not in self.in_flight
        self.in_flight.add(line)
        await asyncio.sleep(self.chance.random() / 200)
        self.in_flight.discard(line)
        state = self.chance.choice([DeliveryState.DELIVERED, DeliveryState.DELIVERED, DeliveryState.PARKED])
        end = self.desk.attempts.finish
        if state is DeliveryState.DELIVERED:
            self.delivered[line[0]].append((line[1], claimed.due.signal_id))
            end = self.chance.choice([end, self.desk.attempts.hand_on])
        return await end(ended(claimed, state, timedelta()))

    async def schedule(self):
        while not self.over:
            self.go(await self.desk.deliveries.release(limit=100, rescue_after=RESCUE_AFTER))
            self.go(await self.desk.ordering.sweep(most=1000, rescue_after=RESCUE_AFTER))
            await asyncio.sleep(0.01)


@pytest.mark.slow
async def test_whatever_happens_at_the_same_time_each_line_goes_on_to_its_end_in_one_order(desk):
    subscriptions = await desk.subscribe(), await desk.subscribe(head_of_line=HeadOfLine.SKIP)
    bustle = Bustle(desk, subscriptions, ["a", "a", "b", "c"])
    await bustle.run()
    first, second = bustle.delivered.values()
    for key in "abc":
        assert [pair for pair in first if pair[0] == key] == [pair for pair in second if pair[0] == key]
    for key in "bc":  # one thrower each, so every throw was answered before the next one began
        assert [signal_id for k, signal_id in first if k == key] == bustle.answered[key]


async def test_a_key_that_waits_for_a_record_hides_no_other_one(desk):
    """However many of its deliveries wait, and however few keys are looked at."""
    desk.ordering = OrderingStore(desk.database, keys=1)
    await desk.subscribe()
    await desk.throw("a")  # whose record is pending
    waiting = await desk.throw(*["a"] * 5)
    lost, left = await desk.throw("b", "b")
    assert await desk.record(*waiting, left) == []
    await desk.database.execute("DELETE FROM expected_signals WHERE signal_id = $1", lost.id)
    assert [await desk.sweep() for _ in range(2)] == [[], [left.id]]
