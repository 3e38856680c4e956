"""A deliverer makes the deliveries of an ordering group one after the other, and whatever happens meanwhile counts."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import fields
from datetime import timedelta

import pytest
import pytest_asyncio

from broker.deliveries import DeliveryState, DueAttempt, Outcome, Result
from broker.errors import StoreUnavailable
from broker.messages import due_message
from broker.settings import Settings
from broker.signals import Throw
from broker.store.deliveries.presence import Presence
from broker.store.deliveries.surplus import SurplusStore
from broker.subscriptions import SubscriptionSpec
from broker.targets import Kind
from broker.topology import ATTEMPT
from broker.transport import Received, Settlement
from tests.support.attempts import attempt_store
from tests.support.builders import QUEUE, accept, record
from tests.support.eventually import eventually
from tests.support.product import Process, client_of
from tests.support.receiver import Answer
from tests.support.throwing import delivery, subscribe
from tests.support.undelivered import without_deliverer
from tests.support.waiting import logged
from workers import runs
from workers.deliverer import Deliverer
from workers.dispatch import dispatch

pytestmark = pytest.mark.slow

SOON = timedelta(seconds=10)
HANG = Answer(fate="hang")
SIGNALS = 12


def came(webhooks):
    """Return the payload and the `attempt` of each request that the receiver got."""
    documents = [json.loads(request.body) for request in webhooks.requests]
    return [(document["payload"], document["attempt"]) for document in documents]


def once_each(count):
    return [(number, 1) for number in range(count)]


async def throw_all(client, name, count=SIGNALS):
    """Throw signals with the numbers from 0 on as payloads, all with the same ordering key."""
    items = [{"name": name, "payload": number, "orderingKey": "a"} for number in range(count)]
    answer = await client.post("/v1/signals/batch", {"signals": items}, expect=200)
    return answer["results"]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stack(store_server, rabbitmq, tmp_path_factory):
    async with without_deliverer(store_server, rabbitmq, tmp_path_factory.mktemp("stack")) as stack:
        yield stack


@pytest.fixture
async def client(stack):
    async with client_of(stack.gateway.url) as client:
        yield client


def listed(one):
    return [(attempt["number"], attempt["outcome"]) for attempt in one["attempts"]]


async def test_a_deliverer_that_is_killed_is_followed_by_another_one_where_it_was(
    stack, client, webhooks, name, tmp_path
):
    """The attempt under way has no message of its own; that of the first delivery leads to it."""
    url = webhooks.answer("/hook", *[Answer()] * 5, HANG, Answer())
    subscription = await subscribe(client, name, url, ordered=True)
    async with stack.deliverer(tmp_path) as deliverer:
        signals = await throw_all(client, name)
        await eventually(lambda: len(webhooks.requests) == 6)
        deliverer.kill()
        await deliverer.process.wait()
        await deliverer.start()
        await delivery(client, signals[-1], subscription, "delivered")
    assert came(webhooks) == [*once_each(6), (5, 2), *once_each(SIGNALS)[6:]]
    one = await client.get(f"/v1/deliveries/{signals[5]['id']}-{subscription['id']}")
    assert listed(one) == [(1, "interrupted"), (2, "succeeded")]
    assert webhooks.most["/hook"] <= 2  # the receiver does not know that its caller is gone


async def test_the_embedded_product_that_is_killed_goes_on_where_it_was(database_url, webhooks, name, tmp_path):
    url = webhooks.answer("/hook", *[Answer()] * 5, HANG, Answer())
    environment = {"STORE_URL": database_url, "DATA_DIR": str(tmp_path)}
    async with Process("run", environment=environment, log=tmp_path / "log") as product:
        async with client_of(product.url) as client:
            subscription = await subscribe(client, name, url, ordered=True)
            signals = await throw_all(client, name)
            await eventually(lambda: len(webhooks.requests) == 6)
        product.kill()
        await product.process.wait()
        await product.start()
        async with client_of(product.url) as client:
            await delivery(client, signals[-1], subscription, "delivered")
    assert came(webhooks) == [*once_each(6), (5, 2), *once_each(SIGNALS)[6:]]


async def test_a_deliverer_that_ends_finishes_its_attempt_and_leaves_the_rest_to_others(
    stack, client, webhooks, name, tmp_path
):
    answered = asyncio.Event()
    url = webhooks.answer("/hook", *[Answer()] * 5, Answer(until=answered), Answer())
    subscription = await subscribe(client, name, url, ordered=True)
    async with stack.deliverer(tmp_path) as deliverer:
        signals = await throw_all(client, name)
        await eventually(lambda: len(webhooks.requests) == 6)
        ending = asyncio.create_task(deliverer.stop())
        await logged(tmp_path / "log", lambda lines: any(line["event"] == "process.stopping" for line in lines))
        answered.set()
        assert await ending == 0
        assert came(webhooks) == once_each(6)
        await deliverer.start()
        await delivery(client, signals[-1], subscription, "delivered")
    assert came(webhooks) == once_each(SIGNALS)


async def test_the_delivery_that_a_run_began_with_is_redriven_in_the_middle_of_it(
    stack, client, webhooks, name, tmp_path
):
    """It is the next one then, and the run comes to what it began with."""
    goes_on = asyncio.Event()
    url = webhooks.answer("/hook", *[Answer()] * 3, Answer(until=goes_on), Answer())
    subscription = await subscribe(client, name, url, ordered=True)
    async with stack.deliverer(tmp_path) as deliverer:
        signals = await throw_all(client, name)
        await eventually(lambda: len(webhooks.requests) == 4)
        for signal in signals[:2]:
            await client.post(f"/v1/deliveries/{signal['id']}-{subscription['id']}/redrive", {})
        goes_on.set()
        await delivery(client, signals[-1], subscription, "delivered")
        assert await deliverer.stop(within=10) == 0
    assert came(webhooks) == [*once_each(4), (0, 2), (1, 2), *once_each(SIGNALS)[4:]]


async def test_a_pause_in_the_middle_holds_up_the_rest(stack, client, webhooks, name, tmp_path):
    answered = asyncio.Event()
    url = webhooks.answer("/hook", *[Answer()] * 5, Answer(until=answered), Answer())
    subscription = await subscribe(client, name, url, ordered=True)
    async with stack.deliverer(tmp_path):
        signals = await throw_all(client, name)
        await eventually(lambda: len(webhooks.requests) == 6)
        await client.post(f"/v1/subscriptions/{subscription['id']}/pause", {})
        answered.set()

        async def waits():
            return (await client.get(f"/v1/deliveries/{signals[6]['id']}-{subscription['id']}"))["reason"] == "paused"

        await eventually(waits)
        assert came(webhooks) == once_each(6)
        await client.post(f"/v1/subscriptions/{subscription['id']}/resume", {})
        await delivery(client, signals[-1], subscription, "delivered")
    assert came(webhooks) == once_each(SIGNALS)


async def test_a_failure_in_the_middle_holds_up_the_rest_until_it_has_succeeded(
    stack, client, webhooks, name, tmp_path
):
    bad = Answer(status=500)
    url = webhooks.answer("/hook", *[Answer()] * 5, bad, bad, Answer())
    subscription = await subscribe(client, name, url, ordered=True, retry={"schedule": [0, 0]})
    async with stack.deliverer(tmp_path):
        signals = await throw_all(client, name)
        await delivery(client, signals[-1], subscription, "delivered")
    assert came(webhooks) == [*once_each(6), (5, 2), (5, 3), *once_each(SIGNALS)[6:]]


class Courier:
    """Notes the attempts that it makes."""

    def __init__(self):
        self.made = []

    async def deliver(self, claimed, *, timeout):  # noqa: ARG002
        self.made.append((claimed.due.signal_id, claimed.due.attempt))
        return Result(outcome=Outcome.SUCCEEDED)


@asynccontextmanager
async def delivering(transport, database, courier, **more):
    surplus = SurplusStore(database, Presence(database), rescue_after=timedelta(seconds=30))
    couriers = {Kind.QUEUE: courier}
    options = {"concurrency": 20, "waiting": 20, **more}
    deliverer = Deliverer(transport, attempt_store(database), surplus, couriers, Settings(), **options)
    stopping = asyncio.Event()
    task = asyncio.create_task(deliverer.run(stopping))
    try:
        yield deliverer
    finally:
        stopping.set()
        await task


async def publish(transport, database, subscriptions, *keys):
    """Record signals with these ordering keys, publish what is due, and return their ids."""
    await subscriptions.create(SubscriptionSpec(name="a", targets=(QUEUE,), ordered=True), secret=None)
    signals = await accept(database, *(Throw(name="a", ordering_key=key) for key in keys))
    await dispatch(transport, await record(database, *signals), timeout=SOON)
    return [signal.id for signal in signals]


async def all_delivered(deliveries, count=SIGNALS):
    async def are_delivered():
        return (await deliveries.ledger()).states[DeliveryState.DELIVERED] == count

    await eventually(are_delivered)


class Messages:
    """Counts what a transport publishes from now on."""

    def __init__(self, transport, monkeypatch):
        self.count = 0
        publish = transport.publish

        async def count(*args, **more):
            self.count += 1
            await publish(*args, **more)

        monkeypatch.setattr(transport, "publish", count)


async def test_one_message_stands_for_a_run(transport, database, subscriptions, deliveries, monkeypatch):
    courier = Courier()
    ids = await publish(transport, database, subscriptions, *"a" * SIGNALS)
    messages = Messages(transport, monkeypatch)
    async with delivering(transport, database, courier):
        await all_delivered(deliveries)
    assert courier.made == [(signal_id, 1) for signal_id in ids]
    assert messages.count == 0


async def test_a_run_that_is_long_enough_goes_on_with_a_message(
    transport, database, subscriptions, deliveries, monkeypatch
):
    monkeypatch.setattr(runs, "LONGEST", 0.0)
    courier = Courier()
    ids = await publish(transport, database, subscriptions, *"a" * SIGNALS)
    messages = Messages(transport, monkeypatch)
    async with delivering(transport, database, courier):
        await all_delivered(deliveries)
    assert courier.made == [(signal_id, 1) for signal_id in ids]
    assert messages.count == SIGNALS - 1


async def test_runs_take_turns_while_others_wait_for_places(embedded, database, subscriptions, deliveries):
    """There is one place, and each group has a message that waits for it."""
    courier = Courier()
    ids = await publish(embedded, database, subscriptions, *"abab")
    async with delivering(embedded, database, courier, concurrency=1):
        await all_delivered(deliveries, 4)
    made = [signal_id for signal_id, _ in courier.made]
    assert set(made[:2]) == set(ids[:2])


async def test_an_attempt_that_was_begun_without_an_answer_of_the_store_is_made_at_once(
    embedded, database, subscriptions, deliveries, monkeypatch
):
    """No message is left of it but that of the first delivery, which the deliverer still has."""
    courier, unanswered = Courier(), []
    async with delivering(embedded, database, courier) as deliverer:
        hand_on = deliverer._attempts.hand_on  # noqa: SLF001

        async def hand_on_unheard(ended):
            answer = await hand_on(ended)
            if len(unanswered) < 2:
                unanswered.append(ended.due.signal_id)
                raise StoreUnavailable("the link was lost")
            return answer

        monkeypatch.setattr(deliverer._attempts, "hand_on", hand_on_unheard)  # noqa: SLF001
        ids = await publish(embedded, database, subscriptions, *"a" * SIGNALS)
        await all_delivered(deliveries)
    assert [signal_id for signal_id, _ in courier.made] == ids
    assert [number for _, number in courier.made] == [1, 2, 2, *[1] * (SIGNALS - 3)]


async def test_a_redelivered_message_leaves_alone_whose_outcome_is_kept(
    embedded, database, subscriptions, deliveries, monkeypatch
):
    """The second delivery of the group has had its answer, which PostgreSQL refuses."""
    monkeypatch.setattr("workers.outcomes._PAUSES", (0.05,))
    await database.execute("ALTER TABLE attempts ADD CONSTRAINT newer CHECK (signal_id <> 3)")
    courier = Courier()
    async with delivering(embedded, database, courier) as deliverer:
        first, second, third = await publish(embedded, database, subscriptions, *"aaa")
        assert second == 3
        await eventually(lambda: f"{second}-1" in deliverer._outcomes.kept)  # noqa: SLF001
        message = due_message(DueAttempt(first, 1, 1))
        again = Received(**{one.name: getattr(message, one.name) for one in fields(message)}, tag=0, redelivered=True)
        assert await deliverer.handle(ATTEMPT, [again]) == [Settlement.ACK]
        await database.execute("ALTER TABLE attempts DROP CONSTRAINT newer")
        await all_delivered(deliveries, 3)
    assert courier.made == [(first, 1), (second, 1), (third, 1)]
