"""What is old is dropped; what somebody waits for stays, and so does everybody's work."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest

from broker.access import Permission, Principal
from broker.deliveries import DeliveryState, DueAttempt
from broker.errors import StoreUnavailable
from broker.settings import Settings
from broker.signals import Signal, Source
from broker.store.administration.endpoints import EndpointStore
from broker.store.deliveries.deliveries import DeliveryStore
from broker.store.deliveries.pausing import PausingStore
from broker.store.partitions.copies import Copies
from broker.store.partitions.detached import DetachedStore
from broker.store.partitions.partitions import PartitionStore
from broker.store.postgres import locks
from broker.store.postgres.database import Database
from broker.store.subscriptions.subscriptions import SubscriptionStore
from broker.subscriptions import SubscriptionSpec
from broker.topology import RECORD
from broker.transport import Message
from broker.transport.embedded import EmbeddedTransport
from tests.integration.test_ledger import Bustle, compare
from tests.support import builders
from tests.support.attempts import finish
from tests.support.builders import DAY, QUEUE, RESCUE_AFTER, SECOND, accept
from tests.support.eventually import eventually
from tests.support.history import lines
from tests.support.product import COMMAND, SECRET_KEY, Process, client_of
from workers.partition_maintainer import PartitionMaintainer

pytestmark = pytest.mark.slow

ROOT = Principal(name="root", permissions=frozenset({Permission.ADMIN}))


async def test_what_is_old_goes_and_what_somebody_waits_for_stays(history, subscription, retention):
    pending, parked, dead, long_dead, delivered, cancelled = [await history.throw() for _ in range(6)]
    unheard = await history.throw("nobody")
    later = await history.throw(deliver_at=datetime.now(UTC) + 45 * DAY)
    await history.attempt(parked, DeliveryState.PARKED)
    await history.attempt(dead, DeliveryState.DEAD)
    await history.attempt(long_dead, DeliveryState.DEAD)
    await history.attempt(delivered, DeliveryState.DELIVERED)
    await history.attempts.cancel(DueAttempt(cancelled.id, 1, 1))
    await history.close()
    fresh = await history.throw()
    worker = retention(retention_days=30, retention_dead_days=40)

    await history.pass_time(29 * DAY)
    await worker.maintain()
    assert len(await history.ids()) == 9, "nothing is old yet"

    await history.pass_time(2 * DAY)
    await history.database.execute(
        "UPDATE deliveries SET finished_at = finished_at - interval '10 days' WHERE signal_id = $1", long_dead.id
    )
    await worker.maintain()
    assert await history.ids() == [pending.id, parked.id, dead.id, later.id, fresh.id]
    assert await history.rows() == (5, 5, 5, 2)
    assert {unheard.id, delivered.id, cancelled.id, long_dead.id}.isdisjoint(await history.ids())
    ledger = await compare(history.database)
    assert (ledger.recorded, ledger.matched) == (5, 5)
    await compare(history.database, subscription.id)

    await history.attempt(pending, DeliveryState.DELIVERED)
    await history.pass_time(3 * DAY)
    await worker.maintain()
    assert pending.id not in await history.ids()
    assert [partition.first_id for partition in await history.blocks.all()] == [1, 100_001, 200_001, 300_001]

    await history.signals.end_schedule([later.id])
    await history.attempts.cancel(DueAttempt(later.id, 1, 1))
    await history.pass_time(45 * DAY)
    await worker.maintain()
    assert later.id not in await history.ids(), "its moment is thirty days past"
    await compare(history.database)


async def test_a_signal_stays_for_the_whole_retention_after_the_moment_it_was_for(history, subscription, retention):
    """Its message to the taps passes the recorder once more, who must know it."""
    later = await history.throw("nobody", deliver_at=datetime.now(UTC) + 40 * DAY)
    await history.close()
    await history.pass_time(41 * DAY)
    await history.signals.end_schedule([later.id])
    worker = retention(retention_days=30)
    await worker.maintain()
    assert await history.ids() == [later.id]
    await history.pass_time(30 * DAY)
    await worker.maintain()
    assert await history.ids() == []


async def test_a_block_that_nothing_is_left_of_is_gone_and_comes_again_for_what_is_late(
    history, subscription, retention
):
    signal = await history.throw()
    await history.attempt(signal, DeliveryState.DELIVERED)
    await history.close()
    await history.pass_time(31 * DAY)
    await retention().maintain()
    assert [partition.first_id for partition in await history.blocks.all()] == [100_001, 200_001]
    late = Signal(id=signal.id + 1, created_at=signal.created_at, throw=signal.throw)
    await history.signals.record([late], rescue_after=RESCUE_AFTER)
    assert await history.ids() == [late.id]
    await compare(history.database)


async def test_blocks_in_which_little_is_owed_become_one(history, subscription, retention):
    owed = []
    for _ in range(5):
        owed.append((await history.throw()).id)
        await history.attempt(await history.throw(), DeliveryState.DELIVERED)
        await history.close()
    await history.pass_time(31 * DAY)
    await retention().maintain()
    assert await history.ids() == owed
    assert [partition.first_id for partition in await history.blocks.all()] == [1, 500_001, 600_001]
    assert await history.database.fetchval("SELECT to_regclass('retired_signals_1')") is None
    for signal_id in owed:
        await history.attempts.cancel(DueAttempt(signal_id, 1, 1))
    await compare(history.database)


async def test_for_ever_is_for_ever_and_an_hour_is_the_least(history, subscription, retention):
    await history.attempt(await history.throw(), DeliveryState.DELIVERED)
    await history.close()
    await history.pass_time(timedelta(minutes=50))
    await retention(retention_days=1e-9).maintain()
    await retention(retention_days=0).maintain()
    await history.pass_time(10_000 * DAY)
    await retention(retention_days=0).maintain()
    assert len(await history.ids()) == 1


async def test_nothing_is_dropped_while_many_messages_wait_to_be_recorded(history, subscription, retention, embedded):
    """Among them may be a repeat of something old, which nobody would know for one any more."""
    await history.attempt(await history.throw(), DeliveryState.DELIVERED)
    await history.close()
    await history.pass_time(31 * DAY)
    message = {"exchange": "", "routing_key": RECORD, "timeout": 10 * SECOND}
    await asyncio.gather(*(embedded.publish(Message(body=b"{}"), **message) for _ in range(1001)))
    await retention().maintain()
    assert len(await history.ids()) == 1
    await history.database.execute("DELETE FROM transport.messages")
    await retention().maintain()
    assert await history.ids() == []


async def test_an_attempt_that_ends_after_its_signal_was_dropped_does_no_harm(history, subscription, retention):
    overtaken = await history.throw()
    await history.attempt(overtaken, DeliveryState.DELIVERED)
    await history.close()
    await history.pass_time(31 * DAY)
    await retention().maintain()
    fresh = await history.throw()
    due = DueAttempt(fresh.id, 1, 1)
    await history.attempts.claim(due)
    await finish(
        history.attempts,
        history.ended(DueAttempt(overtaken.id, 1, 1), DeliveryState.DELIVERED),
        history.ended(due, DeliveryState.DELIVERED),
    )
    assert await history.rows() == (1, 1, 1, 1)
    assert (await history.deliveries.get((fresh.id, 1))).delivery.state is DeliveryState.DELIVERED


async def test_totals_of_what_came_in_by_endpoints_are_of_what_is_kept(history, subscription, retention, database):
    endpoint = await EndpointStore(database).create(name="alerts", by=ROOT, most=5)
    come_in = {"source": Source.SIGNAL_ENDPOINT, "source_id": endpoint.id}
    await history.throw("nobody", **come_in)
    owed = await history.throw(**come_in)
    await history.close()
    fresh = await history.throw("nobody", **come_in)
    await history.pass_time(31 * DAY)
    await retention().maintain()
    page, total = await EndpointStore(database).signals(limit=10)
    assert ([signal.id for signal in page], total) == ([fresh.id, owed.id], 2)


async def test_subscriptions_that_ended_are_forgotten_once_nothing_of_them_is_left(history, retention, database):
    subscriptions = SubscriptionStore(database)
    deleted, owed, consumed, active = [
        (await subscriptions.create(SubscriptionSpec(name=name, targets=(QUEUE,), once=once), secret=None)).id
        for name, once in [("a", False), ("b", False), ("c", True), ("d", False)]
    ]
    for name in "abcd":
        await history.throw(name)
    await database.execute("UPDATE deliveries SET state = 'delivered' WHERE subscription_id <> $1", owed)
    await subscriptions.delete(deleted)
    await history.close()
    worker = retention()
    await worker.maintain()
    assert len(await database.fetch("SELECT FROM subscriptions")) == 4
    await history.pass_time(31 * DAY)
    await worker.maintain()
    while await history.deliveries.fold_ledger(limit=100):
        pass
    await DetachedStore(database).forget_subscriptions(at_once=1)
    kept = [row["id"] for row in await database.fetch("SELECT id FROM subscriptions ORDER BY id")]
    assert kept == [owed, active]
    assert [row["id"] for row in await database.fetch("SELECT subscription_id AS id FROM gates ORDER BY 1")] == kept
    books = await database.fetch("SELECT DISTINCT subscription_id AS id FROM ledger_tallies ORDER BY 1")
    assert [row["id"] for row in books] == [0, *kept]
    for of in (None, deleted, owed, consumed, active):
        await compare(database, of)


async def test_one_process_at_a_time_looks_after_the_blocks(history, subscription, retention, database):
    await history.attempt(await history.throw(), DeliveryState.DELIVERED)
    await history.close()
    await history.pass_time(31 * DAY)
    async with database.dedicated_session() as session:
        assert await session.fetchval("SELECT pg_try_advisory_lock($1)", locks.MAINTENANCE)
        await retention().maintain()
        assert len(await history.ids()) == 1

    async def gone():
        await retention().maintain()
        return not await history.ids()

    await eventually(gone)


@pytest.fixture(params=[5000, 4], ids=["copied under locks", "copied beforehand"])
def copying(request, monkeypatch):
    """Let much be owed with so many deliveries; what stays has to be copied beforehand with few of them only."""
    monkeypatch.setitem(DetachedStore.__init__.__kwdefaults__, "most_owed", request.param)
    copied, make = [], Copies.make

    async def note_and_make(copies, signal_ids):
        copied.append(len(signal_ids))
        await make(copies, signal_ids)

    monkeypatch.setattr(Copies, "make", note_and_make)
    yield lambda: bool(copied) == (request.param == 4)
    assert bool(copied) == (request.param == 4)


async def test_everybody_goes_on_while_blocks_are_closed_emptied_and_dropped(
    history, retention, database, tmp_path, copying
):
    """Recorders, deliverers, schedulers and operators at work; then nothing is missing and the books are right."""
    subscriptions = SubscriptionStore(database)
    made = [
        (await subscriptions.create(SubscriptionSpec(name=name, targets=(QUEUE,), once=once), secret=None)).id
        for name, once in [("a", False), ("#", False), ("b", True), ("a", False), ("*.b", True), ("b", False)]
    ]
    recorded = []

    async def record(*names):
        signals = await accept(database, *names)
        recorded.extend(signal.id for signal in signals)
        return await builders.record(database, *signals)

    bustle = Bustle(record, subscriptions, history.deliveries, history.attempts, PausingStore(database))
    worker = retention(archive_dir=tmp_path)
    working = True

    async def age():
        await history.blocks.keep_ahead()
        await history.blocks.close(timedelta())
        await database.execute(
            "UPDATE blocks SET closed_at = closed_at - interval '31 days', emptied_at = emptied_at - interval '31 days'"
        )
        with suppress(StoreUnavailable):  # others were in the way, for once
            await worker.maintain()

    async def age_repeatedly():
        while working:
            await age()

    async def archived():
        await record(*["a"] * 4)  # whose deliveries stay
        await age()
        documents, _ = lines(tmp_path)
        return documents if len(documents) > 20 and copying() else None

    async def look():
        for turn in range(20):
            await compare_balance(database, None if turn % 2 else bustle.chance.choice(made))

    ageing = asyncio.create_task(age_repeatedly())
    await bustle.work(look(), delete=made[3:])
    working = False
    await ageing
    documents = await eventually(archived)
    assert sorted([document["id"] for document in documents] + await history.ids()) == sorted(recorded)
    for document in documents:
        assert {delivery["state"] for delivery in document["deliveries"]} <= {"delivered", "cancelled", "dead"}
    for of in (None, *made):
        await compare(database, of)


async def compare_balance(database, subscription_id):
    assert (await DeliveryStore(database).ledger(subscription_id)).unaccounted == 0


async def doctor(database_url, directory, **settings):
    """Return the level and the detail of the last check of the retention."""
    environment = {"STORE_URL": database_url, "DATA_DIR": str(directory), "SECRET_KEYS": SECRET_KEY, **settings}
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        "doctor",
        "--json",
        env={**os.environ, **{f"SIGNAL_BROKER_{name}": value for name, value in environment.items()}},
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    *_, check = [check for check in json.loads(output)["checks"] if check["check"] == "retention"]
    return check["level"], check["detail"]


async def test_doctor_sees_what_is_behind(history, subscription, retention, database_url, tmp_path):
    await history.attempt(await history.throw(), DeliveryState.DELIVERED)
    await history.close()
    assert await doctor(database_url, tmp_path) == ("ok", "no signal is older than the retention")
    (tmp_path / "file").write_bytes(b"")
    level, detail = await doctor(database_url, tmp_path, ARCHIVE_DIR=str(tmp_path / "file" / "archive"))
    assert (level, detail.partition(", and ")[0]) == (
        "warn",
        f"the archive {tmp_path}/file/archive cannot be written from here ({tmp_path}/file is not a directory)",
    )
    await history.pass_time(31 * DAY)
    level, detail = await doctor(database_url, tmp_path)
    assert (level, detail[:58]) == ("warn", "1 partitions are older than the retention and not detached")
    await retention().maintain()
    await history.database.execute(
        "INSERT INTO retired_blocks (first_id, next_id, kept, retired_at) VALUES (1, 2, '{}', now() - interval '1 day')"
    )
    level, detail = await doctor(database_url, tmp_path)
    assert (level, detail[:53]) == ("warn", "1 detached partitions wait to be archived and dropped")
    await history.database.execute("SELECT setval('signal_ids', 10000000)")
    level, detail = await doctor(database_url, tmp_path)
    assert (level, detail[:25]) == ("warn", "no partition is ready for")


SIZE = """
SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class
WHERE relkind = 'r' AND relname ~ '^(retired_)?(signals|matches|deliveries|attempts)_[0-9]+$'
"""


async def test_a_product_that_runs_for_long_does_not_grow(database_url, webhooks, tmp_path):
    """Each round is an hour of its life: the moments of the partitions are moved, and it goes on being thrown at."""
    environment = {"STORE_URL": database_url, "DATA_DIR": str(tmp_path), "RETENTION_DAYS": "0.01"}
    async with (
        Process("run", environment=environment, log=tmp_path / "log") as process,
        client_of(process.url) as client,
        Database(database_url) as database,
        EmbeddedTransport(database) as transport,
    ):
        target = {"kind": "webhook", "url": webhooks.url()}
        await client.post("/v1/subscriptions", {"name": "#", "target": target})
        worker = PartitionMaintainer(database, transport, Settings(retention_days=0.01))
        ids, sizes = [], []
        batch = {"signals": [{"name": "a", "payload": "x" * 1000}] * 400}
        for turn in range(1, 6):
            results = (await client.post("/v1/signals/batch", batch))["results"]
            ids.append([result["id"] for result in results])

            async def settled(turn=turn):
                with suppress(StoreUnavailable):  # the product was in the way, for once
                    await worker.maintain()
                books = await client.get("/v1/ledger")
                return (
                    books["awaitingRecord"] == 0
                    and books["deliveries"]["pending"] == 0
                    and len(webhooks.requests) >= 400 * turn
                )

            await eventually(settled, within=60, every=0.2)
            sizes.append(await database.fetchval(SIZE))
            await database.execute(
                "UPDATE blocks SET opened_at = opened_at - interval '1 hour', closed_at = closed_at - interval '1 hour'"
            )
        assert max(sizes[2:]) < 1.5 * sizes[1], sizes
        assert len(await PartitionStore(database).all()) <= 5
        status, _, problem = await client.request("GET", f"/v1/signals/{ids[0][0]}")
        assert (status, problem["status"]) == (404, 404)
        assert (await client.request("GET", f"/v1/deliveries/{ids[0][0]}-1"))[0] == 404
        assert (await client.get(f"/v1/signals/{ids[-1][0]}"))["id"] == ids[-1][0]
        page = await client.get(f"/v1/signals?afterId={ids[0][0]}&limit=1")
        assert page["items"][0]["id"] > ids[0][-1], "who reads on after a signal that is gone goes on with the oldest"
        books = await client.get("/v1/ledger")
        assert books["unaccounted"] == 0
        assert books["recorded"] < 2000
        assert len(webhooks.requests) == 2000
        assert await process.stop() == 0
