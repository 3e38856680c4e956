"""Buffered messages in the store, and the keeper that correlates them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from broker.access import ADMINISTRATOR
from broker.jsontext import encode
from broker.matching import Matcher
from broker.operations.buffering import BufferCorrelator
from broker.signals import Scope, Throw
from broker.store.signals.buffering import BufferFull, BufferStore, IdTaken, UniqueId, count_buffered
from broker.store.signals.correlating import CorrelationStore, Receiver
from broker.subscriptions import SubscriptionSpec
from broker.tracing import TraceContext
from tests.support.builders import QUEUE, RESCUE_AFTER, accept
from tests.support.eventually import eventually
from workers.buffer_keeper import BufferKeeper

HOUR, OVER = timedelta(hours=1), timedelta()
WAITING = SubscriptionSpec(name="a", targets=(QUEUE,), execution_id="e", business_key="k", once=True)
MESSAGE = Throw(name="a", scope=Scope.UNTENANTED, business_key="k")


@pytest.fixture
def buffer(database):
    return BufferStore(database, most=3, most_bytes=100)


@pytest.fixture
def correlations(database):
    return CorrelationStore(database, matcher=Matcher())


@pytest.fixture
def correlator(buffer, subscriptions, correlations):
    return BufferCorrelator(buffer, subscriptions, correlations, rescue_after=RESCUE_AFTER)


@pytest.fixture
def keeper(buffer, correlator, embedded):
    return BufferKeeper(buffer, correlator, embedded, timeout=timedelta(seconds=5))


async def keep(database, buffer, throw=MESSAGE, time_to_live=HOUR, unique=None):
    (message,) = await accept(database, throw)
    await buffer.keep(message, time_to_live, unique)
    return message


async def test_a_message_comes_out_as_it_went_in(database, buffer):
    throw = replace(
        MESSAGE,
        scope=Scope.TENANT,
        tenant_id="acme",
        payload=b'{"n":1.50,"\\u0000":"\xc3\xbc"}',
        token_id=7,
        trace=TraceContext("00-" + "1" * 32 + "-" + "2" * 16 + "-01", "a=b"),
        hops=3,
    )

    message = await keep(database, buffer, throw)

    assert await buffer.get(message.id) == message


async def test_what_is_buffered_for_a_tenant_is_limited_by_number_and_bytes(database, buffer):
    theirs = replace(MESSAGE, scope=Scope.TENANT, tenant_id="acme", payload=encode("x" * 48))
    for _ in range(2):
        await keep(database, buffer, theirs)
    for _ in range(3):
        await keep(database, buffer)

    for more in (theirs, MESSAGE):
        with pytest.raises(BufferFull):
            await keep(database, buffer, replace(more, payload=b"1"))
    await keep(database, buffer, replace(theirs, tenant_id="another"))
    assert await count_buffered(database) == 6


async def test_messages_that_come_at_once_do_not_exceed_the_limit(database, buffer):
    done = await asyncio.gather(*(keep(database, buffer) for _ in range(10)), return_exceptions=True)

    assert sum(isinstance(one, BufferFull) for one in done) == 7
    assert await count_buffered(database) == 3


async def test_an_id_is_taken_until_the_time_to_live_is_over(database, buffer):
    await keep(database, buffer, unique=UniqueId(b"1", HOUR))
    await keep(database, buffer, unique=UniqueId(b"2", OVER))

    with pytest.raises(IdTaken):
        await keep(database, buffer, unique=UniqueId(b"1", HOUR))
    await keep(database, buffer, unique=UniqueId(b"2", HOUR))
    assert await buffer.forget_ids(limit=10) == 0
    assert await database.fetchval("SELECT count(*) FROM message_ids") == 2


async def test_ids_are_forgotten_once_the_time_to_live_is_over(database, buffer):
    await keep(database, buffer, unique=UniqueId(b"1", OVER))

    assert await buffer.forget_ids(limit=10) == 1
    assert await database.fetchval("SELECT count(*) FROM message_ids") == 0


async def test_a_message_that_several_correlate_at_once_is_recorded_once(
    database, buffer, subscriptions, correlations, correlator
):
    message = await keep(database, buffer)
    ids = [(await subscriptions.create(WAITING, secret=None)).id for _ in range(2)]

    done = await asyncio.gather(*(correlator.correlate(message.id) for _ in range(5)))

    (signal,) = filter(None, done)
    assert (signal.id, signal.throw.execution_id) == (message.id, "e")
    assert await correlations.owed(message.id) == [Receiver(ids[0], None, "e")]
    assert await count_buffered(database) == 0


async def test_a_message_whose_time_to_live_is_over_is_correlated_no_more(
    database, buffer, subscriptions, correlations, correlator
):
    message = await keep(database, buffer, time_to_live=OVER)
    await subscriptions.create(WAITING, secret=None)

    assert await correlator.correlate(message.id) is None
    assert await buffer.expire(limit=10) == 1
    assert await correlations.owed(message.id) == []
    assert await count_buffered(database) == 0


async def test_a_message_is_recorded_although_its_partition_was_dropped(database, buffer, correlations, keeper):
    message = await keep(database, buffer, time_to_live=OVER)
    partition = await database.fetchval("SELECT first_id FROM blocks ORDER BY first_id LIMIT 1")
    for table in ("signals", "matches", "deliveries", "attempts"):
        await database.execute(f"DROP TABLE {table}_{partition}")
    await database.execute("DELETE FROM blocks WHERE first_id = $1", partition)

    assert await keeper.expire() == 1
    assert await correlations.owed(message.id) == []


async def test_a_message_that_is_recorded_already_is_not_buffered_again(database, buffer, correlations):
    (message,) = await accept(database, MESSAGE)
    await correlations.record(message, [], rescue_after=RESCUE_AFTER)

    await buffer.keep(message, HOUR)

    assert await count_buffered(database) == 0


async def test_the_keeper_looks_at_all_messages_when_it_begins(database, buffer, subscriptions, correlations, keeper):
    """Whoever kept a message, or began to wait for one, may have been killed, and so may the keeper before this one."""
    await keep(database, buffer, replace(MESSAGE, name="other"))
    message = await keep(database, buffer)
    waiting = await subscriptions.create(WAITING, secret=None)

    await keeper.sweep()

    assert await correlations.owed(message.id) == [Receiver(waiting.id, None, "e")]
    assert await count_buffered(database) == 1


@pytest.mark.slow
async def test_the_keeper_passes_over_messages_that_nothing_waits_for(database, subscriptions, correlations, keeper):
    buffer = BufferStore(database, most=1000)
    for _ in range(101):
        await keep(database, buffer, replace(MESSAGE, payload=b"{}"))
    message = await keep(database, buffer, replace(MESSAGE, payload=b'{"n":1}'))
    wanted = {"n": {"operator": "NUM_EQ", "value": "1"}}
    waiting = await subscriptions.create(replace(WAITING, filter=wanted), secret=None)

    while await keeper.sweep():
        pass

    assert await correlations.owed(message.id) == [Receiver(waiting.id, None, "e")]


async def test_schedulers_are_told_of_whatever_a_message_may_be_correlated_with_now(database, buffer, subscriptions):
    heard = []
    buffer.listen(heard.append)
    await eventually(lambda: heard == [None])
    waiting = await subscriptions.create(WAITING, secret=None)
    await eventually(lambda: heard[1:] == ["a"])

    async def change(**options):
        await subscriptions.change(waiting.id, lambda spec: replace(spec, **options), secret=b"", by=ADMINISTRATOR)

    await change(filter={"n": {"operator": "NUM_EQ", "value": "1"}})
    await change(name="b")
    await change(name="b.#")
    await change(max_in_flight=1)
    await keep(database, buffer)
    await database.execute("UPDATE subscriptions SET name = 'c', is_pattern = false, disabled_because = 'x'")
    await database.execute("UPDATE subscriptions SET disabled_because = NULL")
    await database.execute("UPDATE subscriptions SET consumed_by = 1")
    await database.execute("UPDATE subscriptions SET name = 'd', consumed_by = NULL")
    await eventually(lambda: heard[2:] == ["a", "b", "a", "c", "d"])
