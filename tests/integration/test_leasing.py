"""Pull targets over HTTP: deliveries wait until callers lease them, and each lease is an attempt."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from broker.moments import read_moment, show_moment
from tests.support.eventually import eventually
from tests.support.gateways import gateway
from tests.support.leasing import Puller
from tests.support.product import client_of
from tests.support.throwing import FAR, recorded

AT_ONCE = {"schedule": [0, 0, 0]}


@pytest.mark.slow
@pytest.mark.transports("embedded", "rabbitmq")
async def test_a_delivery_waits_until_it_is_leased_and_is_delivered_once_it_is_acknowledged(client, puller):
    await puller.subscribe()
    first = await puller.throw({"n": 1})
    leased = await puller.lease_one(worker="w-1")
    assert (leased["signal"]["id"], leased["attempt"]) == (first, 1)
    assert leased["deliveryId"] == f"{first}-{puller.subscription_id}"
    assert leased["signal"] == await recorded(client, first)
    delivery = await puller.delivery(leased)
    assert (delivery["state"], delivery["reason"], delivery["dueAt"]) == ("pending", "leased", leased["leasedUntil"])
    assert await puller.lease() == []
    assert await puller.settle("ack", leased) == [None]
    delivery = await puller.delivery(leased)
    assert delivery["state"] == "delivered"
    assert [(one["outcome"], one["worker"]) for one in delivery["attempts"]] == [("succeeded", "w-1")]
    books = await client.get(f"/v1/ledger?subscriptionId={puller.subscription_id}")
    assert (books["deliveries"]["delivered"], books["unaccounted"]) == (1, 0)


@pytest.mark.slow
@pytest.mark.transports("embedded", "rabbitmq")
async def test_whoever_waits_at_any_gateway_gets_what_is_thrown_at_another(client, name, second_url, puller):
    """Each of two deliveries goes to one of the three who wait; the third gets nothing."""
    await puller.subscribe()
    async with client_of(second_url) as second:
        other = Puller(second, name)
        other.subscription_id = puller.subscription_id
        waiting = [asyncio.ensure_future(one.lease(max=1, waitSeconds=30)) for one in (puller, other, puller)]
        thrown = {await puller.throw(), await puller.throw()}
        await eventually(lambda: sum(one.done() for one in waiting) == 2)
        leased = [one for done in waiting if done.done() for one in done.result()]
        assert {one["signal"]["id"] for one in leased} == thrown
        assert await other.settle("ack", *leased) == [None, None], "a token is good at every gateway"
        await puller.throw()
        assert len([one for done in await asyncio.gather(*waiting) for one in done]) == 3


@pytest.mark.slow
async def test_a_lease_outlives_the_gateway_that_gave_it(product, name, puller):
    await puller.subscribe()
    await puller.throw()
    async with product.sibling("gateway") as process, client_of(process.url) as client:
        there = Puller(client, name)
        there.subscription_id = puller.subscription_id
        leased = await there.lease_one()
        process.kill()
    assert await puller.settle("ack", leased) == [None]


async def test_who_waits_with_a_token_that_is_revoked_meanwhile_gets_nothing(client, name, puller):
    made = await client.post("/v1/tokens", {"name": "t", "permissions": ["deliveries:manage", "signals:read"]})
    await puller.subscribe()
    worker = Puller(client.caller(made["token"]), name)
    worker.subscription_id = puller.subscription_id
    waiting = asyncio.ensure_future(worker.lease(waitSeconds=30))
    assert await worker.lease() == [], "the other request has come before"
    await client.request("DELETE", f"/v1/tokens/{made['id']}")

    async def is_refused():
        return (await worker.client.request("POST", f"{worker.path}/lease", json={}))[0] == 401

    await eventually(is_refused)
    signal_id = await puller.throw()
    assert await waiting == []
    assert (await puller.lease_one())["signal"]["id"] == signal_id


async def crowd(client, puller, count):
    """Let *count* requests wait, as many as may; return them, and the answer to one more."""

    async def ask(seconds):
        return await client.request("POST", f"{puller.path}/lease", json={"waitSeconds": seconds})

    async def wait():
        while (answer := await ask(30))[0] == 503:  # the one more has the place for a moment
            pass
        return answer[2]["deliveries"]

    async def refused():
        answer = await ask(0.05)
        return answer if answer[0] == 503 else None

    return [asyncio.ensure_future(wait()) for _ in range(count)], await eventually(refused)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::aiohttp.web.NotAppKeyWarning")
async def test_those_who_wait_for_a_subscription_that_is_deleted_are_answered_at_once(database_url, name, monkeypatch):
    monkeypatch.setattr("gateway.long_polls.MOST_OF_ONE", 3)
    async with gateway(database_url) as (client, _):
        puller = Puller(client, name)
        await puller.subscribe()
        waiting, _ = await crowd(client, puller, 3)
        await client.request("DELETE", puller.path)
        async with asyncio.timeout(20):
            assert await asyncio.gather(*waiting) == [[], [], []]


async def test_a_worker_gets_the_trace_of_the_signal(client, name, puller):
    await puller.subscribe()
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    await client.post("/v1/signals", {"name": name}, traceparent=trace, tracestate="a=b")
    leased = await puller.lease_one()
    assert (leased["traceparent"], leased["tracestate"]) == (trace, "a=b")


async def test_who_waits_is_told_that_nothing_came(puller):
    await puller.subscribe()
    assert await puller.lease(waitSeconds=0.1) == []


async def test_a_failed_attempt_is_followed_by_another_one_of_the_schedule(puller):
    await puller.subscribe(retry=AT_ONCE)
    await puller.throw()
    first = await puller.lease_one(worker="w-1")
    assert await puller.settle("fail", first, error="no stock") == [None]
    second = await puller.lease_one()
    assert (second["attempt"], second["deliveryId"]) == (2, first["deliveryId"])
    assert second["leaseToken"] != first["leaseToken"]
    await puller.settle("ack", second)
    told = [(one["outcome"], one["error"], one["worker"]) for one in (await puller.delivery(first))["attempts"]]
    assert told == [("refused", "no stock", "w-1"), ("succeeded", None, None)]


async def test_a_failure_can_put_off_the_next_attempt_or_give_up(puller):
    await puller.subscribe(retry=AT_ONCE)
    await puller.throw()
    await puller.throw()
    later, never = await puller.lease_one(), await puller.lease_one()
    earliest = datetime.now(UTC) + timedelta(seconds=600, milliseconds=-1)  # moments are shown in whole milliseconds
    assert await puller.settle("fail", later, retryAfterSeconds=600) == [None]
    assert await puller.settle("fail", never, giveUp=True, error="gone") == [None]
    delivery = await puller.delivery(later)
    assert (delivery["state"], delivery["reason"], delivery["lastOutcome"]) == ("parked", "retry", "throttled")
    assert read_moment(delivery["dueAt"]) >= earliest
    delivery = await puller.delivery(never)
    assert (delivery["state"], delivery["reason"], delivery["lastOutcome"]) == ("dead", "given up: gone", "given_up")


@pytest.mark.slow
@pytest.mark.transports("embedded", "rabbitmq")
async def test_a_delivery_that_is_put_off_is_parked_for_its_retry_and_redriven_it_can_be_leased_at_once(client, puller):
    await puller.subscribe(retry={"schedule": [600, 600]})
    await puller.throw()
    leased = await puller.lease_one()
    assert await puller.settle("fail", leased, retryAfterSeconds=3600) == [None]
    [listed] = (await client.get(f"/v1/deliveries?subscriptionId={puller.subscription_id}&outcome=throttled"))["items"]
    assert (listed["state"], listed["reason"]) == ("parked", "retry")
    await client.post(f"/v1/deliveries/{leased['deliveryId']}/redrive", {})
    assert (await puller.lease_one())["attempt"] == 2


async def test_a_failure_can_say_that_the_work_took_too_long(puller):
    await puller.subscribe(retry={"schedule": [600]})
    await puller.throw()
    leased = await puller.lease_one()
    for _ in range(2):
        assert await puller.settle("fail", leased, outcome="timed_out", error="not done within 1 s") == [None]
    assert await puller.settle("fail", leased) == ["the lease was failed before, as timed_out"]
    assert await puller.settle("ack", leased) == ["the lease was failed before"]
    delivery = await puller.delivery(leased)
    told = [(one["outcome"], one["error"]) for one in delivery["attempts"]]
    assert (delivery["state"], told) == ("parked", [("timed_out", "not done within 1 s")])
    pause = read_moment(delivery["dueAt"]) - read_moment(delivery["attempts"][0]["startedAt"])
    assert pause >= timedelta(seconds=600), "the whole pause, and not a random part of it"


@pytest.mark.slow
async def test_a_delivery_is_dead_after_its_last_attempt_and_can_be_leased_again_once_it_is_redriven(client, puller):
    await puller.subscribe(retry={"maxAttempts": 1})
    await puller.throw()
    leased = await puller.lease_one()
    await puller.settle("fail", leased)
    assert (await puller.delivery(leased))["reason"] == "the last attempt failed: the caller did not say why"
    await client.post(f"/v1/deliveries/{leased['deliveryId']}/redrive", {})
    assert (await puller.lease_one())["attempt"] == 2


@pytest.mark.slow
async def test_a_lease_that_ends_is_an_attempt_that_timed_out_and_its_token_is_useless(puller):
    await puller.subscribe(retry=AT_ONCE)
    await puller.throw()
    lapsed = await puller.lease_one(leaseSeconds=1, worker="w-1")
    again = await puller.lease_one()
    assert (again["deliveryId"], again["attempt"]) == (lapsed["deliveryId"], 2)
    over = [f"the lease ended at {lapsed['leasedUntil']}"]
    assert [await puller.settle(what, lapsed) for what in ("ack", "fail")] == [over, over]
    assert await puller.settle("extend", lapsed, leaseSeconds=10) == over
    assert await puller.settle("ack", again) == [None]
    attempts = (await puller.delivery(again))["attempts"]
    assert [(one["outcome"], one["worker"]) for one in attempts] == [("timed_out", "w-1"), ("succeeded", None)]


@pytest.mark.slow
async def test_an_extended_lease_lasts_longer(puller):
    await puller.subscribe(retry=AT_ONCE, maxInFlight=1)
    await puller.throw()
    await puller.throw()
    first = await puller.lease_one(leaseSeconds=30)
    assert await puller.settle("extend", first, leaseSeconds=600) == [None]
    until = read_moment((await puller.delivery(first))["dueAt"])
    assert until > read_moment(first["leasedUntil"]) + timedelta(seconds=500)
    assert await puller.settle("extend", first, leaseSeconds=1) == [None]
    assert (await puller.lease_one())["leaseToken"] != first["leaseToken"], "it was shortened, and ended"


@pytest.mark.slow
async def test_each_token_has_a_result_of_its_own_and_a_repeated_request_the_same_again(puller):
    await puller.subscribe(retry=FAR)
    await puller.throw()
    await puller.throw()
    acked, failed, unknown = await puller.lease_one(), await puller.lease_one(), {"leaseToken": "lease_unknown"}
    no_such = "there is no such lease, or it ended long ago"
    for _ in range(2):
        assert await puller.settle("ack", acked, acked, unknown) == [None, None, no_such]
        assert await puller.settle("fail", failed) == [None]
    assert await puller.settle("fail", acked, failed) == ["the lease was acknowledged before", None]
    assert await puller.settle("extend", acked, leaseSeconds=9) == ["the lease was acknowledged before"]
    assert await puller.settle("ack", failed) == ["the lease was failed before"]
    assert [len((await puller.delivery(one))["attempts"]) for one in (acked, failed)] == [1, 1]


@pytest.mark.slow
async def test_a_failure_is_not_repeated_by_giving_up(puller):
    await puller.subscribe(retry=FAR)
    await puller.throw()
    await puller.throw()
    failed, given_up = await puller.lease_one(), await puller.lease_one()
    for _ in range(2):
        assert await puller.settle("fail", failed, error="no stock") == [None]
        assert await puller.settle("fail", given_up, giveUp=True) == [None]
    assert await puller.settle("fail", failed, giveUp=True) == ["the lease was failed before, as refused"]
    assert await puller.settle("fail", given_up) == ["the lease was failed before, as given_up"]
    assert [(await puller.delivery(one))["state"] for one in (failed, given_up)] == ["parked", "dead"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::aiohttp.web.NotAppKeyWarning")
async def test_those_who_wait_are_answered_when_the_gateway_begins_to_stop(database_url, name):
    """It goes on taking requests for a while, and those for deliveries wait no longer."""
    async with gateway(database_url) as (client, health):
        puller = Puller(client, name)
        await puller.subscribe()
        waiting = asyncio.ensure_future(puller.lease(waitSeconds=30))
        assert await puller.lease() == [], "the other request has come before"
        assert not waiting.done()
        health.stopping.set()
        async with asyncio.timeout(20):
            assert (await waiting, await puller.lease(waitSeconds=30)) == ([], [])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::aiohttp.web.NotAppKeyWarning")
async def test_who_waits_leaves_places_to_others(database_url, name, monkeypatch):
    monkeypatch.setattr("gateway.long_polls.MOST_OF_ONE", 2)
    async with gateway(database_url) as (client, health):
        puller = Puller(client, name)
        await puller.subscribe()
        made = await client.post("/v1/tokens", {"name": "t", "permissions": ["deliveries:manage", "signals:read"]})
        other = Puller(client.caller(made["token"]), name)
        other.subscription_id = puller.subscription_id
        waiting, (_, headers, problem) = await crowd(client, puller, 2)
        assert problem["detail"] == "2 callers with these credentials wait for deliveries here already."
        assert "Retry-After" in headers
        assert await other.lease(waitSeconds=0.1) == []
        health.stopping.set()
        assert await asyncio.gather(*waiting) == [[], []]


@pytest.mark.slow
async def test_deliveries_of_one_ordering_key_are_leased_one_after_the_other(puller):
    await puller.subscribe(ordered=True, retry=AT_ONCE)
    first, second = [await puller.throw(orderingKey="k") for _ in range(2)]
    third = await puller.throw(orderingKey="other")
    at_first = [await puller.lease_one(), await puller.lease_one()]
    assert {one["signal"]["id"] for one in at_first} == {first, third}
    held = next(one for one in at_first if one["signal"]["id"] == first)
    await puller.settle("fail", held)
    again = await puller.lease_one()
    assert (again["signal"]["id"], again["attempt"]) == (first, 2)
    await puller.settle("ack", again)
    assert (await puller.lease_one())["signal"]["id"] == second


@pytest.mark.slow
async def test_no_more_are_leased_than_max_in_flight_allows_and_an_end_lets_the_next_one_go(puller):
    await puller.subscribe(maxInFlight=2)
    for _ in range(4):
        await puller.throw()
    leased = [await puller.lease_one(), await puller.lease_one()]
    assert await puller.lease(max=10) == []
    waiting = asyncio.ensure_future(puller.lease(max=10, waitSeconds=30))
    await puller.settle("ack", leased[0])
    assert len(await waiting) == 1
    assert await puller.lease(max=10) == []


async def test_no_more_are_leased_in_a_second_than_max_per_second_allows(puller):
    await puller.subscribe(maxPerSecond=0.01)
    await puller.throw()
    await puller.throw()
    await puller.lease_one()
    assert await puller.lease() == []
    await puller.client.request("PATCH", puller.path, json={"maxPerSecond": 50})
    assert len(await puller.lease(waitSeconds=30)) == 1


@pytest.mark.slow
async def test_a_paused_subscription_gives_nothing_until_it_is_resumed_but_leases_go_on(client, puller):
    await puller.subscribe()
    await puller.throw()
    leased = await puller.lease_one()
    await client.post(f"{puller.path}/pause", {})
    second = await puller.throw()
    await recorded(client, second)
    assert await puller.lease(waitSeconds=0.1) == []
    assert await puller.settle("extend", leased, leaseSeconds=60) == [None]
    assert await puller.settle("ack", leased) == [None]
    waiting = asyncio.ensure_future(puller.lease(waitSeconds=30))
    await client.post(f"{puller.path}/resume", {})
    assert [one["signal"]["id"] for one in await waiting] == [second]


@pytest.mark.slow
async def test_what_is_owed_is_cancelled_with_its_subscription_leased_or_not(client, puller):
    await puller.subscribe()
    await puller.throw()
    leased = await puller.lease_one()
    signal_id = await puller.throw()
    waiting = {"deliveryId": f"{signal_id}-{puller.subscription_id}"}
    await recorded(client, signal_id)
    await client.request("DELETE", puller.path)
    for one in (leased, waiting):

        async def is_cancelled(one=one):
            return (await puller.delivery(one))["state"] == "cancelled"

        await eventually(is_cancelled)
    assert await puller.settle("ack", leased) == ["the delivery is cancelled: the subscription was deleted"]
    await client.post(f"{puller.path}/lease", {}, expect=404)


async def test_a_delivery_is_cancelled_by_hand_unless_it_is_leased(client, puller):
    await puller.subscribe()
    await puller.throw()
    leased = await puller.lease_one()
    await client.post(f"/v1/deliveries/{leased['deliveryId']}/cancel", {}, expect=409)
    waits = await puller.throw()
    await recorded(client, waits)
    delivery = await client.get(f"/v1/deliveries/{waits}-{puller.subscription_id}")
    assert (delivery["state"], delivery["reason"], delivery["dueAt"]) == ("pending", None, None)
    await client.post(f"/v1/deliveries/{waits}-{puller.subscription_id}/cancel", {}, expect=200)
    assert await puller.lease() == []


@pytest.mark.slow
async def test_an_expired_signal_is_not_leased_any_more(puller):
    await puller.subscribe()
    signal_id = await puller.throw(expiresAt=show_moment(datetime.now(UTC) + timedelta(seconds=1.5)))
    waits = {"deliveryId": f"{signal_id}-{puller.subscription_id}"}
    await recorded(puller.client, signal_id)

    async def is_cancelled():
        return (await puller.delivery(waits))["state"] == "cancelled"

    await eventually(is_cancelled)
    assert await puller.lease() == []


@pytest.mark.slow
async def test_the_first_signal_consumes_a_once_subscription(puller):
    await puller.subscribe(once=True)
    first = await puller.throw()
    leased = await puller.lease_one()
    assert leased["signal"]["id"] == first
    await recorded(puller.client, await puller.throw())
    assert await puller.lease() == []
    assert await puller.settle("ack", leased) == [None]


async def test_replayed_signals_can_be_leased(client, puller):
    signal_id = await puller.throw()
    await recorded(client, signal_id)
    await puller.subscribe()
    await client.post(f"{puller.path}/replay", {})
    assert (await puller.lease_one())["signal"]["id"] == signal_id
