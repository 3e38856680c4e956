"""The store's half of handlers: subscribed once, renewed in place, and their attempts wait in their app's queue."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from broker.deliveries import DeliveryState, DueAttempt
from broker.store.deliveries.pausing import PausingStore
from broker.store.postgres.statements import read_statements
from broker.store.subscriptions.subscriptions import SubscriptionStore
from broker.subscriptions import SubscriptionSpec
from broker.targets import HandlerTarget, QueueTarget
from broker.topology import ATTEMPT
from tests.support import builders
from tests.support.attempts import claim, sweep_waiting
from tests.support.builders import RESCUE_AFTER, SECOND, accept, ended

QUEUE = "deliveries.attempt.handlers.billing"
BOOK = SubscriptionSpec(name="sig", targets=(HandlerTarget(app="billing", handler="book"),))
ELSEWHERE = SubscriptionSpec(name="sig", targets=(QueueTarget(queue="billing/book"),))


@pytest.fixture
def record(database):
    """Call it to record so many signals, and return what is due."""

    async def record(count=1, *, rescue_after=RESCUE_AFTER):
        batch = await accept(database, *["sig"] * count)
        due = await builders.record(database, *batch, rescue_after=rescue_after)
        assert await builders.record(database, *batch, rescue_after=rescue_after) == due, "a repeat returns the same"
        return due

    return record


async def test_a_handler_that_many_workers_register_at_once_has_one_subscription(database, subscriptions):
    stores = [SubscriptionStore(database) for _ in range(10)]
    registered = await asyncio.gather(*(store.register(BOOK) for store in stores))
    assert len({subscription.id for subscription in registered}) == 1
    assert await subscriptions.of_app("billing") == [registered[0]]


async def test_a_handler_registered_again_has_new_terms_and_is_the_subscription_that_it_was(subscriptions, database):
    first = await subscriptions.register(BOOK)
    await PausingStore(database).pause(first.id)
    spec = replace(
        BOOK, name="other.*", tenant_id="t", execution_id="e", schedule=(SECOND,), timeout=SECOND, max_in_flight=3,
        max_per_second=2.5, once=True, description="d",
    )  # fmt: skip
    second = await subscriptions.register(spec)
    assert (second.id, second.since, second.created_at) == (first.id, first.since, first.created_at)
    assert (second.spec, second.paused_at is not None) == (spec, True)
    assert (await subscriptions.page()).items == [second]


async def test_a_handler_is_owed_by_its_new_name_once_it_has_one(subscriptions, record):
    subscription = await subscriptions.register(replace(BOOK, name="other"))
    assert await record() == []
    await subscriptions.register(replace(BOOK, name="*"))
    (due,) = await record()
    assert due.subscription_id == subscription.id


async def test_a_handler_that_is_not_once_any_more_waits_for_signals_again(subscriptions, record):
    once = replace(BOOK, once=True)
    await subscriptions.register(once)
    assert [len(await record()), len(await record())] == [1, 0]
    await subscriptions.register(once)
    assert await record() == []
    await subscriptions.register(BOOK)
    assert len(await record()) == 1


async def test_a_deleted_handler_is_made_again(subscriptions):
    first = await subscriptions.register(BOOK)
    await subscriptions.delete(first.id)
    assert (await subscriptions.of_app("billing"), await subscriptions.apps()) == ([], [])
    second = await subscriptions.register(BOOK)
    assert second.id > first.id
    assert await subscriptions.apps() == ["billing"]


async def test_a_queue_of_the_same_address_is_no_handler(subscriptions, record):
    other = await subscriptions.create(ELSEWHERE, secret=None)
    assert await subscriptions.apps() == []
    mine = await subscriptions.register(BOOK)
    assert {due.subscription_id: due.queue for due in await record()} == {other.id: ATTEMPT, mine.id: QUEUE}


async def test_every_attempt_that_is_due_waits_in_the_app_s_queue(subscriptions, deliveries, attempts, record):
    subscription = await subscriptions.register(BOOK)
    (due,) = await record(rescue_after=timedelta(0))
    assert due == DueAttempt(due.signal_id, subscription.id, 1, QUEUE)
    assert (await deliveries.rescue("billing", limit=10, rescue_after=RESCUE_AFTER)).due_attempts == [due]
    await attempts.claim(due)
    await attempts.finish(ended(due, DeliveryState.PARKED, pause=timedelta()))
    assert await deliveries.release(limit=10, rescue_after=RESCUE_AFTER) == [replace(due, attempt=2)]


async def test_an_attempt_that_was_held_goes_on_in_the_app_s_queue(subscriptions, attempts, record):
    await subscriptions.register(replace(BOOK, max_in_flight=1))
    first, second = await record(2)
    claimed, refused = await claim(attempts, first, second)
    assert (claimed.due, refused.reason) == (first, "in_flight")
    effects = await attempts.finish(ended(claimed, DeliveryState.DELIVERED))
    assert effects.due_attempts == [second]


async def test_what_should_have_been_attempted_is_counted_and_repaired_app_by_app(
    subscriptions, deliveries, record, database
):
    await subscriptions.create(ELSEWHERE, secret=None)
    await subscriptions.register(BOOK)
    other = replace(BOOK, targets=(HandlerTarget(app="shipping", handler="send"),))
    deleted = await subscriptions.register(other)
    lost = await record(3, rescue_after=timedelta(0))
    await record(2)
    assert await deliveries.count_overdue(limit=10) == {"": 3, "billing": 3, "shipping": 3}
    assert await deliveries.count_overdue(limit=2) == {"": 2, "billing": 2, "shipping": 2}
    repaired = (await deliveries.rescue("billing", limit=10, rescue_after=RESCUE_AFTER)).due_attempts
    assert sorted(repaired, key=str) == sorted((due for due in lost if due.queue == QUEUE), key=str)
    await subscriptions.delete(deleted.id)
    await sweep_waiting(PausingStore(database))
    assert await deliveries.count_overdue(limit=10) == {"": 3}


async def test_counting_and_repairing_looks_only_at_what_is_overdue(database, subscriptions):
    """However many deliveries there are, and however many of them wait for another app."""
    await subscriptions.register(BOOK)
    await database.execute(
        "INSERT INTO deliveries (signal_id, subscription_id, state, due_at, app)"
        " SELECT n, 1, CASE WHEN n % 2 = 0 THEN 'delivered' ELSE 'pending' END,"
        " now() + interval '1 hour' * CASE WHEN n < 20 THEN -1 ELSE 1 END,"
        " CASE WHEN n % 4 = 1 THEN 'billing' ELSE '' END"
        " FROM generate_series(1, 20000) AS n"
    )
    await database.execute("VACUUM ANALYZE deliveries")
    statements = read_statements("broker.store.deliveries", "deliveries.sql")
    for name in ("count_overdue", "rescue"):
        statement = statements[name].sql.rstrip(";")
        arguments = {"app": "'billing'", "limit": "1000", "offset": "0", "rescue_after": "30"}
        for number, parameter in enumerate(statements[name].parameters, 1):
            statement = statement.replace(f"${number}", arguments[parameter])
        plan = "\n".join(row[0] for row in await database.fetch(f"EXPLAIN {statement}"))
        assert "using deliveries_1_app_due_at_idx" in plan, "deliveries_pending, of the only block that has any"
        assert "Seq Scan on deliveries" not in plan
