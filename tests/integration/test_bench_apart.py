"""What is measured apart from the benchmark, in a short form. Nothing here depends on how fast anything is."""

from __future__ import annotations

import asyncio

import pytest

from broker.store.postgres.schema import STEPS
from tests.bench import ceilings, storage
from tests.bench.__main__ import measure
from tests.bench.migrating import SINCE, migrate_full
from tests.bench.rows import Bench

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def bench(servers, store_server, rabbitmq):
    """What groups work with, for a fraction of a second each."""
    return Bench(directory=servers, rounds=1, seconds=0.1, wanted=(), postgres=store_server, rabbit=rabbitmq)


async def test_what_a_signal_leaves_on_disks_is_measured_for_each_stage(bench):
    wanted = {row.name for row in storage.GROUP.rows}
    figures = {
        figure.name: figure.value for figure in await measure(storage.GROUP, Bench(**vars(bench) | {"wanted": wanted}))
    }
    assert figures.keys() >= {name for name in wanted if "rabbitmq" not in name}
    assert figures["storage.wal.accept"] < figures["storage.wal.record"]
    assert figures["storage.wal.record"] > 1000  # the payload alone
    assert figures["storage.table.signals"] > 1000
    assert all(figures[f"storage.table.{table}"] > 50 for table in storage.TABLES)


async def test_each_part_is_measured_alone(bench):
    wanted = {"ceilings.releases", "ceilings.numbering.2"} | {f"ceilings.{part}.1" for part in ceilings.PARTS}
    figures = await measure(ceilings.GROUP, Bench(**vars(bench) | {"wanted": wanted}))
    assert {figure.name for figure in figures} == wanted
    assert all(figure.value > 0 for figure in figures)


async def test_the_database_of_the_first_version_is_migrated_under_load(bench):
    async with asyncio.timeout(240):  # and then all that it started ends
        migration = await migrate_full(bench, 5000)
    assert list(migration.seconds) == list(STEPS[STEPS.index(SINCE) + 1 :])
    assert migration.held_up
    assert migration.refused == 0
