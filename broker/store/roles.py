"""The roles that run, as far as their processes show it in the store."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from broker.store.postgres.database import PROGRAM, Database
from broker.store.postgres.statements import Statement, Statements


class _Sql(Statements, file="roles.sql"):
    heard: Statement


@dataclass(frozen=True, slots=True)
class Heard:
    """How many processes have been heard of lately.

    Args:
        recorders: Those that report what they hold.
        deliverers: Those that make attempts, workers of handlers among them.
        schedulers: Those that measure for all: one, however many there are.
        gateways: Their sessions; None if the store's URL has an application name, which says nothing of them.
    """

    recorders: int
    deliverers: int
    schedulers: int
    gateways: int | None


async def hear(database: Database, *, within: timedelta) -> Heard:
    """Return how many processes have been heard of *within* that time."""
    row = await database.fetchrow(_Sql.heard, within=within, program=PROGRAM)
    assert row is not None  # noqa: S101  (a list of counts always is a row)
    heard = Heard(**row)
    return heard if database.tells_purpose else replace(heard, gateways=None)
