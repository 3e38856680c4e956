"""What one delivery, or one step, meets in a sweep of the scheduler is not in the way of the others."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial

import pytest

from broker.messages import decode_signal
from broker.settings import Settings
from broker.store.administration.sessions import SessionStore
from broker.store.deliveries.contenders import Contender
from broker.store.deliveries.deliveries import DeliveryStore
from broker.store.deliveries.expiring import ExpiringStore
from broker.store.deliveries.ordering import OrderingStore
from broker.store.deliveries.pausing import PausingStore
from broker.store.deliveries.sweeping import SweepingStore, Work
from broker.store.deliveries.trials import TrialStore
from broker.store.signals.matches import Limits
from broker.store.signals.signals import SignalStore
from broker.store.subscriptions.subscriptions import SubscriptionStore
from broker.subscriptions import SubscriptionSpec
from broker.topology import ATTEMPT, RECORD
from tests.support.builders import QUEUE, accept
from tests.support.eventually import eventually
from tests.support.messaging import holds
from workers.events import EventTeller
from workers.scheduler import Scheduler

pytestmark = pytest.mark.slow

BOOM = """
CREATE FUNCTION boom() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.subscription_id = {} THEN RAISE {} USING MESSAGE = 'audit says no'; END IF;
    RETURN NEW;
END $$
"""


@pytest.fixture
async def scheduler(transport, database):
    return Scheduler(
        transport,
        deliveries=DeliveryStore(database),
        expiring=ExpiringStore(database),
        pausing=PausingStore(database),
        trials=TrialStore(database),
        ordering=OrderingStore(database),
        sweeping=SweepingStore(database),
        signals=SignalStore(database),
        sessions=SessionStore(database),
        events=EventTeller(database, transport, timeout=timedelta(seconds=5)),
        settings=Settings(store_timeout_seconds=0.1),
    )


@asynccontextmanager
async def running(scheduler):
    stopping = asyncio.Event()
    task = asyncio.create_task(scheduler.run(stopping))
    try:
        yield
    finally:
        stopping.set()
        await task


@pytest.fixture
async def overdue(database):
    """Record a signal for three subscriptions, whose attempts were begun and lost; return the subscriptions' ids."""
    ids = []
    for _ in range(3):
        created = await SubscriptionStore(database).create(SubscriptionSpec(name="a", targets=(QUEUE,)), secret=None)
        ids.append(created.id)
    await SignalStore(database).record(await accept(database, "a"), rescue_after=timedelta(seconds=30))
    await database.execute("UPDATE deliveries SET attempts = 1, begun_at = now(), due_at = now()")
    return ids


@pytest.mark.parametrize("error", ["check_violation", "not_null_violation", "division_by_zero", "SQLSTATE 'P0001'"])
async def test_a_delivery_that_postgresql_refuses_does_not_hold_up_the_rescue_of_others(
    scheduler, transport, database, overdue, error
):
    await database.execute(BOOM.format(overdue[0], error))
    await database.execute("CREATE TRIGGER boom BEFORE INSERT ON attempts FOR EACH ROW EXECUTE FUNCTION boom()")
    async with running(scheduler):
        await holds(transport, ATTEMPT, 2)
        await scheduler.check()
    assert await database.fetchval("SELECT count(*) FROM deliveries WHERE begun_at IS NOT NULL") == 1


@pytest.mark.parametrize(
    "broken", ["ALTER TABLE circuits RENAME TO c", "ALTER TABLE idempotency_keys RENAME TO i", "DROP TABLE gates"]
)
async def test_a_step_that_fails_holds_up_no_other_and_the_scheduler_is_not_ready(
    scheduler, transport, database, overdue, broken
):
    await database.execute(broken)
    async with running(scheduler):
        await holds(transport, ATTEMPT, len(overdue))

        async def is_not_ready():
            try:
                await scheduler.check()
            except Exception:  # noqa: BLE001  (whatever the step failed with)
                return True
            return False

        await eventually(is_not_ready)


PARKED = "UPDATE deliveries SET begun_at = NULL, state = 'parked', "


@pytest.mark.parametrize(
    ("change", "work"),
    [
        ("UPDATE gates SET held = false", set()),
        (f"{PARKED} reason = 'retry', due_at = now()", {Work.DUE}),
        (f"{PARKED} reason = 'retry', due_at = now() + interval '1 minute'", set()),
        (f"{PARKED} reason = 'ordered', due_at = NULL, ordering_key = 'k'", {Work.ORDERED}),
        ("UPDATE deliveries SET expires_at = now()", {Work.EXPIRED}),
        ("UPDATE subscriptions SET consumed_by = 1, consumed_until = now()", {Work.EXPIRED}),
        ("UPDATE gates SET held = true", {Work.HELD}),
        ("UPDATE gates SET recalling = true", {Work.HELD}),
        ("UPDATE signals SET state = 'scheduled', due_at = now()", {Work.SCHEDULED}),
        ("INSERT INTO circuits (key, address, awaited) VALUES ('k', 'a', true)", {Work.AWAITED}),
    ],
)
@pytest.mark.usefixtures("overdue")
async def test_one_look_tells_what_there_is_to_do(database, change, work):
    await database.execute(change)
    assert await SweepingStore(database).look() == work


async def test_steps_are_taken_when_there_is_something_to_do_or_that_cannot_be_told(scheduler, database, monkeypatch):
    taken = []

    async def note(step):
        taken.append(step)
        return 0

    for step in ("try_targets", "release_waiting", "advance"):
        monkeypatch.setattr(_step(scheduler, step), "_do", partial(note, step))
    await scheduler.sweep(asyncio.Event())
    assert taken == []
    await database.execute("INSERT INTO circuits (key, address, awaited) VALUES ('k', 'a', true)")
    await scheduler.sweep(asyncio.Event())
    assert taken == ["try_targets"]
    await database.execute("ALTER TABLE circuits RENAME TO c")
    await scheduler.sweep(asyncio.Event())
    assert {"release_waiting", "advance"} < set(taken)


@pytest.mark.parametrize(("found", "looks"), [({}, 1), ({10**6: Contender("", None)}, 5)], ids=["nothing", "some"])
async def test_that_nothing_that_waits_may_go_is_not_found_out_again_at_once_if_it_took_long(
    scheduler, monkeypatch, found, looks
):
    looked = 0

    async def find(_):
        nonlocal looked
        looked += 1
        await asyncio.sleep(0.1)
        return found

    monkeypatch.setattr(PausingStore, "find", find)
    for _ in range(5):
        await scheduler.release_waiting()
    assert looked == looks


async def test_a_step_that_has_failed_is_taken_until_it_succeeds_though_there_is_nothing_to_do(
    scheduler, database, monkeypatch
):
    failing = True

    async def fail():
        if failing:
            raise ValueError("boom")
        return 0

    monkeypatch.setattr(_step(scheduler, "try_targets"), "_do", fail)
    await database.execute("INSERT INTO circuits (key, address, awaited) VALUES ('k', 'a', true)")
    async with running(scheduler):
        await eventually(lambda: _step(scheduler, "try_targets").failing)
        await database.execute("DELETE FROM circuits")
        failing = False
        await eventually(lambda: not _step(scheduler, "try_targets").failing)


def _step(scheduler, name):
    return next(step for step in scheduler._steps if step.name == name)  # noqa: SLF001


async def test_what_is_delivered_while_messages_are_counted_did_not_lose_its_own(
    scheduler, transport, database, overdue, monkeypatch
):
    depth = transport.depth

    async def drained(queue, *, timeout):
        """Each message was taken, and its delivery made, between two questions."""
        await depth(queue, timeout=timeout)
        await database.execute(
            "UPDATE deliveries SET state = 'delivered', due_at = NULL WHERE subscription_id <> $1", overdue[0]
        )
        return 1 if queue == ATTEMPT else 0

    monkeypatch.setattr(transport, "depth", drained)
    assert await scheduler.rescue() == 0


async def test_a_wide_signal_whose_recording_stands_still_is_published_again(
    scheduler, transport, database, subscriptions
):
    """A recorder that knows nothing of chunks has acked it, or its message is in the dead queue."""
    for _ in range(15):
        await subscriptions.create(SubscriptionSpec(name="a", targets=(QUEUE,)), secret=None)
    store = SignalStore(database, limits=Limits(wide=10, candidates=30, chunk=7))
    left = await store.record(await accept(database, "a"), rescue_after=timedelta(seconds=30))
    assert left.left
    assert await scheduler.resume_recordings() == 0, "it may be under way"
    await store.record(left.left, rescue_after=timedelta(seconds=30))
    assert await scheduler.resume_recordings() == 0, "it is under way"
    assert await scheduler.resume_recordings() == 1
    assert await scheduler.resume_recordings() == 0, "the message has its time"
    async with transport.consume(RECORD, prefetch=10) as inbox:
        (message,) = await inbox.receive(10)
    signals = [decode_signal(message)]
    another = SignalStore(database, limits=Limits(wide=10, candidates=30, chunk=7))
    while signals:
        signals = (await another.record(signals, rescue_after=timedelta(seconds=30))).left
    assert await database.fetchval("SELECT count(DISTINCT subscription_id) FROM deliveries") == 15
    assert [await scheduler.resume_recordings() for _ in range(3)] == [0, 0, 0]


async def test_sessions_that_ended_an_hour_ago_are_swept(scheduler, database):
    await database.execute(
        "INSERT INTO sessions (digest, principal, credential, ends_at)"
        " SELECT int4send(n), 'admin', '', now() - n * interval '59 minutes' FROM generate_series(-1, 3) AS n"
    )

    async def are_swept():
        return await database.fetchval("SELECT count(*) FROM sessions") == 3

    async with running(scheduler):
        await eventually(are_swept)
