"""Statistics of the last hour, as tests compare them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from broker.access import ADMINISTRATOR, Principal
from broker.statistics import MINUTE, Split, Window, make_window
from broker.store.deliveries.deliveries import DeliveryStore
from broker.store.deliveries.statistics import StatisticsStore, Subject
from broker.store.postgres.database import Database

_FIGURES = """
INSERT INTO statistics (
    seconds, kind, subscription_id, tenant, name, at, accepted, recorded, delivered, dead, retried, latency_classes,
    latency_counts
)
SELECT $3::integer, kind, CASE kind WHEN 'subscription' THEN $1::bigint ELSE 0 END, '', $2,
       date_bin($3 * interval '1 second', now() - make_interval(mins => $4), '2000-01-01Z'),
       $5, $5, $6, $7, $8, $9, $10
FROM unnest('{signals,subscription}'::text[]) AS kind
"""
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


async def add_figures(
    database: Database,
    subscription_id: int,
    name: str,
    ago: int,
    *,
    accepted: int = 0,
    delivered: int = 0,
    dead: int = 0,
    retried: int = 0,
    latencies: Mapping[int, int] | None = None,
    seconds: int = MINUTE,
) -> None:
    """Add to what callers with limits are told: what happened in the minute (or hour) of so many minutes *ago*.

    It happened to signals of this *name*, which are owed to the subscription; *latencies* says how many deliveries are
    in each class.
    """
    classes = latencies or {}
    counts = (accepted, delivered, dead, retried, list(classes), list(classes.values()))
    await database.execute(_FIGURES, subscription_id, name, seconds, ago, *counts)
