"""Dead and parked deliveries are given up in bulk: those to deleted subscriptions, above all."""

from __future__ import annotations

import pytest

from tests.support.receiver import Answer
from tests.support.throwing import delivery, subscribe, throw, token

REFUSING = {"retry": {"maxAttempts": 1}}
DELETED = {"subscriptionDeleted": True}


@pytest.fixture
def die(client, webhooks, name):
    """Call it to subscribe and to have so many deliveries die; it returns the subscription."""

    async def die(count, *, of=name, **spec):
        url = webhooks.answer("/hook", Answer(status=500))
        subscription = await subscribe(client, of, url, **REFUSING, **spec)
        for _ in range(count):
            await delivery(client, await throw(client, of, tenantId=spec.get("tenantId")), subscription, "dead")
        return subscription

    return die


async def delete(client, subscription):
    assert (await client.request("DELETE", f"/v1/subscriptions/{subscription['id']}"))[0] == 204


async def cancel(client, expect=200, **wanted):
    return await client.post("/v1/deliveries/cancel", wanted, expect=expect)


async def states(client, subscription):
    books = await client.get(f"/v1/ledger?subscriptionId={subscription['id']}")
    assert books["unaccounted"] == 0
    return {state: count for state, count in books["deliveries"].items() if count}


@pytest.mark.slow
@pytest.mark.transports("embedded", "rabbitmq")
async def test_what_is_dead_of_deleted_subscriptions_is_counted_and_cleared(client, name, die):
    gone, kept = await die(3, of=f"{name}.gone"), await die(1, of=f"{name}.kept")
    await delete(client, gone)
    wanted = {"name": f"{name}.#", **DELETED}
    assert await cancel(client, **wanted, dryRun=True) == {"count": 3, "next": None}
    assert await states(client, gone) == {"dead": 3}
    assert await cancel(client, **wanted) == {"count": 3, "next": None}
    assert await cancel(client, **wanted) == {"count": 0, "next": None}
    assert await states(client, gone) == {"cancelled": 3}
    assert await states(client, kept) == {"dead": 1}
    page = await client.get(f"/v1/deliveries?subscriptionId={gone['id']}")
    assert {item["reason"] for item in page["items"]} == {"cancelled by hand"}


@pytest.mark.slow
async def test_the_filters_choose_and_after_goes_on(client, name, die):
    subscription = await die(3)
    id_ = subscription["id"]
    page = await client.get(f"/v1/deliveries?subscriptionId={id_}")
    assert (await cancel(client, subscriptionId=id_, outcome="timed_out"))["count"] == 0
    assert (await cancel(client, subscriptionId=id_, status=501))["count"] == 0
    assert (await cancel(client, subscriptionId=id_, state="parked"))["count"] == 0
    assert (await cancel(client, subscriptionId=id_, until="2020-01-01T00:00:00Z"))["count"] == 0
    assert (await cancel(client, subscriptionId=id_, outcome="refused", after=page["items"][1]["id"]))["count"] == 1
    assert await states(client, subscription) == {"dead": 2, "cancelled": 1}


async def test_what_is_parked_is_not_attempted_any_more_and_frees_a_once_subscription(client, webhooks, name):
    url = webhooks.answer("/hook", Answer(status=500))
    subscription = await subscribe(client, name, url, once=True, retry={"schedule": [3600]})
    await delivery(client, await throw(client, name), subscription, "parked")
    assert (await cancel(client, subscriptionId=subscription["id"], state="parked"))["count"] == 1
    webhooks.answer("/hook", Answer())
    await delivery(client, await throw(client, name), subscription, "delivered")
    assert await states(client, subscription) == {"cancelled": 1, "delivered": 1}


async def test_each_is_noted_in_the_audit_but_a_dry_run_is_not(client, name, die):
    subscription = await die(1)
    wanted = {"subscriptionId": subscription["id"], "outcome": "refused"}
    await cancel(client, dryRun=True, **wanted)
    await cancel(client, **wanted)
    page = await client.get("/v1/audit?type=deliveries-cancelled&limit=1000")
    noted = [(one["principal"], one["after"]) for one in page["items"] if one["subjectId"] == subscription["id"]]
    assert noted == [("admin", {**wanted, "state": "dead", "dryRun": False, "subscriptionDeleted": False})]


async def test_a_caller_clears_only_what_belongs_to_its_tenants(client, name, die):
    subscription = await die(1, tenantId="acme")
    await delete(client, subscription)
    stranger = client.caller(await token(client, "deliveries:manage", tenants=["globex"]))
    owner = client.caller(await token(client, "deliveries:manage", "signals:read", tenants=["acme"]))
    assert (await cancel(stranger, name=name))["count"] == 0
    assert (await cancel(owner, name=name, **DELETED))["count"] == 1


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        ({"state": "delivered"}, "/state"),
        ({"subscriptionDeleted": "yes"}, "/subscriptionDeleted"),
        ({"perSecond": 5}, "/perSecond"),
        ({"after": "x"}, "/after"),
        ({"after": "1-2@2026-11-22T10:00:00.000Z"}, "/after"),
    ],
)
async def test_a_member_that_is_wrong_is_named(client, document, pointer):
    refused = await cancel(client, expect=400, **document)
    assert refused["errors"][0]["pointer"] == pointer


@pytest.mark.slow
async def test_the_command_clears_them_and_asks_for_a_choice(client, name, die, laptop):
    subscription = await die(2)
    await delete(client, subscription)
    done = await laptop.call("deliveries", "cancel")
    assert (done.returncode, "give either IDs, or filters, or --all" in done.stderr) == (2, True)
    chosen = ("deliveries", "cancel", "--deleted", "--name", name)
    assert await laptop.ask(*chosen, "--dry-run") == {"count": 2, "dryRun": True}
    assert await laptop.ask(*chosen) == {"count": 2, "dryRun": False}
    assert await states(client, subscription) == {"cancelled": 2}
