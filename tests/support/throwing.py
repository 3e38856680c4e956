"""What tests of the gateway say again and again: subscribe, throw, look at what is owed."""

from __future__ import annotations

import itertools

from tests.support.eventually import eventually

NOWHERE = "http://127.0.0.1:9/"
"""A webhook for subscriptions that only have to be matched: nobody listens there."""
FAR = {"schedule": [600.0]}
"""A retry policy that makes no second attempt while a test runs."""

_ids = itertools.count()


def fresh_id(kind):
    """Return an id of a tenant or an execution that no other test of the session uses."""
    return f"{kind}-{next(_ids)}"


async def subscribe(client, name, url=NOWHERE, **spec):
    """Return a new subscription."""
    return await client.post("/v1/subscriptions", {"name": name, "target": {"kind": "webhook", "url": url}, **spec})


async def throw(client, name, **spec):
    """Return a signal just accepted."""
    return await client.post("/v1/signals", {"name": name, **spec}, expect=202)


async def recorded(client, signal_id):
    """Return the signal once it is recorded; what it is owed to is recorded with it."""

    async def get():
        status, _, body = await client.request("GET", f"/v1/signals/{signal_id}")
        return body if status == 200 else None

    return await eventually(get)


async def matched(client, signal_id):
    """Return the ids of the subscriptions that a signal is owed to."""
    await recorded(client, signal_id)
    page = await client.get(f"/v1/signals/{signal_id}/deliveries?limit=1000")
    return {delivery["subscriptionId"] for delivery in page["items"]}


async def recorded_ids(client, name, count):
    """Return the ids of the signals of that name, ascending, once *count* of them are recorded."""

    async def get():
        page = await client.get(f"/v1/signals?name={name}&limit=1000")
        return page["items"] if len(page["items"]) >= count else None

    signals = await eventually(get)
    assert len(signals) == count
    return sorted(signal["id"] for signal in signals)


async def delivery(client, signal, subscription, state):
    """Return the delivery of *signal* to *subscription* once it is in *state*."""
    path = f"/v1/deliveries/{signal['id']}-{subscription['id']}"

    async def get():
        status, _, body = await client.request("GET", path)
        return body if status == 200 and body["state"] == state else None

    return await eventually(get)


async def token(client, *permissions, **limits):
    """Return the value of a new API token."""
    answer = await client.post(
        "/v1/tokens", {"name": fresh_id("token"), "permissions": list(permissions), **limits}, expect=201
    )
    return answer["token"]


async def endpoint(client, name=None, **spec):
    """Return (endpoint, token's value) of a new signal endpoint."""
    created = await client.post(
        "/api/admin/signal-endpoints", {"name": name or fresh_id("endpoint"), **spec}, expect=201
    )
    made = await client.post(f"/api/admin/signal-endpoints/{created['id']}/tokens", {"name": "first"}, expect=201)
    return created, made["token"]
