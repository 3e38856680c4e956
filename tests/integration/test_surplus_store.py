"""The store's half of shares: what is put off waits uncounted, and is recalled the oldest first."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from broker.deliveries import DueAttempt, Outcome
from broker.store.deliveries.admission import lock_admission
from broker.store.deliveries.attempts import Claimed
from broker.store.deliveries.presence import Presence
from broker.store.deliveries.surplus import Recalled, Route, SurplusStore, _Sql
from broker.subscriptions import SubscriptionSpec
from broker.targets import HandlerTarget, WebhookTarget
from tests.support.attempts import claim
from tests.support.builders import QUEUE, RESCUE_AFTER, accept, record
from workers.routes import Routes


@pytest.fixture
async def surplus(database):
    async with SurplusStore(database, Presence(database), rescue_after=RESCUE_AFTER) as surplus:
        yield surplus


@pytest.fixture
def owe(database, subscriptions):
    """Call it to return so many due attempts of a new subscription."""

    async def owe(count, *targets, **limits):
        name = f"sig.{len((await subscriptions.page()).items)}"
        await subscriptions.create(SubscriptionSpec(name=name, targets=targets or (QUEUE,), **limits), secret=None)
        return await record(database, *await accept(database, *[name] * count))

    return owe


async def put_off(surplus, *due_attempts, **how):
    await asyncio.gather(*(surplus.put_off(due, **how) for due in due_attempts))


async def standing(deliveries, due):
    delivery = (await deliveries.get((due.signal_id, due.subscription_id))).delivery
    return delivery.state, delivery.reason, delivery.due_at, delivery.attempt_count


async def test_a_delivery_that_is_put_off_waits_and_has_not_been_attempted(owe, surplus, deliveries, attempts):
    (due,) = await owe(1)
    await put_off(surplus, due)
    assert await standing(deliveries, due) == ("parked", "share", None, 0)
    assert await claim(attempts, due) == [None]
    assert await deliveries.release(limit=10, rescue_after=RESCUE_AFTER) == [], "it waits for no moment"


async def test_the_oldest_of_each_subscription_are_recalled(owe, surplus, attempts):
    first, second = await owe(3), await owe(2)
    await put_off(surplus, *reversed(first + second))
    keys = first[0].subscription_id, second[0].subscription_id
    assert await surplus.find([""], limit=10) == dict.fromkeys(keys[:2], ("", None))
    recalled = await surplus.recall({keys[0]: 2, keys[1]: 5})
    assert recalled == Recalled([first[0], first[1], second[0], second[1]], done=frozenset({keys[1]}))
    assert await surplus.find([""], limit=10) == {keys[0]: ("", None)}
    assert all(isinstance(one, Claimed) for one in await claim(attempts, first[0], second[0]))
    assert (await surplus.recall({keys[0]: 2})).due_attempts == [first[2]]
    assert await surplus.find([""], limit=10) == {}


async def test_an_attempt_that_was_begun_is_not_put_off(owe, surplus, deliveries, attempts):
    (due,) = await owe(1)
    await attempts.claim(due)
    await put_off(surplus, due)
    assert (await standing(deliveries, due))[0] == "pending"
    assert (await surplus.recall({due.subscription_id: 1})).due_attempts == []


async def test_an_attempt_that_made_no_request_did_not_take_place(owe, surplus, deliveries, attempts):
    (due,) = await owe(1)
    await attempts.take_back(await attempts.claim(due))
    await put_off(surplus, due)
    assert await standing(deliveries, due) == ("parked", "share", None, 0)
    assert (await surplus.recall({due.subscription_id: 1})).due_attempts == [due]
    assert isinstance(await attempts.claim(due), Claimed)


@pytest.mark.parametrize("crashes", [1, 2])
async def test_an_attempt_whose_deliverer_is_gone_was_interrupted(owe, surplus, deliveries, attempts, crashes):
    (due,) = await owe(1)
    await attempts.claim(due)
    for _ in range(1, crashes):
        assert isinstance(await attempts.claim(due, redelivered=True), Claimed)
    await put_off(surplus, due, redelivered=True)
    following = replace(due, attempt=crashes + 1)
    assert (await surplus.recall({due.subscription_id: 1})).due_attempts == [following]
    assert isinstance(await attempts.claim(following), Claimed)
    listed = await deliveries.attempts((due.signal_id, due.subscription_id))
    assert [(one.number, one.result.outcome) for one in listed] == [
        (number, Outcome.INTERRUPTED) for number in range(1, crashes + 1)
    ]


async def test_what_was_begun_for_another_message_meanwhile_is_not_put_off(owe, surplus, deliveries, attempts):
    (due,) = await owe(1)
    claimed = await attempts.claim(due)
    assert isinstance(await attempts.claim(due, redelivered=True), Claimed)
    await attempts.take_back(claimed)
    await put_off(surplus, due)
    assert (await standing(deliveries, due))[::3] == ("pending", 2)


async def test_what_is_put_off_gives_its_concurrency_slot_back(owe, surplus, attempts):
    first, second = await owe(2, max_in_flight=1)
    claimed, _ = await claim(attempts, first, second)
    assert claimed.admitted.slot
    await attempts.take_back(claimed)
    await put_off(surplus, first)
    assert (await surplus.recall({first.subscription_id: 1})).due_attempts == [first]
    assert isinstance(await attempts.claim(first), Claimed)


async def test_what_another_session_decides_on_is_recalled_later(owe, surplus, database):
    (due,) = await owe(1)
    await put_off(surplus, due)
    async with database.transaction() as session:
        await lock_admission(session, [due.subscription_id])
        assert await surplus.recall({due.subscription_id: 1}) == Recalled((), frozenset())
    assert (await surplus.recall({due.subscription_id: 1})).due_attempts == [due]


@pytest.mark.slow
async def test_what_is_put_off_during_a_recall_is_not_forgotten(owe, surplus):
    due_attempts = await owe(40)
    key = due_attempts[0].subscription_id
    await put_off(surplus, *due_attempts[:20])
    recalled = await asyncio.gather(surplus.recall({key: 20}), put_off(surplus, *due_attempts[20:]))
    left = await surplus.recall({key: 40})
    if await surplus.find([""], limit=10):
        left = await surplus.recall({key: 40})
    assert {*recalled[0].due_attempts, *left.due_attempts} == {*due_attempts}


async def test_the_surplus_of_a_handler_is_found_by_the_workers_of_its_app(owe, surplus):
    (due,) = await owe(1, HandlerTarget(app="billing", handler="invoice"))
    await put_off(surplus, due)
    assert await surplus.find([""], limit=10) == {}
    assert await surplus.find(["billing", "other"], limit=10) == {due.subscription_id: ("billing", None)}
    (recalled,) = (await surplus.recall({due.subscription_id: 1})).due_attempts
    assert recalled.queue == due.queue == "deliveries.attempt.handlers.billing"


@pytest.mark.parametrize(
    ("targets", "hosts"),
    [
        ([QUEUE], ()),
        ([WebhookTarget(url="https://Example.com/a?b=c")], ("https://example.com:443",)),
        ([WebhookTarget(url="http://[::1]:8080/{{payload.x}}")], ("http://::1:8080",)),
        (
            [
                WebhookTarget(url="http://a/1", description="x"),
                QUEUE,
                WebhookTarget(url="http://b/"),
                WebhookTarget(url="http://a/2"),
            ],
            ("http://a:80", "http://b:80"),
        ),
    ],
)
async def test_a_route_has_the_tenant_and_every_host_that_an_attempt_may_call(subscriptions, surplus, targets, hosts):
    spec = SubscriptionSpec(name="a", targets=tuple(targets), tenant_id="acme")
    subscription = await subscriptions.create(spec, secret=None)
    assert await surplus.route(subscription.id) == Route(("acme",), hosts, subscription.id)


async def test_a_subscription_that_was_forgotten_has_a_route_all_the_same(surplus):
    assert await surplus.route(123) == Route(None, (), 123)
    await put_off(surplus, DueAttempt(1, 123, 1))


async def test_a_route_is_believed_until_an_attempt_or_the_store_says_otherwise(database, subscriptions, surplus):
    class Clock:
        now = 0.0

        def __call__(self):
            return self.now

    async def move(url):
        await database.execute(f"UPDATE subscriptions SET address = '{url}'")

    clock = Clock()
    routes = Routes(surplus, clock=clock)
    spec = SubscriptionSpec(name="a", targets=(WebhookTarget(url="http://a/"),))
    subscription = await subscriptions.create(spec, secret=None)

    async def hosts(**how):
        return (await routes.of(subscription.id, **how)).hosts

    assert await hosts() == ("http://a:80",)
    await move("http://b/")
    clock.now = 59.0
    assert await hosts() == ("http://a:80",)
    assert await hosts(fresh=5.0) == ("http://b:80",)
    await move("http://c/")
    clock.now += 61.0
    assert await hosts() == ("http://c:80",)
    moved = replace(subscription, spec=replace(spec, targets=(WebhookTarget(url="http://d/"),)))
    routes.note(moved)
    assert await hosts() == ("http://d:80",)


@pytest.mark.slow
async def test_who_has_surplus_is_found_without_a_look_at_the_others(database, subscriptions):
    """Right after a signal to very many: PostgreSQL has no statistics of these deliveries."""
    for _ in range(300):
        await subscriptions.create(SubscriptionSpec(name="crowd", targets=(QUEUE,)), secret=None)
    await record(database, *await accept(database, "crowd"))
    await database.execute("UPDATE deliveries SET state = 'parked', reason = 'share', due_at = NULL")
    ids = [row["id"] for row in await database.fetch("SELECT id FROM subscriptions")]
    plan = await database.fetch(f"EXPLAIN (ANALYZE) {_Sql.unmark.sql}", ids)
    assert not any("due_at_idx" in row["QUERY PLAN"] for row in plan), plan
    assert sum("Rows Removed by Filter" in row["QUERY PLAN"] for row in plan) <= 1, plan
