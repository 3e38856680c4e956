"""Targets that are tried with made signals: an attempt as real ones are, about which nothing is recorded."""

from __future__ import annotations

import asyncio
import json

import pytest
from standardwebhooks import Webhook

from broker.access import ADMINISTRATOR
from broker.audit import AuditType
from broker.store.administration.audit import AuditStore
from broker.store.postgres.database import Database
from broker.store.subscriptions.samples import MOST, SampleStore, TooMany
from broker.store.subscriptions.subscriptions import SubscriptionStore
from broker.subscriptions import SubscriptionSpec
from broker.targets import HandlerTarget
from tests.support.eventually import eventually
from tests.support.receiver import Answer
from tests.support.throwing import NOWHERE, fresh_id, subscribe, token

pytestmark = [pytest.mark.slow, pytest.mark.transports("embedded", "rabbitmq")]


async def books(client, subscription):
    ledger = await client.get(f"/v1/ledger?subscriptionId={subscription['id']}")
    return ledger["matched"], ledger["deliveries"], ledger["unaccounted"]


async def try_target(client, subscription, **document):
    return await client.post(f"/v1/subscriptions/{subscription['id']}/test", document)


async def test_a_webhook_gets_a_signed_request_and_the_caller_what_came_of_it(client, webhooks, name):
    url = webhooks.answer("/hook", Answer(status=202, body=b"taken, thanks"))
    made = await subscribe(client, f"{name}.*.#", url, description="mine")
    before = await books(client, made)

    answer = await try_target(client, made, payload={"order": 7})

    (request,) = webhooks.requests
    Webhook(made["secret"]).verify(request.body, dict(request.headers))
    told = json.loads(request.body)
    assert (told["name"], told["scope"], told["payload"]) == (f"{name}.test.test", "broadcast", {"order": 7})
    assert (told["subscriptionId"], told["attempt"]) == (made["id"], 1)
    assert told["id"] < 0
    assert request.headers["webhook-id"] == told["deliveryId"] == f"{told['id']}-{made['id']}"
    assert (answer["outcome"], answer["status"], answer["response"]) == ("succeeded", 202, "taken, thanks")
    assert answer["error"] is None
    assert 0 < answer["durationMs"] < 10_000
    assert (answer["request"]["url"], answer["step"]) == (url, None)
    assert answer["request"]["body"] == request.body.decode()
    assert answer["request"]["headers"]["webhook-id"] == told["deliveryId"]
    assert await books(client, made) == before
    assert (await client.get(f"/v1/deliveries?subscriptionId={made['id']}"))["items"] == []
    status, _, _ = await client.request("GET", f"/v1/signals?name={told['name']}")
    assert status == 200
    assert (await client.get(f"/v1/signals?name={told['name']}"))["items"] == []


async def test_each_test_has_an_id_of_its_own_so_that_receivers_do_not_drop_the_second(client, webhooks, name):
    made = await subscribe(client, name, webhooks.url("/hook"))
    await try_target(client, made)
    await try_target(client, made)
    ids = {request.headers["webhook-id"] for request in webhooks.requests}
    assert len(ids) == 2


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ({"tenantId": "acme"}, ("tenant", "acme", None)),
        ({}, ("broadcast", None, None)),
        ({"executionId": True}, ("execution", None, True)),
    ],
)
async def test_the_signal_has_the_scope_of_the_subscription(client, webhooks, name, scope, expected):
    execution = fresh_id("execution")
    scope = {key: execution if value is True else value for key, value in scope.items()}
    made = await subscribe(client, name, webhooks.url("/hook"), **scope)
    await try_target(client, made)
    told = json.loads(webhooks.requests[0].body)
    found = told["scope"], told["tenantId"], told["executionId"]
    assert found == tuple(execution if value is True else value for value in expected)


async def test_what_holds_up_real_deliveries_does_not_hold_up_a_test(client, webhooks, name):
    """A pause, a filter, a limit and a circuit: it is to find out whether the target works."""
    filtered = {"order": {"operator": "IN", "values": ["7"]}}
    made = await subscribe(client, name, webhooks.url("/hook"), filter=filtered, maxPerSecond=0.001)
    await client.post(f"/v1/subscriptions/{made['id']}/pause", {})
    for _ in range(2):
        answer = await try_target(client, made, payload={"order": 8})
        assert answer["outcome"] == "succeeded", answer
    shown = await client.get(f"/v1/subscriptions/{made['id']}")
    assert (shown["state"], shown["circuit"]) == ("paused", "closed")


async def test_a_failure_is_an_answer_and_opens_no_circuit(client, webhooks, name):
    made = await subscribe(client, name, webhooks.answer("/hook", Answer(status=500, body=b"oops")))
    nowhere = await subscribe(client, name, NOWHERE)
    slow = await subscribe(client, name, webhooks.answer("/slow", Answer(fate="hang")), timeoutSeconds=0.5)
    refused, unreachable, timed_out = await asyncio.gather(*(try_target(client, one) for one in (made, nowhere, slow)))
    assert (refused["outcome"], refused["status"], refused["response"]) == ("refused", 500, "oops")
    assert refused["error"] == "HTTP 500 Internal Server Error"
    assert (unreachable["outcome"], unreachable["status"]) == ("unreachable", None)
    assert timed_out["outcome"] == "timed_out"
    assert (await client.get(f"/v1/subscriptions/{made['id']}"))["circuit"] == "closed"


async def test_steps_are_made_as_long_as_they_succeed(client, webhooks, name):
    first, second = webhooks.url("/first"), webhooks.answer("/second", Answer(status=418))
    steps = [{"target": {"kind": "webhook", "url": url}} for url in (first, second, webhooks.url("/third"))]
    made = await client.post("/v1/subscriptions", {"name": name, "steps": steps})
    answer = await try_target(client, made)
    assert [request.path for request in webhooks.requests] == ["/first", "/second"]
    assert (answer["step"], answer["status"], answer["request"]["url"]) == (2, 418, second)


async def test_a_queue_that_is_not_there_is_said_so(client, name):
    target = {"kind": "queue", "queue": f"{name}.absent"}
    made = await client.post("/v1/subscriptions", {"name": name, "target": target})
    answer = await try_target(client, made, payload=[1, "zwei"])
    assert (answer["outcome"], answer["error"]) == ("unroutable", f"there is no queue '{name}.absent'")
    assert (answer["request"]["body"], answer["request"]["url"]) == ('[1, "zwei"]', None)
    assert answer["request"]["headers"]["scope"] == "broadcast"


async def test_a_hundred_tests_are_not_made_at_the_same_time(client, webhooks, name):
    made = await subscribe(client, name, webhooks.answer("/hook", Answer(after=1)))
    path = f"/v1/subscriptions/{made['id']}/test"
    answers = await asyncio.gather(*(client.request("POST", path, json={}) for _ in range(100)))
    statuses = [status for status, _, _ in answers]
    assert set(statuses) == {200, 503}
    assert 1 <= webhooks.most["/hook"] <= 4


async def test_samples_asked_for_at_the_same_moment_are_counted_one_after_the_other(name, product):
    async with Database(product.environment["STORE_URL"], size=20) as store:
        spec = SubscriptionSpec(name=name, targets=(HandlerTarget(app=name, handler="gone"),), schedule=())
        made = await SubscriptionStore(store).register(spec)
        samples = SampleStore(store)
        async with store.transaction() as holding:
            # Who counted, and inserts, waits for what becomes of the row that has the same id.
            await holding.execute(
                "INSERT INTO samples (id, subscription_id, app, payload) OVERRIDING SYSTEM VALUE"
                " SELECT last_value + n, 0, 'none', '' FROM samples_id_seq, generate_series(0, 20) n"
                " ON CONFLICT DO NOTHING"
            )
            asked = [asyncio.create_task(samples.ask(made, b"{}", by=ADMINISTRATOR)) for _ in range(10)]
            waiting = "SELECT count(*) >= 10 FROM pg_locks WHERE NOT granted"
            await eventually(lambda: store.fetchval(waiting))
            await holding.execute("DELETE FROM samples WHERE app = 'none'")
        await eventually(lambda: sum(task.done() for task in asked) >= len(asked) - MOST)
        refused = [task.exception() for task in asked if task.done()]
        assert [type(error) for error in refused] == [TooMany] * (len(asked) - MOST)
        events = (await AuditStore(store).page(limit=1000, kind=AuditType.SUBSCRIPTION_TESTED)).items
        assert [event.subject_id for event in events].count(made.id) == MOST
        for task in asked:
            task.cancel()
        await asyncio.wait(asked)


async def test_only_who_manages_a_subscription_may_test_it(client, webhooks, name):
    made = await subscribe(client, name, webhooks.url("/hook"))
    reader = client.caller(await token(client, "signals:read", "signals:throw"))
    status, _, _ = await reader.request("POST", f"/v1/subscriptions/{made['id']}/test")
    assert (status, webhooks.requests) == (403, [])
    status, _, body = await client.request("POST", f"/v1/subscriptions/{made['id']}/test", json={"payloads": 1})
    assert (status, body["errors"][0]["pointer"]) == (400, "/payloads")


async def test_a_test_that_no_worker_makes_is_a_503(client, name, product):
    """Handlers have workers of their own."""
    async with Database(product.environment["STORE_URL"], size=1) as store:
        spec = SubscriptionSpec(name=name, targets=(HandlerTarget(app=name, handler="gone"),), schedule=())
        made = await SubscriptionStore(store).register(spec)
    status, headers, body = await client.request("POST", f"/v1/subscriptions/{made.id}/test", json={})
    assert (status, headers["Retry-After"]) == (503, "1")
    assert "No worker" in body["detail"]


async def test_those_who_test_what_hangs_keep_nobody_else_from_testing(client, webhooks, name):
    tenant, hanging = fresh_id("tenant"), webhooks.answer("/hang", Answer(fate="hang"))
    other = client.caller(await token(client, "subscriptions:manage", tenants=[tenant]))
    theirs = [await subscribe(other, name, hanging, tenantId=tenant, timeoutSeconds=8) for _ in range(4)]
    mine = await subscribe(client, name, webhooks.url("/hook"))

    async def test(caller, subscription):
        status, _, body = await caller.request("POST", f"/v1/subscriptions/{subscription['id']}/test", json={})
        return status, body

    held = [asyncio.create_task(test(other, one)) for one in theirs * 4]
    await eventually(lambda: len([one for one in webhooks.requests if one.path == "/hang"]) >= 8)
    status, answer = await test(client, mine)
    assert (status, answer["outcome"]) == (200, "succeeded")
    statuses = [status for status, _ in await asyncio.gather(*held)]
    assert sorted(statuses) == [200] * 8 + [503] * 8
