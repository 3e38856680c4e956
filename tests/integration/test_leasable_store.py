"""What is found to lease, whatever else there is, and what that costs."""

from __future__ import annotations

from datetime import timedelta

import pytest

from broker.operations.leases import Leasing, Sought
from broker.reach import Reach
from broker.store.deliveries import leasable
from broker.store.deliveries.leasable import LeasableStore, Named
from broker.store.deliveries.leases import LeaseStore
from broker.subscriptions import SubscriptionSpec
from broker.targets import PullTarget
from tests.support.builders import RESCUE_AFTER, accept, record
from tests.support.plans import count_pages

ALL = Reach()
CLONE = """
    INSERT INTO subscriptions (name, kind, address, is_pattern, once, headers, schedule, since)
    SELECT $1, kind, address, is_pattern, once, headers, schedule, since
    FROM (SELECT * FROM subscriptions LIMIT 1) AS s, generate_series(1, 20000)
"""


@pytest.fixture
def store(database):
    return LeasableStore(database)


@pytest.fixture
def subscribe(subscriptions):
    """Call it to create a subscription with a pull target; return its id."""

    async def subscribe(name="a", **options):
        spec = SubscriptionSpec(name=name, targets=(PullTarget(),), **options)
        return (await subscriptions.create(spec, secret=None)).id

    return subscribe


@pytest.fixture
def lease(database, store):
    """Call it to lease so many deliveries of some subscriptions; return their signals and subscriptions."""
    leasing = Leasing(LeaseStore(database, rescue_after=RESCUE_AFTER), store)

    async def may_go_on():
        return True

    async def lease(*ids, most=10):
        sought = Sought.of(dict.fromkeys(ids, timedelta(minutes=1)))
        leased = await leasing.lease(sought, most=most, wait=timedelta(0), worker=None, may_go_on=may_go_on)
        return [(one.claimed.due.signal_id, one.claimed.due.subscription_id) for one in leased]

    return lease


async def throw(database, *names):
    """Return the ids of signals that are recorded."""
    signals = await accept(database, *names)
    await record(database, *signals)
    return [signal.id for signal in signals]


async def test_the_oldest_signals_come_first_whatever_subscription_they_are_owed_to(database, subscribe, lease):
    first, second = await subscribe("a"), await subscribe("b")
    thrown = await throw(database, "b", "a", "a", "b", "a")
    assert sorted(await lease(first, second, most=2)) == [(thrown[0], second), (thrown[1], first)]
    assert sorted(await lease(first, second, most=2)) == [(thrown[2], first), (thrown[3], second)]


@pytest.mark.slow
@pytest.mark.parametrize("limit", [{"max_in_flight": 1}, {"max_per_second": 0.001}])
async def test_what_a_limit_keeps_back_makes_room_for_others(database, subscribe, lease, limit):
    limited, other = await subscribe("a", **limit), await subscribe("b")
    thrown = await throw(database, "a", "a", "a", "b", "b")
    assert sorted(await lease(limited, other, most=3)) == [(thrown[0], limited), (thrown[3], other), (thrown[4], other)]
    [last] = await throw(database, "b")
    assert await lease(limited, other) == [(last, other)]


async def test_a_paused_subscription_makes_room_for_others(database, subscribe, lease, pausing):
    paused, other = await subscribe("a"), await subscribe("b")
    await throw(database, "a", "a")
    await pausing.pause(paused)
    [thrown] = await throw(database, "b")
    assert await lease(paused, other, most=1) == [(thrown, other)]


async def test_a_name_stands_for_the_subscriptions_of_a_reach_that_have_something_to_lease(database, subscribe, store):
    mine, another, none = [await subscribe("a", tenant_id=tenant) for tenant in ("t1", "t2", None)]
    await subscribe("b")
    await throw(database, "a", "b")
    await subscribe("a")  # too late for the signal

    async def found(reach=ALL, name="a", **narrower):
        named = Named(name, reach, **narrower)
        return (await store.of_names([named], reach)).keys()

    assert await found() == {mine, another, none}
    assert await found(Reach(("t1",))) == {mine}
    assert await found(Reach(("t1",), untenanted=True)) == {mine}, "the one without a tenant gets what is for all"
    assert await found(tenants=frozenset({"t2"})) == {another}
    assert await found(without_tenant=True) == {none}
    assert await found(name="c") == set()


async def test_a_subscription_that_is_named_twice_belongs_to_the_first(database, subscribe, store):
    mine, other = await subscribe("a", tenant_id="t1"), await subscribe("a", tenant_id="t2")
    await throw(database, "a")
    named = [Named("a", ALL, tenants=frozenset({"t1"})), Named("a", ALL)]
    assert await store.of_names(named, ALL) == {mine: named[0], other: named[1]}


@pytest.mark.slow
async def test_no_more_subscriptions_than_a_limit_are_found_and_each_has_a_chance(
    database, subscribe, store, monkeypatch
):
    ids = {await subscribe("a", tenant_id=f"t{number}") for number in range(4)}
    await throw(database, "a")
    monkeypatch.setattr(leasable, "MOST_SUBSCRIPTIONS", 2)
    found = [(await store.of_names([Named("a", ALL)], ALL)).keys() for _ in range(200)]
    assert all(len(one) == 2 for one in found)
    assert set().union(*found) == ids


@pytest.fixture
async def crowd(database, subscribe):
    """Two subscriptions named `a` that have something to lease.

    Between them are many of the name that have nothing, and after them many of another name that have something.
    """
    first = await subscribe("a")
    await database.execute(CLONE, "a")
    last = await subscribe("a")
    await database.execute(CLONE, "b")
    await database.execute(
        "INSERT INTO deliveries (signal_id, subscription_id, state, app)"
        f" SELECT 1, id, 'pending', '$pull' FROM subscriptions WHERE name = 'b' OR id IN ({first}, {last})"
    )
    return first, last


@pytest.mark.slow
@pytest.mark.parametrize("statistics", ["missing", "there"])
async def test_neither_idle_subscriptions_of_a_name_nor_those_of_others_cost_much(database, crowd, store, statistics):
    if statistics == "there":
        await database.execute("ANALYZE deliveries, subscriptions")
    assert (await store.of_names([Named("a", ALL)], ALL)).keys() == set(crowd)
    async with database.session() as session:
        pages = await count_pages(
            session,
            leasable._Sql.of_names,  # noqa: SLF001  (its cost matters)
            topics="""'[{"number": 0, "name": "a"}]'""",
            tenants="NULL",
            untenanted="false",
            limit="1000",
        )
    assert pages < 200
