"""Statistics come from what happened, whatever made it happen: their sums are those of the ledger."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from broker.access import ADMINISTRATOR, Principal
from broker.deliveries import BY_HAND, DeliveryState, Outcome, Reason
from broker.settings import Settings
from broker.signals import Scope, Throw
from broker.statistics import HOUR, MINUTE, Split, align, make_window
from broker.store.deliveries import folding
from broker.store.deliveries.deliveries import DeliveryStore
from broker.store.deliveries.folding import StatisticsKeeper
from broker.store.deliveries.statistics import StatisticsStore, Subject, SuccessRate
from broker.subscriptions import SubscriptionSpec
from broker.transport.embedded import EmbeddedTransport
from tests.support import builders
from tests.support import statistics as support
from tests.support.attempts import claim, finish, sweep_waiting
from tests.support.builders import QUEUE, RESCUE_AFTER
from tests.support.statistics import COUNTS, fold, groups, recent
from workers.partition_maintainer import PartitionMaintainer


@pytest.fixture
def statistics(database):
    return StatisticsStore(database)


@pytest.fixture
def sums(database):
    """Call it for the sums of all steps, as `tests.support.statistics.sums` does."""
    return partial(support.sums, database)


async def subscribe(subscriptions, name="a", **more):
    spec = SubscriptionSpec(name=name, targets=(QUEUE,), **more)
    return (await subscriptions.create(spec, secret=None)).id


async def end(attempts, *due_attempts, state, **more):
    claimed = await claim(attempts, *due_attempts)
    return await finish(attempts, *(builders.ended(one, state, **more) for one in claimed))


async def test_what_happened_is_in_its_minute(subscriptions, attempts, database, statistics):
    await subscribe(subscriptions)
    delivered, dead, parked = await builders.record(database, *await builders.accept(database, "a", "a", "a", "b"))
    await end(attempts, delivered, state=DeliveryState.DELIVERED)
    await end(attempts, dead, state=DeliveryState.DEAD)
    await end(attempts, parked, state=DeliveryState.PARKED, pause=timedelta(hours=1), reason=Reason.RETRY.value)
    await fold(database)

    figures = await statistics.read(recent(), Subject())

    assert {name: sum(getattr(one, name) for one in figures) for name in COUNTS} == {
        "accepted": 4,
        "recorded": 4,
        "delivered": 1,
        "dead": 1,
        "retried": 1,
    }
    assert all(one.at.second == 0 for one in figures)
    assert sum(sum(one.counts) for one in figures) == 1


async def test_a_signal_counts_as_accepted_in_the_minute_of_its_throw(database, statistics):
    (signal,) = await builders.accept(database, "a")
    old = builders.signal(signal.id, created_at=datetime.now(UTC) - timedelta(minutes=30))
    await builders.record(database, old)
    await fold(database)

    figures = await statistics.read(recent(), Subject())

    assert [(one.accepted, one.recorded) for one in figures] == [(1, 0), (0, 1)]
    assert figures[0].at == align(old.created_at, MINUTE)


async def test_latencies_are_from_the_throw_to_the_delivery(subscriptions, attempts, database, statistics):
    await subscribe(subscriptions)
    (signal,) = await builders.accept(database, "a")
    old = builders.signal(signal.id, created_at=datetime.now(UTC) - timedelta(minutes=20))
    await end(attempts, *await builders.record(database, old), state=DeliveryState.DELIVERED)
    await fold(database)

    (figures,) = [one for one in await statistics.read(recent(), Subject()) if one.delivered]

    (number,) = figures.classes
    assert figures.counts == [1]
    assert 1.1**number >= 1_200_000, "20 minutes, in milliseconds"
    assert 1.1 ** (number - 1) < 1_210_000


@pytest.mark.slow
async def test_deaths_that_one_statement_makes_are_counted(subscriptions, attempts, pausing, database, sums):
    """A 410 disables the subscription, and the sweep ends the whole backlog."""
    subscription = await subscribe(subscriptions)
    due_attempts = await builders.record(database, *await builders.accept(database, *"aaaaaa"))
    await end(
        attempts, due_attempts[0], state=DeliveryState.DEAD, outcome=Outcome.GONE, reason="the target answered 410"
    )
    await claim(attempts, *due_attempts[1:])
    await sweep_waiting(pausing)

    assert (await DeliveryStore(database).ledger(subscription)).states[DeliveryState.DEAD] == 6
    assert (await sums())["dead"] == 6
    assert (await sums(subscription_id=subscription))["dead"] == 6


@pytest.mark.slow
async def test_a_redriven_delivery_counts_again(subscriptions, attempts, deliveries, database, sums):
    await subscribe(subscriptions)
    (due,) = await builders.record(database, *await builders.accept(database, "a"))
    await end(attempts, due, state=DeliveryState.DELIVERED)
    for _ in range(2):
        assert await deliveries.redrive((due.signal_id, 1))
        await end(
            attempts, *await deliveries.release(limit=1, rescue_after=RESCUE_AFTER), state=DeliveryState.DELIVERED
        )

    assert await sums() == {"accepted": 1, "recorded": 1, "delivered": 3, "dead": 0, "retried": 0}


@pytest.mark.slow
async def test_a_cancellation_is_no_death(subscriptions, attempts, deliveries, database, sums):
    await subscribe(subscriptions)
    (due,) = await builders.record(database, *await builders.accept(database, "a"))
    await end(attempts, due, state=DeliveryState.DEAD)
    assert await deliveries.cancel((due.signal_id, 1), by=ADMINISTRATOR)
    assert await database.fetchval("SELECT reason FROM deliveries") == BY_HAND

    assert (await sums())["dead"] == 1


@pytest.mark.slow
async def test_splits_and_filters(subscriptions, attempts, database):
    acme = await subscribe(subscriptions, "a", tenant_id="acme")
    other = await subscribe(subscriptions, "#")
    throws = [Throw(name="a", tenant_id="acme"), Throw(name="b"), Throw(name="a", tenant_id="beta")]
    due = await builders.record(database, *await builders.accept(database, *throws))
    await end(attempts, *due, state=DeliveryState.DELIVERED)
    ended = {one.subscription_id for one in due}

    assert ended == {acme, other}
    assert await groups(database, Split.SUBSCRIPTION) == {str(acme): (2, 2, 2, 0, 0), str(other): (3, 3, 3, 0, 0)}
    assert await groups(database, Split.TENANT) == {
        "acme": (1, 1, 2, 0, 0),
        "beta": (1, 1, 0, 0, 0),
        "": (1, 1, 3, 0, 0),
    }
    assert await groups(database, Split.NAME) == {"a": (2, 2, 4, 0, 0), "b": (1, 1, 1, 0, 0)}
    assert await groups(database, Split.NAME, tenant_id="acme") == {"a": (1, 1, 2, 0, 0)}
    assert await groups(database, Split.SUBSCRIPTION, name="b") == {str(other): (1, 1, 1, 0, 0)}
    assert await groups(database, Split.TENANT, name="a") == {
        "acme": (1, 1, 2, 0, 0),
        "beta": (1, 1, 0, 0, 0),
        "": (0, 0, 2, 0, 0),
    }
    assert await groups(database, None, subscription_id=acme, tenant_id="beta") == {}


def limited(**limits):
    return Principal(name="t", permissions=frozenset(), **limits)


async def test_a_caller_is_told_of_its_tenants_and_names_alone(subscriptions, attempts, database, sums):
    await subscribe(subscriptions, "a", tenant_id="acme")
    await subscribe(subscriptions, "a", tenant_id="beta")
    await subscribe(subscriptions, "b", tenant_id="acme")
    of_acme = {"scope": Scope.TENANT, "tenant_id": "acme"}
    throws = [Throw(name="a"), Throw(name="a", **of_acme), Throw(name="b", **of_acme)]
    due = await builders.record(database, *await builders.accept(database, *throws))
    assert len(due) == 4
    await end(attempts, *due, state=DeliveryState.DELIVERED)

    acme = limited(tenants=("acme",), untenanted=True)
    assert await sums(acme) == {"accepted": 2, "recorded": 2, "delivered": 3, "dead": 0, "retried": 0}
    assert await sums(limited(tenants=("beta",))) == {**dict.fromkeys(COUNTS, 0), "delivered": 1}
    assert await sums(limited(names=("b",))) == {"accepted": 1, "recorded": 1, "delivered": 1, "dead": 0, "retried": 0}
    both = limited(names=("a",), tenants=("acme",))
    assert await sums(both) == {"accepted": 1, "recorded": 1, "delivered": 2, "dead": 0, "retried": 0}
    assert await groups(database, Split.TENANT, acme) == {"acme": (2, 2, 3, 0, 0)}
    assert await groups(database, Split.NAME, acme) == {"a": (1, 1, 2, 0, 0), "b": (1, 1, 1, 0, 0)}
    assert set(await groups(database, Split.SUBSCRIPTION, acme)) == {"1", "3"}
    assert await sums(acme, tenant_id="beta") == dict.fromkeys(COUNTS, 0)


async def test_no_minute_tells_more_tenants_and_names_apart_than_there_is_room_for(
    subscriptions, attempts, database, monkeypatch
):
    """The room is the same for what comes in one fold, and for what comes later."""
    monkeypatch.setattr(folding, "ROOM", 3)
    monkeypatch.setattr(folding, "ROOM_FOR_DETAILS", 2)
    await subscribe(subscriptions, "#")
    for first in (0, 5):
        names = [f"n{number}" for number in range(first, first + 5)]
        throws = [Throw(name=name, tenant_id=f"t{name}") for name in names]
        due = await builders.record(database, *await builders.accept(database, *throws))
        await end(attempts, *due, state=DeliveryState.DELIVERED)
        await fold(database)

    for split, rooms in ((Split.NAME, 3), (Split.TENANT, 3)):
        of_groups = await groups(database, split)
        told = {key: counts for key, counts in of_groups.items() if key != "\x1f"}
        minutes = await database.fetchval("SELECT count(DISTINCT at) FROM statistics")
        assert len(told) <= rooms * minutes + 1, "those without a tenant are one of them"
        assert sum(counts[0] for counts in of_groups.values()) == 10
    assert sum(counts[2] for counts in (await groups(database, Split.SUBSCRIPTION)).values()) == 10
    rows = "SELECT count(*) FROM statistics WHERE kind = $1 GROUP BY at"
    for kind, most in (("name", 4), ("tenant", 4), ("signals", 4), ("subscription", 3)):
        assert all(row[0] <= most for row in await database.fetch(rows, kind)), kind


async def age(database, by):
    """Let all that happened have happened that much earlier."""
    await database.execute("UPDATE statistics SET at = at - $1::interval", by)
    await database.execute("UPDATE statistics_progress SET added_up_until = added_up_until - $1::interval", by)


@pytest.mark.slow
async def test_hours_are_the_sums_of_their_minutes(subscriptions, attempts, database, statistics):
    await subscribe(subscriptions)
    due = await builders.record(database, *await builders.accept(database, *"aaab"))
    await end(attempts, *due, state=DeliveryState.DELIVERED)
    await fold(database)
    now = datetime.now(UTC)
    window = make_window(now - timedelta(hours=60), now, HOUR, now=now)
    before = await statistics.read(window, Subject())
    await age(database, timedelta(hours=50))
    async with database.session() as session:
        keeper = StatisticsKeeper(session)
        assert await keeper.add_up() >= 49
        assert await keeper.forget(retention=None) > 0
    assert await database.fetchval("SELECT count(*) FROM statistics WHERE seconds = 60") == 0

    after = await statistics.read(window, Subject())
    assert [(one.accepted, one.recorded, one.delivered, one.classes, one.counts) for one in after] == [
        (one.accepted, one.recorded, one.delivered, one.classes, one.counts) for one in before
    ]
    assert {one.key for one in await statistics.read(window, Subject(), split=Split.NAME)} == {"a", "b"}
    async with database.session() as session:
        assert await StatisticsKeeper(session).forget(retention=timedelta(days=1)) > 0
    assert await statistics.read(window, Subject()) == []


async def test_what_comes_late_is_in_its_hour(database, statistics):
    """A signal that waited for its record for long is accepted in an hour that was added up."""
    await age(database, timedelta(hours=30))
    async with database.session() as session:
        await StatisticsKeeper(session).add_up()
    (signal,) = await builders.accept(database, "a")
    old = builders.signal(signal.id, created_at=datetime.now(UTC) - timedelta(hours=10))
    await builders.record(database, old)
    await fold(database)
    now = datetime.now(UTC)

    for step in (MINUTE, HOUR):
        window = make_window(now - timedelta(hours=11), now, step, now=now)
        figures = await statistics.read(window, Subject())
        assert [(one.accepted, one.recorded) for one in figures] == [(1, 0), (0, 1)]
        assert figures[0].at == align(old.created_at, step)


@pytest.mark.slow
async def test_several_schedulers_may_fold_at_once(subscriptions, attempts, deliveries, database, sums):
    await subscribe(subscriptions)
    for _ in range(10):
        due = await builders.record(database, *await builders.accept(database, *"aaaaa"))
        await end(attempts, *due, state=DeliveryState.DELIVERED)
    await asyncio.gather(*(deliveries.fold_ledger(limit=5) for _ in range(8)))

    assert await sums() == {"accepted": 50, "recorded": 50, "delivered": 50, "dead": 0, "retried": 0}


async def test_success_rates(subscriptions, attempts, database, statistics):
    good, bad, idle = [await subscribe(subscriptions, name) for name in ("a", "b", "c")]
    due = await builders.record(database, *await builders.accept(database, *"aabbb"))
    await end(attempts, *(one for one in due if one.subscription_id == good), state=DeliveryState.DELIVERED)
    of_bad = [one for one in due if one.subscription_id == bad]
    await end(attempts, *of_bad[:2], state=DeliveryState.DELIVERED)
    await end(attempts, of_bad[2], state=DeliveryState.DEAD)
    await fold(database)

    assert await statistics.success_rates([good, bad, idle]) == {
        good: SuccessRate(hour=1.0, day=1.0),
        bad: SuccessRate(hour=2 / 3, day=2 / 3),
        idle: SuccessRate(),
    }
    await age(database, timedelta(hours=3))
    assert (await statistics.success_rates([bad]))[bad] == SuccessRate(hour=None, day=2 / 3)
    async with database.session() as session:
        await StatisticsKeeper(session).add_up()
    assert (await statistics.success_rates([bad]))[bad] == SuccessRate(hour=None, day=2 / 3)
    await age(database, timedelta(hours=22))
    assert (await statistics.success_rates([bad]))[bad] == SuccessRate()


async def test_the_rate_of_the_last_hour_has_what_was_added_up(subscriptions, attempts, database, statistics):
    made = await subscribe(subscriptions)
    due = await builders.record(database, *await builders.accept(database, "a"))
    await end(attempts, *due, state=DeliveryState.DELIVERED)
    await fold(database)
    await age(database, timedelta(minutes=55))
    await database.execute("UPDATE statistics_progress SET added_up_until = date_bin('1 hour', now(), '2000-01-01Z')")

    assert (await statistics.success_rates([made]))[made].hour == 1.0


async def test_the_groups_are_those_to_which_most_happened(subscriptions, database, statistics):
    await subscribe(subscriptions, "#")
    throws = [f"n{number}" for number in range(60)] + ["n59", "n58"]
    await builders.record(database, *await builders.accept(database, *throws))
    await fold(database)

    figures = await statistics.read(recent(), Subject(), split=Split.NAME)

    keys = {one.key for one in figures}
    assert len(keys) == 50
    assert {"n58", "n59"} <= keys


async def test_nothing_is_folded_while_an_hour_is_added_up(database, deliveries, sums):
    """A scheduler must not wait for that, and what it folded might be in neither."""
    await builders.throw(database, "a")
    async with database.transaction() as session:
        await session.execute("SELECT FROM statistics_progress FOR UPDATE")
        assert await deliveries.fold_ledger(limit=100) == 0
        assert (await deliveries.ledger()).recorded == 1

    assert (await sums())["recorded"] == 1


async def test_the_maintainer_adds_up_and_forgets(database, statistics):
    await builders.throw(database, "a")
    await fold(database)
    await age(database, timedelta(hours=50))
    async with EmbeddedTransport(database) as transport:
        await PartitionMaintainer(database, transport, Settings()).maintain()

    assert await database.fetchval("SELECT array_agg(DISTINCT seconds) FROM statistics") == [HOUR]
