"""Rehearsals: whether PostgreSQL would carry out statements now, found out without carrying them out."""

from __future__ import annotations

from collections.abc import Collection

from broker.errors import StoreRefusal
from broker.store.postgres.database import Database
from broker.store.postgres.statements import Statement, Statements


class _Sql(Statements, file="rehearsal.sql"):
    is_read_only: Statement
    may_take_numbers: Statement


async def rehearse(database: Database, statements: Collection[Statement]) -> None:
    """Return if PostgreSQL would carry out *statements*, as far as that does not depend on rows.

    Each is planned, which takes its tables and columns and the privileges on them, and locks no rows.

    Raises:
        StoreUnavailable: It would not, or it does not answer.
    """
    async with database.session() as session:
        if await session.fetchval(_Sql.is_read_only):
            raise StoreRefusal("PostgreSQL: the database cannot be written to", "25006")
        sequences = sorted({name for statement in statements for name in statement.sequences})
        if not await session.fetchval(_Sql.may_take_numbers, sequences=sequences):
            raise StoreRefusal(f"PostgreSQL: permission denied for a sequence of {', '.join(sequences)}", "42501")
        for statement in statements:
            await session.fetch(statement.explained, **dict.fromkeys(statement.parameters))
