"""Receivers are not called again for what is known or under way, whatever happens behind the deliverer."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from tests.support.eventually import eventually
from tests.support.product import client_of
from tests.support.receiver import Answer, receiver
from tests.support.throwing import subscribe, throw
from tests.support.waiting import logged

OVERDUE_AFTER = 9
"""Seconds after which every attempt is overdue: the subscription's timeout, the stack's `RESCUE_AFTER_SECONDS`, and one
more. Nothing that a test could wait for happens meanwhile, since PostgreSQL is away."""

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


async def under_way(client, webhooks, path, *, count, after, timeout):
    """Throw *count* signals to a webhook that answers after so many seconds; return once all of them are under way.

    The *timeout* leaves time for a busy machine: an attempt that is timed out is made again, and rightly.
    """
    name = path.removeprefix("/")
    url = webhooks.answer(path, Answer(after=after))
    subscription = await subscribe(client, name, url, timeoutSeconds=timeout)
    await asyncio.gather(*(throw(client, name) for _ in range(count)))
    await eventually(lambda: len(calls(webhooks, path)) >= count)
    return subscription


def calls(webhooks, path):
    return Counter(request.headers["webhook-id"] for request in webhooks.requests if request.path == path)


async def kept(deliverer, *, at_least=0):
    """Return the lines of its log about outcomes that it keeps, once there are so many."""

    def lines_of(lines):
        return [line for line in lines if line["event"] == "outcome.kept"]

    return lines_of(await logged(deliverer.log, lambda lines: len(lines_of(lines)) >= at_least))


async def all_delivered(client, subscription, count):
    async def check():
        status, _, books = await client.request("GET", f"/v1/ledger?subscriptionId={subscription['id']}")
        return status == 200 and books["deliveries"]["delivered"] == count

    await eventually(check, within=60)


async def test_an_outcome_that_is_known_survives_a_crash_of_postgresql(stack, postgres):
    """PostgreSQL stays away until every delivery is overdue: the outcomes win over the rescue."""
    async with client_of(stack.processes["gateway"].url) as client, receiver() as webhooks:
        subscription = await under_way(client, webhooks, "/crash", count=50, after=2, timeout=6)
        postgres.crash()
        await asyncio.sleep(OVERDUE_AFTER)
        postgres.start()
        await all_delivered(client, subscription, 50)
        assert set(calls(webhooks, "/crash").values()) == {1}


async def test_an_attempt_under_way_is_not_begun_again_when_links_are_lost(stack, rabbitmq):
    async with client_of(stack.processes["gateway"].url) as client, receiver() as webhooks:
        subscription = await under_way(client, webhooks, "/links", count=3, after=5, timeout=20)
        for _ in range(3):
            rabbitmq.close_connections()
            await eventually(stack.ready, within=10)
        await all_delivered(client, subscription, 3)
        assert set(calls(webhooks, "/links").values()) == {1}


async def test_an_outcome_that_is_known_is_recorded_by_a_deliverer_that_is_told_to_end(stack, postgres):
    async with client_of(stack.processes["gateway"].url) as client, receiver() as webhooks:
        deliverer = stack.processes["deliverer"]
        before = len(await kept(deliverer))
        subscription = await under_way(client, webhooks, "/drain", count=5, after=1, timeout=20)
        postgres.crash()
        stopping = asyncio.create_task(deliverer.stop())
        await kept(deliverer, at_least=before + 5)
        postgres.start()
        assert await stopping == 0
        await deliverer.start()
        await all_delivered(client, subscription, 5)
        assert set(calls(webhooks, "/drain").values()) == {1}
