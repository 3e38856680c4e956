"""Messages are recorded with what they were correlated with, or not at all."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from broker.access import ADMINISTRATOR
from broker.deliveries import DueAttempt
from broker.matching import Matcher
from broker.operations.correlation import Correlator, Message
from broker.operations.intake import open_intake
from broker.settings import Settings
from broker.signals import Throw
from broker.store.deliveries.deliveries import DeliveryStore
from broker.store.signals import correlating
from broker.store.signals.buffering import BufferStore
from broker.store.signals.correlating import CorrelationStore, Named, Receiver
from broker.subscriptions import SubscriptionSpec
from broker.topology import RECORD
from broker.transport.rabbitmq import RabbitTransport
from tests.support.builders import QUEUE, RESCUE_AFTER, accept, record
from tests.support.plans import count_pages
from tests.support.rabbitmq import on_channel

WAITING = SubscriptionSpec(name="a", targets=(QUEUE,), execution_id="e", business_key="k", once=True)
NAMED = Named(in_execution=True, business_key="k")


@pytest.fixture
def correlations(database):
    return CorrelationStore(database, matcher=Matcher())


async def find(correlations):
    found, complete = await correlations.find(Throw(name="a"), NAMED, most=10)
    assert complete
    return found


async def test_a_message_that_was_never_published_is_rescued(database, correlations, subscriptions):
    waiting = await subscriptions.create(WAITING, secret=None)
    (message,) = await accept(database, "a")

    assert await correlations.record(message, await find(correlations), rescue_after=timedelta(0))

    rescued = await DeliveryStore(database).rescue("", limit=10, rescue_after=RESCUE_AFTER)
    assert [(due.signal_id, due.subscription_id) for due in rescued.due_attempts] == [(message.id, waiting.id)]


@pytest.mark.slow
async def test_a_message_is_accepted_while_the_record_queue_takes_none(
    rabbitmq_url, database, correlations, subscriptions
):
    """It is recorded, so its caller must not send it again: that would be refused."""
    full = {"x-max-length": 0, "x-overflow": "reject-publish"}
    await on_channel(rabbitmq_url, lambda channel: channel.queue_declare(RECORD, durable=True, arguments=full))
    waiting = await subscriptions.create(WAITING, secret=None)
    settings = Settings(confirm_timeout_seconds=1)

    async with RabbitTransport(rabbitmq_url) as transport, open_intake(database, transport, settings) as intake:
        buffer = BufferStore(database, most=0)
        correlator = Correlator(intake, subscriptions, correlations, buffer, rescue_after=timedelta(0))
        correlated = await correlator.correlate(Message(throw=Throw(name="a"), named=NAMED), by=ADMINISTRATOR)

    assert correlated.receivers == [Receiver(waiting.id, None, "e")]
    rescued = await DeliveryStore(database).rescue("", limit=10, rescue_after=RESCUE_AFTER)
    assert [due.signal_id for due in rescued.due_attempts] == [correlated.accepted.signal.id]


async def test_a_recorder_that_gets_a_message_publishes_its_attempt_and_owes_it_to_nobody_else(
    database, correlations, subscriptions
):
    waiting = await subscriptions.create(WAITING, secret=None)
    await subscriptions.create(replace(WAITING, execution_id=None, business_key=None, once=False), secret=None)
    (message,) = await accept(database, "a")
    await correlations.record(message, await find(correlations), rescue_after=RESCUE_AFTER)

    (due,) = await record(database, message)

    assert due == DueAttempt(message.id, waiting.id, 1, due.queue)
    assert await correlations.owed(message.id) == [Receiver(waiting.id, None, "e")]


async def delete(subscriptions, waiting):
    await subscriptions.delete(waiting.id)


async def change(subscriptions, waiting):
    await subscriptions.change(waiting.id, lambda spec: replace(spec, max_in_flight=1), secret=b"", by=ADMINISTRATOR)


@pytest.mark.parametrize("meanwhile", [delete, change])
async def test_a_message_is_not_recorded_for_what_was_changed_meanwhile(
    database, correlations, subscriptions, meanwhile
):
    waiting = await subscriptions.create(WAITING, secret=None)
    found = await find(correlations)
    (message,) = await accept(database, "a")
    await meanwhile(subscriptions, waiting)

    assert not await correlations.record(message, found, rescue_after=RESCUE_AFTER)
    assert await correlations.owed(message.id) is None


async def test_a_message_is_not_recorded_for_what_another_consumed_meanwhile(database, correlations, subscriptions):
    await subscriptions.create(WAITING, secret=None)
    found = await find(correlations)
    first, second = await accept(database, "a", "a")

    assert await correlations.record(first, found, rescue_after=RESCUE_AFTER)
    assert not await correlations.record(second, found, rescue_after=RESCUE_AFTER)
    assert await correlations.owed(second.id) is None
    assert await find(correlations) == []


async def test_more_than_are_looked_at_are_not_all(database, correlations, subscriptions):
    for number in range(3):
        await subscriptions.create(replace(WAITING, execution_id=f"e{number}"), secret=None)

    found, complete = await correlations.find(Throw(name="a"), NAMED, most=2)

    assert (len(found), complete) == (2, False)


MANY = """
INSERT INTO subscriptions (name, is_pattern, execution_id, business_key, correlation_keys, once, kind, address, headers,
                           schedule, since)
SELECT 'a', false, 'e' || n, 'k' || n, json_build_object('n', n)::jsonb, false, 'queue', 'q', '{}', '{}', 0
FROM generate_series(1, 5000) AS n
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("named", "arguments"),
    [
        (replace(NAMED, business_key="k7"), {"business_key": "'k7'"}),
        (Named(in_execution=True, keys={"n": 7}), {"keys": "'{\"n\": 7}'"}),
        (Named(in_execution=True, execution_id="e7"), {"execution_id": "'e7'"}),
        (Named(in_execution=True), {}),
        (Named(in_execution=False), {}),
    ],
    ids=["business key", "keys", "execution", "nothing", "outside"],
)
async def test_a_message_costs_what_it_names_however_many_others_have_its_name(database, named, arguments):
    await database.execute(MANY)
    statement, _ = correlating._choose(named)  # noqa: SLF001  (its cost matters)

    async with database.session() as session:
        await session.execute("VACUUM ANALYZE subscriptions")
        pages = await count_pages(session, statement, name="'a'", most="2", **arguments)
    assert pages < 50
