"""Redriving in bulk and giving up, as operators do it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from broker.moments import show_moment
from tests.support.eventually import eventually
from tests.support.receiver import Answer
from tests.support.throwing import FAR, delivery, subscribe, throw, token

NEVER = {"maxAttempts": 1}


@pytest.fixture
def die(client, webhooks, name):
    """Call it to subscribe and to have so many deliveries die; it returns the subscription and the deliveries' ids."""

    async def die(count, path="/hook", **spec):
        url = webhooks.answer(path, *[Answer(status=500)] * count, Answer())
        subscription = await subscribe(client, name, url, **{"retry": NEVER, **spec})
        signals = [await throw(client, name) for _ in range(count)]
        dead = [await delivery(client, signal, subscription, "dead") for signal in signals]
        return subscription, [one["id"] for one in dead]

    return die


async def dead(client, query):
    found, after = [], "0-0"
    while after is not None:  # a page ends when it has looked for long enough
        page = await client.get(f"/v1/deliveries?state=dead&{query}&afterId={after}")
        found += [item["id"] for item in page["items"]]
        after = page["next"]
    return found


@pytest.mark.slow
@pytest.mark.transports("embedded", "rabbitmq")
async def test_what_is_dead_is_looked_at_counted_and_redriven_and_each_goes_once_more(client, webhooks, name, die):
    subscription, ids = await die(3)
    wanted = {"name": name, "subscriptionId": subscription["id"], "outcome": "refused"}
    assert await dead(client, f"name={name}&outcome=refused") == ids

    counted = await client.post("/v1/deliveries/redrive", {**wanted, "dryRun": True}, expect=200)
    assert counted == {"count": 3, "next": None}
    assert len(webhooks.requests) == 3
    assert await client.post("/v1/deliveries/redrive", wanted, expect=200) == counted

    await eventually(lambda: len(webhooks.requests) == 6)
    assert await client.post("/v1/deliveries/redrive", wanted, expect=200) == {"count": 0, "next": None}
    for id_ in ids:
        signal_id, _ = id_.split("-")
        await delivery(client, {"id": signal_id}, subscription, "delivered")
    assert sorted(request.headers["webhook-id"] for request in webhooks.requests) == sorted(ids * 2)
    books = await client.get(f"/v1/ledger?subscriptionId={subscription['id']}")
    assert (books["matched"], books["deliveries"]["delivered"], books["unaccounted"]) == (3, 3, 0)


@pytest.mark.slow
async def test_those_with_another_last_status_stay_dead(client, webhooks, name):
    url = webhooks.answer("/hook", Answer(status=500), Answer(status=501), Answer())
    subscription = await subscribe(client, name, url, retry=NEVER)
    ids = []
    for _ in range(2):
        signal = await throw(client, name)
        ids.append((await delivery(client, signal, subscription, "dead"))["id"])
    wanted = {"subscriptionId": subscription["id"], "outcome": "refused", "status": 501}

    assert await client.post("/v1/deliveries/redrive", wanted, expect=200) == {"count": 1, "next": None}

    await delivery(client, {"id": ids[1].split("-")[0]}, subscription, "delivered")
    assert await dead(client, f"name={name}") == [ids[0]]
    impossible = await client.post("/v1/deliveries/redrive", {**wanted, "outcome": "gone"}, expect=200)
    assert impossible == {"count": 0, "next": None}


@pytest.mark.slow
async def test_per_second_gives_each_a_moment_of_its_own(client, name, die):
    subscription, ids = await die(3)
    before = datetime.now(UTC)
    redriven = await client.post("/v1/deliveries/redrive", {"name": name, "perSecond": 0.01}, expect=200)
    assert redriven["count"] == 3
    page = await client.get(f"/v1/deliveries?state=parked&subscriptionId={subscription['id']}")
    waiting = [item for item in page["items"] if item["id"] != ids[0]]  # the first one is due at once
    assert [(item["id"], item["reason"]) for item in waiting] == [(id_, "retry") for id_ in ids[1:]]
    second, third = (datetime.fromisoformat(item["dueAt"]) for item in waiting)
    assert 90 < (second - before).total_seconds() < 110
    assert (third - second).total_seconds() == pytest.approx(100, abs=0.001)


@pytest.mark.slow
async def test_next_goes_on_where_it_says_and_keeps_the_pace(client, name, die):
    subscription, ids = await die(3)
    wanted = {"name": name, "perSecond": 0.01, "after": f"{ids[0]}@2099-01-01T00:00:00+00:00"}
    refused = await client.post("/v1/deliveries/redrive", wanted, expect=400)
    assert refused["errors"][0]["pointer"] == "/perSecond"
    soon = f"{datetime.now(UTC).year + 5}-01-01T00:00:00+00:00"
    redriven = await client.post("/v1/deliveries/redrive", {**wanted, "after": f"{ids[0]}@{soon}"}, expect=200)
    assert redriven["count"] == 2
    page = await client.get(f"/v1/deliveries?state=parked&subscriptionId={subscription['id']}")
    assert [datetime.fromisoformat(item["dueAt"]).isoformat() for item in page["items"]] == [
        soon,
        soon.replace("00:00:00+", "00:01:40+"),
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        ({"nome": "a"}, "/nome"),
        ({"name": ""}, "/name"),
        ({"name": "a\nb"}, "/name"),
        ({"since": "yesterday"}, "/since"),
        ({"until": 5}, "/until"),
        ({"outcome": "bad"}, "/outcome"),
        ({"status": 99}, "/status"),
        ({"status": 600}, "/status"),
        ({"status": "500"}, "/status"),
        ({"subscriptionId": "1"}, "/subscriptionId"),
        ({"subscriptionId": 1 << 63}, "/subscriptionId"),
        ({"perSecond": 0}, "/perSecond"),
        ({"dryRun": "yes"}, "/dryRun"),
        ({"after": "17"}, "/after"),
        ({"after": "17-1@soon"}, "/after"),
        ({"after": "17-1@"}, "/after"),
        ({"after": "17-1@0001-01-01T00:00:00+23:00"}, "/after"),
        ({"after": "17-1@9999-12-31T23:59:59Z"}, "/perSecond"),
        ({"after": "9" * 19 + "-1"}, "/after"),
    ],
)
async def test_what_cannot_be_meant_is_refused(client, document, pointer):
    problem = await client.post("/v1/deliveries/redrive", {"dryRun": True, **document}, expect=400)
    assert [error["pointer"] for error in problem["errors"]] == [pointer]


@pytest.mark.slow
async def test_a_caller_redrives_what_it_may_see_and_no_more(client, webhooks, name):
    async def dies(tenant, signal_name):
        url = webhooks.answer(f"/{tenant}", Answer(status=500))
        subscription = await subscribe(client, signal_name, url, retry=NEVER, tenantId=tenant)
        signal = await throw(client, signal_name, tenantId=tenant)
        return (await delivery(client, signal, subscription, "dead"))["id"]

    ours, theirs, other = await dies("acme", name), await dies("globex", name), await dies("acme", f"{name}.x")
    nobody = client.caller(await token(client, "signals:read", "subscriptions:manage"))
    await nobody.post("/v1/deliveries/redrive", {}, expect=403)
    await nobody.post(f"/v1/deliveries/{ours}/cancel", {}, expect=403)
    limited = client.caller(await token(client, "deliveries:manage", names=[name], tenants=["acme"]))
    await limited.post("/v1/deliveries/redrive", {"name": f"{name}.x"}, expect=403)
    for one, status in ((theirs, 404), (other, 403)):
        await limited.post(f"/v1/deliveries/{one}/redrive", {}, expect=status)
        await limited.post(f"/v1/deliveries/{one}/cancel", {}, expect=status)
    redriven = await limited.post("/v1/deliveries/redrive", {"name": f"{name}.#"}, expect=200)
    assert redriven == {"count": 1, "next": None}
    assert await dead(client, f"name={name}.%23") in ([theirs, other], [ours, theirs, other])  # it dies again


@pytest.mark.slow
async def test_what_would_not_be_attempted_is_not_redriven_and_can_be_cancelled(client, name, die):
    subscription, (first, second) = await die(2)
    status, _, _ = await client.request("DELETE", f"/v1/subscriptions/{subscription['id']}")
    assert status == 204
    assert (await client.post("/v1/deliveries/redrive", {"name": name}, expect=200))["count"] == 0
    problem = await client.post(f"/v1/deliveries/{first}/redrive", {}, expect=409)
    assert problem["detail"] == "It would not be attempted: the subscription was deleted."

    cancelled = await client.post(f"/v1/deliveries/{first}/cancel", {}, expect=200)

    assert (cancelled["state"], cancelled["reason"]) == ("cancelled", "cancelled by hand")
    assert len(cancelled["attempts"]) == 1
    assert await dead(client, f"name={name}") == [second]
    problem = await client.post(f"/v1/deliveries/{first}/cancel", {}, expect=409)
    assert problem["detail"] == "Only a delivery that is dead or parked, or waits to be leased, can be cancelled."
    await client.post("/v1/deliveries/0-0/cancel", {}, expect=404)
    await client.post("/v1/deliveries/x/cancel", {}, expect=404)
    books = await client.get(f"/v1/ledger?subscriptionId={subscription['id']}")
    assert (books["deliveries"]["dead"], books["deliveries"]["cancelled"], books["unaccounted"]) == (1, 1, 0)


@pytest.mark.slow
@pytest.mark.parametrize("once", [False, True])
async def test_what_was_cancelled_with_its_signal_stays_cancelled(client, webhooks, name, once):
    subscription = await subscribe(client, name, webhooks.url("/hook"), once=once)
    signal = await throw(client, name, deliverAt=show_moment(datetime.now(UTC) + timedelta(days=1)))
    waits = await delivery(client, signal, subscription, "parked")
    assert (await client.request("DELETE", f"/v1/signals/{signal['id']}"))[0] == 204
    problem = await client.post(f"/v1/deliveries/{waits['id']}/redrive", {}, expect=409)
    assert problem["detail"] == "It would not be attempted: the signal was cancelled."
    assert (await client.post("/v1/deliveries/redrive", {"name": name, "state": "cancelled"}, expect=200))["count"] == 0
    later = await throw(client, name)
    await delivery(client, later, subscription, "delivered")
    assert (await client.get(f"/v1/deliveries/{waits['id']}"))["state"] == "cancelled"


async def test_what_is_for_later_is_not_sent_earlier_by_a_redrive(client, webhooks, name):
    subscription = await subscribe(client, name, webhooks.url("/hook"))
    signal = await throw(client, name, deliverAt=show_moment(datetime.now(UTC) + timedelta(days=1)))
    waits = await delivery(client, signal, subscription, "parked")
    problem = await client.post(f"/v1/deliveries/{waits['id']}/redrive", {}, expect=409)
    assert "the moment of its signal" in problem["detail"]
    for dry_run in (True, False):
        wanted = {"name": name, "state": "parked", "perSecond": 0.001, "dryRun": dry_run}
        assert (await client.post("/v1/deliveries/redrive", wanted, expect=200))["count"] == 0
    again = await client.get(f"/v1/deliveries/{waits['id']}")
    assert (again["state"], again["reason"], again["dueAt"]) == ("parked", "scheduled", waits["dueAt"])


async def test_a_parked_delivery_is_cancelled(client, webhooks, name):
    url = webhooks.answer("/hook", Answer(status=500))
    subscription = await subscribe(client, name, url, retry=FAR)
    signal = await throw(client, name)
    parked = await delivery(client, signal, subscription, "parked")
    cancelled = await client.post(f"/v1/deliveries/{parked['id']}/cancel", {}, expect=200)
    assert (cancelled["state"], cancelled["dueAt"]) == ("cancelled", None)
    assert cancelled["finishedAt"] is not None


@pytest.mark.slow
async def test_what_is_done_by_hand_is_in_the_audit(client, name, die):
    subscription, (first, _) = await die(2, retry=NEVER)
    await client.post(f"/v1/deliveries/{first}/cancel", {}, expect=200)
    await client.post("/v1/deliveries/redrive", {"name": name, "dryRun": True}, expect=200)
    await client.post("/v1/deliveries/redrive", {"name": name, "perSecond": 5}, expect=200)

    async def events(kind):
        page = await client.get(f"/v1/audit?type={kind}&limit=1000")
        return [(event["subjectId"], event["principal"], event["after"]) for event in page["items"]]

    assert (subscription["id"], "admin", {"deliveryId": first}) in await events("delivery-cancelled")
    redriven = [event for event in await events("deliveries-redriven") if event[2].get("name") == name]
    assert redriven == [(0, "admin", {"name": name, "state": "dead", "dryRun": False, "perSecond": 5.0})]
