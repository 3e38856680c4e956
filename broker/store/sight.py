"""What a principal may see, as the parameters of the statements that list it."""

from __future__ import annotations

import asyncio

from broker.access import Principal
from broker.names import expression
from broker.store.postgres.database import Database
from broker.store.postgres.statements import Statement, Statements


class _Sql(Statements, file="sight.sql"):
    patterns: Statement


def sight_of_signals(by: Principal) -> dict[str, object]:
    """Return the parameters of the function `is_readable`, and the names that *by* is limited to as an expression."""
    return {
        "tenants": by.tenants,
        "untenanted": by.untenanted,
        "permitted_names": None if by.names is None else expression(by.names),
    }


async def sight_of_subscriptions(database: Database, by: Principal) -> dict[str, object]:
    """Return the parameters of the functions `is_seen` and `is_permitted`."""
    sight: dict[str, object] = sight_of_signals(by)
    patterns: list[str] | None = None
    if by.names is not None:
        patterns = []
        for row in await database.fetch(_Sql.patterns, names=sight["permitted_names"]):
            if by.include_names(row["name"]):
                patterns.append(row["name"])
            await asyncio.sleep(0)  # comparing patterns may take long, and other requests wait
    return {**sight, "permitted_patterns": patterns}
