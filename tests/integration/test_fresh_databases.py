"""A database that a test used is as good as new for the next one, or is not used again."""

from __future__ import annotations

import pytest

from broker.store.partitions.partitions import PartitionStore
from broker.store.postgres.database import Database
from broker.store.subscriptions.subscriptions import SubscriptionStore
from broker.subscriptions import SubscriptionSpec
from broker.topology import TOPOLOGY
from broker.transport.embedded import EmbeddedTransport
from tests.support.builders import QUEUE, throw
from tests.support.postgres import fresh_database


async def content(database):
    """Return how many rows each table has, and the last number of each sequence."""
    tables = await database.fetch(
        "SELECT oid::regclass::text FROM pg_class WHERE relkind IN ('r', 'p') AND oid >= 16384"
    )
    rows = {name: await database.fetchval(f"SELECT count(*) FROM {name}") for (name,) in tables}
    sequences = await database.fetch("SELECT sequencename, last_value FROM pg_sequences")
    return rows, dict(tuple(sequence) for sequence in sequences)


async def use(server, change):
    """Return the name of a database that *change* is done to, and what was in it before."""
    async with fresh_database(server) as url, Database(url) as database:
        found = await content(database)
        await change(database)
        assert await content(database) != found
        return url, found


async def write(database):
    await SubscriptionStore(database).create(SubscriptionSpec(name="#", targets=(QUEUE,)), secret=None)
    await throw(database, "a", "b")
    await PartitionStore(database).keep_ahead()
    async with EmbeddedTransport(database) as transport:
        await transport.declare(TOPOLOGY)


@pytest.mark.slow
async def test_what_was_written_is_gone_and_numbers_begin_again(store_server):
    first, new = await use(store_server, write)
    second, found = await use(store_server, write)
    assert (second, found) == (first, new)
    assert new[0]["blocks"] == 1
    assert new[0]["signals_1"] == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        "CREATE SEQUENCE more",
        "ALTER TABLE signals ADD COLUMN more text; INSERT INTO gates (subscription_id) VALUES (1)",
        "DROP TABLE gates",
        "DROP TABLE signals_1",
    ],
)
async def test_a_database_whose_schema_was_changed_is_not_used_again(store_server, change):
    first, new = await use(store_server, lambda database: database.execute(change))
    second, found = await use(store_server, write)
    assert second != first
    assert found == new
