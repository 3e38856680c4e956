"""What is dropped is in the archive, once and whole; what cannot be archived is not dropped."""

from __future__ import annotations

import asyncio
import json

import pytest
from structlog.testing import capture_logs

from broker import metrics
from broker.deliveries import DeliveryState
from broker.operations.answers import render_delivery, render_signal
from broker.signals import Signal, Throw
from broker.store.partitions.detached import DetachedStore
from broker.store.subscriptions.subscriptions import SubscriptionStore
from broker.subscriptions import SubscriptionSpec
from tests.integration.test_ledger import compare
from tests.support.builders import DAY, QUEUE, RESCUE_AFTER
from tests.support.eventually import eventually
from tests.support.history import lines
from tests.support.listing import listed
from workers.archive import Archive

ONLY_SHOWN = {"signalName", "tenantId", "target", "lastOutcome", "lastStatus", "lastError"}
"""What the API tells of a delivery besides: it is in the archived signal, in its attempts, or of today."""


@pytest.mark.slow
async def test_the_archive_has_a_line_for_each_dropped_signal_as_the_api_shows_it(
    history, subscription, retention, tmp_path
):
    await SubscriptionStore(history.database).create(SubscriptionSpec(name="#", targets=(QUEUE,)), secret=None)
    plain = await history.throw("b", payload=b'{"a":\r\n [1,\n2.50], "b": "\\n\xc3\xa4"}', business_key="k")
    failed, owed = await history.throw(), await history.throw()
    await history.attempt(failed, DeliveryState.PARKED)
    await history.attempt(owed, DeliveryState.DELIVERED)
    await history.database.execute(
        "UPDATE deliveries SET state = 'cancelled', finished_at = now() WHERE state <> 'delivered' AND signal_id <> $1",
        owed.id,
    )
    expected = []
    for signal_id in (plain.id, failed.id):
        document = json.loads(render_signal(await history.signals.get(signal_id)))
        document["deliveries"] = []
        for delivery in await listed(history.deliveries, signal_id=signal_id):
            key = signal_id, delivery.subscription_id
            details, attempts = await history.deliveries.get(key), await history.deliveries.attempts(key)
            shown = json.loads(render_delivery(details, attempts).to_json())
            document["deliveries"].append({member: shown[member] for member in shown if member not in ONLY_SHOWN})
        expected.append(document)
    await history.close()
    await history.database.execute("UPDATE blocks SET closed_at = closed_at - interval '31 days'")
    await retention(archive_dir=tmp_path).maintain()
    assert await history.ids() == [owed.id]
    documents, names = lines(tmp_path)
    assert documents == expected
    assert names == ["signals-1-100000.1.jsonl.gz"]
    assert len(documents[1]["deliveries"]) == 2
    assert documents[1]["deliveries"][0]["attempts"][0]["response"] == "no\nway"


@pytest.mark.slow
async def test_every_signal_is_archived_once_however_many_and_large_they_are(
    history, retention, tmp_path, database, monkeypatch
):
    payload = json.dumps("x" * 3_000_000).encode()
    large = [(await history.throw(payload=payload)).id for _ in range(7)]
    throw = Throw(name="a")
    numbered = await history.signals.number([(throw, None)] * 1200)
    batch = [Signal(id=n.id, created_at=n.created_at, throw=throw) for n in numbered]
    await history.signals.record(batch, rescue_after=RESCUE_AFTER)
    await history.close()
    await history.pass_time(31 * DAY)
    sizes = []
    pages = DetachedStore.pages

    async def counted(self, detached):
        async for page in pages(self, detached):
            sizes.append(len(page))
            yield page

    monkeypatch.setattr(DetachedStore, "pages", counted)
    await retention(archive_dir=tmp_path).maintain()
    documents, _ = lines(tmp_path)
    assert [document["id"] for document in documents] == large + [n.id for n in numbered]
    assert sizes[:2] == [3, 3], "a page is some megabytes"
    assert max(sizes) <= 500


@pytest.mark.slow
async def test_a_crash_between_archiving_and_dropping_neither_loses_nor_doubles_anything(
    history, subscription, retention, tmp_path, monkeypatch
):
    gone = [await history.throw("nobody"), await history.throw()]
    await history.attempt(gone[1], DeliveryState.DELIVERED)
    owed = await history.throw()
    await history.close()
    await history.pass_time(31 * DAY)
    before = await compare(history.database)

    async def crash(self, detached):
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(DetachedStore, "drop", crash)
        with pytest.raises(RuntimeError):
            await retention(archive_dir=tmp_path).maintain()
    (tmp_path / ".signals-1-100000.1.jsonl.gz.left").write_bytes(b"half")
    assert await history.ids() == [owed.id], "nobody sees any more what was archived"
    assert await history.deliveries.ledger() == before, "it is in the books until it is dropped"
    await history.attempt(owed, DeliveryState.DEAD)

    await retention(archive_dir=tmp_path).maintain()
    await retention(archive_dir=tmp_path).maintain()
    documents, names = lines(tmp_path)
    assert [document["id"] for document in documents] == [signal.id for signal in gone]
    assert len(names) == 1
    assert await history.ids() == [owed.id]
    assert (await compare(history.database)).recorded == 1


@pytest.mark.slow
async def test_a_stop_in_the_middle_of_archiving_is_clean_and_the_next_start_goes_on(
    history, retention, tmp_path, monkeypatch
):
    gone = [(await history.throw()).id for _ in range(3)]
    await history.close()
    await history.pass_time(31 * DAY)
    begun, pages = asyncio.Event(), DetachedStore.pages

    async def endless(self, detached):
        async for page in pages(self, detached):
            begun.set()
            while True:
                yield page

    with monkeypatch.context() as patch:
        patch.setattr(DetachedStore, "pages", endless)
        stopping = asyncio.Event()
        running = asyncio.create_task(retention(archive_dir=tmp_path).run(stopping))
        await begun.wait()
        stopping.set()
        async with asyncio.timeout(5):
            await running
    assert [file for file in tmp_path.iterdir() if not file.name.startswith(".")] == []
    assert await history.ids() == []

    async def finished():
        await retention(archive_dir=tmp_path).maintain()
        return await DetachedStore(history.database).all() == []

    await eventually(finished)
    assert [document["id"] for document in lines(tmp_path)[0]] == gone


def failed():
    return metrics.REGISTRY.get_sample_value("signal_broker_retention_failures_total")


@pytest.mark.slow
async def test_without_a_place_for_the_archive_nothing_is_dropped(history, subscription, retention, tmp_path):
    await history.attempt(await history.throw(), DeliveryState.DELIVERED)
    await history.close()
    await history.pass_time(31 * DAY)
    (tmp_path / "file").write_bytes(b"")
    worker = retention(archive_dir=tmp_path / "file")
    before = failed()
    stopping = asyncio.Event()
    running = asyncio.create_task(worker.run(stopping))
    await eventually(lambda: failed() > before)
    stopping.set()
    await running
    assert len(await history.ids()) == 1
    assert await DetachedStore(history.database).all() == []
    await retention(archive_dir=tmp_path / "made" / "if" / "missing").maintain()
    assert await history.ids() == []


async def test_an_archive_that_cannot_be_written_is_told_at_the_start(retention, tmp_path):
    (tmp_path / "file").write_text("not a directory")
    for directory, told in ((tmp_path / "file" / "archive", 1), (tmp_path / "archive", 0)):
        stopping = asyncio.Event()
        with capture_logs() as logs:
            running = asyncio.create_task(retention(archive_dir=directory).run(stopping))
            await eventually(lambda logs=logs, directory=directory: logs or directory.exists())
            stopping.set()
            await running
        lines = [log for log in logs if log["event"] == "archive.refused"]
        assert [log["directory"] for log in lines] == [str(directory)] * told
        assert all("Not a directory" in log["error"] for log in lines)


def test_what_is_in_the_way_of_an_archive_is_found_without_making_it(tmp_path):
    (tmp_path / "file").write_text("not a directory")
    assert Archive(tmp_path / "file" / "archive").find_obstacle() == f"{tmp_path}/file is not a directory"
    assert Archive(tmp_path / "made" / "later").find_obstacle() == ""
    assert not (tmp_path / "made").exists()
