"""Handlers in workers of their own beside the running product, as their authors run them."""

from __future__ import annotations

import json

import pytest

from broker.store.postgres.database import Database
from broker.store.subscriptions.subscriptions import SubscriptionStore
from broker.subscriptions import SubscriptionSpec
from broker.targets import HandlerTarget
from tests.support.eventually import eventually
from tests.support.receiver import Answer
from tests.support.throwing import delivery, throw

APP = "tests.support.shop:handlers"


@pytest.fixture
def app(monkeypatch, name):
    """Return the name of this test's own app, whose signals' names begin with *name*."""
    app = f"shop-{name}"
    monkeypatch.setenv("SHOP_APP", app)
    monkeypatch.setenv("SHOP_SIGNAL", name)
    return app


@pytest.fixture
def worker(product, app):
    """Return a worker that runs the app, not yet started."""
    return lambda **settings: product.sibling("worker", "handlers", "--app", APP, **settings)


@pytest.fixture
def subscription(client, app):
    """Call it to return the subscription of the app's handler of that name."""

    async def subscription(handler):
        page = await client.get("/v1/subscriptions?limit=1000")
        (found,) = [
            one for one in page["items"] if one["target"] == {"kind": "handler", "app": app, "handler": handler}
        ]
        return found

    return subscription


@pytest.fixture
async def gone(product, app, name):
    """Return the subscription of a handler that was in the code of an earlier version."""
    async with Database(product.environment["STORE_URL"]) as database:
        target = HandlerTarget(app=app, handler="gone")
        made = await SubscriptionStore(database).register(
            SubscriptionSpec(name=f"{name}.paid", targets=(target,), schedule=())
        )
    return {"id": made.id, "name": name}


async def pay(client, name, url, **spec):
    return await throw(client, f"{name}.paid", payload={"order": 7, "url": url}, **spec)


def told(request):
    return json.loads(request.body)


@pytest.mark.slow
@pytest.mark.transports("embedded", "rabbitmq")
async def test_a_signal_is_delivered_to_a_function_with_its_typed_payload(client, webhooks, name, worker, subscription):
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    async with worker() as process:
        status, _, signal = await client.request(
            "POST",
            "/v1/signals",
            json={"name": f"{name}.paid", "payload": {"order": "7", "url": webhooks.url()}},
            headers={"traceparent": trace},
        )
        assert status == 202
        book = await subscription("book")
        done = await delivery(client, signal, book, "delivered")
        assert await process.stop() == 0

    assert (book["name"], book["maxInFlight"], book["timeoutSeconds"]) == (f"{name}.paid", 2, 20)
    assert (book["retry"], book["secret"]) == ({"schedule": [0.1, 0.2, 0.3], "maxAttempts": 4}, None)
    assert [attempt["outcome"] for attempt in done["attempts"]] == ["succeeded"]
    assert [told(request) for request in webhooks.requests] == [
        {"order": 7, "delivery": done["id"], "attempt": 1, "tenant": None, "traceparent": trace}
    ]
    ledger = await client.get(f"/v1/ledger?subscriptionId={book['id']}")
    assert (ledger["matched"], ledger["deliveries"]["delivered"], ledger["unaccounted"]) == (1, 1, 0)


@pytest.mark.slow
@pytest.mark.transports("embedded", "rabbitmq")
async def test_a_handler_is_tested_by_a_worker_of_its_app(client, webhooks, name, worker, subscription):
    url = webhooks.answer("/", Answer(), Answer(status=500))
    async with worker():
        path = f"/v1/subscriptions/{(await subscription('book'))['id']}/test"
        good, bad = [await client.post(path, {"payload": {"order": 7, "url": url}}) for _ in range(2)]
    assert (good["outcome"], good["status"]) == ("succeeded", None)
    assert (bad["outcome"], bad["error"]) == ("refused", "RuntimeError: the receiver answered 500")
    assert [told(request)["order"] for request in webhooks.requests] == [7, 7]


@pytest.mark.slow
@pytest.mark.transports("embedded", "rabbitmq")
async def test_a_plain_function_gets_what_its_tenant_is_thrown(client, webhooks, name, worker, subscription):
    async with worker():
        payload = {"order": 7, "url": webhooks.url()}
        await throw(client, f"{name}.sent.late", payload=payload, withoutTenantId=True)
        signal = await throw(client, f"{name}.sent.late", payload=payload, tenantId="acme")
        await delivery(client, signal, await subscription("print_label"), "delivered")
    assert len(webhooks.requests) == 1


@pytest.mark.slow
@pytest.mark.transports("embedded", "rabbitmq")
async def test_what_a_handler_raises_is_tried_again_on_its_schedule(client, webhooks, name, worker, subscription):
    url = webhooks.answer("/book", Answer(status=500), Answer(status=429), Answer())
    async with worker():
        signal = await pay(client, name, url)
        done = await delivery(client, signal, await subscription("book"), "delivered")
    assert [(attempt["outcome"], attempt["error"]) for attempt in done["attempts"]] == [
        ("refused", "RuntimeError: the receiver answered 500"),
        ("throttled", "the ledger is closed"),
        ("succeeded", None),
    ]
    assert [(told(request)["delivery"], told(request)["attempt"]) for request in webhooks.requests] == [
        (done["id"], number) for number in (1, 2, 3)
    ]
    assert webhooks.requests[2].at - webhooks.requests[1].at >= 1, "as the handler asked"


@pytest.mark.slow
async def test_what_a_handler_gives_up_is_dead_at_once_and_logged(client, webhooks, name, worker, subscription):
    async with worker() as process:
        signal = await pay(client, name, webhooks.answer("/book", Answer(status=410)))
        book = await subscription("book")
        dead = await delivery(client, signal, book, "dead")
    assert (dead["reason"], len(dead["attempts"])) == ("given up: the order was cancelled", 1)
    assert dead["attempts"][0]["outcome"] == "given_up"
    lines = [json.loads(line) for line in process.log.read_text().splitlines() if '"delivery.attempted"' in line]
    (told,) = [line for line in lines if line["delivery_id"] == dead["id"]]
    assert (told["level"], told["outcome"], told["error"]) == ("warning", "given_up", "the order was cancelled")
    assert (await subscription("book"))["state"] == "active"


@pytest.mark.slow
async def test_a_payload_of_another_type_is_a_failed_attempt(client, name, worker, subscription):
    async with worker():
        signal = await throw(client, f"{name}.sent", payload={"order": "sesame"}, tenantId="acme")
        dead = await delivery(client, signal, await subscription("print_label"), "dead")
    assert dead["attempts"][0]["error"].startswith("the payload is invalid: order: Input should be")


@pytest.mark.slow
async def test_calls_are_limited_over_all_workers(client, webhooks, name, worker, subscription):
    url = webhooks.answer("/book", Answer(after=0.1))
    async with worker(), worker():
        items = [{"name": f"{name}.paid", "payload": {"order": n, "url": url}} for n in range(30)]
        await client.post("/v1/signals/batch", {"signals": items}, expect=200)
        book = await subscription("book")

        async def done():
            return (await client.get(f"/v1/ledger?subscriptionId={book['id']}"))["deliveries"]["delivered"] == 30

        await eventually(done, within=30)
    assert webhooks.most["/book"] == 2
    assert sorted(told(request)["order"] for request in webhooks.requests) == list(range(30))


@pytest.mark.slow
@pytest.mark.transports("embedded", "rabbitmq")
async def test_a_handler_that_is_killed_in_the_middle_is_called_again_by_another_worker(
    client, webhooks, name, worker, subscription
):
    url = webhooks.answer("/book", Answer(fate="hang"), Answer())
    async with worker() as killed:
        signal = await pay(client, name, url)
        await eventually(lambda: webhooks.requests)
        async with worker():
            killed.kill()
            done = await delivery(client, signal, await subscription("book"), "delivered")
    assert [told(request)["delivery"] for request in webhooks.requests] == [done["id"]] * 2
    assert [attempt["outcome"] for attempt in done["attempts"]] == ["interrupted", "succeeded"]


@pytest.mark.slow
@pytest.mark.transports("rabbitmq")
async def test_nothing_is_lost_however_often_workers_are_killed(client, webhooks, name, worker, subscription):
    url = webhooks.answer("/book", Answer(after=0.05))
    # Killed between an end and the publishes that follow from it, a worker leaves deliveries for the rescue.
    settings = {"RESCUE_AFTER_SECONDS": "5"}
    async with worker(**settings) as one, worker(**settings) as other:
        items = [{"name": f"{name}.paid", "payload": {"order": n, "url": url}} for n in range(60)]
        await client.post("/v1/signals/batch", {"signals": items}, expect=200)
        for process, calls in ((one, 5), (other, 20), (one, 35)):
            await eventually(lambda calls=calls: len(webhooks.requests) >= calls, within=30)
            process.kill()
            await process.process.wait()
            await process.start()
        book = await subscription("book")

        async def books():
            found = await client.get(f"/v1/ledger?subscriptionId={book['id']}")
            return found if found["deliveries"]["delivered"] == 60 else None

        ledger = await eventually(books, within=30)
    assert (ledger["matched"], ledger["unaccounted"]) == (60, 0)
    assert {told(request)["order"] for request in webhooks.requests} == set(range(60))
    assert len(webhooks.requests) <= 60 + 3 * 2, "what a killed one had begun, and nothing else"
    assert webhooks.most["/book"] <= 2 + 2, "those of a killed one end when they end"


@pytest.mark.slow
@pytest.mark.transports("rabbitmq")
async def test_a_handler_that_is_not_done_when_its_worker_stops_is_called_again(
    client, webhooks, name, worker, subscription
):
    url = webhooks.answer("/book", Answer(fate="hang"), Answer())
    async with worker(DRAIN_TIMEOUT_SECONDS="0.5") as stopped:
        signal = await pay(client, name, url)
        await eventually(lambda: webhooks.requests)
        assert await stopped.stop() == 0
    left = [json.loads(line) for line in stopped.log.read_text().splitlines() if '"consumer.stopped"' in line]
    assert [line["left_for_redelivery"] for line in left] == [1]
    async with worker():
        done = await delivery(client, signal, await subscription("book"), "delivered")
    assert [told(request)["delivery"] for request in webhooks.requests] == [done["id"]] * 2


@pytest.mark.slow
async def test_a_plain_function_that_is_not_done_does_not_keep_its_worker_from_stopping(
    client, webhooks, name, worker, subscription
):
    async with worker(DRAIN_TIMEOUT_SECONDS="0.5") as stopped:
        payload = {"order": 7, "url": webhooks.answer("/label", Answer(fate="hang"), Answer())}
        signal = await throw(client, f"{name}.sent", payload=payload, tenantId="acme")
        await eventually(lambda: webhooks.requests)
        assert await stopped.stop() == 0
    async with worker():
        await delivery(client, signal, await subscription("print_label"), "delivered")


@pytest.mark.slow
@pytest.mark.transports("rabbitmq")
async def test_what_was_thrown_while_no_worker_ran_is_delivered_when_one_does(
    client, webhooks, name, worker, subscription
):
    async with worker():
        book = await subscription("book")
    signals = [await pay(client, name, webhooks.url()) for _ in range(5)]
    assert webhooks.requests == []
    async with worker():
        counted = {"backlog": book["backlog"], "successRate": book["successRate"]}
        assert {**await subscription("book"), **counted} == book
        for signal in signals:
            await delivery(client, signal, book, "delivered")


@pytest.mark.slow
async def test_a_handler_that_is_not_in_the_code_any_more_is_told_and_fails(
    client, webhooks, worker, subscription, gone
):
    async with worker() as process:
        signal = await pay(client, gone["name"], webhooks.url())
        dead = await delivery(client, signal, gone, "dead")
        await delivery(client, signal, await subscription("book"), "delivered")
    assert dead["attempts"][0]["outcome"] == "failed"
    assert dead["attempts"][0]["error"].endswith("/gone'")
    assert dead["attempts"][0]["error"].startswith("this worker's code has no handler 'shop-")
    (line,) = [json.loads(line) for line in process.log.read_text().splitlines() if '"handler.missing"' in line]
    assert (line["level"], line["handler"], line["subscription_id"]) == ("warning", "gone", gone["id"])
    assert f"`signal-broker subscriptions delete {gone['id']}` ends that" in line["hint"]


@pytest.mark.slow
async def test_a_handler_s_subscription_can_be_held_and_deleted_and_is_made_again(
    client, webhooks, name, worker, subscription
):
    async with worker():
        book = await subscription("book")
        one = f"/v1/subscriptions/{book['id']}"
        await client.post(f"{one}/pause", {}, expect=200)
        changes = {"target": {"kind": "queue", "queue": "books"}}
        status, _, problem = await client.request("PATCH", one, json=changes)
        assert (status, problem["errors"][0]["pointer"]) == (400, "/target")
    async with worker():
        assert (await subscription("book"))["state"] == "paused", "a new start does not end a pause"
        signal = await pay(client, name, webhooks.url())
        assert (await delivery(client, signal, book, "parked"))["reason"] == "paused"
        await client.post(f"{one}/resume", {}, expect=200)
        await delivery(client, signal, book, "delivered")
        assert (await client.request("DELETE", one))[0] == 204
    async with worker():
        assert (await subscription("book"))["id"] > book["id"]


async def test_nobody_else_makes_a_handler_s_subscription(client, name):
    document = {"name": name, "target": {"kind": "handler", "app": "shop", "handler": "book"}}
    problem = await client.post("/v1/subscriptions", document, expect=400)
    (error,) = problem["errors"]
    assert error["pointer"] == "/target/kind"
    assert "signal-broker worker handlers" in error["detail"]


async def test_a_payload_cannot_be_published_to_an_app_s_queue(client, name):
    target = {"kind": "queue", "queue": "deliveries.attempt.handlers.shop"}
    problem = await client.post("/v1/subscriptions", {"name": name, "target": target}, expect=400)
    assert [error["pointer"] for error in problem["errors"]] == ["/target/queue"]
