"""The store's half of `max_per_second`: reservations are given out by and by, in order, over all deliverers."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest

from broker.access import ADMINISTRATOR
from broker.admission import Deferred
from broker.deliveries import DeliveryState, Reason
from broker.limits import HORIZON, LATENESS
from broker.messages import decode_due_attempt
from broker.settings import Settings
from broker.store.deliveries.admission import lock_admission
from broker.store.deliveries.attempts import Claimed
from broker.store.deliveries.deliveries import DeliveryStore
from broker.store.deliveries.pacing import PacingStore, Reserved
from broker.store.deliveries.pausing import PausingStore
from broker.subscriptions import SubscriptionSpec
from broker.topology import ATTEMPT
from tests.support.attempts import attempt_store, claim, pace
from tests.support.builders import QUEUE, accept, record
from tests.support.eventually import eventually
from tests.support.messaging import holds, take
from workers.headroom import CAPACITY
from workers.pacer import Pacer

HALF = timedelta(seconds=0.5)


@pytest.fixture
def sweep(database):
    """Call it to give out reservations."""

    async def sweep(limit=1000):
        return await pace(database, limit=limit)

    return sweep


@pytest.fixture
def owe(database, subscriptions):
    """Call it to return so many due attempts of a new subscription with these limits."""

    async def owe(count, **limits):
        name = f"sig.{len((await subscriptions.page()).items)}"
        await subscriptions.create(SubscriptionSpec(name=name, targets=(QUEUE,), **limits), secret=None)
        return await record(database, *await accept(database, *[name] * count))

    return owe


@pytest.fixture
async def stuck(owe, attempts):
    """Return due attempts of which the first was begun, and the others wait for a quarter of an hour each."""
    due_attempts = await owe(31, max_per_second=0.001)
    await claim(attempts, *due_attempts)
    return due_attempts


@pytest.fixture
def change(subscriptions):
    async def change(due, **limits):
        await subscriptions.change(
            due.subscription_id, lambda spec: replace(spec, **limits), secret=b"", by=ADMINISTRATOR
        )

    return change


async def flags(database):
    return [row["rate_waiting"] for row in await database.fetch("SELECT rate_waiting FROM gates")]


@pytest.mark.slow
async def test_deliveries_beyond_the_rate_wait_and_get_reservations_in_the_order_of_their_signals(
    owe, attempts, database, sweep, deliveries
):
    """The deliverers asked in any order."""
    due_attempts = await owe(20, max_per_second=20)
    first, *_ = answers = await claim(attempts, due_attempts[0], *reversed(due_attempts[1:]))
    admitted = [one for one in answers if isinstance(one, Claimed)]
    assert first in admitted
    assert 1 <= len(admitted) <= 7, "those near it wait for their moments right here"
    assert [one for one in answers if one not in admitted] == [Deferred(Reason.RATE)] * (20 - len(admitted))
    waiting = sorted({due.signal_id for due in due_attempts} - {one.due.signal_id for one in admitted})
    assert await flags(database) == [True]

    reserved = await sweep()
    moments = [due.at for due in reserved.due_attempts]
    assert [due.signal_id for due in reserved.due_attempts] == waiting[: len(moments)]
    assert 4 <= len(moments) <= 10
    assert {later - earlier for earlier, later in itertools.pairwise(moments)} == {HALF / 10}
    assert reserved.now <= moments[0] <= moments[-1] <= reserved.now + HORIZON
    assert (await sweep()).due_attempts == ()
    left = (await deliveries.get((waiting[-1], first.due.subscription_id))).delivery
    assert (left.state, left.reason, left.due_at, left.attempt_count) == ("parked", "rate", None, 0)


@pytest.mark.slow
async def test_a_delivery_goes_at_its_reservation_whichever_deliverer_claims_it(owe, attempts, database, sweep):
    due_attempts = await owe(15, max_per_second=20)
    await database.execute("UPDATE gates SET rate_waiting = true")
    assert await claim(attempts, *due_attempts) == [Deferred(Reason.RATE)] * 15
    reserved = await sweep()
    other = attempt_store(database)
    async with other:
        claimed = await asyncio.gather(
            *(one.claim(due) for one, due in zip(itertools.cycle([attempts, other]), reserved.due_attempts))
        )
    later = [one.admitted.at - due.at for one, due in zip(claimed, reserved.due_attempts, strict=True)]
    assert not all(later)
    assert all(by > LATENESS for by in later if by), "those that a busy machine claimed too late"
    now = await database.fetchval("SELECT clock_timestamp()")
    assert now >= reserved.due_attempts[-1].at, "claiming waits for it"
    assert await flags(database) == [True]
    await sweep()
    assert await flags(database) == [False], "nobody waits any more"


@pytest.mark.slow
async def test_a_deliverer_waits_for_a_reservation_before_it_claims(owe, attempts, database, sweep):
    """Else the delivery would have a place meanwhile, for which others wait."""
    due_attempts = await owe(15, max_per_second=20)
    await database.execute("UPDATE gates SET rate_waiting = true")
    await claim(attempts, *due_attempts)
    first, *_, last = (await sweep()).due_attempts
    await attempts.claim(first)  # from its answer it knows the store's clock
    await attempts.await_reservation(last)
    ahead = last.at - await database.fetchval("SELECT clock_timestamp()")
    assert ahead < timedelta(seconds=0.12)
    assert (await attempts.claim(last)).admitted.at == last.at


@pytest.mark.slow
async def test_a_delivery_that_comes_much_too_late_gets_another_reservation(owe, attempts, database, monkeypatch):
    minute = timedelta(minutes=1)
    monkeypatch.setattr("broker.limits.LATENESS", minute)  # a busy machine may be late for the new one, too
    due_attempts = await owe(2, max_per_second=4)
    await database.execute("UPDATE gates SET rate_waiting = true")
    late = [replace(due, at=(await database.fetchval("SELECT now()")) - 2 * minute) for due in due_attempts]
    first, second = await claim(attempts, *late)
    assert second.admitted.at - first.admitted.at == HALF / 2


@pytest.mark.slow
@pytest.mark.parametrize(("per_second", "count"), [(None, 30), (20, 9), (1000, 30)])
async def test_a_limit_that_was_raised_or_removed_holds_for_all_that_wait(stuck, change, sweep, per_second, count):
    first, *others = stuck
    assert (await sweep()).due_attempts == ()
    await change(first, max_per_second=per_second)
    reserved = await sweep()
    assert reserved.due_attempts == tuple(others[:count])
    assert all((due.at is None) == (per_second is None) for due in reserved.due_attempts)


async def test_many_go_on_a_part_at_a_time(stuck, change, sweep):
    await change(stuck[0], max_per_second=None)
    parts = [await sweep(limit=12) for _ in range(4)]
    assert [(len(part.due_attempts), part.more) for part in parts] == [(12, True), (12, True), (6, False), (0, False)]
    assert parts[-1] == Reserved()


async def test_a_paused_subscription_gives_out_no_reservations(owe, attempts, database, sweep):
    first, second = await owe(2, max_per_second=1)
    await claim(attempts, first, second)
    await database.execute("UPDATE gates SET slot_at = 'epoch'")
    pausing = PausingStore(database)
    await pausing.pause(first.subscription_id)
    assert await sweep() == Reserved()
    await pausing.resume(first.subscription_id, per_second=None)
    assert (await sweep()).due_attempts == (second,)


async def test_a_delivery_that_has_a_concurrency_slot_does_not_wait_behind_those_without(owe, attempts, sweep):
    """Else a free slot would stay empty until the next sweep."""
    due_attempts = await owe(4, max_per_second=10, max_in_flight=1)
    claimed, *_ = await claim(attempts, *due_attempts)
    assert isinstance(claimed, Claimed)
    assert (await claim(attempts, replace(due_attempts[1], at=None)))[0] is None, "it waits for the slot"


@pytest.mark.slow
async def test_the_pacer_publishes_what_is_due_first_whichever_subscription_it_is_of(
    owe, attempts, database, transport
):
    """The second one's deliveries come when those of the first have moments for half a second already."""
    pacer = Pacer(transport, PacingStore(database), Settings())
    for _ in range(2):
        due_attempts = await owe(5, max_per_second=6)
        await database.execute("UPDATE gates SET rate_waiting = true")
        await claim(attempts, *due_attempts)
        await pacer.sweep()
    await pacer.publish(within=float("inf"))
    async with transport.consume(ATTEMPT, prefetch=10) as inbox:
        taken = [decode_due_attempt(message).at for message in await take(inbox, 6)]
    assert taken == sorted(taken)


@pytest.mark.slow
async def test_a_subscription_on_which_a_session_decides_all_the_time_gets_its_reservations(
    owe, attempts, database, sweep
):
    """So it is at one whose deliveries are claimed one after the other."""
    (_, free), (_, busy) = [await owe(2, max_per_second=10) for _ in range(2)]
    await database.execute("UPDATE gates SET rate_waiting = true")
    await claim(attempts, free, busy)
    async with database.transaction() as session:
        await lock_admission(session, [busy.subscription_id])
        sweeping = asyncio.create_task(sweep())

        async def has_gone_on():
            details = await DeliveryStore(database).get((free.signal_id, free.subscription_id))
            return details.delivery.state is DeliveryState.PENDING

        await eventually(has_gone_on)
        assert not sweeping.done()
    assert [due.signal_id for due in (await sweeping).due_attempts] == [free.signal_id, busy.signal_id]


async def test_a_subscription_whose_next_reservation_is_far_away_is_not_looked_at(stuck, database, sweep):
    """Its gate is not even locked: that costs nothing however many there are."""
    assert await database.fetchval("SELECT count(*) FROM gates WHERE rate_waiting") == 1
    assert (await sweep()).now is None


@pytest.fixture
def owe_paced(database, owe):
    """Call it to return a new subscription whose so many deliveries wait for reservations, and may have many."""

    async def owe_paced(count, tenant_id):
        first, *_ = await owe(count, max_per_second=1000, tenant_id=tenant_id)
        parked = "UPDATE deliveries SET state = 'parked', due_at = NULL, reason = 'rate' WHERE subscription_id = $1"
        await database.execute(parked, first.subscription_id)
        await database.execute("UPDATE gates SET rate_waiting = true WHERE subscription_id = $1", first.subscription_id)
        return first.subscription_id

    return owe_paced


@pytest.mark.slow
async def test_the_pacer_takes_what_there_is_room_for_by_turns_of_tenants_and_the_rest_later(
    owe_paced, database, transport
):
    noisy = [await owe_paced(150, "noisy") for _ in range(4)]
    quiet, alone = await owe_paced(1, "quiet"), await owe_paced(1, None)
    pacer = Pacer(transport, PacingStore(database), Settings())
    await pacer.sweep()
    await pacer.sweep()
    await pacer.publish(within=float("inf"))
    most = CAPACITY // 2
    await holds(transport, ATTEMPT, most)
    async with transport.consume(ATTEMPT, prefetch=1000) as inbox:
        taken = [decode_due_attempt(message) for message in await take(inbox, most)]
        counts = Counter(due.subscription_id for due in taken)
        assert counts[quiet] == counts[alone] == 1
        assert all(abs(counts[key] - (most - 2) / len(noisy)) < 3 for key in noisy)

        stopping = asyncio.Event()
        running = asyncio.create_task(pacer.run(stopping))
        taken += [decode_due_attempt(message) for message in await take(inbox, 602 - most)]
        stopping.set()
        await running
    for key in noisy:
        of_one = [due for due in taken if due.subscription_id == key]
        assert [due.signal_id for due in of_one] == sorted({due.signal_id for due in of_one})
        assert all(earlier.at < later.at for earlier, later in itertools.pairwise(of_one))


@pytest.mark.slow
async def test_the_pacer_publishes_what_it_took_before_it_stops(stuck, change, database, transport):
    """What is due much later is published early then: the deliverer waits."""
    await change(stuck[0], max_per_second=4)
    pacer = Pacer(transport, PacingStore(database), Settings())
    assert not await pacer.sweep()
    await pacer.publish(within=0)
    await holds(transport, ATTEMPT, 0)
    stopping = asyncio.Event()
    stopping.set()
    await pacer.run(stopping)
    async with transport.consume(ATTEMPT, prefetch=2) as inbox:
        taken = [decode_due_attempt(message) for message in await take(inbox, 2)]
    assert taken == stuck[1:3]
    assert taken[1].at - taken[0].at == HALF / 2
