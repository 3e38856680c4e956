"""What is asked all the time is found by key, however many subscriptions there are, whatever PostgreSQL knows of them.

A database that has just been filled has no statistics, and gates change so often that theirs are out of date anyway.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from broker.store.deliveries import backlogs, deliveries, expiring, pacing, pausing, surplus, sweeping, trials
from broker.store.postgres.statements import Statement
from broker.store.subscriptions import samples
from tests.support.plans import count_pages

FILL = """
INSERT INTO subscriptions (name, is_pattern, once, schedule, kind, address, headers, since)
SELECT 'order.' || i, false, false, '{1,2}', 'webhook', 'https://host-' || i || '.example/', '{}', 1
FROM generate_series(1, 5000) AS i
"""
FEW = 60
"""Pages; the 5,000 subscriptions have some 300, and their gates some 100."""


class Asked(NamedTuple):
    """A statement and its arguments, as SQL."""

    statement: Statement
    arguments: dict[str, str]


# ruff: noqa: SLF001
ASKED = {
    "pacing": Asked(pacing._Sql.find, {"limit": "100", "horizon": "0.6", "without_apps": "ARRAY[]::text[]"}),
    "waiting": Asked(pausing._Sql.find_waiting, {"limit": "100"}),
    "census": Asked(pausing._Sql.census, {"lasting": "3"}),
    "surplus": Asked(surplus._Sql.find, {"apps": "ARRAY['']", "limit": "100", "after_id": "0"}),
    "sweeping": Asked(sweeping._Sql.look, {}),
    "trials": Asked(trials._Sql.find, {"limit": "100", "patience": "5"}),
    "forsaken": Asked(trials._Sql.find_forsaken, {"limit": "100", "after": "0"}),
    "expiring": Asked(expiring._Sql.expire, {"limit": "100", "offset": "0", "overdue_too": "true"}),
    "consumed": Asked(expiring._Sql.free, {"limit": "100"}),
    "due": Asked(deliveries._Sql.find_due, {"limit": "100", "after_id": "0"}),
    "release": Asked(deliveries._Sql.release, {"limit": "100", "offset": "0", "rescue_after": "60"}),
    "leasable": Asked(backlogs._Sql.longest_leasable, {"limit": "100"}),
    "samples": Asked(samples._Sql.take, {"apps": "ARRAY['']", "within": "10"}),
}


@pytest.mark.parametrize("analyzed", [False, True], ids=["no statistics", "statistics"])
async def test_what_is_asked_all_the_time_does_not_look_at_every_subscription(database, analyzed):
    async with database.session() as session:
        await session.execute(FILL)
        if analyzed:
            await session.execute("ANALYZE subscriptions, gates")
        pages = {name: await count_pages(session, one.statement, **one.arguments) for name, one in ASKED.items()}
    assert {name: count for name, count in pages.items() if count > FEW} == {}


async def test_nor_does_it_when_the_gates_of_all_have_changed_since_the_statistics_were_made(database):
    async with database.session() as session:
        await session.execute(FILL)
        await session.execute("ANALYZE subscriptions, gates")
        await session.execute("UPDATE gates SET surplus = true, held = true, rate_waiting = true")
        await session.execute("UPDATE gates SET surplus = false, held = false, rate_waiting = false")
        await session.execute("VACUUM gates")
        pages = {name: await count_pages(session, one.statement, **one.arguments) for name, one in ASKED.items()}
    assert {name: count for name, count in pages.items() if count > FEW} == {}
