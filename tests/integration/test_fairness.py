"""A tenant alone is served within moments, whatever backlog others have."""

from __future__ import annotations

import pytest

from broker.store.postgres.database import Database
from tests.integration.test_flow import reach
from tests.support.eventually import eventually
from tests.support.receiver import Answer
from tests.support.throwing import FAR, delivery, fresh_id, subscribe, throw

pytestmark = pytest.mark.slow

SUBSCRIPTIONS, SIGNALS = 20, 100
NO_QUEUE = {"kind": "queue", "queue": "no-such-queue"}
EARLIER = """
SELECT count(*)
FROM attempts a
JOIN subscriptions s ON s.id = a.subscription_id
WHERE s.tenant_id = $1
    AND a.started_at < (SELECT min(started_at) FROM attempts WHERE signal_id = $2)
"""


@pytest.mark.transports("embedded", "rabbitmq")
async def test_a_tenant_alone_is_served_before_most_of_the_backlog_of_another(client, product, webhooks, name):
    """Both the recorder and the deliverer work on the backlog of 2,000 when its signal is thrown."""
    noisy, quiet = fresh_id("tenant"), fresh_id("tenant")
    for _ in range(SUBSCRIPTIONS):
        wanted = {"target": NO_QUEUE, "retry": FAR, "tenantId": noisy}
        await client.post("/v1/subscriptions", {"name": f"{name}.noisy", **wanted}, expect=201)
    own = await subscribe(client, f"{name}.quiet", webhooks.url("/quiet"), tenantId=quiet)
    async with Database(product.environment["STORE_URL"], size=1) as store:

        async def attempted():
            return await store.fetchval(
                "SELECT count(*) FROM deliveries d JOIN subscriptions s ON s.id = d.subscription_id"
                " WHERE s.tenant_id = $1 AND d.attempts > 0",
                noisy,
            )

        await client.post("/v1/signals/batch", {"signals": [{"name": f"{name}.noisy"}] * SIGNALS}, expect=200)
        before = await attempted()
        signal = await throw(client, f"{name}.quiet")
        await delivery(client, signal, own, "delivered")
        assert await store.fetchval(EARLIER, noisy, int(signal["id"])) - before < SUBSCRIPTIONS * SIGNALS / 2

        async def all_attempted():
            return await attempted() == SUBSCRIPTIONS * SIGNALS

        await eventually(all_attempted, within=60)
    assert (await client.get("/v1/ledger"))["unaccounted"] == 0


async def test_nor_does_it_wait_for_a_backlog_that_is_redriven_at_once(client, webhooks, name):
    url = webhooks.answer("/noisy", Answer(status=400))
    noisy = await subscribe(client, f"{name}.noisy", url, retry={"maxAttempts": 1})
    await client.post("/v1/signals/batch", {"signals": [{"name": f"{name}.noisy"}] * 900}, expect=200)
    await reach(client, noisy, dead=900)
    await subscribe(client, f"{name}.quiet", webhooks.url("/quiet"), tenantId=fresh_id("tenant"))
    await client.post("/v1/deliveries/redrive", {"subscriptionId": noisy["id"]}, expect=200)
    await throw(client, f"{name}.quiet")
    await eventually(lambda: any(request.path == "/quiet" for request in webhooks.requests))
    assert len(webhooks.requests) < 900 + 450
    await eventually(lambda: len(webhooks.requests) == 900 + 900 + 1, within=60)
    await reach(client, noisy, dead=900)
