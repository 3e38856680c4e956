"""Subscriptions whose target is a queue: a delivery counts only when the queue has confirmed it."""

from __future__ import annotations

import pytest

from tests.support.queues import declare, delete, fill, fresh_queue, take
from tests.support.taps import PROGRAMS, running_tap
from tests.support.throwing import FAR, delivery, fresh_id, throw, token

pytestmark = pytest.mark.transports("rabbitmq")

NOW = {"schedule": [0.0] * 50}
"""A retry policy that makes every attempt as soon as the one before it is over."""


async def subscribe_queue(client, name, queue, **spec):
    target = {"kind": "queue", "queue": queue}
    return await client.post("/v1/subscriptions", {"name": name, "target": target, **spec}, expect=201)


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS)
async def test_a_microservice_gets_its_deliveries_from_its_queue(client, product_vhost, name, program):
    queue, tenant = fresh_queue(), fresh_id("tenant")
    async with running_tap(program, product_vhost, queue) as reader:
        subscription = await subscribe_queue(client, name, queue, tenantId=tenant)
        signal = await throw(client, name, payload={"a": 1}, tenantId=tenant)
        message = await reader.next()

    assert (message["body"], message["type"], message["delivery_mode"]) == ('{"a": 1}', name, 2)
    headers = message["headers"]
    assert (headers["delivery-id"], headers["attempt"]) == (f"{signal['id']}-{subscription['id']}", 1)
    assert (headers["ce-id"], headers["scope"], headers["ce-tenantid"]) == (str(signal["id"]), "tenant", tenant)
    assert (await delivery(client, signal, subscription, "delivered"))["attempts"][0]["outcome"] == "succeeded"


async def test_a_broadcast_by_a_limited_principal_is_delivered_to_the_target_alone(client, product_vhost, name):
    queue = await declare(product_vhost)
    tap = await declare(product_vhost, f"signals.routed=tenant.acme.{name}")
    subscription = await subscribe_queue(client, name, queue)
    limited = client.caller(await token(client, "signals:throw", tenants=["acme"]))

    signal = await throw(limited, name)

    await delivery(client, signal, subscription, "delivered")
    ((_, delivered, _),), tapped = await take(product_vhost, queue, tap)
    await delete(product_vhost, queue, tap)
    assert not {"CC", "reach"} & delivered.headers.keys()
    assert len(tapped) == 1, "the delivery has not taken the carbon copies' way a second time"


@pytest.mark.slow
async def test_a_delivery_to_a_queue_that_is_gone_is_parked_until_it_is_there_again(client, product_vhost, name):
    queue = await declare(product_vhost)
    subscription = await subscribe_queue(client, name, queue, retry=NOW)
    await delivery(client, await throw(client, name), subscription, "delivered")
    await delete(product_vhost, queue)

    signal = await throw(client, name)
    parked = await delivery(client, signal, subscription, "parked")
    await declare(product_vhost, queue=queue)
    delivered = await delivery(client, signal, subscription, "delivered")

    assert parked["attempts"][0]["outcome"] == "unroutable"
    assert queue in parked["attempts"][0]["error"]
    *failed, last = [attempt["outcome"] for attempt in delivered["attempts"]]
    assert ({*failed}, last) == ({"unroutable"}, "succeeded")
    (((_, properties, _),),) = await take(product_vhost, queue)
    await delete(product_vhost, queue)
    assert properties.headers["delivery-id"] == delivered["id"]
    assert properties.headers["attempt"] == len(delivered["attempts"]) > 1


@pytest.mark.slow
async def test_a_delivery_that_the_queue_refuses_is_parked(client, product_vhost, name):
    full = await declare(
        product_vhost, **{"x-queue-type": "classic", "x-max-length": 1, "x-overflow": "reject-publish"}
    )
    await fill(product_vhost, full, 1)
    subscription = await subscribe_queue(client, name, full, retry=FAR)

    parked = await delivery(client, await throw(client, name), subscription, "parked")

    assert [attempt["outcome"] for attempt in parked["attempts"]] == ["refused"]
    (((_, kept, _),),) = await take(product_vhost, full)
    await delete(product_vhost, full)
    assert kept.type is None, "what was there before"
