"""What the scheduler asks for several times a second, and a list of what is owed, cost the same beside any backlog."""

from __future__ import annotations

import pytest

from broker.integers import MAX_ID
from broker.store.deliveries import listing, ordering
from broker.store.pages import ASCENDING, DESCENDING
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


@pytest.mark.parametrize("order", [ASCENDING, DESCENDING], ids=["ascending", "descending"])
@pytest.mark.parametrize("statistics", ["missing", "there"])
async def test_a_page_of_pending_deliveries_is_found_without_what_else_can_be_leased(
    database, subscription, statistics, order
):
    await database.execute(
        "INSERT INTO deliveries (signal_id, subscription_id, state, app)"
        f" SELECT id, {subscription.id}, 'pending', '$pull' FROM generate_series(1, {DUE}) AS id"
    )
    if statistics == "there":
        await database.execute("ANALYZE deliveries")
    arguments = {
        "after_signal_id": str(DUE // 2),
        "after_subscription_id": "0",
        "first_id": "0",
        "last_id": str(MAX_ID),
        "looks": "100",
    }
    naming = {"beyond": order.beyond, "direction": order.direction}
    async with database.session() as session:
        pages = await count_pages(session, listing._Sql.find_pending.naming(**naming), **arguments)  # noqa: SLF001
        of_one = await count_pages(
            session,
            listing._Sql.find_pending_of_subscriptions.naming(**naming),  # noqa: SLF001
            subscription_ids=f"ARRAY[{subscription.id}]",
            **arguments,
        )
    assert (pages < 50, of_one < 50) == (True, True), (pages, of_one)
