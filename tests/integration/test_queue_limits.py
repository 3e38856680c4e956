"""Which queues a subscription may deliver to: none that are reserved, and those of its creator only."""

from __future__ import annotations

import pytest

from tests.support.throwing import NOWHERE, fresh_id, subscribe, token

RESERVED = [
    "signals.record",
    "signals.record.dead",
    "signals.record.2",
    "signals.broadcast",
    "signals.routed",
    "signals.by-name",
    "deliveries",
    "deliveries.attempt",
    "deliveries.attempt.slow.dead",
    "amq.rabbitmq.reply-to",
    "amq.rabbitmq.reply-to.g1h2",
    "amq.gen-abc",
    "amq.direct",
]


@pytest.mark.slow
@pytest.mark.parametrize("queue", RESERVED)
async def test_reserved_queues_are_no_targets(client, name, queue):
    """A payload there could pass for one of our own messages, or for the reply to somebody's request."""
    target = {"kind": "queue", "queue": queue}
    made = await subscribe(client, name)
    refused = [
        await client.post("/v1/subscriptions", {"name": name, "target": target}, expect=400),
        await client.post("/v1/subscriptions", {"name": name, "steps": [{"target": target}]}, expect=400),
        (await client.request("PATCH", f"/v1/subscriptions/{made['id']}", json={"target": target}))[2],
    ]
    pointers = [error["pointer"] for problem in refused for error in problem["errors"]]
    assert pointers == ["/target/queue", "/steps/0/target/queue", "/target/queue"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limits", "allowed", "refused"),
    [
        ({"tenants": ["{}"]}, ["{}", "{}.orders", "{}-orders"], ["orders", "{}2", "x.{}", "#"]),
        ({"tenants": ["{}"], "queues": ["shop.*"]}, ["shop.a"], ["{}", "shop", "shop.a.b"]),
        ({"queues": ["shop.#"]}, ["shop", "shop.a.b"], ["{}", "shops"]),
        ({"tenants": ["{}"], "queues": []}, [], ["{}", "a"]),
        ({}, ["{}", "orders"], []),
    ],
)
async def test_a_principal_delivers_to_its_queues_only(client, limits, allowed, refused):
    tenant = fresh_id("tenant")
    filled = {limit: [value.format(tenant) for value in values] for limit, values in limits.items()}
    caller = client.caller(await token(client, "subscriptions:manage", **filled))
    made = await subscribe(caller, tenant, tenantId=tenant)
    path = f"/v1/subscriptions/{made['id']}"
    for queues, statuses in ((allowed, [201, 201, 200]), (refused, [403] * 3)):
        for queue in queues:
            target = {"kind": "queue", "queue": queue.format(tenant)}
            document = {"name": tenant, "tenantId": tenant}
            webhook = {"target": {"kind": "webhook", "url": NOWHERE}}
            answers = [
                await caller.request("POST", "/v1/subscriptions", json={**document, "target": target}),
                await caller.request(
                    "POST", "/v1/subscriptions", json={**document, "steps": [webhook, {"target": target}]}
                ),
                await caller.request("PATCH", path, json={"target": target}),
            ]
            assert [status for status, _, _ in answers] == statuses, queue


async def test_a_change_of_something_else_leaves_a_queue_that_was_given(client, name):
    tenant = fresh_id("tenant")
    target = {"kind": "queue", "queue": "everybodys"}
    made = await client.post("/v1/subscriptions", {"name": name, "tenantId": tenant, "target": target})
    caller = client.caller(await token(client, "subscriptions:manage", tenants=[tenant]))
    path = f"/v1/subscriptions/{made['id']}"
    assert (await caller.request("PATCH", path, json={"description": "mine"}))[0] == 200
