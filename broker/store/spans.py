"""Spans: between which ids, and after which position, the signals lie that were accepted in a span of time."""

from __future__ import annotations

from datetime import datetime

from broker.store.postgres.database import Database
from broker.store.postgres.statements import Statement, Statements


class _Sql(Statements, file="spans.sql"):
    find_span: Statement
    find_start: Statement


async def find_span(database: Database, since: datetime | None, until: datetime | None) -> tuple[int, int | None]:
    """Return the ids between which all signals lie that were accepted at *since* or later and before *until*.

    Both ids are part of the span, and other signals may lie in it. Without an end the second one is None.
    """
    if since is None and until is None:
        return 1, None
    row = await database.fetchrow(_Sql.find_span, since=since, until=until)
    assert row is not None  # noqa: S101  (it returns one row)
    return row["first_id"], row["last_id"]


async def find_start(database: Database, after_id: int, since: datetime | None) -> tuple[int, int | None]:
    """Return where to begin reading, in the order of recording, after signal *after_id* and what came before *since*.

    That is the position after which to read and, if that signal is not recorded, the id above which.
    """
    row = await database.fetchrow(_Sql.find_start, after_id=after_id, since=since)
    assert row is not None  # noqa: S101  (it returns one row)
    return row["position"], None if row["known"] else after_id
