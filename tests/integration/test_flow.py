"""What a subscription may get at once, a second, or not now, over all the deliverers of the running product."""

from __future__ import annotations

import asyncio
import re
import time

import pytest

from tests.support.eventually import eventually
from tests.support.receiver import Answer, receiver
from tests.support.throwing import FAR, delivery, subscribe, throw
from tests.support.waiting import throw_recorded

pytestmark = pytest.mark.slow


async def throw_many(client, name, count, **spec):
    """Throw *count* signals at once; return their ids."""
    items = [{"name": name, "payload": {"number": number}, **spec} for number in range(count)]
    answer = await client.post("/v1/signals/batch", {"signals": items}, expect=200)
    return [result["id"] for result in answer["results"]]


async def states(client, subscription):
    return (await client.get(f"/v1/ledger?subscriptionId={subscription['id']}"))["deliveries"]


async def reach(client, subscription, *, within=60, **counts):
    """Wait until so many deliveries of the subscription are in these states."""

    async def check():
        found = await states(client, subscription)
        return {state: found[state] for state in counts} == counts

    try:
        await eventually(check, within=within, every=0.05)
    except AssertionError:
        assert await states(client, subscription) == counts, f"not within {within} s"


async def standing(client, subscription):
    return await client.get(f"/v1/subscriptions/{subscription['id']}")


async def metric(client, name):
    """Return the value of a metric without labels of the product's main process."""
    _, _, body = await client.request("GET", "/metrics")
    return float(re.search(rf"^signal_broker_{name} (\S+)$", body.decode(), re.MULTILINE)[1])


async def test_attempts_a_second_are_limited_over_all_deliverers(client, product, webhooks, name):
    """What comes later than its moment may follow the one before it at once, for a tenth of a second at most."""
    subscription = await subscribe(client, name, webhooks.url("/hook"), maxPerSecond=30)
    async with product.sibling("worker", "deliverer"):
        begun = time.monotonic()
        await throw_many(client, name, 121)
        await reach(client, subscription, delivered=121)
    assert webhooks.requests[-1].at - begun >= 120 / 30 - 0.1
    assert len({request.peer for request in webhooks.requests}) > 1


async def test_attempts_in_flight_are_limited_over_all_deliverers_and_one_that_is_killed_takes_no_place_along(
    client, product, webhooks, name
):
    url = webhooks.answer("/hook", Answer(after=0.1))
    subscription = await subscribe(client, name, url, maxInFlight=3)
    async with product.sibling("worker", "deliverer") as deliverer:
        await throw_many(client, name, 40)
        await eventually(lambda: len(webhooks.requests) >= 10)
        deliverer.kill()
        await reach(client, subscription, delivered=40)
    assert webhooks.most["/hook"] == 3
    assert 40 <= len(webhooks.requests) <= 43, "what the killed one had begun is begun again, and nothing else"


async def test_what_comes_during_a_pause_is_kept_and_goes_on_as_fast_as_it_is_told_to(client, webhooks, name):
    subscription = await subscribe(client, name, webhooks.url("/hook"))
    one = f"/v1/subscriptions/{subscription['id']}"
    ids = await throw_many(client, name, 30)
    paused = await client.post(f"{one}/pause", {}, expect=200)
    assert (paused["state"], paused["pausedAt"]) == ("paused", (await client.post(f"{one}/pause", {}))["pausedAt"])
    ids += await throw_many(client, name, 30)

    async def come_to_rest():
        found = await states(client, subscription)
        return found if found["parked"] + found["delivered"] == 60 else None

    held = await eventually(come_to_rest)
    assert held["parked"] >= 30
    waiting = (await client.get(f"/v1/deliveries?state=parked&subscriptionId={subscription['id']}"))["items"]
    assert {(one["reason"], one["dueAt"], one["attemptCount"]) for one in waiting} == {("paused", None, 0)}
    assert (await standing(client, subscription))["backlog"] == {
        "parked": held["parked"],
        "leasable": 0,
        "leased": 0,
        "oldest": waiting[0]["createdAt"],
    }

    before, begun = len(webhooks.requests), time.monotonic()
    resumed = await client.post(f"{one}/resume", {"perSecond": 20}, expect=200)
    assert (resumed["state"], resumed["pausedAt"]) == ("active", None)
    await reach(client, subscription, delivered=60)
    late = webhooks.requests[before:]
    assert len(late) == held["parked"]
    assert late[-1].at - begun >= len(late) / 20
    assert (await standing(client, subscription))["backlog"] == {
        "parked": 0,
        "leasable": 0,
        "leased": 0,
        "oldest": None,
    }
    delivered = [int(request.headers["webhook-id"].partition("-")[0]) for request in webhooks.requests]
    assert sorted(delivered) == sorted(ids)


async def test_nothing_is_lost_or_repeated_when_it_is_paused_and_resumed_under_load(client, webhooks, name):
    subscription = await subscribe(client, name, webhooks.url("/hook"), maxInFlight=5)
    one = f"/v1/subscriptions/{subscription['id']}"
    ids = []

    async def load():
        for _ in range(15):
            ids.extend(await throw_many(client, name, 10))

    async def toggle():
        for _ in range(8):
            await client.post(f"{one}/pause", {})
            await client.post(f"{one}/resume", {"perSecond": 1000})

    await asyncio.gather(load(), toggle())
    await reach(client, subscription, delivered=150)
    delivered = [int(request.headers["webhook-id"].partition("-")[0]) for request in webhooks.requests]
    assert sorted(delivered) == sorted(ids)
    assert webhooks.most["/hook"] <= 5


async def test_a_target_that_is_down_is_left_alone_until_it_is_up_again(client, webhooks, name):
    url = webhooks.answer("/hook", Answer(status=500))
    subscription = await subscribe(client, name, url, retry={"schedule": [0] * 50})
    await throw_many(client, name, 30)

    async def is_left_alone():
        page = await client.get(f"/v1/deliveries?state=parked&limit=1000&subscriptionId={subscription['id']}")
        circuit = (await standing(client, subscription))["circuit"]
        return circuit in {"open", "half_open"} and {one["reason"] for one in page["items"]} == {"circuit"}

    await eventually(is_left_alone)
    assert len(webhooks.requests) < 100, "20 open the circuit; some were under way, and a few tried again"
    webhooks.answer("/hook", Answer())
    await reach(client, subscription, delivered=30)
    assert (await standing(client, subscription))["circuit"] == "closed"


async def test_a_tenant_with_too_short_a_timeout_holds_up_no_other_one_at_the_same_url(client, webhooks, name):
    url = webhooks.answer("/hook", Answer(after=0.3))
    careless = await subscribe(client, name, url, tenantId="acme", timeoutSeconds=0.1, retry={"schedule": [0] * 50})
    careful = await subscribe(client, name, url, tenantId="beta")
    await throw_many(client, name, 30, tenantId="acme")

    async def is_left_alone():
        return (await standing(client, careless))["circuit"] != "closed"

    await eventually(is_left_alone)
    await throw_many(client, name, 5, tenantId="beta")
    await reach(client, careful, delivered=5)
    assert (await standing(client, careful))["circuit"] == "closed"


async def test_a_target_that_is_gone_disables_its_subscription_until_it_is_resumed(client, webhooks, name):
    url = webhooks.answer("/hook", Answer(status=500), Answer(status=410), Answer())
    subscription = await subscribe(client, name, url, retry=FAR)
    failed = await throw(client, name)
    await delivery(client, failed, subscription, "parked")
    gone = await throw(client, name)

    dead = await delivery(client, gone, subscription, "dead")
    assert (dead["reason"], dead["attempts"][0]["outcome"]) == ("the target answered 410", "gone")
    other = await delivery(client, failed, subscription, "dead")
    assert other["reason"] == "the subscription is disabled: the target answered 410"
    shown = await standing(client, subscription)
    assert (shown["state"], shown["disabledBecause"]) == ("disabled", "the target answered 410")
    await throw_recorded(client, name)

    resumed = await client.post(f"/v1/subscriptions/{subscription['id']}/resume", {}, expect=200)
    assert (resumed["state"], resumed["disabledBecause"]) == ("active", None)
    await client.post(f"/v1/deliveries/{dead['id']}/redrive", {}, expect=200)
    await delivery(client, gone, subscription, "delivered")
    assert await states(client, subscription) == {
        "pending": 0,
        "parked": 0,
        "delivered": 1,
        "dead": 1,
        "cancelled": 0,
    }


@pytest.mark.transports("embedded", "rabbitmq")
async def test_who_answers_slowly_makes_room_for_the_others(client, webhooks, name):
    """Its receiver is another one: what waits for a connection to the same host waits for its deadline."""
    before = await metric(client, "deliveries_moved_total")

    async def moved():
        return await metric(client, "deliveries_moved_total") - before >= 10

    over = asyncio.Event()
    async with receiver() as hanging:
        url = hanging.answer("/slow", Answer(until=over))
        slow = await subscribe(client, name, url, timeoutSeconds=60, retry={"maxAttempts": 1})
        await throw_many(client, name, 60)
        await eventually(moved)  # it may hold 50 of 200 places
        fast = await subscribe(client, f"{name}.fast", webhooks.url("/fast"))
        await throw_many(client, f"{name}.fast", 20)
        await reach(client, fast, delivered=20)
        assert (await states(client, slow))["pending"] == 60, "none of them was waited for"
        over.set()


@pytest.mark.parametrize("path", ["pause", "resume"])
async def test_who_may_not_manage_subscriptions_may_not_hold_them(client, name, path):
    subscription = await subscribe(client, name)
    reader = client.caller((await client.post("/v1/tokens", {"name": name, "permissions": ["signals:read"]}))["token"])
    status, _, _ = await reader.request("POST", f"/v1/subscriptions/{subscription['id']}/{path}", json={})
    assert status == 403
    status, _, _ = await client.request("POST", f"/v1/subscriptions/{1 << 60}/{path}", json={})
    assert status == 404


@pytest.mark.parametrize("per_second", [0, -1, 1e9, "fast", True])
async def test_a_speed_that_makes_no_sense_is_refused(client, name, per_second):
    subscription = await subscribe(client, name)
    path = f"/v1/subscriptions/{subscription['id']}/resume"
    problem = await client.post(path, {"perSecond": per_second}, expect=400)
    assert [error["pointer"] for error in problem["errors"]] == ["/perSecond"]


async def test_a_redriven_delivery_gets_its_whole_schedule_again(client, webhooks, name):
    url = webhooks.answer("/hook", *[Answer(status=500)] * 3, Answer())
    subscription = await subscribe(client, name, url, retry={"schedule": [0]})
    signal = await throw(client, name)
    dead = await delivery(client, signal, subscription, "dead")
    assert dead["reason"] == "the last attempt failed: HTTP 500 Internal Server Error"
    await client.post(f"/v1/deliveries/{dead['id']}/redrive", {}, expect=200)
    done = await delivery(client, signal, subscription, "delivered")
    assert [attempt["status"] for attempt in done["attempts"]] == [500, 500, 500, 200]


async def test_an_attempt_shows_what_was_sent_and_what_was_answered(client, webhooks, name):
    away = Answer(status=307, headers={"Location": "/elsewhere", "Retry-After": "1"})
    url = webhooks.answer(f"/{name}", away) + "?x=%2F&sig=s3cr3t"
    target = {"kind": "webhook", "url": url, "headers": {"Authorization": "Bearer t", "X-Mine": "m"}}
    subscription = await subscribe(client, name, target=target, retry={"schedule": []})
    signal = await throw(client, name)
    [attempt] = (await delivery(client, signal, subscription, "dead"))["attempts"]
    assert attempt["request"]["url"] == url.replace("s3cr3t", "***")
    headers = attempt["request"]["headers"]
    assert (headers["Authorization"], headers["X-Mine"]) == ("***", "m")
    assert headers["webhook-id"] == f"{signal['id']}-{subscription['id']}"
    assert attempt["answer"] == {"location": "/elsewhere", "retryAfter": "1"}
    assert attempt["connection"]["address"] == webhooks.base.removeprefix("http://")
    assert {"firstByte", "total"} <= set(attempt["phases"])
    assert "s3cr3t" not in str(attempt)


async def test_a_target_that_asks_for_a_pause_gets_no_requests_until_then(client, product, webhooks, name):
    """It asks for a minute, one subscription alone; then an operator ends it."""
    url = webhooks.answer("/busy", Answer(status=429, headers={"Retry-After": "60"}), Answer())
    first = await subscribe(client, name, url)
    await throw(client, name)
    await reach(client, first, parked=1)
    second = await subscribe(client, name, url, ordered=True)
    for _ in range(20):
        await throw(client, name, orderingKey="k")
    await reach(client, first, parked=21)
    await reach(client, second, delivered=20)
    assert len(webhooks.requests) == 21
    assert [(await standing(client, one))["circuit"] for one in (first, second)] == ["open", "closed"]
    await client.post(f"/v1/subscriptions/{first['id']}/resume", {}, expect=200)
    await reach(client, first, delivered=20, parked=1)
