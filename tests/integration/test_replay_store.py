"""The store's half of replaying: a subscription is owed what it matches of the past, once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from broker.errors import StoreUnavailable
from broker.filters import parse_filter
from broker.limits import Pace
from broker.signals import Scope, Throw
from broker.store.deliveries.bulk import SignalFilter
from broker.store.deliveries.replays import ReplayStore
from broker.subscriptions import SubscriptionSpec
from tests.support.builders import QUEUE, RESCUE_AFTER, SECOND, accept, record, separating_moment
from tests.support.listing import listed
from tests.support.owing import balanced, throw

ALL = SignalFilter()


@pytest.fixture
def subscribe(subscriptions):
    async def subscribe(name="#", **spec):
        return (await subscriptions.create(SubscriptionSpec(name=name, targets=(QUEUE,), **spec), secret=None)).id

    return subscribe


@pytest.fixture
def replay(database):
    async def replay(subscription_id, sought=ALL, *, limit=2, **options):
        chunks = ReplayStore(database, limit=limit).replay(subscription_id, sought, Pace(None), **options)
        return sum([chunk.count async for chunk in chunks])

    return replay


@pytest.fixture
def owed(deliveries):
    async def owed(subscription_id):
        return [delivery.signal_id for delivery in await listed(deliveries, subscription_id=subscription_id)]

    return owed


@pytest.mark.slow
async def test_a_new_subscription_gets_the_window_and_nothing_else_and_nothing_twice(
    database, subscribe, replay, owed, deliveries
):
    await throw(database, "a", "a")
    since = separating_moment()
    window = await throw(database, "a", "b", "a", "a")
    until = separating_moment()
    await throw(database, "a", "a", "a")
    late = await subscribe("a")
    wanted = [window[0], window[2], window[3]]

    assert await replay(late, SignalFilter(since=since, until=until), dry_run=True) == 3
    assert (await owed(late), await balanced(database)) == ([], True)
    assert await replay(late, SignalFilter(since=since, until=until)) == 3
    assert await owed(late) == wanted
    assert await replay(late, SignalFilter(since=since, until=until), dry_run=True) == 0
    assert await replay(late, SignalFilter(since=since, until=until)) == 0
    assert await owed(late) == wanted
    page = await listed(deliveries)
    assert {(delivery.state, delivery.reason, delivery.attempt_count) for delivery in page} == {("parked", "replay", 0)}
    assert [due.signal_id for due in await deliveries.release(limit=9, rescue_after=RESCUE_AFTER)] == wanted
    assert await balanced(database)


async def test_everything_that_is_kept_is_replayed_when_no_window_is_named(database, subscribe, replay, owed):
    old = await subscribe("a")
    before = await throw(database, "a", "a", "a")
    new = await subscribe("#")
    after = await throw(database, "a", "b")

    assert await replay(new) == 3
    assert await owed(new) == [*before, *after]
    assert await replay(old) == 0, "what it was owed from the beginning, it is not owed again"
    assert await balanced(database)


async def test_a_replay_that_is_cut_off_is_repeated_or_continued_and_nothing_comes_twice(
    database, subscribe, replay, owed
):
    ids = await throw(database, *["a"] * 5)
    late = await subscribe("a")
    chunks = ReplayStore(database, limit=2).replay(late, ALL, Pace(None))
    first = await anext(chunks)
    await chunks.aclose()
    assert (first.count, first.looked, first.after) == (2, 2, str(ids[1]))
    assert (await owed(late), await balanced(database)) == (ids[:2], True)

    assert await replay(late, after_id=ids[3]) == 1
    assert await owed(late) == [ids[0], ids[1], ids[4]]
    assert await replay(late) == 2
    assert await owed(late) == ids
    assert await balanced(database)


@pytest.mark.slow
async def test_a_chunk_is_owed_wholly_or_not_at_all(database, subscribe, owed):
    """The signals are noted as owed first; if the deliveries cannot be made, they are not owed."""
    await throw(database, *["a"] * 4)
    late = await subscribe("a")
    await database.execute("""
        CREATE FUNCTION crash() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.signal_id = (SELECT max(id) FROM signals) THEN
                PERFORM pg_terminate_backend(pg_backend_pid());
            END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER crash BEFORE INSERT ON deliveries FOR EACH ROW EXECUTE FUNCTION crash();
    """)
    chunks = ReplayStore(database, limit=3).replay(late, ALL, Pace(None))
    assert (await anext(chunks)).count == 3
    with pytest.raises(StoreUnavailable):
        await anext(chunks)
    assert (len(await owed(late)), await balanced(database)) == (3, True)


@pytest.mark.slow
async def test_names_scopes_tenants_and_filters_decide_as_they_do_for_new_signals(database, subscribe, replay, owed):
    throws = {
        "broadcast": Throw(name="a.b", payload=b'{"n": 1}'),
        "other": Throw(name="c", payload=b'{"n": 1}'),
        "ours": Throw(name="a.b", payload=b'{"n": 2}', scope=Scope.TENANT, tenant_id="acme"),
        "theirs": Throw(name="a.b", payload=b'{"n": 1}', scope=Scope.TENANT, tenant_id="globex"),
        "nobody's": Throw(name="a.b", payload=b'{"n": 1}', scope=Scope.UNTENANTED),
        "far": Throw(name="a.b", payload=b'{"n": 1}', audience=("globex",)),
        "run": Throw(name="a.b", payload=b'{"n": 1}', scope=Scope.EXECUTION, execution_id="run-1"),
    }
    ids = dict(zip(throws, await throw(database, *throws.values()), strict=True))
    expected = {
        await subscribe("a.*"): ["broadcast", "nobody's", "far"],
        await subscribe("a.*", tenant_id="acme"): ["broadcast", "ours"],
        await subscribe("a.b", filter=parse_filter({"n": {"operator": "NUM_EQ", "value": "2"}}), tenant_id="acme"): [
            "ours"
        ],
        await subscribe("#", execution_id="run-1"): ["broadcast", "other", "nobody's", "far", "run"],
    }
    for subscription_id, names in expected.items():
        assert await replay(subscription_id) == len(names)
        assert await owed(subscription_id) == [ids[name] for name in names]
    assert await balanced(database)


async def test_a_caller_replays_only_what_it_may_read(database, subscribe, replay, owed):
    throws = [
        Throw(name="a"),
        Throw(name="b"),
        Throw(name="a", scope=Scope.TENANT, tenant_id="acme"),
        Throw(name="a", audience=("globex",)),
        Throw(name="a", audience=("acme", "globex")),
    ]
    ids = await throw(database, *throws)
    untenanted, ours = await subscribe("#"), await subscribe("#", tenant_id="acme")
    assert await replay(untenanted, SignalFilter(names=["a"], tenants=["acme"])) == 2
    assert await owed(untenanted) == [ids[0], ids[4]]
    assert await replay(ours, SignalFilter(names=["a"], tenants=["acme"])) == 3
    assert await owed(ours) == [ids[0], ids[2], ids[4]]
    assert await replay(untenanted, SignalFilter(name="a")) == 1
    assert await owed(untenanted) == [ids[0], ids[3], ids[4]]


async def test_what_has_expired_or_was_cancelled_or_waits_for_its_moment_is_not_replayed(database, subscribe, replay):
    later = datetime.now(UTC) + timedelta(hours=1)
    _, expired, cancelled = await throw(
        database, Throw(name="a", deliver_at=later), Throw(name="a", expires_at=later), Throw(name="a")
    )
    await database.execute("UPDATE signals SET expires_at = now() - interval '1 s' WHERE id = $1", expired)
    await database.execute("UPDATE signals SET state = 'cancelled' WHERE id = $1", cancelled)
    assert await replay(await subscribe("a")) == 0


async def test_the_first_one_consumes_a_subscription_that_is_once(database, subscribe, subscriptions, replay, owed):
    first, *_ = await throw(database, "a", "b", "a", "a")
    once = await subscribe("a", once=True)
    assert await replay(once, dry_run=True, limit=1) == 1
    assert await replay(once, limit=3) == 1
    assert (await owed(once), (await subscriptions.get(once)).consumed_by) == ([first], first)
    assert await replay(once) == 0
    await throw(database, "a")
    assert (await owed(once), await balanced(database)) == ([first], True)


@pytest.mark.slow
async def test_a_subscription_that_is_once_is_consumed_once_though_signals_come_meanwhile(
    database, subscribe, replay, owed
):
    await throw(database, *["a"] * 3)
    for _ in range(10):
        once = await subscribe("a", once=True)
        signals = await accept(database, *[Throw(name="a")] * 3)
        await asyncio.gather(*(record(database, signal) for signal in signals), replay(once), replay(once))
        assert len(await owed(once)) == 1
    assert await balanced(database)


@pytest.mark.slow
async def test_two_replays_at_the_same_time_owe_each_signal_once(database, subscribe, replay, owed):
    ids = await throw(database, *["a"] * 30)
    one, other = await subscribe("a"), await subscribe("#")
    counts = await asyncio.gather(*(replay(to, limit=limit) for limit in (3, 7, 30) for to in (one, other)))
    assert sum(counts) == 60
    assert (await owed(one), await owed(other)) == (ids, ids)
    assert await balanced(database)


async def test_a_subscription_that_goes_meanwhile_gets_no_more(database, subscribe, subscriptions, owed):
    await throw(database, *["a"] * 6)
    deleted, disabled = await subscribe("a"), await subscribe("a")
    for subscription_id in (deleted, disabled):
        chunks = ReplayStore(database, limit=2).replay(subscription_id, ALL, Pace(None))
        await anext(chunks)
        if subscription_id == deleted:
            await subscriptions.delete(deleted)
        else:
            await database.execute("UPDATE subscriptions SET disabled_because = 'so' WHERE id = $1", disabled)
        assert [chunk async for chunk in chunks] == []
        assert len(await owed(subscription_id)) == 2


async def test_a_pace_spreads_them_over_all_chunks_the_oldest_first(database, subscribe, deliveries):
    ids = await throw(database, *["a"] * 5)
    late = await subscribe("a")
    async for _ in ReplayStore(database, limit=2).replay(late, ALL, Pace(1)):
        pass
    page = await listed(deliveries)
    assert [delivery.signal_id for delivery in sorted(page, key=lambda delivery: delivery.due_at)] == ids
    moments = [delivery.due_at for delivery in page]
    gaps = {later - earlier for earlier, later in pairwise(moments)}
    assert gaps == {SECOND}


async def test_it_goes_by_the_order_of_recording(database, subscribe, replay, owed, deliveries):
    """What was accepted earlier and recorded later is not missed by who goes on after the signal before it."""
    early, late = await accept(database, Throw(name="a"), Throw(name="a"))
    await record(database, late)
    subscription = await subscribe("a")
    chunks = ReplayStore(database, limit=1).replay(subscription, ALL, Pace(None))
    assert (await anext(chunks)).after == str(late.id)
    await record(database, early)
    assert await replay(subscription, after_id=late.id) == 1
    assert await owed(subscription) == [early.id, late.id]
    await chunks.aclose()


@pytest.mark.slow
async def test_what_was_recorded_after_the_window_is_not_looked_at_but_all_that_belongs_into_it(
    database, subscribe, owed
):
    window = await throw(database, "a", "b", "a")
    (straggler,) = await accept(database, Throw(name="a"))
    ago = timedelta(hours=1)
    await database.execute(
        "UPDATE signals SET created_at = created_at - $1::interval, recorded_at = recorded_at - $1::interval", ago
    )
    straggler = replace(straggler, created_at=straggler.created_at - ago)
    await throw(database, *["a"] * 9)
    late = await subscribe("#")
    until = datetime.now(UTC) - ago / 2

    async def replay():
        chunks = ReplayStore(database, limit=2).replay(late, SignalFilter(until=until), Pace(None))
        done = [(chunk.count, chunk.looked) async for chunk in chunks]
        return sum(count for count, _ in done), sum(looked for _, looked in done)

    assert await replay() == (3, 4)
    assert await owed(late) == window
    await record(database, straggler)
    assert await replay() == (1, 13)
    assert await owed(late) == [*window, straggler.id]


@pytest.mark.slow
async def test_a_replay_looks_at_so_many_large_signals_at_a_time_as_fit(database, subscribe, owed):
    payload = b'{"a": 1, "text": "%b"}' % (b"x" * 3_000_000)
    accepted = await accept(database, *[Throw(name="a", payload=payload)] * 8)
    for signal in accepted:
        await record(database, signal)
    late = await subscribe("a", filter=parse_filter({"a": [{"operator": "IN", "values": ["1"]}]}))
    chunks = [chunk async for chunk in ReplayStore(database).replay(late, ALL, Pace(None))]
    assert [(chunk.looked, chunk.count) for chunk in chunks] == [(3, 3), (3, 3), (2, 2)]
    assert sorted(await owed(late)) == [signal.id for signal in accepted]


@pytest.mark.slow
async def test_a_replay_of_widely_matched_signals_writes_what_it_adds_and_no_more(
    database, subscribe, deliveries, monkeypatch
):
    monkeypatch.setattr("broker.store.deliveries.replays._BYTES", 100_000)
    wide = await throw(database, *["wide"] * 100)
    await database.execute(
        "UPDATE matches SET subscription_ids = ARRAY(SELECT generate_series(1000, 4000)) WHERE signal_id = ANY ($1)",
        wide,
    )
    while await deliveries.fold_ledger(limit=10_000):
        pass
    matched = (await deliveries.ledger()).matched
    steps = [step async for step in ReplayStore(database).replay(await subscribe("wide"), ALL, Pace(None))]
    assert sum(step.count for step in steps) == 100
    assert len(steps) > 5, "a chunk is as large as what it writes"
    assert await database.fetchval("SELECT count(*) FROM ledger_deltas") <= 3 * len(steps)
    assert (await deliveries.ledger()).matched == matched + 100
    await database.execute("UPDATE matches SET subscription_ids = '{1000, 7}' WHERE signal_id = $1", wide[0])
    assert (await deliveries.ledger()).matched == matched + 100 - 3000
