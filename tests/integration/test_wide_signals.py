"""A signal that many subscriptions match is recorded in chunks: all are owed it once, whatever happens between them."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from broker.deliveries import DeliveryState
from broker.filters import parse_filter
from broker.limits import Pace
from broker.signals import Scope, SignalState, Throw
from broker.store.deliveries.bulk import SignalFilter
from broker.store.deliveries.ordering import OrderingStore
from broker.store.deliveries.replays import ReplayStore
from broker.store.signals import signals as signals_module
from broker.store.signals.matches import Limits
from broker.store.signals.signals import SignalStore
from broker.subscriptions import SubscriptionSpec
from broker.targets import HandlerTarget
from tests.support.builders import DAY, QUEUE, RESCUE_AFTER, accept
from tests.support.history import lines
from tests.support.owing import balanced

LIMITS = Limits(wide=10, candidates=30, chunk=7)
ABOVE_ONE = parse_filter({"a": {"operator": "NUM_GT", "value": "1"}})
IS_X = parse_filter({"a": {"operator": "IN", "values": ["x"]}})
IS_Y = parse_filter({"a": {"operator": "IN", "values": ["y"]}})


@pytest.fixture
def store(database):
    return SignalStore(database, limits=LIMITS)


@pytest.fixture
def create(subscriptions):
    """Call it to create subscriptions of `sig` and return their ids."""

    async def create(count=1, **spec):
        wanted = SubscriptionSpec(**{"name": "sig", "targets": (QUEUE,), **spec})
        return [(await subscriptions.create(wanted, secret=None)).id for _ in range(count)]

    return create


@pytest.fixture
def owed(database):
    """Call it to get the states of the deliveries of a signal by their subscriptions."""

    async def owed(signal):
        rows = await database.fetch("SELECT * FROM deliveries WHERE signal_id = $1", signal.id)
        return {row["subscription_id"]: row["state"] for row in rows}

    return owed


async def set_filter(database, subscription_id, wanted):
    await database.execute(
        "UPDATE subscriptions SET filter = $1 WHERE id = $2", json.dumps(wanted.document), subscription_id
    )


async def step(store, signals):
    return (await store.record(signals, rescue_after=RESCUE_AFTER)).left


async def record(store, *signals):
    """Record *signals* to the end; return how many steps that took."""
    left, steps = signals, 0
    while left:
        left, steps = await step(store, left), steps + 1
        assert steps < 100
    return steps


@pytest.mark.slow
async def test_all_that_match_are_owed_it_once(database, store, create, owed):
    plain = await create(15)
    patterns = [*await create(15, name="#"), *await create(2, name="*")]
    others = [*await create(20, name="other"), *await create(8, name="other.#"), *await create(3, name="#.#.sig.*")]
    special = [*await create(3, filter=ABOVE_ONE), *await create(1, filter=IS_X), *await create(4, once=True)]
    filtered_out = [*await create(12, filter=IS_Y)]
    tenants = [*await create(9, tenant_id="acme"), *await create(2, execution_id="e")]
    handlers = await create(1, targets=(HandlerTarget(app="shop", handler="h"),))
    first, second = await accept(database, *[Throw(name="sig", payload=b'{"a": "x", "b": 1}')] * 2)
    late = await create(5)
    assert await record(store, first) > 8
    every = {*plain, *patterns, *tenants, *handlers, special[3]}
    once = set(special[4:])
    assert await owed(first) == dict.fromkeys(every | once, "parked")
    await record(store, second)
    assert await owed(second) == dict.fromkeys(every, "parked"), "a once subscription is consumed by the first signal"
    assert not {*others, *filtered_out, *late} & (await owed(first)).keys()
    assert await balanced(database)
    app = await database.fetchval("SELECT app FROM deliveries WHERE subscription_id = $1 LIMIT 1", handlers[0])
    assert app == "shop"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("throw", "expected"),
    [
        (Throw(name="sig", scope=Scope.TENANT, tenant_id="acme"), {"acme"}),
        (Throw(name="sig", scope=Scope.UNTENANTED), {None}),
        (Throw(name="sig", audience=("acme",)), {None, "acme"}),
        (Throw(name="sig", audience=tuple(f"t{n}" for n in range(200))), {None, "t7"}),
    ],
)
async def test_it_is_owed_to_those_of_its_scope_only(database, create, owed, throw, expected):
    made = {}
    for tenant in (None, "acme", "beta", "t7"):
        made[tenant] = [*await create(12, tenant_id=tenant), *await create(12, tenant_id=tenant, name="*")]
    (signal,) = await accept(database, throw)
    assert await record(SignalStore(database, limits=LIMITS), signal) > 2
    assert (await owed(signal)).keys() == {one for tenant in expected for one in made[tenant]}
    assert await balanced(database)


async def test_a_subscription_whose_creator_may_not_read_it_is_not_owed_it(database, store, create, owed):
    made = await create(20)
    await database.execute("UPDATE subscriptions SET owner_tenants = '{beta}', owner_untenanted = id % 2 = 0")
    (broadcast, limited) = await accept(database, Throw(name="sig"), Throw(name="sig", scope=Scope.UNTENANTED))
    await record(store, broadcast, limited)
    assert (await owed(broadcast)).keys() == set(made)
    assert (await owed(limited)).keys() == {one for one in made if one % 2 == 0}


@pytest.mark.slow
async def test_a_throw_to_an_execution_may_be_wide_too(database, store, create, owed):
    waiting = [*await create(20, execution_id="e", tenant_id="t"), *await create(5, execution_id="e", once=True)]
    await create(20, execution_id="f")
    (signal,) = await accept(database, Throw(name="sig", scope=Scope.EXECUTION, execution_id="e"))
    await record(store, signal)
    assert (await owed(signal)).keys() == set(waiting)
    assert await balanced(database)


@pytest.mark.slow
async def test_what_filters_find_may_be_wide_too(database, store, create, owed):
    made = [*await create(25, filter=IS_X), *await create(3), *await create(3, filter=IS_X, once=True)]
    await create(12, filter=IS_Y)
    (signal,) = await accept(database, Throw(name="sig", payload=b'{"a": "x"}'))
    await record(store, signal)
    assert (await owed(signal)).keys() == set(made)
    assert await balanced(database)


@pytest.mark.slow
async def test_what_few_match_is_recorded_first_and_as_usual(database, store, create):
    await create(25)
    few = await create(1, name="few")
    wide, other = await accept(database, "sig", "few")
    recorded = await store.record([wide, other], rescue_after=RESCUE_AFTER)
    assert [(due.signal_id, due.subscription_id) for due in recorded.due_attempts] == [(other.id, few[0])]
    assert list(recorded.left) == [wide]


async def test_signals_that_only_together_ask_for_many_are_recorded_as_usual(database, store, create):
    for name in ("a.*", "b.*"):
        await create(16, name=name)
    signals = await accept(database, "a.x", "b.x")
    due, left = [], signals
    while left:
        recorded = await store.record(left, rescue_after=RESCUE_AFTER)
        due, left = due + list(recorded.due_attempts), recorded.left
    assert len(due) == 32
    assert not await database.fetchval("SELECT count(*) FROM wide_recordings")


async def test_what_is_changed_between_chunks_does_not_make_it_miss_or_repeat_any(
    database, store, create, owed, subscriptions
):
    made = await create(30)
    (signal,) = await accept(database, Throw(name="sig", payload=b'{"a": "x"}'))
    left = await step(store, [signal])
    left = await step(store, left)
    assert (await owed(signal)).keys() == set(made[:7])
    late = await create(5)
    for gone in (made[0], made[20]):
        await subscriptions.delete(gone)
    for changed, wanted in ((made[1], IS_X), (made[21], IS_X), (made[22], IS_Y), (made[23], ABOVE_ONE)):
        await set_filter(database, changed, wanted)
    await database.execute("UPDATE subscriptions SET disabled_because = 'gone' WHERE id = $1", made[24])
    await record(store, *left)
    states = await owed(signal)
    assert states.keys() == set(made) - {made[22], made[23], made[24]}
    assert states[made[20]] == "cancelled"
    assert not states.keys() & set(late)
    assert await balanced(database)


async def test_a_subscription_that_changes_while_its_chunk_is_recorded_is_decided_once(
    database, store, create, owed, monkeypatch
):
    made = await create(20)
    (signal,) = await accept(database, Throw(name="sig", payload=b'{"a": "x"}'))
    left = await step(store, [signal])
    find, changes = signals_module.find_chunk, iter([IS_X, ABOVE_ONE])

    async def change_meanwhile(*args):
        chunk = await find(*args)
        if (wanted := next(changes, None)) is not None:
            await set_filter(database, made[3], wanted)
        return chunk

    monkeypatch.setattr(signals_module, "find_chunk", change_meanwhile)
    await record(store, *left)
    assert (await owed(signal)).keys() == set(made) - {made[3]}
    assert await balanced(database)


@pytest.mark.slow
async def test_after_a_crash_in_a_chunk_another_recorder_goes_on(database, store, create, owed, monkeypatch):
    made = [*await create(20), *await create(5, once=True), *await create(5, filter=ABOVE_ONE)]
    (signal,) = await accept(database, Throw(name="sig", payload=b'{"a": 2}'))
    left = await step(store, [signal])
    record_chunk, count = signals_module.record_chunk, 0

    async def crash(*args, **more):
        nonlocal count
        count += 1
        result = await record_chunk(*args, **more)
        if count % 2:
            raise RuntimeError("killed before the commit")
        return result

    monkeypatch.setattr(signals_module, "record_chunk", crash)
    while left:
        try:
            left = await step(store, left)
        except RuntimeError:
            store = SignalStore(database, limits=LIMITS)
            assert await balanced(database)
    assert await owed(signal) == dict.fromkeys(made, "parked")
    assert await balanced(database)


@pytest.mark.slow
async def test_recorders_that_race_for_it_owe_it_once(database, create, owed):
    made = [*await create(40), *await create(10, once=True), *await create(5, filter=IS_X)]
    signals = await accept(database, *[Throw(name="sig", payload=b'{"a": "x"}')] * 3)
    await asyncio.gather(*(record(SignalStore(database, limits=LIMITS), *signals) for _ in range(4)))
    states = [await owed(signal) for signal in signals]
    assert sum(map(len, states)) == len(made) + 2 * 45
    assert await balanced(database)


@pytest.mark.parametrize("by", ["the same recorder", "another one"])
async def test_another_signal_with_its_id_is_owed_to_nobody_while_chunks_remain(database, store, create, owed, by):
    made, others = await create(20), await create(30, name="other")
    (signal,) = await accept(database, "sig")
    left = await step(store, [signal])
    other = replace(signal, throw=Throw(name="other"))
    recorder = store if by == "the same recorder" else SignalStore(database, limits=LIMITS)
    recorded = await recorder.record([other], rescue_after=RESCUE_AFTER)
    assert (recorded.taken, recorded.left) == ({signal.id}, [])
    await record(store, *left)
    assert (await owed(signal)).keys() == set(made)
    assert not set(others) & set(made)
    assert await balanced(database)


async def test_a_message_that_comes_again_afterwards_changes_nothing(database, store, create, owed):
    made = await create(20)
    (signal,) = await accept(database, "sig")
    await record(store, signal)
    for again in (store, SignalStore(database, limits=LIMITS)):
        assert await record(again, signal) == 1
    assert (await owed(signal)).keys() == set(made)


async def test_its_deliveries_are_released_like_others_that_are_due(database, store, create, deliveries):
    await create(20)
    (signal,) = await accept(database, "sig")
    await record(store, signal)
    released = await deliveries.release(limit=100, rescue_after=RESCUE_AFTER)
    assert len(released) == 20
    assert await balanced(database)


@pytest.mark.slow
async def test_one_for_later_waits_for_its_moment_and_can_be_cancelled_between_chunks(database, store, create, owed):
    made = await create(20)
    later = datetime.now(UTC) + timedelta(hours=1)
    first, second = await accept(database, *[Throw(name="sig", deliver_at=later)] * 2)
    left = await step(store, [first])
    left = await step(store, left)
    assert await store.cancel(first.id)
    await record(store, *left, second)
    assert await owed(first) == dict.fromkeys(made[:7], "cancelled")
    assert (await store.get(first.id)).state is SignalState.CANCELLED
    rows = await database.fetch("SELECT DISTINCT reason, due_at FROM deliveries WHERE signal_id = $1", second.id)
    assert [(row["reason"], row["due_at"]) for row in rows] == [("scheduled", later)]
    assert await balanced(database)


async def test_one_that_has_expired_is_owed_and_cancelled(database, store, create, owed):
    made = [*await create(20), *await create(1, once=True)]
    (signal,) = await accept(database, Throw(name="sig", expires_at=datetime.now(UTC) - timedelta(seconds=1)))
    await record(store, signal)
    assert await owed(signal) == dict.fromkeys(made, "cancelled")
    assert not await database.fetchval("SELECT count(consumed_by) FROM subscriptions")


@pytest.mark.slow
async def test_an_ordering_key_waits_until_the_last_chunk(database, store, create):
    await create(20)
    ordered = await create(3, ordered=True)
    ordering = OrderingStore(database)
    wide, narrow = await accept(database, *[Throw(name="sig", ordering_key="k")] * 2)
    await ordering.note_pending_records([(wide.id, "k"), (narrow.id, "k")])
    left = await step(store, [wide])
    await record(SignalStore(database), narrow)
    assert await ordering.sweep(most=100, rescue_after=RESCUE_AFTER) == [], "the first one is recorded in part only"
    await ordering.forget_pending_records()
    await record(store, *left)
    due = await ordering.sweep(most=100, rescue_after=RESCUE_AFTER)
    assert sorted((one.signal_id, one.subscription_id) for one in due) == [(wide.id, one) for one in ordered]


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 2, 100])
async def test_it_is_replayed_to_those_only_that_are_not_owed_it(database, store, create, owed, steps):
    made = await create(20)
    (signal,) = await accept(database, "sig")
    late = await create(1)
    left = [signal]
    for _ in range(steps):
        left = await step(store, left) if left else left
    replays = ReplayStore(database)
    for subscription in (made[0], made[-1], *late):
        async for _ in replays.replay(subscription, SignalFilter(), Pace(None)):
            pass
    await record(store, *left)
    assert (await owed(signal)).keys() == {*made, *late}
    assert (await owed(signal))[late[0]] == DeliveryState.PARKED
    assert await balanced(database)


@pytest.mark.slow
async def test_when_it_is_old_it_goes_with_all_that_it_was_owed_unless_chunks_remain(
    history, retention, create, tmp_path
):
    made, store = await create(20), SignalStore(history.database, limits=LIMITS)
    whole, partly = await accept(history.database, "sig", "sig")
    await record(store, whole)
    left = await step(store, await step(store, [partly]))
    await history.database.execute("UPDATE deliveries SET state = 'delivered', due_at = NULL, finished_at = now()")
    assert await balanced(history.database)
    await history.close()
    await history.pass_time(31 * DAY)
    await retention(archive_dir=tmp_path).maintain()
    assert await history.ids() == [partly.id]
    (document,), _ = lines(tmp_path)
    assert [one["subscriptionId"] for one in document["deliveries"]] == made
    chunks = await history.database.fetch("SELECT signal_id, cardinality(subscription_ids) AS n FROM match_chunks")
    assert [(row["signal_id"], row["n"]) for row in chunks] == [(partly.id, 7)]
    assert await history.database.fetchval("SELECT array_agg(signal_id) FROM wide_recordings") == [partly.id]
    assert await balanced(history.database)
    await record(SignalStore(history.database, limits=LIMITS), *left)
    assert await history.database.fetchval("SELECT count(*) FROM deliveries") == 20
    assert await balanced(history.database)


@pytest.mark.slow
async def test_what_many_tenants_have_together_is_not_read_in_one_go(database, create, owed):
    tenants = tuple(f"t{number}" for number in range(8))
    made = [one for tenant in tenants for one in await create(5, tenant_id=tenant)]
    both, one = await accept(
        database, Throw(name="sig", audience=tenants), Throw(name="sig", scope=Scope.TENANT, tenant_id="t1")
    )
    store = SignalStore(database, limits=LIMITS)
    await record(store, both, one)
    assert [len(await owed(signal)) for signal in (both, one)] == [40, 5]
    assert await database.fetchval("SELECT array_agg(signal_id) FROM wide_recordings") == [both.id]
    assert (await owed(both)).keys() == set(made)
