"""A deliverer that is there keeps the attempts that it is making; those of one that is gone are made again."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from broker.deliveries import DeliveryState, Outcome, Result
from broker.settings import Settings
from broker.store.deliveries.attempts import Claimed, UnderWay
from broker.store.deliveries.surplus import SurplusStore
from broker.subscriptions import SubscriptionSpec
from broker.targets import Kind
from broker.topology import ATTEMPT, TOPOLOGY
from broker.transport.rabbitmq import RabbitTransport
from tests.support.attempts import attempt_store, claim, finish
from tests.support.builders import QUEUE, RESCUE_AFTER, accept, ended, record
from tests.support.eventually import eventually
from tests.support.messaging import holds
from tests.support.proxy import proxy
from workers.deliverer import Deliverer
from workers.dispatch import dispatch


@pytest.fixture
async def due(subscriptions, database):
    await subscriptions.create(SubscriptionSpec(name="a", targets=(QUEUE,)), secret=None)
    (due,) = await record(database, *await accept(database, "a"))
    return due


@asynccontextmanager
async def present(database):
    """Yield the attempts of a deliverer that is there."""
    async with attempt_store(database) as attempts:
        await eventually(lambda: attempts.presence.id)
        yield attempts


@pytest.mark.slow
async def test_an_attempt_that_another_deliverer_is_making_is_left_to_it(due, database):
    async with present(database) as one, present(database) as other:
        await claim(one, due)
        assert await claim(other, due, redelivered=True) == [UnderWay()]
        (again,) = await claim(one, due, redelivered=True)
        assert again.due.attempt == 2, "its own, which it is not making any more"
        await finish(one, ended(again, DeliveryState.DELIVERED))
        assert await claim(other, due, redelivered=True) == [None]


async def test_an_attempt_that_another_deliverer_is_making_is_not_put_off(due, database, deliveries):
    async with present(database) as one, present(database) as other:
        await claim(one, due)
        surplus = SurplusStore(database, other.presence, rescue_after=RESCUE_AFTER)
        async with surplus:
            await surplus.put_off(due, redelivered=True)
        delivery = (await deliveries.get((due.signal_id, due.subscription_id))).delivery
        assert (delivery.state, delivery.attempt_count) == ("pending", 1)


@pytest.mark.slow
@pytest.mark.parametrize("state", [DeliveryState.DELIVERED, DeliveryState.PARKED, DeliveryState.DEAD])
async def test_an_attempt_that_has_ended_is_nobody_s(due, database, state):
    by = "SELECT begun_by FROM deliveries"
    async with present(database) as one:
        (claimed,) = await claim(one, due)
        assert await database.fetchval(by) == one.presence.id
        await finish(one, ended(claimed, state, pause=RESCUE_AFTER if state is DeliveryState.PARKED else None))
        assert await database.fetchval(by) is None


async def test_the_end_of_an_overtaken_attempt_leaves_the_one_that_overtook_it_to_its_deliverer(due, database):
    async with present(database) as one, present(database) as other:
        (late,) = await claim(one, due)
        await database.execute("UPDATE deliverers SET seen_at = '-infinity' WHERE id = $1", one.presence.id)
        (again,) = await claim(other, due, redelivered=True)
        await finish(one, ended(late, DeliveryState.PARKED, pause=RESCUE_AFTER))
        assert again.due.attempt == 2
        assert await database.fetchval("SELECT begun_by FROM deliveries") == other.presence.id


@pytest.mark.parametrize("stopped", [True, False])
async def test_an_attempt_of_a_deliverer_that_is_gone_is_made_again(due, database, stopped):
    """One that was killed cannot say that it goes; it is not seen any more."""
    async with present(database) as other:
        async with present(database) as one:
            await claim(one, due)
            if not stopped:
                await database.execute(
                    "UPDATE deliverers SET seen_at = now() - interval '4 s' WHERE id = $1", one.presence.id
                )
                (again,) = await claim(other, due, redelivered=True)
        if stopped:
            (again,) = await claim(other, due, redelivered=True)
        assert isinstance(again, Claimed)
        assert (again.again, again.due.attempt) == (True, 2)


@pytest.mark.slow
async def test_a_deliverer_that_was_forgotten_appears_again(database):
    async with present(database) as one:
        forgotten = one.presence.id
        await database.execute("DELETE FROM deliverers")
        await eventually(lambda: one.presence.id != forgotten)


class Slow:
    """Delivers once it may, and counts."""

    def __init__(self):
        self.may = asyncio.Event()
        self.calls = 0

    async def deliver(self, _, **__):
        self.calls += 1
        await self.may.wait()
        return Result(outcome=Outcome.SUCCEEDED)


@asynccontextmanager
async def delivering(transport, database, courier):
    """Run a deliverer, and yield the answers to its claims."""
    attempts, answers = attempt_store(database), []
    claiming = attempts.claim

    async def claim(due, **how):
        answers.append(await claiming(due, **how))
        return answers[-1]

    attempts.claim = claim
    surplus = SurplusStore(database, attempts.presence, rescue_after=RESCUE_AFTER)
    settings = Settings(drain_timeout=timedelta(seconds=1))
    couriers, stopping = {Kind.QUEUE: courier}, asyncio.Event()
    deliverer = Deliverer(transport, attempts, surplus, couriers, settings, queues=[ATTEMPT], concurrency=5, waiting=5)
    running = asyncio.create_task(deliverer.run(stopping))
    try:
        await eventually(lambda: attempts.presence.id)
        yield answers
    finally:
        stopping.set()
        await running


@pytest.mark.slow
async def test_after_a_lost_link_no_deliverer_repeats_what_another_one_is_still_attempting(
    rabbitmq_url, due, database, deliveries
):
    courier = Slow()
    async with proxy(rabbitmq_url) as node, RabbitTransport(node.url) as one, RabbitTransport(rabbitmq_url) as other:
        await other.declare(TOPOLOGY)
        async with delivering(one, database, courier):
            await dispatch(other, [due], timeout=timedelta(seconds=10))
            await eventually(lambda: courier.calls)
            async with delivering(other, database, courier) as answers:
                node.cut()
                await eventually(lambda: len(answers) > 2)
                assert set(answers) == {UnderWay()}
                courier.may.set()

                async def is_delivered():
                    details = await deliveries.get((due.signal_id, due.subscription_id))
                    return details.delivery.state is DeliveryState.DELIVERED

                await eventually(is_delivered)
                await eventually(lambda: answers[-1] is None)
        await holds(other, ATTEMPT, 0)
    assert courier.calls == 1
