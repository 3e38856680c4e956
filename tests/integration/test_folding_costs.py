"""What folding costs grows with what is folded, not with what is in the minute already."""

from __future__ import annotations

import pytest

from broker.store.deliveries import folding
from tests.support.plans import count_pages

COUNT = 3000
PAGES_PER_CHANGE = 60
"""Read from memory for each change: its own rows and their places in indexes, a few pages each."""
FOLD = folding._Sql.fold  # noqa: SLF001  (its cost matters)


async def note_deliveries(database, first):
    await database.execute(
        "INSERT INTO ledger_deltas (subscription_id, counted, n, at, signal_ids) SELECT n, 'delivered', 1,"
        " date_bin('1 minute', now(), '2000-01-01Z'), ARRAY[1::bigint]"
        f" FROM generate_series({first}, {first + COUNT - 1}) AS n"
    )


async def fold_counting_pages(database):
    """Fold, and return how many pages were read."""
    async with database.transaction() as session:
        return await count_pages(
            session, FOLD, limit="10_000", most_signals="20_000", most="1000", most_detailed="10_000"
        )


@pytest.mark.slow
@pytest.mark.parametrize("first", [1, 1 + COUNT], ids=["the same again", "others"])
async def test_a_minute_in_which_many_subscriptions_get_deliveries_is_folded_in_one_pass(database, first):
    await note_deliveries(database, 1)
    await fold_counting_pages(database)
    await note_deliveries(database, first)

    pages = await fold_counting_pages(database)

    assert await database.fetchval("SELECT count(*) FROM ledger_deltas") == 0
    counted = await database.fetchval("SELECT sum(delivered) FROM statistics WHERE kind = 'all' AND seconds = 60")
    assert counted == 2 * COUNT
    assert pages < PAGES_PER_CHANGE * COUNT


async def test_whichever_index_the_planner_chooses_leads_to_the_row_that_is_looked_up(database):
    """Its figures do not know the newest minute: it expects one row there by any of them."""
    columns = await database.fetch(
        "SELECT array_agg(attname::text ORDER BY attname) AS names FROM pg_index i JOIN pg_attribute a"
        " ON a.attrelid = i.indexrelid WHERE i.indrelid = 'statistics'::regclass GROUP BY i.indexrelid"
    )
    assert [row["names"] for row in columns] == [["at", "kind", "name", "seconds", "subscription_id", "tenant"]] * 2
