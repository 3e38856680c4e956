"""What is measured for all: by one scheduler at a time, and shown by no other process."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import timedelta

import pytest

from broker import metrics
from broker.errors import StoreUnavailable
from broker.settings import Settings
from broker.store.postgres.database import Database
from broker.store.postgres.measuring import measuring
from broker.subscriptions import SubscriptionSpec
from broker.topology import LANES, RECORD
from broker.transport import Message
from tests.support.attempts import claim
from tests.support.builders import QUEUE, RESCUE_AFTER, accept, record
from tests.support.eventually import eventually
from tests.support.exposition import read_samples
from tests.support.messaging import holds
from tests.support.owing import die
from tests.support.product import Process, client_of
from tests.support.proxy import proxy
from workers.measurer import Measurer

MEASURED = {
    "signal_broker_unaccounted",
    "signal_broker_circuits_open",
    "signal_broker_oldest_held_seconds",
    "signal_broker_deliveries",
    "signal_broker_blocks",
    "signal_broker_books_kept_timestamp_seconds",
}


async def measured(client):
    """Return which of the measured metrics a process shows."""
    return {name for name, _, _ in await read_samples(client)} & MEASURED


@pytest.mark.slow
async def test_one_scheduler_measures_and_another_one_takes_over_when_it_is_killed(database_url, tmp_path):
    environment = {"STORE_URL": database_url, "DATA_DIR": str(tmp_path)}
    commands = {"gateway": ("gateway",), "one": ("worker", "scheduler"), "two": ("worker", "scheduler")}
    async with AsyncExitStack() as stack:
        processes, clients = {}, {}
        for name, command in commands.items():
            process = Process(*command, environment=environment, log=tmp_path / name)
            processes[name] = await stack.enter_async_context(process)
            clients[name] = await stack.enter_async_context(client_of(process.url))

        async def who_measures(*names):
            found = {name: await measured(clients[name]) for name in names}
            assert found.get("gateway", set()) == set()
            showing = [name for name, series in found.items() if series]
            assert len(showing) <= 1
            return showing if found.get("".join(showing)) == MEASURED else None

        [first] = await eventually(lambda: who_measures("gateway", "one", "two"))
        processes[first].kill()
        await processes[first].process.wait()
        [second] = {"one", "two"} - {first}
        assert await eventually(lambda: who_measures("gateway", second)) == [second]


async def test_the_lease_is_lent_once_and_lost_with_its_session(database_url):
    async with proxy(database_url) as link, Database(link.url) as database, Database(database_url) as other:
        async with measuring(database) as lease:
            await lease.keep()
            async with measuring(other) as second:
                assert second is None
            link.cut()
            with pytest.raises(StoreUnavailable):
                await lease.keep()

        async def is_free():
            async with measuring(other) as third:
                return third is not None

        await eventually(is_free)


async def test_nothing_is_shown_before_it_is_measured_nor_once_another_process_may_measure(database, embedded):
    def circuits():
        return metrics.REGISTRY.get_sample_value("signal_broker_circuits_open")

    metrics.forget_measures()
    assert circuits() is None
    await Measurer(database, embedded, Settings()).measure_deliveries()
    assert circuits() == 0
    metrics.forget_measures()
    assert circuits() is None


@pytest.mark.slow
async def test_the_ten_subscriptions_with_most_dead_deliveries_are_named(database, embedded, subscriptions, deliveries):
    made = [
        await subscriptions.create(SubscriptionSpec(name=f"n{n}", targets=(QUEUE,)), secret=None) for n in range(12)
    ]
    for number in range(12):
        await die(database, *[f"n{number}"] * (number + 1))
    await deliveries.fold_ledger(limit=7)
    await Measurer(database, embedded, Settings()).measure_dead()
    found = {
        sample.labels["subscription_id"]: sample.value
        for family in metrics.REGISTRY.collect()
        if family.name == "signal_broker_most_dead_deliveries"
        for sample in family.samples
    }
    assert found == {str(made[number].id): number + 1 for number in range(2, 12)}


async def test_the_oldest_pending_delivery_is_the_one_whose_message_waits_longest(
    database, subscriptions, deliveries, attempts
):
    await subscriptions.create(SubscriptionSpec(name="a", targets=(QUEUE,)), secret=None)
    assert await deliveries.oldest_pending(rescue_after=RESCUE_AFTER) == 0
    old, fresh = await record(database, *await accept(database, "a", "a"))
    assert await deliveries.oldest_pending(rescue_after=RESCUE_AFTER) < 60
    await database.execute(
        "UPDATE deliveries SET due_at = due_at - interval '1 hour' WHERE signal_id = $1", old.signal_id
    )
    assert 3600 <= await deliveries.oldest_pending(rescue_after=RESCUE_AFTER) < 3660
    await claim(attempts, old, fresh)
    assert await deliveries.oldest_pending(rescue_after=RESCUE_AFTER) < 60


@pytest.mark.slow
async def test_what_waits_in_each_queue_is_counted(database, transport):
    for queue, count in ((RECORD, 2), (LANES[0], 1)):
        for _ in range(count):
            await transport.publish(Message(body=b"{}"), exchange="", routing_key=queue, timeout=timedelta(seconds=5))
        await holds(transport, queue, count)
    await Measurer(database, transport, Settings()).measure_queues()
    found = {
        queue: metrics.REGISTRY.get_sample_value("signal_broker_queue_messages", {"queue": queue})
        for queue in (RECORD, *LANES)
    }
    assert found == {RECORD: 2, LANES[0]: 1, LANES[1]: 0}
