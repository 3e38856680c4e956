"""A signal that a hundred thousand subscriptions match, and recorders that are killed while they record it."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import timedelta

import pytest

from broker.store.postgres.database import Database
from tests.bench.memory import peak
from tests.support.eventually import eventually
from tests.support.product import Process, client_of

SUBSCRIPTIONS = 100_000
MOST_MIB = 150
PATIENCE = 100
"""Seconds that a busy machine may take."""
_INSERT = """
INSERT INTO subscriptions (name, is_pattern, once, schedule, kind, address, headers, since)
SELECT 'sig', false, false, '{1,2}', 'queue', 'nobody', '{}', 1 FROM generate_series(1, $1::int)
"""
_COUNTS = """
SELECT (SELECT count(*) FROM deliveries) AS owed,
       (SELECT count(DISTINCT subscription_id) FROM deliveries) AS subscriptions,
       (SELECT count(DISTINCT id) FROM match_chunks, unnest(subscription_ids) AS id) AS matched,
       (SELECT count(*) FROM signals) AS recorded
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_each_is_owed_it_once_though_recorders_are_killed(store_server, rabbitmq_url, database_url, tmp_path):
    environment = {"STORE_URL": database_url, "TRANSPORT_URL": rabbitmq_url}

    def process(*command):
        return Process(*command, environment=environment, log=tmp_path / "log")

    async with AsyncExitStack() as exits:
        database = await exits.enter_async_context(Database(database_url, timeout=timedelta(minutes=2)))
        await database.execute(_INSERT, SUBSCRIPTIONS)
        await database.execute("SELECT setval('signal_ids', 10)")
        gateway = await exits.enter_async_context(process("gateway"))
        client = await exits.enter_async_context(client_of(gateway.url))
        thrown = await client.post("/v1/signals", {"name": "sig", "payload": {}})

        async def is_beyond(after_id):
            return (await database.fetchval("SELECT max(after_id) FROM wide_recordings") or 0) > after_id

        for after_id in (0, 20_000, 50_000):
            async with process("worker", "recorder") as recorder:
                await eventually(lambda beyond=after_id: is_beyond(beyond), within=PATIENCE, every=0.01)
                recorder.kill()
        others = await exits.enter_async_context(process("worker", "recorder"))
        await exits.enter_async_context(process("worker", "recorder"))

        async def is_finished():
            return await database.fetchval("SELECT finished FROM wide_recordings")

        await eventually(is_finished, within=PATIENCE)
        row = await database.fetchrow(_COUNTS)
        assert tuple(row.values()) == (*[SUBSCRIPTIONS] * 3, 1)
        ledger = await client.get("/v1/ledger")
        assert (ledger["matched"], ledger["deliveries"]["parked"]) == (SUBSCRIPTIONS, SUBSCRIPTIONS)
        assert ledger["unaccounted"] == 0
        assert (await client.get(f"/v1/signals/{thrown['id']}"))["state"] == "recorded"
        assert peak(others) < MOST_MIB
