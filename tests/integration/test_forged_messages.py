"""Whatever a neighbour in the vhost publishes to any queue of the product: it dies, and stops nothing."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from pika.exceptions import AMQPError

from broker.messages import signal_message
from broker.topology import ATTEMPT, RECORD, SLOW_ATTEMPT, dead_letters
from tests.support.builders import signal
from tests.support.eventually import eventually
from tests.support.forging import forge, number, text
from tests.support.messaging import SOON, holds
from tests.support.rabbitmq import on_channel
from tests.support.receiver import Answer
from tests.support.throwing import delivery, recorded, subscribe, throw

COUNT = 40
QUEUES = {RECORD: 1, ATTEMPT: 2, SLOW_ATTEMPT: 3}
"""The queues that every product has, and the seed of what is published to each."""


def forged_for(queue, seed):
    now = datetime.now(UTC)
    message = signal_message(signal(1 << 60, created_at=now))
    headers = {
        name.encode(): number(value) if isinstance(value, int) else text(str(value).encode())
        for name, value in message.headers.items()
    }
    body = message.body if queue == RECORD else b'{"delivery":"%d-1","attempt":1}' % (1 << 60)
    kind, timestamp = message.type.encode(), int(now.timestamp())
    return list(forge(headers, body, kind=kind, timestamp=timestamp, seed=seed, count=COUNT))


async def publish_all(url, queue, messages):
    """Publish *messages* to *queue*, and return how many RabbitMQ took: some make it close the connection."""
    left, taken = iter(messages), 0

    def publish(channel):
        nonlocal taken
        channel.confirm_delivery()
        for forged in left:
            channel.basic_publish("", queue, forged.body, forged.properties)
            taken += 1
        return True

    while True:
        with suppress(AMQPError):
            await on_channel(url, publish)
            return taken


def events(product, name):
    lines = (json.loads(line) for line in product.log.read_text().splitlines() if line.startswith("{"))
    return [line for line in lines if line["event"] == name]


@pytest.mark.slow
async def test_foreign_messages_die_on_the_embedded_transport_too(product, client, webhooks, name):
    """There, a neighbour is whoever may write to the store's tables."""
    subscription = await subscribe(client, name, webhooks.answer("/hook", Answer()))
    real = signal_message(signal(1 << 60))
    odd = [-1, 0, 1 << 62, "", "\ufffd", "x" * 70_000, ["a", "b"], [], "9999-99-99T00:00:00Z"]
    forged = [replace(real, headers=real.headers | {header: value}) for header in real.headers for value in odd]
    forged += [replace(real, body=body) for body in (b"", b"\xff", b"[" * 9999, b"{" + b" " * (2 << 20) + b"}")]
    lines = len(events(product, "message.rejected"))

    async with product.open_transport() as transport:
        before = {queue: await transport.depth(dead_letters(queue), timeout=SOON) for queue in QUEUES}
        for queue in QUEUES:
            for message in forged:
                await transport.publish(message, exchange="", routing_key=queue, timeout=SOON)
        assert (await delivery(client, await throw(client, name), subscription, "delivered"))["attempts"]
        for queue in QUEUES:
            await holds(transport, queue, 0)
            await holds(transport, dead_letters(queue), before[queue] + len(forged))

    assert len(events(product, "message.rejected")) - lines < len(forged), "they do not fill the log"


@pytest.mark.slow
@pytest.mark.transports("rabbitmq")
async def test_forged_messages_die_and_stop_nothing(product, client, product_vhost, webhooks, name):
    subscription = await subscribe(client, name, webhooks.answer("/hook", Answer()))

    stored = {queue: await publish_all(product_vhost, queue, forged_for(queue, seed)) for queue, seed in QUEUES.items()}
    assert min(stored.values()) > COUNT / 2, stored
    assert (await delivery(client, await throw(client, name), subscription, "delivered"))["attempts"]

    def depths(channel):
        return {
            queue: channel.queue_declare(queue, passive=True).method.message_count
            for one in QUEUES
            for queue in (one, dead_letters(one))
        }

    async def all_settled():
        found = await on_channel(product_vhost, depths)
        return found if not any(found[queue] for queue in QUEUES) else None

    found = await eventually(all_settled)
    assert found[dead_letters(RECORD)] == stored[RECORD]
    rejected = events(product, "message.rejected")
    assert all(one["error"] for one in rejected)
    assert {queue for queue in QUEUES if any(one["queue"] == queue for one in rejected)} == set(QUEUES)
    assert not events(product, "link.lost")
    assert (await client.get("/v1/ledger"))["unaccounted"] == 0


@pytest.mark.transports("embedded", "rabbitmq")
async def test_a_signal_whose_id_another_one_has_is_kept_aside_and_a_repeat_is_not(product, client, name):
    """As when a gateway with another store publishes to the same virtual host: its numbers are given out here, too."""
    thrown = [await throw(client, name), await throw(client, name)]
    for one in thrown:
        await recorded(client, one["id"])
    genuine = [signal(one["id"], name=name, created_at=datetime.fromisoformat(one["createdAt"])) for one in thrown]
    others = [replace(one, throw=replace(one.throw, name=f"{name}.other")) for one in genuine]
    later = replace(genuine[0], created_at=genuine[0].created_at + timedelta(milliseconds=1))
    lines = len(events(product, "signal.recorded"))

    async with product.open_transport() as transport:
        before = await transport.depth(dead_letters(RECORD), timeout=SOON)
        for one in (*others, later, *genuine):
            await transport.publish(signal_message(one), exchange="", routing_key=RECORD, timeout=SOON)
        await holds(transport, RECORD, 0)
        await holds(transport, dead_letters(RECORD), before + 3)

    assert (await client.get(f"/v1/signals/{genuine[0].id}"))["name"] == name
    assert not any(one["name"] == f"{name}.other" for one in events(product, "signal.recorded")[lines:])
    assert (await client.get("/v1/ledger"))["unaccounted"] == 0
