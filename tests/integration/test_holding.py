"""What its queue has no room for waits in PostgreSQL, and comes back by what limits its subscription anyway."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from broker.deliveries import DeliveryState, Reason
from broker.settings import Settings
from broker.signals import Throw
from broker.store.administration.sessions import SessionStore
from broker.store.deliveries.deliveries import DeliveryStore
from broker.store.deliveries.expiring import ExpiringStore
from broker.store.deliveries.holding import note_held_back
from broker.store.deliveries.ordering import OrderingStore
from broker.store.deliveries.pausing import PausingStore
from broker.store.deliveries.presence import Presence
from broker.store.deliveries.surplus import SurplusStore
from broker.store.deliveries.sweeping import SweepingStore
from broker.store.deliveries.trials import TrialStore
from broker.store.signals.signals import SignalStore
from broker.subscriptions import SubscriptionSpec
from broker.topology import ATTEMPT, TOPOLOGY
from broker.transport.embedded import EmbeddedTransport
from tests.support.attempts import pace, sweep_waiting
from tests.support.builders import QUEUE, RESCUE_AFTER, accept, record
from tests.support.eventually import eventually
from tests.support.listing import listed
from tests.support.messaging import holds
from workers.events import EventTeller
from workers.headroom import Headroom
from workers.releasing import Releases
from workers.scheduler import Scheduler


async def _recall(database):
    async with SurplusStore(database, Presence(database), rescue_after=RESCUE_AFTER) as surplus:
        found = await surplus.find([""], limit=10)
        return (await surplus.recall(dict.fromkeys(found, 100))).due_attempts


async def _pace(database):
    return (await pace(database)).due_attempts


async def _sweep(database):
    return await sweep_waiting(PausingStore(database))


BACK = {"share": _recall, "rate": _pace, "in_flight": _sweep}
"""What brings deliveries back that are parked with each reason."""
LIMITS = {"share": {}, "rate": {"max_per_second": 1000.0}, "in_flight": {"max_in_flight": 10}}


class Room:
    """Has room for so many attempts, whosever they are."""

    def __init__(self, free):
        self.left = free

    def has(self, _):
        self.left -= 1
        return self.left >= 0


@pytest.mark.slow
@pytest.mark.parametrize("reason", ["share", "rate", "in_flight"])
async def test_what_there_is_no_room_for_waits_and_comes_back(database, subscriptions, deliveries, reason):
    spec = SubscriptionSpec(name="a", targets=(QUEUE,), **LIMITS[reason])
    await subscriptions.create(spec, secret=None)
    signals = await accept(database, *"aaa")
    recorded = await SignalStore(database).record(signals, rescue_after=RESCUE_AFTER, has_room=Room(1).has)
    assert [due.signal_id for due in recorded.due_attempts] == [signals[0].id]
    assert recorded.waiting == 2
    page = await listed(deliveries)
    assert [(one.state, one.reason, one.due_at is None) for one in page] == [
        (DeliveryState.PENDING, None, False),
        (DeliveryState.PARKED, reason, True),
        (DeliveryState.PARKED, reason, True),
    ]
    assert [due.signal_id for due in await BACK[reason](database)] == [signal.id for signal in signals[1:]]
    assert not await BACK[reason](database)
    assert (await deliveries.ledger()).unaccounted == 0


@pytest.mark.slow
@pytest.mark.parametrize("reason", ["share", "rate", "in_flight"])
async def test_it_comes_back_although_the_recorder_was_killed_before_it_noted_that(database, subscriptions, reason):
    await subscriptions.create(SubscriptionSpec(name="a", targets=(QUEUE,), **LIMITS[reason]), secret=None)
    signals, store = await accept(database, *"aa"), SignalStore(database)
    await store.record(signals, rescue_after=RESCUE_AFTER, has_room=Room(0).has)
    await database.execute("UPDATE gates SET surplus = false, rate_waiting = false, held = false")
    assert not await BACK[reason](database)
    again = await store.record(signals, rescue_after=RESCUE_AFTER)
    assert (again.repeats, again.due_attempts) == (2, [])
    assert len(await BACK[reason](database)) == 2


async def test_ordering_groups_without_room_are_advanced_by_the_scheduler(database, subscriptions, deliveries):
    await subscriptions.create(SubscriptionSpec(name="a", targets=(QUEUE,), ordered=True), secret=None)
    signals = await accept(database, *(Throw(name="a", ordering_key=key) for key in "ijk"))
    recorded = await SignalStore(database).record(signals, rescue_after=RESCUE_AFTER, has_room=Room(1).has)
    assert len(recorded.due_attempts) == 1
    assert len(await OrderingStore(database).sweep(most=1000, rescue_after=RESCUE_AFTER)) == 2
    assert (await deliveries.ledger()).states[DeliveryState.PENDING] == 3


async def test_idle_groups_go_on_as_far_as_there_is_room_and_their_subscriptions_take_turns(database, subscriptions):
    noisy, quiet = [
        (await subscriptions.create(SubscriptionSpec(name=name, targets=(QUEUE,), ordered=True), secret=None)).id
        for name in ("a", "b")
    ]
    signals = await accept(database, *(Throw(name="a", ordering_key=key) for key in "ijklmn"))
    signals += await accept(database, Throw(name="b", ordering_key="i"))
    await SignalStore(database).record(signals, rescue_after=RESCUE_AFTER, has_room=Room(0).has)
    ordering, keys = OrderingStore(database), []
    assert await ordering.sweep(most=0, rescue_after=RESCUE_AFTER) == []
    for _ in range(4):
        due_attempts = await ordering.sweep(most=2, rescue_after=RESCUE_AFTER)
        keys.append([due.subscription_id for due in due_attempts])
    assert keys == [[noisy, quiet], [noisy] * 2, [noisy] * 2, [noisy]]


@pytest.mark.slow
async def test_groups_that_signals_for_later_join_go_on_as_far_as_there_is_room(database, subscriptions):
    """One key for many subscriptions, say."""
    for _ in range(5):
        await subscriptions.create(SubscriptionSpec(name="a", targets=(QUEUE,), ordered=True), secret=None)
    soon = datetime.now(UTC) + timedelta(seconds=2)
    (signal,) = await accept(database, Throw(name="a", ordering_key="i", deliver_at=soon))
    await SignalStore(database).record([signal], rescue_after=RESCUE_AFTER)
    assert datetime.now(UTC) < soon
    await eventually(lambda: datetime.now(UTC) > soon + timedelta(milliseconds=50))
    ordering = OrderingStore(database)
    counts = [len(await ordering.sweep(most=2, rescue_after=RESCUE_AFTER)) for _ in range(4)]
    assert counts == [2, 2, 1, 0]


async def test_waiting_deliveries_go_on_as_far_as_there_is_room(database, subscriptions):
    keys = []
    for tenant_id in ("noisy", "noisy", "quiet"):
        limited = SubscriptionSpec(name="a", targets=(QUEUE,), tenant_id=tenant_id, max_in_flight=10)
        keys.append((await subscriptions.create(limited, secret=None)).id)
    recording = [
        signal
        for tenant_id in ("noisy", "quiet")
        for signal in await accept(database, *[Throw(name="a", tenant_id=tenant_id)] * 4)
    ]
    await SignalStore(database).record(recording, rescue_after=RESCUE_AFTER, has_room=Room(0).has)
    pausing, queues = PausingStore(database), Queues(4)
    found = await pausing.find()
    assert found == {keys[0]: ("", ("noisy",)), keys[1]: ("", ("noisy",)), keys[2]: ("", ("quiet",))}
    limits = await queues.divide(dict.fromkeys(found, 100), found, most=100)
    swept = await pausing.sweep(limits, rescue_after=RESCUE_AFTER)
    assert Counter(due.subscription_id for due in swept.due_attempts) == {keys[0]: 1, keys[1]: 1, keys[2]: 2}
    assert swept.done == 4
    swept = await pausing.sweep(dict.fromkeys(found, 0), rescue_after=RESCUE_AFTER)
    assert swept == ([], 0)


async def test_the_scheduler_lets_waiting_deliveries_go_on_as_far_as_there_is_room(database, subscriptions):
    await subscriptions.create(SubscriptionSpec(name="a", targets=(QUEUE,), max_in_flight=10), secret=None)
    await SignalStore(database).record(await accept(database, *"aaaa"), rescue_after=RESCUE_AFTER, has_room=Room(0).has)
    await note_held_back(database, {((await subscriptions.page()).items[0].id, Reason.IN_FLIGHT)})
    async with EmbeddedTransport(database) as transport:
        await transport.declare(TOPOLOGY)
        scheduler = Scheduler(
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
            settings=Settings(),
        )
        scheduler._headroom = Queues(3)  # noqa: SLF001
        assert await scheduler.release_waiting() == 3
        assert scheduler._headroom.noted == 3  # noqa: SLF001
        await holds(transport, ATTEMPT, 3)


async def test_what_deleted_subscriptions_are_owed_is_cancelled_a_few_at_a_time(database, subscriptions, deliveries):
    """However many are deleted at once: other work takes turns with it."""
    for _ in range(3):
        await subscriptions.create(SubscriptionSpec(name="a", targets=(QUEUE,)), secret=None)
    await record(database, *await accept(database, *"aaaa"))
    await database.execute("UPDATE deliveries SET state = 'parked', reason = 'retry'")
    for one in (await subscriptions.page()).items:
        await subscriptions.delete(one.id)
    pausing, done = PausingStore(database, limit=6), []
    while found := await pausing.find():
        done.append((await pausing.sweep(dict.fromkeys(found, 1), rescue_after=RESCUE_AFTER)).done)
    assert done == [6, 6]
    assert (await deliveries.ledger()).states[DeliveryState.CANCELLED] == 12


class Queues(Headroom):
    """So many attempts may go."""

    def __init__(self, free):
        super().__init__(None, timeout=RESCUE_AFTER)
        self._free = free
        self.noted = 0

    async def free(self, _="deliveries.attempt"):
        return self._free

    def note(self, names):
        self.noted += len(list(names))


@pytest.fixture
def owe_due(database, subscriptions):
    """Call it to return a subscription with so many deliveries that are due, later than those before."""

    async def owe_due(count, tenant_id=None):
        name = f"sig.{len((await subscriptions.page()).items)}"
        spec = SubscriptionSpec(name=name, targets=(QUEUE,), tenant_id=tenant_id)
        made = await subscriptions.create(spec, secret=None)
        await record(database, *await accept(database, *[name] * count))
        due = "UPDATE deliveries SET state = 'parked', reason = 'retry', due_at = now() WHERE subscription_id = $1"
        await database.execute(due, made.id)
        return made.id

    return owe_due


async def test_what_is_due_is_released_by_turns_of_tenants_if_there_is_little_room(deliveries, owe_due):
    noisy = [await owe_due(30, "noisy") for _ in range(3)]
    quiet, alone = await owe_due(1, "quiet"), await owe_due(1)
    queues = Queues(12)
    releases = Releases(deliveries, queues, rescue_after=timedelta(seconds=30))
    first, more = await releases.release(limit=1000)
    assert ([due.subscription_id for due in first], more) == ([noisy[0]] * 12, True)
    second, more = await releases.release(limit=1000)
    counts = Counter(due.subscription_id for due in second)
    assert (counts[quiet], counts[alone], sum(counts[key] for key in noisy), more) == (1, 1, 4, True)
    assert queues.noted == len(first) + len(second)


async def test_what_is_due_waits_while_the_queue_is_full(deliveries, owe_due):
    await owe_due(3)
    releases = Releases(deliveries, Queues(0), rescue_after=RESCUE_AFTER)
    assert await releases.release(limit=1000) == ((), False)


@pytest.mark.slow
async def test_of_very_many_subscriptions_with_what_is_due_the_next_ones_take_turns_then(deliveries, owe_due):
    ids = [await owe_due(40, tenant) for tenant in ("a", "b", "c", "d", "e")]
    releases = Releases(deliveries, Queues(8), rescue_after=RESCUE_AFTER, subscriptions=2)
    released = []

    async def every_one():
        due_attempts, _ = await releases.release(limit=1000)
        released.extend(due.subscription_id for due in due_attempts)
        return set(released) == set(ids)

    await eventually(every_one, within=20, every=0.1)
