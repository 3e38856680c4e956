"""Leases where not everything is as usual: without notifications, after a crash, and beside other versions."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest
from structlog.testing import capture_logs

from broker.access import ADMINISTRATOR, digest
from broker.deliveries import DeliveryState, Outcome, Result
from broker.errors import InvalidField
from broker.operations.leases import Leasing, Sought
from broker.signals import Throw
from broker.store.deliveries.leasable import LeasableStore
from broker.store.deliveries.leases import LeaseStore
from broker.store.deliveries.presence import Presence
from broker.store.deliveries.surplus import SurplusStore
from broker.store.postgres.database import Database
from broker.subscriptions import SubscriptionSpec
from broker.targets import PullTarget
from broker.topology import LEASED, is_leased
from tests.support.builders import RESCUE_AFTER, accept, record
from tests.support.eventually import eventually
from tests.support.pooler import deaf_pooler
from workers.dispatch import dispatch
from workers.lease_keeper import LeaseKeeper

MINUTE = timedelta(minutes=1)
DONE = Result(outcome=Outcome.SUCCEEDED)


@pytest.fixture(autouse=True)
def notifications_alone(monkeypatch):
    """Let nobody be helped by the look for what no notification told."""
    monkeypatch.setattr("broker.operations.leases._LOOK_EVERY", 3600)


@pytest.fixture
async def pull(subscriptions):
    """Return a subscription to signals named `a` with a pull target."""
    return await subscriptions.create(SubscriptionSpec(name="a", targets=(PullTarget(),)), secret=None)


class Leasable(LeasableStore):
    """Counts how often it was looked for deliveries."""

    looks = 0

    async def oldest(self, *args, **kwargs):
        found = await super().oldest(*args, **kwargs)
        self.looks += 1
        return found


@pytest.fixture
def leases(database):
    return LeaseStore(database, rescue_after=RESCUE_AFTER)


@pytest.fixture
def leasable(database):
    return Leasable(database)


@pytest.fixture
def keeper(database, leases):
    return LeaseKeeper(leases, SurplusStore(database, Presence(database), rescue_after=RESCUE_AFTER))


@pytest.fixture
def lease(leases, pull):
    """Call it to lease so many deliveries."""

    async def lease(most=10, duration=MINUTE):
        return (await leases.lease(pull.id, most=most, duration=duration, worker=None)).leases

    return lease


def wait(leasing, *subscriptions, goes_on=True):
    """Return the task of a caller who waits for a delivery, and *goes_on* once there may be one."""

    async def may_go_on():
        return goes_on

    durations = {subscription.id: MINUTE for subscription in subscriptions}
    return asyncio.create_task(
        leasing.lease(Sought.of(durations), most=1, wait=MINUTE, worker=None, may_go_on=may_go_on)
    )


@pytest.fixture
def listening(leases, leasable):
    """Call it to get the task of a caller who waits, and has looked once more since its process listens."""

    async def listening(subscription):
        task = wait(Leasing(leases, leasable), subscription)
        looks = leasable.looks
        await eventually(lambda: leasable.looks >= looks + 2)
        return task

    return listening


@pytest.mark.slow
async def test_who_waits_behind_a_pooler_that_swallows_notifications_gets_a_delivery_all_the_same(
    database, database_url, pull, monkeypatch
):
    monkeypatch.setattr("broker.operations.leases._LOOK_EVERY", 0.1)
    async with deaf_pooler(database_url) as url, Database(url) as deaf:
        waiting = wait(Leasing(LeaseStore(deaf, rescue_after=RESCUE_AFTER), LeasableStore(deaf)), pull)
        await record(database, *await accept(database, "a"))
        assert len(await waiting) == 1


async def test_who_waits_is_let_go_when_the_process_stops(leases, leasable, pull):
    leasing = Leasing(leases, leasable)
    waiting = [wait(leasing, pull) for _ in range(3)]
    await eventually(lambda: leasable.looks >= 3)
    leasing.end()
    async with asyncio.timeout(MINUTE.total_seconds() / 2):
        assert await asyncio.gather(*waiting) == [(), (), ()]


async def test_who_waits_for_several_subscriptions_leaves_to_others_what_is_more_than_that(
    database, subscriptions, leases, leasable, pull
):
    other = await subscriptions.create(SubscriptionSpec(name="b", targets=(PullTarget(),)), secret=None)
    leasing = Leasing(leases, leasable)
    waiting = wait(leasing, pull, other), wait(leasing, other)
    await eventually(lambda: leasing.waiting == 2)
    await record(database, *await accept(database, "a", "b"))
    async with asyncio.timeout(MINUTE.total_seconds() / 2):
        leased = [one.claimed.subscription.id for [one] in await asyncio.gather(*waiting)]
    assert leased == [pull.id, other.id]
    assert leasing.waiting == 0


@pytest.mark.slow
async def test_whoever_waits_is_told_that_a_lease_has_freed_a_slot(database, subscriptions, leases, listening):
    spec = SubscriptionSpec(name="b", targets=(PullTarget(),), max_in_flight=1)
    limited = await subscriptions.create(spec, secret=None)
    await record(database, *await accept(database, "b", "b"))
    [lease] = (await leases.lease(limited.id, most=5, duration=MINUTE, worker=None)).leases
    waiting = await listening(limited)
    await leases.end([digest(lease.token)], DONE, by=ADMINISTRATOR)
    assert len(await waiting) == 1


@pytest.mark.slow
async def test_whoever_waits_is_told_of_a_resumption_and_of_a_retry(  # noqa: PLR0917  (what it is about)
    database, leases, listening, pull, pausing, deliveries
):
    await record(database, *await accept(database, "a"))
    await pausing.pause(pull.id)
    waiting = await listening(pull)
    await pausing.resume(pull.id, per_second=None)
    [lease] = await waiting
    waiting = await listening(pull)
    failed = Result(outcome=Outcome.REFUSED, retry_after=timedelta(0))
    await leases.end([digest(lease.token)], failed, by=ADMINISTRATOR)
    await database.execute("UPDATE deliveries SET due_at = now()")
    await deliveries.release(limit=1, rescue_after=RESCUE_AFTER)
    assert [one.claimed.due.attempt for one in await waiting] == [2]


@pytest.mark.slow
async def test_those_who_wait_are_served_in_turn_and_nobody_is_left_out(database, leases, leasable, pull):
    """One notification tells of all deliveries of a recording."""
    leasing = Leasing(leases, leasable)
    waiting = [wait(leasing, pull) for _ in range(20)]
    await record(database, *await accept(database, *["a"] * 20))
    assert [len(leased) for leased in await asyncio.gather(*waiting)] == [1] * 20


async def test_a_caller_who_has_gone_gets_nothing(database, leases, leasable, pull, lease):
    gone = wait(Leasing(leases, leasable), pull, goes_on=False)
    await record(database, *await accept(database, "a"))
    assert await gone == ()
    assert len(await lease()) == 1


async def test_no_message_is_published_for_what_is_leased(database, embedded, pull):
    due_attempts = await record(database, *await accept(database, "a"))
    assert [(due.subscription_id, is_leased(due.queue)) for due in due_attempts] == [(pull.id, True)]
    with capture_logs() as logs:
        await dispatch(embedded, due_attempts, timeout=MINUTE)
    assert logs == [], "it would tell that no queue takes them"


@pytest.mark.slow
async def test_a_lease_that_lapses_frees_its_slot_and_is_forgotten_an_hour_later(
    database, subscriptions, leases, keeper, deliveries
):
    spec = SubscriptionSpec(name="b", targets=(PullTarget(),), max_in_flight=1, schedule=())
    limited = await subscriptions.create(spec, secret=None)
    signal, another = await accept(database, "b", "b")
    await record(database, signal, another)
    first = await leases.lease(limited.id, most=5, duration=timedelta(0), worker=None)
    assert len(first.leases) == 1
    assert (await leases.lease(limited.id, most=5, duration=MINUTE, worker=None)).leases == []
    assert await keeper.end_lapsed() == 1
    assert await keeper.end_lapsed() == 0
    assert (await deliveries.get((signal.id, limited.id))).delivery.state is DeliveryState.DEAD
    assert len((await leases.lease(limited.id, most=5, duration=MINUTE, worker=None)).leases) == 1
    assert await keeper.forget() == 0
    await database.execute("UPDATE leases SET until = until - interval '2 hours'")
    assert await keeper.forget() == 1


@pytest.mark.slow
async def test_two_schedulers_end_a_lease_once(database, leases, lease, deliveries):
    await record(database, *await accept(database, *["a"] * 30))
    await lease(most=30, duration=timedelta(0))
    swept = await asyncio.gather(*(leases.end_lapsed(limit=20) for _ in range(4)))
    swept.append(await leases.end_lapsed(limit=20))
    assert sum(one.looked for one in swept) == 30
    assert await database.fetchval("SELECT count(*) FROM attempts WHERE outcome = 'timed_out'") == 30


async def test_callers_at_the_same_moment_lease_different_deliveries(database, lease):
    await record(database, *await accept(database, *["a"] * 40))
    leased = await asyncio.gather(*(lease(most=10) for _ in range(4)))
    leased.append(await lease(most=40))
    assert len({one.claimed.due for some in leased for one in some}) == sum(map(len, leased)) == 40


async def test_one_answer_has_room_for_a_mebibyte_of_payloads_or_a_single_larger_one(database, leases, pull):
    half = b'"' + b"x" * (600 << 10) + b'"'
    await record(database, *await accept(database, *[Throw(name="a", payload=half)] * 2))
    leased = await leases.lease(pull.id, most=10, duration=MINUTE, worker=None)
    assert (len(leased.leases), leased.more) == (1, True)


async def test_what_a_recorder_of_the_version_before_held_back_can_be_leased_soon(database, pull, keeper, lease):
    """It knows of no room for an app without workers."""
    await record(database, *await accept(database, "a"))
    await database.execute("UPDATE deliveries SET state = 'parked', due_at = NULL, reason = 'share'")
    await database.execute("UPDATE gates SET surplus = true")
    assert await lease() == []
    assert await keeper.recall() == 1
    assert len(await lease()) == 1


async def test_the_version_before_takes_a_pull_target_for_a_queue_whose_deliveries_are_an_apps(database, pull):
    row = await database.fetchrow("SELECT kind, address, app_of(kind, address) AS app FROM subscriptions")
    assert tuple(row) == ("queue", "deliveries.attempt.pull", LEASED)
    await record(database, *await accept(database, "a"))
    assert await database.fetchval("SELECT app FROM deliveries") == LEASED


async def test_an_acknowledgement_ends_the_attempt_of_an_expired_signal(database, leases, lease, deliveries):
    """What is under way when its signal expires ends as usual."""
    await record(database, *await accept(database, "a"))
    [leased] = await lease()
    await database.execute("UPDATE signals SET expires_at = now()")
    await database.execute("UPDATE deliveries SET expires_at = now()")
    assert (await leases.end([digest(leased.token)], DONE, by=ADMINISTRATOR)).errors == {digest(leased.token): None}
    key = leased.claimed.due.signal_id, leased.claimed.due.subscription_id
    assert (await deliveries.get(key)).delivery.state is DeliveryState.DELIVERED


@pytest.mark.slow
async def test_an_idle_gateway_that_callers_wait_at_asks_nothing(database, leases, leasable, pull):
    leasing = Leasing(leases, leasable)
    waiting = [wait(leasing, pull) for _ in range(100)]
    await eventually(lambda: leasable.looks > 100)
    await record(database, *await accept(database, "a"))
    await eventually(lambda: any(one.done() for one in waiting))
    assert leasable.looks <= 100 + 3, (
        "each when it came, one when the process began to listen, and one for the delivery"
    )
    leasing.end()
    await asyncio.gather(*waiting)


async def test_leases_that_began_without_a_limit_count_for_one_that_is_set_later(database, subscriptions, leases, pull):
    await record(database, *await accept(database, *["a"] * 4))
    first, second = (await leases.lease(pull.id, most=2, duration=MINUTE, worker=None)).leases

    async def allow(most):
        change = partial(replace, max_in_flight=most)
        await subscriptions.change(pull.id, change, secret=b"", by=ADMINISTRATOR)
        return len((await leases.lease(pull.id, most=1, duration=MINUTE, worker=None)).leases)

    assert await allow(2) == 0
    await leases.end([digest(first.token)], DONE, by=ADMINISTRATOR)
    assert await allow(1) == 0
    assert await allow(2) == 1
    await leases.end([digest(second.token)], DONE, by=ADMINISTRATOR)
    assert await allow(2) == 1


async def test_a_caller_whose_look_fails_leaves_its_turn_to_another(database, leases, leasable, pull):
    leasing = Leasing(leases, leasable)

    fails = asyncio.Event()

    async def fail():
        if fails.is_set():
            raise InvalidField("/worker", "is wrong")
        return {}

    async def may_go_on():
        return True

    failing = asyncio.create_task(
        leasing.lease(Sought([pull.id], fail), most=1, wait=MINUTE, worker=None, may_go_on=may_go_on)
    )
    await eventually(lambda: leasing.waiting == 1)
    waiting = wait(leasing, pull)
    await eventually(lambda: leasing.waiting == 2)
    fails.set()
    await record(database, *await accept(database, "a"))
    with pytest.raises(InvalidField):
        await failing
    async with asyncio.timeout(MINUTE.total_seconds() / 2):
        assert len(await waiting) == 1
