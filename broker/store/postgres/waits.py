"""Waits: whose locks statements wait for, as far as PostgreSQL answers others."""

from __future__ import annotations

from broker.store.postgres.database import Database
from broker.store.postgres.statements import Statement, Statements


class _Sql(Statements, file="waits.sql"):
    find_holders: Statement


async def find_holders_of_locks(database: Database) -> list[str]:
    """Return which sessions most likely hold up others, the oldest first: ``pid 4711 psql (active, for 45 s)``.

    Raises:
        StoreUnavailable: PostgreSQL does not answer this either.
    """
    return [row["holder"] for row in await database.fetch(_Sql.find_holders)]
