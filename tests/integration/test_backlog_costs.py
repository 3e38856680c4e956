"""What the scheduler asks for several times a second costs the same beside any backlog."""

from __future__ import annotations

import pytest

from broker.store.deliveries import ordering
from tests.support.plans import count_pages

DUE = 20_000


@pytest.fixture
async def backlog(database, subscription):
    """Deliveries that are due, and for which there is no room yet."""
    await database.execute(
        "INSERT INTO deliveries (signal_id, subscription_id, state, due_at, reason)"
        f" SELECT id, {subscription.id}, 'parked', now() - interval '1 hour', 'retry'"
        f" FROM generate_series(1, {DUE}) AS id"
    )


@pytest.mark.parametrize("statistics", ["missing", "there"])
async def test_what_is_to_join_its_group_is_found_without_what_else_is_due(database, backlog, statistics):
    if statistics == "there":
        await database.execute("ANALYZE deliveries")
    async with database.session() as session:
        pages = await count_pages(session, ordering._Sql.keys_that_are_due, limit="100")  # noqa: SLF001  (its cost matters)
    assert pages < 20
