"""Who calls is looked up in PostgreSQL once, and never at the cost of throws."""

from __future__ import annotations

import asyncio

from broker.access import ENDPOINT_TOKEN, make_token
from broker.store.administration.access_cache import AccessCache
from tests.support.eventually import eventually


async def test_a_flood_of_wrong_tokens_leaves_connections_to_others(database):
    """The table is locked, so that every lookup waits where it can be counted."""
    cache = AccessCache(database)
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with database.transaction() as session:
        await session.execute("LOCK TABLE endpoint_tokens IN ACCESS EXCLUSIVE MODE")
        lookups = [asyncio.create_task(cache.caller(make_token(ENDPOINT_TOKEN))) for _ in range(30)]

        async def are_held_up():
            return await database.fetchval(waiting) >= 4

        await eventually(are_held_up)
        assert {await database.fetchval(waiting) for _ in range(20)} == {4}

    assert await asyncio.gather(*lookups) == [None] * 30
