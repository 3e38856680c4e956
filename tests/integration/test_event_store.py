"""Events in the store: noted with what happened, combined, and told once whoever is killed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from broker.access import Permission, Principal
from broker.events import EventType
from broker.messages import decode_signal
from broker.store.events import EventStore
from broker.store.postgres import locks
from broker.subscriptions import SubscriptionSpec
from broker.topology import RECORD
from tests.support.builders import QUEUE, RESCUE_AFTER, accept
from tests.support.messaging import take
from workers.events import EventTeller

SOON = timedelta(seconds=5)


@pytest.fixture
def events(database):
    return EventStore(database)


@pytest.fixture
async def listener(subscriptions):
    """Return a subscription to events."""
    return await subscriptions.create(SubscriptionSpec(name="$broker.#", targets=(QUEUE,)), secret=None)


@pytest.fixture
def disable(database, subscription):
    """Call it to disable the subscription, or another one, as a 410 does, after resuming it."""

    async def call(subscription_id=subscription.id):
        await database.execute(f"UPDATE subscriptions SET disabled_because = NULL WHERE id = {subscription_id}")
        await database.execute(f"UPDATE subscriptions SET disabled_because = 'gone' WHERE id = {subscription_id}")

    return call


async def listed(events):
    await events.combine(limit=1000)
    return [(event.type, event.count) for event in (await events.page()).items]


async def test_what_is_rolled_back_is_no_event(database, events, subscription):
    async def fail():
        async with database.transaction() as session:
            await session.execute(f"UPDATE subscriptions SET disabled_because = 'x' WHERE id = {subscription.id}")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await listed(events) == []


async def test_the_first_time_is_told_at_once_and_further_ones_together_a_minute_later(database, events, disable):
    await disable()
    assert await listed(events) == [("$broker.subscription.disabled", 1)]
    for _ in range(5):
        await disable()
        assert await listed(events) == [("$broker.subscription.disabled", 1)]
    await database.execute("UPDATE event_windows SET told_at = told_at - interval '1 minute'")
    assert await listed(events) == [("$broker.subscription.disabled", 5), ("$broker.subscription.disabled", 1)]
    latest = (await events.page()).items[0]
    assert latest.since < latest.at


async def test_a_clock_that_was_set_back_silences_no_event(database, events, disable):
    await disable()
    assert await listed(events) == [("$broker.subscription.disabled", 1)]
    await database.execute("UPDATE event_windows SET told_at = told_at + interval '1 hour'")
    await disable()
    assert await listed(events) == [("$broker.subscription.disabled", 1)] * 2
    await disable()
    assert await listed(events) == [("$broker.subscription.disabled", 1)] * 2, "once a minute at most"


@pytest.mark.slow
@pytest.mark.usefixtures("listener")
async def test_a_flood_of_deaths_is_one_event_at_once_and_a_minute_later_one_with_their_number(
    database, events, deliveries, signals, subscription
):
    async def die(count):
        await signals.record(await accept(database, *["a"] * count), rescue_after=RESCUE_AFTER)
        await signals.record(await accept(database, "$broker.circuit.opened"), rescue_after=RESCUE_AFTER)
        await database.execute("UPDATE deliveries SET state = 'dead', reason = 'x', finished_at = now()")
        await deliveries.fold_ledger(limit=10_000)

    await die(300)
    assert await listed(events) == [("$broker.delivery.dead", 300)]
    for _ in range(3):
        await die(300)
        assert len(await listed(events)) == 1
    await database.execute("UPDATE event_windows SET told_at = told_at - interval '1 minute'")
    assert await listed(events) == [("$broker.delivery.dead", 900), ("$broker.delivery.dead", 300)]
    (last, _) = (await events.page()).items
    assert last.details["reason"] == "x"
    assert {event.subscription_id for event in (await events.page()).items} == {subscription.id}


async def test_what_is_about_the_same_is_told_in_its_order(database, events, subscription):
    async def note(kind, seconds):
        await database.execute(
            f"INSERT INTO event_notes (type, subscription_id, at)"
            f" VALUES ('{kind}', {subscription.id}, now() + interval '{seconds} seconds')"
        )

    await note(EventType.CIRCUIT_OPENED, -100)
    await listed(events)
    await database.execute("UPDATE event_windows SET told_at = told_at - interval '1 minute'")
    await note(EventType.CIRCUIT_CLOSED, -50)
    await listed(events)
    await note(EventType.CIRCUIT_CLOSED, -30)
    await listed(events)
    await note(EventType.CIRCUIT_OPENED, -20)
    found = [kind.rsplit(".", 1)[1] for kind, _ in reversed(await listed(events))]
    assert found == ["opened", "closed", "closed", "opened"]


@pytest.fixture
def know(database, subscription):
    """Call it with types of events, and how many seconds ago they happened, to have them wait as if gathered."""

    async def call(**seconds):
        for kind, ago in seconds.items():
            await database.execute(
                f"INSERT INTO event_windows (subscription_id, subject, type, n, first_at, last_at, details)"
                f" SELECT {subscription.id}, 'a', '$broker.{kind.replace('_', '.')}', 1, at, at, '{{}}'"
                f" FROM (SELECT now() - interval '{ago} seconds') AS a (at)"
            )

    return call


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_a_limit_does_not_part_what_is_about_the_same(database, events, know, limit):
    await know(circuit_opened=20, circuit_closed=10, subscription_disabled=30, target_failed=15, target_recovered=5)
    for _ in range(6):
        await events.combine(limit=limit)
    told = [event.type.removeprefix("$broker.") for event in reversed((await events.page()).items)]
    assert [kind for kind in told if kind.startswith("circuit")] == ["circuit.opened", "circuit.closed"]
    assert [kind for kind in told if kind.startswith("target")] == ["target.failed", "target.recovered"]
    assert len(told) == 5


async def test_the_oldest_notes_are_gathered_first(database, events, subscription):
    """They may stand anywhere in their table, which fills the space of those that are gone."""
    for kind, ago in (("closed", 10), ("opened", 20)):
        await database.execute(
            f"INSERT INTO event_notes (type, subscription_id, at)"
            f" VALUES ('$broker.circuit.{kind}', {subscription.id}, now() - interval '{ago} seconds')"
        )
    for _ in range(2):
        await events.combine(limit=1)
    assert [event.type for event in (await events.page()).items] == ["$broker.circuit.closed", "$broker.circuit.opened"]


async def test_one_scheduler_at_a_time_makes_events(database, events, know):
    """Two could part what is about the same: each has what the other one does not see yet."""
    await know(circuit_opened=20, circuit_closed=10)
    async with database.transaction() as other:
        await other.execute(f"SELECT pg_advisory_xact_lock({locks.EVENTS})")
        assert await events.combine(limit=1000) == 0
        assert (await events.page()).items == []
    assert [kind for kind, _ in await listed(events)] == ["$broker.circuit.closed", "$broker.circuit.opened"]


async def test_nothing_is_told_of_a_subscription_that_is_deleted_meanwhile(
    database, events, disable, subscriptions, subscription
):
    await disable()
    await subscriptions.delete(subscription.id)
    assert await listed(events) == []


@pytest.mark.slow
async def test_events_are_no_signals_while_no_subscription_is_for_them(database, transport, events, disable, signals):
    teller = EventTeller(database, transport, timeout=SOON)
    await disable()
    assert await teller.tell() == 1
    assert await teller.tell() == 0
    assert (await signals.given()).last == (await database.fetchval("SELECT max(since) FROM subscriptions"))
    assert [event.signal_id for event in (await events.page()).items] == [None]


@pytest.mark.slow
async def test_an_event_is_told_once_whenever_its_teller_is_killed(database, transport, disable, listener, signals):
    events = EventStore(database)
    await disable()
    await events.combine(limit=1000)
    (event,) = await events.unsettled(limit=10)
    # One is killed when it has numbered the event, before it knows the number; and one when it has published.
    numbers = await EventTeller(database, transport, timeout=SOON)._number([event])  # noqa: SLF001
    await database.execute("UPDATE events SET signal_id = NULL, signal_at = NULL")
    await EventTeller(database, transport, timeout=SOON).tell()
    await database.execute("UPDATE events SET is_settled = false")
    await EventTeller(database, transport, timeout=SOON).tell()
    assert await EventTeller(database, transport, timeout=SOON).tell() == 0

    async with transport.consume(RECORD, prefetch=10) as inbox:
        told = [decode_signal(message) for message in await take(inbox, 2)]
    assert told[0] == told[1] == numbers[event.id]
    assert json.loads(told[0].throw.payload)["eventId"] == event.id
    for signal in told:
        recorded = await signals.record([signal], rescue_after=RESCUE_AFTER)
        assert {due.subscription_id for due in recorded.due_attempts} <= {listener.id}
    assert len((await signals.page()).items) == 1
    assert await database.fetchval("SELECT count(*) FROM deliveries") == 1


async def test_a_dead_queue_that_seems_to_hold_fewer_for_a_moment_holds_no_more_afterwards(database, events):
    async def told(count):
        await events.note_poison({"signals.record.dead": count, "deliveries.attempt.dead": 0})
        await database.execute("UPDATE event_windows SET told_at = told_at - interval '1 minute'")
        await events.combine(limit=100)
        return [(event.count, event.details["messages"]) for event in (await events.page()).items]

    assert await told(0) == []
    assert await told(3) == [(3, 3)]
    assert await told(1) == [(3, 3)]  # somebody looks into it
    assert await told(3) == [(3, 3)]
    assert await told(5) == [(2, 5), (3, 3)]
    assert await told(0) == [(2, 5), (3, 3)]
    await database.execute("UPDATE dead_queues SET lower_since = lower_since - interval '31 seconds'")
    assert await told(0) == [(2, 5), (3, 3)]  # it was emptied
    assert await told(1) == [(1, 1), (2, 5), (3, 3)]


@pytest.mark.slow
async def test_old_events_are_forgotten_and_so_are_those_beyond_the_last_ones(database, events):
    await database.execute(
        "INSERT INTO events (type, subscription_id, since, at, n, details)"
        " SELECT '$broker.circuit.opened', 0, now(), now() - make_interval(days => 31 * (n = 100005)::int), 1, '{}'"
        " FROM generate_series(1, 100010) AS n"
    )
    assert await events.forget(limit=1000) == 11
    assert await events.forget(limit=1000) == 0


async def test_pages_go_on_where_the_one_before_ended(database, events):
    await database.execute(
        "INSERT INTO events (type, subscription_id, since, at, n, details)"
        " SELECT CASE n % 2 WHEN 0 THEN '$broker.circuit.opened' ELSE '$broker.circuit.closed' END, n % 3,"
        " now(), now() - make_interval(mins => 10 - n), 1, '{}' FROM generate_series(1, 10) AS n"
    )

    async def ids(**wanted):
        found, before = [], None
        while True:
            page = await events.page(before_id=before, limit=2, **wanted)
            found += [event.id for event in page.items]
            before = page.following
            if before is None:
                return found

    assert await ids() == [10, 9, 8, 7, 6, 5, 4, 3, 2, 1]
    assert await ids(kind="$broker.circuit.opened") == [10, 8, 6, 4, 2]
    assert await ids(subscription_id=2) == [8, 5, 2]
    assert await ids(since=datetime.now(UTC) - timedelta(minutes=3, seconds=30)) == [10, 9, 8, 7]


async def test_an_event_is_read_by_those_who_may_read_its_signal(database, events, disable, subscriptions):
    spec = SubscriptionSpec(name="a", targets=(QUEUE,), tenant_id="acme")
    await disable((await subscriptions.create(spec, secret=None)).id)
    await disable()
    await listed(events)

    async def seen(**limits):
        by = Principal(name="x", permissions=frozenset({Permission.READ}), **limits)
        return [event.tenant_id for event in (await events.page(by=by)).items]

    assert sorted(map(str, await seen())) == ["None", "acme"]
    assert await seen(tenants=("acme",)) == ["acme"]
    assert await seen(tenants=("globex",)) == []
    assert await seen(tenants=("globex",), untenanted=True) == [None]
    assert await seen(names=("#",)) == []
    assert len(await seen(names=("$broker.subscription.*",))) == 2
