"""The store's half of redriving in bulk: what is dead and would be attempted, once, at its pace."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from broker.access import ADMINISTRATOR
from broker.deliveries import DeliveryState, DueAttempt, Outcome
from broker.limits import Pace
from broker.names import expression, matches
from broker.signals import Throw
from broker.store.deliveries.bulk import SignalFilter
from broker.store.deliveries.deliveries import DeliveryStore
from broker.store.deliveries.redrives import RedriveStore
from broker.subscriptions import SubscriptionSpec
from tests.support.builders import QUEUE, RESCUE_AFTER, SECOND, accept, record, separating_moment
from tests.support.listing import listed
from tests.support.owing import balanced, die, end, throw

ALL = SignalFilter()


@pytest.fixture
def subscribe(subscriptions):
    async def subscribe(name="#", **spec):
        return (await subscriptions.create(SubscriptionSpec(name=name, targets=(QUEUE,), **spec), secret=None)).id

    return subscribe


@pytest.fixture
def redrive(database):
    async def redrive(sought=ALL, *, limit=2, per_second=None, **options):
        chunks = RedriveStore(database, limit=limit).redrive(sought, Pace(per_second), **options)
        return sum([chunk.count async for chunk in chunks])

    return redrive


@pytest.fixture
def parked(deliveries):
    async def parked():
        return [delivery.signal_id for delivery in await listed(deliveries, state="parked")]

    return parked


@pytest.mark.slow
async def test_everything_that_is_dead_is_redriven_and_nothing_else(database, subscribe, redrive, deliveries):
    await subscribe()
    dead = await die(database, "a", "b", "c", "d", "e")
    (delivered,) = await accept(database, Throw(name="a"))
    (due,) = await record(database, delivered)
    await end(database, due, DeliveryState.DELIVERED, Outcome.SUCCEEDED)
    await throw(database, "a")

    assert await redrive(dry_run=True) == 5
    assert [delivery.state for delivery in await listed(deliveries)] == ["dead"] * 5 + ["delivered", "pending"]
    assert await redrive() == 5
    assert await redrive() == 0

    rows = await database.fetch("SELECT * FROM deliveries ORDER BY signal_id LIMIT 5")
    assert [(row["signal_id"], row["state"], row["reason"], row["redriven"]) for row in rows] == [
        (signal_id, "parked", "retry", 1) for signal_id in dead
    ]
    assert {row["finished_at"] for row in rows} == {None}
    released = await deliveries.release(limit=10, rescue_after=RESCUE_AFTER)
    assert released == [DueAttempt(signal_id, 1, 2) for signal_id in dead], "once more each, the oldest first"
    assert await balanced(database)


@pytest.mark.slow
async def test_every_filter_counts_and_all_of_them_together(database, subscribe, redrive, parked):
    first, second = await subscribe("a.#"), await subscribe("#.b")
    (early,) = await die(database, "a.b")
    between = separating_moment()
    (late,) = await die(database, "a.b", outcome=Outcome.TIMED_OUT)
    (other,) = await die(database, "a.c", outcome=Outcome.TIMED_OUT)
    counts = {
        2: [SignalFilter(name="a.b", since=between), SignalFilter(name="a.b", until=between)],
        3: [SignalFilter(since=between)],
        4: [
            SignalFilter(name="a.b"),
            SignalFilter(name="#.b"),
            SignalFilter(name="*.b"),
            SignalFilter(names=["c", "a.b"]),
        ],
        5: [SignalFilter(), SignalFilter(name="a.*"), SignalFilter(names=["a.#", "x"])],
        0: [
            SignalFilter(tenants=[], untenanted=True),
            SignalFilter(name="a"),
            SignalFilter(name="A.b"),
            SignalFilter(names=[]),
            SignalFilter(since=between, until=between),
        ],
    }
    for count, all_sought in counts.items():
        for sought in all_sought:
            assert await redrive(sought, dry_run=True) == count, sought
    assert await redrive(outcome=Outcome.TIMED_OUT, dry_run=True) == 3
    assert await redrive(outcome=Outcome.GONE, dry_run=True) == 0
    assert await redrive(subscription_id=first, dry_run=True) == 3
    assert await redrive(subscription_id=second, dry_run=True) == 2
    assert await redrive(subscription_id=99, dry_run=True) == 0

    together = SignalFilter(name="*.b", since=between, names=["a.#"])
    assert await redrive(together, subscription_id=second, outcome=Outcome.TIMED_OUT) == 1
    assert await parked() == [late]
    assert await redrive(SignalFilter(until=between)) == 2
    assert await redrive(SignalFilter(name="#.c")) == 1
    assert await parked() == [early, early, late, other]


async def test_a_list_finds_by_the_same_filters(database, subscribe, deliveries):
    subscription = await subscribe()
    early, _ = await die(database, "a.b", "a.c")
    between = separating_moment()
    (late,) = await die(database, "a.b", outcome=Outcome.TIMED_OUT)
    (pending,) = await throw(database, "a.b")

    async def found(**filters):
        return [delivery.signal_id for delivery in await listed(deliveries, **filters)]

    assert await found(name="a.b") == [early, late, pending]
    assert await found(name="*.b", state="dead") == [early, late]
    assert await found(since=between) == [late, pending]
    assert await found(until=between, name="#.b") == [early]
    assert await found(since=between, after=(late, subscription)) == [pending]
    assert await found(outcome=Outcome.TIMED_OUT) == [late]
    assert await found(outcome=Outcome.TIMED_OUT, name="a.c") == []


async def test_the_outcome_is_that_of_the_last_attempt(database, subscribe, redrive):
    await subscribe()
    await die(database, "a", outcome=Outcome.TIMED_OUT)
    assert await redrive() == 1
    (due,) = await DeliveryStore(database).release(limit=1, rescue_after=RESCUE_AFTER)
    await end(database, due, DeliveryState.DEAD, Outcome.REFUSED)
    assert await redrive(outcome=Outcome.TIMED_OUT, dry_run=True) == 0
    assert await redrive(outcome=Outcome.REFUSED, dry_run=True) == 1


@pytest.mark.slow
async def test_what_would_not_be_attempted_is_not_redriven(database, subscribe, subscriptions, redrive, parked):
    """It could only be cancelled, or be dead again at once."""
    kept, deleted, disabled = await subscribe("a"), await subscribe("b"), await subscribe("c")
    paused = await subscribe("d")
    soon = datetime.now(UTC) + timedelta(hours=1)
    throws = [Throw(name=name) for name in "abcd"]
    dead = await die(database, *throws, Throw(name="a", expires_at=soon))
    await subscriptions.delete(deleted)
    await database.execute("UPDATE subscriptions SET disabled_because = 'so' WHERE id = $1", disabled)
    await database.execute("UPDATE subscriptions SET paused_at = now() WHERE id = $1", paused)
    await database.execute("UPDATE signals SET expires_at = now() - interval '1 second' WHERE expires_at = $1", soon)

    assert await redrive() == 2
    assert await parked() == [dead[0], dead[3]]
    hopeless = {
        (details.delivery.signal_id, details.hopeless)
        for key in [(dead[0], kept), (dead[1], deleted), (dead[2], disabled), (dead[3], paused), (dead[4], kept)]
        if (details := await DeliveryStore(database).get(key))
    }
    assert hopeless == {
        (dead[0], None),
        (dead[1], "the subscription was deleted"),
        (dead[2], "the subscription is disabled, and has to be resumed first"),
        (dead[3], None),
        (dead[4], "the signal has expired"),
    }


async def test_what_is_owed_of_a_signal_for_later_waits_for_its_moment(database, subscribe, redrive, deliveries):
    subscription = await subscribe()
    later = datetime.now(UTC) + timedelta(hours=1)
    one, other = await throw(database, *[Throw(name="a", deliver_at=later)] * 2)
    await database.execute("UPDATE deliveries SET state = 'dead'")
    assert await deliveries.redrive((one, subscription))
    assert await redrive() == 1
    assert [(delivery.signal_id, delivery.due_at) for delivery in await listed(deliveries)] == [
        (one, later),
        (other, later),
    ]


@pytest.mark.slow
async def test_only_what_belongs_to_the_caller_is_redriven(database, subscribe, redrive, parked):
    for tenant in ("acme", "globex", None):
        await subscribe("a", tenant_id=tenant)
    (signal_id,) = await die(database, "a")
    assert await redrive(SignalFilter(tenants=["acme"], untenanted=True)) == 1
    assert await parked() == [signal_id]
    assert await redrive(SignalFilter(tenants=["initech"], names=["b"])) == 0
    assert await redrive() == 2


@pytest.mark.slow
async def test_two_at_the_same_time_redrive_each_delivery_once(database, subscribe, redrive, deliveries):
    subscription = await subscribe()
    dead = await die(database, *["a"] * 60)
    counts = await asyncio.gather(
        redrive(limit=7), redrive(limit=5), redrive(limit=60), redrive(subscription_id=subscription, limit=11)
    )
    assert sum(counts) == 60
    released = await deliveries.release(limit=100, rescue_after=RESCUE_AFTER)
    assert sorted(due.signal_id for due in released) == dead
    assert await balanced(database)


async def test_a_pace_spreads_them_over_all_chunks_and_calls(database, subscribe, deliveries):
    await subscribe()
    dead = await die(database, *["a"] * 7)
    pace = Pace(1)
    started = await database.fetchval("SELECT now()")
    store = RedriveStore(database, limit=2)
    ended = None
    async for chunk in store.redrive(ALL, pace):
        if chunk.after is not None and chunk.after == f"{dead[3]}-1":
            break
        ended = ended or await database.fetchval("SELECT now()")
    async for _ in store.redrive(ALL, Pace(1, pace.at), after=(dead[3], 1)):
        pass

    moments = [delivery.due_at for delivery in await listed(deliveries)]
    gaps = {later - earlier for earlier, later in pairwise(moments)}
    assert gaps == {SECOND}
    assert started <= moments[0] <= ended


async def test_expressions_find_what_patterns_match(database):
    chance = random.Random(7)
    words = ["a", "b", "", "a-b", "ä", "(", "\\", "[x]", "A"]
    pairs = {
        (
            ".".join(chance.choices([*words, "*", "#", "*", "#"], k=chance.randint(1, 5))),
            ".".join(chance.choices(words, k=chance.randint(1, 4))),
        )
        for _ in range(3000)
    }
    rows = await database.fetch(
        "SELECT pattern, name, '.' || name ~ expression AS found"
        " FROM unnest($1::text[], $2::text[], $3::text[]) AS p (pattern, name, expression)",
        [pattern for pattern, _ in pairs],
        [name for _, name in pairs],
        [expression([pattern]) for pattern, _ in pairs],
    )
    assert [row for row in rows if row["found"] != matches(row["pattern"], row["name"])] == []
    assert {row["found"] for row in rows} == {True, False}


async def test_no_pattern_takes_long(database):
    expressions = [expression([pattern]) for pattern in (".".join(["#.a"] * 63), ".".join(["#.*"] * 63))]
    for one in expressions:
        rows = await database.fetch("SELECT repeat('.a', 120) || '.b' ~ $1 FROM generate_series(1, 1000)", one)
        assert len(rows) == 1000


async def in_each_state(database, deliveries):
    """Return the ids of the signals of one delivery in each state, by the states."""
    ids = await die(database, "a", "a", "a", "a")
    (pending,) = await throw(database, "a")
    states = dict(zip(("dead", "parked", "delivered", "cancelled"), ids, strict=True))
    for state, signal_id in states.items():
        await database.execute(
            "UPDATE deliveries SET state = $1, due_at = CASE WHEN $1 = 'parked' THEN now() + interval '1 hour' END,"
            " reason = CASE WHEN $1 = 'parked' THEN 'retry' END WHERE signal_id = $2",
            state,
            signal_id,
        )
    return states | {"pending": pending}


@pytest.mark.slow
@pytest.mark.parametrize("state", ["dead", "parked", "delivered", "cancelled"])
async def test_deliveries_in_the_state_that_is_asked_for_are_redriven(database, subscribe, redrive, deliveries, state):
    await subscribe()
    ids = await in_each_state(database, deliveries)
    assert await redrive(state=DeliveryState(state), dry_run=True) == 1
    assert await redrive(state=DeliveryState(state)) == 1
    assert await redrive(state=DeliveryState(state)) == 0, "what is due is left alone"
    (due,) = await deliveries.release(limit=10, rescue_after=RESCUE_AFTER)
    assert (due.signal_id, due.attempt) == (ids[state], 2)
    redriven = await database.fetchval("SELECT redriven FROM deliveries WHERE signal_id = $1", due.signal_id)
    assert redriven == (0 if state == "parked" else 1), "the schedule starts over, unless it was not at its end"
    assert await balanced(database)


@pytest.mark.slow
async def test_each_one_can_be_redriven_by_its_id_but_what_is_pending(database, subscribe, deliveries):
    subscription_id = await subscribe()
    ids = await in_each_state(database, deliveries)
    assert {state: await deliveries.redrive((key, subscription_id)) for state, key in ids.items()} == {
        "dead": True,
        "parked": True,
        "delivered": True,
        "cancelled": True,
        "pending": False,
    }
    assert not any([await deliveries.redrive((key, subscription_id)) for key in ids.values()]), "all are due already"
    assert await balanced(database)


@pytest.mark.slow
async def test_what_was_cancelled_with_its_signal_is_not_put_back(database, subscribe, deliveries):
    subscription_id = await subscribe()
    ids = await in_each_state(database, deliveries)
    await database.execute("UPDATE signals SET state = 'cancelled'")
    assert not any([await deliveries.redrive((key, subscription_id)) for key in ids.values()])


@pytest.mark.slow
async def test_a_once_subscription_gets_no_second_signal_because_cancelled_ones_are_redriven(
    database, subscribe, redrive, deliveries
):
    subscription_id = await subscribe(once=True)
    ids = []
    for _ in range(3):
        (signal_id,) = await die(database, "a")
        ids.append(signal_id)
        assert await deliveries.cancel((signal_id, subscription_id), by=ADMINISTRATOR)
    assert await redrive(state=DeliveryState.CANCELLED, limit=10) == 1
    assert await database.fetchval("SELECT consumed_by FROM subscriptions") == ids[0]
    assert [await deliveries.redrive((key, subscription_id)) for key in ids[1:]] == [False, False]
    assert await redrive(state=DeliveryState.CANCELLED, limit=10, dry_run=True) == 0
    assert await balanced(database)


async def test_what_waits_in_an_ordering_group_keeps_its_place(database, subscribe, redrive, deliveries):
    await subscribe(ordered=True)
    throws = [Throw(name="a", ordering_key="k") for _ in range(3)]
    await throw(database, *throws)
    (second, third) = [one.signal_id for one in await listed(deliveries, state="parked")]
    assert not await deliveries.redrive((second, 1))
    assert await redrive(state=DeliveryState.PARKED) == 0
    assert [(one.reason, one.due_at) for one in await listed(deliveries, state="parked")] == [("ordered", None)] * 2
    assert third > second
