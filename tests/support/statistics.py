"""Statistics of the last hour, as tests compare them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from broker.access import ADMINISTRATOR, Principal
from broker.statistics import MINUTE, Split, Window, make_window
from broker.store.deliveries.deliveries import DeliveryStore
from broker.store.deliveries.statistics import StatisticsStore, Subject
from broker.store.postgres.database import Database

COUNTS = ("accepted", "recorded", "delivered", "dead", "retried")


async def fold(database: Database) -> None:
    """Fold all that happened so far."""
    while await DeliveryStore(database).fold_ledger(limit=1000):
        pass


def recent(step: int = MINUTE) -> Window:
    """Return the window of the last hour, with a minute to come."""
    now = datetime.now(UTC)
    return make_window(now - timedelta(minutes=50), now + timedelta(minutes=1), step, now=now)


async def sums(database: Database, by: Principal = ADMINISTRATOR, **subject: object) -> dict[str, int]:
    """Return the sums of all steps that *by* sees of the subject, once all is folded."""
    await fold(database)
    figures = await StatisticsStore(database).read(recent(), Subject(**subject), by=by)
    return {name: sum(getattr(one, name) for one in figures) for name in COUNTS}


async def groups(
    database: Database, split: Split | None, by: Principal = ADMINISTRATOR, **subject: object
) -> dict[str, tuple[int, ...]]:
    """Return the sums of each group, in the order of `COUNTS`."""
    await fold(database)
    figures = await StatisticsStore(database).read(recent(), Subject(**subject), split=split, by=by)
    keys = dict.fromkeys(one.key for one in figures)
    return {key: tuple(sum(getattr(one, name) for one in figures if one.key == key) for name in COUNTS) for key in keys}
