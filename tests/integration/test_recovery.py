"""Poison is put back into its queue: whole, once, and as if it were new."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from broker.errors import Unroutable
from broker.messages import decode_signal, signal_message
from broker.operations.recovery import recover
from broker.topology import RECORD, TOPOLOGY, dead_letters
from broker.transport import Settlement
from tests.support.builders import signal
from tests.support.commands import Command
from tests.support.messaging import SOON, drain, holds, publish, take
from tests.support.rabbitmq import on_channel
from tests.support.throwing import recorded, throw
from tests.support.transports import rabbitmq_transport_server

DEAD = dead_letters(RECORD)


@pytest.fixture
def command(tmp_path):
    """Call it to run a command beside a product; it returns what that printed."""

    async def command(product, *arguments):
        settings = {f"SIGNAL_BROKER_{name}": value for name, value in product.environment.items()}
        with (tmp_path / "out").open("wb+") as out:
            running = Command(*arguments, environment=os.environ | settings, stdout=out.fileno(), stderr=out.fileno())
            await running.wait()
            return os.pread(out.fileno(), 65536, 0).decode()

    return command


async def poison(transport, *signals):
    """Put *signals* into the dead queue of the record queue."""
    for one in signals:
        await transport.publish(signal_message(one), exchange=DEAD, routing_key="", timeout=SOON)
    await holds(transport, DEAD, len(signals))


async def moved(transport, count, *, timeout=SOON):
    return sum([one async for one in recover(transport, RECORD, count, timeout=timeout)])


@pytest.mark.slow
async def test_poison_comes_back_as_it_was_and_as_if_it_were_new(transport):
    given = signal(audience=("acme", "globex"))
    await transport.publish(signal_message(given), exchange="", routing_key=RECORD, timeout=SOON)
    async with transport.consume(RECORD, prefetch=1) as inbox:
        await inbox.settle(await take(inbox, 1), Settlement.REJECT)
        await holds(transport, DEAD, 1)
    assert await moved(transport, 1) == 1
    await holds(transport, DEAD, 0)
    async with transport.consume(RECORD, prefetch=1) as inbox:
        (message,) = await take(inbox, 1)
    assert (decode_signal(message), message.redelivered) == (given, False)
    assert not [name for name in message.headers if name.startswith("x-")]


@pytest.mark.slow
async def test_a_lot_of_poison_comes_back_in_order(transport):
    await poison(transport, *(signal(number) for number in range(1, 51)))
    assert await moved(transport, 50) == 50
    async with transport.consume(RECORD, prefetch=50) as inbox:
        assert [decode_signal(message).id for message in await take(inbox, 50)] == list(range(1, 51))


@pytest.mark.slow
async def test_only_so_many_are_moved_and_an_empty_queue_ends_it(transport):
    await poison(transport, signal(1), signal(2), signal(3))
    assert await moved(transport, 2) == 2
    await holds(transport, DEAD, 1)
    assert await moved(transport, 5, timeout=timedelta(seconds=1)) == 1


@pytest.mark.slow
async def test_poison_that_finds_no_queue_stays_where_it_is(rabbitmq, rabbitmq_url):
    async with rabbitmq_transport_server(rabbitmq, rabbitmq_url).open() as transport:
        await transport.declare(TOPOLOGY)
        await poison(transport, signal(1))
        await on_channel(rabbitmq_url, lambda channel: channel.queue_delete(RECORD))
        with pytest.raises(Unroutable):
            await moved(transport, 1)
        await holds(transport, DEAD, 1)


@pytest.mark.slow
@pytest.mark.transports("embedded", "rabbitmq")
async def test_the_command_works_beside_the_running_product(client, product, name, command):
    async with product.open_transport() as transport:
        await drain(transport, DEAD, await transport.depth(DEAD, timeout=SOON))  # what other tests have left
        first = await throw(client, name)
        await recorded(client, first["id"])
        accepted = datetime.fromisoformat(first["createdAt"])
        repeat = signal_message(signal(first["id"], name=name, created_at=accepted))
        await transport.publish(repeat, exchange=DEAD, routing_key="", timeout=SOON)
        await publish(transport, b"garbage", exchange=DEAD, key="")
        await holds(transport, DEAD, 2)
        counted = json.loads(await command(product, "recover", "--dry-run", "--json"))
        assert counted[0] == {"deadQueue": DEAD, "queue": RECORD, "messages": 2}
        assert "signals.record.dead  signals.record  2" in await command(product, "recover", DEAD)
        await holds(transport, DEAD, 1)  # what is still garbage is poison again
        assert await drain(transport, DEAD, 1) == [b"garbage"]
    unknown = await command(product, "recover", "signals.recorded")
    assert unknown.startswith(
        "Error: 'signals.recorded' is not one of the product's queues; the dead queues are signals.record.dead,"
        " deliveries.attempt.dead, deliveries.attempt.slow.dead"  # and those of apps that other tests have left
    )


@pytest.mark.slow
@pytest.mark.transports("rabbitmq")
async def test_the_ledger_is_shown_while_the_transport_is_away(product, command):
    away = replace(product, environment={**product.environment, "TRANSPORT_URL": "amqp://127.0.0.1:9/"})
    shown = await command(away, "ledger")
    assert "awaiting record" not in shown
    assert re.search("^unaccounted +0$", shown, re.MULTILINE)
    assert "what waits in the transport's queues is not known: " in shown
    assert "127.0.0.1:9: " in shown
