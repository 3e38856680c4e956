"""What waits for a worker that leases it is seen: in backlogs, lists, metrics, and by the doctor."""

from __future__ import annotations

from datetime import timedelta

import pytest

from broker import metrics
from broker.access import ADMINISTRATOR, digest
from broker.deliveries import Outcome, Result
from broker.settings import Settings
from broker.store.deliveries import backlogs as stored
from broker.store.deliveries.backlogs import BacklogStore
from broker.store.deliveries.deliveries import DeliveryStore
from broker.store.deliveries.leases import LeaseStore
from broker.store.subscriptions import listing
from broker.subscriptions import SubscriptionSpec
from broker.targets import PullTarget
from tests.support.builders import QUEUE, RESCUE_AFTER, accept, record
from tests.support.eventually import eventually
from tests.support.leasing import Puller
from tests.support.plans import count_pages
from workers.measurer import Measurer

HOUR = timedelta(hours=1)
FAILED = Result(outcome=Outcome.REFUSED, retry_after=HOUR)
MANY = 20_000
LEASED = 10


@pytest.fixture
def backlogs(database):
    return BacklogStore(database)


@pytest.fixture
def leases(database):
    return LeaseStore(database, rescue_after=RESCUE_AFTER)


@pytest.fixture
async def pull(subscriptions):
    """Return a subscription to signals named `a` with a pull target."""
    return await subscriptions.create(SubscriptionSpec(name="a", targets=(PullTarget(),)), secret=None)


async def has_one(puller):
    """Return whether one delivery waits to be leased."""
    return (await puller.client.get(puller.path))["backlog"]["leasable"] == 1


async def owe_earlier(database, hours=1):
    """Let all deliveries be owed since hours ago."""
    await database.execute("UPDATE deliveries SET created_at = created_at - $1 * interval '1 hour'", hours)


@pytest.mark.slow
async def test_a_backlog_tells_what_is_parked_leasable_and_leased_apart(
    database, backlogs, leases, subscriptions, pull
):
    queue = await subscriptions.create(SubscriptionSpec(name="a", targets=(QUEUE,)), secret=None)

    async def look():
        found = await backlogs.find([pull, queue])
        assert (found[queue.id].leasable, found[queue.id].leased) == (0, 0)
        return found[pull.id].parked, found[pull.id].leasable, found[pull.id].leased

    assert await look() == (0, 0, 0)
    await record(database, *await accept(database, *["a"] * 5))
    assert await look() == (0, 5, 0)
    first, second = (await leases.lease(pull.id, most=2, duration=HOUR, worker=None)).leases
    assert await look() == (0, 3, 2)
    await DeliveryStore(database).fold_ledger(limit=100)
    assert await look() == (0, 3, 2)
    await leases.end([digest(first.token)], FAILED, by=ADMINISTRATOR)
    assert await look() == (1, 3, 1)
    await leases.end([digest(second.token)], Result(outcome=Outcome.SUCCEEDED), by=ADMINISTRATOR)
    assert await look() == (1, 3, 0)


@pytest.mark.slow
async def test_the_oldest_of_a_backlog_may_be_parked_or_leasable_but_not_leased(database, backlogs, leases, pull):
    async def oldest():
        return (await backlogs.find([pull]))[pull.id].oldest

    await record(database, *await accept(database, "a"))
    await owe_earlier(database)
    await record(database, *await accept(database, "a"))
    first, second = [
        row["created_at"] for row in await database.fetch("SELECT created_at FROM deliveries ORDER BY signal_id")
    ]
    assert await oldest() == first
    [lease] = (await leases.lease(pull.id, most=1, duration=HOUR, worker=None)).leases
    assert await oldest() == second
    await leases.end([digest(lease.token)], FAILED, by=ADMINISTRATOR)
    assert await oldest() == first


async def test_a_delivery_waits_to_be_leased_since_it_was_owed_or_its_last_attempt(
    database, deliveries, backlogs, leases, pull
):
    async def seconds():
        return (await backlogs.longest_leasable(limit=10)).get(pull.id)

    assert await seconds() is None
    await record(database, *await accept(database, "a"))
    await owe_earlier(database)
    assert 3600 <= await seconds() < 3660
    [lease] = (await leases.lease(pull.id, most=1, duration=HOUR, worker=None)).leases
    assert await seconds() is None
    await leases.end([digest(lease.token)], FAILED, by=ADMINISTRATOR)
    await database.execute("UPDATE deliveries SET due_at = now()")
    await deliveries.release(limit=1, rescue_after=RESCUE_AFTER)
    assert await seconds() < 60


async def test_the_subscriptions_that_wait_longest_come_first(database, subscriptions, backlogs):
    made = [
        await subscriptions.create(SubscriptionSpec(name=f"n{n}", targets=(PullTarget(),)), secret=None)
        for n in range(3)
    ]
    for number in range(3):
        await record(database, *await accept(database, *[f"n{number}"] * 2))
        await owe_earlier(database)
    assert list(await backlogs.longest_leasable(limit=2)) == [made[0].id, made[1].id]


async def test_what_is_owed_to_a_paused_subscription_waits_for_its_resumption(database, backlogs, pausing, pull):
    await record(database, *await accept(database, "a"))
    await owe_earlier(database)
    assert (await pausing.census())[-1] == 0
    await pausing.pause(pull.id)
    assert await backlogs.longest_leasable(limit=10) == {}
    *_, held = await pausing.census()
    assert 3600 <= held < 3660
    assert (await backlogs.find([pull]))[pull.id].leasable == 1


async def test_the_metric_names_who_waits_and_no_longer_who_does_not(database, embedded, leases, pull):
    def measured():
        labels = {"subscription_id": str(pull.id)}
        return metrics.REGISTRY.get_sample_value("signal_broker_oldest_leasable_seconds", labels)

    measurer = Measurer(database, embedded, Settings())
    await record(database, *await accept(database, "a"))
    await owe_earlier(database)
    await measurer.measure_deliveries()
    assert measured() >= 3600
    await leases.lease(pull.id, most=1, duration=HOUR, worker=None)
    await measurer.measure_deliveries()
    assert measured() is None


async def test_a_backlog_costs_the_same_however_many_deliveries_wait_to_be_leased(database, pull):
    """Only what is leased at this moment is counted one by one."""
    await database.execute(
        "INSERT INTO deliveries (signal_id, subscription_id, state, app, due_at, reason)"
        f" SELECT id, {pull.id}, 'pending', '$pull', CASE WHEN id <= {LEASED} THEN now() END,"
        f" CASE WHEN id <= {LEASED} THEN 'leased' END FROM generate_series(1, {MANY}) AS id"
    )
    await database.execute("ANALYZE deliveries")
    ids = {"subscription_ids": f"ARRAY[{pull.id}]::bigint[]", "pulls": "ARRAY[true]"}
    async with database.session() as session:
        assert await count_pages(session, stored._Sql.find, **ids) < 50  # noqa: SLF001  (its cost matters)
        assert await count_pages(session, stored._Sql.longest_leasable, limit="10") < 50  # noqa: SLF001
        assert await count_pages(session, listing._Sql.find_leasable, after="0", looks="100") < 50  # noqa: SLF001


@pytest.mark.slow
async def test_lists_show_the_subscriptions_of_which_deliveries_wait_to_be_leased(client, laptop, name):
    pullers = [Puller(client, f"{name}.{part}") for part in ("idle", "busy", "waits", "paused")]
    for puller in pullers:
        await puller.subscribe()
    _, busy, waits, paused = pullers
    for puller in (busy, waits, waits, paused):
        await puller.throw()
    await busy.lease_one()
    await waits.lease_one()
    for puller in (waits, paused):
        await eventually(lambda puller=puller: has_one(puller))
    await client.post(f"{paused.path}/pause", {})

    page = await client.get("/v1/subscriptions?state=leasable&limit=1000")
    ours = {one["id"]: one["backlog"] for one in page["items"] if one["name"].startswith(name)}
    assert list(ours) == [waits.subscription_id, paused.subscription_id]
    assert ours[waits.subscription_id]["leasable"] == ours[waits.subscription_id]["leased"] == 1
    of_name = await client.get(f"/v1/subscriptions?state=leasable&name={name}.idle")
    assert of_name["items"] == []

    shown = await laptop.call("subscriptions", "list", "--state", "leasable", "--name", waits.name)
    titles, row = (line.split() for line in shown.stdout.splitlines())
    assert dict(zip(titles, row, strict=False))["LEASABLE"] == "1"
