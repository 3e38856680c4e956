"""PostgreSQL's clock."""

from __future__ import annotations

from datetime import datetime

from broker.store.postgres.database import Database
from broker.store.postgres.statements import Statement, Statements


class _Sql(Statements, file="clock.sql"):
    now: Statement


async def read_clock(database: Database) -> datetime:
    """Return what PostgreSQL's clock shows.

    Raises:
        StoreUnavailable: PostgreSQL did not answer.
    """
    moment: datetime = await database.fetchval(_Sql.now)
    return moment
