"""Taps: what a microservice gets that binds a queue of its own.

RabbitMQ reads the copy for taps before the one for the record queue, which takes longer: a queue that holds nothing
after the answer was not meant.
"""

from __future__ import annotations

import asyncio
import re
import shlex
from datetime import datetime
from unittest.mock import ANY

import pytest
from pika.exceptions import ChannelClosedByBroker

from tests.support.queues import declare, delete, fresh_queue, take
from tests.support.rabbitmq_servers import vhost_of
from tests.support.taps import DOCS, PROGRAMS, running_tap
from tests.support.throwing import endpoint, fresh_id, throw, token

pytestmark = pytest.mark.transports("rabbitmq")

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS)
async def test_an_example_tap_gets_the_message_contract(client, product_vhost, name, program):
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
    async with running_tap(program, product_vhost, fresh_queue(), *bindings) as tap:
        for scope, spec in addresses.items():
            document = {"name": name, "payload": {"scope": scope}, **spec}
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


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS)
async def test_a_payload_arrives_byte_for_byte(client, product_vhost, name, program):
    made, secret = await endpoint(client)
    bindings = f"signals.by-name={name}", f"signals.by-name={made['name']}"
    async with running_tap(program, product_vhost, fresh_queue(), *bindings) as tap:
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


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS)
async def test_an_example_tap_drops_a_repeat_by_its_ce_id(client, product_vhost, name, program):
    async with running_tap(program, product_vhost, fresh_queue(), f"signals.by-name={name}") as tap:
        repeated = {"name": name, "payload": "repeated"}
        for _ in range(2):
            await client.post("/v1/signals", repeated, Idempotency_Key=name, expect=202)
        await throw(client, name, payload="next")

        assert [(await tap.next())["body"] for _ in range(2)] == ['"repeated"', '"next"']


@pytest.mark.slow
async def test_what_is_thrown_while_a_tap_is_down_waits_in_its_queue(client, product_vhost, name):
    queue = fresh_queue()
    async with running_tap("tap.py", product_vhost, queue, f"signals.by-name={name}"):
        pass
    await throw(client, name, payload="meanwhile")
    async with running_tap("tap.mjs", product_vhost, queue, f"signals.by-name={name}") as tap:
        assert (await tap.next())["body"] == '"meanwhile"'


@pytest.mark.slow
async def test_types_that_fill_many_frames_of_a_small_client_arrive(client, product_vhost, name):
    """Camunda's types travel in a header, and amqplib takes frames of 4 KiB."""
    variables = {f"variable-{number}": {"value": number, "type": "Long"} for number in range(1000)}
    async with running_tap("tap.mjs", product_vhost, fresh_queue(), f"signals.by-name={name}") as tap:
        await client.post("/engine-rest/signal", {"name": name, "variables": variables}, expect=204)
        message = await tap.next()
    assert len(message["headers"]["types"]) > 1 << 14
    assert message["headers"]["ce-source"] == "/signal-broker/camunda"


@pytest.mark.slow
async def test_a_broadcast_reaches_the_taps_whose_binding_matches_its_name(client, product_vhost, name):
    first, _, last = name.partition(".")
    matching = [name, f"{first}.*", f"{first}.#", f"*.{last}", f"{name}.#", "#"]
    others = [f"{name}.other", f"{name}.*", first, "*", "*.*.*"]
    queues = [await declare(product_vhost, f"signals.by-name={key}") for key in (*matching, *others)]
    everything_routed = await declare(product_vhost, "signals.routed=#")

    await throw(client, name)

    *found, routed = await take(product_vhost, *queues, everything_routed)
    await delete(product_vhost, *queues, everything_routed)
    assert [len(messages) for messages in found] == [1] * len(matching) + [0] * len(others)
    assert routed == []


@pytest.mark.slow
async def test_a_queue_that_is_bound_in_several_ways_gets_one_copy(client, product_vhost, name):
    queue = await declare(
        product_vhost, f"signals.by-name={name}", "signals.by-name=test.#", f"signals.by-name=*.{name[5:]}"
    )

    await throw(client, name)

    assert [len(messages) for messages in await take(product_vhost, queue)] == [1]
    await delete(product_vhost, queue)


ADDRESSES = {
    "tenant": ({"tenantId": "Acme_1-2"}, "tenant.Acme_1-2"),
    "tenant with dots": ({"tenantId": "acme.eu ~/*#%"}, "tenant.acme%2Eeu%20%7E%2F%2A%23%25"),
    "tenant in letters": ({"tenantId": "Zoë"}, "tenant.Zo%C3%AB"),
    "execution": ({"executionId": "order:7.1"}, "execution.order%3A7%2E1"),
    "untenanted": ({"withoutTenantId": True}, "untenanted"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", ADDRESSES)
async def test_a_signal_for_somebody_reaches_the_taps_bound_to_them(client, product_vhost, name, case):
    spec, key = ADDRESSES[case]
    keys = {key, *(key for _, key in ADDRESSES.values()), "tenant.other"}
    queues = {key: await declare(product_vhost, f"signals.routed={key}.{name}") for key in sorted(keys)}
    by_name = await declare(product_vhost, "signals.by-name=#")

    await throw(client, name, **spec)

    *found, named = await take(product_vhost, *queues.values(), by_name)
    await delete(product_vhost, *queues.values(), by_name)
    keys_seen = {bound: [message[0] for message in messages] for bound, messages in zip(queues, found, strict=True)}
    assert keys_seen == {bound: [f"{key}.{name}"] if bound == key else [] for bound in queues}
    assert named == []


@pytest.mark.slow
async def test_a_broadcast_by_a_limited_principal_reaches_no_tap_of_another_tenant(client, product_vhost, name):
    limited = client.caller(await token(client, "signals:throw", tenants=["acme", "init.ech"]))
    acme, initech, globex, untenanted, acme_twice, broadcasts = queues = [
        await declare(product_vhost, f"signals.routed=tenant.acme.{name}"),
        await declare(product_vhost, f"signals.routed=tenant.init%2Eech.{name}"),
        await declare(product_vhost, f"signals.routed=tenant.globex.{name}"),
        await declare(product_vhost, f"signals.routed=untenanted.{name}"),
        await declare(product_vhost, f"signals.routed=tenant.acme.{name}", f"signals.routed=untenanted.{name}"),
        await declare(product_vhost, "signals.by-name=#"),
    ]

    signal = await throw(limited, name)

    found = dict(zip(queues, await take(product_vhost, *queues), strict=True))
    await delete(product_vhost, *queues)
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


@pytest.mark.slow
async def test_the_user_of_a_tap_binds_what_it_was_permitted_and_nothing_else(product, rabbitmq, product_vhost, name):
    """The commands are those of docs/taps.md."""
    password = fresh_queue()
    await asyncio.to_thread(rabbitmq.ctl, "add_user", "billing", password)
    for command in re.findall("^rabbitmqctl (.*)$", (DOCS / "taps.md").read_text(), re.MULTILINE):
        what, *arguments = shlex.split(command)
        await asyncio.to_thread(rabbitmq.ctl, what, "-p", vhost_of(product_vhost), *arguments)
    url = f"amqp://billing:{password}@{product_vhost.rpartition('@')[2]}"

    permitted = f"signals.by-name={name}", f"signals.routed=tenant.acme.{name}"
    await declare(url, *permitted, queue="billing")
    for other in (
        "signals.routed=#",
        f"signals.routed=tenant.*.{name}",
        f"signals.routed=untenanted.{name}",
        "signals.broadcast=",
    ):
        with pytest.raises(ChannelClosedByBroker, match="ACCESS_REFUSED"):
            await declare(url, other, queue="billing")
    await delete(url, "billing")
    await asyncio.to_thread(rabbitmq.ctl, "delete_user", "billing")
