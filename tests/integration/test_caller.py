"""Calls that are not made right after their attempts were claimed: what has happened meanwhile holds for them."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from ipaddress import ip_network

import pytest

from broker.access import ADMINISTRATOR
from broker.admission import Deferred, Denied
from broker.callbacks import Callbacks
from broker.deliveries import DeliveryState, Outcome, Reason
from broker.egress import Guard
from broker.secrets import SecretBox
from broker.store.administration.webhook_keys import WebhookKeyStore
from broker.store.deliveries.attempts import Claimed, Ended
from broker.store.deliveries.pausing import PausingStore
from broker.store.deliveries.surplus import route_of
from broker.store.subscriptions.permissions import PermissionStore
from broker.subscriptions import SubscriptionSpec
from broker.targets import Kind, WebhookTarget
from tests.support.attempts import claim
from tests.support.builders import RESCUE_AFTER, SECOND, accept, record
from tests.support.eventually import eventually
from tests.support.expiring import expire
from tests.support.product import SECRET_KEY
from tests.support.receiver import Answer, receiver
from workers.caller import Caller
from workers.calls import Calls
from workers.couriers.webhook import WebhookCourier
from workers.webhooks.client import WebhookClient
from workers.webhooks.permissions import Permissions

SPARE = Answer(status=503, headers={"Retry-After": "60"})


@pytest.fixture
def per_host():
    """Return how many calls are made at a host at a time."""
    return 1


@pytest.fixture
async def caller(database, attempts, per_host):
    secrets = SecretBox([SECRET_KEY])
    async with WebhookClient(Guard([ip_network("127.0.0.0/8")]), concurrency=10) as client:
        permissions = Permissions(client, PermissionStore(database), Callbacks(secrets, ""))
        courier = WebhookCourier(client, secrets, WebhookKeyStore(database, secrets), permissions)
        yield Caller(
            attempts, {Kind.WEBHOOK: courier}, calls=Calls(per_host, patience=60, at_once=0), timeout=30 * SECOND
        )


@pytest.fixture
def owe(database, subscriptions):
    """Call it to return so many due attempts of a new subscription with these URLs as its steps."""

    async def owe(count, *urls, **spec):
        targets = tuple(WebhookTarget(url=url) for url in urls)
        await subscriptions.create(SubscriptionSpec(name="a", targets=targets, **spec), secret=None)
        return await record(database, *await accept(database, *"a" * count))

    return owe


@pytest.fixture
def make(caller, attempts):
    """Call it to make a claimed attempt and store how it ended."""

    async def make(claimed):
        async with AsyncExitStack() as until_stored:
            answer = await caller.make(claimed, route_of(claimed.subscription), until_stored=until_stored)
            if isinstance(answer, Ended):
                await attempts.finish(answer)
        return answer

    return make


@pytest.fixture
def standing(deliveries):
    async def standing(due):
        delivery = (await deliveries.get((due.signal_id, due.subscription_id))).delivery
        return delivery.state, delivery.reason, delivery.attempt_count

    return standing


@pytest.fixture
async def elsewhere():
    """Return a receiver at another host."""
    async with receiver() as elsewhere:
        yield elsewhere


def paths(webhooks):
    return [request.path for request in webhooks.requests]


@pytest.fixture
def change(database, subscriptions):
    """Call it to do to a due attempt's subscription, or its signal, what may happen to them."""

    async def change(what, due, elsewhere):
        match what:
            case "paused":
                await PausingStore(database).pause(due.subscription_id)
            case "resumed":
                await PausingStore(database).resume(due.subscription_id, per_second=None)
            case "disabled":
                await database.execute("UPDATE subscriptions SET disabled_because = 'it answered 410'")
            case "deleted":
                await subscriptions.delete(due.subscription_id)
            case "expired":
                await expire(database, due.signal_id)
            case "cancelled":
                await database.execute("UPDATE deliveries SET state = 'cancelled' WHERE signal_id = $1", due.signal_id)
            case "down" | "half open":
                await database.execute(
                    "INSERT INTO circuits (key, subscription_id, address, failures, openings, retry_at)"
                    " VALUES (circuit_key($1, $2), $1, $2, 20, 1, now() + make_interval(secs => $3))",
                    due.subscription_id,
                    elsewhere,
                    60 if what == "down" else 0,
                )
            case "retargeted":
                await subscriptions.change(
                    due.subscription_id,
                    lambda spec: replace(spec, targets=(*spec.targets[:-1], WebhookTarget(url=elsewhere))),
                    secret=b"",
                    by=ADMINISTRATOR,
                )

    return change


@pytest.fixture
async def waiting(owe, attempts, make, webhooks):
    """Call it to return the attempt that waits for its turn, its task, and what lets the call before it end."""
    async with asyncio.TaskGroup() as group:

        async def waiting(answer, **spec):
            over = asyncio.Event()
            first, second = await owe(2, webhooks.answer("/hook", replace(answer, until=over), Answer()), **spec)
            calling, claimed = await claim(attempts, first, second)
            group.create_task(make(calling))
            await eventually(lambda: webhooks.requests)
            task = group.create_task(make(claimed))
            await asyncio.sleep(0)
            return second, task, over

        yield waiting


ANSWERS = {
    "paused": Deferred(Reason.PAUSED),
    "disabled": Denied("the subscription is disabled: it answered 410"),
    "expired": None,
    "cancelled": None,
}


@pytest.mark.slow
@pytest.mark.parametrize("what", ANSWERS)
async def test_an_attempt_whose_turn_comes_too_late_is_not_made(waiting, change, deliveries, webhooks, what):
    due, task, over = await waiting(Answer())
    await change(what, due, webhooks.url())
    over.set()
    assert await task == ANSWERS[what]
    assert await deliveries.attempts((due.signal_id, due.subscription_id)) == []
    assert paths(webhooks) == ["/hook"]


@pytest.fixture
def waiting_for_moment(owe, attempts, database):
    """Call it to return an attempt that waits for its reservation, its moment, and the task that claims it."""

    async def waiting_for_moment():
        (due,) = await owe(1, "https://example.com/hook", max_per_second=1)
        moment = await database.fetchval("SELECT now() + interval '0.6 seconds'")
        task = asyncio.create_task(attempts.claim(replace(due, at=moment)))
        await eventually(lambda: database.fetchval("SELECT begun_at IS NOT NULL FROM deliveries"))
        return due, moment, task

    return waiting_for_moment


@pytest.mark.slow
@pytest.mark.parametrize("what", ANSWERS)
async def test_an_attempt_that_waits_for_its_reservation_is_not_made_if_it_may_not_be_any_more(
    waiting_for_moment, change, deliveries, what
):
    due, _, task = await waiting_for_moment()
    await change(what, due, "")
    assert await task == ANSWERS[what]
    assert await deliveries.attempts((due.signal_id, due.subscription_id)) == []


@pytest.mark.slow
@pytest.mark.parametrize("has_one", [True, False])
async def test_an_attempt_that_waited_for_its_reservation_takes_no_other_one(
    owe, attempts, database, monkeypatch, has_one
):
    """It may have come with one, or got the next one when it was claimed. The machine may be busy at its moment."""
    monkeypatch.setattr("broker.limits.LATENESS", 60 * SECOND)
    (due,) = await owe(1, "https://example.com/hook", max_per_second=1)
    moment = await database.fetchval("UPDATE gates SET slot_at = now() + interval '0.28 seconds' RETURNING slot_at")
    claimed = await attempts.claim(replace(due, at=moment) if has_one else due)
    assert isinstance(claimed, Claimed)
    assert claimed.admitted.at == moment
    reserved = await database.fetchval("SELECT slot_at FROM gates")
    assert reserved == (moment if has_one else moment + SECOND)


async def test_an_attempt_of_a_deleted_subscription_is_not_made(waiting, change, webhooks):
    due, task, over = await waiting(Answer())
    await change("deleted", due, webhooks.url())
    over.set()
    answer = await task
    assert isinstance(answer, Claimed)
    assert answer.subscription.until is not None
    assert paths(webhooks) == ["/hook"]


@pytest.mark.slow
async def test_who_waited_for_the_turn_of_a_call_spares_the_target_that_it_was_told_to(waiting, standing, webhooks):
    due, task, over = await waiting(SPARE)
    over.set()
    answer = await task
    assert (type(answer), answer.reason) == (Deferred, Reason.THROTTLED)
    assert await standing(due) == (DeliveryState.PARKED, Reason.THROTTLED, 0)
    assert paths(webhooks) == ["/hook"]


async def test_an_attempt_whose_target_was_changed_while_it_waited_goes_to_the_new_one(
    waiting, change, webhooks, elsewhere
):
    due, task, over = await waiting(Answer())
    await change("retargeted", due, elsewhere.url("/new"))
    over.set()
    assert (await task).state is DeliveryState.DELIVERED
    assert (paths(webhooks), paths(elsewhere)) == (["/hook"], ["/new"])


async def test_an_attempt_that_waited_is_made_and_counted_once(waiting, deliveries, webhooks):
    due, task, over = await waiting(Answer(), max_in_flight=2)
    over.set()
    assert (await task).state is DeliveryState.DELIVERED
    listed = await deliveries.attempts((due.signal_id, due.subscription_id))
    assert [(one.number, one.result.outcome) for one in listed] == [(1, Outcome.SUCCEEDED)]
    assert paths(webhooks) == ["/hook"] * 2


@pytest.fixture
async def between_steps(owe, attempts, make, webhooks):
    """Call it to return an attempt in its first step of two, its task, and what lets the step end."""
    async with asyncio.TaskGroup() as group:

        async def between_steps(**spec):
            over = asyncio.Event()
            urls = webhooks.answer("/first", Answer(until=over)), webhooks.url("/second")
            (due,) = await owe(1, *urls, **spec)
            (claimed,) = await claim(attempts, due)
            task = group.create_task(make(claimed))
            await eventually(lambda: webhooks.requests)
            return due, task, over

        yield between_steps


@pytest.fixture
def next_answer(attempts, deliveries):
    """Call it to release a delivery that is due at once, and return the answer to the claim of its next attempt."""

    async def next_answer():
        (due,) = await deliveries.release(limit=10, rescue_after=RESCUE_AFTER)
        return await attempts.claim(due)

    return next_answer


@pytest.mark.slow
@pytest.mark.parametrize("what", ["paused", "disabled", "expired"])
async def test_a_later_step_is_not_made_when_an_attempt_may_not_be(between_steps, change, next_answer, webhooks, what):
    due, task, over = await between_steps(max_in_flight=1)
    await change(what, due, webhooks.url())
    over.set()
    ended = await task
    assert (ended.state, ended.pause, ended.uncounted) == (DeliveryState.PARKED, 0 * SECOND, True)
    assert await next_answer() == ANSWERS[what]
    assert paths(webhooks) == ["/first"]


@pytest.mark.parametrize("what", ["deleted", "cancelled"])
async def test_a_delivery_that_has_ended_between_its_steps_stays_so(between_steps, change, standing, webhooks, what):
    due, task, over = await between_steps()
    await change(what, due, webhooks.url())
    await change("cancelled", due, webhooks.url())
    over.set()
    await task
    assert (await standing(due))[0] is DeliveryState.CANCELLED
    assert paths(webhooks) == ["/first"]


async def test_an_attempt_that_ends_between_its_steps_is_listed_with_those_it_made_and_does_not_count(
    between_steps, change, next_answer, make, deliveries
):
    due, task, over = await between_steps(schedule=())
    await change("paused", due, None)
    over.set()
    await task
    await change("resumed", due, None)
    claimed = await next_answer()
    assert (claimed.due.attempt, claimed.uncounted, claimed.step) == (2, 1, 1)
    assert (await make(claimed)).state is DeliveryState.DELIVERED
    listed = await deliveries.attempts((due.signal_id, due.subscription_id))
    assert [(one.result.outcome, [step.number for step in one.steps]) for one in listed] == [
        (Outcome.SUCCEEDED, [1]),
        (Outcome.SUCCEEDED, [2]),
    ]


async def test_a_later_step_goes_to_the_target_that_it_has_by_then(between_steps, change, webhooks, elsewhere):
    due, task, over = await between_steps()
    await change("retargeted", due, elsewhere.url("/new"))
    over.set()
    assert (await task).state is DeliveryState.DELIVERED
    assert (paths(webhooks), paths(elsewhere)) == (["/first"], ["/new"])


async def test_a_later_step_is_not_made_if_there_is_none_any_more(between_steps, subscriptions, next_answer, webhooks):
    due, task, over = await between_steps()
    await subscriptions.change(
        due.subscription_id, lambda spec: replace(spec, targets=spec.targets[:1]), secret=b"", by=ADMINISTRATOR
    )
    over.set()
    assert (await task).state is DeliveryState.PARKED
    assert (await next_answer()).step == 0, "as of every delivery with more steps done than there are"
    assert paths(webhooks) == ["/first"]


async def test_a_later_step_is_not_made_while_its_target_seems_to_be_down(between_steps, change, next_answer, webhooks):
    due, task, over = await between_steps()
    await change("down", due, webhooks.url("/second"))
    over.set()
    await task
    answer = await next_answer()
    assert (type(answer), answer.reason) == (Deferred, Reason.CIRCUIT)
    assert paths(webhooks) == ["/first"]


@pytest.mark.slow
@pytest.mark.parametrize("per_host", [10])
async def test_one_later_step_at_a_time_tries_a_target_that_seemed_to_be_down(owe, attempts, make, change, webhooks):
    answered = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        urls = webhooks.url("/first"), webhooks.answer("/second", Answer(until=answered))
        due_attempts = await owe(4, *urls)
        await change("half open", due_attempts[0], urls[1])
        trial, *others, last = await claim(attempts, *due_attempts)
        trying = group.create_task(make(trial))
        await eventually(lambda: "/second" in paths(webhooks))
        for claimed in others:
            assert (await make(claimed)).state is DeliveryState.PARKED
        assert paths(webhooks).count("/second") == 1
        answered.set()
        assert (await trying).state is DeliveryState.DELIVERED
        assert [one.probe for one in (await make(last)).later] == [False], "the circuit is closed"


@pytest.fixture
def asking(caller, attempts):
    """Call it to make an attempt whose target asks for a pause; leaving stores that."""

    @asynccontextmanager
    async def asking(claimed):
        async with AsyncExitStack() as until_stored:
            ended = await caller.make(claimed, route_of(claimed.subscription), until_stored=until_stored)
            assert ended.result.outcome is Outcome.THROTTLED
            yield
            await attempts.finish(ended)

    return asking


@pytest.mark.parametrize("per_host", [10])
async def test_a_target_that_has_just_asked_for_a_pause_gets_no_request_before_that_is_stored(
    owe, attempts, make, asking, webhooks
):
    """There is room at the host, and the attempts were claimed before."""
    asked, *others = await claim(attempts, *await owe(3, webhooks.answer("/hook", SPARE, Answer())))
    async with asking(asked):
        tasks = [asyncio.create_task(make(one)) for one in others]
        await asyncio.wait(tasks, timeout=0.3)
        assert not any(task.done() for task in tasks)
    assert [await task for task in tasks] == [Deferred(Reason.THROTTLED)] * 2
    assert paths(webhooks) == ["/hook"]


@pytest.mark.parametrize("per_host", [10])
async def test_a_later_step_waits_too_until_it_is_stored_that_its_target_asked_for_a_pause(
    owe, attempts, make, asking, webhooks
):
    urls = webhooks.url("/first"), webhooks.answer("/second", SPARE, Answer())
    asked, other = await claim(attempts, *await owe(2, *urls))
    async with asking(asked):
        task = asyncio.create_task(make(other))
        await eventually(lambda: paths(webhooks).count("/first") == 2)
    assert (await task).state is DeliveryState.PARKED
    assert paths(webhooks).count("/second") == 1


@pytest.mark.parametrize("per_host", [10])
async def test_a_pause_that_one_subscription_was_asked_for_holds_up_no_other(owe, attempts, make, asking, webhooks):
    url = webhooks.answer("/hook", SPARE, Answer())
    (asked,) = await claim(attempts, *await owe(1, url))
    *_, other = await claim(attempts, *await owe(1, url))
    async with asking(asked):
        assert (await make(other)).state is DeliveryState.DELIVERED
