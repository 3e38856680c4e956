"""Subscriptions over HTTP, and the promise that a created one misses nothing."""

from __future__ import annotations

import asyncio
import json

import pytest

from broker.store.postgres.database import Database
from tests.support.eventually import eventually
from tests.support.receiver import Answer
from tests.support.throwing import FAR, NOWHERE, delivery, fresh_id, matched, recorded, subscribe, throw, token


async def test_a_created_subscription_is_answered_in_full_with_its_secret(client, name):
    status, headers, body = await client.request(
        "POST",
        "/v1/subscriptions",
        json={
            "name": name,
            "target": {"kind": "webhook", "url": f"{NOWHERE}{name}", "headers": {"X-Team": "claims"}},
            "tenantId": "acme",
            "executionId": "e",
            "once": True,
            "retry": {"schedule": [1, 2.5], "maxAttempts": 4},
            "timeoutSeconds": 3,
            "description": "for the claims team",
        },
    )

    assert status == 201
    assert headers["Location"] == f"/v1/subscriptions/{body['id']}"
    assert body["secret"].startswith("whsec_")
    assert {key: body[key] for key in body if key not in {"id", "createdAt", "secret"}} == {
        "name": name,
        "target": {
            "kind": "webhook",
            "url": f"{NOWHERE}{name}",
            "method": "POST",
            "headers": {"X-Team": "claims"},
            "bodyTemplate": None,
            "signatures": ["v1"],
            "format": "standard",
            "requestOrigin": None,
        },
        "steps": None,
        "tenantId": "acme",
        "businessKey": None,
        "correlationKeys": None,
        "executionId": "e",
        "once": True,
        "consumedBy": None,
        "state": "active",
        "pausedAt": None,
        "disabledBecause": None,
        "filter": None,
        "ordered": False,
        "headOfLine": None,
        "maxInFlight": None,
        "maxPerSecond": None,
        "backlog": None,
        "circuit": None,
        "successRate": None,
        "createdBy": "admin",
        "retry": {"schedule": [1.0, 2.5, 2.5], "maxAttempts": 4},
        "timeoutSeconds": 3.0,
        "description": "for the claims team",
    }
    assert await client.get(f"/v1/subscriptions/{body['id']}") == {
        **body,
        "secret": None,
        "backlog": {"parked": 0, "leasable": 0, "leased": 0, "oldest": None},
        "circuit": "closed",
        "successRate": {"hour": None, "day": None},
    }


async def test_a_list_of_subscriptions_is_paged_and_filtered(client, name):
    made = [await subscribe(client, name, tenantId=tenant) for tenant in ("acme", "acme", "globex")]

    first = await client.get(f"/v1/subscriptions?name={name}&limit=2")
    rest = await client.get(f"/v1/subscriptions?name={name}&limit=2&afterId={first['next']}")
    of_acme = await client.get(f"/v1/subscriptions?name={name}&tenantId=acme")

    assert [found["id"] for found in first["items"] + rest["items"]] == [one["id"] for one in made]
    assert rest["next"] is None
    assert [found["id"] for found in of_acme["items"]] == [one["id"] for one in made[:2]]


@pytest.mark.slow
async def test_a_deleted_subscription_is_gone_and_what_it_was_owed_is_cancelled(client, name):
    subscription = await subscribe(client, name, retry=FAR)
    signal = await throw(client, name)
    await delivery(client, signal, subscription, "parked")

    assert (await client.request("DELETE", f"/v1/subscriptions/{subscription['id']}"))[0] == 204

    assert (await client.request("GET", f"/v1/subscriptions/{subscription['id']}"))[0] == 404
    assert (await client.request("DELETE", f"/v1/subscriptions/{subscription['id']}"))[0] == 404
    await delivery(client, signal, subscription, "cancelled")


async def test_a_principal_sees_subscriptions_of_its_tenants_and_if_it_may_the_untenanted(client, name):
    limited = client.caller(await token(client, "subscriptions:manage", tenants=["acme"]))
    further = client.caller(await token(client, "subscriptions:manage", tenants=["acme"], untenanted=True))
    mine, foreign, nobodys = [await subscribe(client, name, tenantId=tenant) for tenant in ("acme", "globex", None)]

    page = await limited.get(f"/v1/subscriptions?name={name}")

    assert [found["id"] for found in page["items"]] == [mine["id"]]
    page = await further.get(f"/v1/subscriptions?name={name}")
    assert [found["id"] for found in page["items"]] == [mine["id"], nobodys["id"]]
    assert (await limited.request("GET", f"/v1/subscriptions/{nobodys['id']}"))[0] == 404
    assert (await further.get(f"/v1/subscriptions/{nobodys['id']}"))["id"] == nobodys["id"]
    assert (await limited.request("GET", f"/v1/subscriptions/{foreign['id']}"))[0] == 404
    assert (await limited.request("DELETE", f"/v1/subscriptions/{foreign['id']}"))[0] == 404
    document = {"name": name, "target": {"kind": "queue", "queue": "q"}, "tenantId": "globex"}
    await limited.post("/v1/subscriptions", document, expect=403)


REFUSED_SPECS = {
    "an unknown kind": ({"target": {"kind": "carrier pigeon"}}, "/target/kind"),
    "no kind": ({"target": {"url": NOWHERE}}, "/target/kind"),
    "a target that is no object": ({"target": 3}, "/target"),
    "a target without a URL": ({"target": {"kind": "webhook"}}, "/target/url"),
    "a private address": ({"target": {"kind": "webhook", "url": "http://10.0.0.1/"}}, "/target/url"),
    "a URL that is none": ({"target": {"kind": "webhook", "url": "ftp://example.com/"}}, "/target/url"),
    "a signature nobody knows": (
        {"target": {"kind": "webhook", "url": NOWHERE, "signatures": ["v9"]}},
        "/target/signatures/0",
    ),
    "a header of ours": (
        {"target": {"kind": "webhook", "url": NOWHERE, "headers": {"webhook-id": "x"}}},
        "/target/headers/webhook-id",
    ),
    "a header twice": (
        {"target": {"kind": "webhook", "url": NOWHERE, "headers": {"X-Dup": "1", "x-dup": "2"}}},
        "/target/headers/x-dup",
    ),
    "a header twice in a step": (
        {
            "target": None,
            "steps": [
                {"target": {"kind": "webhook", "url": NOWHERE}},
                {
                    "target": {
                        "kind": "webhook",
                        "url": NOWHERE,
                        "bodyTemplate": "{}",
                        "headers": {"Content-Type": "text/plain", "CONTENT-TYPE": "text/csv"},
                    }
                },
            ],
        },
        "/steps/1/target/headers/CONTENT-TYPE",
    ),
    "attempts without a pause between them": ({"retry": {"schedule": [], "maxAttempts": 5}}, "/retry/maxAttempts"),
    "a pause below zero": ({"retry": {"schedule": [1, -1]}}, "/retry/schedule/1"),
    "no attempt": ({"retry": {"maxAttempts": 0}}, "/retry/maxAttempts"),
    "a timeout of nothing": ({"timeoutSeconds": 0}, "/timeoutSeconds"),
    "a timeout that no receiver keeps": ({"timeoutSeconds": 0.099}, "/timeoutSeconds"),
    "a truth value as text": ({"once": "yes"}, "/once"),
    "Python's spelling": ({"tenant_id": "acme"}, "/tenant_id"),
    "a NUL": ({"description": "a\0b"}, "/description"),
}


@pytest.mark.parametrize("case", REFUSED_SPECS)
async def test_wrong_terms_are_refused_with_a_pointer_to_them(client, name, case):
    spec, pointer = REFUSED_SPECS[case]
    document = {"name": name, "target": {"kind": "webhook", "url": NOWHERE}, **spec}

    problem = await client.post("/v1/subscriptions", document, expect=400)

    assert [error["pointer"] for error in problem["errors"]] == [pointer]


@pytest.mark.slow
@pytest.mark.transports("embedded", "rabbitmq")
async def test_every_throw_begun_after_a_creation_was_answered_matches_and_none_after_a_deletion(client, name):
    """Many times over and concurrently, so that batches of the recorder hold signals from before and after."""

    async def live(round_):
        own = f"{name}.{round_}"
        before = await throw(client, own)
        subscription = await subscribe(client, own)
        between = await throw(client, own)
        await client.request("DELETE", f"/v1/subscriptions/{subscription['id']}")
        after = await throw(client, own)
        return subscription["id"], [signal["id"] for signal in (before, between, after)]

    lives = await asyncio.gather(*(live(round_) for round_ in range(60)))

    for subscription, (before, between, after) in lives:
        assert [await matched(client, signal) for signal in (before, between, after)] == [set(), {subscription}, set()]


@pytest.mark.slow
async def test_a_subscription_gets_no_signals_from_before_it(client, name):
    earlier = [await throw(client, name) for _ in range(5)]
    subscription = await subscribe(client, name)
    later = await throw(client, name)

    assert await matched(client, later["id"]) == {subscription["id"]}
    assert [await matched(client, signal["id"]) for signal in earlier] == [set()] * 5


async def test_an_execution_waits_for_patterns_too(client, name):
    execution = fresh_id("waiting")
    subscription = await subscribe(client, f"{name}.#", executionId=execution)

    signal = await throw(client, f"{name}.deep.down", executionId=execution)

    assert await matched(client, signal["id"]) == {subscription["id"]}


@pytest.mark.slow
async def test_a_page_is_short_however_large_its_subscriptions_are(client, name):
    large = {f"p{path}": {"operator": "IN", "values": [str(value) for value in range(100)]} for path in range(40)}
    made = [(await subscribe(client, name, filter=large))["id"] for _ in range(50)]
    found, pages, after = [], 0, "0"
    while after is not None:
        page = await client.get(f"/v1/subscriptions?name={name}&afterId={after}&limit=1000")
        found += [subscription["id"] for subscription in page["items"]]
        pages, after = pages + 1, page["next"]
    assert found == made
    assert pages == 2
    for subscription_id in made:  # they would make others' pages short as well
        await client.request("DELETE", f"/v1/subscriptions/{subscription_id}")


@pytest.mark.parametrize("sealing", [True, False], ids=["sealed", "in clear"])
async def test_who_may_read_sees_subscriptions_without_credentials(client, product, name, sealing):
    headers = {"Authorization": "Bearer abcdefgh12345678", "X-Kind": "plain"}
    made = await client.post(
        "/v1/subscriptions",
        {
            "name": name,
            "target": {"kind": "webhook", "url": "http://127.0.0.1:9/?api_key=s3cr3t", "headers": headers},
        },
    )
    if not sealing:  # as a version that sealed nothing left it
        statement = "UPDATE subscriptions SET sealed = NULL, address = $2, headers = $3::json WHERE id = $1"
        async with Database(product.environment["STORE_URL"], size=1) as store:
            await store.execute(statement, made["id"], made["target"]["url"], json.dumps(headers))
    reader = client.caller(await token(client, "signals:read"))
    shown = await reader.get(f"/v1/subscriptions/{made['id']}")
    (listed,) = (await reader.get(f"/v1/subscriptions?name={name}"))["items"]
    for one in (shown, listed):
        text = json.dumps(one)
        assert "127.0.0.1:9" in text
        assert not any(secret in text for secret in ("s3cr3t", "abcdefgh", "whsec_"))
    status, _, _ = await reader.request("PATCH", f"/v1/subscriptions/{made['id']}", json={"description": "mine"})
    assert status == 403
    managed = await client.get(f"/v1/subscriptions/{made['id']}")
    assert managed["target"]["url"] == made["target"]["url"]


@pytest.mark.slow
async def test_a_list_shows_backlogs_and_circuits(client, webhooks, name):
    idle = await subscribe(client, name)
    await client.post(f"/v1/subscriptions/{idle['id']}/pause", {})
    failing = await subscribe(client, name, webhooks.answer("/", Answer(status=503)), retry=FAR)
    signals = [await throw(client, name) for _ in range(30)]

    async def listed():
        items = (await client.get(f"/v1/subscriptions?name={name}"))["items"]
        found = {item["id"]: (item["backlog"]["parked"], item["circuit"]) for item in items}
        return items if found == {idle["id"]: (30, "closed"), failing["id"]: (30, "open")} else None

    items = await eventually(listed)
    first = await recorded(client, signals[0]["id"])
    assert all(item["backlog"]["oldest"] >= first["createdAt"] for item in items)
    for item in items:
        assert item == await client.get(f"/v1/subscriptions/{item['id']}")
