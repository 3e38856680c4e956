"""What others publish to the product's queues: it dies by itself, and neither signals nor the books suffer from it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from broker.messages import signal_message
from broker.operations.books import BookReader
from broker.settings import Settings
from broker.store.signals.intake_books import IntakeBooks, Sight
from broker.store.signals.signals import SignalStore
from broker.store.signals.suspects import SuspectStore
from broker.topology import RECORD, TOPOLOGY, dead_letters
from broker.transport import Message
from broker.transport.rabbitmq import RabbitTransport
from tests.support.builders import accept, signal
from tests.support.eventually import eventually
from tests.support.messaging import SOON, holds
from tests.support.rabbitmq_users import user
from tests.support.transports import rabbitmq_transport_server
from workers.consumer import Consumer
from workers.recorder import Recorder

pytestmark = pytest.mark.slow

DEAD = dead_letters(RECORD)
FAR = (1 << 62, 10**9, 10**6)


@pytest.fixture
async def transport(rabbitmq, rabbitmq_url):
    async with rabbitmq_transport_server(rabbitmq, rabbitmq_url).open() as transport:
        await transport.declare(TOPOLOGY)
        yield transport


@pytest.fixture
async def recorder(transport, database):
    """Record while the test runs, hastily."""
    handle = Recorder(
        transport, SignalStore(database), IntakeBooks(database), SuspectStore(database), Settings()
    ).handle
    consumer = Consumer(transport, RECORD, handle, batch=250, concurrency=2, pause=timedelta(seconds=0.05))
    stopping = asyncio.Event()
    running = asyncio.create_task(consumer.run(stopping, drain=SOON))
    yield
    stopping.set()
    await running


async def put(transport, *messages):
    await asyncio.gather(
        *(transport.publish(message, exchange="", routing_key=RECORD, timeout=SOON) for message in messages)
    )


async def recorded(database, count):
    async def are_recorded():
        return await database.fetchval("SELECT count(*) FROM signals") == count

    await eventually(are_recorded)


async def partitions(database):
    return await database.fetchval("SELECT count(*) FROM blocks")


async def test_foreign_messages_die_one_by_one_and_the_signals_between_them_are_recorded(transport, database, recorder):
    before = await partitions(database)
    ours = [signal_message(one) for one in await accept(database, *"abcd")]
    foreign = [
        Message(body=b"hello"),
        replace(ours[0], body=b"no JSON"),
        *(signal_message(signal(number)) for number in FAR),
        signal_message(replace(signal(1), id=0)),
        signal_message(replace(signal(1), id=-1)),
    ]
    await put(transport, *foreign[:3], *ours[:2], *foreign[3:], *ours[2:])
    await recorded(database, 4)
    await holds(transport, DEAD, len(foreign))
    await holds(transport, RECORD, 0)
    assert await partitions(database) == before, "nothing was stretched"


async def test_a_signal_that_a_restored_database_does_not_know_waits_until_the_numbering_is_moved(transport, database):
    """Nothing tells it from a foreign message, so it waits as long as nothing speaks against it alone."""
    signals = await accept(database, *"a" * 30)
    await database.execute("SELECT setval('signal_ids', 1)")
    handle = Recorder(
        transport, SignalStore(database), IntakeBooks(database), SuspectStore(database), Settings()
    ).handle
    failures = 0

    async def watched(messages):
        nonlocal failures
        try:
            return await handle(messages)
        except Exception:
            failures += 1
            raise

    consumer = Consumer(transport, RECORD, watched, batch=250, pause=timedelta(seconds=0.01))
    stopping = asyncio.Event()
    running = asyncio.create_task(consumer.run(stopping, drain=SOON))
    await put(transport, *map(signal_message, signals))
    await eventually(lambda: failures > 30)
    await database.execute("SELECT setval('signal_ids', last_value + 10000) FROM signal_ids")
    await recorded(database, 30)
    assert await transport.depth(DEAD, timeout=SOON) == 0
    stopping.set()
    await running


async def test_a_doubtful_id_dies_once_it_alone_fails_while_others_pass(transport, database, recorder):
    (first,) = await accept(database, "a")
    await put(transport, signal_message(signal(first.id + 1000)), signal_message(first))
    await recorded(database, 1)

    async def pass_until_it_is_dead():
        await put(transport, *map(signal_message, await accept(database, "a")))
        return await transport.depth(DEAD, timeout=SOON)

    assert await eventually(pass_until_it_is_dead) == 1


async def test_a_scheduler_with_the_rights_of_the_runbook_sees_which_signals_are_dead(
    rabbitmq, rabbitmq_url, transport, database
):
    ours = await accept(database, *"ab")
    for message in (Message(body=b"hello"), *map(signal_message, ours)):
        await transport.publish(message, exchange="", routing_key=DEAD, timeout=SOON)
    async with user(rabbitmq, rabbitmq_url, "scheduler") as url, RabbitTransport(url) as limited:
        sight = await BookReader(database, limited, timeout=SOON).look()
    assert sight == Sight({one.id for one in ours}, complete=True)
    await holds(transport, DEAD, 3)
