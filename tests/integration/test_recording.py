"""The store's half of the promises: recorded once, matched once, claimed once; the books balance."""

import asyncio
import json
import threading
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest

from broker.deliveries import DeliveryState, DueAttempt, Outcome
from broker.filters import contexts, parse_filter
from broker.offloading import LARGE
from broker.signals import Scope, Throw
from broker.store.deliveries.pausing import PausingStore
from broker.store.signals.matches import Limits
from broker.store.signals.signals import IdempotencyKey, SignalStore
from broker.store.subscriptions.subscriptions import SubscriptionStore
from broker.subscriptions import SubscriptionSpec, Waiting
from tests.support import builders
from tests.support.attempts import claim, sweep_waiting
from tests.support.builders import QUEUE, RESCUE_AFTER


@pytest.fixture
def throw(database):
    return partial(builders.accept, database)


@pytest.fixture
def record(database):
    async def record(batch):
        return await builders.record(database, *batch)

    return record


def ended(due, state, outcome=Outcome.REFUSED, pause=None):
    return builders.ended(due, state, outcome=outcome, pause=pause, status=500, error="a\x00b", excerpt="\ud800")


async def test_recording_a_signal_twice_makes_one_signal_and_one_delivery(
    throw, record, subscriptions, deliveries, attempts
):
    subscription = await subscriptions.create(SubscriptionSpec(name="sig", targets=(QUEUE,)), secret=None)
    batch = await throw(Throw(name="sig"))
    first = await record(batch)
    assert first == [DueAttempt(batch[0].id, subscription.id, 1)]
    assert await record(batch) == first, "what no attempt was begun at is due again"
    await claim(attempts, *first)
    assert await record(batch) == []
    ledger = await deliveries.ledger()
    assert (ledger.recorded, ledger.matched, ledger.states[DeliveryState.PENDING], ledger.unaccounted) == (1, 1, 1, 0)


async def test_a_signal_whose_id_another_one_has_is_no_repeat(database, throw, subscriptions, deliveries):
    await subscriptions.create(SubscriptionSpec(name="sig", targets=(QUEUE,)), secret=None)
    first, second = await throw(Throw(name="sig"), Throw(name="sig"))
    other = replace(first, throw=Throw(name="other"))
    store = SignalStore(database)
    await store.record([first], rescue_after=RESCUE_AFTER)

    recorded = await store.record([other, second], rescue_after=RESCUE_AFTER)
    assert (recorded.taken, recorded.repeats, recorded.left) == ({first.id}, 0, [])
    assert [due.signal_id for due in recorded.due_attempts if due.signal_id != first.id] == [second.id]
    recorded = await store.record([first], rescue_after=RESCUE_AFTER)
    assert (recorded.taken, recorded.repeats) == (frozenset(), 1)
    ledger = await deliveries.ledger()
    assert (ledger.recorded, ledger.matched, ledger.unaccounted) == (2, 2, 0)


async def test_filters_read_large_payloads_beside_the_event_loop(throw, record, subscriptions, monkeypatch):
    readers = []

    def read(payload):
        readers.append(threading.current_thread())
        return json.loads(payload)

    monkeypatch.setattr(contexts, "read_doubles", read)
    above_one = parse_filter({"a": {"operator": "NUM_GT", "value": "1"}})
    spec = SubscriptionSpec(name="sig", targets=(QUEUE,), filter=above_one)
    subscription = await subscriptions.create(spec, secret=None)
    batch = await throw(*[Throw(name="sig", payload=b'{"a": %d,%b"b": 0}' % (n, b" " * LARGE)) for n in (1, 2)])

    assert await record(batch) == [DueAttempt(batch[1].id, subscription.id, 1)]
    assert len(readers) == 4, "each to find its subscriptions, and to match"
    assert threading.main_thread() not in readers


@pytest.mark.slow
async def test_recorders_that_race_for_one_signal_make_one_delivery_of_it(throw, record, subscriptions, deliveries):
    for _ in range(20):
        await subscriptions.create(SubscriptionSpec(name="sig", targets=(QUEUE,), once=True), secret=None)
    batch = await throw(*[Throw(name="sig") for _ in range(5)])
    await asyncio.gather(*(record(batch) for _ in range(6)))
    ledger = await deliveries.ledger()
    assert (ledger.recorded, ledger.matched, ledger.unaccounted) == (5, 20, 0)


@pytest.mark.slow
async def test_a_subscription_gets_what_is_thrown_after_its_creation_and_nothing_else(throw, record, subscriptions):
    before = await throw(Throw(name="sig"))
    subscription = await subscriptions.create(SubscriptionSpec(name="sig", targets=(QUEUE,)), secret=None)
    during = await throw(Throw(name="sig"))
    await subscriptions.delete(subscription.id)
    after = await throw(Throw(name="sig"))
    await record([*after, *before])
    assert await record(during) == []
    assert [s.id for s in (await subscriptions.page()).items] == []


@pytest.mark.slow
async def test_what_a_deleted_subscription_was_still_owed_is_cancelled_however_much_that_is(
    throw, record, deliveries, database
):
    subscriptions = SubscriptionStore(database)
    subscription = await subscriptions.create(SubscriptionSpec(name="sig", targets=(QUEUE,)), secret=None)
    pending, *parked, late = await throw(*[Throw(name="sig")] * 7)
    await record([pending, *parked])
    await database.execute("UPDATE deliveries SET state = 'parked', reason = 'paused' WHERE signal_id > $1", pending.id)
    await subscriptions.delete(subscription.id)
    assert await record([late]) == []
    pausing = PausingStore(database, limit=2)
    for cancelled in (4, 6, 7, 7):
        assert await sweep_waiting(pausing) == []
        ledger = await deliveries.ledger(subscription.id)
        assert (ledger.matched, ledger.states[DeliveryState.CANCELLED], ledger.unaccounted) == (7, cancelled, 0)
    assert not await database.fetchval("SELECT held FROM gates")


async def test_a_once_subscription_is_consumed_by_the_first_signal_of_a_batch(throw, record, subscriptions):
    subscription = await subscriptions.create(SubscriptionSpec(name="a.*", targets=(QUEUE,), once=True), secret=None)
    first, second = await throw(Throw(name="a.x"), Throw(name="a.y"))
    assert await record([second, first]) == [DueAttempt(first.id, subscription.id, 1)]
    assert (await subscriptions.get(subscription.id)).consumed_by == first.id


async def test_the_ledger_can_fail(throw, record, subscriptions, deliveries, database):
    subscription = await subscriptions.create(SubscriptionSpec(name="sig", targets=(QUEUE,)), secret=None)
    await record(await throw(Throw(name="sig"), Throw(name="sig")))
    await database.execute("DELETE FROM deliveries WHERE signal_id = (SELECT min(signal_id) FROM deliveries)")
    assert (await deliveries.ledger()).unaccounted == 1
    assert (await deliveries.ledger(subscription.id)).unaccounted == 1


async def test_an_attempt_is_begun_once(throw, record, subscriptions, attempts):
    await subscriptions.create(SubscriptionSpec(name="sig", targets=(QUEUE,)), secret=None)
    (due,) = await record(await throw(Throw(name="sig")))
    claimed = await claim(attempts, due, due)
    assert [one is not None for one in claimed] == [True, False]
    assert await claim(attempts, due) == [None]
    (again,) = await claim(attempts, due, redelivered=True)
    assert again.due == replace(due, attempt=2), "whoever began the first attempt is gone, so it was interrupted"


async def test_a_parked_delivery_is_released_when_it_is_due(throw, record, subscriptions, deliveries, attempts):
    await subscriptions.create(SubscriptionSpec(name="sig", targets=(QUEUE,)), secret=None)
    now, later = await record(await throw(Throw(name="sig"), Throw(name="sig")))
    await claim(attempts, now, later)
    await attempts.finish(ended(now, DeliveryState.PARKED, pause=timedelta(0)))
    await attempts.finish(ended(later, DeliveryState.PARKED, pause=timedelta(hours=1)))
    released = await deliveries.release(limit=10, rescue_after=RESCUE_AFTER)
    assert released == [DueAttempt(now.signal_id, now.subscription_id, 2)]
    assert await deliveries.release(limit=10, rescue_after=RESCUE_AFTER) == []


async def test_an_attempt_is_looked_after_when_all_its_steps_must_have_ended(
    throw, record, subscriptions, attempts, database
):
    await subscriptions.create(
        SubscriptionSpec(name="sig", targets=(QUEUE,) * 3, timeout=timedelta(seconds=100)), secret=None
    )
    (due,) = await record(await throw(Throw(name="sig")))
    await claim(attempts, due)
    seconds = await database.fetchval("SELECT extract(epoch FROM due_at - now()) FROM deliveries")
    assert seconds > 290


async def test_an_attempt_that_was_overtaken_changes_nothing(throw, record, subscriptions, deliveries, attempts):
    await subscriptions.create(SubscriptionSpec(name="sig", targets=(QUEUE,)), secret=None)
    (due,) = await record(await throw(Throw(name="sig")))
    await claim(attempts, due)
    await attempts.finish(ended(due, DeliveryState.DELIVERED, Outcome.SUCCEEDED))
    await attempts.finish(ended(due, DeliveryState.DEAD))
    details = await deliveries.get((due.signal_id, due.subscription_id))
    assert details.delivery.state is DeliveryState.DELIVERED
    (attempt,) = await deliveries.attempts((due.signal_id, due.subscription_id))
    assert attempt.result.outcome is Outcome.SUCCEEDED


async def test_a_pending_delivery_is_repaired_only_when_it_is_overdue(throw, signals, subscriptions, deliveries):
    await subscriptions.create(SubscriptionSpec(name="sig", targets=(QUEUE,)), secret=None)
    (lost,) = (await signals.record(await throw(Throw(name="sig")), rescue_after=timedelta(0))).due_attempts
    await signals.record(await throw(Throw(name="sig")), rescue_after=RESCUE_AFTER)
    assert await deliveries.count_overdue(limit=10) == {"": 1}
    assert (await deliveries.rescue("", limit=10, rescue_after=RESCUE_AFTER)).due_attempts == [lost]
    assert await deliveries.count_overdue(limit=10) == {}


async def test_only_a_dead_delivery_is_redriven(throw, record, subscriptions, deliveries, attempts):
    await subscriptions.create(SubscriptionSpec(name="sig", targets=(QUEUE,)), secret=None)
    (due,) = await record(await throw(Throw(name="sig")))
    key = due.signal_id, due.subscription_id
    assert not await deliveries.redrive(key)
    await claim(attempts, due)
    await attempts.finish(ended(due, DeliveryState.DEAD))
    assert await deliveries.redrive(key)
    assert not await deliveries.redrive(key)
    assert await deliveries.release(limit=10, rescue_after=RESCUE_AFTER) == [DueAttempt(*key, 2)]


async def test_ids_and_times_ascend_together_over_competing_gateways(database):
    stores = [SignalStore(database) for _ in range(8)]
    batches = await asyncio.gather(*(store.number([(Throw(name="sig"), None)] * 25) for store in stores * 10))
    numbered = sorted((n for batch in batches for n in batch), key=lambda n: n.id)
    assert len({n.id for n in numbered}) == 2000
    assert [n.created_at for n in numbered] == sorted(n.created_at for n in numbered)


async def test_one_idempotency_key_is_one_signal(signals):
    key = IdempotencyKey(principal="p", key="k", body_hash=b"1")
    other_body = IdempotencyKey(principal="p", key="k", body_hash=b"2")
    other_caller = IdempotencyKey(principal="q", key="k", body_hash=b"1")
    throw = Throw(name="sig")
    first, twin, wrong = await signals.number([(throw, key), (throw, key), (throw, other_body)])
    assert (first.repeated, twin.repeated, wrong.conflicting) == (False, True, True)
    assert (twin.id, twin.created_at) == (first.id, first.created_at)
    repeat, conflict, foreign = await signals.number([(throw, key), (throw, other_body), (throw, other_caller)])
    assert (repeat.repeated, repeat.id, conflict.conflicting, foreign.repeated) == (True, first.id, True, False)


async def test_an_idempotency_key_is_forgotten_after_a_day(signals, database):
    key = IdempotencyKey(principal="p", key="k", body_hash=b"1")
    (first,) = await signals.number([(Throw(name="sig"), key)])
    await database.execute("UPDATE idempotency_keys SET created_at = created_at - interval '25 hours'")
    (fresh,) = await signals.number([(Throw(name="sig"), key)])
    assert (fresh.repeated, fresh.id > first.id) == (False, True)
    await database.execute("UPDATE idempotency_keys SET created_at = created_at - interval '25 hours'")
    await signals.forget_idempotency_keys(1000)
    assert await database.fetchval("SELECT count(*) FROM idempotency_keys") == 0


async def test_an_execution_is_known_by_its_active_subscriptions(signals, subscriptions):
    spec = SubscriptionSpec(name="sig", targets=(QUEUE,), execution_id="e", tenant_id="t")
    subscription = await subscriptions.create(spec, secret=None)
    waiting = Throw(name="sig", scope=Scope.EXECUTION, execution_id="e")
    (known,) = await signals.number([(waiting, None)])
    assert known.waiting == (Waiting("sig", ("t",)),)
    await subscriptions.delete(subscription.id)
    (unknown,) = await signals.number([(waiting, None)])
    assert unknown.waiting == ()


async def test_throws_that_are_numbered_together_are_told_who_waits_in_their_own_executions(signals, subscriptions):
    def to(execution_id):
        return Throw(name="sig", scope=Scope.EXECUTION, execution_id=execution_id)

    def key(body):
        return IdempotencyKey(principal="p", key="k", body_hash=body)

    for name, execution_id in (("first", "a"), ("second", "a"), ("third", "b")):
        spec = SubscriptionSpec(name=name, targets=(QUEUE,), execution_id=execution_id)
        await subscriptions.create(spec, secret=None)
    numbered = await signals.number(
        [(to("a"), key(b"1")), (Throw(name="sig"), None), (to("b"), None), (to("a"), key(b"1")), (to("b"), key(b"2"))]
    )
    names = [[one.name for one in each.waiting] for each in numbered]
    assert names[:4] == [["first", "second"], [], ["third"], ["first", "second"]]
    assert [each.conflicting for each in numbered] == [False, False, False, False, True]
    assert (numbered[3].repeated, numbered[3].id) == (True, numbered[0].id)


async def test_what_matches_many_is_recorded_in_several_steps_in_the_order_of_ids(
    throw, database, subscriptions, deliveries
):
    signals = SignalStore(database, limits=Limits(pairs=25, rows=7))
    made = [
        (await subscriptions.create(SubscriptionSpec(name="sig", targets=(QUEUE,)), secret=None)).id for _ in range(10)
    ]
    thrown = await throw(*[Throw(name="sig")] * 5)
    left, steps = list(reversed(thrown)), []
    while left:
        recorded = await signals.record(left, rescue_after=RESCUE_AFTER)
        steps.append([(due.signal_id, due.subscription_id) for due in recorded.due_attempts])
        left = recorded.left
    ids = [signal.id for signal in thrown]
    assert steps == [[(i, s) for i in part for s in made] for part in (ids[:2], ids[2:4], ids[4:])]
    ledger = await deliveries.ledger()
    assert (ledger.recorded, ledger.matched, ledger.states[DeliveryState.PENDING]) == (5, 50, 50)


async def test_a_signal_that_matches_more_than_one_step_takes_is_recorded_all_the_same(throw, database, subscriptions):
    signals = SignalStore(database, limits=Limits(pairs=5))
    for _ in range(10):
        await subscriptions.create(SubscriptionSpec(name="sig", targets=(QUEUE,)), secret=None)
    first, second = await throw(Throw(name="sig"), Throw(name="sig"))
    recorded = await signals.record([first, second], rescue_after=RESCUE_AFTER)
    assert (len(recorded.due_attempts), recorded.left) == (10, [second])


async def test_what_few_subscriptions_get_does_not_wait_for_what_many_get(throw, database, subscriptions):
    signals = SignalStore(database, limits=Limits(deliveries=25))
    for name in ["many"] * 10 + ["few"]:
        await subscriptions.create(SubscriptionSpec(name=name, targets=(QUEUE,)), secret=None)
    thrown = await throw(*[Throw(name="many")] * 5, Throw(name="few"))
    recorded = await signals.record(thrown, rescue_after=RESCUE_AFTER)
    assert {due.signal_id for due in recorded.due_attempts} == {thrown[-1].id, thrown[0].id, thrown[1].id}
    assert recorded.left == thrown[2:5]
