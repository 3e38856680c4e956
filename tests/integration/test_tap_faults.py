"""Taps that go wrong: no throw fails for it, and no record is lost or doubled.

A tap whose quorum queue has lost its quorum is not among these: on one node the record queue would have lost it, too.
What the gateway does then is the same; it sees no confirm instead of a negative one.
"""

from __future__ import annotations

import asyncio
import re

import pytest

from broker.topology import BROADCAST, RECORD, ROUTED
from tests.support.eventually import eventually
from tests.support.queues import declare, delete, fill, holds, take
from tests.support.rabbitmq import on_channel
from tests.support.throwing import delivery, fresh_id, subscribe, throw

pytestmark = [pytest.mark.slow, pytest.mark.transports("rabbitmq")]

REJECTING = {"x-max-length": 1, "x-overflow": "reject-publish"}


async def rejections(client, exchange):
    _, _, metrics = await client.request("GET", "/metrics")
    pattern = f'^signal_broker_tap_rejections_total{{exchange="{re.escape(exchange)}"}} ([0-9.]+)'
    found = re.search(pattern, metrics.decode(), re.MULTILINE)
    return float(found[1]) if found else 0


async def taken_by(client, vhost, exchange, tap, *, rejected, of):
    """Return what *tap* holds once *exchange* has counted the rest of those *of* that many as more than *rejected*."""

    async def settled():
        held = await on_channel(vhost, lambda channel: channel.queue_declare(tap, passive=True).method.message_count)
        return await rejections(client, exchange) - rejected == of - held

    await eventually(settled)
    (messages,) = await take(vhost, tap)
    return messages


async def assert_recorded_once(client, webhooks, subscription, signals):
    """Check that each of *signals* was recorded once and delivered once; return the ids of all of that name.

    They are one more: what was published before the last one has left the record queue before it.
    """
    name = subscription["name"]
    last = await throw(client, name)
    await delivery(client, last, subscription, "delivered")
    ids = [*sorted(signal["id"] for signal in signals), last["id"]]
    await eventually(lambda: len(webhooks.requests) >= len(ids))
    page = await client.get(f"/v1/signals?name={name}&limit=1000")
    assert sorted(item["id"] for item in page["items"]) == ids
    expected = [f"{signal_id}-{subscription['id']}" for signal_id in ids]
    assert sorted(request.headers["webhook-id"] for request in webhooks.requests) == sorted(expected)
    ledger = await client.get(f"/v1/ledger?subscriptionId={subscription['id']}")
    assert (ledger["matched"], ledger["unaccounted"]) == (len(ids), 0)
    return ids


@pytest.mark.parametrize("kind", ["classic", "quorum"])
async def test_a_tap_that_rejects_fails_no_throw_and_doubles_none(client, product_vhost, name, webhooks, kind):
    subscription = await subscribe(client, name, webhooks.url())
    full = await declare(product_vhost, f"signals.by-name={name}", **{"x-queue-type": kind}, **REJECTING)
    neighbour = await declare(product_vhost, f"signals.by-name={name}")
    before = await rejections(client, "signals.broadcast")

    signals = [await throw(client, name) for _ in range(50)]
    signals += await asyncio.gather(*(throw(client, name) for _ in range(50)))

    ids = await assert_recorded_once(client, webhooks, subscription, signals)
    kept = await taken_by(client, product_vhost, BROADCAST, full, rejected=before, of=len(ids))
    (reached,) = await take(product_vhost, neighbour)
    await delete(product_vhost, full, neighbour)
    assert len(kept) < 50, "a quorum queue's limit is soft, but it is one"
    assert sorted({int(properties.headers["ce-id"]) for _, properties, _ in reached}) == ids
    assert len(reached) <= len(ids) + 5, "only the first nack is tried again, not each"


async def test_beside_a_gateway_of_the_version_before_every_signal_is_recorded_once(
    client, product_vhost, name, webhooks
):
    """Its bindings bring the record queue each signal twice, until they are pruned."""
    subscription = await subscribe(client, name, webhooks.url())
    bind = [(RECORD, BROADCAST, ""), (RECORD, ROUTED, "#")]
    await on_channel(product_vhost, lambda channel: [channel.queue_bind(*binding) for binding in bind])
    try:
        signals = await asyncio.gather(*(throw(client, name) for _ in range(50)))
        await assert_recorded_once(client, webhooks, subscription, signals)
    finally:
        await on_channel(product_vhost, lambda channel: [channel.queue_unbind(*binding) for binding in bind])


async def test_a_tenants_tap_that_rejects_fails_no_throw_and_doubles_none(client, product_vhost, name, webhooks):
    tenant = fresh_id("tenant")
    subscription = await subscribe(client, name, webhooks.url(), tenantId=tenant)
    full = await declare(product_vhost, f"signals.routed=tenant.{tenant}.{name}", **REJECTING)
    before = await rejections(client, "signals.routed")

    signals = [await throw(client, name, tenantId=tenant) for _ in range(10)]
    signals.append(await throw(client, name))

    await assert_recorded_once(client, webhooks, subscription, signals)
    kept = await taken_by(client, product_vhost, ROUTED, full, rejected=before, of=10)
    await delete(product_vhost, full)
    assert len(kept) < 10


async def test_a_tap_that_nobody_empties_fails_no_throw_and_doubles_none(client, product_vhost, name, webhooks):
    subscription = await subscribe(client, name, webhooks.url())
    piled = await declare(product_vhost, f"signals.by-name={name}")
    await fill(product_vhost, piled, 50_000)

    signals = await asyncio.gather(*(throw(client, name) for _ in range(100)))

    ids = await assert_recorded_once(client, webhooks, subscription, signals)
    await holds(product_vhost, piled, 50_000 + len(ids))
    await delete(product_vhost, piled)


async def test_a_tap_that_drops_its_oldest_rejects_nothing(client, product_vhost, name):
    limits = {"x-max-length": 2, "x-overflow": "drop-head"}
    short = await declare(product_vhost, f"signals.by-name={name}", **limits)
    before = await rejections(client, "signals.broadcast")

    signals = [await throw(client, name) for _ in range(5)]

    (kept,) = await take(product_vhost, short)
    await delete(product_vhost, short)
    assert [int(properties.headers["ce-id"]) for _, properties, _ in kept] == [s["id"] for s in signals[-2:]]
    assert await rejections(client, "signals.broadcast") == before
