"""Who may not lease, and what is no request for a lease."""

from __future__ import annotations

import pytest

from tests.support.leasing import Puller
from tests.support.throwing import fresh_id, subscribe, token


async def test_only_who_manages_deliveries_of_its_tenant_leases_and_ends_leases(client, name):
    tenant, permissions = fresh_id("tenant"), ("deliveries:manage", "signals:read")
    mine = Puller(client, name)
    await mine.subscribe(tenantId=tenant)
    await mine.throw(tenantId=tenant)

    def as_(value):
        one = Puller(client.caller(value), name)
        one.subscription_id = mine.subscription_id
        return one

    worker = as_(await token(client, *permissions, tenants=[tenant]))
    stranger = as_(await token(client, *permissions, tenants=[fresh_id("tenant")]))
    narrow = as_(await token(client, *permissions, tenants=[tenant], names=["other"]))
    reader = as_(await token(client, "signals:read", tenants=[tenant]))
    for other, status in ((stranger, 404), (narrow, 403), (reader, 403)):
        await other.client.post(f"{other.path}/lease", {}, expect=status)
    leased = await worker.lease_one()
    no_such = ["there is no such lease, or it ended long ago"]
    assert [await one.settle("ack", leased) for one in (stranger, narrow)] == [no_such] * 2
    assert await worker.settle("ack", leased) == [None]


@pytest.mark.parametrize(
    ("path", "document", "pointer"),
    [
        ("lease", {"max": 0}, "/max"),
        ("lease", {"max": 101}, "/max"),
        ("lease", {"waitSeconds": 31}, "/waitSeconds"),
        ("lease", {"leaseSeconds": 0}, "/leaseSeconds"),
        ("lease", {"worker": ""}, "/worker"),
        *(("lease", {"worker": f"a{one}"}, "/worker") for one in ("\0", "\n", "\x1b", "\x7f", "\u202e", "\ud800")),
        ("lease", {"count": 1}, "/count"),
        ("/v1/leases/ack", {}, "/leaseTokens"),
        ("/v1/leases/ack", {"leaseTokens": []}, "/leaseTokens"),
        ("/v1/leases/ack", {"leaseTokens": ["x"] * 1001}, "/leaseTokens"),
        ("/v1/leases/ack", {"leaseTokens": ["x", ""]}, "/leaseTokens/1"),
        ("/v1/leases/return", {"leaseTokens": ["x"] * 1001}, "/leaseTokens"),
        ("/v1/leases/return", {"leaseTokens": ["x"], "error": "no"}, "/error"),
        ("/v1/leases/extend", {"leaseTokens": ["x"]}, "/leaseSeconds"),
        ("/v1/leases/extend", {"leaseTokens": ["x"], "leaseSeconds": 43_201}, "/leaseSeconds"),
        ("/v1/leases/fail", {"leaseTokens": ["x"], "retryAfterSeconds": -1}, "/retryAfterSeconds"),
        ("/v1/leases/fail", {"leaseTokens": ["x"], "retryAfterSeconds": 1, "giveUp": True}, "/retryAfterSeconds"),
        ("/v1/leases/fail", {"leaseTokens": ["x"], "retryAfterSeconds": 1, "outcome": "timed_out"}, "/outcome"),
        ("/v1/leases/fail", {"leaseTokens": ["x"], "giveUp": True, "outcome": "refused"}, "/outcome"),
        ("/v1/leases/fail", {"leaseTokens": ["x"], "outcome": "succeeded"}, "/outcome"),
    ],
)
async def test_a_bad_request_is_told_what_is_wrong(client, puller, path, document, pointer):
    await puller.subscribe()
    where = path if path.startswith("/") else f"{puller.path}/{path}"
    problem = await client.post(where, document, expect=400)
    assert [error["pointer"] for error in problem["errors"]] == [pointer]


async def test_a_pull_target_stays_one_and_is_no_step(client, name, puller):
    await puller.subscribe()
    called = await subscribe(client, name)
    pull, webhook = {"kind": "pull"}, called["target"]
    for path, target in ((puller.path, webhook), (f"/v1/subscriptions/{called['id']}", pull)):
        status, _, problem = await client.request("PATCH", path, json={"target": target})
        assert (status, problem["errors"][0]["pointer"]) == (400, "/target")
    assert (await client.request("PATCH", puller.path, json={"target": pull}))[0] == 200
    problem = await client.post("/v1/subscriptions", {"name": name, "steps": [{"target": pull}]}, expect=400)
    assert problem["errors"][0]["pointer"] == "/steps/0/target/kind"
    await client.post(f"{puller.path}/test", {}, expect=409)
    await client.post(f"/v1/subscriptions/{called['id']}/lease", {}, expect=409)
