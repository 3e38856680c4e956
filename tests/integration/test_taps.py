"""Taps and queue targets: what microservices get from RabbitMQ, and what they cannot do to a throw.

A throw is answered when every bound queue holds its message. So a queue that holds nothing then never will.
A tap whose quorum queue has lost its quorum is not among these tests: on one node, the record queue would have none either.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from datetime import datetime
from unittest.mock import ANY

import pika
import pytest

from tests.support.eventually import eventually
from tests.support.rabbitmq import on_channel
from tests.support.taps import PROGRAMS, running_tap
from tests.support.throwing import FAR, delivery, endpoint, fresh_id, recorded, subscribe, throw, token

pytestmark = pytest.mark.parametrize("product", ["rabbitmq"], indirect=True, scope="session")

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
REJECTING = {"x-max-length": 1, "x-overflow": "reject-publish"}


@pytest.fixture
def url(product):
    """Return the vhost that the product uses."""
    return product.environment["TRANSPORT_URL"]


def fresh_queue():
    return f"tap.{uuid.uuid4().hex}"


async def declare(url, *bindings, queue=None, **arguments):
    """Return a durable queue with these ``<exchange>=<key>`` bindings."""
    queue = queue or fresh_queue()
    arguments = {"x-queue-type": "quorum", **arguments}

    def do(channel):
        channel.queue_declare(queue, durable=True, arguments=arguments)
        for exchange, key in (binding.split("=", 1) for binding in bindings):
            channel.queue_bind(queue, exchange, key)

    await on_channel(url, do)
    return queue


async def take(url, *queues):
    """Return, for each queue, the messages it holds as (routing key, properties, body), and empty it."""

    def do(channel):
        taken = []
        for queue in queues:
            taken.append(messages := [])
            while (got := channel.basic_get(queue, auto_ack=True))[0]:
                method, properties, body = got
                messages.append((method.routing_key, properties, body))
        return taken

    return await on_channel(url, do)


async def delete(url, *queues):
    await on_channel(url, lambda channel: [channel.queue_delete(queue) for queue in queues])


async def fill(url, queue, count):
    """Publish *count* small messages straight into *queue*, and wait until it has them or more."""

    def do(channel):
        for _ in range(count):
            channel.basic_publish("", queue, b"{}", pika.BasicProperties(delivery_mode=2))

    await on_channel(url, do)
    await eventually(lambda: holds(url, queue, count), within=60, every=0.2)


async def holds(url, queue, count):
    return (await on_channel(url, lambda c: c.queue_declare(queue, passive=True).method.message_count)) >= count


async def rejections(client, exchange):
    _, _, metrics = await client.request("GET", "/metrics")
    found = re.search(
        rb'^signal_broker_tap_rejections_total{exchange="%b"} ([0-9.]+)' % exchange.encode(), metrics, re.M
    )
    return float(found[1]) if found else 0


async def assert_recorded_once(client, webhooks, name, signals):
    """Check that each of *signals*, all of this *name*, was recorded once and delivered once to its webhook."""
    ids = sorted(signal["id"] for signal in signals)
    await eventually(lambda: len(webhooks.requests) >= len(ids), within=30)
    last = await throw(client, name)  # what was published before it has left the record queue before it
    await delivery(client, last, await only_subscription(client, name), "delivered")
    page = await client.get(f"/v1/signals?name={name}&limit=1000")
    assert [item["id"] for item in page["items"]] == [*ids, last["id"]]
    assert (
        len(webhooks.requests) == len({request.headers["webhook-id"] for request in webhooks.requests}) == len(ids) + 1
    )
    assert (await client.get("/v1/ledger"))["unaccounted"] == 0


async def only_subscription(client, name):
    page = await client.get("/v1/subscriptions?limit=1000")
    (found,) = (item for item in page["items"] if item["name"] == name)
    return found


@pytest.mark.parametrize("program", PROGRAMS)
async def test_an_example_tap_gets_the_message_contract(client, url, name, program):
    tenant, execution = fresh_id("acme corp"), fresh_id("order.7")
    bindings = (
        f"signals.by-name={name}",
        f"signals.routed=tenant.{tenant.replace(' ', '%20')}.{name}",
        f"signals.routed=execution.{execution.replace('.', '%2E')}.{name}",
        f"signals.routed=untenanted.{name}",
    )
    addresses = {
        "broadcast": {},
        "tenant": {"tenantId": tenant},
        "execution": {"executionId": execution},
        "untenanted": {"withoutTenantId": True},
    }
    async with running_tap(program, url, fresh_queue(), *bindings) as tap:
        for scope, terms in addresses.items():
            document = {"name": name, "payload": {"scope": scope}, **terms}
            signal = await client.post("/v1/signals", document, expect=202, traceparent=TRACEPARENT)
            message = await tap.next()
            headers = message.pop("headers")
            assert message == {
                "body": f'{{"scope": "{scope}"}}',
                "type": name,
                "timestamp": int(datetime.fromisoformat(signal["createdAt"]).timestamp()),
                "content_type": "application/json",
                "delivery_mode": 2,
                "app_id": "signal-broker",
                "message_id": ANY,
            }
            assert {key: headers.get(key) for key in headers if key.startswith("ce-")} == {
                "ce-specversion": "1.0",
                "ce-id": str(signal["id"]),
                "ce-source": "/signal-broker/native",
                "ce-type": name,
                "ce-time": signal["createdAt"],
                **({"ce-tenantid": tenant} if scope == "tenant" else {}),
                **({"ce-executionid": execution} if scope == "execution" else {}),
            }
            assert (headers["signal-id"], headers["scope"]) == (signal["id"], scope)
            assert headers["traceparent"] == TRACEPARENT
            assert not {"delivery-id", "attempt"} & headers.keys()


PAYLOADS = {
    "blanks, escapes and zeros": b'{"a": 1.10,"b":"\\u00e9"}',
    "a number over 64 bits": b'{"n":123456789012345678901234567890.00}',
    "a key twice": b'{"a":1, "a":2}',
    "letters": '{"é": "\U0001f4e3"}'.encode(),
}


@pytest.mark.parametrize("program", PROGRAMS)
async def test_a_payload_arrives_byte_for_byte(client, url, name, program):
    made, secret = await endpoint(client)
    bindings = f"signals.by-name={name}", f"signals.by-name={made['name']}"
    async with running_tap(program, url, fresh_queue(), *bindings) as tap:
        for payload in PAYLOADS.values():
            status, _, answer = await client.request(
                "POST",
                "/v1/signals",
                data=b'{"name": "%b", "payload": %b}' % (name.encode(), payload),
                headers={"Content-Type": "application/json"},
            )
            assert status == 202, answer
            assert (await tap.next())["body"].encode() == payload

            status, _, answer = await client.caller(secret).request(
                "POST",
                f"/api/signal-endpoint/{made['name']}",
                data=payload,
                headers={"Content-Type": "application/json"},
            )
            assert status == 200, answer
            message = await tap.next()
            assert message["body"].encode() == payload
            assert message["headers"]["ce-source"] == "/signal-broker/signal-endpoint"


@pytest.mark.parametrize("program", PROGRAMS)
async def test_an_example_tap_drops_a_repeat_by_its_ce_id(client, url, name, program):
    async with running_tap(program, url, fresh_queue(), f"signals.by-name={name}") as tap:
        repeated = {"name": name, "payload": "repeated"}
        for _ in range(2):
            await client.post("/v1/signals", repeated, Idempotency_Key=name, expect=202)
        await throw(client, name, payload="next")

        assert [(await tap.next())["body"] for _ in range(2)] == ['"repeated"', '"next"']


async def test_what_is_thrown_while_a_tap_is_down_waits_in_its_queue(client, url, name):
    queue = fresh_queue()
    async with running_tap("tap.py", url, queue, f"signals.by-name={name}"):
        pass
    await throw(client, name, payload="meanwhile")
    async with running_tap("tap.mjs", url, queue, f"signals.by-name={name}") as tap:
        assert (await tap.next())["body"] == '"meanwhile"'


async def test_types_that_fill_many_frames_of_a_small_client_arrive(client, url, name):
    """Camunda's types travel in a header, and amqplib takes frames of 4 KiB."""
    variables = {f"variable-{number}": {"value": number, "type": "Long"} for number in range(1000)}
    async with running_tap("tap.mjs", url, fresh_queue(), f"signals.by-name={name}") as tap:
        await client.post("/engine-rest/signal", {"name": name, "variables": variables}, expect=204)
        message = await tap.next()
    assert len(message["headers"]["types"]) > 1 << 14
    assert message["headers"]["ce-source"] == "/signal-broker/camunda"


async def test_a_broadcast_reaches_the_taps_whose_binding_matches_its_name(client, url, name):
    first, _, last = name.partition(".")
    matching = [name, f"{first}.*", f"{first}.#", f"*.{last}", f"{name}.#", "#"]
    others = [f"{name}.other", f"{name}.*", first, "*", "*.*.*"]
    queues = [await declare(url, f"signals.by-name={key}") for key in (*matching, *others)]
    everything_routed = await declare(url, "signals.routed=#")

    await throw(client, name)

    *found, routed = await take(url, *queues, everything_routed)
    await delete(url, *queues, everything_routed)
    assert [len(messages) for messages in found] == [1] * len(matching) + [0] * len(others)
    assert routed == []


async def test_a_queue_that_is_bound_in_several_ways_gets_one_copy(client, url, name):
    queue = await declare(url, f"signals.by-name={name}", "signals.by-name=test.#", f"signals.by-name=*.{name[5:]}")

    await throw(client, name)

    assert [len(messages) for messages in await take(url, queue)] == [1]
    await delete(url, queue)


ADDRESSES = {
    "tenant": ({"tenantId": "Acme_1-2"}, "tenant.Acme_1-2"),
    "tenant with dots": ({"tenantId": "acme.eu ~/*#%"}, "tenant.acme%2Eeu%20%7E%2F%2A%23%25"),
    "tenant in letters": ({"tenantId": "Zoë"}, "tenant.Zo%C3%AB"),
    "execution": ({"executionId": "order:7.1"}, "execution.order%3A7%2E1"),
    "untenanted": ({"withoutTenantId": True}, "untenanted"),
}


@pytest.mark.parametrize("case", ADDRESSES)
async def test_a_signal_for_somebody_reaches_the_taps_bound_to_them(client, url, name, case):
    terms, key = ADDRESSES[case]
    keys = {key, *(key for _, key in ADDRESSES.values()), "tenant.other"}
    queues = {key: await declare(url, f"signals.routed={key}.{name}") for key in sorted(keys)}
    by_name = await declare(url, "signals.by-name=#")

    await throw(client, name, **terms)

    *found, named = await take(url, *queues.values(), by_name)
    await delete(url, *queues.values(), by_name)
    keys_seen = {bound: [message[0] for message in messages] for bound, messages in zip(queues, found, strict=True)}
    assert keys_seen == {bound: [f"{key}.{name}"] if bound == key else [] for bound in queues}
    assert named == []


async def test_a_broadcast_by_a_limited_principal_reaches_no_tap_of_another_tenant(client, url, name):
    limited = client.caller(await token(client, "signals:throw", tenants=["acme", "init.ech"]))
    acme, initech, globex, untenanted, acme_twice, broadcasts = queues = [
        await declare(url, f"signals.routed=tenant.acme.{name}"),
        await declare(url, f"signals.routed=tenant.init%2Eech.{name}"),
        await declare(url, f"signals.routed=tenant.globex.{name}"),
        await declare(url, f"signals.routed=untenanted.{name}"),
        await declare(url, f"signals.routed=tenant.acme.{name}", f"signals.routed=untenanted.{name}"),
        await declare(url, "signals.by-name=#"),
    ]

    signal = await throw(limited, name)

    found = dict(zip(queues, await take(url, *queues), strict=True))
    await delete(url, *queues)
    assert {queue: len(messages) for queue, messages in found.items()} == {
        acme: 1,
        initech: 1,
        globex: 0,
        untenanted: 1,
        acme_twice: 1,
        broadcasts: 0,
    }
    _, properties, _ = found[acme][0]
    assert (properties.headers["ce-id"], properties.headers["scope"]) == (str(signal["id"]), "broadcast")


@pytest.mark.parametrize("kind", ["classic", "quorum"])
@pytest.mark.parametrize("together", [1, 50])
async def test_a_tap_that_rejects_fails_no_throw_and_doubles_none(client, url, name, webhooks, kind, together):
    await subscribe(client, name, webhooks.url())
    full = await declare(url, f"signals.by-name={name}", **{"x-queue-type": kind}, **REJECTING)
    neighbour = await declare(url, f"signals.by-name={name}")
    before = await rejections(client, "signals.broadcast")

    signals = []
    for _ in range(100 // together):
        signals += await asyncio.gather(*(throw(client, name) for _ in range(together)))

    rejected = await rejections(client, "signals.broadcast") - before
    await assert_recorded_once(client, webhooks, name, signals)
    (kept,), got = await take(url, full, neighbour)
    await delete(url, full, neighbour)
    assert rejected == 99
    assert kept[1].headers["ce-id"] == str(signals[0]["id"])
    assert sorted(int(properties.headers["ce-id"]) for _, properties, _ in got)[:100] == sorted(
        s["id"] for s in signals
    )
