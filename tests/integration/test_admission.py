"""The store's half of limits and pauses: no delivery goes that may not, and none waits forever."""

from __future__ import annotations

import asyncio
import itertools
import json
from dataclasses import replace
from functools import partial

import pytest

from broker.access import ADMINISTRATOR
from broker.admission import Deferred, Denied
from broker.deliveries import DeliveryState, Outcome, Reason
from broker.signals import Throw
from broker.store.deliveries.admission import lock_admission
from broker.store.deliveries.attempts import SMALL, AttemptRequest, Claimed, Oversized, begin
from broker.subscriptions import SubscriptionSpec
from tests.support.admission import WEBHOOK, ended, finish, owe_attempts, standing
from tests.support.attempts import claim, sweep_waiting
from tests.support.builders import RESCUE_AFTER, SECOND, accept, record
from tests.support.eventually import eventually


@pytest.fixture
def owe(database, subscriptions):
    """Call it to return so many due attempts of a new subscription with these limits."""
    return partial(owe_attempts, database, subscriptions)


async def test_an_attempt_of_a_limited_subscription_takes_a_concurrency_slot(owe, attempts):
    (due,) = await owe(1, max_in_flight=1)
    claimed = await attempts.claim(due)
    assert isinstance(claimed, Claimed)
    assert claimed.admitted.slot


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        "UPDATE subscriptions SET max_in_flight = 1",
        "UPDATE subscriptions SET max_per_second = 1",
        "UPDATE subscriptions SET paused_at = now()",
        "UPDATE subscriptions SET disabled_because = 'the target answered 410'",
        "INSERT INTO circuits (key, address, subscription_id) SELECT '', 'https://a.example', id FROM subscriptions",
    ],
)
async def test_an_attempt_that_admission_may_defer_or_deny_is_not_begun_without_it(owe, database, change):
    """The statement that begins attempts finds out whether there is anything to decide, and decides nothing."""
    (due,) = await owe(1)
    await database.execute(change)
    request = AttemptRequest(due)
    assert await begin(database, [request], timeout=SECOND, rescue_after=SECOND, admitted=False, by=None) == [None]


async def test_an_attempt_that_nothing_limits_never_waits_for_the_locks_of_another_subscription(
    owe, attempts, database
):
    (limited,), (free,) = await owe(1, max_in_flight=1), await owe(1)
    async with database.transaction() as session:
        await lock_admission(session, [limited.subscription_id])
        waiting = asyncio.create_task(attempts.claim(limited))
        claimed = await attempts.claim(free)
        await attempts.finish(ended(claimed))
        assert not waiting.done()
    assert (await waiting).admitted.slot


async def test_what_is_out_of_date_does_not_pass(owe, attempts):
    (due,) = await owe(1, max_in_flight=5)
    assert [one is not None for one in await claim(attempts, due, due)] == [True, False]
    assert await claim(attempts, due) == [None]
    assert await attempts.claim(due, redelivered=True) is not None, "the deliverer that began it is gone"


async def test_a_delivery_that_is_held_has_not_been_attempted(owe, deliveries, attempts):
    first, second = await owe(2, max_in_flight=1)
    _, refusal = await claim(attempts, first, second)
    assert refusal == Deferred(Reason.IN_FLIGHT)
    assert await standing(deliveries, second) == ("parked", "in_flight", 0)
    assert await attempts.claim(second, redelivered=True) is None


async def test_the_end_of_an_attempt_makes_room_for_the_oldest_that_is_held(owe, deliveries, attempts):
    due_attempts = await owe(4, max_in_flight=1)
    claimed, *_ = await claim(attempts, *due_attempts)
    (finished,) = await finish(attempts, claimed)
    assert finished.due_attempts == [due_attempts[1]]
    assert await claim(attempts, due_attempts[2], due_attempts[3]) == [None, None], "they are held still"
    (second,) = await claim(attempts, due_attempts[1])
    assert isinstance(second, Claimed)


async def test_the_room_that_was_made_is_not_given_to_somebody_else(owe, deliveries, attempts):
    first, second, third = await owe(3, max_in_flight=1)
    (claimed, _) = await claim(attempts, first, second)
    await finish(attempts, claimed)
    assert await claim(attempts, third) == [Deferred(Reason.IN_FLIGHT)]


async def test_the_place_of_a_deliverer_that_was_killed_comes_free_by_itself(
    owe, deliveries, attempts, database, pausing
):
    lost, held = await owe(2, max_in_flight=1)
    await claim(attempts, lost, held)
    assert await sweep_waiting(pausing) == []
    await database.execute("UPDATE places SET until = now() - interval '1 second'")
    assert await sweep_waiting(pausing) == [held]
    assert isinstance((await claim(attempts, held))[0], Claimed)


@pytest.mark.slow
@pytest.mark.parametrize("limit", [None, 3, 1])
async def test_what_is_held_goes_on_when_the_limit_is_raised_or_removed(owe, attempts, pausing, subscriptions, limit):
    due_attempts = await owe(4, max_in_flight=1)
    claimed, *_ = await claim(attempts, *due_attempts)
    await subscriptions.change(
        due_attempts[0].subscription_id, lambda spec: replace(spec, max_in_flight=limit), secret=b"", by=ADMINISTRATOR
    )
    released = await sweep_waiting(pausing)
    assert released == due_attempts[1:limit]
    assert all(isinstance(one, Claimed) for one in await claim(attempts, *released))
    (finished,) = await finish(attempts, claimed)
    assert list(finished.due_attempts) == ([] if limit is None else [due_attempts[limit]])


@pytest.mark.slow
async def test_nobody_is_held_for_ever_however_attempts_begin_and_end_at_the_same_time(owe, attempts, database):
    """Many deliverers admit and finish at once; what they are told they may make now, they make, and nothing else."""
    waiting = asyncio.Queue()
    for due in await owe(30, max_in_flight=3):
        waiting.put_nowait(due)
    in_flight = most = delivered = 0
    full = asyncio.Event()

    async def deliver():
        nonlocal in_flight, most, delivered
        while delivered < 30:
            try:
                due = await asyncio.wait_for(waiting.get(), 0.2)
            except TimeoutError:
                continue
            (claimed,) = await claim(attempts, due)
            if isinstance(claimed, Claimed):
                in_flight += 1
                most = max(most, in_flight)
                if in_flight == 3:
                    full.set()
                await full.wait()
                in_flight -= 1
                (finished,) = await finish(attempts, claimed)
                delivered += 1
                for promoted in finished.due_attempts:
                    waiting.put_nowait(promoted)

    async with asyncio.timeout(60):
        await asyncio.gather(*(deliver() for _ in range(8)))
    assert delivered == 30
    assert most == 3
    assert await database.fetchval("SELECT count(*) FROM places") == 0


async def release(deliveries, count):
    """Return the next *count* deliveries whose moment has come, the oldest signal's first."""
    released = []

    async def collect():
        released.extend(await deliveries.release(limit=10, rescue_after=RESCUE_AFTER))
        return len(released) >= count

    await eventually(collect)
    return sorted(released, key=lambda due: due.signal_id)


async def test_a_paused_subscription_s_deliveries_are_held_and_go_on_when_it_is_resumed(
    owe, deliveries, attempts, pausing
):
    due_attempts = await owe(3)
    key = due_attempts[0].subscription_id
    assert (await pausing.pause(key)).paused_at is not None
    assert await claim(attempts, *due_attempts) == [Deferred(Reason.PAUSED)] * 3
    assert await sweep_waiting(pausing) == []
    assert await deliveries.release(limit=10, rescue_after=RESCUE_AFTER) == []
    assert (await pausing.resume(key, per_second=10_000)).paused_at is None
    await sweep_waiting(pausing)
    assert await release(deliveries, 3) == due_attempts
    assert all(isinstance(one, Claimed) for one in await claim(attempts, *due_attempts))


@pytest.mark.slow
async def test_a_claim_that_races_with_a_resumption_is_held_by_nobody(owe, deliveries, attempts, pausing):
    """The second one sees what the first one did: the delivery goes at once, or gets its moment."""
    for due in await owe(10):
        await pausing.pause(due.subscription_id)
        (answer,), _ = await asyncio.gather(
            claim(attempts, due), pausing.resume(due.subscription_id, per_second=10_000)
        )
        await sweep_waiting(pausing)
        if not isinstance(answer, Claimed):
            assert await release(deliveries, 1) == [due]
            assert isinstance((await claim(attempts, due))[0], Claimed)


async def test_what_was_paused_goes_on_a_part_at_a_time(owe, attempts, database, pausing):
    due_attempts = await owe(50)
    await pausing.pause(due_attempts[0].subscription_id)
    await claim(attempts, *due_attempts)
    await pausing.resume(due_attempts[0].subscription_id, per_second=5)
    for _ in range(3):
        await sweep_waiting(pausing)
    told = await database.fetch(
        "SELECT signal_id, due_at, now() AS now FROM deliveries WHERE due_at IS NOT NULL ORDER BY due_at"
    )
    assert 5 <= len(told) < 50
    assert [row["signal_id"] for row in told] == [due.signal_id for due in due_attempts[: len(told)]], (
        "the oldest first"
    )
    assert all(later["due_at"] - earlier["due_at"] >= SECOND / 5 for earlier, later in itertools.pairwise(told))
    assert told[-1]["due_at"] <= told[-1]["now"] + SECOND * 1.2, "a second ahead, and not more than one of them later"


async def test_a_gate_with_nothing_left_to_hold_is_not_looked_at_again(owe, attempts, database, pausing):
    (due,) = await owe(1)
    await pausing.pause(due.subscription_id)
    await claim(attempts, due)
    await pausing.resume(due.subscription_id, per_second=100)
    assert await database.fetchval("SELECT count(*) FROM gates WHERE held") == 1
    await sweep_waiting(pausing)
    assert await database.fetchval("SELECT count(*) FROM gates WHERE held") == 0


@pytest.mark.slow
async def test_a_target_that_is_gone_disables_its_subscription_and_all_it_is_owed_is_dead(
    owe, deliveries, attempts, subscriptions, pausing
):
    gone, failed, late = await owe(3)
    claimed = await claim(attempts, gone, failed)
    await attempts.finish(ended(claimed[1], Outcome.REFUSED, 500))
    (finished,) = await finish(attempts, claimed[0], outcome=Outcome.GONE, status=410)
    assert finished.disabled
    await sweep_waiting(pausing)
    because = "the subscription is disabled: the target answered 410"
    assert await standing(deliveries, failed) == ("dead", because, 1)
    assert await attempts.claim(late) == Denied(because)
    assert await standing(deliveries, late) == ("dead", because, 0)
    assert (await subscriptions.get(gone.subscription_id)).disabled_because == "the target answered 410"
    assert (await pausing.resume(gone.subscription_id, per_second=None)).disabled_because is None


async def test_of_two_attempts_that_find_the_target_gone_one_disables_the_subscription(owe, deliveries, attempts):
    due_attempts = await owe(2)
    claimed = await claim(attempts, *due_attempts)
    finished = await finish(attempts, *claimed, outcome=Outcome.GONE, status=410)
    assert [one.disabled for one in finished] == [True, False]


async def test_the_census_says_for_how_long_the_oldest_held_delivery_is_owed(owe, attempts, database, pausing):
    assert await pausing.census() == (0, 0, 0)
    due_attempts = await owe(2)
    await pausing.pause(due_attempts[0].subscription_id)
    await claim(attempts, *due_attempts)
    await database.execute("UPDATE deliveries SET created_at = now() - interval '1 hour'")
    census = await pausing.census()
    assert census.circuits == 0
    assert 3600 <= census.waiting_seconds < 3700


async def test_an_attempt_with_a_large_payload_begins_once_there_is_room(database, subscriptions, attempts, deliveries):
    await subscriptions.create(SubscriptionSpec(name="large", targets=(WEBHOOK,), max_in_flight=1), secret=None)
    payload = b'"%b"' % (b"x" * SMALL)
    (due,) = await record(database, *await accept(database, Throw(name="large", payload=payload)))
    assert await attempts.claim(due) == Oversized(len(payload))
    assert await standing(deliveries, due) == (DeliveryState.PENDING, None, 0)
    claimed = await attempts.claim(due, room=len(payload))
    assert claimed.signal.throw.payload == payload
    assert claimed.admitted.slot, "the first claim took none"


async def test_without_limits_an_attempt_with_a_large_payload_waits_for_room_as_well(owe, attempts, database):
    (due,) = await owe(1)
    await database.execute("UPDATE signals SET payload = $1", json.dumps("x" * SMALL))
    assert await attempts.claim(due) == Oversized(SMALL + 2)
    assert await attempts.claim(due, room=SMALL + 2) is not None
    assert await attempts.claim(due, room=SMALL + 2) is None, "it has begun"
