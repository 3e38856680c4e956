"""An attempt whose deliverer is lost is listed as interrupted, and costs none of `maxAttempts`."""

from __future__ import annotations

import asyncio
import json

import pytest
import pytest_asyncio

from tests.support.eventually import eventually
from tests.support.product import Process, client_of
from tests.support.proxy import proxy
from tests.support.receiver import Answer
from tests.support.throwing import delivery, subscribe, throw
from tests.support.undelivered import without_deliverer
from tests.support.waiting import logged

pytestmark = pytest.mark.slow

HANG = Answer(fate="hang")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stack(store_server, rabbitmq, tmp_path_factory):
    async with without_deliverer(store_server, rabbitmq, tmp_path_factory.mktemp("stack")) as stack:
        yield stack


@pytest.fixture
async def client(stack):
    async with client_of(stack.gateway.url) as client:
        yield client


async def restart(process):
    process.kill()
    await process.process.wait()
    await process.start()


def seen(webhooks):
    """Return the `attempt` of each request that the receiver got."""
    return [json.loads(request.body)["attempt"] for request in webhooks.requests]


def listed(one):
    return [(attempt["number"], attempt["outcome"]) for attempt in one["attempts"]]


async def test_each_request_of_a_deliverer_that_was_killed_is_listed_and_none_is_counted(
    stack, client, webhooks, name, tmp_path
):
    """Two attempts are allowed. The receiver gets four requests, and the record says why."""
    url = webhooks.answer("/hook", HANG, HANG, Answer(status=500), Answer())
    subscription = await subscribe(client, name, url, retry={"schedule": [0]})
    async with stack.deliverer(tmp_path) as deliverer:
        signal = await throw(client, name)
        for kills in (1, 2):
            await eventually(lambda kills=kills: len(webhooks.requests) == kills)
            await restart(deliverer)
        done = await delivery(client, signal, subscription, "delivered")
    assert listed(done) == [(1, "interrupted"), (2, "interrupted"), (3, "refused"), (4, "succeeded")]
    assert seen(webhooks) == [1, 2, 3, 4]
    interrupted = done["attempts"][0]
    assert (interrupted["duration"], interrupted["status"], interrupted["request"]) == (None, None, None)
    assert interrupted["error"] == "the deliverer was lost before it stored an outcome; the request may have been made"
    assert interrupted["startedAt"] < done["attempts"][1]["startedAt"]


async def test_the_embedded_product_is_killed_and_lists_what_was_under_way(database_url, webhooks, name, tmp_path):
    """Both attempts that are allowed end; the one that was interrupted comes on top."""
    url = webhooks.answer("/hook", HANG, Answer(status=500))
    environment = {"STORE_URL": database_url, "DATA_DIR": str(tmp_path)}
    async with Process("run", environment=environment, log=tmp_path / "log") as product:
        async with client_of(product.url) as client:
            subscription = await subscribe(client, name, url, retry={"schedule": [0]})
            signal = await throw(client, name)
            await eventually(lambda: webhooks.requests)
        await restart(product)
        async with client_of(product.url) as client:
            dead = await delivery(client, signal, subscription, "dead")
    assert listed(dead) == [(1, "interrupted"), (2, "refused"), (3, "refused")]
    assert seen(webhooks) == [1, 2, 3]


async def test_a_kill_between_two_steps_repeats_only_the_one_under_way(stack, client, webhooks, name, tmp_path):
    urls = [webhooks.url("/first"), webhooks.answer("/second", HANG, Answer())]
    steps = [{"target": {"kind": "webhook", "url": url}} for url in urls]
    subscription = await client.post("/v1/subscriptions", {"name": name, "steps": steps}, expect=201)
    async with stack.deliverer(tmp_path) as deliverer:
        signal = await throw(client, name)
        await eventually(lambda: len(webhooks.requests) == 2)
        under_way = await client.get(f"/v1/deliveries/{signal['id']}-{subscription['id']}")
        await restart(deliverer)
        done = await delivery(client, signal, subscription, "delivered")
    assert under_way["attempts"] == []
    assert listed(done) == [(1, "interrupted"), (2, "succeeded")]
    made = [[(step["step"], step["outcome"]) for step in attempt["steps"]] for attempt in done["attempts"]]
    assert made == [[(1, "succeeded")], [(2, "succeeded")]]
    assert seen(webhooks) == [1, 1, 2]
    ids = [request.headers["webhook-id"] for request in webhooks.requests]
    assert ids == [f"{done['id']}-1", f"{done['id']}-2", f"{done['id']}-2"]


async def test_steps_go_on_while_postgresql_is_away(stack, client, webhooks, name, tmp_path):
    answered = asyncio.Event()
    urls = [webhooks.answer("/first", Answer(until=answered)), webhooks.url("/second")]
    steps = [{"target": {"kind": "webhook", "url": url}} for url in urls]
    subscription = await client.post("/v1/subscriptions", {"name": name, "steps": steps}, expect=201)
    async with (
        proxy(stack.environment["STORE_URL"]) as store,
        stack.deliverer(tmp_path, STORE_URL=store.url, STORE_TIMEOUT_SECONDS="1"),
    ):
        signal = await throw(client, name)
        await eventually(lambda: webhooks.requests)
        store.cut()
        answered.set()
        await eventually(lambda: len(webhooks.requests) == 2)
        store.restore()
        done = await delivery(client, signal, subscription, "delivered")
    assert listed(done) == [(1, "succeeded")]
    assert seen(webhooks) == [1, 1]


async def test_an_answer_that_could_not_be_stored_before_the_kill_is_an_interrupted_attempt(
    stack, client, webhooks, name, tmp_path
):
    answered = asyncio.Event()
    url = webhooks.answer("/hook", Answer(until=answered), Answer())
    subscription = await subscribe(client, name, url, retry={"maxAttempts": 1})
    async with (
        proxy(stack.environment["STORE_URL"]) as store,
        stack.deliverer(tmp_path, STORE_URL=store.url, STORE_TIMEOUT_SECONDS="1") as deliverer,
    ):
        signal = await throw(client, name)
        await eventually(lambda: webhooks.requests)
        store.cut()
        answered.set()
        await logged(deliverer.log, lambda lines: "outcome.kept" in {line["event"] for line in lines})
        deliverer.kill()
        await deliverer.process.wait()
        store.restore()
        await deliverer.start()
        done = await delivery(client, signal, subscription, "delivered")
    assert listed(done) == [(1, "interrupted"), (2, "succeeded")]
    assert seen(webhooks) == [1, 2]


async def test_an_attempt_that_outlives_its_link_is_not_interrupted(stack, client, webhooks, name, tmp_path):
    answered = asyncio.Event()
    url = webhooks.answer("/hook", Answer(until=answered))
    subscription = await subscribe(client, name, url)
    async with (
        proxy(stack.environment["TRANSPORT_URL"]) as link,
        stack.deliverer(tmp_path, TRANSPORT_URL=link.url) as deliverer,
    ):
        signal = await throw(client, name)
        await eventually(lambda: webhooks.requests)
        before = len(await logged(deliverer.log, lambda _: True))
        link.reset()
        await logged(deliverer.log, lambda lines: "link.connected" in {line["event"] for line in lines[before:]})
        answered.set()
        done = await delivery(client, signal, subscription, "delivered")
    assert listed(done) == [(1, "succeeded")]
    assert seen(webhooks) == [1]


async def test_an_attempt_that_outlives_all_links_while_another_deliverer_repeats_it_has_its_own_outcome(
    stack, client, webhooks, name, tmp_path
):
    """The first deliverer cannot know that it was taken for dead, nor can the second one know that it was not."""
    answered = asyncio.Event()
    url = webhooks.answer("/hook", Answer(until=answered), HANG)
    subscription = await subscribe(client, name, url)
    (tmp_path / "other").mkdir()
    async with (
        proxy(stack.environment["TRANSPORT_URL"]) as link,
        proxy(stack.environment["STORE_URL"]) as store,
        stack.deliverer(tmp_path, TRANSPORT_URL=link.url, STORE_URL=store.url),
    ):
        signal = await throw(client, name)
        await eventually(lambda: webhooks.requests)
        async with stack.deliverer(tmp_path / "other"):
            store.cut()
            await link.refuse()
            await eventually(lambda: len(webhooks.requests) == 2)
            meanwhile = await client.get(f"/v1/deliveries/{signal['id']}-{subscription['id']}")
            store.restore()
            answered.set()
            done = await delivery(client, signal, subscription, "delivered")
    assert listed(meanwhile) == [(1, "interrupted")]
    assert listed(done) == [(1, "succeeded")]
    assert seen(webhooks) == [1, 2]


async def test_an_attempt_that_outlives_the_drain_is_interrupted(stack, client, webhooks, name, tmp_path):
    url = webhooks.answer("/hook", HANG, Answer())
    subscription = await subscribe(client, name, url, retry={"maxAttempts": 1})
    async with stack.deliverer(tmp_path, DRAIN_TIMEOUT_SECONDS="0.5") as deliverer:
        signal = await throw(client, name)
        await eventually(lambda: webhooks.requests)
        assert await deliverer.stop() == 0
        await deliverer.start()
        done = await delivery(client, signal, subscription, "delivered")
    assert listed(done) == [(1, "interrupted"), (2, "succeeded")]
    assert seen(webhooks) == [1, 2]
